import { type Client, ScheduleAlreadyRunning, type ScheduleOptions, ScheduleOverlapPolicy, ScheduleNotFoundError, WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Projects } from '../db/projects.ts';
import { queueName } from '../domain/activities.ts';
import { messageOf } from '../domain/errors.ts';
import { warehouseCompactWorkflowId, warehouseLoadWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import { AGAIN_SIGNAL, type CompactWarehouseInput, type LoadWarehouseInput, WAREHOUSE_SINKS, type WarehouseSink } from '../domain/warehouse.ts';
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
  const others = sinks.filter((sink) => sink !== 'files');
  /** What is in the files is told to the others, so they are loaded after them, too. */
  const loadInput = (project: string, sink: WarehouseSink): LoadWarehouseInput => ({ project, pace, sinks: [sink], ...(sink === 'files' && others.length > 0 ? { next: others } : {}), graceMs: config.WAREHOUSE_GRACE });
  const compactInput = (project: string): CompactWarehouseInput => ({ project, pace, graceMs: config.WAREHOUSE_GRACE });
  const [hour, minute] = config.WAREHOUSE_COMPACT_AT.split(':').map(Number) as [number, number];
  /** Those whose timetables this process has seen to. */
  const seenTo = new Set<string>();

  const loading = (project: string, sink: WarehouseSink): Timetable => {
    const id = warehouseLoadWorkflowId(project, sink);
    const summary = sink === 'files' ? `warehouse of ${project}` : `warehouse of ${project} in ${sink}`;
    return {
      id,
      spec: { intervals: [{ every: config.WAREHOUSE_LOAD_EVERY }] },
      action: { type: 'startWorkflow', workflowType: 'loadWarehouse', workflowId: id, taskQueue: queueName('workflows'), args: [loadInput(project, sink)], staticSummary: summary },
    };
  };
  const compaction = (project: string): Timetable => ({
    id: warehouseCompactWorkflowId(project),
    // Spread over half an hour: of many projects, not all at once.
    spec: { calendars: [{ hour, minute, comment: `daily at ${config.WAREHOUSE_COMPACT_AT} UTC` }], jitter: '30m', timezone: 'UTC' },
    action: { type: 'startWorkflow', workflowType: 'compactWarehouse', workflowId: warehouseCompactWorkflowId(project), taskQueue: queueName('workflows'), args: [compactInput(project)], staticSummary: `warehouse files of ${project}` },
  });

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

  const remove = async (id: string): Promise<void> => {
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

  const byHand = (workflowId: string, project: string) => ({
    workflowId,
    taskQueue: queueName('workflows'),
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
    typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
    staticSummary: `${project}, by hand`,
  });
  const loadNow = async (project: string, sink: WarehouseSink): Promise<string> => {
    const workflowId = warehouseLoadWorkflowId(project, sink);
    await client.workflow.signalWithStart('loadWarehouse', { ...byHand(workflowId, project), args: [loadInput(project, sink)], signal: AGAIN_SIGNAL, signalArgs: [] });
    return workflowId;
  };

  return {
    /** Sees to the timetables of projects that this process has not seen yet: all when it starts, later the new ones. */
    async sweep(): Promise<void> {
      for (const { id } of await projects.list()) {
        if (seenTo.has(id)) continue;
        try {
          for (const sink of WAREHOUSE_SINKS) await (config.WAREHOUSE_LOAD_EVERY > 0 && sinks.includes(sink) ? apply(loading(id, sink)) : remove(warehouseLoadWorkflowId(id, sink)));
          // Whoever loads by hand has files, too, and what was erased is to go from them.
          await apply(compaction(id));
          seenTo.add(id);
        } catch (error) {
          log.warn({ project: id, error: messageOf(error) }, "the timetables of a project's warehouse could not be set, will be tried again");
        }
      }
    },

    /** Loads now, beside the timetables; one that runs already by hand looks once more. @returns the ID of the workflow that loads the files */
    async load(project: string): Promise<string> {
      // What waits for them does not wait for the files; what the files are about to tell them comes after.
      for (const sink of others) await loadNow(project, sink);
      return loadNow(project, 'files');
    },
    /** Puts files together now; a compaction by hand that is under way, or waits to remove files, looks once more. @returns the workflow's ID */
    async compact(project: string): Promise<string> {
      const workflowId = warehouseCompactWorkflowId(project);
      await client.workflow.signalWithStart('compactWarehouse', { ...byHand(workflowId, project), args: [compactInput(project)], signal: AGAIN_SIGNAL, signalArgs: [] });
      return workflowId;
    },

    times: async (project: string): Promise<WarehouseTimes> => {
      const [nextLoad, nextCompaction] = await Promise.all([nextOf(warehouseLoadWorkflowId(project, 'files')), nextOf(warehouseCompactWorkflowId(project))]);
      return { nextLoad, nextCompaction };
    },
  };
};
