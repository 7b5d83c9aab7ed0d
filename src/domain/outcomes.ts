import type { CallResult, CallVersion } from './call.ts';
import type { CrmAction, Scenario } from './crm-rules.ts';

/**
 * What the steps' activities take and tell the workflow. Small on purpose: recordings, transcripts and
 * facts stay in the object store and the database; history carries what the next decision needs.
 */
export interface StepInput {
  call: CallVersion;
}

export interface FetchRecording extends StepInput {
  /** How many looks found nothing so far. */
  looks: number;
}

export type RecordingOutcome =
  | { state: 'stored'; bytes: number }
  | { state: 'not_ready'; lookAgainInMs: number }
  /** What was said came with the call, in writing. */
  | { state: 'not_needed' }
  /** There is none and there will be none: the call ends with this result. */
  | { state: 'none'; result: Extract<CallResult, 'abandoned' | 'no_recording'> };

export type TranscriptionOutcome =
  | { state: 'transcribed'; turns: number; /** Enough turns to grade. */ gradable: boolean }
  | { state: 'off' };

export interface MetadataOutcome {
  state: 'written';
  registered: boolean;
}

export type AnalysisOutcome = { state: 'analysed'; scorePercent: number | null; pass: boolean | null } | { state: 'off' };

export interface ActOnCrm extends StepInput {
  /** Who approved the decision, when it waited for a person. */
  approvedBy?: string;
}

export type CrmOutcome =
  | { state: 'done'; scenario: Scenario; action: CrmAction }
  /** Decided and written down, but a person has to say yes first. */
  | { state: 'needs_approval'; scenario: Scenario; action: CrmAction; reasons: string[] }
  /** An earlier call or system acted already; its marker was found. */
  | { state: 'already_done'; scenario?: Scenario }
  | { state: 'off'; reason?: string };
