import { createHash } from 'node:crypto';
import { type Selectable, sql, type SqlBool, type Transaction } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import { TRACKING_SCHEMA_VERSION, TRACKING_STATES, type TrackingEvent, type TrackingEventName, type TrackingProperties, type TrackingState, type TrackingTry } from '../domain/tracking.ts';
import { type Database, json, storable } from './database.ts';
import type { Schema, TrackingEventsTable } from './schema.ts';

/** An event with how it was delivered. */
export interface TrackingRow {
  id: string;
  project: string;
  name: TrackingEventName;
  subject: string;
  schemaVersion: number;
  occurredAt: Date;
  properties: TrackingProperties;
  state: TrackingState;
  round: number;
  /** Of the round. */
  attempts: number;
  failingSince: Date | null;
  /** Of events that go out by themselves, once it is their turn. */
  nextTryAt: Date | null;
  /** The earlier event of the same call that has to go first. */
  keptBackBy: string | null;
  isBeingSent: boolean;
  tries: TrackingTry[];
  sink: string | null;
  receipt: Record<string, unknown> | null;
  settledBy: string | null;
  deliveredAt: Date | null;
  createdAt: Date;
}

export interface TrackingFilter {
  state?: TrackingState;
  name?: TrackingEventName;
  subject?: string;
  /** When it was written down. */
  from?: Date;
  to?: Date;
  /** Those that have been tried in vain and are tried again. */
  failing?: boolean;
}

/** Where a project's events stand. */
export interface TrackingSummary {
  counts: Record<TrackingState, number>;
  /** Of those that are pending: tried in vain so far. */
  failing: number;
  /** When the oldest that is still to go out was written down. */
  oldestPendingAt: Date | null;
}

/** The key of an event: the same however often it is written down or sent. */
export const trackingKey = ({ project, subject, name }: Pick<TrackingEvent, 'project' | 'subject' | 'name'>): string =>
  createHash('sha256').update(JSON.stringify([project, subject, name])).digest('hex');

/**
 * Writes an event down, in the transaction that also writes the state it reports: there is never one without the
 * other. An event that is there already stays as it was first told.
 *
 * Hazard: events of one subject go out in the order in which they are written, so the transaction must hold the
 * subject's own row (by an insert, an update or `for update`) before it appends.
 */
export const append = (tx: Transaction<Schema>, event: TrackingEvent): Promise<void> => appendAll(tx, [event]);

/** The same for several, in their order. */
export const appendAll = async (tx: Transaction<Schema>, events: readonly TrackingEvent[]): Promise<void> => {
  if (events.length === 0) return;
  await tx
    .insertInto('tracking_events')
    .values(
      events.map(({ project, subject, name, occurredAtMs, properties }) => ({
        project,
        id: trackingKey({ project, subject, name }),
        name,
        subject,
        schema_version: TRACKING_SCHEMA_VERSION,
        occurred_at: new Date(occurredAtMs),
        properties: json(properties),
        // Behind one that waits to be tried again there is nothing to do before that.
        next_attempt_at: sql<Date>`coalesce((select max(next_attempt_at) from tracking_events where project = ${project} and subject = ${subject} and state in ('pending', 'failed')), now())`,
      })),
    )
    .onConflict((conflict) => conflict.doNothing())
    .execute();
};

/** A try whose answer was lost may have brought an event there. */
const SENT_UNHEARD = sql`'[{"outcome":"unknown"}]'::jsonb`;

/** Removes all that was to be told, or has been told, of some calls. @returns how many there were, and how many of them had gone out */
export const eraseTracking = async (tx: Transaction<Schema>, project: string, subjects: readonly string[]): Promise<{ removed: number; sent: number }> => {
  if (subjects.length === 0) return { removed: 0, sent: 0 };
  const rows = await tx
    .deleteFrom('tracking_events')
    .where('project', '=', project)
    .where(sql<SqlBool>`subject = any(${sql.val([...subjects])}::text[])`)
    .returning(sql<boolean>`delivered_at is not null or tries @> ${SENT_UNHEARD} or claimed_by is not null`.as('sent'))
    .execute();
  return { removed: rows.length, sent: rows.filter(({ sent }) => sent).length };
};

/**
 * Has not been dropped. What has is there for the warehouse, whose rows go when the ones that they are made of do, and
 * which may be built anew at any time.
 */
const isKept = sql<SqlBool>`dropped_at is null`;

/** Not in the hands of a relay. */
export const isFree = sql<SqlBool>`(claimed_until is null or claimed_until < now())`;

