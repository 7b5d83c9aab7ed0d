import { sql } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import { type Database, json, storable } from './database.ts';
import { asInstallation } from './scope.ts';

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

const among = (events: readonly EventKey[]) =>
  sql<boolean>`(project, source, event_id) in (select project, source, event_id from jsonb_to_recordset(${json(events.map(({ project, source, eventId }) => ({ project, source, event_id: eventId })))}::jsonb) as event (project text, source text, event_id text))`;

/** Waits between tries to deliver an event: 1 s doubling up to 5 minutes. */
const backOff = sql<Date>`now() + least(interval '5 minutes', interval '1 second' * power(2, least(attempts, 10)))`;

type NewEvent = Omit<InboxEvent, 'attempts'>;

/** Statements under way at once, and events that one takes along. */
const WRITERS = 2;
const MOST_TOGETHER = 100;
/** Events in memory that wait for a statement: some 10 MB. More only come while the database hangs, and whoever sends them sends them again. */
const MOST_WAITING = 5_000;

/**
 * Keeps single events, those that come while others are being written all by the next statement: when hundreds come
 * in a second, whoever waits for one of them waits for two commits at most, and not for a connection.
 *
 * @throws DATABASE_UNAVAILABLE when so many wait that the database must be hanging: memory is not its stand-in
 */
const createReceiver = (db: Database) => {
  const keyOf = ({ project, source, eventId }: EventKey): string => JSON.stringify([project, source, eventId]);
  let waiting: { event: NewEvent; settle: (outcome: Promise<boolean>) => void }[] = [];
  let writing = 0;

  /** @returns the keys of those that were not there yet */
  const write = async (events: readonly NewEvent[]): Promise<Set<string>> => {
    const rows = await db
      .insertInto('inbox')
      .values(events.map(toRow))
      .onConflict((conflict) => conflict.doNothing())
      .returning(['project', 'source', 'event_id'])
      .execute();
    return new Set(rows.map(({ project, source, event_id: eventId }) => keyOf({ project, source, eventId })));
  };

  const pump = async (): Promise<void> => {
    if (writing >= WRITERS || waiting.length === 0) return;
    writing += 1;
    const taken = waiting.slice(0, MOST_TOGETHER);
    waiting = waiting.slice(MOST_TOGETHER);
    try {
      // Of several projects, by whoever came first.
      const fresh = await asInstallation(() => write(taken.map(({ event }) => event)));
      // Of an event that came twice in the meantime, the first is the one that was written.
      for (const { event, settle } of taken) settle(Promise.resolve(fresh.delete(keyOf(event))));
    } catch (error) {
      // One that cannot be written must not keep the others from it.
      for (const { event, settle } of taken) settle(taken.length === 1 ? Promise.reject(error) : asInstallation(async () => (await write([event])).size > 0));
    } finally {
      writing -= 1;
      void pump();
    }
  };

  return (event: NewEvent): Promise<boolean> =>
    new Promise((resolve) => {
      if (waiting.length >= MOST_WAITING) throw new AftercallError('DATABASE_UNAVAILABLE', `Writing the event down failed: ${waiting.length} others wait for the database.`, { advice: 'Send it again later. Look whether the database answers.', outcome: 'refused' });
      waiting.push({ event, settle: resolve });
      void pump();
    });
};

export const createInbox = (db: Database) => ({
  /** Keeps an event. @returns false when it is there already: providers repeat themselves */
  receive: createReceiver(db),

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

  /** Notes that events were delivered. What one said is not needed any more, only that it came, and of which call; of one that is erased, not even that. */
  async delivered(...events: EventKey[]): Promise<void> {
    if (events.length === 0) return;
    const about = sql<string | null>`case when exists (select from erased_calls gone where gone.project = inbox.project and gone.call_hash = encode(sha256(convert_to(inbox.project || '/' || inbox.about, 'UTF8')), 'hex')) then null else about end`;
    await db.updateTable('inbox').set({ delivered_at: sql`now()`, error: null, body: json({}), about }).where(among(events)).execute();
  },

  /** Notes that events were not delivered: each is due again after a while that grows. */
  async failed(events: EventKey[], error: string): Promise<void> {
    if (events.length === 0) return;
    await db.updateTable('inbox').set({ attempts: sql`attempts + 1`, next_attempt_at: backOff, error: storable(error) }).where(among(events)).execute();
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
