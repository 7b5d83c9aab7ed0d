import pLimit from 'p-limit';
import type { Inbox, InboxEvent } from '../db/inbox.ts';
import { inProject } from '../db/scope.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Relay, startRelay } from './relay.ts';

/** Does what an event of a source asks for. Repeating it must be harmless; it is tried again until it succeeds. */
export type Delivery = (event: InboxEvent) => Promise<void>;

interface Dependencies {
  inbox: Inbox;
  /** By source. */
  deliveries: Record<string, Delivery>;
  log: Log;
}

const BATCH = 50;
/** Delivered at once: look-ups of a source that come together can share a request. */
const LANES = 20;

/** Delivers what came in by webhook, for as long as it takes: Temporal, or the source, may be down meanwhile. */
export const startWebhookRelay = ({ inbox, deliveries, log }: Dependencies): Relay => {
  const deliver = async (event: InboxEvent): Promise<void> => {
    const { project, source, eventId, type } = event;
    try {
      // A source that is not in the settings any more has nothing to be delivered to.
      await inProject(project, async () => deliveries[source]?.(event));
      await inbox.delivered(event);
    } catch (error) {
      log.warn({ project, source, eventId, type, error: messageOf(error), ...(isAftercallError(error) ? { code: error.code } : {}) }, 'webhook not delivered, will be tried again');
      await inbox.failed(event, messageOf(error));
    }
  };

  return startRelay({
    batch: async (stopped) => {
      const events = await inbox.due(BATCH);
      const lane = pLimit(LANES);
      // All are seen to their end before more are read, or those under way would be read again.
      await Promise.all(events.map((event) => lane(async () => void (stopped() || (await deliver(event))))));
      return events.length === BATCH;
    },
    failed: (error) => log.warn({ error: messageOf(error) }, 'the webhook inbox cannot be read'),
  });
};
