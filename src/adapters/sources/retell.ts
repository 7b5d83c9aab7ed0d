import type { CallDetails } from '../../domain/call.ts';
import { centsToMicroUsd } from '../../domain/cost.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { isSafeCallId } from '../../domain/ids.ts';
import { VOICE_PROVIDER } from '../../domain/voice.ts';
import { ANALYSIS_DEADLINE_MS, hasReachedNobody } from '../../domain/voice-observations.ts';
import type { Guard } from '../http/guard.ts';
import type { RetellClient } from '../retell/client.ts';
import type { RetellCall, RetellUtterance } from '../retell/retell.schema.ts';
import { placedAs, toProviderCall } from '../voice/retell.ts';
import { openDownload } from './download.ts';
import type { CallPage, CallSource, ListCalls, RecordingLink, SourceRecord } from './source.ts';

/** The API takes up to 1,000. */
const PAGE_SIZE = 500;

export interface RetellSourceOptions {
  client: RetellClient;
  /** Whose calls are read: those that another project has placed with the same account are not. */
  project: string;
  /** Recordings lie in a store of their own, under links that come from outside. */
  guard: Guard;
  timeoutMs: number;
  /** Who is on each channel of a recording with two. Absent: not known, and the recording with both on one is taken. */
  channels?: ('agent' | 'customer')[] | undefined;
  pageSize?: number;
}

/** Retell: calls that its agents held, with what was said on them and what they cost. */
export const createRetellSource = ({ client, project, guard, timeoutMs, channels, pageSize = PAGE_SIZE }: RetellSourceOptions): CallSource & Required<Pick<CallSource, 'findCall' | 'findRecord'>> => {
  const find = async (callId: string, signal: AbortSignal): Promise<RetellCall | undefined> => {
    try {
      return await client.getCall(callId, signal);
    } catch (error) {
      if (isAftercallError(error) && error.code === 'NOT_FOUND') return undefined;
      throw error;
    }
  };

  return {
    name: VOICE_PROVIDER,

    /**
     * Reads a page by keyset over the time at which calls began: a cursor of Retell's own means nothing by the time
     * at which a window goes on that had to wait. Whether the bounds of its filter belong to it is not documented, so
     * what lies outside is left out here.
     *
     * Calls that never began are in no window: they have no such time. Some that reached nobody have one all the same; of
     * those, the ones that we placed are known as voice calls.
     */
    async listCalls({ fromMs, toMs, cursor, signal }: ListCalls): Promise<CallPage> {
      const from = cursor?.fromMs ?? fromMs;
      const seen = new Set(cursor?.seen);
      const { calls: listed, unreadable, next } = await client.listCalls(
        { filter_criteria: { start_timestamp: { type: 'range', op: 'bt', value: [from, toMs] }, call_type: { type: 'enum', op: 'in', value: ['phone_call'] } }, limit: pageSize, sort_order: 'ascending' },
        signal,
      );
      if (unreadable > 0) {
        throw new AftercallError('UPSTREAM_NONSENSE', `Listing calls failed: ${unreadable} of the calls that Retell gave cannot be read.`, { advice: 'Look whether the API of Retell has changed.' });
      }
      const begun = listed.filter((call): call is Begun => typeof call.start_timestamp === 'number' && call.start_timestamp >= from);
      const fresh = begun.filter((call) => !seen.has(call.call_id));
      const inside = fresh.filter((call) => call.start_timestamp < toMs && isOurs(call, project) && !isVoiceCallOnly(call));
      const leftOut = inside.map(({ call_id: id }) => id).filter((id) => !isSafeCallId(id));
      const taken = inside.filter(({ call_id: id }) => isSafeCallId(id));
      const unplaced = taken.filter((call) => !placedAs(call)).map(({ call_id: id }) => id);
      const page: CallPage = { calls: taken.map(toCall), ...(leftOut.length > 0 ? { leftOut } : {}), ...(unplaced.length > 0 ? { unplaced } : {}) };
      if (next === undefined) return page;

      const last = begun.reduce((latest, call) => Math.max(latest, call.start_timestamp), 0);
      if (fresh.length === 0) {
        throw new AftercallError('SOURCE_PAGE_STUCK', `Listing calls cannot go on: Retell gave a page of ${listed.length} calls with nothing new after ${new Date(from).toISOString()}.`, {
          advice: 'Either so many calls began in one millisecond, or the API repeats a page. Run the window in smaller pieces around that time.',
        });
      }
      const atBorder = begun.filter((call) => call.start_timestamp >= last).map(({ call_id: id }) => id);
      return { ...page, next: { fromMs: last, seen: last === from ? [...new Set([...seen, ...atBorder])] : atBorder } };
    },

    async findCall(callId, signal) {
      const call = await find(callId, signal);
      return call && isOurs(call, project) ? toCall(call) : undefined;
    },

    async findRecording(callId, signal) {
      const call = await find(callId, signal);
      return call && toLink(call, channels);
    },

    async findRecord(callId, signal): Promise<SourceRecord | undefined> {
      const call = await find(callId, signal);
      if (!call) return undefined;
      const turns = toGivenTurns(wordsOf(call));
      const { call_cost: cost } = call;
      return {
        ...(turns.length > 0 ? { transcript: { by: 'retell', turns } } : {}),
        ...(typeof cost?.combined_cost === 'number'
          ? {
              charge: {
                microUsd: centsToMicroUsd(cost.combined_cost),
                seconds: cost.total_duration_seconds ?? Math.ceil((call.duration_ms ?? 0) / 1_000),
                products: (cost.product_costs ?? []).map(({ product, cost: cents }) => ({ product: product.slice(0, 100), microUsd: centsToMicroUsd(cents) })),
              },
            }
          : {}),
      };
    },

    openRecording: (link, { offset, signal }) =>
      openDownload({
        link,
        offset,
        signal,
        guard,
        timeoutMs,
        refused: { why: 'The link has probably expired.', advice: 'A new link is asked for at the next try.' },
      }),
  };
};

