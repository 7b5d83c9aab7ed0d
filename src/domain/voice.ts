import type { Direction } from './call.ts';

/**
 * Outbound calls that a voice provider places for us.
 *
 * Glossary: a *voice call* is one wish to call one number, from the request to its end; the *provider's call* is what
 * came of it there, under the provider's own ID; an *observation* is what somebody learned of a provider's call, by
 * its answer, a webhook or a look-up. Whatever brought them, and in whatever order, the same observations leave a
 * voice call in the same state.
 */

/**
 * Where a voice call stands. `queued` calls wait for a line, or for their time; from `dialling` to `ongoing` a call
 * holds a line.
 */
export const VOICE_STATES = [
  'queued',
  /** The provider has been asked to dial, or is just about to be. Whether it does is not known yet. */
  'dialling',
  /** The provider has taken the call. */
  'dialled',
  /** Somebody has answered. */
  'ongoing',
  /** Over; the provider analyses it. */
  'ended',
  /** Over and analysed. */
  'completed',
  /** Nobody was reached: busy, no answer, or it could not be put through. `outcome` says which. */
  'not_connected',
  /** Taken back before it was dialled. */
  'cancelled',
  /** The provider refused it for good. */
  'failed',
  /** Whether it was dialled could not be found out, or its end cannot: a person decides. */
  'needs_attention',
] as const;
export type VoiceState = (typeof VOICE_STATES)[number];

/** In these a call holds one of the account's lines. */
export const ON_A_LINE = ['dialling', 'dialled', 'ongoing'] as const satisfies readonly VoiceState[];

/** Nothing follows. */
export const VOICE_ENDS = ['completed', 'not_connected', 'cancelled', 'failed'] as const satisfies readonly VoiceState[];

/** How a voice call went, in the words that reports count by. */
export const VOICE_OUTCOMES = ['connected', 'voicemail', 'busy', 'no_answer', 'failed'] as const;
export type VoiceOutcome = (typeof VOICE_OUTCOMES)[number];

export const VOICE_PRIORITIES = [1, 2, 3, 4, 5] as const;
/** 1 goes first. */
export type VoicePriority = (typeof VOICE_PRIORITIES)[number];
export const DEFAULT_PRIORITY: VoicePriority = 3;

export interface VoiceCallKey {
  project: string;
  /** Ours: `vc_` and 22 characters. */
  voiceCallId: string;
}

/** Whom to call, and how. */
export interface VoiceCallRequest {
  /** E.164. */
  from: string;
  /** E.164. */
  to: string;
  /** The provider's ID of the agent that speaks; absent: the one that is bound to `from`. */
  agent?: string;
  /** Filled into the agent's prompt. */
  variables: Record<string, string>;
  /** The caller's own, given back with everything that is told of the call. */
  metadata: Record<string, string | number | boolean>;
  priority: VoicePriority;
  /** Not before; epoch ms. */
  notBeforeMs?: number;
  /** Not any more from then on, whatever it waited for; epoch ms. */
  notAfterMs?: number;
  /** IANA zone that quiet hours are reckoned in for this number; absent: the project's. */
  timeZone?: string;
}

/** Who holds the calls: under this name its charges are in the ledger, and its calls in the list of sources. */
export const VOICE_PROVIDER = 'retell';

/** What is known of a provider's call, reduced to what decides. Fields that are not known yet are absent. */
export interface ProviderCall {
  providerCallId: string;
  status: 'registered' | 'not_connected' | 'ongoing' | 'ended' | 'error';
  direction: Direction;
  /** Which of our voice calls it is, by the metadata that went with it; absent on calls that we did not place. */
  voiceCallId?: string;
  agentId?: string;
  fromNumber?: string;
  toNumber?: string;
  startedAtMs?: number;
  endedAtMs?: number;
  durationMs?: number;
  /** In the provider's words; there will be new ones. */
  disconnectionReason?: string;
  /** Present once it has been analysed. */
  analysis?: { successful?: boolean; voicemail?: boolean; sentiment?: string };
  /** What the provider charged, in US cents, which may have fractions. */
  costCents?: number;
}

/** What brought an observation. */
export const OBSERVED_BY = ['dial', 'call_started', 'call_ended', 'call_analyzed', 'lookup'] as const;
export type ObservedBy = (typeof OBSERVED_BY)[number];

export interface Observation {
  by: ObservedBy;
  /** Epoch ms at which it came in. */
  atMs: number;
  call: ProviderCall;
}

/** Under which a provider's calls are told apart from others of the same account, in the metadata that goes with them. */
export const METADATA_PROJECT = 'aftercall_project';
export const METADATA_VOICE_CALL = 'aftercall_voice_call';
