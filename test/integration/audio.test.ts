import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DefaultLogger } from '@temporalio/worker';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ffmpeg } from '../../sandbox/audio.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { SampleCall, ScriptLine } from '../../sandbox/calls/script.ts';
import { startOpenAI } from '../../sandbox/openai/server.ts';
import { SETTINGS_FOR } from '../../sandbox/settings.ts';
import { createScriptedSpeech } from '../../sandbox/openai/scripted-speech.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { createTranscriptionActivities } from '../../src/activities/transcription.ts';
import type { AudioPart } from '../../src/adapters/audio/audio.ts';
import { createFfmpegAudio } from '../../src/adapters/audio/ffmpeg.ts';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import { createTranscriber, transcribers } from '../../src/adapters/stt/registry.ts';
import type { Transcriber } from '../../src/adapters/stt/transcriber.ts';
import { loadConfig } from '../../src/config.ts';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createProjects } from '../../src/db/projects.ts';
import { recordingKey, transcriptKey } from '../../src/domain/ids.ts';
import { toTurns, type Transcript } from '../../src/domain/transcript.ts';
import { loadPrices } from '../../src/prices.ts';
import { complete } from '../support/config.ts';
import { testProviders } from '../support/providers.ts';
import { ffmpegPath, ledgerOf } from '../support/sandbox.ts';
import { anyDatabase } from '../support/postgres.ts';

/** Real audio through the real ffmpeg, up to the transcript. */
const audio = createFfmpegAudio(ffmpegPath());
const { signal } = new AbortController();
const MB = 1_000_000;
let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'aftercall-audio-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

const GOOD = SAMPLE_CALLS[0]!;
const script = GOOD.script!;
const good = join(AUDIO_FOLDER, GOOD.recording!.file);
const make = async (name: string, ...args: string[]): Promise<string> => {
  const path = join(folder, name);
  await ffmpeg(ffmpegPath(), [...args, '-y', path]);
  return path;
};
const WAV = ['-ar', '16000', '-c:a', 'pcm_s16le'];
const MIX = 'pan=mono|c0=0.5*c0+0.5*c1';
const DOUBLED = 'pan=stereo|c0=0.5*c0+0.5*c1|c1=0.5*c0+0.5*c1';

