import { type Selectable, sql } from 'kysely';
import { sequenceOf, type TrackingEnvelope, type TrackingState, type TrackingTry } from '../domain/tracking.ts';
import { type Database, json } from './database.ts';
import type { TrackingEventsTable } from './schema.ts';

/** An event in the hands of one relay. */
export interface ClaimedEvent {
  envelope: TrackingEnvelope;
  /** Of this round, with the one that begins now. */
  attempts: number;
  /** Under which it is held: who does not hold it any more has no say in it. */
  claim: string;
}

/** A try in vain. */
export interface Missed extends Omit<TrackingTry, 'at'> {
  retryAfterMs?: number | undefined;
  /** Nothing is to be tried again by itself. */
  final?: boolean;
}

export interface QueueOptions {
  /** How long an event is tried in vain before it waits for a person. */
  patienceMs: number;
  /** And how often at least: time in which nobody tried is no failure. Default 8. */
  leastAttempts?: number;
  /** Wait before the second try; doubles from try to try. Default 2 s. */
  firstRetryMs?: number;
  /** Longest wait between tries, unless the sink asks for more. Default 10 min. */
  maxRetryMs?: number;
  /** How long an event is held without a word: after that its relay is taken for dead. Default 60 s. */
  leaseMs?: number;
}

/** Tries that the view shows; of more, the last. */
const TRIES_KEPT = 20;
/** A sink that asks for more waits in vain. */
const LONGEST_WISH_MS = 3_600_000;

const tried = (tryOf: Omit<TrackingTry, 'at'>, column = 'tries') =>
  sql<never>`(select coalesce(jsonb_agg(t order by n), '[]') from (select t, n from jsonb_array_elements(${sql.ref(column)} || ${json([{ at: new Date().toISOString(), ...tryOf }])}::jsonb) with ordinality as all_tries (t, n) order by n desc limit ${TRIES_KEPT}) kept)`;

const LEFT_BEHIND: Omit<TrackingTry, 'at'> = { sink: 'unknown', outcome: 'unknown', reason: 'Its relay ended while it was being sent.', advice: 'It is sent again, under the same key.' };

const NO_SINK: Omit<TrackingTry, 'at'> = { sink: 'none', outcome: 'refused', code: 'CONFIG_INVALID', reason: 'The project has no sink for tracking events.', advice: 'Connect one, then replay what was skipped.' };

/**
 * The way out of tracking events: relays claim them, send them and say how it went.
 *
 * An event is handed out only when no earlier one of its subject is still to go and none of its subject is being
 * sent, so that a call's events arrive in order, whatever number of relays there is; those of other calls go on. A claim is a
 * lease: when it runs out, the event is handed out again.
 */
