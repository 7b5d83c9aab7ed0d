import { spawn } from 'node:child_process';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import type { Audio, AudioPart, AudioProbe, PrepareAudio } from './audio.ts';

/** Mean level below which a channel counts as silent. Line noise of phone calls lies around -60 dB. */
const SILENT_DB = -70;
/**
 * Two channels carry the same sound when their difference is this much quieter than they are. Coding
 * noise of MP3 at 64 kbit/s leaves some 20 dB between them; two people never come near.
 */
const SAME_SOUND_DB = 15;
/** Opus at 24 kbit/s: clear speech at 180 kB a minute, two hours under 25 MB. */
const BITRATE = 24_000;
const OPUS = ['-c:a', 'libopus', '-b:a', String(BITRATE), '-vbr', 'constrained'];
/** Above the mean rate, for the stretch in which everybody talks, and for the container. */
const DENSEST_BYTES_PER_MS = (BITRATE * 1.2) / 8_000;
const SAMPLE_RATE = 16_000;
/** A cut is looked for in this last part of a piece, where somebody pauses. */
const CUT_WINDOW = 0.25;

/** Audio work done by the ffmpeg program. */
export const createFfmpegAudio = (ffmpegPath: string): Audio => {
  const run = (args: string[], signal: AbortSignal): Promise<string> => runFfmpeg(ffmpegPath, args, signal);

  return {
    async probe(path, signal): Promise<AudioProbe> {
      const decoded = await run(['-i', path, '-filter_complex', LEVELS_AND_DIFFERENCE, '-map', '[levels]', '-map', '[difference]', '-f', 'null', '-'], signal);
      const stream = /Stream #\d+:\d+[^\n]*: Audio: (\w+)[^\n]*?, (\d+) Hz, ([^,\n]+)/.exec(decoded);
      const durationMs = endOf(decoded);
      const levels = levelsBy('levels', decoded);
      if (!stream || durationMs === undefined || levels.length === 0) throw unreadable('The recording holds no audio that can be decoded.');
      const facts = { durationMs, codec: stream[1]!, sampleRate: Number(stream[2]), channels: levels.length };
      if (levels.every((level) => level < SILENT_DB)) return { ...facts, layout: 'silent' };
      if (levels.length !== 2) return { ...facts, layout: 'mono' };
      const sounding = levels.findIndex((level) => level >= SILENT_DB);
      if (levels.some((level) => level < SILENT_DB)) return { ...facts, layout: 'one_silent', soundingChannel: sounding };
      const [difference = Number.NEGATIVE_INFINITY] = levelsBy('difference', decoded);
      return { ...facts, layout: difference < Math.max(...levels) - SAME_SOUND_DB ? 'duplicated_mono' : 'two_speakers' };
    },

    async prepare(path, { directory, channel, maxSeconds, maxBytes, signal }: PrepareAudio): Promise<AudioPart[]> {
      const whole = join(directory, `channel-${channel ?? 'mix'}.ogg`);
      const pick = channel === undefined ? 'aformat=channel_layouts=mono' : `pan=mono|c0=c${channel}`;
      const encoded = await run(['-i', path, '-vn', '-af', `${pick},${measure('level')}`, '-ar', String(SAMPLE_RATE), ...OPUS, '-y', whole], signal);
      const durationMs = endOf(encoded);
      if (durationMs === undefined) throw unreadable('The recording holds no audio that can be decoded.');
      const { size } = await stat(whole);
      if (durationMs <= maxSeconds * 1_000 && size <= maxBytes) return [{ path: whole, startMs: 0, durationMs }];

      const [levelDb = SILENT_DB] = levelsBy('level', encoded);
      const cuts = cutsIn(await pausesOf(whole, levelDb, run, signal), durationMs, Math.min(maxSeconds * 1_000, maxBytes / DENSEST_BYTES_PER_MS));
      const pieces: AudioPart[] = [];
      for (const [index, startMs] of cuts.entries()) {
        const endMs = cuts[index + 1] ?? durationMs;
        const piece = join(directory, `channel-${channel ?? 'mix'}-${index}.ogg`);
        // Copied, not coded a second time: each packet of 20 ms goes into one piece. Whole pages would overlap.
        await run(['-ss', seconds(startMs), '-t', seconds(endMs - startMs), '-i', whole, '-c', 'copy', '-copypriorss', '0', '-y', piece], signal);
        pieces.push({ path: piece, startMs, durationMs: endMs - startMs });
      }
      return pieces;
    },

    async clip(path, { startMs, endMs, outPath, signal }) {
      await run(['-ss', seconds(startMs), '-t', seconds(endMs - startMs), '-i', path, '-ac', '1', '-ar', String(SAMPLE_RATE), '-y', outPath], signal);
    },
  };
};

