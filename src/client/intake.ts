import pLimit from 'p-limit';
import type { Calls, StagedState } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { Disposition } from '../db/runs.ts';
import { type CallDetails, type CallState, RESTARTABLE_STATES, SETTLED_STATES } from '../domain/call.ts';
import { categoryOf } from '../domain/category.ts';
import type { Pace } from '../domain/messages.ts';
import { LEFT_OUT, type StagingAct, type StagingVerdict, stagingOf } from '../domain/staging.ts';
import type { CallsClient } from './calls.ts';

/** How a call is written down that the rules have decided on. */
const STATE_OF: Record<StagingAct, StagedState> = { process: 'staged', stage: 'awaiting_approval', ignore: 'rejected' };
/** The way back: what was decided when a call was written down stands, also if the rules change before its start. */
const ACT_OF: Partial<Record<CallState, StagingAct>> = { staged: 'process', awaiting_approval: 'stage' };

/** States that a version is opened in. */
const UNBEGUN: readonly CallState[] = ['staged', 'awaiting_approval'];

/** Starts in flight at once. More only queue up in the server. */
const LANES = 20;

export interface TakeIn {
  project: string;
  source: string;
  /** As the source gives them. Open ones are left for later. */
  calls: CallDetails[];
  pace: Pace;
  /** The window run that found them; absent when the source announced them. */
  runId?: string;
  /** Before each start: throws when there is no use in going on. */
  check?: () => void;
  /** When all are written down, and none is started. */
  beforeStart?: () => Promise<void>;
}

export type Intake = ReturnType<typeof createIntake>;

/**
 * The one way in for calls, whether a window found them or a webhook announced them.
 *
 * Safe to repeat at any point, and at once from several sides: rows, versions and starts are all keyed by
 * the call, and whose run a call belongs to is decided by the version's row, written once.
 */
export const createIntake = ({ calls, projects, client }: { calls: Calls; projects: Projects; client: Pick<CallsClient, 'start' | 'workflowStatus'> }) => ({
  /** Writes calls down and starts a workflow for each that is new. @returns what became of each, in their order */
  async takeIn({ project, source, calls: found, pace, runId, check, beforeStart }: TakeIn): Promise<{ callId: string; disposition: Disposition }[]> {
    const settings = await projects.settings(project);
    const verdictOn = (call: CallDetails): StagingVerdict => stagingOf({ project, call, category: categoryOf(settings.categories, call) }, settings);
    const standing = await calls.stage(project, found.filter((call) => call.status !== 'open'), (call) => STATE_OF[verdictOn(call).act]);

    // With nothing written down, as of a call that was erased, there is nothing to add to.
    if (standing.size > 0) await beforeStart?.();

    const startOne = async (call: CallDetails): Promise<Disposition> => {
      check?.();
      const found = standing.get(call.callId);
      // Erased.
      if (!found) return 'skipped';
      const { state: stands, version } = found;
      // Left out just now, or by somebody who died before writing why.
      if (stands === 'rejected' && version === 0) return leaveOut(call, 1);
      const settled = (SETTLED_STATES as readonly CallState[]).includes(stands);
      // Only a window that is told to processes calls again; an announcement that comes twice is no wish.
      if (settled && (settings.skipProcessed || runId === undefined)) return 'skipped';
      const anew = settled || (RESTARTABLE_STATES as readonly CallState[]).includes(stands);
      if (anew) {
        // This page is read again, and what its first attempt started has ended meanwhile.
        if (runId !== undefined && (await calls.runOf({ project, callId: call.callId, version })) === runId) return 'new';
        // A call's end is recorded a moment before its workflow closes; a version opened now would never be started.
        if ((await client.workflowStatus({ project, callId: call.callId })) === 'RUNNING') return 'skipped';
      }
      const { act } = anew ? verdictOn(call) : { act: ACT_OF[stands] ?? 'process' };
      // What the rules leave out is not started again and again to be left out, whatever `skipProcessed` says.
      if (act === 'ignore') return settled ? 'skipped' : leaveOut(call, version + 1);
      const state = STATE_OF[act];
      const next = { project, callId: call.callId, version: anew ? version + 1 : Math.max(version, 1) };
      const owner = await calls.openVersion(next, { runId, from: 'recording', state });
      // The version before has completed, and whoever opened this one died before the start. Read again: `standing` may be old by now.
      const unbegun = !anew && version > 1 && UNBEGUN.includes((await calls.get(next)).state);
      const started = await client.start({
        call: next,
        source,
        from: 'recording',
        autoProcess: act === 'process',
        mode: settled || unbegun ? 'again' : 'unless-completed',
        pace,
      });
      // Opened by somebody who died before starting it: the call is this run's now.
      if (started && runId !== undefined && owner !== runId) await calls.adoptVersion(next, runId);
      // An earlier attempt of this page may have started it; the version's row remembers whose it is.
      return started || (runId !== undefined && owner === runId) ? 'new' : 'skipped';
    };

    const leaveOut = async (call: CallDetails, version: number): Promise<Disposition> => {
      const { rule } = verdictOn(call);
      // The rules may have changed since it was written down; that it is left out stands.
      const reason = rule ? `${LEFT_OUT} the rule "${rule}".` : `${LEFT_OUT} a rule that is gone.`;
      const owner = await calls.openVersion({ project, callId: call.callId, version }, { runId, from: 'recording', state: 'rejected', reason });
      return runId !== undefined && owner === runId ? 'new' : 'skipped';
    };

    const lane = pLimit(LANES);
    return Promise.all(found.map(async (call) => ({ callId: call.callId, disposition: call.status === 'open' ? ('open' as const) : await lane(() => startOne(call)) })));
  },
});
