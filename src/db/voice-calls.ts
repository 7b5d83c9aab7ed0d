import { createHash } from 'node:crypto';
import { type Selectable, sql, type Transaction } from 'kysely';
import { TURN_MS } from '../domain/daily-limit.ts';
import { AftercallError } from '../domain/errors.ts';
import type { TrackingEvent } from '../domain/tracking.ts';
import { type Observation, ON_A_LINE, type ProviderCall, VOICE_STATES, type VoiceCallKey, type VoiceCallRequest, type VoiceOutcome, type VoicePriority, type VoiceState } from '../domain/voice.ts';
import { observe, type ObservedVoiceCall } from '../domain/voice-observations.ts';
import { HAND_OVER_FAILED } from '../domain/voice-work.ts';
import { type Database, json, storable } from './database.ts';
import { callHash } from './erasures.ts';
import type { Schema, VoiceAttention, VoiceCallsTable } from './schema.ts';
import { chargeSeen, hasGrown, moveCharges } from './voice-charges.ts';

export type { VoiceAttention } from './schema.ts';

/** A voice call as it stands. */
export interface VoiceCallRow extends VoiceCallKey {
  batchId: string | null;
  /** In which row of its batch; counted from 1. */
  row: number | null;
  state: VoiceState;
  request: VoiceCallRequest;
  notBefore: Date;
  providerCallId: string | null;
  observed: ProviderCall | null;
  outcome: VoiceOutcome | null;
  /** Under which `calls` has it, once it was handed over. */
  callId: string | null;
  attention: VoiceAttention | null;
  /** Why it failed, was cancelled, or is to be dialled later. */
  reason: string | null;
  dials: number;
  requestedBy: string;
  requestedAt: Date;
  diallingAt: Date | null;
  dialledAt: Date | null;
  startedAt: Date | null;
  endedAt: Date | null;
  settledAt: Date | null;
  updatedAt: Date;
}

export interface NewVoiceCall extends VoiceCallKey {
  request: VoiceCallRequest;
  requestedBy: string;
  batchId?: string;
  row?: number;
}

/** `request_differs`: the ID is that of another request, and nothing was written. */
export interface Enqueued {
  state: 'new' | 'known' | 'request_differs';
  voiceCall: VoiceCallRow;
}

export interface VoiceCallFilter {
  states?: readonly VoiceState[];
  outcome?: VoiceOutcome;
  batchId?: string;
  /** The number that is called, in any notation. */
  number?: string;
  requestedFrom?: Date;
  requestedTo?: Date;
  /** Of those that wait for a person: for what. */
  attention?: VoiceAttention['code'];
}

/** `dial`: this attempt, and no other, is to dial. `unknown`: an earlier one may have. `passed`: there is nothing to dial. */
export type DialVerdict = { verdict: 'dial' | 'unknown' | 'passed'; voiceCall: VoiceCallRow };

export type Applied =
  | { kind: 'changed' | 'known'; state: VoiceState; before: VoiceState; voiceCall: VoiceCallRow }
  /** It is of another of the provider's calls than the one that is known: somebody was called twice. */
  | { kind: 'another_call'; state: VoiceState; providerCallId: string }
  | { kind: 'no_such_voice_call' };

interface Dependencies {
  db: Database;
  /** Writes an event down in the transaction of what it reports. */
  tracking: { append(tx: Transaction<Schema>, event: TrackingEvent): Promise<unknown> };
}

/** What a voice call's ID is made of: the same for a repeat of the same request, and no two projects share one. */
export const voiceCallIdOf = (project: string, parts: readonly string[]): string =>
  `vc_${createHash('sha256').update(JSON.stringify([project, ...parts])).digest().subarray(0, 16).toString('base64url')}`;

const TURN_LASTS = sql`make_interval(secs => ${TURN_MS / 1_000})`;

/** In these a workflow waits for what becomes of the call. */
const WATCHED = [...ON_A_LINE, 'ended', 'needs_attention'] as const satisfies readonly VoiceState[];

/** Where a call stands while what is left to a person is in doubt. Elsewhere somebody has told of it meanwhile. */
const PARKED_FROM: Record<VoiceAttention['code'], readonly VoiceState[]> = { DIAL_UNKNOWN: ['dialling'], END_UNKNOWN: ['dialled', 'ongoing', 'ended'] };

