import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { startAmoCrm } from '../../sandbox/amocrm/server.ts';
import { startAssemblyAI } from '../../sandbox/assemblyai/server.ts';
import { ffmpeg } from '../../sandbox/audio.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { SampleCall } from '../../sandbox/calls/script.ts';
import { startOpenAI } from '../../sandbox/openai/server.ts';
import { startPyannote } from '../../sandbox/pyannote/server.ts';
import { startSalesforce } from '../../sandbox/salesforce/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { CHOICES, sandboxSettings } from '../../sandbox/settings.ts';
import { startWebex } from '../../sandbox/webex/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { toTurns, type Transcript } from '../../src/domain/transcript.ts';
import { addFaults, ffmpegPath, ledgerOf, type PlayedSystems } from '../support/sandbox.ts';
import { respond } from '../support/speech.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

/** Calls recorded on one channel, through providers that share the work or do it in jobs; and what is paid when steps fail. */
let folder: string;
let server: DevServer;
let sandbox: PlayedSystems;
let pyannote: SandboxServer;
let assemblyai: SandboxServer;
const samples = [SAMPLE_CALLS[0]!, SAMPLE_CALLS[3]!, SAMPLE_CALLS[4]!, SAMPLE_CALLS[5]!];
const calls: SampleCall[] = samples.map((sample) => ({ ...sample, recording: { file: sample.recording!.file.replace('.ogg', '.wav'), servedAs: 'wav' } }));
const [parked, retried, byJobs, crashed] = calls as [SampleCall, SampleCall, SampleCall, SampleCall];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-mono-'));
  for (const [index, { recording }] of calls.entries()) {
    await ffmpeg(ffmpegPath(), ['-i', join(AUDIO_FOLDER, samples[index]!.recording!.file), '-af', 'pan=mono|c0=0.5*c0+0.5*c1', '-ar', '16000', '-c:a', 'pcm_s16le', '-y', join(folder, recording!.file)]);
  }
  // Whoever listens knows the calls as they were recorded, with who is on which channel.
  const files = { calls: samples, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() };
  const webex = await startWebex({ calls, audioFolder: folder, ffmpegPath: ffmpegPath(), dataFolder: join(folder, 'sandbox') });
  const openai = await startOpenAI(files);
  const salesforce = await startSalesforce({});
  const amocrm = await startAmoCrm({ ...files, dataFolder: join(folder, 'sandbox') });
  pyannote = await startPyannote(files);
  assemblyai = await startAssemblyAI(files);
  sandbox = {
    webex,
    openai,
    salesforce,
    amocrm,
    env: sandboxSettings({ webex: webex.url, openai: openai.url, salesforce: salesforce.url, amocrm: amocrm.url }),
    stop: async () => void (await Promise.all([webex, openai, salesforce, amocrm, pyannote, assemblyai].map((one) => one.close()))),
  };
  server = await startTemporalProcess();
});
afterAll(async () => {
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const START = 'POST /v1/diarize';
const LOOK = 'GET /v1/jobs/*';

const transcriptOf = async (system: TestSystem, { taskId }: SampleCall): Promise<Transcript> => JSON.parse(await readFile(join(system.config.OBJECTS_DIR!, `call-detail/${taskId}/transcript.json`), 'utf8')) as Transcript;
/** What was said, by whom: A is who speaks first. */
const expectScript = ({ turns, speakers }: Transcript, { script }: SampleCall): void => {
  const expected = toTurns(script!.map(({ channel: _channel, ...line }) => ({ ...line, speaker: line.speaker === script![0]!.speaker ? 'A' : 'B' })));
  expect(turns.map(({ speaker, text }) => [speaker, text])).toEqual(expected.map(({ speaker, text }) => [speaker, text]));
  expect(speakers).toEqual(['A', 'B']);
};
const paidFor = async (system: TestSystem, { taskId }: SampleCall) =>
  (await system.wiring.costs.list('default', taskId)).filter(({ step }) => step === 'transcription').map(({ kind, provider, state, usage, requestId }) => ({ kind, provider, state, usage, requestId }));

describe('a transcriber without speakers, and a diarizer', () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startSystem({ server, sandbox, env: { STT_MODEL: 'whisper-1', RUN_CRM_ACTIONS: 'false', RUN_ANALYSIS: 'false', ...CHOICES.pyannote(pyannote.url) } });
  });
  afterAll(() => system?.stop());

  const expectPaidOnce = async (call: SampleCall): Promise<void> => {
    const [stt, diarization, ...more] = await paidFor(system, call);
    expect(more).toEqual([]);
    expect(stt).toMatchObject({ kind: 'stt', state: 'settled', usage: { kind: 'stt' } });
    expect(diarization).toMatchObject({ kind: 'diarization', provider: 'pyannoteai', state: 'settled' });
    expect((await ledgerOf(sandbox.openai, 'transcription')).filter(({ requestId }) => requestId === stt!.requestId)).toHaveLength(1);
    const billed = (await ledgerOf(pyannote, 'diarization')).filter(({ requestId }) => requestId === diarization!.requestId);
    expect(billed.map(({ seconds }) => ({ kind: 'diarization', seconds }))).toEqual([diarization!.usage]);
  };

  it('tell two speakers apart on one channel, and both are paid once when a person retries the parked step', async () => {
    await addFaults(pyannote, respond(LOOK, 401, { requestId: 'r', message: 'Unauthorized' }));
    await system.startCall(parked.taskId);
    const call = await system.until(parked.taskId, 'needs_attention', 'completed');
    expect(call.attention).toMatchObject({ step: 'transcription', code: 'AUTH_FAILED' });
    // The job goes on meanwhile; what it was is not forgotten.
    expect(await paidFor(system, parked)).toEqual([expect.objectContaining({ kind: 'stt', state: 'settled' }), expect.objectContaining({ kind: 'diarization', state: 'reserved', requestId: (await ledgerOf(pyannote, 'started'))[0]!['requestId'] })]);
    await system.wiring.callsClient.retry(call, { by: 'test' }, 'retry-parked');
    await system.until(parked.taskId, 'completed');

    const transcript = await transcriptOf(system, parked);
    expectScript(transcript, parked);
    const [, diarization] = await paidFor(system, parked);
    expect(transcript).toMatchObject({ speakersBy: 'diarization', provider: 'sandbox: scripted', model: 'whisper-1', diarization: { provider: 'pyannoteai', model: 'precision-2', billedSeconds: (diarization!.usage as { seconds: number }).seconds } });
    await expectPaidOnce(parked);
    expect(await ledgerOf(pyannote, 'started')).toHaveLength(1);
    expect(await ledgerOf(sandbox.openai, 'transcription')).toHaveLength(1);
  });

  it('are paid once when the step is tried again by itself', async () => {
    const before = [(await ledgerOf(pyannote, 'started')).length, (await ledgerOf(sandbox.openai, 'transcription')).length];
    // A refused start, for which nothing is owed; then looks that fail until the step gives up and comes again.
    await addFaults(pyannote, respond(START, 429, { requestId: 'r', message: 'Too many requests' }, { 'retry-after': '1' }), { ...respond(LOOK, 503, {}), times: 3 });
    await system.startCall(retried.taskId);
    await system.until(retried.taskId, 'completed', 'needs_attention');
    expectScript(await transcriptOf(system, retried), retried);
    await expectPaidOnce(retried);
    expect([(await ledgerOf(pyannote, 'started')).length, (await ledgerOf(sandbox.openai, 'transcription')).length]).toEqual([before[0]! + 1, before[1]! + 1]);
  });
});

