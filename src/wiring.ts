import type { Client, DataConverter } from '@temporalio/client';
import { createAccessTokens } from './accounts/access-tokens.ts';
import { type Accounts, createAccounts } from './accounts/accounts.ts';
import { createReportLinks, type ReportLinks } from './accounts/report-links.ts';
import { createAnalysisActivities } from './activities/analysis.ts';
import { createAskModel } from './activities/ask-model.ts';
import { createCrmActivities } from './activities/crm.ts';
import { createFactExtraction } from './activities/crm-facts.ts';
import { createBulkActivities } from './activities/bulk.ts';
import { createErasureActivities } from './activities/erasure.ts';
import { createCompletenessActivities } from './activities/completeness.ts';
import { createDeskActivities } from './activities/desk.ts';
import type { Activities } from './activities/index.ts';
import { createIngestActivities } from './activities/ingest.ts';
import { createRescoreActivities } from './activities/rescore.ts';
import { createPresetTestActivities } from './activities/preset-test.ts';
import { createProviders } from './activities/providers.ts';
import { createMessageActivities, type TargetsOf } from './activities/messages.ts';
import { createMetadataActivities } from './activities/metadata.ts';
import { createReviewPublishing } from './activities/publish-review.ts';
import { createPublishing, type Publishing } from './activities/publish.ts';
import { createRecordingActivities } from './activities/recording.ts';
import { createReportActivities } from './activities/report.ts';
import { createStoreScore } from './activities/stored-score.ts';
import { createVoiceHandOver, type VoiceHandOver } from './activities/voice-hand-over.ts';
import { createWarehouseActivities } from './activities/warehouse.ts';
import { createVoiceActivities } from './activities/voice.ts';
import { createSourceRecords } from './activities/source-record.ts';
import { createTranscriptionActivities } from './activities/transcription.ts';
import { createVoiceLinesActivities } from './activities/voice-lines.ts';
import { createFfmpegAudio } from './adapters/audio/ffmpeg.ts';
import { createCatalog } from './adapters/catalog/registry.ts';
import { diarizationChoice, diarizers } from './adapters/diarization/registry.ts';
import { type Guard, guardOf } from './adapters/http/guard.ts';
import { languageModels, modelChoice } from './adapters/llm/registry.ts';
import type { ObjectStore } from './adapters/objects/object-store.ts';
import { createObjectStore } from './adapters/objects/registry.ts';
import { createNotifiers, type Notifiers } from './adapters/notify/registry.ts';
import { type AdaptersOf, createAdaptersOf } from './adapters/connectors/of-project.ts';
import { createGivenSource } from './adapters/sources/given.ts';
import { speechChoice, transcribers } from './adapters/stt/registry.ts';
import { createTableLoader, createTableRegister } from './adapters/warehouse/loaders.ts';
import { createWarehouse } from './adapters/warehouse/registry.ts';
import { type BudgetRelease, createBudgetRelease } from './client/budget-release.ts';
import { type BulkClient, createBulkClient } from './client/bulk.ts';
import { type CallsClient, createCallsClient } from './client/calls.ts';
import { type CompletenessClient, createCompletenessClient } from './client/completeness.ts';
import { createErasuresClient, type ErasuresClient } from './client/erasures.ts';
import { createIntake, type Intake } from './client/intake.ts';
import { createMessagesClient, type MessagesClient } from './client/messages.ts';
import { createScheduleOf, createSchedules, type ScheduleOf, type Schedules } from './client/schedules.ts';
import { createRescoresClient, type RescoresClient } from './client/rescores.ts';
import { createPresetsClient, type PresetsClient } from './client/presets.ts';
import { createWarehouseClient, type WarehouseClient } from './client/warehouse.ts';
import { createVoiceLinesClient, type VoiceLinesClient } from './client/voice-lines.ts';
import { createVoiceCallsClient, type VoiceCallsClient } from './client/voice-calls.ts';
import { connectTemporal, ensureSearchAttributes } from './client/temporal.ts';
import { type Config, messagePaceOf, paceOf, projectSettings, publicUrl, snowflakeConfig, voicePaceOf, withSystem } from './config.ts';
import { createKeyRing } from './crypto/key-ring.ts';
import { dataConverter } from './crypto/payload-codec.ts';
import { createErasures, type Erasures } from './db/erasures.ts';
import { type BulkRulings, createBulkRulings } from './db/bulk-rulings.ts';
import type { CallSource } from './adapters/sources/source.ts';
import { type Calls, createCalls } from './db/calls.ts';
import { type Costs, createCosts } from './db/costs.ts';
import { checkKeys } from './db/encryption-keys.ts';
import { createApiTokens } from './db/api-tokens.ts';
import { type Completeness, createCompleteness } from './db/completeness.ts';
import { type Connectors, createConnectors } from './db/connectors.ts';
import { createCredentials, type Credentials } from './db/credentials.ts';
import { createGivenCalls, type GivenCalls } from './db/given-calls.ts';
import { createHooks, type Hooks } from './db/hooks.ts';
import { createInbox, type Inbox } from './db/inbox.ts';
import { type AgreementRecords, createAgreement } from './db/agreement.ts';
import { type Database, migrate, openDatabase } from './db/database.ts';
import { createEffects, type Effects } from './db/effects.ts';
import { createRescores, type Rescores } from './db/rescores.ts';
import { createPresetTests, type PresetTests } from './db/preset-tests.ts';
import { createPresets, type Presets } from './db/presets.ts';
import { createMessages, type Messages } from './db/messages.ts';
import { createProjects, type Projects } from './db/projects.ts';
import { createPublications } from './db/publications.ts';
import { createQuality, type Quality } from './db/quality.ts';
import { createReviewPublications, type ReviewPublications } from './db/review-publications.ts';
import { createReviews, type Reviews } from './db/reviews.ts';
import { createRuns, type Runs } from './db/runs.ts';
import { createSessions } from './db/sessions.ts';
import { createSignInFailures } from './db/sign-in-failures.ts';
import { append, createTracking, type Tracking } from './db/tracking.ts';
import { createTrackingQueue, type TrackingQueue } from './db/tracking-queue.ts';
import { createUploads, type Uploads } from './db/uploads.ts';
import { createUsers } from './db/users.ts';
import { createWarehouseBooks, type WarehouseBooks } from './db/warehouse.ts';
import { createWarehouseFiles, type WarehouseFiles } from './db/warehouse-files.ts';
import { createVoiceCalls, type VoiceCalls } from './db/voice-calls.ts';
import { createVoiceBatches, type VoiceBatches } from './db/voice-batches.ts';
import { createVoiceLines, type VoiceLines } from './db/voice-lines.ts';
import { DEFAULT_PROJECT } from './domain/ids.ts';
import type { WarehouseSink } from './domain/warehouse.ts';
import { loadPrices } from './prices.ts';
import type { Log } from './telemetry/log.ts';

