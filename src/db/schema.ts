import type { ColumnType, Generated, JSONColumnType } from 'kysely';
import type { Role } from '../domain/access.ts';
import type { Agreement } from '../domain/agreement.ts';
import type { Analysis, Sentiment, Verdict } from '../domain/analysis.ts';
import type { Content } from '../domain/announcements.ts';
import type { BulkOutcome, RulingKind } from '../domain/bulk.ts';
import type { Attention, CallDetails, CallResult, CallState, Direction } from '../domain/call.ts';
import type { Compared, GapReason, Tally, Verdict as DayVerdict } from '../domain/completeness.ts';
import type { CostKind, PaidFor, Usage } from '../domain/cost.ts';
import type { CrmResult } from '../domain/crm-rules.ts';
import type { Wait } from '../domain/daily-limit.ts';
import type { ErasureKind, Places } from '../domain/erasure.ts';
import type { Gate } from '../domain/messages.ts';
import type { PatternKind } from '../domain/patterns.ts';
import type { GivenAudio, GivenTranscript } from '../domain/given.ts';
import type { ExecutionReport } from '../domain/report.ts';
import type { ProjectSettings } from '../domain/settings.ts';
import type { PresetTestResult } from '../domain/preset-test.ts';
import type { RescoredCall, RescoreForecast, RescoreState } from '../domain/rescore.ts';
import type { PresetSettings } from '../domain/preset.ts';
import type { AdvisoryQuestion, PersonVerdict, ReviewAct, ReviewKind } from '../domain/review.ts';
import type { Step } from '../domain/steps.ts';
import type { TrackingEventName, TrackingProperties, TrackingState, TrackingTry } from '../domain/tracking.ts';
import type { BatchCounts, BatchState } from '../domain/voice-batches.ts';
import type { UnitKind, WarehouseSink } from '../domain/warehouse.ts';
import type { WarehouseForm, WarehouseTable } from '../domain/warehouse-tables.ts';
import type { ProviderCall, VoiceCallRequest, VoiceOutcome, VoiceState } from '../domain/voice.ts';

/**
 * The tables as Kysely sees them. The migrations create them.
 *
 * Glossary: a *call* is what the source reports; a *version* is one run of it through the pipeline; a
 * *run* is one execution of a window; an *effect* is one outward act; a *message* is news on its way to one target;
 * a *cost* is one paid request.
 */
export interface Schema {
  projects: ProjectsTable;
  calls: CallsTable;
  call_versions: CallVersionsTable;
  runs: RunsTable;
  run_tasks: RunTasksTable;
  run_log: RunLogTable;
  call_analysis: CallAnalysisTable;
  presets: PresetsTable;
  preset_versions: PresetVersionsTable;
  preset_tests: PresetTestsTable;
  rescores: RescoresTable;
  rescore_calls: RescoreCallsTable;
  effects: EffectsTable;
  messages: MessagesTable;
  publications: PublicationsTable;
  costs: CostsTable;
  spending: SpendingTable;
  reviews: ReviewsTable;
  question_standings: QuestionStandingsTable;
  review_publications: ReviewPublicationsTable;
  users: UsersTable;
  memberships: MembershipsTable;
  sessions: SessionsTable;
  refresh_tokens: RefreshTokensTable;
  api_tokens: ApiTokensTable;
  audit_log: AuditLogTable;
  audit_heads: AuditHeadsTable;
  sign_in_failures: SignInFailuresTable;
  credentials: CredentialsTable;
  encryption_keys: EncryptionKeysTable;
  inbox: InboxTable;
  connectors: ConnectorsTable;
  hooks: HooksTable;
  given_calls: GivenCallsTable;
  idempotency_keys: IdempotencyKeysTable;
  bulk_rulings: BulkRulingsTable;
  call_terms: CallTermsTable;
  call_counts: CallCountsTable;
  cost_totals: CostTotalsTable;
  bulk_ruling_calls: BulkRulingCallsTable;
  erasures: ErasuresTable;
  erasure_calls: ErasureCallsTable;
  erased_calls: ErasedCallsTable;
  voice_calls: VoiceCallsTable;
  voice_accounts: VoiceAccountsTable;
  voice_lines: VoiceLinesTable;
  voice_batches: VoiceBatchesTable;
  warehouse_changes: WarehouseChangesTable;
  warehouse_sinks: WarehouseSinksTable;
  warehouse_files: WarehouseFilesTable;
  tracking_events: TrackingEventsTable;
  uploads: UploadsTable;
  completeness_days: CompletenessDaysTable;
  completeness_listed: CompletenessListedTable;
  completeness_gaps: CompletenessGapsTable;
}