describe('what the channels hold', () => {
  it.each([
    ['two speakers', 'two.wav', ['-i', good, ...WAV], { layout: 'two_speakers', codec: 'pcm_s16le', sampleRate: 16_000, channels: 2 }],
    ['two speakers, quiet', 'quiet.wav', ['-i', good, '-af', 'volume=-25dB', ...WAV], { layout: 'two_speakers' }],
    ['one channel', 'one.wav', ['-i', good, '-af', MIX, ...WAV], { layout: 'mono', channels: 1 }],
    ['the same sound twice', 'doubled.wav', ['-i', good, '-af', DOUBLED, ...WAV], { layout: 'duplicated_mono', channels: 2 }],
    ['the same sound twice, once softer', 'softer.wav', ['-i', good, '-af', 'pan=stereo|c0=0.5*c0+0.5*c1|c1=0.45*c0+0.45*c1', ...WAV], { layout: 'duplicated_mono' }],
    ['the same sound twice, as MP3', 'doubled.mp3', ['-i', good, '-af', DOUBLED, '-ar', '16000', '-c:a', 'libmp3lame', '-b:a', '64k'], { layout: 'duplicated_mono', codec: 'mp3' }],
    ['two speakers, as MP3', 'two.mp3', ['-i', good, '-ar', '16000', '-c:a', 'libmp3lame', '-b:a', '64k'], { layout: 'two_speakers', codec: 'mp3', sampleRate: 16_000 }],
    ['speech on the first channel only', 'first.wav', ['-i', good, '-af', 'pan=stereo|c0=c1|c1=0*c0', ...WAV], { layout: 'one_silent', soundingChannel: 0 }],
    ['speech on the second channel only', 'second.wav', ['-i', good, '-af', 'pan=stereo|c0=0*c0|c1=c1', ...WAV], { layout: 'one_silent', soundingChannel: 1 }],
    ['nothing, twice', 'silent.wav', ['-f', 'lavfi', '-i', 'anullsrc=r=16000:cl=stereo', '-t', '73.94', ...WAV], { layout: 'silent', channels: 2 }],
    ['line noise only', 'noise.wav', ['-f', 'lavfi', '-i', 'anoisesrc=r=8000:a=0.0003', '-t', '73.94', ...WAV], { layout: 'silent', channels: 1 }],
    ['two speakers, as 8 kHz mu-law', 'mulaw.wav', ['-i', good, '-ar', '8000', '-c:a', 'pcm_mulaw'], { layout: 'two_speakers', codec: 'pcm_mulaw', sampleRate: 8_000 }],
    ['two speakers, as 8 kHz A-law', 'alaw.wav', ['-i', good, '-ar', '8000', '-c:a', 'pcm_alaw'], { layout: 'two_speakers', codec: 'pcm_alaw', sampleRate: 8_000 }],
  ])('is told: %s', async (_what, name, args, expected) => {
    const probe = await audio.probe(await make(name, ...args), signal);
    expect(probe).toMatchObject(expected);
    expect(Math.abs(probe.durationMs - 73_940)).toBeLessThan(120);
  });

  it.each([
    ['no audio at all', Buffer.from('not a recording')],
    ['an empty file', Buffer.alloc(0)],
    ['a page of HTML', Buffer.from('<html><body>Sign in</body></html>'.repeat(100))],
    ['a header and nothing after it', 'header'],
  ])('is refused for good when it is %s', async (_what, content) => {
    const path = join(folder, 'broken.wav');
    await writeFile(path, content === 'header' ? (await readFile(await make('whole.wav', '-i', good, ...WAV))).subarray(0, 44) : content);
    await expect(audio.probe(path, signal)).rejects.toMatchObject({ code: 'AUDIO_UNREADABLE', retryable: false, advice: expect.stringContaining('stored file') as unknown });
    await expect(audio.prepare(path, { directory: folder, maxSeconds: 60, maxBytes: MB, signal })).rejects.toMatchObject({ code: 'AUDIO_UNREADABLE' });
  });
  it('is not looked at without ffmpeg, or after the worker was told to stop', async () => {
    await expect(createFfmpegAudio('/no/such/ffmpeg').probe(good, signal)).rejects.toMatchObject({ code: 'CONFIG_INVALID', advice: expect.stringContaining('FFMPEG_PATH') as unknown });
    await expect(audio.probe(good, AbortSignal.abort(new Error('shutting down')))).rejects.toThrow();
  });
});

/** The parts are one time line: they begin where the one before ended, and are as long as they say. */
const expectOneTimeLine = async (parts: readonly AudioPart[], { durationMs, maxSeconds, maxBytes }: { durationMs: number; maxSeconds: number; maxBytes: number }): Promise<void> => {
  let atMs = 0;
  for (const part of parts) {
    expect(part.startMs).toBe(atMs);
    expect(part.durationMs).toBeGreaterThan(0);
    expect(part.durationMs).toBeLessThanOrEqual(maxSeconds * 1_000);
    expect((await stat(part.path)).size).toBeLessThanOrEqual(maxBytes);
    const real = await audio.probe(part.path, signal);
    expect(real).toMatchObject({ codec: 'opus', channels: 1 });
    // Packets of 20 ms are not cut: one more or less at each end, and what the coder needs to start.
    expect(Math.abs(real.durationMs - part.durationMs)).toBeLessThanOrEqual(60);
    expect(real.durationMs).toBeLessThanOrEqual(maxSeconds * 1_000 + 20);
    atMs += part.durationMs;
  }
  expect(Math.abs(atMs - durationMs)).toBeLessThanOrEqual(40);
};
/** Nobody says anything within 60 ms of a cut: it is 25 dB below what is usual on the call. */
const expectQuietAt = async (cutsMs: readonly number[]): Promise<void> => {
  const pcm = await ffmpeg(ffmpegPath(), ['-i', good, '-af', MIX, '-ar', '8000', '-f', 's16le', 'pipe:1']);
  const samples = new Int16Array(pcm.buffer, pcm.byteOffset, pcm.byteLength / 2);
  const powerOf = (stretch: Int16Array): number => stretch.reduce((sum, sample) => sum + sample ** 2, 1) / stretch.length;
  for (const atMs of cutsMs) expect(10 * Math.log10(powerOf(samples.subarray((atMs - 60) * 8, (atMs + 60) * 8)) / powerOf(samples))).toBeLessThan(-25);
};
const prepare = async (path: string, limits: { maxSeconds: number; maxBytes: number; channel?: number }): Promise<AudioPart[]> => audio.prepare(path, { directory: await mkdtemp(join(folder, 'parts-')), signal, ...limits });