/** The source that an installation's own settings name first. */
export const mainSourceOf = (config: Config): 'webex' | 'amocrm' => (withSystem(config, 'webex') || !withSystem(config, 'amocrm') ? 'webex' : 'amocrm');

/** Everything that the worker and the API share, made once per process. */
export interface Wiring {
  config: Config;
  log: Log;
  db: Database;
  calls: Calls;
  runs: Runs;
  uploads: Uploads;
  completeness: Completeness;
  completenessClient: CompletenessClient;
  effects: Effects;
  costs: Costs;
  quality: Quality;
  projects: Projects;
  presets: Presets;
  reviews: Reviews;
  agreement: AgreementRecords;
  reviewPublications: ReviewPublications;
  presetTests: PresetTests;
  rescores: Rescores;
  rescoresClient: RescoresClient;
  presetsClient: PresetsClient;
  guard: Guard;
  accounts: Accounts;
  objects: ObjectStore;
  connectors: Connectors;
  credentials: Credentials;
  given: GivenCalls;
  hooks: Hooks;
  inbox: Inbox;
  /** What a project is connected to now. */
  adaptersOf: AdaptersOf;
  messages: Messages;
  messagesClient: MessagesClient;
  notifiers: Notifiers;
  targetsOf: TargetsOf;
  publishing: Publishing;
  reportLinks: ReportLinks;
  temporal: Client;
  converter: DataConverter;
  callsClient: CallsClient;
  bulkRulings: BulkRulings;
  bulkClient: BulkClient;
  erasures: Erasures;
  erasuresClient: ErasuresClient;
  intake: Intake;
  /** Has calls that a voice provider held processed like any other. */
  voiceHandOver: VoiceHandOver;
  budgetRelease: BudgetRelease;
  voiceCalls: VoiceCalls;
  voiceLines: VoiceLines;
  voiceBatches: VoiceBatches;
  voiceLinesClient: VoiceLinesClient;
  voiceCallsClient: VoiceCallsClient;
  tracking: Tracking;
  trackingQueue: TrackingQueue;
  scheduleOf: ScheduleOf;
  warehouse: { books: WarehouseBooks; files: WarehouseFiles; client: WarehouseClient; sinks: readonly WarehouseSink[] };
  /** Of the source that the installation's own settings name first. */
  schedules: Schedules;
  close(): Promise<void>;
}