export const createTrackingQueue = (db: Database, { patienceMs, leastAttempts = 8, firstRetryMs = 2_000, maxRetryMs = 600_000, leaseMs = 60_000 }: QueueOptions) => ({
  /** Projects that have something to send. */
  async dueProjects(): Promise<string[]> {
    const { rows } = await sql<{ id: string }>`
      select id from projects p where exists (
        select from tracking_events e where e.project = p.id and e.state = 'pending' and e.next_attempt_at <= now() and (e.claimed_until is null or e.claimed_until < now())
      ) order by id`.execute(db);
    return rows.map(({ id }) => id);
  },

  /** Hands out events of a project that nobody else gets as long as the lease holds, the longest due first. */
  async claim(project: string, { claim, limit }: { claim: string; limit: number }): Promise<ClaimedEvent[]> {
    const { rows } = await sql<Selectable<TrackingEventsTable>>`
      with due as (
        select e.id, e.claimed_by from tracking_events e
        where e.project = ${project} and e.state = 'pending' and e.next_attempt_at <= now() and (e.claimed_until is null or e.claimed_until < now())
          and not exists (
            select from tracking_events o where o.project = e.project and o.subject = e.subject and o.id <> e.id
              and o.state in ('pending', 'failed') and (o.seq < e.seq or o.claimed_until > now())
          )
        order by e.next_attempt_at, e.seq limit ${limit} for update of e skip locked
      )
      update tracking_events t set
        claimed_by = ${claim}, claimed_until = now() + ${leaseMs} * interval '1 millisecond', attempts = t.attempts + 1,
        tries = case when due.claimed_by is null then t.tries else ${tried(LEFT_BEHIND, 't.tries')} end
      from due where t.project = ${project} and t.id = due.id
      returning t.*`.execute(db);
    return rows.toSorted((a, b) => Number(a.seq) - Number(b.seq)).map((row) => ({ envelope: envelopeOf(row), attempts: row.attempts, claim }));
  },

  /** The sink has it: the next one of its call may go. @returns false when the event was somebody else's by then */
  async delivered({ envelope: { project, id }, claim }: ClaimedEvent, { sink, receipt }: { sink: string; receipt: Record<string, unknown> }): Promise<boolean> {
    const { rows } = await sql<{ id: string }>`
      with done as (
        update tracking_events set state = 'delivered', delivered_at = now(), failing_since = null, claimed_by = null, claimed_until = null,
          sink = ${sink}, receipt = ${json(receipt)}::jsonb, tries = ${tried({ sink, outcome: 'delivered' })}, updated_at = now()
        where project = ${project} and id = ${id} and claimed_by = ${claim} returning id, subject, seq
      ), woken as (
        update tracking_events n set next_attempt_at = now() from done where n.project = ${project} and n.subject = done.subject and n.state = 'pending' and n.seq > done.seq and n.next_attempt_at > now()
      )
      select id from done`.execute(db);
    return rows.length > 0;
  },

  /** It did not go. It is tried again, later each time, until patience is at its end. @returns as what it stands; undefined when it was somebody else's by then */
  async missed({ envelope: { project, id }, attempts, claim }: ClaimedEvent, { retryAfterMs = 0, final = false, ...tryOf }: Missed): Promise<TrackingState | undefined> {
    const waitMs = Math.max(Math.min(maxRetryMs, firstRetryMs * 2 ** Math.min(attempts - 1, 30)), Math.min(retryAfterMs, LONGEST_WISH_MS));
    const isOver = sql`(${final}::boolean or (${attempts}::int >= ${leastAttempts}::int and coalesce(failing_since, now()) <= now() - ${patienceMs} * interval '1 millisecond'))`;
    const { rows } = await sql<{ state: TrackingState }>`
      with done as (
        update tracking_events set
          state = case when ${isOver} then 'failed' else 'pending' end,
          next_attempt_at = case when ${isOver} then 'infinity' else now() + ${waitMs} * interval '1 millisecond' end,
          failing_since = coalesce(failing_since, now()), claimed_by = null, claimed_until = null, sink = ${tryOf.sink}, tries = ${tried(tryOf)}, updated_at = now()
        where project = ${project} and id = ${id} and claimed_by = ${claim} returning state, subject, seq, next_attempt_at
      ), behind as (
        -- There is no need to look at what waits behind it before then.
        update tracking_events n set next_attempt_at = done.next_attempt_at from done where n.project = ${project} and n.subject = done.subject and n.state = 'pending' and n.seq > done.seq
      )
      select state from done`.execute(db);
    return rows[0]?.state;
  },

  /** Settles what a project without a sink has to send. Once there is one, it can be replayed. */
  async skipUnsent(project: string): Promise<void> {
    await sql`
      update tracking_events set state = 'skipped', failing_since = null, claimed_by = null, claimed_until = null, tries = ${tried(NO_SINK)}, updated_at = now()
      where project = ${project} and state = 'pending' and (claimed_until is null or claimed_until < now())`.execute(db);
  },
});

export type TrackingQueue = ReturnType<typeof createTrackingQueue>;

const envelopeOf = (row: Selectable<TrackingEventsTable>): TrackingEnvelope => ({
  schemaVersion: row.schema_version,
  id: row.id,
  event: row.name,
  sequence: sequenceOf(row.name),
  project: row.project,
  subject: row.subject,
  occurredAt: row.occurred_at.toISOString(),
  properties: row.properties,
});
