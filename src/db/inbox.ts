import { type RawBuilder, sql } from 'kysely';
import type { KeyRing } from '../crypto/key-ring.ts';
import { type GivenCall, isGivenSource } from '../domain/given.ts';
import { AftercallError, messageOf } from '../domain/errors.ts';
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

type NewEvent = Omit<InboxEvent, 'attempts'>;
type EventKey = Pick<InboxEvent, 'project' | 'source' | 'eventId'>;

const keyOf = ({ project, source, eventId }: EventKey): string => JSON.stringify([project, source, eventId]);

/** Ties what an event says to it. */
export const inboxContext = ({ project, source, eventId }: EventKey): string => `inbox/${project}/${source}/${eventId}`;

/** What is handed in has links to recordings and numbers in it, and may wait for days: it lies there sealed. */
const toRow = (keyRing: KeyRing, { project, source, eventId, type, body, about }: NewEvent) => {
  const key = { project, source, event_id: eventId, type, about: about ?? null };
  if (!isGivenSource(source)) return { ...key, body: json(body), sealed: null, audio_key: null };
  const { audio } = (body['given'] ?? {}) as Partial<GivenCall>;
  return { ...key, body: json({}), sealed: keyRing.sealText(JSON.stringify(body), inboxContext({ project, source, eventId })), audio_key: audio?.key ?? null };
};

const among = (events: readonly EventKey[]) =>
  sql<boolean>`(project, source, event_id) in (select project, source, event_id from jsonb_to_recordset(${json(events.map(({ project, source, eventId }) => ({ project, source, event_id: eventId })))}::jsonb) as event (project text, source text, event_id text))`;

/** Neither delivered nor given up. As the index has it. */
const WAITS = sql<boolean>`delivered_at is null and forgotten_at is null`;

/** Has failed for so long that it is nobody's outage any more. */
const PARKED_AFTER = sql`received_at < now() - interval '7 days'`;

/** Waits between tries to deliver an event: 1 s doubling up to 5 minutes; 6 hours when it is parked. */
const backOff = sql<Date>`now() + case when ${PARKED_AFTER} then interval '6 hours' else least(interval '5 minutes', interval '1 second' * power(2, least(attempts, 10))) end`;

export const INBOX_STATES = ['waiting', 'parked', 'given_up'] as const;
/** `waiting`: tried within minutes. `parked`: has failed for a week, tried now and then. `given_up`: what it said is dropped. */
export type InboxState = (typeof INBOX_STATES)[number];

/** An event that is not delivered, without what it says. */
export interface InboxRow {
  source: string;
  eventId: string;
  type: string;
  state: InboxState;
  /** The call that it brings, where that is known. */
  callId: string | null;
  attempts: number;
  error: string | null;
  receivedAt: Date;
  /** Null: not any more. */
  nextTryAt: Date | null;
}

/** Some of the events of a project that are not delivered. */
export interface InboxFilter {
  source?: string | undefined;
  eventId?: string | undefined;
  state?: InboxState | undefined;
}

const STATE = sql<InboxState>`case when forgotten_at is not null then 'given_up' when parked_at is not null then 'parked' else 'waiting' end`;

const undelivered = (project: string, { source, eventId, state }: InboxFilter) =>
  sql.join(
    [
      sql`project = ${project} and delivered_at is null`,
      ...(source === undefined ? [] : [sql`source = ${source}`]),
      ...(eventId === undefined ? [] : [sql`event_id = ${eventId}`]),
      ...(state === undefined ? [] : [{ waiting: sql`forgotten_at is null and parked_at is null`, parked: sql`forgotten_at is null and parked_at is not null`, given_up: sql`forgotten_at is not null` }[state]]),
    ],
    sql` and `,
  );

/** Drops what events say. Their recordings go with the sweep of uploads. @returns how many there were */
const giveUp = async (db: Database, which: RawBuilder<unknown>, note: string): Promise<number> => {
  const { rows } = await sql<{ events: number }>`with given_up as (
      update inbox set forgotten_at = now(), body = '{}', sealed = null, error = coalesce(error, '') || ${storable(note)}
      where ${WAITS} and parked_at is not null and ${which}
      returning project, audio_key
    ), recordings as (
      insert into uploads (project, key) select project, audio_key from given_up where audio_key is not null on conflict do nothing
    )
    select count(*)::int as events from given_up`.execute(db);
  return rows[0]!.events;
};

/** What waits, of one source of one project, for a person to see. */
export interface ParkedEvents {
  project: string;
  source: string;
  /** `parked`: tried now and then; `forgotten`: given up, what it said is dropped. */
  state: 'parked' | 'forgotten';
  events: number;
}

/**
 * What to do about events that are there already: those that are parked are tried at once, since somebody has sent
 * them again; those that were given up are as good as new.
 *
 * @returns the keys of these
 */
