import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from '@jest/globals';
import { ffmpeg } from '../../sandbox/audio.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import type { SpeechSegment } from '../../src/adapters/stt/transcriber.ts';
import type { JobNote } from '../../src/domain/cost.ts';
import { isAftercallError } from '../../src/domain/errors.ts';
import { ffmpegPath } from './sandbox.ts';

/** The sample call that the speech adapters are held against, mixed down to one channel. */
export const SAMPLE = SAMPLE_CALLS[0]!;
export const SCRIPT = SAMPLE.script!;
/** As stand-ins for speech are started. */
export const SPEECH_FILES = { calls: [SAMPLE], audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() };
export const SAMPLE_MS = 73_940;

export interface SampleAudio {
  path: string;
  durationMs: number;
  /** The first seconds of it. */
  short: { path: string; durationMs: number };
  silent: { path: string; durationMs: number };
  broken: string;
  remove(): Promise<void>;
}

export const prepareSample = async (): Promise<SampleAudio> => {
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-speech-'));
  const make = async (name: string, ...input: string[]): Promise<string> => {
    const path = join(folder, name);
    await ffmpeg(ffmpegPath(), [...input, '-ac', '1', '-ar', '16000', '-c:a', 'libopus', '-b:a', '24k', '-y', path]);
    return path;
  };
  const source = join(AUDIO_FOLDER, SAMPLE.recording!.file);
  return {
    path: await make('whole.ogg', '-i', source),
    durationMs: SAMPLE_MS,
    short: { path: await make('short.ogg', '-t', '8', '-i', source), durationMs: 8_000 },
    silent: { path: await make('silent.ogg', '-f', 'lavfi', '-i', 'anullsrc=r=16000:cl=mono', '-t', '5'), durationMs: 5_000 },
    broken: new URL(import.meta.url).pathname,
    remove: () => rm(folder, { recursive: true, force: true }),
  };
};

/** A note in memory, and what was written on it. */
export const aNote = (known?: string): JobNote & { written: string[] } => {
  const written: string[] = [];
  return { ...(known === undefined ? {} : { known }), written, note: async (reference) => void written.push(reference) };
};

export const respond = (route: string, status: number, body: unknown, headers: Record<string, string> = {}): Fault => ({ route, effect: { kind: 'respond', status, body, headers } });

/** What an adapter says of a failure. @throws Error when it did not fail, or not in the project's way */
export const failureOf = async (answer: Promise<unknown>) => {
  const error = await answer.then(() => undefined, (thrown: unknown) => thrown);
  if (!isAftercallError(error)) throw new Error(`It did not fail as it should, but: ${String(error)}`, { cause: error });
  const { code, message, advice, outcome, retryAfterMs, retryable } = error;
  return { code, message, advice, outcome, retryAfterMs, retryable };
};

/** Every line of the script, by whom and when it was said; A is who speaks first. */
export const expectScript = (segments: readonly SpeechSegment[]): void => {
  expect(segments.map(({ speaker, text }) => [speaker, text])).toEqual(SCRIPT.map(({ speaker, text }) => [speaker === SCRIPT[0]!.speaker ? 'A' : 'B', text]));
  for (const [index, { startMs, endMs }] of segments.entries()) {
    expect(Number.isInteger(startMs) && Number.isInteger(endMs)).toBe(true);
    expect(Math.abs(startMs - SCRIPT[index]!.startMs)).toBeLessThan(150);
    expect(Math.abs(endMs - SCRIPT[index]!.endMs)).toBeLessThan(150);
  }
};

/** The words of each segment are its text, in order and within it. */
export const expectWords = (segments: readonly SpeechSegment[]): void => {
  for (const { text, words, startMs, endMs, speaker } of segments) {
    expect(words!.map((word) => word.text).join(' ')).toBe(text);
    for (const [index, word] of words!.entries()) {
      expect(word.startMs).toBeGreaterThanOrEqual(Math.max(startMs - 2, words![index - 1]?.endMs ?? 0));
      expect(word.endMs).toBeLessThanOrEqual(endMs + 2);
      if (word.speaker !== undefined) expect(word.speaker).toBe(speaker);
    }
  }
};

interface SeenRequest {
  method: string;
  path: string;
  query: Record<string, string>;
  status?: number;
}

export const requestsTo = async (server: SandboxServer): Promise<SeenRequest[]> => (await (await fetch(`${server.url}/_sandbox/requests`)).json()) as SeenRequest[];

/** Aborts what runs as soon as the stand-in has seen a request, and says how long it took to give up. */
export const abortOnce = async (server: SandboxServer, path: string, run: (signal: AbortSignal) => Promise<unknown>): Promise<{ error: unknown; tookMs: number }> => {
  const controller = new AbortController();
  const before = (await requestsTo(server)).filter((request) => request.path.startsWith(path)).length;
  const running = run(controller.signal).then(() => undefined, (thrown: unknown) => thrown);
  while ((await requestsTo(server)).filter((request) => request.path.startsWith(path)).length <= before) await new Promise((resolve) => setTimeout(resolve, 10));
  const at = Date.now();
  controller.abort(new Error('called off'));
  const error = await running;
  return { error, tookMs: Date.now() - at };
};
