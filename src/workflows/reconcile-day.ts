import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { ApplicationFailure, CancellationScope, ContinueAsNew, continueAsNew, executeChild, isCancellation, ParentClosePolicy, setCurrentDetails, workflowInfo, WorkflowIdReusePolicy } from '@temporalio/workflow';
import type { CheckDaysInput, DayCounts, ReconcileDayInput } from '../domain/completeness.ts';
import { reconciliationWorkflowId } from '../domain/ids.ts';
import type { CallCursor } from '../domain/window.ts';
import { reasonOf } from './failure.ts';
import { completenessActivities } from './proxies.ts';

/** Set by Temporal on every workflow that a Schedule starts, backfilled ones included. */
const SCHEDULED_AT = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);
/** As of windows: history stays far below the server's warning. */
const PAGES_PER_RUN = 500;

/**
 * Holds what a source lists of a day against what we have: takes in what is missing, and finds a reason for every
 * call that one side has and the other has not, or that has not been processed.
 *
 * History does not grow with the number of calls: what is read is kept in the database until it is counted.
 */
export async function reconcileDay(input: ReconcileDayInput): Promise<DayCounts> {
  const { project, source, day, by, resume, takeIn = true } = input;
  const key = { project, source, day };
  const { openDay, readDayPage, lookForUnlisted, concludeDay, failDay } = completenessActivities(input.pace);
  const token = resume?.opened.token ?? workflowInfo().runId;
  try {
    const opened = resume?.opened ?? (await openDay({ ...key, token, ...(by === undefined ? {} : { by }) }));
    let cursor: CallCursor | undefined = resume?.cursor;
    for (let page = resume?.page ?? 0, pagesHere = 1; ; pagesHere += 1) {
      setCurrentDetails(`reading page ${page + 1}`);
      const { next } = await readDayPage({ ...key, opened, takeIn, pace: input.pace, ...(cursor ? { cursor } : {}) });
      if (!next) break;
      page += 1;
      cursor = next;
      if (pagesHere >= (input.pagesPerRun ?? PAGES_PER_RUN) || workflowInfo().continueAsNewSuggested) {
        await continueAsNew<typeof reconcileDay>({ ...input, resume: { opened, cursor, page } });
      }
    }
    setCurrentDetails('looking for calls that the source did not list');
    for (let more = true; more; ) ({ more } = await lookForUnlisted({ ...key, opened }));
    return await concludeDay({ ...key, opened });
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    const reason = isCancellation(error) ? 'The comparison was cancelled.' : reasonOf(error).message;
    await CancellationScope.nonCancellable(() => failDay({ ...key, token, error: reason }));
    if (isCancellation(error)) throw error;
    throw ApplicationFailure.create({ message: `${day} of ${source} could not be compared: ${reason}`, type: 'RECONCILIATION_FAILED', cause: error as Error });
  }
}

/**
 * Compares every day of a source that is due: the last one, those that were missed, and those of which something
 * is still to come. A day that cannot be compared does not keep the others waiting; it is due again tomorrow.
 */
export async function checkDays({ project, source, pace }: CheckDaysInput): Promise<{ compared: string[]; failed: string[] }> {
  const { dueDays } = completenessActivities(pace);
  const info = workflowInfo();
  const at = info.typedSearchAttributes.get(SCHEDULED_AT) ?? info.runStartTime;
  const compared: string[] = [];
  const failed: string[] = [];
  for (const day of await dueDays({ project, source, atMs: at.getTime() })) {
    setCurrentDetails(`comparing ${day}`);
    try {
      await executeChild('reconcileDay', {
        workflowId: reconciliationWorkflowId({ project, source, day }),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        parentClosePolicy: ParentClosePolicy.ABANDON,
        args: [{ project, source, day, pace } satisfies ReconcileDayInput],
        staticSummary: `${day} of ${project} from ${source}`,
      });
      compared.push(day);
    } catch (error) {
      if (CancellationScope.current().consideredCancelled) throw error;
      // Failed, which its row says; or a person has it compared just now.
      failed.push(day);
    }
  }
  return { compared, failed };
}
