import { openAsBlob } from 'node:fs';
import { extname } from 'node:path';
import { AftercallError } from '../../domain/errors.ts';
import { sendForJson } from '../http/http.ts';
import type { Provider, ProviderConfig } from '../provider.ts';
import { toMs } from '../seconds.ts';
import { DeepgramSchema, type DeepgramWord } from './deepgram.schema.ts';
import type { SpeechResult, SpeechSegment, SpokenWord, Transcriber } from './transcriber.ts';

/** 2 GB a file. It works for ten minutes at most, and needs some twenty seconds for an hour. */
const LIMITS = { maxBytes: 2_000_000_000, maxSeconds: 36_000 };

const MEDIA_TYPES: Record<string, string> = { '.ogg': 'audio/ogg', '.wav': 'audio/wav', '.mp3': 'audio/mpeg' };

/**
 * Deepgram's pre-recorded transcription: one request, one answer, with speakers and the times of words.
 *
 * It has no key for repeated requests and nothing to ask for a lost answer by: after a crash the request
 * is made, and paid, again. Samples of known speakers are not taken.
 */
const createDeepgramTranscriber = ({ baseUrl, apiKey, model, timeoutMs, only, outside, language: usualLanguage }: ProviderConfig): Transcriber => ({
  name: 'deepgram',
  model,
  limits: LIMITS,
  tellsSpeakers: true,

  async transcribe({ path, language = usualLanguage, signal }): Promise<SpeechResult> {
    const url = new URL(`${baseUrl}/v1/listen`);
    url.search = new URLSearchParams({
      model,
      diarize: 'true',
      utterances: 'true',
      smart_format: 'true',
      ...(language ? { language } : { detect_language: 'true' }),
    }).toString();
    const answer = await sendForJson({
      system: 'Deepgram',
      doing: 'Transcribing',
      url,
      only,
      outside,
      method: 'POST',
      headers: { authorization: `Token ${apiKey}`, 'content-type': MEDIA_TYPES[extname(path).toLowerCase()] ?? 'application/octet-stream', accept: 'application/json' },
      body: await openAsBlob(path),
      signal,
      timeoutMs,
      // ASR_UNPROCESSABLE_ENTITY: the upload was cut off on its way.
      meaningOf: (status) => (status === 422 ? 'UPSTREAM_UNAVAILABLE' : undefined),
    });
    const parsed = DeepgramSchema.safeParse(answer);
    if (!parsed.success) {
      throw new AftercallError('UPSTREAM_NONSENSE', `Transcribing failed: Deepgram answered in an unknown shape (${parsed.error.issues[0]?.path.join('.') ?? ''}).`, { advice: 'It is tried again. If it goes on, check STT_BASE_URL.' });
    }
    const { metadata, results } = parsed.data;
    const channel = results.channels[0]!;
    const heard = channel.detected_language ?? language;
    const arch = Object.values(metadata.model_info ?? {})[0]?.arch;
    return {
      segments: results.utterances?.length ? results.utterances.map(segmentOf) : bySpeaker(channel.alternatives[0]?.words ?? []),
      durationMs: toMs(metadata.duration),
      provider: 'deepgram',
      model: arch ?? model,
      usage: { seconds: metadata.duration },
      requestId: metadata.request_id,
      ...(heard ? { language: heard } : {}),
    };
  },
});

export const deepgram: Provider<Transcriber> = { baseUrl: 'https://api.deepgram.com', model: 'nova-3', create: createDeepgramTranscriber };

const segmentOf = ({ start, end, transcript, confidence, speaker, words }: { start: number; end: number; transcript: string; confidence?: number | null | undefined; speaker?: number | null | undefined; words?: DeepgramWord[] | null | undefined }): SpeechSegment => ({
  startMs: toMs(start),
  endMs: toMs(end),
  text: transcript.trim(),
  ...(typeof speaker === 'number' ? { speaker: labelOf(speaker) } : {}),
  ...(typeof confidence === 'number' ? { confidence } : {}),
  ...(words?.length ? { words: words.map(wordOf) } : {}),
});

const wordOf = ({ word, punctuated_word, start, end, confidence, speaker }: DeepgramWord): SpokenWord => ({
  startMs: toMs(start),
  endMs: toMs(end),
  text: punctuated_word ?? word,
  ...(typeof speaker === 'number' ? { speaker: labelOf(speaker) } : {}),
  ...(typeof confidence === 'number' ? { confidence } : {}),
});

/** Without utterances: what one speaker says in a row. */
const bySpeaker = (words: readonly DeepgramWord[]): SpeechSegment[] => {
  const runs: DeepgramWord[][] = [];
  for (const word of words) {
    const run = runs.at(-1);
    if (run && run[0]!.speaker === word.speaker) run.push(word);
    else runs.push([word]);
  }
  return runs.map((run) => {
    const confidences = run.flatMap(({ confidence }) => (typeof confidence === 'number' ? [confidence] : []));
    return segmentOf({
      start: run[0]!.start,
      end: run.at(-1)!.end,
      transcript: run.map(({ punctuated_word, word }) => punctuated_word ?? word).join(' '),
      speaker: run[0]!.speaker,
      words: run,
      ...(confidences.length > 0 ? { confidence: confidences.reduce((sum, one) => sum + one, 0) / confidences.length } : {}),
    });
  });
};

/** Speakers are numbered from 0; elsewhere they have letters. */
const labelOf = (speaker: number): string => (speaker < 26 ? String.fromCharCode(65 + speaker) : `S${speaker + 1}`);
