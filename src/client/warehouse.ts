import { type Client, ScheduleAlreadyRunning, type ScheduleOptions, ScheduleOverlapPolicy, ScheduleNotFoundError, WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Projects } from '../db/projects.ts';
import { queueName } from '../domain/activities.ts';
import { messageOf } from '../domain/errors.ts';
import { warehouseCompactWorkflowId, warehouseLoadWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import type { CompactWarehouseInput, LoadWarehouseInput, WarehouseSink } from '../domain/warehouse.ts';
import type { Log } from '../telemetry/log.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

type WarehouseConfig = Pick<Config, 'WAREHOUSE_LOAD_EVERY' | 'WAREHOUSE_COMPACT_AT' | 'WAREHOUSE_GRACE'>;

interface Timetable {
  id: string;
  spec: ScheduleOptions['spec'];
  action: ScheduleOptions['action'];
}

/** What is due when; null: not by itself. */
export interface WarehouseTimes {
  nextLoad: string | null;
  nextCompaction: string | null;
}

export type WarehouseClient = ReturnType<typeof createWarehouseClient>;

/** Starts what loads the warehouse and puts its files together, by the clock and by hand. */
export const createWarehouseClient = ({ client, projects, config, pace, sinks, log }: { client: Client; projects: Pick<Projects, 'list'>; config: WarehouseConfig; pace: Pace; sinks: readonly WarehouseSink[]; log: Pick<Log, 'warn'> }) => {
  const loadInput = (project: string): LoadWarehouseInput => ({ project, pace, sinks: [...sinks], graceMs: config.WAREHOUSE_GRACE });
  const compactInput = (project: string): CompactWarehouseInput => ({ project, pace, graceMs: config.WAREHOUSE_GRACE });
  const [hour, minute] = config.WAREHOUSE_COMPACT_AT.split(':').map(Number) as [number, number];
  /** Those whose timetables this process has seen to. */
  const seenTo = new Set<string>();

  const timetables = (project: string): Timetable[] => [
    {
      id: warehouseLoadWorkflowId(project),
      spec: { intervals: [{ every: config.WAREHOUSE_LOAD_EVERY }] },
      action: { type: 'startWorkflow', workflowType: 'loadWarehouse', workflowId: warehouseLoadWorkflowId(project), taskQueue: queueName('workflows'), args: [loadInput(project)], staticSummary: `warehouse of ${project}` },
    },
    {
      id: warehouseCompactWorkflowId(project),
      // Spread over half an hour: of many projects, not all at once.
      spec: { calendars: [{ hour, minute, comment: `daily at ${config.WAREHOUSE_COMPACT_AT} UTC` }], jitter: '30m', timezone: 'UTC' },
      action: { type: 'startWorkflow', workflowType: 'compactWarehouse', workflowId: warehouseCompactWorkflowId(project), taskQueue: queueName('workflows'), args: [compactInput(project)], staticSummary: `warehouse files of ${project}` },
    },
  ];

  const apply = async ({ id, spec, action }: Timetable): Promise<void> => {
    // What one run leaves, the next takes up: of several that were missed, one is enough.
    const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: '1h' as const, pauseOnFailure: false };
    try {
      await client.schedule.create({ scheduleId: id, spec, action, policies });
    } catch (error) {
      if (!(error instanceof ScheduleAlreadyRunning)) throw error;
      await client.schedule.getHandle(id).update((previous) => ({ ...previous, spec, action, policies: { ...policies, catchupWindow: 3_600_000 } }));
    }
  };

  const remove = async ({ id }: Timetable): Promise<void> => {
    await client.schedule
      .getHandle(id)
      .delete()
      .catch((error: unknown) => {
        if (!(error instanceof ScheduleNotFoundError)) throw error;
      });
  };

  const nextOf = async (id: string): Promise<string | null> =>
    client.schedule
      .getHandle(id)
      .describe()
      .then(
        ({ state, info }) => (state.paused ? null : (info.nextActionTimes[0]?.toISOString() ?? null)),
        (error: unknown) => {
          if (error instanceof ScheduleNotFoundError) return null;
          throw error;
        },
      );

  const startNow = async (workflow: 'loadWarehouse' | 'compactWarehouse', workflowId: string, project: string, input: LoadWarehouseInput | CompactWarehouseInput): Promise<string> => {
    await client.workflow.start(workflow, {
      workflowId,
      taskQueue: queueName('workflows'),
      workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
      workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
      args: [input],
      typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
      staticSummary: `${project}, by hand`,
    });
    return workflowId;
  };

  return {
    /** Sees to the timetables of projects that this process has not seen yet: all when it starts, later the new ones. */
    async sweep(): Promise<void> {
      for (const { id } of await projects.list()) {
        if (seenTo.has(id)) continue;
        try {
          for (const timetable of timetables(id)) await (config.WAREHOUSE_LOAD_EVERY > 0 ? apply(timetable) : remove(timetable));
          seenTo.add(id);
        } catch (error) {
          log.warn({ project: id, error: messageOf(error) }, "the timetables of a project's warehouse could not be set, will be tried again");
        }
      }
    },

    /** Loads now, beside the timetable; one that runs already by hand is the answer. @returns the workflow's ID */
    load: (project: string): Promise<string> => startNow('loadWarehouse', warehouseLoadWorkflowId(project), project, loadInput(project)),
    compact: (project: string): Promise<string> => startNow('compactWarehouse', warehouseCompactWorkflowId(project), project, compactInput(project)),

    times: async (project: string): Promise<WarehouseTimes> => {
      const [nextLoad, nextCompaction] = await Promise.all([nextOf(warehouseLoadWorkflowId(project)), nextOf(warehouseCompactWorkflowId(project))]);
      return { nextLoad, nextCompaction };
    },
  };
};