type Json<T extends object> = JSONColumnType<T, string, string>;
type NullableJson<T extends object> = JSONColumnType<T | null, string | null | undefined, string | null>;
type DefaultedJson<T extends object> = JSONColumnType<T, string | undefined, string>;
type Timestamp = ColumnType<Date, Date | string, Date | string>;
type NullableTimestamp = ColumnType<Date | null, Date | string | null | undefined, Date | string | null>;
type DefaultedTimestamp = ColumnType<Date, Date | string | undefined, Date | string>;
type Computed = ColumnType<string | null, never, never>;
type CreatedAt = ColumnType<Date, Date | undefined, never>;

export interface ProjectsTable {
  id: string;
  name: string;
  settings: Json<Partial<ProjectSettings>>;
  created_at: CreatedAt;
}

export interface CallsTable {
  project: string;
  call_id: string;
  source: string;
  details: Json<CallDetails>;
  started_at: Timestamp;
  state: CallState;
  /** The step that runs, or that the call is parked at. */
  step: Step | null;
  attention: NullableJson<Attention>;
  result: CallResult | null;
  reason: string | null;
  /** The newest version; 0 before the first. */
  version: Generated<number>;
  first_seen_at: CreatedAt;
  updated_at: DefaultedTimestamp;
  ended_at: NullableTimestamp;
  /** Taken out of `details`, for lists. Numbers are digits only. */
  queue_name: Computed;
  agent_name: Computed;
  origin_number: Computed;
  destination_number: Computed;
  /** Of the newest version, as its reviews leave it. */
  score_percent: number | null;
  passed: boolean | null;
  /** Answers of the newest analysis that could not be shown; null when there is nothing to review, or somebody has. */
  doubts: number | null;
  /** Where chance puts the call among those to be reviewed: of its ID alone, so that nobody chooses. */
  lot: number | null;
}

export interface StoredRecording {
  key: string;
  bytes: number;
  sha256: string;
  format: string;
  /** As the source gives it; the transcription step measures the audio itself. */
  durationMs?: number;
  channels?: ('agent' | 'customer')[];
  recordingId: string;
  fileName: string;
}

export interface StoredTranscript {
  key: string;
  /** Where it stays when a later version has another; absent on those from before copies were kept. */
  versionKey?: string;
  turns: number;
  durationMs: number;
  language?: string;
  provider: string;
  model: string;
  /** Who the stored transcript's speakers are, where a person has said so on the version before. */
  speakers?: Record<string, string>;
}

export interface StoredMetadata {
  key: string;
  registered: boolean;
}

export interface StoredDelivery {
  deliveredAtMs: number;
}

export interface CallVersionsTable {
  project: string;
  call_id: string;
  version: number;
  /** The window run that started it; null when a person did. */
  run_id: string | null;
  /** The step this version started from; earlier results were taken over from the version before. */
  started_from: Step;
  recording: NullableJson<StoredRecording>;
  transcript: NullableJson<StoredTranscript>;
  metadata: NullableJson<StoredMetadata>;
  analysis: NullableJson<Analysis>;
  crm: NullableJson<CrmResult>;
  delivery: NullableJson<StoredDelivery>;
  /** The preset that its steps go by, picked at the first that asks; null before. */
  preset_id: string | null;
  preset_version: number | null;
  /** Questions that count for nothing in this version's score, as of the last time it was published. */
  advisory: JSONColumnType<AdvisoryQuestion[] | null, string | null | undefined, string | null>;
  state: CallState;
  result: CallResult | null;
  reason: string | null;
  started_at: CreatedAt;
  ended_at: NullableTimestamp;
}