describe('a transcriber that works in jobs', () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startSystem({ server, sandbox, env: { RUN_CRM_ACTIONS: 'false', RUN_ANALYSIS: 'false', ...CHOICES.assemblyai(assemblyai.url), ...CHOICES.pyannote(pyannote.url) } });
  });
  afterAll(() => system?.stop());

  it('tells speakers itself: nobody else is asked', async () => {
    const before = (await ledgerOf(pyannote)).length;
    await system.startCall(byJobs.taskId);
    await system.until(byJobs.taskId, 'completed');
    const transcript = await transcriptOf(system, byJobs);
    expectScript(transcript, byJobs);
    expect(transcript).toMatchObject({ speakersBy: 'provider', provider: 'assemblyai', model: 'universal-2' });
    expect(await ledgerOf(pyannote)).toHaveLength(before);
  });

  it('is paid once when the answer to the start is lost', async () => {
    const before = (await ledgerOf(assemblyai, 'started')).length;
    await addFaults(assemblyai, { route: 'POST /v2/transcript', effect: { kind: 'drop_after' } });
    await system.startCall(crashed.taskId);
    await system.until(crashed.taskId, 'completed');
    expectScript(await transcriptOf(system, crashed), crashed);
    const paid = await paidFor(system, crashed);
    const started = (await ledgerOf(assemblyai, 'started')).slice(before);
    expect(started).toHaveLength(1);
    expect(paid).toEqual([expect.objectContaining({ kind: 'stt', provider: 'assemblyai', state: 'settled', requestId: started[0]!['requestId'] })]);
    expect((await ledgerOf(assemblyai, 'transcription')).filter(({ requestId }) => requestId === started[0]!['requestId'])).toHaveLength(1);
  });
});
