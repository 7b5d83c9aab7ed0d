import type { PayloadCodec } from '@temporalio/common';
import type { QueryEngine } from '../adapters/warehouse/engine.ts';
import type { Watermark } from './analytics/answers.ts';
import type { HandedOver } from '../activities/voice-hand-over.ts';
import type { Guard } from '../adapters/http/guard.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { BudgetRelease } from '../client/budget-release.ts';
import type { CompletenessClient } from '../client/completeness.ts';
import type { ErasuresClient } from '../client/erasures.ts';
import type { BulkClient } from '../client/bulk.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Accounts } from '../accounts/accounts.ts';
import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { ScheduleOf } from '../client/schedules.ts';
import type { WarehouseClient } from '../client/warehouse.ts';
import type { WarehouseBooks } from '../db/warehouse.ts';
import type { WarehouseFiles } from '../db/warehouse-files.ts';
import type { VoiceCallKey } from '../domain/voice.ts';
import type { WarehouseSink } from '../domain/warehouse.ts';
import type { ReportLinks } from '../accounts/report-links.ts';
import type { RescoresClient } from '../client/rescores.ts';
import type { PresetsClient } from '../client/presets.ts';
import type { VoiceCallsClient } from '../client/voice-calls.ts';
import type { Config } from '../config.ts';
import type { Audit } from '../db/audit.ts';
import type { AgreementRecords } from '../db/agreement.ts';
import type { Erasures } from '../db/erasures.ts';
import type { BulkRulings } from '../db/bulk-rulings.ts';
import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { Completeness } from '../db/completeness.ts';
import type { Connectors } from '../db/connectors.ts';
import type { Credentials } from '../db/credentials.ts';
import type { Effects } from '../db/effects.ts';
import type { Hooks } from '../db/hooks.ts';
import type { Idempotency } from '../db/idempotency.ts';
import type { Inbox } from '../db/inbox.ts';
import type { Messages } from '../db/messages.ts';
import type { ReviewPublications } from '../db/review-publications.ts';
import type { Reviews } from '../db/reviews.ts';
import type { MessagesClient } from '../client/messages.ts';
import type { PresetTests } from '../db/preset-tests.ts';
import type { Rescores } from '../db/rescores.ts';
import type { Presets } from '../db/presets.ts';
import type { Projects } from '../db/projects.ts';
import type { Quality } from '../db/quality.ts';
import type { VoiceBatches } from '../db/voice-batches.ts';
import type { VoiceLines } from '../db/voice-lines.ts';
import type { Uploads } from '../db/uploads.ts';
import type { Runs } from '../db/runs.ts';
import type { Tracking } from '../db/tracking.ts';
import type { VoiceCalls } from '../db/voice-calls.ts';
import type { Metrics } from './metrics.ts';
import type { PriceView } from './preset-view.ts';
import type { Log } from '../telemetry/log.ts';
import type { Senders } from './senders.ts';

/** What the API asks. */
export interface ApiDependencies {
  config: Pick<Config, 'API_PUBLIC_URL' | 'MAX_RECORDING_MB' | 'TEMPORAL_UI_URL' | 'TEMPORAL_NAMESPACE'>;
  log: Log;
  projects: Projects;
  calls: Calls;
  runs: Runs;
  uploads: Pick<Uploads, 'begin' | 'end'>;
  completeness: Pick<Completeness, 'find' | 'get' | 'list' | 'listGaps' | 'examples' | 'alarms'>;
  completenessClient: Pick<CompletenessClient, 'reconcile'>;
  effects: Effects;
  messages: Messages;
  messagesClient: MessagesClient;
  reportLinks: ReportLinks;
  costs: Costs;
  quality: Quality;
  /** What the warehouse is asked by, how far it has come, and how long it may take. */
  analytics: { engine: QueryEngine; watermarkOf: (project: string) => Promise<Watermark>; timeoutMs: number };
  reviews: Reviews;
  agreement: AgreementRecords;
  reviewPublications: ReviewPublications;
  inbox: Inbox;
  metrics: Metrics;
  idempotency: Idempotency;
  objects: ObjectStore;
  callsClient: Pick<CallsClient, 'approve' | 'reject' | 'retry' | 'skipStep' | 'giveUp' | 'reprocess'>;
  budgetRelease: Pick<BudgetRelease, 'afterChange'>;
  bulkRulings: Pick<BulkRulings, 'get'>;
  bulkClient: BulkClient;
  erasures: Pick<Erasures, 'get' | 'list' | 'count' | 'callsOf' | 'voiceCallsOf' | 'meant'>;
  erasuresClient: Pick<ErasuresClient, 'erase' | 'subjectOf'>;
  voiceCalls: VoiceCalls;
  voiceCallsClient: Pick<VoiceCallsClient, 'stop' | 'resolve'>;
  handOverVoiceCall: (key: VoiceCallKey, signal: AbortSignal) => Promise<HandedOver>;
  presets: Presets;
  presetTests: PresetTests;
  presetsClient: PresetsClient;
  rescores: Rescores;
  rescoresClient: RescoresClient;
  voiceBatches: VoiceBatches;
  voiceLines: Pick<VoiceLines, 'view'>;
  guard: Guard;
  prices: PriceView;
  accounts: Accounts;
  audit: Audit;
  connectors: Connectors;
  hooks: Hooks;
  credentials: Pick<Credentials, 'forget'>;
  adaptersOf: AdaptersOf;
  scheduleOf: ScheduleOf;
  warehouse: { books: WarehouseBooks; files: WarehouseFiles; client: WarehouseClient; sinks: readonly WarehouseSink[] };
  /** Systems that the installation's settings connect, for its own project. */
  installed: readonly string[];
  /** Who may send webhooks. */
  senders: Senders;
  codec: PayloadCodec;
  /** Named checks of what the API stands on; each throws when it does not hold. */
  checks: Record<string, () => Promise<void>>;
  /** Tells the relay that there is something to deliver. */
  kickRelay: () => void;
  tracking: Tracking;
  /** The same for tracking events. */
  kickTracking: () => void;
  /** The same for what has been reviewed. */
  kickPublications: () => void;
  /** The same for a project's queue of voice calls. */
  kickVoiceLines: (project: string) => void;
}
