import type { CallsClient } from '../client/calls.ts';
import type { ReviewPublications } from '../db/review-publications.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

const BATCH = 100;
const EVERY_MS = 5_000;

/** Starts the publication of what has been reviewed. A start that fails, or is lost with its process, is made good later. */
export const startPublicationRelay = ({ reviewPublications, callsClient, log }: { reviewPublications: ReviewPublications; callsClient: Pick<CallsClient, 'publish'>; log: Log }) => {
  let stopped = false;
  let running: Promise<void> | undefined;
  let again = false;

  const drain = async (): Promise<void> => {
    for (let more = true; more && !stopped; ) {
      again = false;
      const due = await reviewPublications.takeDue(BATCH);
      for (const key of due) await callsClient.publish(key);
      more = again || due.length === BATCH;
    }
  };

  const kick = (): void => {
    again = true;
    running ??= drain()
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'reviews not published yet, will be tried again'))
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(kick, EVERY_MS);
  timer.unref();
  kick();

  return {
    kick,
    stop: async (): Promise<void> => {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
};
