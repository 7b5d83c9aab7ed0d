import { ActivityFailure, CancellationScope } from '@temporalio/workflow';
import type { BulkRulingInput } from '../domain/bulk.ts';
import { bulkActivities } from './proxies.ts';

/**
 * Rules on up to a thousand calls, one Update each.
 *
 * A workflow so that it goes on wherever the process that took the request may end. What each call came to
 * is in the database as soon as it is known; a retry does what is left.
 */
export async function bulkRuling(input: BulkRulingInput): Promise<void> {
  const { ruleOnCalls, endBulkRuling } = bulkActivities(input.pace);
  try {
    await ruleOnCalls(input);
  } catch (error) {
    const cause = error instanceof ActivityFailure && error.cause instanceof Error ? error.cause : error;
    const message = cause instanceof Error ? cause.message : String(cause);
    await CancellationScope.nonCancellable(() => endBulkRuling({ project: input.project, bulkId: input.bulkId, error: message }));
    throw error;
  }
}
