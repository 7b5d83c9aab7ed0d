import { type TrackingEvent, trackingEvent, type TrackingEventName } from './tracking.ts';
import type { Observation, ProviderCall, VoiceCallKey, VoiceCallRequest, VoiceOutcome, VoiceState } from './voice.ts';

/**
 * What observations make of a voice call.
 *
 * Webhooks are repeated, late, lost and out of order, and look-ups come in between. So observations are merged like a
 * join, to which order and repetition mean nothing, and the state follows from what has been merged and from nothing
 * else. Which events have been told already stands in the voice call's own columns, written in the same transaction.
 */

/** A voice call as observations find it. Times are epoch ms. */
export interface ObservedVoiceCall extends VoiceCallKey {
  state: VoiceState;
  request: Pick<VoiceCallRequest, 'metadata' | 'agent'> & Partial<Pick<VoiceCallRequest, 'from' | 'to'>>;
  batchId?: string | undefined;
  /** All earlier observations, merged. */
  observed?: ProviderCall | undefined;
  diallingAtMs?: number | undefined;
  /** Present once "Voice call initiated" is written. */
  dialledAtMs?: number | undefined;
  /** Present once "Call started" is written. */
  startedAtMs?: number | undefined;
  /** With `completed` and `not_connected`: present once "Call completed" is written. */
  settledAtMs?: number | undefined;
}

/** What a voice call is now. All of it is to be written, together with the events. */
export interface ObservedChange {
  state: VoiceState;
  outcome: VoiceOutcome | null;
  providerCallId: string;
  observed: ProviderCall;
  dialledAtMs: number;
  startedAtMs: number | null;
  endedAtMs: number | null;
  settledAtMs: number | null;
}

export type ObservedEffect =
  | { kind: 'changed'; change: ObservedChange; events: TrackingEvent[] }
  /** It says nothing new. */
  | { kind: 'known' }
  /** It is of another of the provider's calls: this voice call was dialled twice, by a person's word. */
  | { kind: 'another_call'; providerCallId: string };

/** A call whose analysis has not come this long after its end is taken as analysed without a finding, once a look-up confirms it. */
export const ANALYSIS_DEADLINE_MS = 2 * 3_600_000;

/** Takes one observation in. Pure: the same observations in any order, and any number of times, end the same. */
export const observe = (voiceCall: ObservedVoiceCall, observation: Observation): ObservedEffect => {
  const before = voiceCall.observed;
  const seen = sightOf(observation, voiceCall.diallingAtMs);
  if (before && before.providerCallId !== seen.providerCallId) return { kind: 'another_call', providerCallId: seen.providerCallId };
  const observed = before ? merge(before, seen) : seen;

  const { over, connected, outcome } = readingOf(observed);
  const analysed = over && observed.analysis !== undefined;
  const state = analysed ? (connected ? 'completed' : 'not_connected') : over ? 'ended' : connected ? 'ongoing' : 'dialled';
  const wasSettled = isSettled(voiceCall);
  if (before && isSame(before, observed)) return { kind: 'known' };

  const askedAtMs = voiceCall.diallingAtMs ?? observation.atMs;
  // Where the provider leaves a time out, the nearest that it does give, and not when it was learned of.
  const endedAtMs = over ? (observed.endedAtMs ?? (observed.startedAtMs ?? askedAtMs) + (observed.durationMs ?? 0)) : undefined;
  // What has been told stays told.
  const startedAtMs = connected ? (observed.startedAtMs ?? (endedAtMs ?? askedAtMs) - (observed.durationMs ?? 0)) : voiceCall.startedAtMs;
  const dialledAtMs = voiceCall.dialledAtMs ?? observation.atMs;

  const events: TrackingEvent[] = [];
  const { project, voiceCallId, request, batchId } = voiceCall;
  const tell = (name: TrackingEventName, occurredAtMs: number): void => {
    events.push(trackingEvent(name, { project, voiceCallId, request, batchId, provider: observed, ...(outcome ? { outcome } : {}) }, occurredAtMs));
  };
  // When it was asked for, which is known whatever comes first, and is never after the start.
  if (voiceCall.dialledAtMs === undefined) tell('Voice call initiated', askedAtMs);
  // After the end has been told there is nothing left to tell.
  if (connected && voiceCall.startedAtMs === undefined && !wasSettled && startedAtMs !== undefined) tell('Call started', startedAtMs);
  if (analysed && !wasSettled) tell('Call completed', endedAtMs ?? askedAtMs);

  return {
    kind: 'changed',
    change: {
      state,
      outcome,
      providerCallId: observed.providerCallId,
      observed,
      dialledAtMs,
      startedAtMs: startedAtMs ?? null,
      endedAtMs: endedAtMs ?? null,
      settledAtMs: analysed ? (wasSettled ? (voiceCall.settledAtMs ?? observation.atMs) : observation.atMs) : null,
    },
    events,
  };
};

