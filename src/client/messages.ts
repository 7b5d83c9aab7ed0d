import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/client';
import type { MessageRow } from '../db/messages.ts';
import { queueName } from '../domain/activities.ts';
import { messageWorkflowId } from '../domain/ids.ts';
import type { DeliverMessageInput, Pace } from '../domain/messages.ts';

/** Starts the workflows that carry messages. */
export const createMessagesClient = ({ client, pace }: { client: Client; pace: Pace }) => ({
  /** Sees to it that somebody carries a pending message. Each round of it has one workflow, however often this is asked for. */
  async send({ project, id, round, event, notifier }: Pick<MessageRow, 'project' | 'id' | 'round' | 'event' | 'notifier'>): Promise<void> {
    const input: DeliverMessageInput = { project, messageId: id, pace };
    try {
      await client.workflow.start('deliverMessage', {
        workflowId: messageWorkflowId({ project, messageId: id, round }),
        taskQueue: queueName('workflows'),
        // One that was ended in Temporal may be started again by a person.
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
        args: [input],
        staticSummary: `${event} to ${notifier}`,
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  },
});

export type MessagesClient = ReturnType<typeof createMessagesClient>;
