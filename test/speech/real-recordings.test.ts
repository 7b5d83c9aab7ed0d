import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { startOpenAI } from '../../sandbox/openai/server.ts';
import { SETTINGS_FOR } from '../../sandbox/settings.ts';
import { whisper } from '../../scripts/programs/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { ffmpegPath, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

/** Both real recordings, heard by a local model, through the whole pipeline. */
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
const real = SAMPLE_CALLS.filter((call) => call.title.includes('real call'));
const [stereo, mono] = real as [(typeof real)[0], (typeof real)[0]];

beforeAll(async () => {
  const folder = join('/tmp', `aftercall-speech-${process.pid}`);
  server = await startTemporalProcess();
  const scripted = await startTestSandbox(folder, real);
  const openai = await startOpenAI({ calls: real, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath(), whisper: await whisper() });
  await scripted.openai.close();
  sandbox = { ...scripted, openai, env: { ...scripted.env, ...SETTINGS_FOR.openai(openai.url) }, stop: async () => void (await Promise.all([scripted.webex.close(), openai.close(), scripted.salesforce.close(), scripted.amocrm.close()])) };
  system = await startSystem({ server, sandbox, env: { STT_MODEL: 'whisper-1' } });
  await system.startCall(stereo.taskId);
  await system.startCall(mono.taskId);
  for (const { taskId } of real) for (let attempt = 0; attempt < 5; attempt += 1) if (await system.until(taskId, 'completed').then(() => true, () => false)) break;
}, 600_000);
afterAll(async () => {
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
});

const transcriptOf = async (taskId: string): Promise<Transcript> => JSON.parse(await readFile(join(system.config.OBJECTS_DIR!, `call-detail/${taskId}/transcript.json`), 'utf8')) as Transcript;
const wordsOf = ({ turns }: Transcript, speaker?: string): string => turns.filter((turn) => !speaker || turn.speaker === speaker).map((turn) => turn.text).join(' ').toLowerCase();

describe('a real call with two channels', () => {
  it('is heard, with the agent and the customer on their own channels', async () => {
    const transcript = await transcriptOf(stereo.taskId);
    expect(transcript).toMatchObject({ provider: 'faster-whisper', speakersBy: 'channel', language: 'en' });
    expect(transcript.turns.length).toBeGreaterThan(10);
    // The company and the agent's name are said by the agent, the customer's by the customer.
    expect(wordsOf(transcript, 'agent')).toMatch(/platinum motors/);
    expect(wordsOf(transcript, 'agent')).toMatch(/i'?m michelle/);
    expect(wordsOf(transcript, 'customer')).toMatch(/my name is jack/);
    expect(wordsOf(transcript, 'customer')).not.toMatch(/platinum motors/);
  });
  it('is graded on what was said', async () => {
    expect((await system.wiring.calls.getVersion({ ...system.key(stereo.taskId), version: 1 })).analysis?.grading.total_score_percent).toBeGreaterThan(0);
  });
});

describe('a real call with one channel', () => {
  it('is heard, and nobody is named by guessing', async () => {
    const transcript = await transcriptOf(mono.taskId);
    expect(transcript).toMatchObject({ provider: 'faster-whisper', language: 'en' });
    expect(transcript.speakers).not.toContain('agent');
    // The company is "Big Jim's Auto"; a small model hears it as it sounds.
    expect(wordsOf(transcript)).toMatch(/big (jim|gym)'?s auto/);
    expect(wordsOf(transcript)).toMatch(/this is travis/);
    expect(wordsOf(transcript)).toMatch(/my name is violet king/);
  });
});
