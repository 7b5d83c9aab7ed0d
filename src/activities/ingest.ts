import { sleep } from '@temporalio/activity';
import type { BudgetRelease } from '../client/budget-release.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Intake } from '../client/intake.ts';
import type { CallRow, Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { Runs } from '../db/runs.ts';
import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { IngestActivities } from '../domain/activities.ts';
import { signal } from './context.ts';

interface Dependencies {
  adaptersOf: AdaptersOf;
  calls: Calls;
  projects: Pick<Projects, 'settings'>;
  runs: Runs;
  release: Pick<BudgetRelease, 'withinDay'>;
  intake: Intake;
  client: Pick<CallsClient, 'workflowStatus'>;
}

/** How often a settling run looks at its calls, and how long one activity does so. */
const LOOK_EVERY_MS = 1_000;
const WATCH_FOR_MS = 10 * 60_000;
const LOOKS_PER_SWEEP = 30;

export const createIngestActivities = ({ adaptersOf, calls, projects, runs, intake, release, client }: Dependencies): Pick<IngestActivities, 'openRun' | 'ingestPage' | 'awaitSettled' | 'failRun'> => {
  /** A workflow that was terminated or timed out from outside could not record that itself. */
  const markLost = async (unsettled: CallRow[]): Promise<void> => {
    for (const call of unsettled) {
      const status = await client.workflowStatus(call);
      if (status === 'TERMINATED' || status === 'TIMED_OUT') {
        await calls.setState(call, { state: 'failed', reason: `The workflow was ${status.toLowerCase().replace('_', ' ')} in Temporal.` });
      }
    }
  };

  return {
  async openRun({ runId, project, source, window }) {
    await runs.open({ id: runId, project, source, windowFrom: new Date(window.fromMs), windowTo: new Date(window.toMs) });
    const released = await release.withinDay(project, { signal: signal() });
    if (released > 0) await runs.log(runId, 'info', 'calls that had waited for the budget go on', { calls: released });
    await runs.log(runId, 'info', 'window opened', { from: new Date(window.fromMs).toISOString(), to: new Date(window.toMs).toISOString() });
  },

  /**
   * Reads one page and starts a workflow for each call of it that is new.
   *
   * Safe to repeat at any point, as the intake is.
   */
  async ingestPage({ runId, project, source, window, cursor, page, pace }) {
    const listed = await (await adaptersOf(project)).sources.get(source).listCalls({ ...window, ...(cursor ? { cursor } : {}), signal: signal() });
    // Calls of a voice provider that somebody else has placed are taken in where the project says so.
    const unplaced = listed.unplaced && !(await projects.settings(project)).takeUnplacedCalls ? new Set(listed.unplaced) : undefined;
    const found = unplaced ? listed.calls.filter(({ callId }) => !unplaced.has(callId)) : listed.calls;
    const dispositions = await intake.takeIn({ project, source, calls: found, pace, runId, check: () => signal().throwIfAborted() });
    await runs.noteTasks(runId, dispositions, page + 1);
    const started = dispositions.filter(({ disposition }) => disposition === 'new').length;
    for (const callId of listed.leftOut ?? []) await runs.log(runId, 'warn', 'call left out: its ID cannot name a file', { callId: callId.slice(0, 200) });
    if (unplaced) await runs.log(runId, 'info', 'calls that we did not place were left out', { calls: unplaced.size });
    await runs.log(runId, 'info', 'page read', { page: page + 1, found: found.length, started });
    return { found: found.length, started, ...(listed.next ? { next: listed.next } : {}) };
  },

  /** Watches the run's calls until all are settled, the deadline passes, or it has watched for ten minutes. */
  async awaitSettled({ runId, project, deadlineMs }) {
    const watchUntilMs = Math.min(deadlineMs, Date.now() + WATCH_FOR_MS);
    for (let looks = 1; ; looks += 1) {
      const unsettled = await runs.countUnsettled(runId);
      if (unsettled === 0 || Date.now() >= watchUntilMs) return unsettled;
      if (looks % LOOKS_PER_SWEEP === 0) await markLost(await calls.listUnsettledOf(project, runId, 50));
      await sleep(LOOK_EVERY_MS);
    }
  },

  async failRun({ runId, error }) {
    await runs.setState(runId, { state: 'failed', error });
    await runs.log(runId, 'error', 'window failed', { error });
  },
  };
};
