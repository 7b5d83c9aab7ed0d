import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import type { Audio, AudioPart, AudioProbe } from '../adapters/audio/audio.ts';
import type { DiarizationResult } from '../adapters/diarization/diarizer.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { SpeechResult } from '../adapters/stt/transcriber.ts';
import type { Costs } from '../db/costs.ts';
import type { StoredRecording } from '../db/schema.ts';
import type { CallVersion } from '../domain/call.ts';
import { costMicroUsd, type PaidFor, type Price, type Usage } from '../domain/cost.ts';
import { assignSpeakers, type TimedSpeech } from '../domain/diarization.ts';
import { AftercallError } from '../domain/errors.ts';
import { toTurns, type Transcript } from '../domain/transcript.ts';
import { signal } from './context.ts';
import type { Providers } from './providers.ts';
import { isSampled, labelsOfPart, sampleVoices, type Voice } from './voices.ts';

interface Dependencies {
  costs: Costs;
  objects: ObjectStore;
  audio: Audio;
  prices: Price[];
}

/** How a two-channel recording's channels are labelled when the source does not say: Webex's "channel1: Caller". */
const DEFAULT_CHANNELS: ('agent' | 'customer')[] = ['customer', 'agent'];

export interface HearCall {
  call: CallVersion;
  recording: StoredRecording;
  providers: Pick<Providers, 'transcriber' | 'diarizer'>;
  /** What the requests are counted under. */
  step: PaidFor;
  reference?: string | undefined;
  /** BCP-47; undefined lets the provider detect it. */
  language: string | undefined;
}

interface Hearing extends HearCall {
  path: string;
  folder: string;
}

/**
 * Makes a transcript of a stored recording, and writes nothing but what it cost.
 *
 * Two real channels are transcribed apart, so that the channel says who speaks. Everything else goes to
 * the provider as one channel, and its own labels are kept: who of them is the agent would be a guess. If
 * it gives none, the diarizer, where there is one, is asked who speaks when. Each request is paid for
 * once, however often this is tried.
 *
 * @throws AUDIO_UNREADABLE final
 */
