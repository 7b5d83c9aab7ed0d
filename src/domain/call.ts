import type { Step } from './steps.ts';

/** Which call, in which project. `callId` is the source's own ID of the call (Webex: the task ID). */
export interface CallKey {
  project: string;
  callId: string;
}

/** One run of a call. A re-run of a call is a new version; versions count from 1. */
export interface CallVersion extends CallKey {
  version: number;
}

export type Direction = 'inbound' | 'outbound';

/** A card in a CRM. */
export interface CrmCard {
  kind: 'lead' | 'contact' | 'company';
  id: string;
}

/** A call as its source describes it. Fields a source may leave out are optional. */
export interface CallDetails {
  source: string;
  callId: string;
  /** `open`: not finished, not ours to process yet. */
  status: 'completed' | 'abandoned' | 'open';
  direction: Direction;
  originPhone?: string;
  destinationPhone?: string;
  queueName?: string;
  /** Absent on calls that no person took. */
  agentName?: string;
  startedAtMs: number;
  /** When the source last touched the record; not always the end of the call. */
  updatedAtMs?: number;
  /** How long people talked, where the source tells before there is a recording. */
  durationMs?: number;
  /** Whether the source recorded it; undefined when the source does not know yet. */
  captureRequested?: boolean;
  /** Where the call stands, if its source is a CRM. */
  card?: CrmCard;
}

/**
 * Where a call stands.
 *
 * `staged` is written before its workflow starts; the last five are ends.
 */
export const CALL_STATES = [
  'staged',
  'awaiting_approval',
  'processing',
  'waiting_for_recording',
  'needs_attention',
  'completed',
  'rejected',
  'given_up',
  'cancelled',
  'failed',
] as const;

export type CallState = (typeof CALL_STATES)[number];

/** Ends that stay ended: a later poll does not start the call again. */
export const SETTLED_STATES = ['completed', 'rejected', 'given_up'] as const satisfies readonly CallState[];

/** Ends that the next poll may start again: a defect, or somebody cancelled the workflow. */
export const RESTARTABLE_STATES = ['failed', 'cancelled'] as const satisfies readonly CallState[];

export const hasEnded = (state: CallState): boolean =>
  ([...SETTLED_STATES, ...RESTARTABLE_STATES] as CallState[]).includes(state);

/** Why a call waits for a person, and what they can press. */
export interface Attention {
  step: Step;
  /** The type of the failure, one of `ERROR_CODES`. */
  code: string;
  message: string;
  /** What the person can do about it. */
  advice: string;
  attempts: number;
  sinceMs: number;
}

/** What a completed call amounted to. Only `processed` went down the whole path. */
export const RESULTS = ['processed', 'abandoned', 'no_recording', 'too_short'] as const;
export type CallResult = (typeof RESULTS)[number];

/** What `processCall` returns. A workflow that returns has not failed, whatever became of the call. */
export interface CallOutcome {
  state: 'completed' | 'rejected' | 'given_up';
  result?: CallResult;
  skippedSteps: Step[];
  reason?: string;
}
