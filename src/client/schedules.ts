import { type Client, ScheduleAlreadyRunning, type ScheduleDescription, type ScheduleOptions, ScheduleNotFoundError, ScheduleOverlapPolicy } from '@temporalio/client';
import { configWith } from '../adapters/connectors/settings.ts';
import { POLLED } from '../adapters/connectors/registry.ts';
import { type Config, withSystem } from '../config.ts';
import type { Connector, Connectors } from '../db/connectors.ts';
import type { Projects } from '../db/projects.ts';
import { createCompletenessSchedule } from './completeness.ts';
import { queueName } from '../domain/activities.ts';
import { AftercallError } from '../domain/errors.ts';
import { DEFAULT_PROJECT, ingestWorkflowId, scheduleId } from '../domain/ids.ts';
import type { IngestWindowInput, Pace } from '../domain/messages.ts';

type ScheduleConfig = Pick<Config, 'COMPLETENESS_HOUR' | 'COMPLETENESS_DAYS' | 'INGEST_EVERY' | 'INGEST_CRON' | 'INGEST_OVERLAP' | 'INGEST_CATCHUP' | 'INGEST_SETTLE'>;

const OVERLAP: Record<Config['INGEST_OVERLAP'], ScheduleOverlapPolicy> = {
  skip: ScheduleOverlapPolicy.SKIP,
  buffer_one: ScheduleOverlapPolicy.BUFFER_ONE,
  buffer_all: ScheduleOverlapPolicy.BUFFER_ALL,
  allow_all: ScheduleOverlapPolicy.ALLOW_ALL,
};

export interface ScheduleView {
  id: string;
  paused: boolean;
  note?: string;
  spec: string;
  overlap: string;
  catchupWindowMs: number;
  nextRuns: string[];
  recentRuns: { scheduledAt: string; startedAt: string; workflowId: string }[];
  /** Windows that were due and never run, because their time had passed the catch-up limit. */
  missed: number;
  /** Windows that were due while one ran, and were dropped by the overlap policy. */
  skipped: number;
  buffered: number;
}

/** Temporal takes a cron expression apart and gives back its comment only; what was written stands there. */
const withItself = (cron: string): string => (cron.includes('#') || cron.startsWith('@every') ? cron : `${cron} # ${cron}`);

/** When it is due, as it stands in Temporal. */
const timetable = ({ calendars = [], intervals = [] }: ScheduleDescription['spec']): string =>
  [...calendars.map(({ comment }) => `cron ${comment ?? 'by its calendar'} (UTC)`), ...intervals.map(({ every }) => `every ${every / 60_000} min`)].join(', ');

export type Schedules = ReturnType<typeof createSchedules>;