describe('a call within the limits', () => {
  it('stays one part, of one channel or the mix', async () => {
    const speech = createScriptedSpeech({ calls: [GOOD], audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() });
    for (const channel of [0, 1, undefined]) {
      const parts = await prepare(good, { maxSeconds: 1_400, maxBytes: 24 * MB, ...(channel === undefined ? {} : { channel }) });
      expect(parts).toMatchObject([{ startMs: 0 }]);
      await expectOneTimeLine(parts, { durationMs: 73_940, maxSeconds: 1_400, maxBytes: 24 * MB });
      const { segments } = await speech.hear(await readFile(parts[0]!.path), {});
      expect(segments.map(({ text }) => text)).toEqual(script.filter((line) => channel === undefined || line.channel === channel).map(({ text }) => text));
    }
  });
});

describe('a call over the limits', () => {
  const speech = createScriptedSpeech({ calls: [GOOD], audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() });
  const NOISY = `[0:a]${MIX}[call];anoisesrc=r=16000:a=0.01:c=pink:seed=1[noise];[call][noise]amix=inputs=2:duration=first:normalize=0`;

  it.each([
    ['as it is', ['-i', good, '-af', MIX]],
    ['when everybody is quiet', ['-i', good, '-af', `${MIX},volume=-25dB`]],
    ['on a noisy line', ['-i', good, '-filter_complex', NOISY]],
  ])('is cut in pauses, %s: every line is in one part, at its time', async (_how, args) => {
    const path = await make('cut.wav', ...args, ...WAV);
    const limits = { maxSeconds: 20, maxBytes: 24 * MB };
    const parts = await prepare(path, limits);
    expect(parts.length).toBeGreaterThanOrEqual(4);
    await expectOneTimeLine(parts, { durationMs: 73_940, ...limits });
    await expectQuietAt(parts.slice(1).map(({ startMs }) => startMs));
    // By ear where the ear is good enough; noise blurs the shape of the sound.
    if (args.includes(NOISY)) return;
    const heard: { text: string; startMs: number }[] = [];
    for (const part of parts) for (const { text, startMs } of (await speech.hear(await readFile(part.path), {})).segments) heard.push({ text, startMs: part.startMs + startMs });
    expect(heard.map(({ text }) => text)).toEqual(script.map(({ text }) => text));
    for (const [index, { startMs }] of heard.entries()) expect(Math.abs(startMs - script[index]!.startMs)).toBeLessThanOrEqual(150);
  });

  it('is cut at the limit where nobody pauses', async () => {
    const parts = await prepare(await make('tone.wav', '-f', 'lavfi', '-i', 'sine=440:r=16000', '-t', '65', ...WAV), { maxSeconds: 20, maxBytes: 24 * MB });
    expect(parts.map(({ startMs }) => startMs)).toEqual([0, 20_000, 40_000, 60_000]);
    await expectOneTimeLine(parts, { durationMs: 65_000, maxSeconds: 20, maxBytes: 24 * MB });
  });
  it('is cut late in a long pause, not where somebody talks again', async () => {
    // Speech from 0 to 4 s and from 19 s on; the middle of the pause is far from the limit of 20 s.
    const path = await make('held.wav', '-f', 'lavfi', '-i', "aevalsrc='if(lt(mod(t,60),4)+gt(mod(t,60),19),0.3*sin(2*PI*300*t)*(0.6+0.4*sin(2*PI*4*t)),0)':s=16000", '-t', '38', ...WAV);
    const [, second] = await prepare(path, { maxSeconds: 20, maxBytes: 24 * MB });
    expect(second!.startMs).toBeGreaterThan(15_000);
    expect(second!.startMs).toBeLessThan(19_000);
  });
  it('fits the size limit also where it is densest', async () => {
    // The first half is silent and compresses to nothing: what counts is the other half.
    const path = await make('dense.wav', '-f', 'lavfi', '-i', "aevalsrc='if(gt(t,60),0.3*random(0)-0.15,0)':s=16000", '-t', '120', ...WAV);
    const limits = { maxSeconds: 1_400, maxBytes: 100_000 };
    const parts = await prepare(path, limits);
    await expectOneTimeLine(parts, { durationMs: 120_000, ...limits });
  });
});

