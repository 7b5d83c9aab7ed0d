import { setImmediate as otherWork } from 'node:timers/promises';
import { type Selectable, sql } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import { ON_A_LINE, type VoiceCallRequest, type VoiceOutcome, type VoicePriority, type VoiceState } from '../domain/voice.ts';
import type { BatchCounts, BatchState } from '../domain/voice-batches.ts';
import { type Database, json, storable, transact } from './database.ts';
import { callHash } from './erasures.ts';
import type { VoiceBatchesTable } from './schema.ts';
import { cancelLeftovers } from './voice-lines.ts';
import { toVoiceCall, voiceCallIdOf, type VoiceCallRow } from './voice-calls.ts';

export interface VoiceBatchRow {
  project: string;
  id: string;
  name: string;
  state: BatchState;
  priority: VoicePriority;
  rows: number;
  skipped: number;
  variables: string[];
  requestedBy: string;
  requestedAt: Date;
  pausedAt: Date | null;
  pausedBy: string | null;
  cancelledAt: Date | null;
  cancelledBy: string | null;
  reason: string | null;
}

export interface NewVoiceBatch {
  project: string;
  id: string;
  name: string;
  priority: VoicePriority;
  skipped: number;
  sha256: string;
  variables: string[];
  requestedBy: string;
  /** It begins when it is resumed. */
  paused?: boolean;
  calls: readonly { row: number; request: VoiceCallRequest }[];
}

/** How fast a batch goes, and what goes before it. */
export interface BatchPace {
  /** Calls of the batch that were dialled within the last quarter of an hour. */
  dialledLately: number;
  /** How long calls of the project held a line on average, lately; null: none has ended yet. */
  lineSeconds: number | null;
  /** Queued calls of the project, outside the batch, that go before it. */
  ahead: number;
}

/** Rows in one statement: some hundred kilobytes, after which other requests are let in. */
const ROWS_AT_ONCE = 2_000;
const OPEN: BatchState[] = ['running', 'paused'];

