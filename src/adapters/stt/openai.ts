import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { APIError } from 'openai';
import { AftercallError } from '../../domain/errors.ts';
import { OPENAI_COMPATIBILITY, type TranscriptionFormat } from '../openai-capabilities.ts';
import { openAIClient, openAIFailure, providerName } from '../openai-errors.ts';
import type { Provider, ProviderConfig } from '../provider.ts';
import { TranscriptionSchema } from './openai.schema.ts';
import { toMs } from '../seconds.ts';
import type { SpeechResult, SpeechSegment, SpokenWord, TranscribeAudio, Transcriber } from './transcriber.ts';

interface ModelFacts {
  format: TranscriptionFormat;
  maxSeconds: number;
}

/** Limits by OpenAI's own error messages and model pages; others take what their hardware takes. */
const MODELS: Record<string, ModelFacts> = {
  'gpt-4o-transcribe-diarize': { format: 'diarized_json', maxSeconds: 1_400 },
  'gpt-4o-transcribe': { format: 'json', maxSeconds: 1_500 },
  'gpt-4o-mini-transcribe': { format: 'json', maxSeconds: 1_500 },
};
const OTHER_MODEL: ModelFacts = { format: 'verbose_json', maxSeconds: 7_200 };
/** 25 MB, less room for the rest of the form. */
const MAX_BYTES = 24 * 1024 * 1024;

/** Transcription through OpenAI's API shape, at OpenAI or any server that speaks it. */
const createOpenAITranscriber = ({ baseUrl, apiKey, model, timeoutMs, only, outside, language: usualLanguage, capabilities = OPENAI_COMPATIBILITY.openai }: ProviderConfig): Transcriber => {
  const facts = MODELS[model] ?? OTHER_MODEL;
  const { transcriptionFormats: formats } = capabilities;
  // What the model is best at, if the server knows it; else the best that the server knows. Speakers only from a model that tells them.
  const format = formats.includes(facts.format) ? facts.format : formats.find((known) => known !== 'diarized_json');
  const client = openAIClient({ baseUrl, apiKey, timeoutMs, only, outside });
  const name = providerName(baseUrl);

  const request = async ({ path, language = usualLanguage, knownSpeakers = [], wordTimes = false, signal }: TranscribeAudio, asked: TranscriptionFormat) =>
    client.audio.transcriptions
      .create(
        {
          file: createReadStream(path),
          model,
          response_format: asked as 'json',
          ...(language ? { language: language.split('-')[0]! } : {}),
          ...(wordTimes && asked === 'verbose_json' && capabilities.wordTimes ? { timestamp_granularities: ['word' as const, 'segment' as const] } : {}),
          ...(asked === 'diarized_json' ? { chunking_strategy: 'auto' as const } : {}),
          ...(asked === 'diarized_json' && knownSpeakers.length > 0
            ? { known_speaker_names: knownSpeakers.map((speaker) => speaker.name), known_speaker_references: await Promise.all(knownSpeakers.map((speaker) => dataUrl(speaker.samplePath))) }
            : {}),
        },
        { signal },
      )
      .withResponse();

  return {
    name,
    model,
    limits: { maxBytes: MAX_BYTES, maxSeconds: facts.maxSeconds },
    tellsSpeakers: format === 'diarized_json',

    async transcribe(audio): Promise<SpeechResult> {
      if (!format) throw new AftercallError('CONFIG_INVALID', `The server at ${new URL(baseUrl).host} does not transcribe.`, { outcome: 'refused', advice: 'Name one that does with STT_BASE_URL, or another STT_PROVIDER.' });
      try {
        const { data, response } = await request(audio, format).catch((error: unknown) => {
          // A self-hosted model may know plain JSON only: without times, but better than nothing.
          if (facts === OTHER_MODEL && format !== 'json' && error instanceof APIError && error.status === 400 && /response_format/.test(error.message)) return request(audio, 'json');
          throw error;
        });
        const parsed = TranscriptionSchema.safeParse(data);
        if (!parsed.success) {
          throw new AftercallError('UPSTREAM_NONSENSE', `Transcribing failed: the server answered in an unknown shape (${parsed.error.issues[0]?.path.join('.') ?? ''}).`, {
            advice: 'Check that STT_MODEL and the server belong together.',
          });
        }
        const { text, segments, words, language, duration, usage } = parsed.data;
        const durationMs = duration ? toMs(duration) : audio.durationMs;
        const whole: NonNullable<typeof segments> = text.trim() ? [{ start: 0, end: durationMs / 1_000, text }] : [];
        const requestId = response.headers.get('x-request-id');
        const known = languageTag(language);
        return {
          segments: withWords(
            (segments ?? whole).map((segment) => ({
              startMs: toMs(segment.start),
              endMs: toMs(segment.end),
              text: segment.text.trim(),
              ...(segment.speaker ? { speaker: segment.speaker } : {}),
              // Whisper's mean log probability, as a probability.
              ...(typeof segment.avg_logprob === 'number' ? { confidence: Math.min(1, Math.exp(segment.avg_logprob)) } : {}),
            })),
            (words ?? []).map(({ word, start, end }) => ({ text: word.trim(), startMs: toMs(start), endMs: toMs(end) })),
          ),
          ...(segments ? {} : { timed: false as const }),
          durationMs,
          provider: response.headers.get('x-stt-provider') ?? name,
          model: response.headers.get('x-stt-model') ?? model,
          usage:
            usage?.type === 'tokens'
              ? { seconds: Math.ceil(audio.durationMs / 1_000), inputTokens: usage.input_tokens, outputTokens: usage.output_tokens }
              : { seconds: usage?.seconds ?? Math.ceil(audio.durationMs / 1_000) },
          ...(known ? { language: known } : {}),
          ...(requestId ? { requestId } : {}),
        };
      } catch (error) {
        throw openAIFailure(error, 'Transcribing', audio.signal);
      }
    },
  };
};

/** OpenAI's own API, and the many that speak it. */
export const openai: Provider<Transcriber> = { baseUrl: 'https://api.openai.com/v1', model: 'gpt-4o-transcribe-diarize', create: createOpenAITranscriber };

/** Words come beside the segments: each goes to the one in which its middle lies. */
const withWords = (segments: SpeechSegment[], words: readonly SpokenWord[]): SpeechSegment[] => {
  if (words.length === 0) return segments;
  const middleOf = ({ startMs, endMs }: SpokenWord): number => (startMs + endMs) / 2;
  return segments.map((segment, index) => {
    const from = index === 0 ? Number.NEGATIVE_INFINITY : segment.startMs;
    const to = segments[index + 1]?.startMs ?? Number.POSITIVE_INFINITY;
    const own = words.filter((word) => middleOf(word) >= from && middleOf(word) < to);
    return own.length > 0 ? { ...segment, words: own } : segment;
  });
};

const dataUrl = async (path: string): Promise<string> => `data:audio/wav;base64,${(await readFile(path)).toString('base64')}`;

/** Whisper names languages in English; everything else gives tags. */
const LANGUAGES: Record<string, string> = { english: 'en', german: 'de', french: 'fr', spanish: 'es', portuguese: 'pt', italian: 'it', dutch: 'nl', russian: 'ru', chinese: 'zh', japanese: 'ja', korean: 'ko', malay: 'ms', indonesian: 'id', tamil: 'ta', hindi: 'hi', thai: 'th', vietnamese: 'vi' };

const languageTag = (language: string | null | undefined): string | undefined => {
  if (!language || language === 'unknown') return undefined;
  return LANGUAGES[language.toLowerCase()] ?? language;
};
