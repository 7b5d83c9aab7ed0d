import { type ActivityOptions, proxyActivities } from '@temporalio/workflow';
import {
  type CrmActivities,
  type DeskActivities,
  type IngestActivities,
  type LlmActivities,
  type MessageActivities,
  type PublicationActivities,
  queueName,
  type RecordingActivities,
} from '../domain/activities.ts';
import type { BulkActivities } from '../domain/bulk.ts';
import type { ErasureActivities } from '../domain/erasure.ts';
import type { CompletenessActivities } from '../domain/completeness.ts';
import type { Pace } from '../domain/messages.ts';
import type { RescoreActivities } from '../domain/rescore.ts';
import type { HandOverActivities, VoiceActivities } from '../domain/voice-work.ts';
import type { PresetTestActivities } from '../domain/preset-test.ts';
import type { WarehouseActivities } from '../domain/warehouse.ts';
import type { VoiceLinesActivities } from '../domain/voice-lines.ts';

/**
 * The activities with their timeouts and retries.
 *
 * Every option set has both a limit for one attempt and one for all of them: unlimited retries would
 * keep a call "processing" for ever instead of parking it.
 */
export const stepActivities = (pace: Pace) => {
  const retry = { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: pace.attempts };
  const options = (more: ActivityOptions): ActivityOptions => ({ retry, heartbeatTimeout: pace.heartbeatTimeoutMs, ...more });

  const { fetchRecording } = proxyActivities<RecordingActivities>(
    // Half an hour moves 500 MB at 300 kB/s.
    options({ taskQueue: queueName('recordings'), startToCloseTimeout: '30m', scheduleToCloseTimeout: '6h', summary: 'fetch the recording' }),
  );
  const { transcribe } = proxyActivities<LlmActivities>(
    // Four hours of audio at eight times real time.
    options({ taskQueue: queueName('llm'), startToCloseTimeout: '30m', scheduleToCloseTimeout: '6h', summary: 'transcribe' }),
  );
  const { analyse } = proxyActivities<LlmActivities>(
    // Two model requests of up to ten minutes, each the SDK's own limit.
    options({ taskQueue: queueName('llm'), startToCloseTimeout: '20m', scheduleToCloseTimeout: '6h', summary: 'grade' }),
  );
  const { actOnCrm } = proxyActivities<CrmActivities>(
    // A used-up daily request limit of the CRM frees itself within 24 hours; six are waited for, then a person decides.
    options({ taskQueue: queueName('crm'), startToCloseTimeout: '20m', scheduleToCloseTimeout: '6h', summary: 'act in the CRM' }),
  );
  const { writeMetadata } = proxyActivities<DeskActivities>(
    options({ taskQueue: queueName('workflows'), startToCloseTimeout: '1m', scheduleToCloseTimeout: '1h', summary: 'write the record' }),
  );
  const { deliver } = proxyActivities<DeskActivities>(
    // A card with thousands of notes is read to its end before another is put on it.
    options({ taskQueue: queueName('workflows'), startToCloseTimeout: '5m', scheduleToCloseTimeout: '1h', summary: 'deliver' }),
  );
  const { recordState } = proxyActivities<DeskActivities>({
    taskQueue: queueName('workflows'),
    startToCloseTimeout: '30s',
    // Bookkeeping that must not park a call of its own accord: it waits for the database as long as that takes.
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' },
    summary: 'record the state',
  });
  return { fetchRecording, transcribe, analyse, actOnCrm, writeMetadata, deliver, recordState };
};

export const messageActivities = (pace: Pace): MessageActivities => {
  const { carryMessage } = proxyActivities<MessageActivities>({
    taskQueue: queueName('messages'),
    startToCloseTimeout: '1m',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    // A receiver that is down over a long weekend still hears of everything.
    scheduleToCloseTimeout: '7d',
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 4, maximumInterval: pace.maxRetryMs, maximumAttempts: pace.attempts },
  });
  const { abandonMessage } = proxyActivities<MessageActivities>({
    taskQueue: queueName('messages'),
    startToCloseTimeout: '30s',
    retry: { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' },
  });
  return { carryMessage, abandonMessage };
};

/** Longer than a step's tries: nobody waits for it, and what is shown inside is right already. */
export const publicationActivities = (pace: Pace): PublicationActivities =>
  proxyActivities<PublicationActivities>({
    taskQueue: queueName('workflows'),
    // A very full card is read through to find the note.
    startToCloseTimeout: '5m',
    scheduleToCloseTimeout: '6h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: pace.attempts },
    summary: 'publish the review',
  });

export const ingestActivities = (pace: Pace): IngestActivities =>
  proxyActivities<IngestActivities>({
    taskQueue: queueName('workflows'),
    // A page of a thousand starts takes seconds; waiting for a run's calls is cut into pieces of ten minutes.
    startToCloseTimeout: '15m',
    scheduleToCloseTimeout: '2h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: Math.max(pace.attempts, 10) },
  });

export const completenessActivities = (pace: Pace): CompletenessActivities =>
  proxyActivities<CompletenessActivities>({
    taskQueue: queueName('workflows'),
    // As a window's pages; counting a day of a hundred thousand calls takes a minute.
    startToCloseTimeout: '15m',
    scheduleToCloseTimeout: '2h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: Math.max(pace.attempts, 10) },
  });

export const bulkActivities = (pace: Pace): BulkActivities =>
  proxyActivities<BulkActivities>({
    taskQueue: queueName('workflows'),
    // A thousand Updates take a minute; a server that is down is waited for.
    startToCloseTimeout: '30m',
    scheduleToCloseTimeout: '6h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: Math.max(pace.attempts, 10) },
  });