/** The most memory that any child of this process ever had. */
const watchChildren = (): (() => number) => {
  let mostKiB = 0;
  const look = (): void => {
    for (const pid of readOr(`/proc/self/task/${process.pid}/children`).split(' ').filter(Boolean)) mostKiB = Math.max(mostKiB, Number(/VmHWM:\s+(\d+)/.exec(readOr(`/proc/${pid}/status`))?.[1] ?? 0));
  };
  const timer = setInterval(look, 50);
  return () => {
    clearInterval(timer);
    return mostKiB / 1_024;
  };
};
const readOr = (path: string): string => {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
};

it('prepares 50 quiet minutes for OpenAI in little memory, cut in pauses', async () => {
  const loop = await make('loop.wav', '-i', good, '-t', '73', '-af', `${MIX},volume=-20dB`, '-ar', '8000', '-c:a', 'pcm_s16le');
  const path = await make('fifty.wav', '-stream_loop', '-1', '-i', loop, '-t', '3000', '-c:a', 'pcm_s16le');
  const limits = createTranscriber(loadConfig(complete)).limits;
  expect(limits).toEqual({ maxSeconds: 1_400, maxBytes: 24 * 1024 * 1024 });
  const before = process.memoryUsage().rss;
  const mostMiB = watchChildren();
  const probe = await audio.probe(path, signal);
  const parts = await prepare(path, limits);
  const childrenMiB = mostMiB();
  expect(probe).toMatchObject({ layout: 'mono', durationMs: 3_000_000 });
  expect(parts).toHaveLength(3);
  await expectOneTimeLine(parts, { durationMs: 3_000_000, ...limits });
  await expectQuietAt(parts.slice(1).map(({ startMs }) => startMs % 73_000));
  // The recording alone has 48 MB; most of what ffmpeg takes is the program itself.
  if (childrenMiB > 0) expect(childrenMiB).toBeLessThan(128);
  expect((process.memoryUsage().rss - before) / 1_048_576).toBeLessThan(64);
});

