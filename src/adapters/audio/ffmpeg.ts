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
const SAMPLE_RATE = 16_000;
/** A cut is looked for in this last part of a piece, where somebody pauses. */
const CUT_WINDOW = 0.25;

/** Audio work done by the ffmpeg program. */
export const createFfmpegAudio = (ffmpegPath: string): Audio => {
  const run = (args: string[], signal: AbortSignal): Promise<string> => runFfmpeg(ffmpegPath, args, signal);

  const probe = async (path: string, signal: AbortSignal): Promise<AudioProbe> => {
    const decoded = await run(['-i', path, '-vn', '-af', 'astats=measure_perchannel=RMS_level:measure_overall=none', '-f', 'null', '-'], signal);
    const stream = /Stream #\d+:\d+[^\n]*: Audio: (\w+)[^\n]*?, (\d+) Hz, ([^,\n]+)/.exec(decoded);
    const ends = [...decoded.matchAll(/time=(\d+):(\d+):(\d+\.?\d*)/g)].at(-1);
    if (!stream || !ends) {
      throw new AftercallError('AUDIO_UNREADABLE', 'The recording holds no audio that can be decoded.', { advice: 'Play the stored file; if it is broken there too, give the call up.' });
    }
    const durationMs = Math.round((Number(ends[1]) * 3_600 + Number(ends[2]) * 60 + Number(ends[3])) * 1_000);
    const levels = [...decoded.matchAll(/RMS level dB: (-?[\d.]+|-inf|nan)/g)].map(([, level]) => toDb(level!));
    const facts = { durationMs, codec: stream[1]!, sampleRate: Number(stream[2]), channels: levels.length };
    if (levels.every((level) => level < SILENT_DB)) return { ...facts, layout: 'silent' };
    if (levels.length !== 2) return { ...facts, layout: 'mono' };
    const sounding = levels.findIndex((level) => level >= SILENT_DB);
    if (levels.some((level) => level < SILENT_DB)) return { ...facts, layout: 'one_silent', soundingChannel: sounding };
    const difference = await run(['-i', path, '-vn', '-af', 'pan=mono|c0=0.5*c0-0.5*c1,astats=measure_perchannel=RMS_level:measure_overall=none', '-f', 'null', '-'], signal);
    const [, differenceLevel] = /RMS level dB: (-?[\d.]+|-inf|nan)/.exec(difference) ?? [];
    const same = toDb(differenceLevel ?? '-inf') < Math.max(...levels) - SAME_SOUND_DB;
    return { ...facts, layout: same ? 'duplicated_mono' : 'two_speakers' };
  };

  return {
    probe,

    async prepare(path, { directory, channel, maxSeconds, maxBytes, signal }: PrepareAudio): Promise<AudioPart[]> {
      const whole = join(directory, `channel-${channel ?? 'mix'}.ogg`);
      const pick = channel === undefined ? [] : ['-af', `pan=mono|c0=c${channel}`];
      await run(['-i', path, '-vn', ...pick, '-ac', '1', '-ar', String(SAMPLE_RATE), '-c:a', 'libopus', '-b:a', String(BITRATE), '-y', whole], signal);
      const { durationMs } = await probe(whole, signal);
      const { size } = await stat(whole);
      const parts = Math.max(Math.ceil(durationMs / 1_000 / maxSeconds), Math.ceil(size / maxBytes));
      if (parts <= 1) return [{ path: whole, startMs: 0, durationMs }];

      const cuts = cutsIn(await pausesOf(whole, run, signal), durationMs, Math.min(maxSeconds * 1_000, (durationMs / size) * maxBytes * 0.95));
      const pieces: AudioPart[] = [];
      for (const [index, startMs] of cuts.entries()) {
        const endMs = cuts[index + 1] ?? durationMs;
        const piece = join(directory, `channel-${channel ?? 'mix'}-${index}.ogg`);
        await run(['-ss', seconds(startMs), '-t', seconds(endMs - startMs), '-i', whole, '-c:a', 'libopus', '-b:a', String(BITRATE), '-y', piece], signal);
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

const pausesOf = async (path: string, run: (args: string[], signal: AbortSignal) => Promise<string>, signal: AbortSignal): Promise<number[]> => {
  const found = await run(['-i', path, '-af', 'silencedetect=noise=-35dB:d=0.3', '-f', 'null', '-'], signal);
  return [...found.matchAll(/silence_end: ([\d.]+) \| silence_duration: ([\d.]+)/g)].map(([, end, length]) => Math.round((Number(end) - Number(length) / 2) * 1_000));
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
      reject(new AftercallError('AUDIO_UNREADABLE', `ffmpeg could not read the recording (${why.slice(0, 200)}).`, { advice: 'Play the stored file; if it is broken there too, give the call up.' }));
    });
  });