export const erasureActivities = (pace: Pace): ErasureActivities =>
  proxyActivities<ErasureActivities>({
    taskQueue: queueName('workflows'),
    startToCloseTimeout: '30m',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    // What has to be erased is tried until it is: a CRM or a store that is down comes back.
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: '10m' },
  });

export const presetTestActivities = (pace: Pace): PresetTestActivities => {
  const retry = { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs };
  const { runPresetTest } = proxyActivities<PresetTestActivities>({
    taskQueue: queueName('llm'),
    // Hearing and grading one after the other, each with the limit that it has as a step.
    startToCloseTimeout: '50m',
    scheduleToCloseTimeout: '6h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { ...retry, maximumAttempts: pace.attempts },
    summary: 'try the preset',
  });
  const { failPresetTest } = proxyActivities<PresetTestActivities>({ taskQueue: queueName('llm'), startToCloseTimeout: '1m', retry, summary: 'write down why not' });
  return { runPresetTest, failPresetTest };
};

export const rescoreActivities = (pace: Pace): RescoreActivities => {
  const retry = { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs };
  const { rescoreCall } = proxyActivities<RescoreActivities>({
    taskQueue: queueName('llm'),
    // Up to four model requests, of which two may have to be repaired.
    startToCloseTimeout: '50m',
    scheduleToCloseTimeout: '6h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { ...retry, maximumAttempts: pace.attempts },
    summary: 'grade by the other preset',
  });
  const { nextRescoreCalls, failRescoreCall, setRescoreState } = proxyActivities<RescoreActivities>({ taskQueue: queueName('workflows'), startToCloseTimeout: '1m', retry, summary: 'keep the run\'s books' });
  return { rescoreCall, nextRescoreCalls, failRescoreCall, setRescoreState };
};

export const voiceLinesActivities = (pace: Pace): VoiceLinesActivities =>
  proxyActivities<VoiceLinesActivities>({
    taskQueue: queueName('voice'),
    // Calls are planned seconds ahead; the rest is a handful of queries and starts.
    startToCloseTimeout: '5m',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    // A queue must not stand still for good because the database was down: it is looked at as long as calls wait.
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: '1m' },
    summary: 'put calls onto lines',
  });

/** Between two tries to hang up. */
const LONGEST_STOP_PAUSE_MS = 15_000;

export const voiceActivities = (pace: Pace): VoiceActivities & HandOverActivities & { stopVoiceCallPatiently: VoiceActivities['stopVoiceCall'] } => {
  const taskQueue = queueName('voice');
  const retry = { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, maximumAttempts: pace.attempts };
  const bookkeeping = { initialInterval: '1s', backoffCoefficient: 2, maximumInterval: '1m' } as const;

  const { dialVoiceCall } = proxyActivities<VoiceActivities>({
    taskQueue,
    // One request and its answer, each within the time-out of requests, and the database before and after.
    startToCloseTimeout: '5m',
    scheduleToCloseTimeout: '1h',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry,
    summary: 'dial',
  });
  const { lookUpVoiceCall } = proxyActivities<VoiceActivities>({ taskQueue, startToCloseTimeout: '5m', scheduleToCloseTimeout: '1h', heartbeatTimeout: pace.heartbeatTimeoutMs, retry, summary: 'ask the provider' });
  // Whoever asked waits for the answer.
  const { stopVoiceCall, resolveVoiceCall } = proxyActivities<VoiceActivities>({ taskQueue, startToCloseTimeout: '20s', scheduleToCloseTimeout: '25s', retry: { ...retry, maximumAttempts: 3 } });
  // Nobody waits for this answer, and somebody talks until it is done.
  const { stopVoiceCall: stopVoiceCallPatiently } = proxyActivities<VoiceActivities>({
    taskQueue,
    startToCloseTimeout: '2m',
    scheduleToCloseTimeout: '30m',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: Math.max(pace.firstRetryMs, LONGEST_STOP_PAUSE_MS) },
    summary: 'hang up',
  });
  const { readVoiceCall, parkVoiceCall, takeBackVoiceCall, noteVoiceCall, freeLine } = proxyActivities<VoiceActivities>({ taskQueue, startToCloseTimeout: '30s', retry: bookkeeping });
  const { handOverVoiceCall } = proxyActivities<HandOverActivities>({
    taskQueue,
    startToCloseTimeout: '5m',
    // As long as signed links to a recording last.
    scheduleToCloseTimeout: '1d',
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { ...bookkeeping, maximumInterval: '10m' },
    summary: 'hand over to the processing of calls',
  });
  return { dialVoiceCall, lookUpVoiceCall, stopVoiceCall, stopVoiceCallPatiently, resolveVoiceCall, readVoiceCall, parkVoiceCall, takeBackVoiceCall, noteVoiceCall, freeLine, handOverVoiceCall };
};

/** @param patient what an erasure waits for is tried until it is done */
export const warehouseActivities = (pace: Pace, { patient = false }: { patient?: boolean } = {}): WarehouseActivities =>
  proxyActivities<WarehouseActivities>({
    taskQueue: queueName('warehouse'),
    // A thousand calls with their answers take seconds, ten partitions of a busy day minutes.
    startToCloseTimeout: '30m',
    ...(patient ? {} : { scheduleToCloseTimeout: '1h' }),
    heartbeatTimeout: pace.heartbeatTimeoutMs,
    retry: { initialInterval: pace.firstRetryMs, backoffCoefficient: 2, maximumInterval: pace.maxRetryMs, ...(patient ? {} : { maximumAttempts: Math.max(pace.attempts, 10) }) },
  });
