import { ActivityFailure, ApplicationFailure, condition, defineSignal, isCancellation, setHandler } from '@temporalio/workflow';
import { PUBLISH_SIGNAL, type PublishCallInput } from '../domain/messages.ts';
import { publicationActivities } from './proxies.ts';

const publishAgain = defineSignal(PUBLISH_SIGNAL);

/** However fast somebody corrects, what stands is published after this many waits. */
const MOST_WAITS = 20;

/**
 * Publishes what people have made of a call's analysis.
 *
 * Started, or signalled, with every change. Changes in a row are published once; one that comes while it
 * publishes makes it publish again.
 */
export async function publishCall({ call, pace, quietMs }: PublishCallInput): Promise<void> {
  let asked = true;
  setHandler(publishAgain, () => void (asked = true));
  const { publishCall: publish, recordUnpublished } = publicationActivities(pace);
  while (asked) {
    for (let waits = 0; asked && waits < MOST_WAITS; waits += 1) {
      asked = false;
      await condition(() => asked, quietMs);
    }
    asked = false;
    try {
      const { more } = await publish({ call });
      asked ||= more;
    } catch (error) {
      if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
      const { cause } = error;
      const advice = cause instanceof ApplicationFailure ? (cause.details?.[0] as { advice?: string } | undefined)?.advice : undefined;
      await recordUnpublished({ call, message: cause?.message ?? error.message, advice: advice ?? 'Mend the cause, then publish the review again.' });
    }
  }
}