type Begun = RetellCall & { start_timestamp: number };

/** Several projects, and several installations, may call by one account: what another has placed is not ours to read. */
const isOurs = (call: RetellCall, project: string): boolean => (placedAs(call)?.project ?? project) === project;

/** Placed by us, and nobody was reached: nothing follows for it after the call. */
const isVoiceCallOnly = (call: RetellCall): boolean => placedAs(call) !== undefined && hasReachedNobody(toProviderCall(call));

const OVER: readonly RetellCall['call_status'][] = ['ended', 'error'];

/** Until its analysis is there, a call that is over may still lack its recording, its words and its cost. */
const statusOf = (call: RetellCall): CallDetails['status'] => {
  // One that we placed comes here after it was found to be answered, by all that was seen of it and not by this look alone.
  if (placedAs(call) ? call.call_status === 'not_connected' : hasReachedNobody(toProviderCall(call))) return 'abandoned';
  if (!OVER.includes(call.call_status)) return 'open';
  const endedAtMs = call.end_timestamp ?? (call.start_timestamp ?? 0) + (call.duration_ms ?? 0);
  return call.call_analysis || Date.now() - endedAtMs >= ANALYSIS_DEADLINE_MS ? 'completed' : 'open';
};

const toCall = (call: RetellCall): CallDetails => {
  const agentName = call.agent_name ?? call.agent_id;
  return {
    source: 'retell',
    callId: call.call_id,
    status: statusOf(call),
    direction: call.direction ?? 'inbound',
    startedAtMs: call.start_timestamp ?? call.end_timestamp ?? 0,
    ...(call.from_number ? { originPhone: call.from_number.slice(0, 200) } : {}),
    ...(call.to_number ? { destinationPhone: call.to_number.slice(0, 200) } : {}),
    ...(agentName ? { agentName: agentName.slice(0, 500) } : {}),
    ...(typeof call.end_timestamp === 'number' ? { updatedAtMs: call.end_timestamp } : {}),
    ...(typeof call.duration_ms === 'number' ? { durationMs: Math.round(call.duration_ms) } : {}),
    // Nothing but the outline is kept by this setting: no recording will ever come.
    ...(call['data_storage_setting'] === 'basic_attributes_only' ? { captureRequested: false } : {}),
  };
};

