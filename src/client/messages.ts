import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy, WorkflowNotFoundError } from '@temporalio/client';
import type { MessageRow } from '../db/messages.ts';
import { queueName } from '../domain/activities.ts';
import { messageWorkflowId } from '../domain/ids.ts';
import type { DeliverMessageInput, Pace } from '../domain/messages.ts';

type Carried = Pick<MessageRow, 'project' | 'id' | 'round' | 'event' | 'notifier'>;

/** Starts the workflows that carry messages. */
export const createMessagesClient = ({ client, pace }: { client: Client; pace: Pace }) => ({
  /** Sees to it that somebody carries a message that is on its way. @returns false when somebody does already */
  async takeUp(message: Carried): Promise<boolean> {
    const { project, id, round } = message;
    const status = await client.workflow
      .getHandle(messageWorkflowId({ project, messageId: id, round }))
      .describe()
      .then(({ status: { name } }) => name, (error: unknown) => {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      });
    if (status === 'RUNNING') return false;
    await this.send(message);
    return true;
  },

  /** Sees to it that somebody carries a pending message. Each round of it has one workflow, however often this is asked for. */
  async send({ project, id, round, event, notifier }: Carried): Promise<void> {
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
