import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/client';
import type { BulkRulings } from '../db/bulk-rulings.ts';
import { queueName } from '../domain/activities.ts';
import type { BulkRulingInput } from '../domain/bulk.ts';
import { bulkWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

export type BulkClient = ReturnType<typeof createBulkClient>;

export const createBulkClient = ({ client, bulkRulings, pace }: { client: Client; bulkRulings: BulkRulings; pace: Pace }) => ({
  /** Starts a ruling on many calls. Starting it again under the same ID changes nothing, however the first time ended. */
  async rule(ruling: Omit<BulkRulingInput, 'pace'>): Promise<void> {
    try {
      // First what lasts: the workflow writes the ruling down itself, should this process end between the two.
      await client.workflow.start('bulkRuling', {
        workflowId: bulkWorkflowId(ruling.project, ruling.bulkId),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        args: [{ ...ruling, pace } satisfies BulkRulingInput],
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: ruling.project }],
        staticSummary: `${ruling.ruling} ${ruling.callIds.length} calls`,
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
    await bulkRulings.open(ruling);
  },
});