/** Connects to the database and to Temporal, and brings the schema and the default project up to date. */
export const wire = async (config: Config, log: Log): Promise<Wiring> => {
  const keyRing = createKeyRing(config.AFTERCALL_KEYS);
  const converter = dataConverter(keyRing);
  const objects = createObjectStore(config);
  const db = await openDatabase(config.DATABASE_URL);
  try {
    await migrate(db);
    await checkKeys(db, keyRing);
    const projects = createProjects(db, { [DEFAULT_PROJECT]: projectSettings(config) });
    const accounts = createAccounts({
      users: createUsers(db),
      sessions: createSessions(db),
      apiTokens: createApiTokens(db),
      failures: createSignInFailures(db),
      accessTokens: createAccessTokens(keyRing),
    });
    await accounts.keepEnvironmentToken(DEFAULT_PROJECT, config.API_TOKEN);
    const calls = createCalls(db);
    const temporal = await connectTemporal(config, converter);
    await ensureSearchAttributes(temporal);
    const pace = paceOf(config);
    const presetTests = createPresetTests(db);
    const rescores = createRescores(db);
    const voiceLines = createVoiceLines(db);
    const callsClient = createCallsClient({ client: temporal, calls, pace });
    const costs = createCosts(db, projects.settings);
    const bulkRulings = createBulkRulings(db);
    const erasures = createErasures(db);
    const credentials = createCredentials(db, keyRing);
    const connectors = createConnectors(db, keyRing);
    const given = createGivenCalls(db, keyRing);
    const guard = guardOf(config);
    const givenSource = (project: string, name: string): CallSource => createGivenSource({ project, name, given, objects, guard, timeoutMs: config.UPSTREAM_TIMEOUT });
    const intake = createIntake({ calls, projects, client: callsClient });
    const voiceCalls = createVoiceCalls({ db, tracking: { append } });
    // Whoever wants events in the log wants them whatever else it leaves out.
    const eventLog = log.child({}, { level: 'info' });
    const adaptersOf = createAdaptersOf({ config, connectors, credentials, givenSource, writeEvent: (event) => eventLog.info({ tracking: event }, 'tracking event') });
    const completeness = createCompleteness(db);
    const effects = createEffects(db);
    const messages = createMessages(db);
    const messagesClient = createMessagesClient({ client: temporal, pace: messagePaceOf(config) });
    const notifiers = createNotifiers(config);
    const targetsOf = targetsFrom(adaptersOf);
    const reportLinks = createReportLinks({ keyRing, publicUrl: publicUrl(config), ttlMs: config.REPORT_LINK_TTL });
    return {
      config,
      log,
      db,
      calls,
      runs: createRuns(db),
      uploads: createUploads(db),
      completeness,
      completenessClient: createCompletenessClient({ client: temporal, completeness, projects, config, pace, log }),
      effects,
      messages,
      messagesClient,
      notifiers,
      targetsOf,
      reportLinks,
      publishing: createPublishing({
        calls,
        effects,
        messages,
        publications: createPublications(db),
        projects,
        notifiers,
        targetsOf,
        callNotesFor: async (project) => (await adaptersOf(project)).callNotes,
        messagesClient,
        reportLink: (call) => reportLinks.make(call).url,
      }),
      costs,
      quality: createQuality(db),
      projects,
      presets: createPresets(db, keyRing),
      reviews: createReviews(db),
      agreement: createAgreement(db),
      reviewPublications: createReviewPublications(db),
      presetTests,
      rescores,
      rescoresClient: createRescoresClient({ client: temporal, rescores, pace }),
      presetsClient: createPresetsClient({ client: temporal, presetTests, pace }),
      guard: guardOf(config),
      accounts,
      objects,
      connectors,
      credentials,
      given,
      hooks: createHooks(db, keyRing),
      inbox: createInbox(db, keyRing),
      adaptersOf,
      temporal,
      converter,
      callsClient,
      bulkRulings,
      bulkClient: createBulkClient({ client: temporal, bulkRulings, pace }),
      erasures,
      erasuresClient: createErasuresClient({ client: temporal, erasures, projects, keyRing, pace, warehouse: { sinks: warehouseSinks(config), graceMs: config.WAREHOUSE_GRACE } }),
      intake,
      voiceCalls,
      voiceHandOver: createVoiceHandOver({ intake, voiceCalls, adaptersOf }),
      voiceLines,
      voiceBatches: createVoiceBatches(db),
      voiceLinesClient: createVoiceLinesClient({ client: temporal, voiceLines, pace, voicePace: voicePaceOf(config) }),
      voiceCallsClient: createVoiceCallsClient({ client: temporal, voiceCalls, pace, voicePace: voicePaceOf(config), log }),
      tracking: createTracking(db),
      trackingQueue: createTrackingQueue(db, { patienceMs: config.TRACKING_PATIENCE }),
      budgetRelease: createBudgetRelease({ calls, projects, costs, client: callsClient }),
      schedules: createSchedules({ client: temporal, config, pace, minutesBack: config.MINUTES_BACK, project: DEFAULT_PROJECT, source: mainSourceOf(config) }),
      scheduleOf: createScheduleOf({ client: temporal, config, pace, connectors, projects }),
      warehouse: {
        books: createWarehouseBooks(db),
        files: createWarehouseFiles(db),
        client: createWarehouseClient({ client: temporal, projects, config, pace, sinks: warehouseSinks(config), log }),
        sinks: warehouseSinks(config),
      },
      close: async () => {
        await temporal.connection.close();
        await db.destroy();
      },
    };
  } catch (error) {
    await db.destroy();
    throw error;
  }
};

