import { readFileSync } from 'node:fs';
import type { ScriptLine } from '../calls/script.ts';

/** What becomes of a call to, or from, a number. */
export interface Scenario {
  /** Rings, and nobody comes: the reason for it, in the provider's words. Absent: it is answered. */
  unconnected?: 'dial_busy' | 'dial_no_answer' | 'dial_failed' | 'user_declined' | 'invalid_destination';
  /** Ends as `ended`, with the time of a start, though nobody came. */
  startsAnyway?: boolean;
  /** How an answered call ends. */
  ends: string;
  /** The sample call whose words are spoken. */
  dialogue: string;
  voicemail?: boolean;
  /** The last turns are spoken by whoever it was put through to. */
  transferred?: boolean;
  /** `call_analyzed` never comes. */
  neverAnalysed?: boolean;
  /** Goes on until it is ended by hand. */
  long?: boolean;
  /** Its status at the end is `error`. */
  breaks?: boolean;
}

const ANSWERED: Scenario = { ends: 'agent_hangup', dialogue: 'outbound' };

/** By the last two digits of the customer's number. Every other number is answered, and the customer thinks about it. */
export const SCENARIOS: Record<string, Scenario> = {
  '80': { ends: 'user_hangup', dialogue: 'good-lead' },
  '81': { ends: 'user_hangup', dialogue: 'lead-conversion' },
  '82': { ends: 'agent_hangup', dialogue: 'renewal' },
  '83': { ends: 'agent_hangup', dialogue: 'consumer' },
  '84': { ends: 'user_hangup', dialogue: 'revenue-flagged' },
  '85': { ends: 'user_hangup', dialogue: 'too-short' },
  '88': { ...ANSWERED, unconnected: 'user_declined', startsAnyway: true },
  '89': { ...ANSWERED, unconnected: 'invalid_destination' },
  '90': { ...ANSWERED, unconnected: 'dial_busy' },
  '91': { ...ANSWERED, unconnected: 'dial_no_answer' },
  '92': { ends: 'voicemail_reached', dialogue: 'too-short', voicemail: true },
  '93': { ...ANSWERED, unconnected: 'dial_failed' },
  '94': { ...ANSWERED, neverAnalysed: true },
  '95': { ...ANSWERED, long: true },
  '96': { ...ANSWERED, unconnected: 'user_declined' },
  '98': { ...ANSWERED, ends: 'call_transfer', transferred: true },
  '99': { ...ANSWERED, ends: 'error_llm_websocket_lost_connection', breaks: true },
};

export const scenarioOf = (customersNumber: string): Scenario => SCENARIOS[customersNumber.slice(-2)] ?? ANSWERED;

const scripts = new Map<string, ScriptLine[]>();
/** The words of a sample call, with their times in ms. */
export const scriptOf = (dialogue: string): ScriptLine[] => {
  const known = scripts.get(dialogue);
  if (known) return known;
  const read = JSON.parse(readFileSync(new URL(`../calls/audio/${dialogue}.json`, import.meta.url), 'utf8')) as ScriptLine[];
  scripts.set(dialogue, read);
  return read;
};