export interface RunsTable {
  id: string;
  project: string;
  source: string;
  window_from: Timestamp;
  window_to: Timestamp;
  state: 'reading' | 'settling' | 'completed' | 'failed';
  pages: Generated<number>;
  error: string | null;
  report: NullableJson<ExecutionReport>;
  report_key: string | null;
  log_key: string | null;
  started_at: CreatedAt;
  ended_at: NullableTimestamp;
}

/** What a run found. Emptied when its report is written. */
export interface RunTasksTable {
  run_id: string;
  call_id: string;
  disposition: 'new' | 'skipped' | 'open';
}

export interface RunLogTable {
  id: Generated<string>;
  run_id: string;
  at: CreatedAt;
  level: 'info' | 'warn' | 'error';
  message: string;
  fields: Json<Record<string, unknown>>;
}

/** How the newest run of a call was graded, in columns that calls are compared by. */
export interface CallAnalysisTable {
  project: string;
  call_id: string;
  version: number;
  started_at: Timestamp;
  agent: string | null;
  queue: string | null;
  category: string | null;
  direction: Direction;
  score_percent: number | null;
  pass: boolean | null;
  sentiment: Sentiment;
  /** By criterion. */
  verdicts: Json<Record<string, Verdict>>;
  patterns: PatternKind[];
  /** As in `service-call@1`. */
  rubric: string;
  updated_at: DefaultedTimestamp;
}

export type EffectClass = 'upsert_by_key' | 'read_before_write' | 'no_key';

export interface EffectsTable {
  /** SHA-256 over project, call, effect and target: nothing that differs between attempts. */
  key: string;
  project: string;
  call_id: string;
  version: number;
  effect: string;
  target: string;
  class: EffectClass;
  /** `unknown`: sent, but the answer was lost and the target cannot be asked. A person decides. */
  state: 'planned' | 'done' | 'unknown';
  intent: Json<Record<string, unknown>>;
  receipt: NullableJson<Record<string, unknown>>;
  planned_at: CreatedAt;
  done_at: NullableTimestamp;
}

export interface PresetsTable {
  project: string;
  id: string;
  name: string;
  /** The newest. */
  version: number;
  /** Made for one test and gone after it. */
  draft: Generated<boolean>;
  created_at: CreatedAt;
  created_by: string;
  archived_at: NullableTimestamp;
}

/** Never changed, but for the key that its secrets are sealed under. */
export interface PresetVersionsTable {
  project: string;
  preset_id: string;
  version: number;
  settings: Json<PresetSettings>;
  /** Sealed under the key ring, each for its place only. */
  speech_key: string | null;
  diarization_key: string | null;
  model_key: string | null;
  created_at: CreatedAt;
  created_by: string;
}

export interface PresetTestsTable {
  project: string;
  id: string;
  call_id: string;
  version: number;
  preset_id: string;
  preset_version: number;
  /** Whether the recording is transcribed anew. */
  transcribe: boolean;
  state: 'running' | 'done' | 'failed';
  result: NullableJson<PresetTestResult>;
  error: NullableJson<{ code: string; message: string; advice: string }>;
  created_at: CreatedAt;
  created_by: string;
  ended_at: NullableTimestamp;
}

/**
 * `pending`: waits for its next try. `unknown`: sent, but nobody can say whether it arrived; a person decides.
 * `failed`: not delivered, and not tried again by itself. `settled`: a person has decided that nothing more is to be done.
 */
export const MESSAGE_STATES = ['pending', 'sending', 'delivered', 'unknown', 'failed', 'settled'] as const;
export type MessageState = (typeof MESSAGE_STATES)[number];

/** One try to deliver a message. */
export interface MessageTry {
  /** ISO 8601, UTC. */
  at: string;
  outcome: 'delivered' | 'retried' | 'failed' | 'unknown' | 'unsubscribed';
  code?: string;
  reason?: string;
  advice?: string;
}

/** News on its way to one target, and what became of every try: the delivery log. */
export interface MessagesTable {
  /** SHA-256 over project, occasion and target: nothing that differs between attempts. */
  id: string;
  project: string;
  event: string;
  call_id: string | null;
  version: number | null;
  run_id: string | null;
  notifier: string;
  target: string;
  class: EffectClass;
  state: MessageState;
  round: Generated<number>;
  message: Json<Content>;
  attempts: Generated<number>;
  tries: ColumnType<MessageTry[], string | undefined, string>;
  receipt: NullableJson<Record<string, unknown>>;
  settled_by: string | null;
  created_at: CreatedAt;
  updated_at: DefaultedTimestamp;
}

