import type { Attention, CallKey, CallVersion } from './call.ts';
import type { Step } from './steps.ts';
import type { CallCursor } from './window.ts';

/** What goes into the workflows: their arguments, and the Updates and Signals they take. */

/** How activities are timed and retried. Part of the input, so that a replay sees what the run saw. */
export interface Pace {
  /** Tries of a step before the call parks. */
  attempts: number;
  /** Wait before the second try; doubles from try to try. */
  firstRetryMs: number;
  maxRetryMs: number;
  /** A worker that gives no sign for this long is taken for dead. Activities beat three times as often. */
  heartbeatTimeoutMs: number;
}

export interface ProcessCallInput {
  call: CallVersion;
  source: string;
  /** The first step to run; results of earlier steps were taken over from the version before. */
  from: Step;
  /** False: waits for `approve` or `reject` before the first step. */
  autoProcess: boolean;
  pace: Pace;
}

/** An act of a person. `by` says who, for the record. */
interface Act {
  by: string;
}

/** What a call can wait for a person's word on: to be let in, or what a step means to do. */
export const GATES = ['staging', 'crm'] as const;
export type Gate = (typeof GATES)[number];

interface RulingAct extends Act {
  /** Only if the call waits there: who lets a call in has not seen what it will mean to do in the CRM. */
  at?: Gate;
}

export interface Approve extends RulingAct {
  note?: string;
}
export interface Reject extends RulingAct {
  reason: string;
}
export interface Retry extends Act {
  /** Default: the steps that failed. An earlier step drops the results of all that came after. */
  from?: Step;
}
export interface SkipStep extends Act {
  step: Step;
}
export interface GiveUp extends Act {
  reason: string;
}

export const CALL_UPDATES = { approve: 'approve', reject: 'reject', retry: 'retry', skipStep: 'skipStep', giveUp: 'giveUp' } as const;
export const RECORDING_AVAILABLE_SIGNAL = 'recordingAvailable';

/** What the workflow tells of itself when it is asked. */
export interface CallStatus {
  phase: CallPhase;
  running: Step[];
  done: Step[];
  skipped: Step[];
  attention: Attention[];
}

export type CallPhase = 'awaiting_approval' | 'running' | 'waiting_for_recording' | 'needs_attention' | 'ended';

/** Asks a `publishCall` that runs to publish once more. */
export const PUBLISH_SIGNAL = 'publishAgain';

export interface PublishCallInput {
  call: CallKey;
  /** How long nobody has to change anything before it is published. */
  quietMs: number;
  pace: Pace;
}

export interface IngestWindowInput {
  project: string;
  source: string;
  /** How far the window reaches back from the scheduled time. */
  minutesBack: number;
  /** How long to wait for the run's calls before reporting the rest as in progress. */
  settleMs: number;
  pace: Pace;
  /** Instead of the window that the scheduled time gives. Epoch ms. */
  window?: { fromMs: number; toMs: number };
  /** Pages after which it continues as new. Default 500. */
  pagesPerRun?: number;
  /** Set by the workflow itself when it continues as new. */
  resume?: { runId: string; window: { fromMs: number; toMs: number }; cursor?: CallCursor; page: number };
}

export interface DeliverMessageInput {
  project: string;
  messageId: string;
  pace: Pace;
}

export interface OutboundCallInput {
  project: string;
  voiceCallId: string;
  pace: Pace;
  /** Dials nobody: the call was dialled before, and whoever watched it is gone. */
  watchOnly?: true;
  voicePace: VoicePace;
  /** Set by the workflow itself when it continues as new. */
  resume?: { sinceMs: number; nextLookUpMs: number; stopWanted: boolean };
}

/** How long an outbound call waits for what, in ms. */
export interface VoicePace {
  /** Before the second look for a call whose dial has no known outcome: lists lag. */
  secondLookMs: number;
  /** Before a call of which nothing is heard is looked up; doubles up to `maxLookUpMs`. */
  firstLookUpMs: number;
  maxLookUpMs: number;
  /** A call that has not ended this long after it was dialled is left to a person. */
  patienceMs: number;
}

/** Tells an `outboundCall` that its row in the database has changed: it reads it. Carries nothing that could be stale. */
export const VOICE_OBSERVED_SIGNAL = 'voiceObserved';
