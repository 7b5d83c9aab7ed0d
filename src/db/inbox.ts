import { sql } from 'kysely';
import { type Database, json, storable } from './database.ts';

export interface InboxEvent {
  source: string;
  eventId: string;
  type: string;
  body: Record<string, unknown>;
  attempts: number;
}

/** Waits between tries to deliver an event: 1 s doubling up to 5 minutes. */
const backOff = sql<Date>`now() + least(interval '5 minutes', interval '1 second' * power(2, least(attempts, 10)))`;

export const createInbox = (db: Database) => ({
  /** Keeps an event. @returns false when it is there already: providers repeat themselves */
  async receive(event: Omit<InboxEvent, 'attempts'>): Promise<boolean> {
    const row = await db
      .insertInto('inbox')
      .values({ source: event.source, event_id: event.eventId, type: event.type, body: json(event.body) })
      .onConflict((conflict) => conflict.doNothing())
      .returning('event_id')
      .executeTakeFirst();
    return row !== undefined;
  },

  /** Keeps several at once. @returns how many were not there yet */
  async receiveAll(events: Omit<InboxEvent, 'attempts'>[]): Promise<number> {
    if (events.length === 0) return 0;
    const rows = await db
      .insertInto('inbox')
      .values(events.map((event) => ({ source: event.source, event_id: event.eventId, type: event.type, body: json(event.body) })))
      .onConflict((conflict) => conflict.doNothing())
      .returning('event_id')
      .execute();
    return rows.length;
  },

  /** Events that are due for delivery, oldest first. */
  async due(limit: number): Promise<InboxEvent[]> {
    const rows = await db
      .selectFrom('inbox')
      .select(['source', 'event_id', 'type', 'body', 'attempts'])
      .where('delivered_at', 'is', null)
      .where('next_attempt_at', '<=', sql<Date>`now()`)
      .orderBy('received_at')
      .limit(limit)
      .execute();
    return rows.map(({ event_id: eventId, ...row }) => ({ ...row, eventId }));
  },

  async delivered({ source, eventId }: Pick<InboxEvent, 'source' | 'eventId'>): Promise<void> {
    await db.updateTable('inbox').set({ delivered_at: sql`now()`, error: null }).where('source', '=', source).where('event_id', '=', eventId).execute();
  },

  async failed({ source, eventId }: Pick<InboxEvent, 'source' | 'eventId'>, error: string): Promise<void> {
    await db
      .updateTable('inbox')
      .set({ attempts: sql`attempts + 1`, next_attempt_at: backOff, error: storable(error) })
      .where('source', '=', source)
      .where('event_id', '=', eventId)
      .execute();
  },

  async backlog(): Promise<number> {
    const row = await db.selectFrom('inbox').select((count) => count.fn.countAll<number>().as('events')).where('delivered_at', 'is', null).executeTakeFirstOrThrow();
    return Number(row.events);
  },

  /** Drops events delivered long ago: providers repeat themselves for days, not for a month. */
  async sweep(): Promise<void> {
    await db.deleteFrom('inbox').where('delivered_at', '<', sql<Date>`now() - interval '30 days'`).execute();
  },
});

export type Inbox = ReturnType<typeof createInbox>;
