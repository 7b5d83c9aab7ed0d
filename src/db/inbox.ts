import { sql } from 'kysely';
import { type Database, json, storable } from './database.ts';

export interface InboxEvent {
  project: string;
  source: string;
  eventId: string;
  type: string;
  body: Record<string, unknown>;
  attempts: number;
  /** The call that it brings, if it brings one: known also when the body is forgotten. */
  about?: string;
}

type EventKey = Pick<InboxEvent, 'project' | 'source' | 'eventId'>;

const toRow = ({ project, source, eventId, type, body, about }: Omit<InboxEvent, 'attempts'>) => ({ project, source, event_id: eventId, type, body: json(body), about: about ?? null });

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
    // One parameter, however many there are: an upload brings thousands, all or none.
    const { rows } = await sql`insert into inbox (project, source, event_id, type, body, about)
      select project, source, event_id, type, body, about from jsonb_to_recordset(${json(events.map(({ eventId, ...event }) => ({ ...event, event_id: eventId })))}::jsonb)
        as event (project text, source text, event_id text, type text, body jsonb, about text)
      on conflict do nothing returning event_id`.execute(db);
    return rows.length;
  },

  /** Events that are due for delivery, the oldest of each project and source first. */
  async due(limit: number): Promise<InboxEvent[]> {
    // In turns: a project that uploads thousands of calls keeps no other's webhooks waiting.
    const { rows } = await sql<Omit<InboxEvent, 'eventId'> & { event_id: string }>`
      select inbox.project, inbox.source, inbox.event_id, inbox.type, inbox.body, inbox.attempts from inbox join (
        select project, source, event_id, received_at, row_number() over (partition by project, source order by received_at, event_id) as turn
        from inbox where delivered_at is null and next_attempt_at <= now()
      ) due using (project, source, event_id)
      order by due.turn, due.received_at limit ${limit}`.execute(db);
    return rows.map(({ event_id: eventId, ...row }) => ({ ...row, eventId }));
  },

  /** Notes that an event was delivered. What it said is not needed any more, only that it came, and of which call; of one that is erased, not even that. */
  async delivered({ project, source, eventId }: EventKey): Promise<void> {
    const about = sql<string | null>`case when exists (select from erased_calls gone where gone.project = inbox.project and gone.call_hash = encode(sha256(convert_to(inbox.project || '/' || inbox.about, 'UTF8')), 'hex')) then null else about end`;
    await db.updateTable('inbox').set({ delivered_at: sql`now()`, error: null, body: json({}), about }).where('project', '=', project).where('source', '=', source).where('event_id', '=', eventId).execute();
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