/** Whether "Call completed" is written. Cancelled and failed calls have settled too, and nothing was told of it. */
const isSettled = ({ state, settledAtMs }: ObservedVoiceCall): boolean => settledAtMs !== undefined && (state === 'completed' || state === 'not_connected');

/** What an observation shows, with what it implies. Depends on nothing that was seen before. */
const sightOf = ({ by, atMs, call }: Observation, diallingAtMs: number | undefined): ProviderCall => {
  const status = by === 'call_started' ? higher(call.status, 'ongoing') : (by === 'call_ended' || by === 'call_analyzed') && !isOver(call.status) ? 'ended' : call.status;
  const seen: ProviderCall = { ...call, status };
  // We may have hung up while it still rang: this start is the dial's. Whoever has seen it under way brings the other.
  if (isOver(status) && call.disconnectionReason === STOPPED && !((call.durationMs ?? 0) > 0)) delete seen.startedAtMs;
  // The same of a call that nobody has answered yet.
  if (status === 'registered') delete seen.startedAtMs;
  // Under way, and nobody said since when.
  if (status === 'ongoing' && seen.startedAtMs === undefined) seen.startedAtMs = atMs;
  // Of a call that goes on, an analysis is a field that stands empty.
  if (!isOver(status)) delete seen.analysis;
  if (by === 'call_analyzed') seen.analysis ??= {};
  const endedAtMs = seen.endedAtMs ?? seen.startedAtMs ?? diallingAtMs;
  if (by === 'lookup' && isOver(status) && endedAtMs !== undefined && atMs - endedAtMs >= ANALYSIS_DEADLINE_MS) seen.analysis ??= {};
  return seen;
};

const RANK: Record<ProviderCall['status'], number> = { registered: 0, ongoing: 1, not_connected: 2, ended: 3, error: 4 };
const higher = (one: ProviderCall['status'], other: ProviderCall['status']): ProviderCall['status'] => (RANK[one] >= RANK[other] ? one : other);
export const isOver = (status: ProviderCall['status']): boolean => RANK[status] >= RANK.not_connected;

const earliest = (one: number | undefined, other: number | undefined): number | undefined => (one === undefined ? other : other === undefined ? one : Math.min(one, other));
const latest = (one: number | undefined, other: number | undefined): number | undefined => (one === undefined ? other : other === undefined ? one : Math.max(one, other));
/** Of texts that contradict each other one is taken, the same in whatever order they came. */
const either = <T extends string>(one: T | undefined, other: T | undefined): T | undefined => (one === undefined ? other : other === undefined || one >= other ? one : other);
const anyTrue = (one: boolean | undefined, other: boolean | undefined): boolean | undefined => (one === undefined ? other : one || (other ?? false));