/** Files, and Snowflake where it is configured. */
const warehouseSinks = (config: Config): WarehouseSink[] => (snowflakeConfig(config) ? ['files', 'snowflake'] : ['files']);

/** Where a project's messages go: to what it has connected itself, or the installation for the project `default`. */
const targetsFrom =
  (adaptersOf: AdaptersOf): TargetsOf =>
  async (project) => {
    const { systems } = await adaptersOf(project);
    const telegram = systems.find('telegram')?.telegram;
    const webhook = systems.find('webhook')?.webhook;
    return { ...(telegram ? { telegram } : {}), ...(webhook ? { webhook } : {}) };
  };

/** Makes the activities with the adapters that they need. */
export const createActivities = ({ config, log, calls, runs, completeness, effects, costs, quality, projects, presets, presetTests, rescores, guard, reviews, agreement, reviewPublications, objects, adaptersOf, given, callsClient, bulkRulings, erasures, erasuresClient, intake, budgetRelease, messages, notifiers, targetsOf, publishing, voiceLines, voiceLinesClient, voiceCalls, voiceHandOver, warehouse }: Wiring): Activities => {
  const catalog = createCatalog(config);
  const prices = loadPrices(config.PRICES_FILE);
  const providers = createProviders({
    presets,
    calls,
    projects,
    registries: { speech: transcribers, diarization: diarizers, model: languageModels },
    installation: { speech: speechChoice(config), diarization: diarizationChoice(config), model: modelChoice(config), acceptProviderTranscript: config.STT_ACCEPT_PROVIDER_TRANSCRIPT },
    guard,
  });
  const records = createSourceRecords({ adaptersOf, calls, costs, given, providers });
  const audio = createFfmpegAudio(config.FFMPEG_PATH);
  const askModel = createAskModel({ costs, prices });
  const { rescoreCall, ...rescoreBooks } = createRescoreActivities({ calls, costs, objects, projects, rescores, providers, askModel, crmOf: async (project) => (await adaptersOf(project)).crm });
  const extractFacts = createFactExtraction({ calls, objects, providers, askModel });
  const storeScore = createStoreScore({ calls, reviews, agreement, projects, quality, objects });
  return {
    workflows: {
      ...createMetadataActivities({ calls, objects, catalog, projects }),
      ...createDeskActivities({ calls, costs, runs, publishing, storeScore, records, log }),
      ...createReviewPublishing({ calls, agreement, reviewPublications, storeScore, publishing }),
      ...createIngestActivities({ adaptersOf, calls, projects, runs, intake, release: budgetRelease, client: callsClient }),
      ...createCompletenessActivities({ adaptersOf, calls, completeness, projects, intake, client: callsClient, publishing, config }),
      ...rescoreBooks,
      ...createBulkActivities({ calls, bulkRulings, client: callsClient }),
      ...createErasureActivities({ calls, runs, effects, messages, given, erasures, books: warehouse.books, sinks: warehouse.sinks, presets, projects, objects, callNotesFor: async (project) => (await adaptersOf(project)).callNotes, client: erasuresClient }),
      ...createReportActivities({ runs, objects, warehouse: createWarehouse(config), publishing, log }),
    },
    recordings: createRecordingActivities({ adaptersOf, objects, calls, projects, records, config }),
    llm: {
      ...createTranscriptionActivities({ calls, costs, objects, given, records, audio, providers, projects, prices }),
      ...createAnalysisActivities({ calls, objects, projects, providers, askModel }),
      rescoreCall,
      ...createPresetTestActivities({ calls, costs, objects, audio, projects, presets, presetTests, providers, prices, askModel }),
    },
    crm: createCrmActivities({ calls, effects, projects, objects, adaptersOf, extractFacts }),
    messages: createMessageActivities({ messages, notifiers, targetsOf, log }),
    voice: {
      ...createVoiceLinesActivities({ adaptersOf, projects, voiceLines, client: voiceLinesClient, log }),
      ...createVoiceActivities({ voiceCalls, handOver: voiceHandOver, adaptersOf, pace: paceOf(config), kickLines: voiceLinesClient.wakeIfWaiting, log }),
    },
    warehouse: createWarehouseActivities({ books: warehouse.books, files: warehouse.files, objects, projects, snowflake: createTableLoader(config), leaseMs: 3 * config.HEARTBEAT_TIMEOUT, register: createTableRegister(config) }),
  };
};