/** The Schedule of one project's source. */
export const createSchedules = ({
  client,
  config,
  pace,
  minutesBack,
  project,
  source,
  timeZone = 'UTC',
}: {
  client: Client;
  config: ScheduleConfig;
  pace: Pace;
  minutesBack: number;
  project: string;
  source: string;
  /** Of the project's days, at the end of which its calls are counted. */
  timeZone?: string;
}) => {
  const completeness = createCompletenessSchedule({ client, config, pace, project, source, timeZone });
  const id = scheduleId(project, source);
  const handle = client.schedule.getHandle(id);
  const input: IngestWindowInput = { project, source, minutesBack, settleMs: config.INGEST_SETTLE, pace };

  const spec = config.INGEST_CRON
    ? { cronExpressions: [withItself(config.INGEST_CRON)], timezone: 'UTC' }
    : { intervals: [{ every: config.INGEST_EVERY }] };
  const action: ScheduleOptions['action'] = {
    type: 'startWorkflow',
    workflowType: 'ingestWindow',
    workflowId: ingestWorkflowId(project, source),
    taskQueue: queueName('workflows'),
    args: [input],
    staticSummary: `window of ${project} from ${source}`,
  };
  const policies = { overlap: OVERLAP[config.INGEST_OVERLAP], catchupWindow: config.INGEST_CATCHUP, pauseOnFailure: false };

  const orExplain = async <T>(work: Promise<T>): Promise<T> =>
    work.catch((error: unknown) => {
      if (error instanceof ScheduleNotFoundError) {
        throw new AftercallError('NOT_FOUND', `There is no schedule ${id} in namespace ${client.options.namespace}.`, {
          advice: 'Create it with `npm run schedule -- apply`, or by saving the connector of its source.',
          cause: error,
        });
      }
      throw error;
    });

  /** The client's word for a timetable that the server does not take is a TypeError. */
  const asRefused = (error: unknown): unknown => {
    if (!(error instanceof TypeError)) return error;
    const [name, value] = config.INGEST_CRON ? ['INGEST_CRON', config.INGEST_CRON] : ['INGEST_EVERY', `${config.INGEST_EVERY / 1_000}s`];
    return new AftercallError('CONFIG_INVALID', `Temporal refuses ${name} "${value}": ${error.message}.`, { advice: `Mend ${name}; the schedule is as it was.`, cause: error });
  };

  return {
    id,

    /**
     * Creates the schedule, or brings an existing one in line with the settings. Whether it is paused stays as it is.
     *
     * @throws CONFIG_INVALID when Temporal does not take the timetable
     */
    async apply(): Promise<'created' | 'updated'> {
      try {
        await client.schedule.create({ scheduleId: id, spec, action, policies });
        await completeness.apply();
        return 'created';
      } catch (error) {
        if (!(error instanceof ScheduleAlreadyRunning)) throw asRefused(error);
      }
      await handle.update((previous) => ({ ...previous, spec, action, policies })).catch((error: unknown) => Promise.reject(asRefused(error)));
      await completeness.apply();
      return 'updated';
    },

    /** Takes the schedule away; a window that is being read is read to its end. Nothing to do where there is none. */
    async remove(): Promise<void> {
      await handle.delete().catch((error: unknown) => {
        if (!(error instanceof ScheduleNotFoundError)) throw error;
      });
      await completeness.remove();
    },

    /** Stops reading, and counting, which would take in what is not to be read. */
    async pause(note: string): Promise<void> {
      await orExplain(handle.pause(note));
      await completeness.pause(note);
    },
    async resume(note: string): Promise<void> {
      await orExplain(handle.unpause(note));
      await completeness.resume(note);
    },

    /** Reads a window now, beside the timetable. */
    trigger: (): Promise<void> => orExplain(handle.trigger(ScheduleOverlapPolicy.BUFFER_ONE)),

    /** Runs every window that was due between two times, one after the other. */
    backfill: (from: Date, to: Date): Promise<void> => orExplain(handle.backfill({ start: from, end: to, overlap: ScheduleOverlapPolicy.BUFFER_ALL })),

    /** Reads one window now and waits for its report, beside the schedule. @returns the workflow's ID and a handle on its report */
    async runWindow({ workflowId, ...given }: { workflowId: string } & Pick<IngestWindowInput, 'window' | 'pagesPerRun'>) {
      return client.workflow.start('ingestWindow', {
        workflowId,
        taskQueue: queueName('workflows'),
        args: [{ ...input, ...given }],
        staticSummary: `window of ${project} from ${source}, by hand`,
      });
    },

    async describe(): Promise<ScheduleView> {
      const found = await orExplain(handle.describe());
      return {
        id,
        paused: found.state.paused,
        ...(found.state.note ? { note: found.state.note } : {}),
        spec: timetable(found.spec),
        overlap: String(found.policies.overlap ?? policies.overlap).toLowerCase(),
        catchupWindowMs: found.policies.catchupWindow ?? config.INGEST_CATCHUP,
        nextRuns: found.info.nextActionTimes.map((at) => at.toISOString()),
        recentRuns: found.info.recentActions.map((run) => ({
          scheduledAt: run.scheduledAt.toISOString(),
          startedAt: run.takenAt.toISOString(),
          workflowId: run.action.workflow.workflowId,
        })),
        missed: found.info.numActionsMissedCatchupWindow,
        skipped: found.info.numActionsSkippedOverlap,
        buffered: found.info.runningActions.length,
      };
    },
  };
};

export interface ScheduleOfDependencies {
  client: Client;
  config: Config;
  pace: Pace;
  connectors: Pick<Connectors, 'find'>;
  projects: Pick<Projects, 'settings'>;
}

/**
 * The schedule of a project's source, with the timetable that stands for it: of its connector, or of the
 * installation's settings.
 *
 * @param given the connector as it is about to be saved, how far the project's windows reach back, and its zone: then nothing is read
 * @throws NOT_FOUND when the project has no such source
 */
export type ScheduleOf = (project: string, source: string, given?: { connector: Connector; minutesBack: number; timeZone: string }) => Promise<Schedules>;

export const createScheduleOf =
  ({ client, config, pace, connectors, projects }: ScheduleOfDependencies): ScheduleOf =>
  async (project, source, given) => {
    const system = POLLED.find((name) => name === source);
    const connector = given?.connector ?? (system && (await connectors.find(project, system)));
    if (!system || (!connector && !(project === DEFAULT_PROJECT && withSystem(config, system)))) {
      throw new AftercallError('NOT_FOUND', `Project ${project} has no source "${source}" that is read in windows.`, {
        advice: `Connect ${POLLED.join(' or ')}; calls also come in by signed webhook and by upload.`,
        outcome: 'refused',
      });
    }
    const stored = given ?? (await projects.settings(project));
    const own = connector ? configWith(config, system, connector) : config;
    const minutesBack = connector?.settings['MINUTES_BACK'] === undefined ? stored.minutesBack : own.MINUTES_BACK;
    return createSchedules({ client, config: own, pace, minutesBack, project, source, timeZone: stored.timeZone });
  };
