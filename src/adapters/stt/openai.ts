import { createReadStream } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { APIError } from 'openai';
import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { openAIClient, openAIFailure, providerName } from '../openai-errors.ts';
import { TranscriptionSchema } from './openai.schema.ts';
import type { SpeechResult, TranscribeAudio, Transcriber } from './transcriber.ts';

type SttConfig = Pick<Config, 'OPENAI_BASE_URL' | 'OPENAI_API_KEY' | 'STT_BASE_URL' | 'STT_API_KEY' | 'STT_MODEL' | 'SPEECH_TIMEOUT'>;

type Format = 'diarized_json' | 'verbose_json' | 'json';

interface ModelFacts {
  format: Format;
  maxSeconds: number;
  tellsSpeakers: boolean;
}

/** Limits by OpenAI's own error messages and model pages; others take what their hardware takes. */
const MODELS: Record<string, ModelFacts> = {
  'gpt-4o-transcribe-diarize': { format: 'diarized_json', maxSeconds: 1_400, tellsSpeakers: true },
  'gpt-4o-transcribe': { format: 'json', maxSeconds: 1_500, tellsSpeakers: false },
  'gpt-4o-mini-transcribe': { format: 'json', maxSeconds: 1_500, tellsSpeakers: false },
};
const OTHER_MODEL: ModelFacts = { format: 'verbose_json', maxSeconds: 7_200, tellsSpeakers: false };
/** 25 MB, less room for the rest of the form. */
const MAX_BYTES = 24 * 1024 * 1024;

/** Transcription through OpenAI's API shape, at OpenAI or any server that speaks it. */
export const createOpenAITranscriber = (config: SttConfig): Transcriber => {
  const baseUrl = config.STT_BASE_URL ?? config.OPENAI_BASE_URL;
  const model = config.STT_MODEL;
  const facts = MODELS[model] ?? OTHER_MODEL;
  const client = openAIClient({ baseUrl, apiKey: config.STT_API_KEY ?? config.OPENAI_API_KEY, timeoutMs: config.SPEECH_TIMEOUT });
  const name = providerName(baseUrl);

  const request = async ({ path, language, knownSpeakers = [], signal }: TranscribeAudio, format: Format) =>
    client.audio.transcriptions
      .create(
        {
          file: createReadStream(path),
          model,
          response_format: format as 'json',
          ...(language ? { language: language.split('-')[0]! } : {}),
          ...(format === 'diarized_json' ? { chunking_strategy: 'auto' as const } : {}),
          ...(format === 'diarized_json' && knownSpeakers.length > 0
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
    tellsSpeakers: facts.tellsSpeakers,

    async transcribe(audio): Promise<SpeechResult> {
      try {
        const { data, response } = await request(audio, facts.format).catch((error: unknown) => {
          // A self-hosted model may know plain JSON only: without times, but better than nothing.
          if (facts === OTHER_MODEL && error instanceof APIError && error.status === 400 && /response_format/.test(error.message)) return request(audio, 'json');
          throw error;
        });
        const parsed = TranscriptionSchema.safeParse(data);
        if (!parsed.success) {
          throw new AftercallError('UPSTREAM_NONSENSE', `Transcribing failed: the server answered in an unknown shape (${parsed.error.issues[0]?.path.join('.') ?? ''}).`, {
            advice: 'Check that STT_MODEL and the server belong together.',
          });
        }
        const { text, segments, language, duration, usage } = parsed.data;
        const durationMs = duration ? Math.round(duration * 1_000) : audio.durationMs;
        const whole: NonNullable<typeof segments> = text.trim() ? [{ start: 0, end: durationMs / 1_000, text }] : [];
        const requestId = response.headers.get('x-request-id');
        const known = languageTag(language);
        return {
          segments: (segments ?? whole).map((segment) => ({
            startMs: Math.max(0, Math.round(segment.start * 1_000)),
            endMs: Math.max(0, Math.round(segment.end * 1_000)),
            text: segment.text.trim(),
            ...(segment.speaker ? { speaker: segment.speaker } : {}),
            // Whisper's mean log probability, as a probability.
            ...(typeof segment.avg_logprob === 'number' ? { confidence: Math.min(1, Math.exp(segment.avg_logprob)) } : {}),
          })),
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

const dataUrl = async (path: string): Promise<string> => `data:audio/wav;base64,${(await readFile(path)).toString('base64')}`;

/** Whisper names languages in English; everything else gives tags. */
const LANGUAGES: Record<string, string> = { english: 'en', german: 'de', french: 'fr', spanish: 'es', portuguese: 'pt', italian: 'it', dutch: 'nl', russian: 'ru', chinese: 'zh', japanese: 'ja', korean: 'ko', malay: 'ms', indonesian: 'id', tamil: 'ta', hindi: 'hi', thai: 'th', vietnamese: 'vi' };

const languageTag = (language: string | null | undefined): string | undefined => {
  if (!language || language === 'unknown') return undefined;
  return LANGUAGES[language.toLowerCase()] ?? language;
};
