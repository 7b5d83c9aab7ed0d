import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ffmpeg } from '../../sandbox/audio.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { ScriptLine } from '../../sandbox/calls/script.ts';
import { createScriptedSpeech } from '../../sandbox/openai/scripted-speech.ts';
import type { Heard } from '../../sandbox/openai/speech.ts';
import { ffmpegPath } from '../support/sandbox.ts';

/** The stand-in's ear: every sample call, each way it can be sent, and what it must not take for one. */
const speech = createScriptedSpeech({ calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() });
const scripted = SAMPLE_CALLS.flatMap(({ title, recording, script }) => (recording && script ? [{ title, file: join(AUDIO_FOLDER, recording.file), script }] : []));
const NO_SCRIPT = 'sandbox: no script for this recording';

let folder: string;
beforeAll(async () => void (folder = await mkdtemp(join(tmpdir(), 'scripted-speech-'))));
afterAll(() => rm(folder, { recursive: true, force: true }));

/** What of a call is sent: one channel, or both mixed. */
const TRACKS = [
  { track: 'the customer’s channel', filter: 'pan=mono|c0=c0', of: (line: ScriptLine) => line.channel === 0 },
  { track: 'the agent’s channel', filter: 'pan=mono|c0=c1', of: (line: ScriptLine) => line.channel === 1 },
  { track: 'the mix', filter: 'pan=mono|c0=0.5*c0+0.5*c1', of: () => true },
];
const QUIET = 'volume=-10dB';
const ENCODINGS = {
  wav: ['-ar', '16000', '-c:a', 'pcm_s16le'],
  quiet: ['-ar', '16000', '-c:a', 'pcm_s16le'],
  mp3: ['-ar', '16000', '-c:a', 'libmp3lame', '-b:a', '32k'],
  mulaw: ['-ar', '8000', '-c:a', 'pcm_mulaw'],
  opus: ['-ar', '16000', '-c:a', 'libopus', '-b:a', '24k'],
};
const EXTENSION = { wav: 'wav', quiet: 'wav', mp3: 'mp3', mulaw: 'wav', opus: 'ogg' };
type Encoding = keyof typeof ENCODINGS;

interface Cut {
  fromMs?: number;
  lengthMs?: number;
}

/** One decode for all encodings. */
const encode = async (file: string, filter: string, encodings: readonly Encoding[], { fromMs = 0, lengthMs }: Cut = {}): Promise<Buffer[]> => {
  const outputs = encodings.map((encoding) => ({ encoding, path: join(folder, `${encoding}.${EXTENSION[encoding]}`) }));
  await ffmpeg(ffmpegPath(), [
    ...['-ss', String(fromMs / 1_000), ...(lengthMs ? ['-t', String(lengthMs / 1_000)] : []), '-i', file],
    ...outputs.flatMap(({ encoding, path }) => ['-af', encoding === 'quiet' ? `${filter},${QUIET}` : filter, ...ENCODINGS[encoding], '-y', path]),
  ]);
  return Promise.all(outputs.map(({ path }) => readFile(path)));
};

/** The lines that start in a part, at their times in it. */
const within = (lines: readonly ScriptLine[], { fromMs = 0, lengthMs = Number.POSITIVE_INFINITY }: Cut = {}): ScriptLine[] =>
  lines.filter(({ startMs }) => startMs >= fromMs && startMs < fromMs + lengthMs).map((line) => ({ ...line, startMs: line.startMs - fromMs, endMs: line.endMs - fromMs }));

const expectLines = ({ segments }: Heard, lines: readonly ScriptLine[]): void => {
  expect(segments.map(({ text }) => text)).toEqual(lines.map(({ text }) => text));
  for (const [index, { startMs }] of segments.entries()) expect(Math.abs(startMs - lines[index]!.startMs)).toBeLessThanOrEqual(150);
};

/** Moved until no line starts near either end: which part such a line belongs to is a matter of taste. */
const clearOfStarts = (script: readonly ScriptLine[], { fromMs, lengthMs }: Required<Cut>): Required<Cut> => {
  const near = script.some(({ startMs }) => [fromMs, fromMs + lengthMs].some((edge) => Math.abs(startMs - edge) < 250));
  return near ? clearOfStarts(script, { fromMs: fromMs + 170, lengthMs }) : { fromMs, lengthMs };
};