/** The score that was published of a call last. */
export interface PublicationsTable {
  project: string;
  call_id: string;
  /** Below the threshold. */
  low: boolean;
  /** How often it has fallen below. */
  drops: number;
  score_percent: number | null;
  version: number;
  published_at: DefaultedTimestamp;
}

/** A shadow run of a preset over stored calls. */
export interface RescoresTable {
  project: string;
  id: string;
  preset_id: string;
  preset_version: number;
  /** Whether the CRM's facts are extracted anew and decided on. */
  facts: boolean;
  state: RescoreState;
  reason: string | null;
  /** What was bound to each category when it began. */
  bindings: Json<Record<string, string>>;
  forecast: Json<RescoreForecast>;
  created_at: CreatedAt;
  created_by: string;
  ended_at: NullableTimestamp;
  /** Categories that its preset was bound to by its result. */
  promoted_to: NullableJson<string[]>;
  promoted_by: string | null;
  promoted_at: NullableTimestamp;
}

export interface RescoreCallsTable {
  project: string;
  rescore_id: string;
  seq: number;
  call_id: string;
  version: number;
  /** Graded by the old preset once more, too. */
  sampled: boolean;
  state: 'waiting' | 'done' | 'failed';
  result: NullableJson<RescoredCall>;
  error: NullableJson<{ code: string; message: string; advice: string }>;
}

export interface CostsTable {
  /** Deterministic: project, call, version, step, what was asked, and which try it was. */
  key: string;
  project: string;
  /** Null only for what a voice call cost that was not handed over. */
  call_id: string | null;
  /** The voice call that was seen to cost it: null for all that a call's own processing cost. */
  voice_call_id: string | null;
  version: number;
  step: PaidFor;
  kind: CostKind;
  provider: string;
  model: string;
  /** `reserved`: the request was sent; if its answer never came, it may still have been billed. */
  state: 'reserved' | 'settled';
  usage: NullableJson<Usage>;
  micro_usd: Generated<number>;
  /** Set aside for it before it was made; counts until it is settled. */
  reserved_micro_usd: Generated<number>;
  /** UTC day that it counts under. */
  day: Generated<Date>;
  /** What was paid for, kept until the call ends so that no retry pays for it again. */
  result: NullableJson<object>;
  request_id: string | null;
  /** The test or shadow run that paid for it; null for the call's own steps. */
  reference: string | null;
  reserved_at: CreatedAt;
  settled_at: NullableTimestamp;
}

/** A person. */
export interface UsersTable {
  id: Generated<string>;
  /** Lower case. */
  email: string;
  name: string;
  /** argon2id. */
  password_hash: string;
  platform_admin: Generated<boolean>;
  created_at: CreatedAt;
  disabled_at: NullableTimestamp;
}

export interface MembershipsTable {
  project: string;
  user_id: string;
  role: Role;
  created_at: CreatedAt;
}

/** A sign-in, and all refresh tokens that follow from it: a family that ends together. */
export interface SessionsTable {
  id: Generated<string>;
  user_id: string;
  created_at: CreatedAt;
  last_used_at: DefaultedTimestamp;
  ended_at: NullableTimestamp;
  ended_why: 'logout' | 'password_changed' | 'token_reused' | 'disabled' | null;
}

export interface RefreshTokensTable {
  /** SHA-256; the token itself is nowhere. */
  hash: string;
  session_id: string;
  issued_at: CreatedAt;
  expires_at: Timestamp;
  used_at: NullableTimestamp;
}

/** A machine's access to one project. */
export interface ApiTokensTable {
  id: string;
  project: string;
  name: string;
  role: Role;
  /** SHA-256; the token itself was shown once. */
  hash: string;
  created_by: string;
  created_at: CreatedAt;
  expires_at: NullableTimestamp;
  last_used_at: NullableTimestamp;
  revoked_at: NullableTimestamp;
}

