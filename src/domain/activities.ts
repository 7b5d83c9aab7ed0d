import type { CallCursor, IngestPageInput, IngestPageResult, ReportInput, SettleInput, Window } from './window.ts';
import type { Attention, CallKey, CallOutcome, CallResult, CallState, CallVersion } from './call.ts';
import type {
  ActOnCrm,
  AnalysisOutcome,
  CrmOutcome,
  FetchRecording,
  MetadataOutcome,
  RecordingOutcome,
  StepInput,
  TranscriptionOutcome,
} from './outcomes.ts';
import type { ExecutionReport } from './report.ts';
import type { Step } from './steps.ts';

/**
 * What the workflows call. `src/activities` implements it; the queues differ so that each vendor's limit
 * holds for its own steps only.
 */
export interface RecordingActivities {
  fetchRecording(input: FetchRecording): Promise<RecordingOutcome>;
}

/** Speech and language: what costs money. */
export interface LlmActivities {
  transcribe(input: StepInput): Promise<TranscriptionOutcome>;
  analyse(input: StepInput): Promise<AnalysisOutcome>;
}

export interface CrmActivities {
  actOnCrm(input: ActOnCrm): Promise<CrmOutcome>;
}

export interface DeskActivities {
  writeMetadata(input: StepInput): Promise<MetadataOutcome>;
  deliver(input: DeliverInput): Promise<{ state: 'delivered' }>;
  /** Records where a call stands when no step does so itself. */
  recordState(input: RecordState): Promise<void>;
}

export interface DeliverInput extends StepInput {
  result: CallResult;
  skipped: Step[];
  /** Why a step was turned down, in the words of who did it. */
  reasons?: Partial<Record<Step, string>>;
}

export interface RecordState {
  call: CallVersion;
  state: CallState;
  step?: Step;
  attention?: Attention;
  reason?: string;
  outcome?: CallOutcome;
  /** Steps whose results are dropped. */
  drop?: Step[];
}

export interface MessageActivities {
  /** @returns the state that the message is in then */
  carryMessage(input: CarryMessage): Promise<{ state: string }>;
  abandonMessage(input: CarryMessage & { reason: string }): Promise<void>;
}

export interface CarryMessage {
  project: string;
  messageId: string;
}

export interface PublicationActivities {
  /** @returns whether a change came since it began */
  publishCall(input: { call: CallKey }): Promise<{ more: boolean }>;
  recordUnpublished(input: { call: CallKey; message: string; advice: string }): Promise<void>;
}

export interface IngestActivities {
  openRun(input: { runId: string; project: string; source: string; window: Window }): Promise<void>;
  ingestPage(input: IngestPageInput): Promise<IngestPageResult>;
  /** @returns how many calls are not settled when it stops waiting */
  awaitSettled(input: SettleInput): Promise<number>;
  writeReport(input: ReportInput): Promise<ExecutionReport>;
  failRun(input: { runId: string; error: string; cursor?: CallCursor }): Promise<void>;
}

/** Task queue suffixes; the full name has the installation's prefix. */
export const QUEUES = ['workflows', 'recordings', 'llm', 'crm', 'messages', 'voice', 'warehouse'] as const;
export type Queue = (typeof QUEUES)[number];
export const queueName = (queue: Queue): string => `aftercall-${queue}`;
