import { sql } from 'kysely';
import type { TrackingEvent } from '../domain/tracking.ts';
import type { Observation } from '../domain/voice.ts';
import { observe, type ObservedChange, type ObservedVoiceCall } from '../domain/voice-observations.ts';
import { type Database, json } from './database.ts';
import { appendAll } from './tracking.ts';
import { toObserved } from './voice-calls.ts';
import { chargeSeen, hasGrown, type SeenBill } from './voice-charges.ts';

/** Something that was learned of a provider's call, and which of a project's voice calls it is. */
export interface Learned {
  voiceCallId: string;
  observation: Observation;
}

/** What became of it. `another_call`: nothing was written, because it is of another of the provider's calls than the one that is known. */
export type LearnedOutcome = 'changed' | 'known' | 'another_call' | 'no_such_voice_call';

const after = (call: ObservedVoiceCall, { state, observed, dialledAtMs, startedAtMs, settledAtMs }: ObservedChange): ObservedVoiceCall => ({
  ...call,
  state,
  observed,
  dialledAtMs,
  startedAtMs: startedAtMs ?? undefined,
  settledAtMs: settledAtMs ?? undefined,
});

/**
 * Takes in what was learned of a project's calls, in one transaction: all of it, with the events that report it and what it cost, or
 * nothing. What it comes to is what one after the other would.
 *
 * @returns what became of each, in their order
 */
export const applyObservations = async (db: Database, project: string, learned: readonly Learned[]): Promise<LearnedOutcome[]> =>
  db.transaction().execute(async (tx) => {
    const ids = [...new Set(learned.map(({ voiceCallId }) => voiceCallId))];
    // In one order, so that two who have calls in common wait for each other and not both.
    const rows = await tx.selectFrom('voice_calls').selectAll().where('project', '=', project).where('id', '=', sql<string>`any(${ids})`).orderBy('id').forUpdate().execute();
    const calls = new Map(rows.map((row) => [row.id, toObserved(row)]));
    const changes = new Map<string, ObservedChange>();
    const events: TrackingEvent[] = [];
    const outcomes = learned.map(({ voiceCallId, observation }): LearnedOutcome => {
      const call = calls.get(voiceCallId);
      if (!call) return 'no_such_voice_call';
      const effect = observe(call, observation);
      if (effect.kind !== 'changed') return effect.kind;
      calls.set(voiceCallId, after(call, effect.change));
      changes.set(voiceCallId, effect.change);
      events.push(...effect.events);
      return 'changed';
    });
    if (changes.size > 0) {
      // One parameter, however many there are.
      const written = [...changes].map(([id, { state, outcome, providerCallId, observed, dialledAtMs, startedAtMs, endedAtMs, settledAtMs }]) => ({
        id,
        state,
        outcome,
        provider_call_id: providerCallId,
        observed,
        dialled_at: iso(dialledAtMs),
        started_at: iso(startedAtMs),
        ended_at: iso(endedAtMs),
        settled_at: iso(settledAtMs),
      }));
      await sql`update voice_calls set state = seen.state, outcome = seen.outcome, provider_call_id = seen.provider_call_id, observed = seen.observed,
          dialled_at = seen.dialled_at, started_at = seen.started_at, ended_at = seen.ended_at, settled_at = seen.settled_at,
          -- Why it waited, was cancelled or failed is not so any more; what was noted since it was found stays.
          attention = null, reason = case when voice_calls.provider_call_id is null then null else voice_calls.reason end, updated_at = now()
        from jsonb_to_recordset(${json(written)}::jsonb) as seen (id text, state text, outcome text, provider_call_id text, observed jsonb,
          dialled_at timestamptz, started_at timestamptz, ended_at timestamptz, settled_at timestamptz)
        where voice_calls.project = ${project} and voice_calls.id = seen.id`.execute(tx);
      await appendAll(tx, events);
      const bills = rows.flatMap(({ id, call_id: callId, observed }): SeenBill[] => {
        const now = changes.get(id)?.observed;
        return now && hasGrown(observed ?? undefined, now) ? [{ voiceCallId: id, callId, call: now }] : [];
      });
      await chargeSeen(tx, project, bills);
    }
    return outcomes;
  });

const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