describe('a long call through the transcription step', () => {
  let db: Database;
  let openai: SandboxServer;
  beforeAll(async () => {
    db = await openDatabase(await anyDatabase());
    await migrate(db);
  });
  afterAll(() => db?.destroy());
  afterAll(() => openai?.close());

  let made = 0;
  const transcribe = async (path: string, sample: SampleCall, audioFolder: string, limits?: Partial<Transcriber['limits']>): Promise<{ transcript: Transcript; requests: number }> => {
    await openai?.close();
    openai = await startOpenAI({ calls: [sample], audioFolder, ffmpegPath: ffmpegPath() });
    const config = loadConfig({ ...complete, ...SETTINGS_FOR.openai(openai.url) });
    const calls = createCalls(db);
    const objects = createFolderStore(join(folder, 'objects'));
    const transcriber = createTranscriber(config);
    const activities = createTranscriptionActivities({
      calls,
      costs: createCosts(db),
      objects,
      given: { find: async () => undefined },
      records: { hasWords: async () => false },
      audio,
      providers: testProviders(db, config, { ...transcribers, create: () => ({ ...transcriber, limits: { ...transcriber.limits, ...limits } }) }),
      projects: createProjects(db),
      prices: loadPrices(undefined),
    });
    made += 1;
    const call = { project: 'default', callId: `long-${made}`, version: 1 };
    await calls.stage('default', [{ source: 'webex', callId: call.callId, status: 'completed', direction: 'inbound', originPhone: '+15550100', startedAtMs: Date.UTC(2026, 10, 20, 10) }], 'staged');
    await calls.openVersion(call, { from: 'recording', state: 'staged' });
    const key = recordingKey(call, 'wav');
    await objects.put(key, await readFile(path), { contentType: 'audio/wav' });
    await calls.keepResult(call, 'recording', { key, bytes: (await stat(path)).size, sha256: call.callId, format: 'wav', recordingId: call.callId, fileName: 'recording.wav' });
    const environment = new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') });
    expect(await environment.run(activities.transcribe, { call })).toMatchObject({ state: 'transcribed', gradable: true });
    const transcript = JSON.parse((await objects.getText(transcriptKey(call)))!) as Transcript;
    // A second attempt, after a worker died with the work done, says the same and pays for nothing.
    const requests = (await ledgerOf(openai, 'transcription')).length;
    await environment.run(activities.transcribe, { call });
    expect(JSON.parse((await objects.getText(transcriptKey(call)))!)).toEqual(transcript);
    expect(await ledgerOf(openai, 'transcription')).toHaveLength(requests);
    return { transcript, requests };
  };

  /** Who speaks first is A, on the whole call, whatever letters the parts came with. */
  const expectScript = ({ turns }: Transcript, lines: readonly ScriptLine[]): void => {
    const expected = toTurns(lines.map((line) => ({ ...line, speaker: line.speaker === lines[0]!.speaker ? 'A' : 'B' })).map(({ channel: _channel, ...piece }) => piece));
    for (const [index, { speaker, text }] of turns.entries()) expect(`${index} ${speaker}: ${text}`).toBe(`${index} ${expected[index]?.speaker}: ${expected[index]?.text}`);
    expect(turns).toHaveLength(expected.length);
    for (const [index, { startMs }] of turns.entries()) expect(Math.abs(startMs - expected[index]!.startMs)).toBeLessThanOrEqual(150);
  };

  it('keeps its speakers over many parts', async () => {
    const path = await make('short-parts.wav', '-i', good, '-af', MIX, ...WAV);
    const { transcript, requests } = await transcribe(path, GOOD, AUDIO_FOLDER, { maxSeconds: 20 });
    expect(requests).toBeGreaterThanOrEqual(4);
    expect(transcript).toMatchObject({ speakersBy: 'provider', speakers: ['A', 'B'], durationMs: expect.closeTo(73_940, -2) as unknown, usage: { requests } });
    expectScript(transcript, script);
  });

  it('keeps two channels on one time line', async () => {
    const path = await make('two-channels.wav', '-i', good, ...WAV);
    const { transcript } = await transcribe(path, GOOD, AUDIO_FOLDER, { maxSeconds: 30 });
    expect(transcript).toMatchObject({ speakersBy: 'channel', speakers: ['agent', 'customer'] });
    expect(transcript.turns.map(({ speaker, text }) => [speaker, text])).toEqual(script.map(({ speaker, text }) => [speaker, text]));
    for (const [index, { startMs }] of transcript.turns.entries()) expect(Math.abs(startMs - script[index]!.startMs)).toBeLessThanOrEqual(150);
  });

  it('of 27 minutes is sent in two parts and read as one', async () => {
    const samples = SAMPLE_CALLS.filter((call) => call.recording && call.script);
    // In another order every round, so that no stretch of it is like another.
    const order = [samples, samples.toReversed(), [...samples.slice(5), ...samples.slice(0, 5)]].flat();
    const sound: Buffer[] = [];
    const lines: ScriptLine[] = [];
    let atMs = 0;
    const pcm = new Map<string, Buffer>();
    for (const { recording, script: said } of order) {
      const samplesOf = pcm.get(recording!.file) ?? (await ffmpeg(ffmpegPath(), ['-i', join(AUDIO_FOLDER, recording!.file), '-ar', '8000', '-f', 's16le', 'pipe:1']));
      pcm.set(recording!.file, samplesOf);
      sound.push(samplesOf);
      for (const line of said!) lines.push({ ...line, startMs: line.startMs + atMs, endMs: line.endMs + atMs });
      atMs += samplesOf.byteLength / 32;
    }
    await writeFile(join(folder, 'long.raw'), Buffer.concat(sound));
    const raw = ['-f', 's16le', '-ar', '8000', '-ac', '2', '-i', join(folder, 'long.raw')];
    await make('long.wav', ...raw, '-c:a', 'pcm_s16le');
    const path = await make('long-mixed.wav', ...raw, '-af', MIX, '-c:a', 'pcm_s16le');
    expect(atMs).toBeGreaterThan(1_600_000);
    const { transcript, requests } = await transcribe(path, { ...GOOD, recording: { file: 'long.wav', servedAs: 'wav' }, script: lines }, folder);
    expect(requests).toBe(2);
    expectScript(transcript, lines);
  });
});
