import type { VoiceCallKey, VoiceState } from './voice.ts';

/** What `outboundCall` calls, takes and answers. */

/** As much of a voice call as decides what comes next. */
export interface VoiceStanding {
  state: VoiceState;
  /** The provider's call is known. */
  found: boolean;
  /** Somebody, or a machine, was reached. */
  connected: boolean;
  handedOver: boolean;
}

/** `taken`: the provider has the call. `unknown`: somebody may have been called. `passed`: there is nothing (more) to dial. */
export type DialOutcome = { kind: 'taken' | 'passed'; standing: VoiceStanding } | { kind: 'unknown'; standing: VoiceStanding; reason: string };

/** What a person says of a call that waits for them. */
export type VoiceResolution =
  /** It was dialled, and this is the provider's call. */
  | { as: 'dialled'; providerCallId: string; by: string }
  /** It was not dialled: into the queue again. */
  | { as: 'dial_again'; by: string }
  /** Nothing more is to be done about it. */
  | { as: 'give_up'; by: string; reason: string }
  /** Ask the provider once more. */
  | { as: 'look_again'; by: string };

export interface VoiceActivities {
  /** Asks the provider to dial: once, whatever becomes of the worker. */
  dialVoiceCall(key: VoiceCallKey): Promise<DialOutcome>;
  /** Asks the provider what it knows, by its ID of the call or else by our metadata, and takes that in. */
  lookUpVoiceCall(key: VoiceCallKey): Promise<VoiceStanding>;
  readVoiceCall(key: VoiceCallKey): Promise<VoiceStanding>;
  /** @returns how it stands then: a call that moved on meanwhile is not parked */
  parkVoiceCall(input: VoiceCallKey & { code: 'DIAL_UNKNOWN' | 'END_UNKNOWN'; message: string; advice: string }): Promise<VoiceStanding>;
  /** Cancels one that is in the queue again. @returns how it stands then */
  takeBackVoiceCall(input: VoiceCallKey & { reason: string }): Promise<VoiceStanding>;
  /** Hangs up. */
  stopVoiceCall(key: VoiceCallKey): Promise<void>;
  /** @throws CONFLICT, NOT_FOUND with the words for the person whose resolution does not fit */
  resolveVoiceCall(input: VoiceCallKey & { resolution: VoiceResolution }): Promise<VoiceStanding>;
  /** Shows something on the call that nobody decides on. */
  noteVoiceCall(input: VoiceCallKey & { note: string }): Promise<void>;
  /** A line is free: whoever keeps the queue may go on. */
  freeLine(input: { project: string }): Promise<void>;
}

export interface HandOverActivities {
  /**
   * Has `processCall` take over the recording and the transcript of a call that has ended. Repeating it starts nothing twice.
   *
   * @returns under which ID `calls` has it; null where there is nothing to take over
   */
  handOverVoiceCall(key: VoiceCallKey): Promise<{ callId: string | null }>;
}

/** What a call shows whose hand-over failed for good begins so, until one succeeds. */
export const HAND_OVER_FAILED = 'Its recording was not taken over: ';

export const VOICE_UPDATES = { stop: 'stop', resolve: 'resolve' } as const;

export interface StopVoiceCall {
  by: string;
}
/** `noted`: it is not known under which ID the provider has it; it is stopped as soon as that is. */
export type StopOutcome = 'stopped' | 'noted';
