import { setTimeout as sleep } from 'node:timers/promises';
import pLimit from 'p-limit';
import type { Inbox, InboxEvent } from '../db/inbox.ts';
import { inProject } from '../db/scope.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Relay, startRelay } from './relay.ts';

/** Does what an event of a source asks for. Repeating it must be harmless; it is tried again until it succeeds. */
export type Delivery = (event: InboxEvent) => Promise<void>;

/**
 * The same for several events of one project at once, where together they cost less than one by one.
 *
 * @returns why an event was not delivered, in their order; undefined for those that were
 */
export interface BatchDelivery {
  all(events: readonly InboxEvent[]): Promise<unknown[]>;
}

export type Deliveries = Record<string, Delivery | BatchDelivery>;

interface Dependencies {
  inbox: Inbox;
  /** By source. */
  deliveries: Deliveries;
  log: Log;
}

const BATCH = 200;
/** Pause after a batch that was not full. */
const GATHER_MS = 50;
/** Delivered at once: look-ups of a source that come together can share a request. */
const LANES = 20;

/** Delivers what came in by webhook, for as long as it takes: Temporal, or the source, may be down meanwhile. */
export const startWebhookRelay = ({ inbox, deliveries, log }: Dependencies): Relay => {
  const failed = async ({ project, source }: Pick<InboxEvent, 'project' | 'source'>, events: InboxEvent[], error: unknown): Promise<void> => {
    const code = isAftercallError(error) ? { code: error.code } : {};
    log.warn({ project, source, eventIds: events.slice(0, 20).map(({ eventId }) => eventId), events: events.length, error: messageOf(error), ...code }, 'webhooks not delivered, will be tried again');
    const parked = await inbox.failed(events, messageOf(error));
    if (parked.length === 0) return;
    log.error(
      { project, source, eventIds: parked.slice(0, 20).map(({ eventId }) => eventId), events: parked.length, error: messageOf(error), ...code, advice: 'Mend what the error names. They are tried every 6 hours, at once when they are sent again, and given up 30 days after they came.' },
      'webhooks have failed for a week and are parked',
    );
  };

  const deliver = async (event: InboxEvent, delivery: Delivery | undefined): Promise<void> => {
    try {
      // A source that is not in the settings any more has nothing to be delivered to.
      await inProject(event.project, async () => delivery?.(event));
      await inbox.delivered(event);
    } catch (error) {
      await failed(event, [event], error);
    }
  };

  const deliverAll = async (events: readonly InboxEvent[], delivery: BatchDelivery): Promise<void> => {
    const { project, source } = events[0]!;
    const errors = await inProject(project, () => delivery.all(events)).catch((error: unknown) => events.map(() => error));
    await inbox.delivered(...events.filter((_event, at) => errors[at] === undefined));
    // As a rule all fail alike.
    const reasons = new Map<string, { error: unknown; events: InboxEvent[] }>();
    for (const [at, event] of events.entries()) {
      const error = errors[at];
      if (error === undefined) continue;
      const reason = reasons.get(messageOf(error)) ?? { error, events: [] };
      reasons.set(messageOf(error), reason);
      reason.events.push(event);
    }
    for (const reason of reasons.values()) await failed({ project, source }, reason.events, reason.error);
  };

  return startRelay({
    batch: async (stopped) => {
      const events = await inbox.due(BATCH);
      const lane = pLimit(LANES);
      const groups = Map.groupBy(events, ({ project, source }) => JSON.stringify([project, source]));
      // All are seen to their end before more are read, or those under way would be read again.
      await Promise.all(
        [...groups.values()].map(async (group) => {
          const delivery = deliveries[group[0]!.source];
          if (typeof delivery === 'object') return lane(async () => void (stopped() || (await deliverAll(group, delivery))));
          await Promise.all(group.map((event) => lane(async () => void (stopped() || (await deliver(event, delivery))))));
        }),
      );
      // What comes meanwhile goes together with the next: fewer, larger transactions leave the disk to those that are answered.
      if (events.length > 0 && events.length < BATCH) await sleep(GATHER_MS);
      return events.length === BATCH;
    },
    failed: (error) => log.warn({ error: messageOf(error) }, 'the webhook inbox cannot be read'),
  });
};