/**
 * The recording to take, or undefined while there is none.
 *
 * Which of the two channels is the agent's is documented nowhere. Where nobody has said, the recording with both on
 * one channel is the safe one: to take the agent for the customer would be worse than not to know. What was stripped
 * of personal data comes after what was not, and only where Retell has kept nothing else.
 */
const toLink = (call: RetellCall, channels: ('agent' | 'customer')[] | undefined): RecordingLink | undefined => {
  const mixed = call.recording_url ?? call.scrubbed_recording_url;
  const apart = call.recording_multi_channel_url ?? call.scrubbed_recording_multi_channel_url;
  const takesApart = Boolean(apart && (channels || !mixed));
  const link = takesApart ? apart : mixed;
  if (!link) return undefined;
  const url = URL.parse(link);
  if (!url || !/^https?:$/.test(url.protocol) || url.username !== '' || url.password !== '') {
    throw new AftercallError('RECORDING_UNUSABLE', `The recording of call ${call.call_id} cannot be fetched: its link is no http(s) address without a password in it.`, { advice: 'Look at the call in Retell, then retry.', outcome: 'refused' });
  }
  return {
    recordingId: call.call_id,
    fileName: (url.pathname.split('/').at(-1) || 'recording').slice(0, 200),
    url: url.href,
    ...(typeof call.start_timestamp === 'number' && typeof call.duration_ms === 'number' ? { startedAtMs: call.start_timestamp, stoppedAtMs: call.start_timestamp + Math.round(call.duration_ms) } : {}),
    ...(takesApart && channels ? { channels } : {}),
  };
};

/** What was said; where only a version without personal data was kept, that one. */
const wordsOf = (call: RetellCall): readonly RetellUtterance[] => call.transcript_object ?? call.scrubbed_transcript_with_tool_calls ?? [];

/** Who speaks, by Retell's roles. What is no speech (tool calls, keys that were pressed, steps of the agent's flow) is no turn. */
const SPEAKERS: Record<string, string> = { agent: 'agent', user: 'customer', transfer_target: 'transfer_target' };
const NO_SPEECH = ['tool_call_invocation', 'tool_call_result', 'node_transition', 'dtmf', 'sms', 'injected'];

/**
 * Retell's utterances with their times in ms. One without the times of its words begins where the last one ended.
 *
 * Roles that are not known, of which there will be more, are kept as speakers of their own when they bring the times
 * of spoken words, and are left out when they do not.
 */
export const toGivenTurns = (utterances: readonly RetellUtterance[]): { speaker: string; startMs: number; endMs: number; text: string }[] => {
  let lastMs = 0;
  return utterances.flatMap(({ role, content, words }) => {
    const timed = (words ?? []).filter(({ start, end }) => typeof start === 'number' && typeof end === 'number');
    const speaker = SPEAKERS[role] ?? (NO_SPEECH.includes(role) || timed.length === 0 ? undefined : role.slice(0, 60));
    const text = content.trim();
    if (speaker === undefined || text === '') return [];
    const startMs = timed.length > 0 ? Math.max(0, Math.round(Math.min(...timed.map(({ start }) => start!)) * 1_000)) : lastMs;
    const endMs = timed.length > 0 ? Math.max(startMs, Math.round(Math.max(...timed.map(({ end }) => end!)) * 1_000)) : startMs;
    lastMs = Math.max(lastMs, endMs);
    return [{ speaker, startMs, endMs, text }];
  });
};
