import { sql } from 'kysely';
import { type Database, json, storable } from './database.ts';

export interface InboxEvent {
  project: string;
  source: string;
  eventId: string;
  type: string;
  body: Record<string, unknown>;
  attempts: number;
}

type EventKey = Pick<InboxEvent, 'project' | 'source' | 'eventId'>;

const toRow = ({ project, source, eventId, type, body }: Omit<InboxEvent, 'attempts'>) => ({ project, source, event_id: eventId, type, body: json(body) });

/** Waits between tries to deliver an event: 1 s doubling up to 5 minutes. */
const backOff = sql<Date>`now() + least(interval '5 minutes', interval '1 second' * power(2, least(attempts, 10)))`;

export const createInbox = (db: Database) => ({
  /** Keeps an event. @returns false when it is there already: providers repeat themselves */
  async receive(event: Omit<InboxEvent, 'attempts'>): Promise<boolean> {
    const row = await db
      .insertInto('inbox')
      .values(toRow(event))
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
      .values(events.map(toRow))
      .onConflict((conflict) => conflict.doNothing())
      .returning('event_id')
      .execute();
    return rows.length;
  },

  /** Events that are due for delivery, oldest first. */
  async due(limit: number): Promise<InboxEvent[]> {
    const rows = await db
      .selectFrom('inbox')
      .select(['project', 'source', 'event_id', 'type', 'body', 'attempts'])
      .where('delivered_at', 'is', null)
      .where('next_attempt_at', '<=', sql<Date>`now()`)
      .orderBy('received_at')
      .limit(limit)
      .execute();
    return rows.map(({ event_id: eventId, ...row }) => ({ ...row, eventId }));
  },

  /** Notes that an event was delivered. What it said is not needed any more, only that it came. */
  async delivered({ project, source, eventId }: EventKey): Promise<void> {
    await db.updateTable('inbox').set({ delivered_at: sql`now()`, error: null, body: json({}) }).where('project', '=', project).where('source', '=', source).where('event_id', '=', eventId).execute();
  },

  async failed({ project, source, eventId }: EventKey, error: string): Promise<void> {
    await db
      .updateTable('inbox')
      .set({ attempts: sql`attempts + 1`, next_attempt_at: backOff, error: storable(error) })
      .where('project', '=', project)
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
