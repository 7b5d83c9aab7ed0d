import type { CallsClient } from '../client/calls.ts';
import type { ReviewPublications } from '../db/review-publications.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Relay, startRelay } from './relay.ts';

const BATCH = 100;

/** Starts the publication of what has been reviewed. A start that fails, or is lost with its process, is made good later. */
export const startPublicationRelay = ({ reviewPublications, callsClient, log }: { reviewPublications: ReviewPublications; callsClient: Pick<CallsClient, 'publish'>; log: Log }): Relay =>
  startRelay({
    batch: async () => {
      const due = await reviewPublications.takeDue(BATCH);
      for (const key of due) await callsClient.publish(key);
      return due.length === BATCH;
    },
    failed: (error) => log.warn({ error: messageOf(error) }, 'reviews not published yet, will be tried again'),
  });