const seconds = (ms: number): string => (ms / 1_000).toFixed(3);
const toDb = (level: string): number => (level === '-inf' || level === 'nan' ? Number.NEGATIVE_INFINITY : Number(level));

/** Mean level of each channel, told on standard error under `name`. */
const measure = (name: string): string => `astats@${name}=measure_perchannel=RMS_level:measure_overall=none`;
const levelsBy = (name: string, said: string): number[] => [...said.matchAll(new RegExp(`\\[astats@${name} @ [^\\]]*\\] RMS level dB: (-?[\\d.]+|-inf|nan)`, 'g'))].map(([, level]) => toDb(level!));
/** The channels' levels, and that of their difference, in one pass. Mono is its own double there. */
const LEVELS_AND_DIFFERENCE = [
  '[0:a:0]asplit[all][pair]',
  `[all]${measure('levels')}[levels]`,
  `[pair]aformat=channel_layouts=stereo,pan=mono|c0=0.5*c0-0.5*c1,${measure('difference')}[difference]`,
].join(';');

/** Where the last sample that ffmpeg wrote ends. */
const endOf = (said: string): number | undefined => {
  const ends = [...said.matchAll(/time=(\d+):(\d+):(\d+\.?\d*)/g)].at(-1);
  return ends && Math.round((Number(ends[1]) * 3_600 + Number(ends[2]) * 60 + Number(ends[3])) * 1_000);
};

const unreadable = (message: string): AftercallError => new AftercallError('AUDIO_UNREADABLE', message, { advice: 'Play the stored file; if it is broken there too, give the call up.' });

/** In a pause no sample comes within this of the call's mean level: some phones are quiet, and some lines noisy. */
const PAUSE_BELOW_DB = 6;
const PAUSE_MS = 300;
/** In a long pause, as when the other side talks or music is off, a cut can be anywhere: one place a second. */
const PLACES_EVERY_MS = 1_000;

const pausesOf = async (path: string, levelDb: number, run: (args: string[], signal: AbortSignal) => Promise<string>, signal: AbortSignal): Promise<number[]> => {
  const found = await run(['-i', path, '-af', `silencedetect=noise=${(Math.max(levelDb, SILENT_DB) - PAUSE_BELOW_DB).toFixed(1)}dB:d=${seconds(PAUSE_MS)}`, '-f', 'null', '-'], signal);
  return [...found.matchAll(/silence_end: ([\d.]+) \| silence_duration: ([\d.]+)/g)].flatMap(([, end, length]) => placesIn(Number(end) * 1_000, Number(length) * 1_000));
};

const placesIn = (endMs: number, lengthMs: number): number[] => {
  const count = Math.max(1, Math.floor(lengthMs / PLACES_EVERY_MS));
  return Array.from({ length: count }, (_, index) => Math.round(endMs - lengthMs + (lengthMs * (index + 0.5)) / count));
};

/**
 * Where to start each piece so that none is longer than `longestMs`: in the last pause that fits, or, in
 * a stretch without pauses, at the limit.
 */
export const cutsIn = (pausesMs: readonly number[], durationMs: number, longestMs: number): number[] => {
  const cuts = [0];
  for (let start = 0; durationMs - start > longestMs; ) {
    const limit = start + longestMs;
    start = pausesMs.findLast((pause) => pause <= limit && pause > limit - longestMs * CUT_WINDOW) ?? Math.floor(limit);
    cuts.push(start);
  }
  return cuts;
};

/** Runs ffmpeg without a shell. @returns what it said on standard error, where it reports */
const runFfmpeg = (path: string, args: string[], signal: AbortSignal): Promise<string> =>
  new Promise((resolve, reject) => {
    const child = spawn(path, ['-hide_banner', '-nostdin', ...args], { stdio: ['ignore', 'ignore', 'pipe'], signal, killSignal: 'SIGKILL' });
    let said = '';
    child.stderr.on('data', (chunk: Buffer) => (said += chunk.toString()));
    child.once('error', (error: NodeJS.ErrnoException) => {
      if (signal.aborted) return reject(error);
      reject(
        new AftercallError('CONFIG_INVALID', `ffmpeg cannot be started as ${JSON.stringify(path)}: ${messageOf(error)}`, {
          advice: 'Install ffmpeg, or set FFMPEG_PATH to where it is.',
          cause: error,
        }),
      );
    });
    child.once('close', (code) => {
      if (code === 0) return resolve(said);
      if (signal.aborted) return reject(signal.reason as Error);
      const why = said.trim().split('\n').at(-1) ?? '';
      reject(unreadable(`ffmpeg could not read the recording (${why.slice(0, 200)}).`));
    });
  });