/** Append-only: a trigger refuses changes. */
export interface AuditLogTable {
  /** `*` for what is not one project's. */
  project: string;
  seq: ColumnType<number | string, number, never>;
  at: ColumnType<Date, string, never>;
  actor: string;
  actor_kind: 'user' | 'token';
  action: string;
  target: string;
  details: Json<Record<string, unknown>>;
  request_id: string;
  previous_hash: string;
  hash: string;
}

/** The end of each project's chain. */
export interface AuditHeadsTable {
  project: string;
  seq: ColumnType<number | string, number, number>;
  hash: string;
}

/** Failed sign-ins of an account or an address in a stretch of time. */
export interface SignInFailuresTable {
  key: string;
  window_start: Timestamp;
  failures: number;
}

/** What a project has spent and set aside on a UTC day. */
export interface SpendingTable {
  project: string;
  /** `YYYY-MM-DD`. */
  day: ColumnType<Date, string, never>;
  micro_usd: Generated<number>;
}

/** What people say of analyses. Rows are only added. */
export interface ReviewsTable {
  project: string;
  call_id: string;
  version: number;
  revision: number;
  /** The version that the analysis was made in: another one when it was taken over, and its reviews with it. */
  analysis_version: number;
  kind: ReviewKind;
  act: Json<ReviewAct>;
  undoes: number | null;
  /** What the person says of each question, and what the model had said. */
  verdicts: NullableJson<Record<string, PersonVerdict>>;
  claimed: NullableJson<Record<string, PersonVerdict>>;
  /** The analysis's `versions`, and which of its questions need not arise. */
  stamps: Json<Analysis['versions'] & { optional: string[] }>;
  by_name: string;
  by_kind: 'user' | 'token';
  at: DefaultedTimestamp;
}

/** How far people and the model agree on a question, and whether it counts. */
export interface QuestionStandingsTable {
  project: string;
  rubric: string;
  criterion: string;
  agreement: Json<Pick<Agreement, 'n' | 'raw' | 'kappa' | 'ac1'>>;
  advisory: Generated<boolean>;
  changed_at: DefaultedTimestamp;
}

/** Calls whose score has changed since it was last stored and pushed. */
export interface ReviewPublicationsTable {
  project: string;
  call_id: string;
  /** How often it was asked for, up to which of those the last attempt went, and the last that came through. */
  wanted: Generated<number>;
  attempted: Generated<number>;
  done: Generated<number>;
  state: 'pending' | 'done' | 'failed';
  error: NullableJson<{ message: string; advice: string }>;
  next_look_at: DefaultedTimestamp;
  updated_at: DefaultedTimestamp;
}

/** Tokens that rotate, sealed under the key ring. */
export interface CredentialsTable {
  name: string;
  sealed: string;
  expires_at: NullableTimestamp;
  updated_at: DefaultedTimestamp;
}

/** Keys of the ring that something was encrypted under. */
export interface EncryptionKeysTable {
  id: string;
  /** A known text sealed under the key: tells another key of the same name apart. */
  proof: string;
  first_used_at: CreatedAt;
  /** Nothing that is needed is encrypted under it any more. */
  retired_at: NullableTimestamp;
}

/** A system that a project has connected itself. */
export interface ConnectorsTable {
  project: string;
  kind: string;
  /** What is no secret, by the names of the installation's settings. */
  settings: Json<Record<string, string>>;
  /** Its secrets, as JSON under the key ring. */
  sealed: string;
  /** SHA-256 of the secret in its webhooks' address. */
  webhook_hash: string | null;
  revision: Generated<string>;
  updated_by: string;
  updated_at: DefaultedTimestamp;
}

/** An address at which a program hands calls in. */
export interface HooksTable {
  id: string;
  project: string;
  name: string;
  /** The secret that signs, under the key ring. */
  sealed: string;
  created_by: string;
  created_at: CreatedAt;
  last_used_at: NullableTimestamp;
}

/** What came with a call that was handed in. */
export interface GivenCallsTable {
  project: string;
  call_id: string;
  /** Under the key ring: whoever has the link has the recording. */
  recording_url: string | null;
  audio: NullableJson<GivenAudio>;
  transcript: NullableJson<GivenTranscript>;
  updated_at: DefaultedTimestamp;
}