describe.each(scripted)('$title', ({ file, script }) => {
  it.each(TRACKS)('is known by $track, however it is coded', async ({ track, filter, of }) => {
    // All encodings for each call, two for each of its tracks.
    const all = Object.keys(ENCODINGS) as Encoding[];
    const first = TRACKS.findIndex((one) => one.track === track) * 2;
    const encodings = [first, first + 1].map((at) => all[at % all.length]!);
    for (const audio of await encode(file, filter, encodings)) {
      const heard = await speech.hear(audio, {});
      expect(heard.provider).toBe('sandbox: scripted');
      expectLines(heard, script.filter(of));
    }
  });

  const endMs = script.at(-1)!.endMs;
  if (endMs < 20_000) return;
  it.each(TRACKS)('is known by parts from the middle of $track', async ({ track, filter, of }) => {
    const parts = [{ fromMs: 7_000, lengthMs: 12_000, as: 'opus' }, { fromMs: 13_370, lengthMs: 10_000, as: 'mp3' }, { fromMs: 21_905, lengthMs: 14_000, as: 'mulaw' }] as const;
    // The mix is the hardest to tell; of a channel one part is enough.
    for (const { fromMs, lengthMs, as } of parts.filter((part) => part.fromMs + part.lengthMs < endMs).slice(0, track.includes('mix') ? 3 : 1)) {
      const part = clearOfStarts(script, { fromMs, lengthMs });
      const [audio] = await encode(file, filter, [as], part);
      expectLines(await speech.hear(audio!, {}), within(script.filter(of), part));
    }
  });

  it('is known by a part that starts in silence', async () => {
    for (const { filter, of } of TRACKS.slice(0, 2)) {
      const lines = script.filter(of);
      const afterSilence = lines.find(({ startMs }, index) => startMs - (lines[index - 1]?.endMs ?? 0) > 2_300 && startMs + 8_000 < endMs);
      expect(afterSilence).toBeDefined();
      const part = { fromMs: afterSilence!.startMs - 2_000, lengthMs: clearOfStarts(script, { fromMs: afterSilence!.startMs + 8_000, lengthMs: 0 }).fromMs - afterSilence!.startMs + 2_000 };
      const [audio] = await encode(file, filter, ['opus'], part);
      expectLines(await speech.hear(audio!, {}), within(lines, part));
    }
  });
});

describe('speakers of a mix', () => {
  const { file, script } = scripted[0]!;
  const mix = TRACKS[2]!.filter;
  const part = { fromMs: script[3]!.startMs - 150, lengthMs: 20_000 };
  const lines = within(script, part);
  const sampleOf = async (speaker: ScriptLine['speaker']): Promise<Buffer> => {
    const { startMs } = script.find((line) => line.speaker === speaker && line.endMs - line.startMs > 3_000)!;
    return (await encode(file, mix, ['wav'], { fromMs: startMs, lengthMs: 3_000 }))[0]!;
  };

  it('get letters anew in every part, in the order in which they speak', async () => {
    const [audio] = await encode(file, mix, ['opus'], part);
    expect(lines[0]!.speaker).toBe('customer');
    expect((await speech.hear(audio!, {})).segments.map(({ speaker }) => speaker)).toEqual(lines.map(({ speaker }) => (speaker === 'customer' ? 'A' : 'B')));
  });
  it('keep the names under which their voices were sent', async () => {
    const [audio] = await encode(file, mix, ['opus'], part);
    const knownVoices = [{ name: 'B', sample: await sampleOf('customer') }, { name: 'Priya', sample: await sampleOf('agent') }];
    expect((await speech.hear(audio!, { knownVoices })).segments.map(({ speaker }) => speaker)).toEqual(lines.map(({ speaker }) => (speaker === 'customer' ? 'B' : 'Priya')));
    const oneKnown = await speech.hear(audio!, { knownVoices: [{ name: 'A', sample: await sampleOf('agent') }] });
    expect(oneKnown.segments.map(({ speaker }) => speaker)).toEqual(lines.map(({ speaker }) => (speaker === 'agent' ? 'A' : 'B')));
  });
});

describe('what nobody wrote down', () => {
  const made = (source: string, seconds: number): Promise<Buffer> => ffmpeg(ffmpegPath(), ['-f', 'lavfi', '-i', source, '-t', String(seconds), '-f', 'wav', 'pipe:1']);
  const expectNothing = ({ provider, segments }: Heard): void => expect([provider, segments]).toEqual([NO_SCRIPT, []]);

  it.each([1, 10, 60])('is silence, noise or a tone of %i s', async (seconds) => {
    for (const source of ['anullsrc', 'anoisesrc=a=0.0002', 'anoisesrc=a=0.3:c=white', 'anoisesrc=a=0.3:c=pink', 'sine=440']) expectNothing(await speech.hear(await made(source, seconds), {}));
  });
  it.each<Cut>([{}, { fromMs: 30_000, lengthMs: 45_000 }, { fromMs: 100_000, lengthMs: 10_000 }, { fromMs: 150_000, lengthMs: 3_000 }])('is a real recording, or a part of one %o', async (cut) => {
    const real = SAMPLE_CALLS.filter(({ recording, script }) => recording && !script).map(({ recording }) => join(AUDIO_FOLDER, recording!.file));
    expect(real).toHaveLength(2);
    for (const file of real) {
      const filters = file.includes('stereo') ? TRACKS.map(({ filter }) => filter) : ['anull'];
      for (const filter of filters) for (const audio of await encode(file, filter, ['wav', 'opus'], cut)) expectNothing(await speech.hear(audio, {}));
    }
  });
});

it('hears a minute in less than two seconds of CPU, once the samples are learnt', async () => {
  const [audio] = await encode(scripted[0]!.file, TRACKS[2]!.filter, ['opus'], { lengthMs: 60_000 });
  await speech.hear(audio!, {});
  const before = process.cpuUsage();
  expect((await speech.hear(audio!, {})).segments.length).toBeGreaterThan(10);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(2);
});

it('refuses what is no audio', async () => {
  await expect(speech.hear(Buffer.from('not a recording'), {})).rejects.toThrow('ffmpeg');
});
