import { type Client, ScheduleAlreadyRunning, ScheduleNotFoundError, type ScheduleOptions, ScheduleOverlapPolicy, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/client';
import type { Config } from '../config.ts';
import type { Completeness } from '../db/completeness.ts';
import type { Projects } from '../db/projects.ts';
import { inProject } from '../db/scope.ts';
import { queueName } from '../domain/activities.ts';
import type { CheckDaysInput, DayKey, ReconcileDayInput } from '../domain/completeness.ts';
import { CATCH_UP_DAYS, daysDue } from '../domain/days-due.ts';
import { messageOf } from '../domain/errors.ts';
import { completenessScheduleId, reconciliationWorkflowId } from '../domain/ids.ts';
import { addDays, dayAt } from '../domain/local-time.ts';
import type { Pace } from '../domain/messages.ts';
import type { Log } from '../telemetry/log.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

type CompletenessConfig = Pick<Config, 'COMPLETENESS_HOUR' | 'COMPLETENESS_DAYS'>;

/** A day that was missed is found by the next check: longer than this need no check be made up for. */
const CATCHUP = '1d';
/** Receipts are swept after 30 days; a comparison with fewer than there were would find calls too many. */
const RECEIPT_DAYS = 29;
const DAY_MS = 86_400_000;

export type CompletenessClient = ReturnType<typeof createCompletenessClient>;

/** Starts comparisons: those that a person asks for, and those of what was handed in, which no schedule reads. */
export const createCompletenessClient = ({ client, completeness, projects, config, pace, log }: { client: Client; completeness: Completeness; projects: Projects; config: CompletenessConfig; pace: Pace; log: Pick<Log, 'warn'> }) => {
  /** @returns false when the day is being compared just now: information, not an error */
  const start = async (input: Omit<ReconcileDayInput, 'pace'>): Promise<boolean> => {
    const { project, source, day } = input;
    try {
      await client.workflow.start('reconcileDay', {
        workflowId: reconciliationWorkflowId(input),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        args: [{ ...input, pace } satisfies ReconcileDayInput],
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }, { key: SEARCH_ATTRIBUTES.source, value: source }],
        staticSummary: `${day} of ${project} from ${source}`,
      });
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  };

  const sweepOf = async ({ project, source }: Pick<DayKey, 'project' | 'source'>, atMs: number): Promise<void> => {
    const { timeZone } = await projects.settings(project);
    const watchedFrom = await completeness.watchedFrom(project, source);
    if (!watchedFrom) return;
    const days = await completeness.daysSince(project, source, addDays(dayAt(atMs, timeZone), -CATCH_UP_DAYS - 1));
    const watchedFromMs = Math.max(watchedFrom.getTime(), atMs - RECEIPT_DAYS * DAY_MS);
    for (const day of daysDue({ atMs, timeZone, ...days, watchedFromMs, recheckDays: config.COMPLETENESS_DAYS, hoursAfter: config.COMPLETENESS_HOUR })) await start({ project, source, day });
  };

  return {
    /** Compares a day now, because somebody asks for it. */
    reconcile: (input: DayKey & { by: string; takeIn: boolean }): Promise<boolean> => start(input),

    /** Has the days compared that are due of what was handed in. */
    async sweep(atMs = Date.now()): Promise<void> {
      for (const given of await completeness.givenSources()) {
        await inProject(given.project, () => sweepOf(given, atMs)).catch((error: unknown) => log.warn({ ...given, error: messageOf(error) }, 'days of what was handed in are not compared, will be tried again'));
      }
    },
  };
};

/** The daily check of one source that is read in windows. It comes and goes with the schedule of those. */
export const createCompletenessSchedule = ({ client, config, pace, project, source, timeZone }: { client: Client; config: CompletenessConfig; pace: Pace; project: string; source: string; timeZone: string }) => {
  const scheduleId = completenessScheduleId(project, source);
  const handle = client.schedule.getHandle(scheduleId);
  const spec: ScheduleOptions['spec'] = { calendars: [{ hour: config.COMPLETENESS_HOUR, minute: 0, second: 0, comment: `daily at ${config.COMPLETENESS_HOUR}:00` }], timezone: timeZone };
  const action: ScheduleOptions['action'] = {
    type: 'startWorkflow',
    workflowType: 'checkDays',
    workflowId: scheduleId,
    taskQueue: queueName('workflows'),
    args: [{ project, source, pace } satisfies CheckDaysInput],
    staticSummary: `days of ${project} from ${source}`,
  };
  // One check looks at all that is due: another beside it would do the same.
  const policies = { overlap: ScheduleOverlapPolicy.SKIP, catchupWindow: CATCHUP, pauseOnFailure: false } as const;
  const ifThere = async (work: Promise<void>): Promise<void> => {
    await work.catch((error: unknown) => {
      if (!(error instanceof ScheduleNotFoundError)) throw error;
    });
  };

  return {
    async apply(): Promise<void> {
      try {
        await client.schedule.create({ scheduleId, spec, action, policies });
      } catch (error) {
        if (!(error instanceof ScheduleAlreadyRunning)) throw error;
        await handle.update((previous) => ({ ...previous, spec, action, policies }));
      }
    },
    remove: () => ifThere(handle.delete()),
    pause: (note: string) => ifThere(handle.pause(note)),
    resume: (note: string) => ifThere(handle.unpause(note)),
  };
};