/** Webhooks and uploads as they came, written before anything is done about them. */
export interface InboxTable {
  project: string;
  source: string;
  event_id: string;
  type: string;
  /** Empty where there is `sealed`, and once it is delivered or forgotten. */
  body: Json<Record<string, unknown>>;
  sealed: string | null;
  /** Of an upload. */
  audio_key: string | null;
  received_at: CreatedAt;
  attempts: Generated<number>;
  next_attempt_at: DefaultedTimestamp;
  delivered_at: NullableTimestamp;
  error: string | null;
  /** The call that it brings, where it brings one. */
  about: string | null;
  /** Since when it has failed for too long. */
  parked_at: NullableTimestamp;
  /** When it was given up, and what it said was dropped. */
  forgotten_at: NullableTimestamp;
}

export interface IdempotencyKeysTable {
  key: string;
  request_hash: string;
  status: number | null;
  response: NullableJson<object>;
  created_at: CreatedAt;
}

/** A ruling on many calls at once. */
export interface BulkRulingsTable {
  project: string;
  id: string;
  ruling: RulingKind;
  gate: Gate;
  by: string;
  reason: string | null;
  started_at: CreatedAt;
  ended_at: NullableTimestamp;
}

export interface BulkRulingCallsTable {
  project: string;
  bulk_id: string;
  call_id: string;
  /** Null: still to be ruled on. */
  outcome: BulkOutcome | null;
  detail: string | null;
}

/** Names and numbers that stand in calls, each once. Kept by triggers. */
export interface CallTermsTable {
  project: string;
  kind: 'queue' | 'agent' | 'phone';
  term: string;
  /** Its characters from the last to the first: for looking it up by its end. */
  reversed: string;
}

/** How many calls are in a state: the sum over all slots, which hold writers apart. Kept by triggers. */
export interface CallCountsTable {
  project: string;
  state: CallState;
  slot: number;
  calls: number;
}

/** Sums of `costs`. They stay when the calls that they came from are erased. Kept by triggers. */
export interface CostTotalsTable {
  project: string;
  day: Date;
  step: Step;
  provider: string;
  model: string;
  slot: number;
  requests: number;
  unsettled: number;
  micro_usd: number;
}

/** What was erased, without saying whose it was. */
export interface ErasuresTable {
  project: string;
  id: string;
  kind: ErasureKind;
  /** Key of the ring that the hash was made with. */
  subject_key: string;
  subject_hash: string;
  requested_by: string;
  requested_at: CreatedAt;
  calls: number;
  counts: JSONColumnType<Places, string | undefined, string>;
  left_over: JSONColumnType<Places, string | undefined, string>;
  ended_at: NullableTimestamp;
}

/** Calls that an erasure has still to do. */
export interface ErasureCallsTable {
  project: string;
  erasure_id: string;
  call_id: string;
}

/** Calls that no poll brings back, by the hash of their ID. */
export interface ErasedCallsTable {
  project: string;
  call_hash: string;
  erased_at: CreatedAt;
}

/** Recordings that are being uploaded. */
export interface UploadsTable {
  project: string;
  key: string;
  begun_at: CreatedAt;
}

/** What a source lists of a day, held against what we have. */
export interface CompletenessDaysTable {
  project: string;
  source: string;
  /** As in 2026-11-20, of `time_zone`. */
  day: string;
  time_zone: string;
  from_at: Timestamp;
  to_at: Timestamp;
  state: 'running' | 'done' | 'failed';
  /** Of the comparison that runs, or ran last. */
  token: string;
  asked_by: string | null;
  /** Whether it was ever due by itself: what was only asked for by hand says nothing of the days around it. */
  by_timetable: Generated<boolean>;
  started_at: DefaultedTimestamp;
  /** When it was last compared to its end. */
  checked_at: NullableTimestamp;
  checks: Generated<number>;
  error: string | null;
  settled: Generated<boolean>;
  listed: Generated<number>;
  ours: Generated<number>;
  processed: Generated<number>;
  states: DefaultedJson<Tally<CallState>>;
  gaps: DefaultedJson<Tally<GapReason>>;
  not_listed: DefaultedJson<Tally<GapReason>>;
  unexplained: Generated<number>;
  taken_in: Generated<number>;
}

