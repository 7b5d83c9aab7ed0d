import type { Connection } from '@temporalio/client';
import { sql } from 'kysely';
import { paceOf, snowflakeConfig, type System, SYSTEMS, withSystem } from '../config.ts';
import { diarizationChoice } from '../adapters/diarization/registry.ts';
import { modelChoice } from '../adapters/llm/registry.ts';
import { speechChoice } from '../adapters/stt/registry.ts';
import { loadPrices } from '../prices.ts';
import { createPayloadCodec } from '../crypto/payload-codec.ts';
import { createQueryEngine } from '../adapters/warehouse/registry.ts';
import { createKeyRing } from '../crypto/key-ring.ts';
import { createAudit } from '../db/audit.ts';
import { createMessageSweep } from '../client/message-sweep.ts';
import { createUploadSweep } from '../client/upload-sweep.ts';
import { createExpiry } from '../client/expiry.ts';
import { createIdempotency } from '../db/idempotency.ts';
import { createVoiceBacklog } from '../db/voice-backlog.ts';
import { messageOf } from '../domain/errors.ts';
import type { Wiring } from '../wiring.ts';
import { createApi, listen, type RunningApi } from './app.ts';
import { amoCrmDelivery, webexDelivery } from './deliveries.ts';
import { givenDelivery } from './given-events.ts';
import { startHousekeeping } from './housekeeping.ts';
import { createMetrics } from './metrics.ts';
import { createSenders } from './senders.ts';
import { startTrackingRelay } from './tracking-relay.ts';
import { startPublicationRelay } from './publication-relay.ts';
import { retellDelivery } from './voice-deliveries.ts';
import { startVoiceLinesRelay } from './voice-lines-relay.ts';
import { type Deliveries, startWebhookRelay } from './webhook-relay.ts';

/** The first administrator of a new installation: whoever starts it shows this, once. */
export interface FirstAdmin {
  email: string;
  password: string;
}

const HOUR_MS = 3_600_000;

