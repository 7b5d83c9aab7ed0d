import pLimit from 'p-limit';
import type { CallsClient } from '../client/calls.ts';
import type { BulkRulings } from '../db/bulk-rulings.ts';
import type { Calls } from '../db/calls.ts';
import type { BulkActivities, BulkOutcome, BulkRulingInput } from '../domain/bulk.ts';
import { isAftercallError } from '../domain/errors.ts';
import { signal } from './context.ts';

interface Dependencies {
  calls: Pick<Calls, 'find'>;
  bulkRulings: BulkRulings;
  client: Pick<CallsClient, 'approve' | 'reject'>;
}

/** Updates in flight at once: a thousand calls take a minute, and other requests still get their turn. */
const LANES = 10;

export const createBulkActivities = ({ calls, bulkRulings, client }: Dependencies): BulkActivities => {
  const ruleOn = async ({ project, bulkId, ruling, at, by, reason = '' }: BulkRulingInput, callId: string): Promise<{ outcome: BulkOutcome; detail?: string }> => {
    const key = { project, callId };
    try {
      // One Update ID for all tries: the workflow takes it once.
      if (ruling === 'approve') await client.approve(key, { by, at }, bulkId);
      else await client.reject(key, { by, reason, at }, bulkId);
      return { outcome: 'done' };
    } catch (error) {
      if (!isAftercallError(error) || (error.code !== 'CONFLICT' && error.code !== 'NOT_FOUND')) throw error;
      // A rejected call has ended: a try whose answer was lost finds its own work done.
      const call = ruling === 'reject' ? await calls.find(key) : undefined;
      if (call?.state === 'rejected' && call.reason === reason) return { outcome: 'done' };
      return { outcome: 'refused', detail: error.message };
    }
  };

  return {
    async ruleOnCalls(input) {
      const { project, bulkId } = input;
      await bulkRulings.open(input);
      const lane = pLimit(LANES);
      const failures: unknown[] = [];
      await Promise.all(
        (await bulkRulings.pending(project, bulkId)).map((callId) =>
          lane(async () => {
            // A first lost answer may be that call's; many are the server's, and waiting for each would take hours.
            if (signal().aborted || failures.length >= LANES) return;
            try {
              await bulkRulings.settle(project, bulkId, callId, await ruleOn(input, callId));
            } catch (error) {
              failures.push(error);
            }
          }),
        ),
      );
      signal().throwIfAborted();
      // What is settled stays so; the next try does the rest.
      if (failures.length > 0) throw failures[0];
      await bulkRulings.end(project, bulkId);
    },

    async endBulkRuling({ project, bulkId, error }) {
      await bulkRulings.end(project, bulkId, error);
    },
  };
};
