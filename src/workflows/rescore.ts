import { CancellationScope, condition, ContinueAsNew, continueAsNew, defineSignal, isCancellation, setHandler, workflowInfo } from '@temporalio/workflow';
import { RESCORE_SIGNALS, type RescoreInput, type RescoreState } from '../domain/rescore.ts';
import { type Reason, reasonOf } from './failure.ts';
import { rescoreActivities } from './proxies.ts';

const pauseSignal = defineSignal(RESCORE_SIGNALS.pause);
const resumeSignal = defineSignal(RESCORE_SIGNALS.resume);
const cancelSignal = defineSignal(RESCORE_SIGNALS.cancel);

/** Calls at once: a shadow run must leave the providers' limits to the calls that people wait for. */
const LANES = 4;
const BATCH = 20;
/** Each batch is some 130 events; with ten, history stays far below the server's warning at 10,240. */
const BATCHES_PER_RUN = 10;
/** How often to look whether there is room in the budget again. A person can resume it before. */
const BUDGET_LOOK = '15m';

/**
 * Grades stored calls by another preset, in small steps, and writes down nothing but what it finds.
 *
 * Which calls are left stands in the database: after a pause, a crash or a termination it goes on with
 * those. It can be paused, resumed and cancelled; at the day's budget it waits.
 */
export async function rescore(input: RescoreInput): Promise<void> {
  const { project, rescoreId } = input;
  const of = { project, rescoreId };
  const { nextRescoreCalls, rescoreCall, failRescoreCall, setRescoreState } = rescoreActivities(input.pace);
  let paused = input.paused ?? false;
  let cancelled = false;
  let resumed = 0;
  setHandler(pauseSignal, () => void (paused = true));
  setHandler(resumeSignal, () => {
    paused = false;
    resumed += 1;
  });
  setHandler(cancelSignal, () => void (cancelled = true));
  const set = (state: RescoreState, reason?: string): Promise<void> => setRescoreState({ ...of, state, ...(reason === undefined ? {} : { reason }) });

  /** @returns why no more can be paid for today, if so */
  const grade = async (seqs: number[]): Promise<Reason | undefined> => {
    const left = [...seqs];
    let limit: Reason | undefined;
    const lane = async (): Promise<void> => {
      for (let seq = left.shift(); seq !== undefined && !limit && !paused && !cancelled; seq = left.shift()) {
        try {
          await rescoreCall({ ...of, seq });
        } catch (error) {
          if (isCancellation(error)) throw error;
          const reason = reasonOf(error);
          if (reason.code === 'BUDGET_REACHED') limit = reason;
          else await failRescoreCall({ ...of, seq, error: reason });
        }
      }
    };
    await Promise.all(Array.from({ length: LANES }, lane));
    return limit;
  };

  try {
    await set(paused ? 'paused' : 'running');
    for (let batches = 0; ; batches += 1) {
      if (cancelled) return await set('cancelled');
      if (paused) {
        await set('paused');
        await condition(() => !paused || cancelled);
        if (!cancelled) await set('running');
        continue;
      }
      if (batches >= BATCHES_PER_RUN || workflowInfo().continueAsNewSuggested) await continueAsNew<typeof rescore>({ ...input, paused });
      const seqs = await nextRescoreCalls({ ...of, limit: BATCH });
      if (seqs.length === 0) return await set('completed');
      const limit = await grade(seqs);
      if (!limit) continue;
      await set('waiting_for_budget', limit.message);
      const before = resumed;
      await condition(() => resumed > before || paused || cancelled, BUDGET_LOOK);
      if (!cancelled) await set('running');
    }
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    const stopped = isCancellation(error);
    await CancellationScope.nonCancellable(() => set(stopped ? 'cancelled' : 'failed', stopped ? 'The workflow was cancelled.' : reasonOf(error).message));
    throw error;
  }
}