/** Which of the two sides a call was found on. */
export type Side = 'listed' | 'ours';

/** A call of a day that is being compared. */
export interface CompletenessListedTable {
  project: string;
  source: string;
  day: string;
  /** Of one that was erased, the hash. */
  call_id: string;
  side: Side;
  status: Compared['status'];
  /** Whether we did not have it when it was first seen. */
  missing: Generated<boolean>;
  /** Why it could not be taken in. */
  problem: string | null;
  verdict: DayVerdict | null;
  detail: string | null;
}

export interface CompletenessGapsTable {
  project: string;
  source: string;
  day: string;
  call_id: string;
  side: Side;
  reason: GapReason;
  detail: string | null;
}

/** One wish to call one number, and what came of it. */
/** Why a voice call waits for a person. */
export interface VoiceAttention {
  /** `DIAL_UNKNOWN`: whether it was dialled. `END_UNKNOWN`: what became of it. */
  code: 'DIAL_UNKNOWN' | 'END_UNKNOWN';
  message: string;
  advice: string;
  sinceMs: number;
}

export interface VoiceCallsTable {
  project: string;
  id: string;
  /** The batch that brought it, and in which of its rows. */
  batch_id: string | null;
  row: number | null;
  state: VoiceState;
  /** 1 goes first. */
  priority: number;
  from_number: string;
  to_number: string;
  request: Json<VoiceCallRequest>;
  not_before: DefaultedTimestamp;
  provider_call_id: string | null;
  /** All observations of the provider's call, merged. */
  observed: NullableJson<ProviderCall>;
  outcome: VoiceOutcome | null;
  /** Under which `calls` has it, once it was handed over. */
  call_id: string | null;
  attention: NullableJson<VoiceAttention>;
  reason: string | null;
  /** How often the provider was asked to dial: again only after a clear refusal, or by a person's word. */
  dials: Generated<number>;
  requested_by: string;
  requested_at: CreatedAt;
  dialling_at: NullableTimestamp;
  dialled_at: NullableTimestamp;
  started_at: NullableTimestamp;
  ended_at: NullableTimestamp;
  /** When it came to one of its ends. */
  settled_at: NullableTimestamp;
  updated_at: DefaultedTimestamp;
  /** Its batch is paused. */
  held: Generated<boolean>;
  /** Why it is due only at `not_before`, where that is not the caller's own wish. */
  waits_for: Wait | null;
  /** From when on it is not dialled any more. */
  not_after: NullableTimestamp;
  /** When its turn to be dialled is, which has been given to it; it holds a line from when it has. Null of those that wait for one. */
  lined_up_at: NullableTimestamp;
  /** Whose line: the account's fingerprint. */
  line_account: string | null;
}

/** What became of voice calls, on its way to whoever follows customers' activities. */
export interface TrackingEventsTable {
  project: string;
  /** The event's key: SHA-256 over project, subject and name. */
  id: string;
  /** In which order events were written; of one subject also the order in which they go out. */
  seq: Generated<number>;
  name: TrackingEventName;
  /** The voice call. */
  subject: string;
  /** Of the form in which it was written, which is also the one in which it goes out. */
  schema_version: number;
  occurred_at: Timestamp;
  properties: Json<TrackingProperties>;
  state: Generated<TrackingState>;
  /** Counts up when somebody has it sent again. */
  round: Generated<number>;
  attempts: Generated<number>;
  /** Of the failures in a row that it is in. */
  failing_since: NullableTimestamp;
  next_attempt_at: DefaultedTimestamp;
  /** Which relay sends it, and until when nobody else may. */
  claimed_by: string | null;
  claimed_until: NullableTimestamp;
  tries: ColumnType<TrackingTry[], string | undefined, string>;
  /** What took it, or was to. */
  sink: string | null;
  receipt: NullableJson<Record<string, unknown>>;
  settled_by: string | null;
  delivered_at: NullableTimestamp;
  /** When its time to be looked at and replayed was over. What is left of the row is for the warehouse. */
  dropped_at: NullableTimestamp;
  created_at: CreatedAt;
  updated_at: DefaultedTimestamp;
}