/** Starts the API and the relay of its webhook inbox on what is wired. */
export const startApi = async (wiring: Wiring): Promise<RunningApi & { firstAdmin?: FirstAdmin }> => {
  const { accounts, config, log, db, calls, runs, effects, messages, messagesClient, reportLinks, costs, quality, projects, reviews, agreement, reviewPublications, objects, connectors, credentials, given, hooks, inbox, adaptersOf, callsClient, bulkRulings, bulkClient, presets, presetTests, presetsClient, rescores, rescoresClient, guard, erasures, erasuresClient, intake, budgetRelease, scheduleOf, temporal, voiceCalls, voiceHandOver, voiceCallsClient, voiceBatches, voiceLines, voiceLinesClient } = wiring;
  const { completeness, completenessClient, uploads, warehouse } = wiring;
  const metrics = createMetrics({ calls, inbox, completeness, tracking: wiring.tracking, voiceBacklog: createVoiceBacklog(db) });
  const deliveries: Deliveries = {
    webex: webexDelivery({ callsClient, scheduleOf, log }),
    amocrm: amoCrmDelivery({ adaptersOf, intake, callsClient, pace: paceOf(config), log }),
  };
  deliveries['hook'] = deliveries['upload'] = givenDelivery({ calls, given, objects, intake, callsClient, pace: paceOf(config), log });
  const trackingRelay = startTrackingRelay({ queue: wiring.trackingQueue, sinkOf: async (project) => (await adaptersOf(project)).tracking, log });
  deliveries['retell'] = retellDelivery({ db, voiceCalls, voiceCallsClient, voiceHandOver, projects, pace: paceOf(config), kickTracking: trackingRelay.kick, count: (disposition) => metrics.voiceEvents.inc({ disposition }), log });
  const relay = startWebhookRelay({ inbox, deliveries, log });
  const publicationRelay = startPublicationRelay({ reviewPublications, callsClient, log });
  const voiceLinesRelay = startVoiceLinesRelay({ voiceLines, client: voiceLinesClient, log });
  const idempotency = createIdempotency(db);
  const expiry = createExpiry({ calls, projects, client: callsClient, log });
  const housekeeping = [
    startHousekeeping({ sweeps: { accounts: accounts.sweep, idempotency: idempotency.sweep, inbox: inbox.sweep, staging: expiry.sweep, erasures: erasuresClient.sweep, completeness: completenessClient.sweep, completenessDays: completeness.sweep, uploads: createUploadSweep({ uploads, objects, log }), messages: createMessageSweep({ messages, client: messagesClient, keepMs: config.MESSAGE_KEEP, log }), tracking: () => wiring.tracking.sweep(config.TRACKING_KEEP) }, everyMs: HOUR_MS, log }),
    startHousekeeping({ sweeps: { warehouse: warehouse.client.sweep }, everyMs: HOUR_MS / 60, log }),
    startHousekeeping({ sweeps: { budgets: budgetRelease.everywhere, voiceCalls: voiceCallsClient.sweep }, everyMs: HOUR_MS / 4, log }),
  ];
  const app = createApi({
    config,
    log,
    projects,
    calls,
    runs,
    completeness,
    uploads,
    completenessClient,
    effects,
    messages,
    messagesClient,
    reportLinks,
    costs,
    quality,
    analytics: { engine: createQueryEngine(config), watermarkOf: (project) => warehouse.books.watermark(project, snowflakeConfig(config) ? 'snowflake' : 'files'), timeoutMs: config.ANALYTICS_TIMEOUT },
    inbox,
    metrics,
    reviews,
    agreement,
    reviewPublications,
    idempotency,
    objects,
    callsClient,
    budgetRelease,
    bulkRulings,
    bulkClient,
    erasures,
    erasuresClient,
    voiceCalls,
    voiceCallsClient,
    handOverVoiceCall: (key, signal) => voiceHandOver.handOver(key, { pace: paceOf(config), signal }),
    presets,
    presetTests,
    presetsClient,
    rescores,
    rescoresClient,
    voiceBatches,
    voiceLines,
    guard,
    prices: { prices: loadPrices(config.PRICES_FILE), installation: { speech: speechChoice(config), diarization: diarizationChoice(config), model: modelChoice(config) } },
    accounts,
    audit: createAudit(db),
    connectors,
    hooks,
    credentials,
    adaptersOf,
    scheduleOf,
    warehouse,
    installed: (Object.keys(SYSTEMS) as System[]).filter((system) => withSystem(config, system)),
    senders: createSenders({ config, connectors }),
    codec: createPayloadCodec(createKeyRing(config.AFTERCALL_KEYS)),
    checks: {
      database: async () => void (await sql`select 1`.execute(db)),
      objects: () => objects.check(),
      temporal: async () => void (await (temporal.connection as Connection).workflowService.getSystemInfo({})),
    },
    kickRelay: relay.kick,
    kickPublications: publicationRelay.kick,
    tracking: wiring.tracking,
    kickTracking: trackingRelay.kick,
    kickVoiceLines: voiceLinesRelay.kick,
  });
  const api = await listen(app, { host: config.API_HOST, port: config.API_PORT }).catch(async (error: unknown) => {
    for (const keeping of housekeeping) keeping.stop();
    await Promise.all([relay.stop(), publicationRelay.stop(), trackingRelay.stop(), voiceLinesRelay.stop()]);
    throw error;
  });
  // Nobody waits for it; what fails is tried again by the sweep.
  void warehouse.client.sweep().catch((error: unknown) => log.warn({ error: messageOf(error) }, "the warehouse's timetables could not be set, will be tried again"));
  const firstAdmin = await accounts.createFirstAdmin();
  return {
    url: api.url,
    ...(firstAdmin ? { firstAdmin } : {}),
    close: async () => {
      for (const keeping of housekeeping) keeping.stop();
      await api.close();
      await Promise.all([relay.stop(), publicationRelay.stop(), trackingRelay.stop(), voiceLinesRelay.stop()]);
    },
  };
};