/** Voice calls that were asked for together. */
export const createVoiceBatches = (db: Database) => {
  const UNDER_WAY = [...ON_A_LINE, 'queued', 'ended', 'needs_attention'] as const;

  /** Batches whose last call has come to its end are so from then on, and need not be counted again. */
  const settle = async (project: string): Promise<void> => {
    await cancelLeftovers(db, project);
    const over = await db
      .selectFrom('voice_batches as b')
      .select('id')
      .where('project', '=', project)
      .where('settled', 'is', null)
      .where((eb) => eb.not(eb.exists(eb.selectFrom('voice_calls as v').select('v.id').whereRef('v.project', '=', 'b.project').whereRef('v.batch_id', '=', 'b.id').where('v.state', 'in', UNDER_WAY))))
      .execute();
    const counts = await countsOf(project, over.map(({ id }) => id));
    for (const [id, settled] of counts) {
      await db
        .updateTable('voice_batches')
        .set({ settled: json(settled), state: sql<BatchState>`case state when 'cancelled' then state else 'completed' end`, updated_at: sql`now()` })
        .where('project', '=', project)
        .where('id', '=', id)
        .where('settled', 'is', null)
        .execute();
    }
  };

  /** How the calls of some batches stand, by batch. Of those that have come to an end, as it was then. */
  const countsOf = async (project: string, ids: readonly string[]): Promise<Map<string, BatchCounts>> => {
    const counts = new Map<string, BatchCounts>();
    if (ids.length === 0) return counts;
    for (const { id, settled } of await db.selectFrom('voice_batches').select(['id', 'settled']).where('project', '=', project).where('id', 'in', ids).execute()) {
      counts.set(id, settled ?? { byState: {}, byOutcome: {} });
    }
    const open = await db
      .selectFrom('voice_calls as v')
      .innerJoin('voice_batches as b', (join) => join.onRef('b.project', '=', 'v.project').onRef('b.id', '=', 'v.batch_id'))
      .select(['v.batch_id', 'v.state', 'v.outcome', sql<number>`count(*)`.as('calls')])
      .where('v.project', '=', project)
      .where('v.batch_id', 'in', ids)
      .where('b.settled', 'is', null)
      .groupBy(['v.batch_id', 'v.state', 'v.outcome'])
      .execute();
    for (const { batch_id: batch, state, outcome, calls } of open) {
      const of = counts.get(batch!)!;
      of.byState[state] = (of.byState[state] ?? 0) + Number(calls);
      if (outcome) of.byOutcome[outcome] = (of.byOutcome[outcome] ?? 0) + Number(calls);
    }
    return counts;
  };

  const find = async (project: string, id: string): Promise<Selectable<VoiceBatchesTable> | undefined> => db.selectFrom('voice_batches').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();

  const conflict = async (project: string, id: string, what: string): Promise<never> => {
    const found = toBatch((await find(project, id)) ?? (await missing(project, id)));
    throw new AftercallError('CONFLICT', `This batch is ${found.state}: it cannot be ${what}.`, { advice: found.state === 'cancelled' || found.state === 'completed' ? 'Send another batch.' : 'Read it again.', outcome: 'refused' });
  };

  const get = async (project: string, id: string): Promise<VoiceBatchRow> => {
    await settle(project);
    return toBatch((await find(project, id)) ?? (await missing(project, id)));
  };

  return {
    get,

    /** Whether a batch is there already under an ID, and made of the same. */
    async known(project: string, id: string, sha256: string): Promise<'new' | 'same' | 'other'> {
      const there = await find(project, id);
      return there ? (there.sha256 === sha256 ? 'same' : 'other') : 'new';
    },

    /**
     * Writes a batch down with all its calls, or nothing. Calls that it had before, and that were erased, are left out.
     *
     * @returns false when it was there already
     */
    async create({ project, id, name, priority, skipped, sha256, variables, requestedBy, paused = false, calls }: NewVoiceBatch): Promise<boolean> {
      return db.transaction().execute(async (tx) => {
        const written = await tx
          .insertInto('voice_batches')
          .values({ project, id, name: storable(name), state: paused ? 'paused' : 'running', ...(paused ? { paused_at: sql<Date>`now()`, paused_by: storable(requestedBy) } : {}), priority, rows: calls.length, skipped, sha256, variables: json(variables), requested_by: storable(requestedBy) })
          .onConflict((there) => there.doNothing())
          .returning('id')
          .executeTakeFirst();
        if (!written) return false;
        let leftOut = 0;
        for (let from = 0; from < calls.length; from += ROWS_AT_ONCE) {
          const rows = calls.slice(from, from + ROWS_AT_ONCE).map(({ row, request }) => {
            const callId = voiceCallIdOf(project, ['batch', id, String(row)]);
            return {
              id: callId,
              call_hash: callHash({ project, callId }),
              row,
              priority: request.priority,
              from_number: request.from,
              to_number: request.to,
              request,
              not_before: request.notBeforeMs === undefined ? null : new Date(request.notBeforeMs).toISOString(),
              not_after: request.notAfterMs === undefined ? null : new Date(request.notAfterMs).toISOString(),
            };
          });
          const { numAffectedRows: written = 0n } = await sql`insert into voice_calls (project, id, batch_id, row, state, priority, from_number, to_number, request, not_before, not_after, held, requested_by)
            select ${project}, id, ${id}, row, 'queued', priority, from_number, to_number, request, coalesce(not_before, now()), not_after, ${paused}, ${storable(requestedBy)}
            from jsonb_to_recordset(${json(rows)}::jsonb) as given (id text, call_hash text, row int, priority int, from_number text, to_number text, request jsonb, not_before timestamptz, not_after timestamptz)
            where not exists (select from erased_calls gone where gone.project = ${project} and gone.call_hash = given.call_hash)`.execute(tx);
          leftOut += rows.length - Number(written);
          await otherWork();
        }
        if (leftOut > 0) await tx.updateTable('voice_batches').set({ rows: calls.length - leftOut, skipped: skipped + leftOut }).where('project', '=', project).where('id', '=', id).execute();
        return true;
      });
    },

    /** Newest first. */
    async list(project: string, { state }: { state?: BatchState | undefined }, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<VoiceBatchRow[]> {
      await settle(project);
      let query = db.selectFrom('voice_batches').selectAll().where('project', '=', project);
      if (state) query = query.where('state', '=', state);
      if (after) query = query.where(sql<boolean>`(requested_at, id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
      return (await query.orderBy('requested_at', 'desc').orderBy('id', 'desc').limit(limit).execute()).map(toBatch);
    },

    counts: countsOf,

    async pace({ project, id, priority, requestedAt }: VoiceBatchRow): Promise<BatchPace> {
      const lately = await sql<{ calls: number }>`select count(*)::int as calls from voice_calls where project = ${project} and batch_id = ${id} and dialling_at > now() - interval '15 minutes'`.execute(db);
      const held = await sql<{ seconds: number | null }>`select avg(extract(epoch from coalesce(ended_at, settled_at) - dialling_at))::float8 as seconds from (
        select recent.* from unnest(array['completed', 'not_connected']) as lane (lane_state) cross join lateral (
          select ended_at, settled_at, dialling_at from voice_calls where project = ${project} and state = lane_state and dialling_at is not null order by requested_at desc, id desc limit 200
        ) recent) calls`.execute(db);
      const ahead = await sql<{ calls: number }>`select count(*)::int as calls from voice_calls where project = ${project} and state = 'queued' and lined_up_at is null and not held and not_before <= now() and batch_id is distinct from ${id}
        and (priority < ${priority} or (priority = ${priority} and requested_at < ${requestedAt.toISOString()}::timestamptz))`.execute(db);
      return { dialledLately: lately.rows[0]!.calls, lineSeconds: held.rows[0]!.seconds, ahead: ahead.rows[0]!.calls };
    },

    /** Rows of a batch in their order. */
    async calls(project: string, id: string, { states, outcome }: { states?: readonly VoiceState[] | undefined; outcome?: VoiceOutcome | undefined }, { limit, after }: { limit: number; after: number }): Promise<(VoiceCallRow & { waitsFor: string | null; held: boolean })[]> {
      let query = db.selectFrom('voice_calls').selectAll().where('project', '=', project).where('batch_id', '=', id).where('row', '>', after);
      if (states && states.length > 0) query = query.where('state', 'in', states);
      if (outcome) query = query.where('outcome', '=', outcome);
      return (await query.orderBy('row').limit(limit).execute()).map((row) => ({ ...toVoiceCall(row), waitsFor: row.waits_for, held: row.held }));
    },

    /** None of its calls is dialled any more that is not on a line by now. Pausing again changes nothing. */
    async pause(project: string, id: string, by: string): Promise<VoiceBatchRow> {
      await settle(project);
      const paused = await transact(db, async (tx) => {
        const batch = await tx
          .updateTable('voice_batches')
          .set({ state: 'paused', paused_at: sql`coalesce(paused_at, now())`, paused_by: sql`coalesce(paused_by, ${storable(by)})`, updated_at: sql`now()` })
          .where('project', '=', project)
          .where('id', '=', id)
          .where('state', 'in', OPEN)
          .returningAll()
          .executeTakeFirst();
        // One that is being dialled may come back into the queue.
        if (batch) await sql`update voice_calls set held = true, lined_up_at = case when state = 'queued' then null else lined_up_at end, updated_at = now() where project = ${project} and batch_id = ${id} and state in ('queued', 'dialling', 'needs_attention') and not held`.execute(tx);
        return batch;
      });
      return paused ? toBatch(paused) : conflict(project, id, 'paused');
    },

    /** Resuming again changes nothing. */
    async resume(project: string, id: string): Promise<VoiceBatchRow> {
      await settle(project);
      const resumed = await transact(db, async (tx) => {
        const batch = await tx
          .updateTable('voice_batches')
          .set({ state: 'running', paused_at: null, paused_by: null, updated_at: sql`now()` })
          .where('project', '=', project)
          .where('id', '=', id)
          .where('state', 'in', OPEN)
          .returningAll()
          .executeTakeFirst();
        if (batch) await sql`update voice_calls set held = false, updated_at = now() where project = ${project} and batch_id = ${id} and held`.execute(tx);
        return batch;
      });
      return resumed ? toBatch(resumed) : conflict(project, id, 'resumed');
    },

    /** Takes back what is queued. Cancelling again changes nothing. @returns how many were taken back, and how many are on a line */
    async cancel(project: string, id: string, { by, reason }: { by: string; reason: string | null }): Promise<{ batch: VoiceBatchRow; cancelled: number; onALine: number }> {
      const done = await transact(db, async (tx) => {
        const batch = await tx
          .updateTable('voice_batches')
          .set({ state: 'cancelled', cancelled_at: sql`coalesce(cancelled_at, now())`, cancelled_by: sql`coalesce(cancelled_by, ${storable(by)})`, reason: sql`coalesce(reason, ${reason === null ? null : storable(reason)})`, updated_at: sql`now()` })
          .where('project', '=', project)
          .where('id', '=', id)
          .where('state', 'in', [...OPEN, 'cancelled'])
          .returningAll()
          .executeTakeFirst();
        if (!batch) return undefined;
        const words = `The batch was cancelled${reason === null ? '' : `: ${reason}`}.`;
        const { numAffectedRows: cancelled = 0n } = await sql`update voice_calls set state = 'cancelled', reason = ${storable(words)}, settled_at = now(), updated_at = now() where project = ${project} and batch_id = ${id} and state = 'queued'`.execute(tx);
        // One that the provider turns away now is not dialled again: the queue takes it out.
        await sql`update voice_calls set held = true, updated_at = now() where project = ${project} and batch_id = ${id} and state in ('dialling', 'needs_attention')`.execute(tx);
        const { rows } = await sql<{ calls: number }>`select count(*)::int as calls from voice_calls where project = ${project} and batch_id = ${id} and state in (${sql.join([...ON_A_LINE])})`.execute(tx);
        return { batch: toBatch(batch), cancelled: Number(cancelled), onALine: rows[0]!.calls };
      });
      return done ?? conflict(project, id, 'cancelled');
    },

    /** A new priority holds for all that is queued, also for rows that had their own. */
    async change(project: string, id: string, { name, priority }: { name?: string | undefined; priority?: VoicePriority | undefined }): Promise<VoiceBatchRow> {
      await settle(project);
      const changed = await transact(db, async (tx) => {
        const batch = await tx
          .updateTable('voice_batches')
          .set({ ...(name === undefined ? {} : { name: storable(name) }), ...(priority === undefined ? {} : { priority }), updated_at: sql`now()` })
          .where('project', '=', project)
          .where('id', '=', id)
          .where('state', 'in', priority === undefined ? [...OPEN, 'cancelled', 'completed'] : OPEN)
          .returningAll()
          .executeTakeFirst();
        if (batch && priority !== undefined) await sql`update voice_calls set priority = ${priority}, updated_at = now() where project = ${project} and batch_id = ${id} and state in ('queued', 'dialling', 'needs_attention')`.execute(tx);
        return batch;
      });
      return changed ? toBatch(changed) : conflict(project, id, 'given another priority');
    },
  };
};

export type VoiceBatches = ReturnType<typeof createVoiceBatches>;

const missing = (project: string, id: string): Promise<never> => Promise.reject(new AftercallError('NOT_FOUND', `There is no batch ${id} in project ${project}.`, { advice: 'List the batches for their IDs.' }));

const toBatch = (row: Selectable<VoiceBatchesTable>): VoiceBatchRow => ({
  project: row.project,
  id: row.id,
  name: row.name,
  state: row.state,
  priority: row.priority as VoicePriority,
  rows: row.rows,
  skipped: row.skipped,
  variables: row.variables,
  requestedBy: row.requested_by,
  requestedAt: row.requested_at,
  pausedAt: row.paused_at,
  pausedBy: row.paused_by,
  cancelledAt: row.cancelled_at,
  cancelledBy: row.cancelled_by,
  reason: row.reason,
});