/** Joins two sights of one call: commutative, associative, and the same again when repeated. */
export const merge = (one: ProviderCall, other: ProviderCall): ProviderCall =>
  dense({
    providerCallId: one.providerCallId,
    status: higher(one.status, other.status),
    direction: either(one.direction, other.direction) ?? one.direction,
    voiceCallId: either(one.voiceCallId, other.voiceCallId),
    agentId: either(one.agentId, other.agentId),
    fromNumber: either(one.fromNumber, other.fromNumber),
    toNumber: either(one.toNumber, other.toNumber),
    startedAtMs: earliest(one.startedAtMs, other.startedAtMs),
    endedAtMs: latest(one.endedAtMs, other.endedAtMs),
    durationMs: latest(one.durationMs, other.durationMs),
    disconnectionReason: either(one.disconnectionReason, other.disconnectionReason),
    analysis:
      one.analysis && other.analysis
        ? dense({
            successful: anyTrue(one.analysis.successful, other.analysis.successful),
            voicemail: anyTrue(one.analysis.voicemail, other.analysis.voicemail),
            sentiment: either(one.analysis.sentiment, other.analysis.sentiment),
          })
        : (one.analysis ?? other.analysis),
    costCents: latest(one.costCents, other.costCents),
  });

/** Without the fields that are undefined. */
const dense = <T extends object>(record: { [K in keyof T]: T[K] | undefined }): T => Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as T;

const isSame = (one: ProviderCall, other: ProviderCall): boolean => fingerprint(one) === fingerprint(other);
const fingerprint = ({ analysis, ...rest }: ProviderCall): string => JSON.stringify([Object.entries(rest).toSorted(byKey), analysis && Object.entries(analysis).toSorted(byKey)]);
const byKey = ([one]: [string, unknown], [other]: [string, unknown]): number => (one < other ? -1 : one > other ? 1 : 0);

/** Somebody, or a machine, has picked up. */
const ANSWERED: readonly string[] = ['user_hangup', 'agent_hangup', 'call_transfer', 'voicemail_reached', 'ivr_reached', 'inactivity', 'max_duration_reached', 'transfer_bridged', 'transfer_cancelled', 'call_take_over'];
/** We have hung up, perhaps while it still rang. */
const STOPPED = 'manual_stopped';
/** Nobody was ever reached. Beside these, all that begins with `dial_`, `telephony_` or `sip_`. */
const NEVER_CONNECTED: readonly string[] = ['invalid_destination', 'concurrency_limit_reached', 'no_concurrency_fallback', 'no_valid_payment', 'marked_as_spam', 'user_declined', 'registered_call_timeout', 'error_user_not_joined'];
const NEVER_CONNECTED_KINDS = /^(dial|telephony|sip)_/;

const readingOf = (call: ProviderCall): { over: boolean; connected: boolean; outcome: VoiceOutcome | null } => {
  const over = isOver(call.status);
  const connected = wasConnected(call);
  if (!over) return { over, connected, outcome: null };
  if (connected) return { over, connected, outcome: call.analysis?.voicemail === true || call.disconnectionReason === 'voicemail_reached' ? 'voicemail' : 'connected' };
  return { over, connected, outcome: call.disconnectionReason === 'dial_busy' ? 'busy' : call.disconnectionReason === 'dial_no_answer' ? 'no_answer' : 'failed' };
};

/** Whether a call is over and nobody had picked up, by what one look at the provider shows of it. */
export const hasReachedNobody = (call: ProviderCall): boolean => {
  // The same reading as of a look-up that follows a call that we placed: what it makes of that, the lists of calls are to make of it too.
  const seen = sightOf({ by: 'lookup', atMs: 0, call }, undefined);
  return isOver(seen.status) && !wasConnected(seen);
};

/** Whether anybody, or anybody's voicemail, has picked up, as far as is known. */
export const wasConnected = ({ status, disconnectionReason: reason, startedAtMs, durationMs }: ProviderCall): boolean => {
  // Calls that never connected may carry start times all the same: the reason comes first.
  if (reason !== undefined && (NEVER_CONNECTED.includes(reason) || NEVER_CONNECTED_KINDS.test(reason))) return false;
  if (status === 'registered' || status === 'not_connected') return false;
  if (reason !== undefined && ANSWERED.includes(reason)) return true;
  return startedAtMs !== undefined || (reason === STOPPED && (durationMs ?? 0) > 0);
};
