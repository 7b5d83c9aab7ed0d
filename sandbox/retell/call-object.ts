import type { ScriptLine } from '../calls/script.ts';
import { type Scenario, scenarioOf, scriptOf } from './scenarios.ts';

/** A call as the stand-in keeps it. Everything else that is told of it follows from this. */
export interface StoredCall {
  id: string;
  direction: 'inbound' | 'outbound';
  from: string;
  to: string;
  agentId: string;
  metadata?: Record<string, unknown>;
  variables?: Record<string, string>;
  storage: 'everything' | 'everything_except_pii' | 'basic_attributes_only';
  /** Instead of what its number says. */
  dialogue?: string;
  createdAtMs: number;
  status: 'registered' | 'not_connected' | 'ongoing' | 'ended' | 'error';
  startedAtMs?: number;
  endedAtMs?: number;
  reason?: string;
  analysedAtMs?: number;
}

export const isOnALine = ({ status }: StoredCall): boolean => status === 'registered' || status === 'ongoing';

export const scenarioFor = (call: StoredCall): Scenario => {
  const scenario = scenarioOf(call.direction === 'outbound' ? call.to : call.from);
  return call.dialogue ? { ...scenario, dialogue: call.dialogue } : scenario;
};

/** Whether anybody spoke. */
const wasAnswered = (call: StoredCall): boolean => call.startedAtMs !== undefined && !(call.direction === 'outbound' && scenarioFor(call).startsAnyway === true);

/** How long the call lasted, by its words: they are spoken faster here than they sound. Ms. */
export const talkedMs = (call: StoredCall): number => (wasAnswered(call) ? Math.max(...linesOf(call).map(({ endMs }) => endMs)) + 500 : 0);

const linesOf = (call: StoredCall): ScriptLine[] => scriptOf(scenarioFor(call).dialogue);

export interface Links {
  recording: string;
  multiChannel: string;
  log: string;
}

/**
 * A call as the API shows it, after `resources/call.ts` of Retell's TypeScript SDK.
 *
 * Timestamps are epoch ms, `duration_ms` ms, the times of words seconds, costs US cents. Fields that are not known
 * yet are absent, and so are those that the storage setting strips.
 */
export const toCallObject = (call: StoredCall, links: Links, { withAnalysis = true, listed = false }: { withAnalysis?: boolean; listed?: boolean } = {}): Record<string, unknown> => {
  const { startedAtMs, endedAtMs, analysedAtMs } = call;
  const isOver = endedAtMs !== undefined;
  const hasWords = isOver && wasAnswered(call) && call.storage !== 'basic_attributes_only';
  return {
    call_type: 'phone_call',
    call_id: call.id,
    agent_id: call.agentId,
    agent_version: 3,
    agent_name: 'Marcus',
    call_status: call.status,
    direction: call.direction,
    from_number: call.from,
    to_number: call.to,
    data_storage_setting: call.storage,
    opt_in_signed_url: true,
    ...(call.metadata ? { metadata: call.metadata } : {}),
    ...(call.variables ? { retell_llm_dynamic_variables: call.variables } : {}),
    ...(call.status === 'registered' ? {} : { telephony_identifier: { twilio_call_sid: `CA${call.id.replace('call_', '').padStart(32, '0')}` } }),
    ...(startedAtMs === undefined ? {} : { start_timestamp: startedAtMs }),
    ...(isOver ? { end_timestamp: endedAtMs, duration_ms: talkedMs(call), disconnection_reason: call.reason, call_cost: costOf(call) } : {}),
    ...(hasWords && scenarioFor(call).transferred ? { transfer_destination: '+6560000199' } : {}),
    ...(hasWords && !listed
      ? {
          transcript: linesOf(call).map(({ speaker, text }) => `${speaker === 'agent' ? 'Agent' : 'User'}: ${text}\n`).join(''),
          transcript_object: utterancesOf(call),
          transcript_with_tool_calls: withEvents(utterancesOf(call)),
          recording_url: links.recording,
          recording_multi_channel_url: links.multiChannel,
        }
      : {}),
    ...(hasWords ? { public_log_url: links.log, latency: LATENCY, llm_token_usage: { average: 812, num_requests: 2, values: [790, 834] } } : {}),
    ...(withAnalysis && analysedAtMs !== undefined ? { call_analysis: analysisOf(call) } : {}),
  };
};

/** Cents a second. */
const PRICES = { voice: 0.1166667, model: 0.075, telephony: 0.025 };

const costOf = (call: StoredCall): object => {
  const seconds = Math.ceil(talkedMs(call) / 1_000);
  const products = seconds === 0 ? [] : [['elevenlabs_tts', PRICES.voice] as const, ['gpt_4_1', PRICES.model] as const, ['us_telephony', PRICES.telephony] as const];
  const productCosts = products.map(([product, unit]) => ({ product, unit_price: unit, cost: unit * seconds }));
  return {
    product_costs: productCosts,
    total_duration_seconds: seconds,
    total_duration_unit_price: productCosts.reduce((sum, { unit_price: unit }) => sum + unit, 0),
    combined_cost: productCosts.reduce((sum, { cost }) => sum + cost, 0),
  };
};

const analysisOf = (call: StoredCall): object => {
  const { voicemail = false, breaks = false } = scenarioFor(call);
  const connected = wasAnswered(call);
  return {
    in_voicemail: voicemail,
    call_successful: connected && !voicemail && !breaks,
    user_sentiment: connected && !voicemail ? 'Neutral' : 'Unknown',
    ...(connected && call.storage !== 'basic_attributes_only' ? { call_summary: voicemail ? 'The call went to voicemail.' : 'The agent spoke with the customer about their request.' } : {}),
    custom_analysis_data: {},
  };
};

interface Utterance {
  role: string;
  content: string;
  words: { word: string; start: number; end: number }[];
}

/** Words share a line's time by their lengths. Seconds, with fractions. */
const utterancesOf = (call: StoredCall): Utterance[] => {
  const { transferred = false } = scenarioFor(call);
  const lines = linesOf(call);
  return lines.map(({ speaker, startMs, endMs, text }, at) => ({
    role: speaker === 'customer' ? 'user' : transferred && at >= lines.length - 2 ? 'transfer_target' : 'agent',
    content: text,
    words: timed(text, startMs / 1_000, endMs / 1_000),
  }));
};

const timed = (text: string, start: number, end: number): Utterance['words'] => {
  const words = text.split(/(?<=\s)/);
  const each = (end - start) / text.length;
  let at = start;
  return words.map((word) => {
    const from = at;
    at += word.length * each;
    return { word, start: from, end: at };
  });
};

/** As an agent with tools would leave it: what was said, and between it what happened. */
const withEvents = (utterances: Utterance[]): object[] => [
  { role: 'node_transition', former_node_id: 'begin', former_node_name: 'Begin', new_node_id: 'talk', new_node_name: 'Talk' },
  ...utterances.slice(0, 2),
  { role: 'tool_call_invocation', tool_call_id: 'tool_1', name: 'look_up_customer', arguments: '{}' },
  { role: 'tool_call_result', tool_call_id: 'tool_1', content: 'found' },
  ...utterances.slice(2),
];

const LATENCY = { e2e: { p50: 812, p90: 1_104, p95: 1_180, p99: 1_240, min: 640, max: 1_251, num: 6, values: [640, 780, 812, 830, 1_104, 1_251] } };