const revive = async (db: Database, keyRing: KeyRing, events: readonly NewEvent[]): Promise<string[]> => {
  if (events.length === 0) return [];
  const parked = await db.selectFrom('inbox').select(['project', 'source', 'event_id', 'forgotten_at']).where(among(events)).where('parked_at', 'is not', null).where('delivered_at', 'is', null).execute();
  const known = parked.filter((row) => row.forgotten_at === null).map(({ project, source, event_id: eventId }) => ({ project, source, eventId }));
  if (known.length > 0) await db.updateTable('inbox').set({ next_attempt_at: sql`now()` }).where(among(known)).where(WAITS).execute();
  const forgotten = new Set(parked.filter((row) => row.forgotten_at !== null).map(({ project, source, event_id: eventId }) => keyOf({ project, source, eventId })));
  const anew: string[] = [];
  for (const event of events.filter((sent) => forgotten.has(keyOf(sent)))) {
    const { body, sealed, audio_key, about } = toRow(keyRing, event);
    const { numUpdatedRows } = await db
      .updateTable('inbox')
      .set({ body, sealed, audio_key, about, received_at: sql`now()`, next_attempt_at: sql`now()`, attempts: 0, error: null, parked_at: null, forgotten_at: null })
      .where(among([event]))
      .where('forgotten_at', 'is not', null)
      .executeTakeFirstOrThrow();
    if (numUpdatedRows > 0n) anew.push(keyOf(event));
  }
  return anew;
};

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
const createReceiver = (db: Database, keyRing: KeyRing) => {
  let waiting: { event: NewEvent; settle: (outcome: Promise<boolean>) => void }[] = [];
  let writing = 0;

  /** @returns the keys of those that were not there yet */
  const write = async (events: readonly NewEvent[]): Promise<Set<string>> => {
    const rows = await db
      .insertInto('inbox')
      .values(events.map((event) => toRow(keyRing, event)))
      .onConflict((conflict) => conflict.doNothing())
      .returning(['project', 'source', 'event_id'])
      .execute();
    const fresh = new Set(rows.map(({ project, source, event_id: eventId }) => keyOf({ project, source, eventId })));
    for (const key of await revive(db, keyRing, events.filter((event) => !fresh.has(keyOf(event))))) fresh.add(key);
    return fresh;
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

export const createInbox = (db: Database, keyRing: KeyRing) => ({
  /** Keeps an event. @returns false when it is there already: providers repeat themselves */
  receive: createReceiver(db, keyRing),

  /** Keeps several at once. @returns how many were not there yet */
  async receiveAll(events: Omit<InboxEvent, 'attempts'>[]): Promise<number> {
    if (events.length === 0) return 0;
    // One parameter, however many there are: an upload brings thousands, all or none.
    const { rows } = await sql`insert into inbox (project, source, event_id, type, body, about, sealed, audio_key)
      select project, source, event_id, type, body::jsonb, about, sealed, audio_key from jsonb_to_recordset(${json(events.map((event) => toRow(keyRing, event)))}::jsonb)
        as event (project text, source text, event_id text, type text, body text, about text, sealed text, audio_key text)
      on conflict do nothing returning event_id`.execute(db);
    return rows.length + (rows.length < events.length ? (await revive(db, keyRing, events)).length : 0);
  },

  /** Events that are due for delivery, those of each project and source that have been due for longest first. */
  async due(limit: number): Promise<InboxEvent[]> {
    // In turns: a project that uploads thousands of calls keeps no other's webhooks waiting. Each step reads the index
    // from where it is, so that what is not due costs nothing, however much of it there is.
    const { rows } = await sql<Omit<InboxEvent, 'eventId'> & { event_id: string; sealed: string | null }>`
      with recursive pair as (
        (select project, source from inbox where ${WAITS} order by project, source limit 1)
        union all
        select next.project, next.source from pair cross join lateral (
          select project, source from inbox where ${WAITS} and (project, source) > (pair.project, pair.source) order by project, source limit 1
        ) next
      ), chosen as (
        select due.* from pair cross join lateral (
          select project, source, event_id, next_attempt_at, row_number() over (order by next_attempt_at, event_id) as turn
          from inbox where ${WAITS} and project = pair.project and source = pair.source and next_attempt_at <= now()
          order by next_attempt_at, event_id limit ${limit}
        ) due order by due.turn, due.next_attempt_at limit ${limit}
      )
      select inbox.project, inbox.source, inbox.event_id, inbox.type, inbox.body, inbox.sealed, inbox.attempts
      from chosen join inbox on inbox.project = chosen.project and inbox.source = chosen.source and inbox.event_id = chosen.event_id
      order by chosen.turn, chosen.next_attempt_at`.execute(db);
    const events: InboxEvent[] = [];
    for (const { event_id: eventId, sealed, ...row } of rows) {
      const key = { project: row.project, source: row.source, eventId };
      try {
        events.push({ ...row, eventId, ...(sealed === null ? {} : { body: JSON.parse(keyRing.openText(sealed, inboxContext(key))) as Record<string, unknown> }) });
      } catch (error) {
        // One that cannot be read must not keep the others from being delivered.
        await this.failed([key], messageOf(error));
      }
    }
    return events;
  },

  /** Notes that events were delivered. What one said is not needed any more, only that it came, and of which call; of one that is erased, not even that. */
  async delivered(...events: EventKey[]): Promise<void> {
    if (events.length === 0) return;
    const about = sql<string | null>`case when exists (select from erased_calls gone where gone.project = inbox.project and gone.call_hash = encode(sha256(convert_to(inbox.project || '/' || inbox.about, 'UTF8')), 'hex')) then null else about end`;
    await db.updateTable('inbox').set({ delivered_at: sql`now()`, error: null, body: json({}), sealed: null, audio_key: null, parked_at: null, about }).where(among(events)).execute();
  },

  /**
   * Notes that events were not delivered: each is due again after a while that grows.
   *
   * @returns those that are parked from now on: they have failed for a week
   */
  async failed(events: readonly EventKey[], error: string): Promise<EventKey[]> {
    if (events.length === 0) return [];
    const rows = await db
      .updateTable('inbox')
      .set({ attempts: sql`attempts + 1`, next_attempt_at: backOff, error: storable(error), parked_at: sql`case when ${PARKED_AFTER} then coalesce(parked_at, now()) end` })
      .where(among(events))
      .where(WAITS)
      .returning(['project', 'source', 'event_id', sql<boolean>`coalesce(parked_at = now(), false)`.as('parked')])
      .execute();
    return rows.filter(({ parked }) => parked).map(({ project, source, event_id: eventId }) => ({ project, source, eventId }));
  },

  async backlog(): Promise<number> {
    const row = await db.selectFrom('inbox').select((count) => count.fn.countAll<number>().as('events')).where(WAITS).executeTakeFirstOrThrow();
    return Number(row.events);
  },

  /** What is not delivered, the oldest first. */
  async list(project: string, filter: InboxFilter, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<InboxRow[]> {
    // To the millisecond, as the position is given back.
    const received = sql`date_trunc('milliseconds', received_at)`;
    const { rows } = await sql<InboxRow>`
      select source, event_id as "eventId", type, ${STATE} as state, about as "callId", attempts, error, received_at as "receivedAt", case when forgotten_at is null then next_attempt_at end as "nextTryAt"
      from inbox where ${undelivered(project, filter)} ${after ? sql`and (${received}, source || '/' || event_id) > (${after.startedAt.toISOString()}::timestamptz, ${after.id})` : sql``}
      order by ${received}, source || '/' || event_id limit ${limit}`.execute(db);
    return rows;
  },

  /** Has what waits tried at once. @returns how many events */
  async retry(project: string, filter: Pick<InboxFilter, 'source' | 'eventId'>): Promise<number> {
    const { numAffectedRows } = await sql`update inbox set next_attempt_at = now() where ${undelivered(project, filter)} and forgotten_at is null`.execute(db);
    return Number(numAffectedRows ?? 0);
  },

  /** Gives parked events up, for a person. Those that are being tried stay. @returns how many events */
  async discard(project: string, filter: Pick<InboxFilter, 'source' | 'eventId'>, by: string): Promise<number> {
    return giveUp(db, sql`next_attempt_at > now() and ${undelivered(project, filter)}`, ` ${by} gave it up, and what it said was dropped.`);
  },

  /** For alarms: what has failed for a week. */
  async parked(): Promise<ParkedEvents[]> {
    const { rows } = await sql<ParkedEvents>`
      select project, source, case when forgotten_at is null then 'parked' else 'forgotten' end as state, count(*)::int as events
      from inbox where parked_at is not null and delivered_at is null group by 1, 2, 3 order by 1, 2, 3`.execute(db);
    return rows;
  },

  /**
   * Drops events delivered long ago: providers repeat themselves for days, not for a month. What has failed for a month
   * is given up: what it says is dropped, with what was uploaded; that it came is told for another month.
   */
  async sweep(): Promise<void> {
    await db.deleteFrom('inbox').where((where) => where.or([where('delivered_at', '<', sql<Date>`now() - interval '30 days'`), where('forgotten_at', '<', sql<Date>`now() - interval '30 days'`)])).execute();
    await giveUp(db, sql`received_at < now() - interval '30 days'`, ' It was given up after 30 days, and what it said was dropped.');
  },
});

export type Inbox = ReturnType<typeof createInbox>;