const COLUMNS = ['id', 'project', 'name', 'subject', 'schema_version', 'occurred_at', 'properties', 'state', 'round', 'attempts', 'failing_since', 'tries', 'sink', 'receipt', 'settled_by', 'delivered_at', 'created_at'] as const;

/** The delivery view of tracking events, and what people do about those that are stuck. */
export const createTracking = (db: Database) => {
  const shown = (project: string) =>
    db
      .selectFrom('tracking_events as e')
      .select(COLUMNS)
      .select([
        sql<Date | null>`case when state = 'pending' and isfinite(next_attempt_at) then next_attempt_at end`.as('next_try_at'),
        sql<boolean>`coalesce(claimed_until > now(), false)`.as('is_being_sent'),
        sql<string | null>`case when state = 'pending' then (select o.id from tracking_events o where o.project = e.project and o.subject = e.subject and o.seq < e.seq and o.state in ('pending', 'failed') order by o.seq limit 1) end`.as('kept_back_by'),
      ])
      .where('project', '=', project)
      .where(isKept);

  /** Lets the events that waited behind some calls' earlier ones have their turn. */
  const wake = async (on: Database | Transaction<Schema>, project: string, subjects: readonly string[]): Promise<void> => {
    await sql`update tracking_events set next_attempt_at = now() where project = ${project} and subject = any(${sql.val([...subjects])}::text[]) and state = 'pending' and next_attempt_at > now()`.execute(on);
  };

  return {
    async get(project: string, id: string): Promise<TrackingRow> {
      const row = await shown(project).where('id', '=', id).executeTakeFirst();
      if (!row) throw new AftercallError('NOT_FOUND', `There is no tracking event ${id} in project ${project}.`, { advice: 'List the tracking events for their IDs.' });
      return toRow(row);
    },

    /** Newest first. */
    async list(project: string, { state, name, subject, from, to, failing }: TrackingFilter, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<TrackingRow[]> {
      let query = shown(project);
      if (state) query = query.where('state', '=', state);
      if (name) query = query.where('name', '=', name);
      if (subject) query = query.where('subject', '=', subject);
      if (from) query = query.where('created_at', '>=', from);
      if (to) query = query.where('created_at', '<', to);
      if (failing) query = query.where('state', '=', 'pending').where('failing_since', 'is not', null);
      if (after) query = query.where(sql<SqlBool>`(created_at, id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
      return (await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute()).map(toRow);
    },

    async summary(project: string): Promise<TrackingSummary> {
      const rows = await db
        .selectFrom('tracking_events')
        .select(['state', sql<number>`count(*)::int`.as('events'), sql<number>`(count(*) filter (where failing_since is not null))::int`.as('failing'), sql<Date | null>`min(created_at)`.as('oldest')])
        .where('project', '=', project)
        .where(isKept)
        .groupBy('state')
        .execute();
      const counts = Object.fromEntries(TRACKING_STATES.map((state) => [state, rows.find((row) => row.state === state)?.events ?? 0])) as Record<TrackingState, number>;
      const pending = rows.find(({ state }) => state === 'pending');
      return { counts, failing: pending?.failing ?? 0, oldestPendingAt: pending?.oldest ?? null };
    },

    /** Has an event sent (once more), under the same key and as it was written. @throws CONFLICT while it is being sent */
    async replay(project: string, id: string): Promise<TrackingRow> {
      const event = await db.transaction().execute(async (tx) => {
        const row = await tx
          .updateTable('tracking_events')
          .set({ ...AGAIN, settled_by: null })
          .where('project', '=', project)
          .where('id', '=', id)
          .where(isKept)
          .where(isFree)
          .returning('subject')
          .executeTakeFirst();
        if (row) await wake(tx, project, [row.subject]);
        return row;
      });
      const found = await this.get(project, id);
      if (!event) throw new AftercallError('CONFLICT', 'This event is being sent.', { advice: 'Look again in a minute.', outcome: 'refused' });
      return found;
    },

    /**
     * The same for many, the oldest first.
     *
     * @param after go on behind the event that an earlier call ended with
     * @returns `last`: where to go on; null when there are no more
     */
    async replayMany(project: string, { state, name, from, to }: Omit<TrackingFilter, 'subject' | 'failing'>, { limit, after = 0 }: { limit: number; after?: number | undefined }): Promise<{ replayed: number; last: number | null }> {
      return db.transaction().execute(async (tx) => {
        // Read and locked first: as a subquery of the update it might be read once more, and choose others.
        let chosen = tx.selectFrom('tracking_events').select('id').where('project', '=', project).where('seq', '>', after).where(isKept).where(isFree);
        // Those that are pending go out anyway.
        chosen = state ? chosen.where('state', '=', state) : chosen.where('state', '<>', 'pending');
        if (name) chosen = chosen.where('name', '=', name);
        if (from) chosen = chosen.where('created_at', '>=', from);
        if (to) chosen = chosen.where('created_at', '<', to);
        const ids = (await chosen.orderBy('seq').limit(limit).forUpdate().execute()).map(({ id }) => id);
        const rows = await tx
          .updateTable('tracking_events')
          .set({ ...AGAIN, settled_by: null })
          .where('project', '=', project)
          .where(sql<SqlBool>`id = any(${sql.val(ids)}::text[])`)
          .returning(['seq', 'subject'])
          .execute();
        await wake(tx, project, [...new Set(rows.map(({ subject }) => subject))]);
        return { replayed: rows.length, last: rows.length === limit ? rows.reduce((last, { seq }) => Math.max(last, Number(seq)), 0) : null };
      });
    },

    /** Somebody lets an event be; the later ones of its call go out. Repeating it changes nothing. @throws CONFLICT when it was delivered, or while it is being sent */
    async skip(project: string, id: string, by: string): Promise<TrackingRow> {
      await db.transaction().execute(async (tx) => {
        const row = await tx
          .updateTable('tracking_events')
          .set({ state: 'skipped', settled_by: storable(by), failing_since: null, claimed_by: null, claimed_until: null, updated_at: sql`now()` })
          .where('project', '=', project)
          .where('id', '=', id)
          .where('state', 'in', ['pending', 'failed'])
          .where(isFree)
          .returning('subject')
          .executeTakeFirst();
        if (row) await wake(tx, project, [row.subject]);
      });
      const found = await this.get(project, id);
      if (found.state === 'skipped') return found;
      throw new AftercallError('CONFLICT', found.isBeingSent ? 'This event is being sent.' : `This event is ${found.state}: there is nothing to skip.`, { advice: 'Look again in a minute.', outcome: 'refused' });
    },

    /** What waits, of all projects: for metrics. */
    async backlog(): Promise<{ project: string; state: TrackingState; events: number; oldestSeconds: number }[]> {
      return db
        .selectFrom('tracking_events')
        .select(['project', 'state', sql<number>`count(*)::int`.as('events'), sql<number>`extract(epoch from now() - min(created_at))::float8`.as('oldestSeconds')])
        .where('state', 'in', ['pending', 'failed'])
        .groupBy(['project', 'state'])
        .execute();
    },

    /**
     * Drops what was settled so long ago that nobody replays it: of the event only its name, its call, its state and
     * times stay, as the warehouse has them. Whether it may have gone out stays too: a certificate of erasure says so.
     * What waits, or is stuck, stays whole.
     *
     * @returns how many were dropped
     */
    async sweep(keepMs: number): Promise<number> {
      const { numUpdatedRows } = await db
        .updateTable('tracking_events')
        .set({ properties: '{}', tries: sql<string>`case when tries @> ${SENT_UNHEARD} then ${SENT_UNHEARD} else '[]'::jsonb end`, receipt: null, settled_by: null, dropped_at: sql`now()` })
        .where('state', 'in', ['delivered', 'skipped'])
        .where(isKept)
        .where('updated_at', '<', sql<Date>`now() - ${keepMs} * interval '1 millisecond'`)
        .executeTakeFirst();
      return Number(numUpdatedRows);
    },
  };
};

export type Tracking = ReturnType<typeof createTracking>;

/** From the beginning, whatever became of it before. A second request while it waits changes nothing but when. */
const AGAIN = {
  state: 'pending' as const,
  round: sql<number>`round + (state <> 'pending')::int`,
  attempts: 0,
  failing_since: null,
  next_attempt_at: sql<Date>`now()`,
  claimed_by: null,
  claimed_until: null,
  updated_at: sql<Date>`now()`,
};

type Shown = Pick<Selectable<TrackingEventsTable>, (typeof COLUMNS)[number]> & { next_try_at: Date | null; is_being_sent: boolean; kept_back_by: string | null };

const toRow = (row: Shown): TrackingRow => ({
  id: row.id,
  project: row.project,
  name: row.name,
  subject: row.subject,
  schemaVersion: row.schema_version,
  occurredAt: row.occurred_at,
  properties: row.properties,
  state: row.state,
  round: row.round,
  attempts: row.attempts,
  failingSince: row.failing_since,
  nextTryAt: row.next_try_at,
  keptBackBy: row.kept_back_by,
  isBeingSent: row.is_being_sent,
  tries: row.tries,
  sink: row.sink,
  receipt: row.receipt,
  settledBy: row.settled_by,
  deliveredAt: row.delivered_at,
  createdAt: row.created_at,
});