const isOneOf = <S extends VoiceState>(states: readonly S[], state: VoiceState): state is S => (states as readonly VoiceState[]).includes(state);

/**
 * Outbound calls. Every change of state is guarded by the state that it starts from, so that of two that race one wins
 * and the other learns how it stands.
 */
export const createVoiceCalls = ({ db, tracking }: Dependencies) => {
  const one = (project: string, voiceCallId: string) => db.selectFrom('voice_calls').selectAll().where('project', '=', project).where('id', '=', voiceCallId);
  const change = ({ project, voiceCallId }: VoiceCallKey, from: readonly VoiceState[]) =>
    db.updateTable('voice_calls').where('project', '=', project).where('id', '=', voiceCallId).where('state', 'in', from).set({ updated_at: sql`now()` });

  const find = async (project: string, voiceCallId: string): Promise<VoiceCallRow | undefined> => {
    const row = await one(project, voiceCallId).executeTakeFirst();
    return row && toVoiceCall(row);
  };

  return {
    find,

    async get(project: string, voiceCallId: string): Promise<VoiceCallRow> {
      const found = await find(project, voiceCallId);
      if (!found) throw new AftercallError('NOT_FOUND', `There is no voice call ${voiceCallId} in project ${project}.`, { advice: 'List the voice calls for their IDs.' });
      return found;
    },

    async findByProvider(project: string, providerCallId: string): Promise<VoiceCallRow | undefined> {
      const row = await db.selectFrom('voice_calls').selectAll().where('project', '=', project).where('provider_call_id', '=', providerCallId).executeTakeFirst();
      return row && toVoiceCall(row);
    },

    /**
     * Writes a wish to call down. Repeating it changes nothing.
     *
     * @throws CONFLICT when the call was placed before and has been erased: whoever it called is not called again by a repeat
     */
    async enqueue({ project, voiceCallId, request, requestedBy, batchId, row }: NewVoiceCall): Promise<Enqueued> {
      const stored = json(request);
      const written = await db.transaction().execute(async (tx) => {
        const inserted = await tx
          .insertInto('voice_calls')
          .values({
            project,
            id: voiceCallId,
            batch_id: batchId ?? null,
            row: row ?? null,
            state: 'queued',
            priority: request.priority,
            from_number: request.from,
            to_number: request.to,
            request: stored,
            requested_by: storable(requestedBy),
            ...(request.notBeforeMs === undefined ? {} : { not_before: new Date(request.notBeforeMs) }),
            ...(request.notAfterMs === undefined ? {} : { not_after: new Date(request.notAfterMs) }),
          })
          .onConflict((conflict) => conflict.doNothing())
          .returningAll()
          .executeTakeFirst();
        // Looked for afterwards: where an erasure was just ending, the line above has waited for it.
        if (inserted && (await tx.selectFrom('erased_calls').select('call_hash').where('project', '=', project).where('call_hash', '=', callHash({ project, callId: voiceCallId })).executeTakeFirst())) throw erased();
        return inserted;
      });
      if (written) return { state: 'new', voiceCall: toVoiceCall(written) };
      const there = await one(project, voiceCallId).select(sql<boolean>`request = ${stored}::jsonb`.as('same')).executeTakeFirst();
      if (!there) throw erased();
      return { state: there.same ? 'known' : 'request_differs', voiceCall: toVoiceCall(there) };
    },

    /** Newest first. */
    async list(project: string, filter: VoiceCallFilter, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<VoiceCallRow[]> {
      let query = matching(db, project, filter).selectAll();
      if (after) query = query.where(sql<boolean>`(requested_at, id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
      return (await query.orderBy('requested_at', 'desc').orderBy('id', 'desc').limit(limit).execute()).map(toVoiceCall);
    },

    /** How many there are in each state, whatever state the filter names. */
    async countByState(project: string, { states: _states, ...filter }: VoiceCallFilter): Promise<Partial<Record<VoiceState, number>>> {
      const rows = await matching(db, project, filter).select(['state', sql<number>`count(*)`.as('count')]).groupBy('state').execute();
      const counts = new Map(rows.map(({ state, count }) => [state, Number(count)]));
      return Object.fromEntries(VOICE_STATES.flatMap((state) => (counts.has(state) ? [[state, counts.get(state)!]] : [])));
    },

    /**
     * Takes a queued call up to be dialled, for whoever comes first, while it has its turn. One whose turn is over goes
     * off its line, and gets another when the hour and the rate allow.
     *
     * One that is found being dialled was left by an attempt whose end nobody saw: somebody may be on the phone, and
     * it must not be dialled again.
     */
    async beginDial(key: VoiceCallKey): Promise<DialVerdict> {
      const taken = await change(key, ['queued'])
        // Its batch was paused when its turn had come already.
        .where('held', '=', false)
        .where('lined_up_at', '>', sql<Date>`now() - ${TURN_LASTS}`)
        .where(sql<boolean>`coalesce(not_after > now(), true)`)
        .set({ state: 'dialling', dials: sql`dials + 1`, dialling_at: sql`now()`, reason: null, attention: null })
        .returningAll()
        .executeTakeFirst();
      if (taken) return { verdict: 'dial', voiceCall: toVoiceCall(taken) };
      await change(key, ['queued']).where('lined_up_at', '<=', sql<Date>`now() - ${TURN_LASTS}`).set({ lined_up_at: null, line_account: null }).execute();
      const voiceCall = await this.get(key.project, key.voiceCallId);
      return { verdict: voiceCall.state === 'dialling' ? 'unknown' : 'passed', voiceCall };
    },

    /**
     * Takes in what was learned of a provider's call: the state, the events that report it and what it cost, in one transaction.
     *
     * @throws CONFLICT when the provider's call is known as another voice call's
     */
    async applyObservation({ project, voiceCallId }: VoiceCallKey, observation: Observation): Promise<Applied> {
      try {
        return await db.transaction().execute(async (tx) => {
          const row = await tx.selectFrom('voice_calls').selectAll().where('project', '=', project).where('id', '=', voiceCallId).forUpdate().executeTakeFirst();
          if (!row) return { kind: 'no_such_voice_call' as const };
          const effect = observe(toObserved(row), observation);
          if (effect.kind === 'known') return { kind: 'known' as const, state: row.state, before: row.state, voiceCall: toVoiceCall(row) };
          if (effect.kind === 'another_call') {
            const note = `The provider has a second call for this one: ${effect.providerCallId}.`;
            await tx.updateTable('voice_calls').set({ reason: storable(note), updated_at: sql`now()` }).where('project', '=', project).where('id', '=', voiceCallId).execute();
            await chargeSeen(tx, project, [{ voiceCallId, callId: row.call_id, call: observation.call }]);
            return { kind: 'another_call' as const, state: row.state, providerCallId: effect.providerCallId };
          }
          const { state, outcome, providerCallId, observed, dialledAtMs, startedAtMs, endedAtMs, settledAtMs } = effect.change;
          const written = await tx
            .updateTable('voice_calls')
            .set({
              state,
              outcome,
              provider_call_id: providerCallId,
              observed: json(observed),
              attention: null,
              // Why it waited, was cancelled or failed is not so any more; a second call stays noted.
              ...(row.provider_call_id === null ? { reason: null } : {}),
              dialled_at: dateOf(dialledAtMs),
              started_at: dateOf(startedAtMs),
              ended_at: dateOf(endedAtMs),
              settled_at: dateOf(settledAtMs),
              updated_at: sql`now()`,
            })
            .where('project', '=', project)
            .where('id', '=', voiceCallId)
            .returningAll()
            .executeTakeFirstOrThrow();
          for (const event of effect.events) await tracking.append(tx, event);
          if (hasGrown(row.observed ?? undefined, observed)) await chargeSeen(tx, project, [{ voiceCallId, callId: row.call_id, call: observed }]);
          return { kind: 'changed' as const, state, before: row.state, voiceCall: toVoiceCall(written) };
        });
      } catch (error) {
        if ((error as { constraint?: string }).constraint !== 'voice_calls_by_provider') throw error;
        throw new AftercallError('CONFLICT', `The provider's call ${observation.call.providerCallId} is known as another voice call of this project.`, { advice: 'Look for the call by its number and time.', outcome: 'refused', cause: error });
      }
    },

    /**
     * Nobody was called, and it may be tried again: back into the queue.
     *
     * @param from the state that whoever says so has found it in
     * @param dials how often it had been dialled by then: what an attempt says that was given up for dead must not put
     *   a call back that is being dialled again
     * @returns false when it stands elsewhere by now
     */
    async requeue(key: VoiceCallKey, { from, dials, notBefore, reason }: { from: Extract<VoiceState, 'queued' | 'dialling' | 'needs_attention'>; dials: number; notBefore: Date; reason: string | null }): Promise<boolean> {
      const written = await change(key, [from])
        .where('observed', 'is', null)
        .where('dials', '=', dials)
        .set({ state: 'queued', not_before: notBefore, reason: reason === null ? null : storable(reason), attention: null, dialling_at: null, waits_for: 'provider', lined_up_at: null, line_account: null })
        .executeTakeFirst();
      return written.numUpdatedRows > 0n;
    },

    /** The provider did not take the last of so many dials, and would take no other. @returns false when it stands elsewhere by now */
    async fail(key: VoiceCallKey, { dials, reason }: { dials: number; reason: string }): Promise<boolean> {
      const written = await change(key, ['dialling']).where('observed', 'is', null).where('dials', '=', dials).set({ state: 'failed', reason: storable(reason), attention: null, settled_at: sql`now()` }).executeTakeFirst();
      return written.numUpdatedRows > 0n;
    },

    /** It is not known whether the last of so many dials has called anybody: whoever gives lines out counts that at once. */
    async doubt(key: VoiceCallKey, { dials, reason }: { dials: number; reason: string }): Promise<void> {
      await change(key, ['dialling']).where('observed', 'is', null).where('dials', '=', dials).set({ reason: storable(reason) }).execute();
    },

    /** Leaves it to a person. @returns false when it was found, or came to an end, by itself */
    async park(key: VoiceCallKey, attention: Omit<VoiceAttention, 'sinceMs'>): Promise<boolean> {
      const written = await change(key, PARKED_FROM[attention.code])
        .set({ state: 'needs_attention', attention: json({ ...attention, sinceMs: Date.now() }) })
        .executeTakeFirst();
      return written.numUpdatedRows > 0n;
    },

    /** A person closes a call that waited for them. Repeating it changes nothing. @throws CONFLICT when it does not wait (any more) */
    async close(key: VoiceCallKey, { state, reason }: { state: Extract<VoiceState, 'cancelled' | 'failed'>; reason: string }): Promise<VoiceCallRow> {
      const written = await change(key, ['needs_attention']).set({ state, reason: storable(reason), attention: null, settled_at: sql`now()` }).returningAll().executeTakeFirst();
      if (written) return toVoiceCall(written);
      const found = await this.get(key.project, key.voiceCallId);
      if (found.state === state) return found;
      throw new AftercallError('CONFLICT', `This voice call is ${found.state.replaceAll('_', ' ')}: it does not wait for anybody.`, { advice: 'Read it again.', outcome: 'refused' });
    },

    /** Takes a call back that nobody has begun to dial. Repeating it changes nothing. @throws CONFLICT when it is too late */
    async cancel(key: VoiceCallKey, reason: string): Promise<VoiceCallRow> {
      const written = await change(key, ['queued']).set({ state: 'cancelled', reason: storable(reason), settled_at: sql`now()` }).returningAll().executeTakeFirst();
      if (written) return toVoiceCall(written);
      const found = await this.get(key.project, key.voiceCallId);
      if (found.state === 'cancelled') return found;
      const advice = isOneOf(ON_A_LINE, found.state) ? 'Stop it instead: that hangs up.' : found.state === 'needs_attention' ? 'Resolve it instead.' : 'Nothing is left to be taken back.';
      throw new AftercallError('CONFLICT', `This voice call is ${found.state.replaceAll('_', ' ')}: only one that is queued can be cancelled.`, { advice, outcome: 'refused' });
    },

    /** Calls of all projects that should be watched, and that nobody has written of since; of those that wait for a person, since another time. Each is given out once in a while. */
    async unwatched({ since, parkedSince }: { since: Date; parkedSince: Date }, limit: number): Promise<VoiceCallKey[]> {
      const { rows } = await sql<{ project: string; id: string }>`
        update voice_calls set updated_at = now() where (project, id) in (
          select project, id from voice_calls where state in (${sql.join([...WATCHED])}) and updated_at < case state when 'needs_attention' then ${parkedSince}::timestamptz else ${since}::timestamptz end and updated_at < ${since}
          order by updated_at limit ${limit} for update skip locked
        ) returning project, id`.execute(db);
      return rows.map(({ project, id }) => ({ project, voiceCallId: id }));
    },

    /** Shown beside the state, and decides nothing. */
    async note({ project, voiceCallId }: VoiceCallKey, note: string): Promise<void> {
      await db.updateTable('voice_calls').set({ reason: storable(note), updated_at: sql`now()` }).where('project', '=', project).where('id', '=', voiceCallId).execute();
    },

    /** Calls of all projects that settled since, and whose hand-over failed before. Each is given out once in a while. */
    async notHandedOver({ before, settledSince }: { before: Date; settledSince: Date }, limit: number): Promise<VoiceCallKey[]> {
      const { rows } = await sql<{ project: string; id: string }>`
        update voice_calls set updated_at = now() where (project, id) in (
          select project, id from voice_calls where state = 'completed' and started_at is not null and call_id is null and updated_at < ${before} and settled_at >= ${settledSince}
          order by updated_at limit ${limit} for update skip locked
        ) returning project, id`.execute(db);
      return rows.map(({ project, id }) => ({ project, voiceCallId: id }));
    },

    /** Notes as which of the project's calls it goes on; what it has cost goes with it. */
    async handOver({ project, voiceCallId }: VoiceCallKey, callId: string): Promise<void> {
      await db.transaction().execute(async (tx) => {
        await tx.updateTable('voice_calls').set({ call_id: callId, reason: sql`case when starts_with(reason, ${HAND_OVER_FAILED}) then null else reason end`, updated_at: sql`now()` }).where('project', '=', project).where('id', '=', voiceCallId).execute();
        await moveCharges(tx, { project, voiceCallId, callId });
      });
    },
  };
};

export type VoiceCalls = ReturnType<typeof createVoiceCalls>;

const erased = (): AftercallError =>
  new AftercallError('CONFLICT', 'This call was placed before under the same Idempotency-Key, and has been erased since: it is not placed again.', { advice: 'If the number is to be called all the same, send the request with another Idempotency-Key.', outcome: 'refused' });

const dateOf = (ms: number | null): Date | null => (ms === null ? null : new Date(ms));

/** As numbers are stored, whatever notation they are asked for in. */
const e164 = (number: string): string => `+${number.replaceAll(/[^0-9]/g, '').replace(/^00/, '')}`;

const matching = (db: Database, project: string, { states, outcome, batchId, number, requestedFrom, requestedTo, attention }: VoiceCallFilter) => {
  let query = db.selectFrom('voice_calls').where('project', '=', project);
  if (states && states.length > 0) query = query.where('state', 'in', states);
  if (outcome) query = query.where('outcome', '=', outcome);
  if (batchId) query = query.where('batch_id', '=', batchId);
  if (number) query = query.where('to_number', '=', e164(number));
  if (requestedFrom) query = query.where('requested_at', '>=', requestedFrom);
  if (requestedTo) query = query.where('requested_at', '<', requestedTo);
  if (attention) query = query.where(sql<boolean>`attention ->> 'code' = ${attention}`);
  return query;
};

/** A row as observations find it. */
export const toObserved = (row: Selectable<VoiceCallsTable>): ObservedVoiceCall => ({
  project: row.project,
  voiceCallId: row.id,
  state: row.state,
  request: row.request,
  batchId: row.batch_id ?? undefined,
  observed: row.observed ?? undefined,
  diallingAtMs: row.dialling_at?.getTime(),
  dialledAtMs: row.dialled_at?.getTime(),
  startedAtMs: row.started_at?.getTime(),
  settledAtMs: row.settled_at?.getTime(),
});

/** A row as the rest of the program knows it: for whoever reads `voice_calls` otherwise. */
export const toVoiceCall = (row: Selectable<VoiceCallsTable>): VoiceCallRow => ({
  project: row.project,
  voiceCallId: row.id,
  batchId: row.batch_id,
  row: row.row,
  state: row.state,
  request: { ...row.request, priority: row.priority as VoicePriority },
  notBefore: row.not_before,
  providerCallId: row.provider_call_id,
  observed: row.observed,
  outcome: row.outcome,
  callId: row.call_id,
  attention: row.attention,
  reason: row.reason,
  dials: row.dials,
  requestedBy: row.requested_by,
  requestedAt: row.requested_at,
  diallingAt: row.dialling_at,
  dialledAt: row.dialled_at,
  startedAt: row.started_at,
  endedAt: row.ended_at,
  settledAt: row.settled_at,
  updatedAt: row.updated_at,
});
