import { ActivityFailure, isCancellation } from '@temporalio/workflow';
import type { DeliverMessageInput } from '../domain/messages.ts';
import { messageActivities } from './proxies.ts';

/**
 * One message on its way to one target, tried again for as long as its pace allows.
 *
 * A workflow of its own, so that a receiver that is down holds up no call. How it ended is in the delivery log.
 */
export async function deliverMessage({ project, messageId, pace }: DeliverMessageInput): Promise<string> {
  const { carryMessage, abandonMessage } = messageActivities(pace);
  try {
    return (await carryMessage({ project, messageId })).state;
  } catch (error) {
    if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
    await abandonMessage({ project, messageId, reason: error.cause?.message ?? error.message });
    return 'failed';
  }
}