/** A provider's account, known by a fingerprint of its key. It may serve several projects. */
export interface VoiceAccountsTable {
  account: string;
  /** As it was read last: the account's lines, and how many of them are used by calls that we did not place. */
  line_limit: number | null;
  others: number | null;
  read_at: NullableTimestamp;
  /** When the last call that was lined up has its turn. */
  planned_until: NullableTimestamp;
}

/** What was found when a project's queue was looked at last. */
export interface VoiceLinesTable {
  project: string;
  account: string | null;
  /** The calling rules that `not_before` of postponed calls was reckoned by. */
  rules: string | null;
  /** Why nobody is called, if nobody is. */
  held_back: NullableJson<HeldBack>;
  looked_at: DefaultedTimestamp;
  /** Null: nothing waits. */
  look_again_at: NullableTimestamp;
}

export interface HeldBack {
  code: string;
  message: string;
  advice: string;
}

export interface VoiceBatchesTable {
  project: string;
  id: string;
  name: string;
  state: BatchState;
  /** Of the rows that did not say their own, or of all since it was changed. */
  priority: number;
  /** Calls that it brought. */
  rows: number;
  /** Rows of its file that were left out, being repeats of a number. */
  skipped: Generated<number>;
  /** Of its file, and of what it was sent with. */
  sha256: string;
  /** Its columns that became the agent's variables. */
  variables: ColumnType<string[], string | undefined, string>;
  requested_by: string;
  requested_at: CreatedAt;
  paused_at: NullableTimestamp;
  paused_by: string | null;
  cancelled_at: NullableTimestamp;
  cancelled_by: string | null;
  reason: string | null;
  /** Its counts, once nothing of it is under way any more. */
  settled: NullableJson<BatchCounts>;
  updated_at: DefaultedTimestamp;
}

/** Units that the warehouse has not been told of yet. Written by triggers. */
export interface WarehouseChangesTable {
  id: Generated<number>;
  project: string;
  sink: Generated<WarehouseSink>;
  kind: UnitKind;
  /** The call's ID, or the key of what changed. */
  unit: string;
  /** UTC day of the partition that it lay or lies in, where the row said it; `YYYY-MM-DD`. */
  dt: ColumnType<Date | null, string | null | undefined, string | null>;
  /** The load that is under way with it; null: none has taken it up. */
  load_id: number | null;
  at: CreatedAt;
}

/** How far a project's warehouse is, for the files and for Snowflake on their own. */
export interface WarehouseSinksTable {
  project: string;
  sink: WarehouseSink;
  last_load: Generated<number>;
  loads: Generated<number>;
  /** Grows with whatever may change what a query finds: a load, and files that are removed. */
  edition: Generated<number>;
  rows: Generated<number>;
  loaded_at: NullableTimestamp;
  /** Who loads or compacts now, and until when if nothing more is heard. */
  lease: string | null;
  lease_until: NullableTimestamp;
  error: NullableJson<{ code: string; message: string; advice: string }>;
  failed_at: NullableTimestamp;
  compacted_at: NullableTimestamp;
  /** While it is built anew: the first load of that, and the last change that belongs to it. */
  rebuild_load: number | null;
  rebuild_until: number | null;
  /** Rows of earlier loads count for nothing. */
  floor_load: Generated<number>;
  /** Since when it is told of nothing: it was taken out of the configuration. */
  missed_since: NullableTimestamp;
}

/** Files of the warehouse, written down before they are written. */
export interface WarehouseFilesTable {
  project: string;
  key: string;
  form: WarehouseForm;
  name: WarehouseTable;
  dt: ColumnType<Date, string, never>;
  /** The newest load whose rows are in it. */
  load_id: number;
  rows: Generated<number>;
  bytes: Generated<number>;
  /** Of its rows, how many only say that something is gone. */
  tombstones: Generated<number>;
  /** Rows of loads before this one were left out of it. */
  floor_load: Generated<number>;
  done: Generated<boolean>;
  written_at: DefaultedTimestamp;
  /** Its rows lie in another file now; it is removed when no query can be reading it any more. */
  superseded_at: NullableTimestamp;
}
