import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { Runs } from '../db/runs.ts';
import type { DeskActivities } from '../domain/activities.ts';
import type { Step } from '../domain/steps.ts';
import { isAftercallError } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { signal } from './context.ts';
import type { Publishing } from './publish.ts';
import type { SourceRecords } from './source-record.ts';
import type { StoreScore } from './stored-score.ts';

interface Dependencies {
  calls: Calls;
  costs: Costs;
  runs: Runs;
  publishing: Pick<Publishing, 'noteCall' | 'announceCall' | 'announceAttention'>;
  storeScore: StoreScore;
  records: Pick<SourceRecords, 'chargeAgain'>;
  log: Pick<Log, 'warn'>;
}

export const createDeskActivities = ({ calls, costs, runs, publishing, storeScore, records, log }: Dependencies): Pick<DeskActivities, 'deliver' | 'recordState'> => ({
  /**
   * Brings the call's record up to date with its analysis, notes it in the CRM, closes the call and tells of it.
   *
   * Everything here is found again by its key, so a repeat after a crash changes nothing. The call waits for the CRM,
   * never for messages: those are written down here and carried by workflows of their own.
   */
  async deliver({ call, result, skipped, reasons = {} }) {
    await calls.beginStep(call, 'deliver');
    const version = await calls.getVersion(call);
    const analysis = await storeScore(call);
    await records.chargeAgain(call).catch((error: unknown) => {
      // What was known of it before stands; a bill holds nothing up.
      if (!isAftercallError(error)) throw error;
      log.warn({ project: call.project, callId: call.callId, code: error.code }, 'what a call cost could not be asked for again');
    });
    await publishing.noteCall({ call, analysis, signal: signal() });
    await calls.keepResult(call, 'deliver', { deliveredAtMs: Date.now() });
    await costs.forgetAnswers(call);
    if (version.runId) await runs.log(version.runId, 'info', 'call completed', { callId: call.callId, version: call.version, result, skipped });
    await calls.setState(call, { state: 'completed', result, ...(skipped.length > 0 ? { reason: skippedBecause(skipped, reasons) } : {}) });
    // Last, so that whoever asks at once finds what they were told.
    await publishing.announceCall({ call, analysis: (await calls.getVersion(call)).effective });
    return { state: 'delivered' };
  },

  async recordState({ call, state, step, attention, reason, drop = [] }) {
    await calls.dropResults(call, drop);
    await calls.setState(call, { state, step: step ?? null, reason, ...(attention ? { attention } : {}) });
    if (state === 'needs_attention' && attention) {
      await publishing.announceAttention({ call, attention }).catch((error: unknown) => {
        // That a call waits has to be recorded, whether or not anybody can be told.
        if (!isAftercallError(error) || error.retryable) throw error;
        log.warn({ project: call.project, callId: call.callId, code: error.code }, 'nobody could be told that a call waits');
      });
    }
    const { runId } = await calls.getVersion(call);
    if (!runId || state === 'processing') return;
    const level = state === 'failed' ? 'error' : state === 'needs_attention' ? 'warn' : 'info';
    await runs.log(runId, level, `call ${state.replaceAll('_', ' ')}`, { callId: call.callId, version: call.version, ...(attention ? { step: attention.step, code: attention.code, error: attention.message } : {}) });
  },
});

const skippedBecause = (skipped: Step[], reasons: Partial<Record<Step, string>>): string =>
  [`Skipped: ${skipped.join(', ')}.`, ...skipped.flatMap((step) => (reasons[step] === undefined ? [] : [`${step} was turned down: ${reasons[step]}.`]))].join(' ');
