import pLimit from 'p-limit';
import type { Inbox, InboxEvent } from '../db/inbox.ts';
import { asInstallation, inProject } from '../db/scope.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

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
const EVERY_MS = 5_000;

/** Delivers what came in by webhook, for as long as it takes: Temporal, or the source, may be down meanwhile. */
export const startWebhookRelay = ({ inbox, deliveries, log }: Dependencies) => {
  let stopped = false;
  let running: Promise<void> | undefined;
  let again = false;

  const deliver = async (event: InboxEvent): Promise<void> => {
    if (stopped) return;
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

  const drain = async (): Promise<void> => {
    for (let more = true; more && !stopped; ) {
      again = false;
      const events = await inbox.due(BATCH);
      const lane = pLimit(LANES);
      // All are seen to their end before more are read, or those under way would be read again.
      await Promise.all(events.map((event) => lane(() => deliver(event))));
      more = again || events.length === BATCH;
    }
  };

  const kick = (): void => {
    again = true;
    // Whoever kicks may see one project only; events are everybody's.
    running ??= asInstallation(drain)
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'the webhook inbox cannot be read'))
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
