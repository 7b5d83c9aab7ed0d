import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import { ApplicationFailure, CancellationScope, ContinueAsNew, continueAsNew, isCancellation, setCurrentDetails, workflowInfo } from '@temporalio/workflow';
import { runIdOf } from '../domain/ids.ts';
import type { IngestWindowInput } from '../domain/messages.ts';
import type { ExecutionReport } from '../domain/report.ts';
import { type CallCursor, windowAt } from '../domain/window.ts';
import { ingestActivities } from './proxies.ts';

/** Set by Temporal on every workflow that a Schedule starts, backfilled ones included. */
const SCHEDULED_AT = defineSearchAttributeKey('TemporalScheduledStartTime', SearchAttributeType.DATETIME);

/**
 * A page is three events or so; continuing as new this often keeps history far below the server's
 * warning at 10,240 events, whatever the server suggests.
 */
const PAGES_PER_RUN = 500;

/**
 * Reads one window of a source and starts a workflow for each new call, then waits for those calls and
 * writes the execution report.
 *
 * History does not grow with the number of calls: tasks stay inside the activity that starts them.
 */
export async function ingestWindow(input: IngestWindowInput): Promise<ExecutionReport> {
  const info = workflowInfo();
  const runId = input.resume?.runId ?? runIdOf(info.workflowId);
  const { openRun, ingestPage, awaitSettled, writeReport, failRun } = ingestActivities(input.pace);

  const scheduledAt = info.typedSearchAttributes.get(SCHEDULED_AT) ?? info.runStartTime;
  const window = input.resume?.window ?? input.window ?? windowAt(scheduledAt.getTime(), input.minutesBack);
  let page = input.resume?.page ?? 0;
  let cursor: CallCursor | undefined = input.resume?.cursor;

  try {
    if (page === 0) await openRun({ runId, project: input.project, source: input.source, window });
    for (let pagesHere = 1; ; pagesHere += 1) {
      setCurrentDetails(`reading page ${page + 1}`);
      const { next } = await ingestPage({
        runId,
        project: input.project,
        source: input.source,
        window,
        page,
        pace: input.pace,
        ...(cursor ? { cursor } : {}),
      });
      if (!next) break;
      page += 1;
      cursor = next;
      if (pagesHere >= (input.pagesPerRun ?? PAGES_PER_RUN) || workflowInfo().continueAsNewSuggested) {
        await continueAsNew<typeof ingestWindow>({ ...input, resume: { runId, window, cursor, page } });
      }
    }

    const deadlineMs = Date.now() + input.settleMs;
    for (let unsettled = 1; unsettled > 0 && Date.now() < deadlineMs; ) {
      setCurrentDetails('waiting for the calls of this window');
      unsettled = await awaitSettled({ runId, project: input.project, deadlineMs });
    }
    return await writeReport({ runId, project: input.project });
  } catch (error) {
    if (error instanceof ContinueAsNew) throw error;
    if (isCancellation(error)) {
      await CancellationScope.nonCancellable(() => failRun({ runId, error: 'The workflow was cancelled.' }));
      throw error;
    }
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    await failRun({ runId, error: cause instanceof Error ? cause.message : String(cause) });
    throw ApplicationFailure.create({ message: `Window ${runId} could not be read to its end`, type: 'WINDOW_FAILED', cause: cause as Error });
  }
}