export const hearCall = async (dependencies: Dependencies, request: HearCall): Promise<Transcript> => {
  const { recording } = request;
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-'));
  try {
    const path = join(folder, `recording.${recording.format}`);
    const stored = await dependencies.objects.open(recording.key, { signal: signal() });
    if (!stored) throw new AftercallError('NOT_FOUND', `The recording ${recording.key} is not in the object store any more.`, { advice: 'Retry from the recording step.' });
    await pipeline(stored.body, createWriteStream(path), { signal: signal() });
    return await hear(dependencies, { ...request, path, folder });
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
};

const hear = async (dependencies: Dependencies, hearing: Hearing): Promise<Transcript> => {
  const { audio } = dependencies;
  const { transcriber } = hearing.providers;
  const probe = await audio.probe(hearing.path, signal());
  const tracks = tracksOf(probe, hearing.recording);
  const heard: HeardTrack[] = [];
  for (const track of tracks) heard.push(await hearTrack(dependencies, hearing, track));

  const results = heard.flatMap((track) => track.results);
  const diarization = await tellApart(dependencies, hearing, tracks, heard);
  const speech = heard.flatMap((track) => track.speech);
  const pieces = diarization ? assignSpeakers(speech, diarization.segments) : [];
  // A diarizer that hears nobody where somebody was understood tells nothing.
  const turns = toTurns(pieces.length > 0 ? pieces : speech.map(({ words: _words, speaker = UNNAMED, ...piece }) => ({ ...piece, speaker })));
  const language = results.find((result) => result.language)?.language ?? hearing.language;
  const billedSeconds = total(results, (result) => result.usage.seconds);
  const inputTokens = total(results, (result) => result.usage.inputTokens);
  const outputTokens = total(results, (result) => result.usage.outputTokens);
  return {
    callId: hearing.call.callId,
    durationMs: probe.durationMs,
    // Nothing was sent when there is nothing to hear.
    provider: results[0]?.provider ?? 'none: the recording is silent',
    model: results[0]?.model ?? transcriber.model,
    speakersBy: tracks.length === 2 ? 'channel' : pieces.length > 0 ? 'diarization' : turns.some((turn) => turn.speaker !== UNNAMED) ? 'provider' : 'none',
    ...(diarization ? { diarization: { provider: diarization.provider, model: diarization.model, billedSeconds: diarization.usage.seconds } } : {}),
    speakers: [...new Set(turns.map((turn) => turn.speaker))],
    turns,
    usage: { requests: results.length, billedSeconds, inputTokens, outputTokens },
    ...(language ? { language } : {}),
  };
};

const UNNAMED = 'speaker';

interface Track {
  /** Undefined mixes all channels. */
  channel?: number;
  /** Who speaks on it, where that is certain. */
  speaker?: string;
}

/** What has to be transcribed: found out before anything is paid for. */
const tracksOf = ({ layout, soundingChannel }: AudioProbe, { channels = DEFAULT_CHANNELS }: StoredRecording): Track[] => {
  switch (layout) {
    case 'two_speakers':
      return [0, 1].map((channel) => ({ channel, speaker: channels[channel] ?? DEFAULT_CHANNELS[channel]! }));
    case 'one_silent':
      return [soundingChannel === undefined ? {} : { channel: soundingChannel }];
    case 'duplicated_mono':
      return [{ channel: 0 }];
    case 'mono':
      return [{}];
    case 'silent':
      return [];
  }
};

interface HeardTrack {
  parts: AudioPart[];
  results: SpeechResult[];
  /** On the recording's time line. */
  speech: (TimedSpeech & { speaker?: string })[];
}

const hearTrack = async ({ audio, costs, prices }: Dependencies, { call, recording, providers: { transcriber, diarizer }, step, reference, path, folder, language }: Hearing, { channel, speaker }: Track): Promise<HeardTrack> => {
  const parts = await audio.prepare(path, { directory: folder, ...transcriber.limits, signal: signal(), ...(channel === undefined ? {} : { channel }) });
  const results: SpeechResult[] = [];
  const speech: HeardTrack['speech'] = [];
  // Whoever assigns speakers later cuts between words.
  const wordTimes = speaker === undefined && !transcriber.tellsSpeakers && diarizer !== undefined;
  const voices: Voice[] = [];
  for (const [index, part] of parts.entries()) {
    // What the answer depends on; the file itself is made anew at every try.
    const content = JSON.stringify({ sha256: recording.sha256, channel: channel ?? 'mix', startMs: part.startMs, language: language ?? 'any', ...(wordTimes ? { wordTimes } : {}) });
    const result = await costs.payOnce<SpeechResult>(
      { ...call, step, reference, kind: 'stt', provider: transcriber.name, model: transcriber.model, estimateMicroUsd: costMicroUsd(prices, transcriber.model, mostUsedFor(part.durationMs), today()), content },
      async (job) => {
        const answer = await transcriber.transcribe({
          path: part.path,
          durationMs: part.durationMs,
          job,
          signal: signal(),
          ...(wordTimes ? { wordTimes } : {}),
          ...(language ? { language } : {}),
          ...(voices.some(isSampled) ? { knownSpeakers: voices.filter(isSampled).map(({ name, samplePath }) => ({ name, samplePath })) } : {}),
        });
        const usage: Usage = {
          kind: 'stt',
          seconds: answer.usage.seconds ?? Math.ceil(part.durationMs / 1_000),
          ...(answer.usage.inputTokens === undefined ? {} : { inputTokens: answer.usage.inputTokens }),
          ...(answer.usage.outputTokens === undefined ? {} : { outputTokens: answer.usage.outputTokens }),
        };
        return {
          result: answer,
          usable: true,
          provider: answer.provider,
          model: answer.model,
          usage,
          microUsd: costMicroUsd(prices, answer.model, usage, today()),
          requestId: answer.requestId,
        };
      },
    );
    results.push(result);
    const labelOf = labelsOfPart(voices);
    for (const segment of result.segments) {
      const said = speaker ?? (segment.speaker === undefined ? undefined : labelOf(segment.speaker));
      speech.push({
        ...(said === undefined ? {} : { speaker: said }),
        startMs: part.startMs + segment.startMs,
        endMs: part.startMs + segment.endMs,
        text: segment.text,
        ...(channel === undefined ? {} : { channel }),
        ...(segment.confidence === undefined ? {} : { confidence: segment.confidence }),
        ...(segment.words ? { words: segment.words.map(({ text, startMs, endMs }) => ({ text, startMs: part.startMs + startMs, endMs: part.startMs + endMs })) } : {}),
      });
    }
    if (index + 1 < parts.length && speaker === undefined && transcriber.tellsSpeakers) await sampleVoices(audio, { path: part.path, folder, segments: result.segments, voices, labelOf, signal: signal() });
  }
  return { parts, results, speech };
};

/**
 * Asks the diarizer who speaks when, if nobody else knows: one channel, words, and no speaker to any.
 *
 * It hears the recording as a whole, so that its labels mean the same from beginning to end; one that is
 * over its limits keeps no speakers.
 */
const tellApart = async ({ audio, costs, prices }: Dependencies, { call, recording, providers: { diarizer }, step, reference, path, folder }: Hearing, [track, ...more]: Track[], [heard]: HeardTrack[]): Promise<DiarizationResult | undefined> => {
  if (!diarizer || !track || !heard || more.length > 0) return undefined;
  // Nobody can say where in a text without times the speaker changes.
  if (heard.results.some(({ timed }) => timed === false)) return undefined;
  if (!heard.speech.some(({ text }) => text.trim() !== '') || heard.speech.some(({ speaker }) => speaker !== undefined)) return undefined;
  const { channel } = track;
  const [whole, ...rest] = heard.parts.length === 1 ? heard.parts : await audio.prepare(path, { directory: folder, ...diarizer.limits, signal: signal(), ...(channel === undefined ? {} : { channel }) });
  if (!whole || rest.length > 0) return undefined;
  const content = JSON.stringify({ sha256: recording.sha256, channel: channel ?? 'mix' });
  return costs.payOnce<DiarizationResult>({ ...call, step, reference, kind: 'diarization', provider: diarizer.name, model: diarizer.model, estimateMicroUsd: costMicroUsd(prices, diarizer.model, { kind: 'diarization', seconds: Math.ceil(whole.durationMs / 1_000) }, today()), content }, async (job) => {
    const answer = await diarizer.diarize({ path: whole.path, durationMs: whole.durationMs, job, signal: signal() });
    const usage: Usage = { kind: 'diarization', seconds: answer.usage.seconds };
    return { result: answer, usable: true, provider: answer.provider, model: answer.model, usage, microUsd: costMicroUsd(prices, answer.model, usage, today()), requestId: answer.requestId };
  });
};

/** Audio tokens as OpenAI's models count them, and twice what people say. */
const AUDIO_TOKENS_PER_SECOND = 10;
const TEXT_TOKENS_PER_SECOND = 8;

/** What transcribing so much audio uses at most. */
const mostUsedFor = (durationMs: number): Usage => {
  const seconds = Math.ceil(durationMs / 1_000);
  return { kind: 'stt', seconds, inputTokens: seconds * AUDIO_TOKENS_PER_SECOND, outputTokens: seconds * TEXT_TOKENS_PER_SECOND };
};

const today = (): string => new Date().toISOString().slice(0, 10);
const total = <T>(values: readonly T[], of: (value: T) => number | undefined): number => values.reduce((sum, value) => sum + (of(value) ?? 0), 0);
