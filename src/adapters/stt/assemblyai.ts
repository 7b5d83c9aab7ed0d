import { openAsBlob } from 'node:fs';
import type { z } from 'zod';
import type { JobNote } from '../../domain/cost.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { type RequestToOurs, sendForJson } from '../http/http.ts';
import { jobFailed, LOOK_TIMEOUT_MS, poll, stillRunning } from '../poll.ts';
import type { Provider, ProviderConfig } from '../provider.ts';
import { TranscriptListSchema, TranscriptSchema, UploadSchema } from './assemblyai.schema.ts';
import type { SpeechResult, SpeechSegment, SpokenWord, TranscribeAudio, Transcriber } from './transcriber.ts';

/** 2.2 GB an upload, ten hours a transcript. */
const LIMITS = { maxBytes: 2_200_000_000, maxSeconds: 36_000 };
/** A transcript that was started a moment ago is among the newest; an account that starts more in that time is not looked through further. */
const NEWEST = 100;

type Answer = z.output<typeof TranscriptSchema>;

/**
 * AssemblyAI's pre-recorded transcription: upload, start, look until it is done.
 *
 * What was started is noted twice: the upload's address before the transcript is asked for, and its ID
 * after. Another try after a crash goes on with the ID; with the address alone it finds the transcript of
 * that upload in the account's list. Nothing is transcribed twice. Samples of known speakers are not taken.
 */
const createAssemblyAITranscriber = ({ baseUrl, apiKey, model, timeoutMs, only, outside, language: usualLanguage }: ProviderConfig): Transcriber => {
  const lookTimeoutMs = Math.min(timeoutMs, LOOK_TIMEOUT_MS);
  const ask = async <S extends z.ZodType>(schema: S, path: string, request: Pick<RequestToOurs, 'doing' | 'signal' | 'method' | 'headers' | 'body' | 'timeoutMs'>): Promise<z.output<S>> => {
    const answer = await sendForJson({
      system: 'AssemblyAI',
      url: new URL(`${baseUrl}${path}`),
      only,
      outside,
      timeoutMs,
      ...request,
      // No "Bearer".
      headers: { authorization: apiKey, ...request.headers },
      meaningOf: (status, said) => {
        if (status === 404) return 'NOT_FOUND';
        return status === 400 && /balance|top up|insufficient funds/i.test(said) ? 'QUOTA_EXHAUSTED' : undefined;
      },
    });
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new AftercallError('UPSTREAM_NONSENSE', `${request.doing} failed: AssemblyAI answered in an unknown shape (${parsed.error.issues[0]?.path.join('.') ?? ''}).`, { advice: 'It is tried again. If it goes on, check STT_BASE_URL.' });
  };

  const upload = async ({ path, signal }: TranscribeAudio): Promise<string> =>
    (await ask(UploadSchema, '/v2/upload', { doing: 'Uploading a recording', method: 'POST', headers: { 'content-type': 'application/octet-stream' }, body: await openAsBlob(path), signal })).upload_url;

  const start = async (audioUrl: string, { language = usualLanguage, signal }: TranscribeAudio): Promise<string> => {
    const body = { audio_url: audioUrl, speaker_labels: true, speech_models: [model], ...(language ? { language_code: language.toLowerCase().replace('-', '_') } : { language_detection: true }) };
    return (await ask(TranscriptSchema, '/v2/transcript', { doing: 'Starting a transcription', method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body), signal })).id;
  };

  const startedFor = async (audioUrl: string, signal: AbortSignal): Promise<string | undefined> => {
    const { transcripts } = await ask(TranscriptListSchema, `/v2/transcript?limit=${NEWEST}`, { doing: 'Looking for a transcription that was started', signal, timeoutMs: lookTimeoutMs }).catch((error: unknown) => {
      throw isAftercallError(error) ? stillRunning(error) : error;
    });
    return transcripts.find((transcript) => transcript.audio_url === audioUrl && transcript.status !== 'error')?.id;
  };

  const awaitTranscript = (id: string, signal: AbortSignal): Promise<Answer> =>
    poll({
      system: 'AssemblyAI',
      doing: 'Transcribing',
      timeoutMs,
      signal,
      look: async () => {
        const answer = await ask(TranscriptSchema, `/v2/transcript/${encodeURIComponent(id)}`, { doing: 'Looking whether a transcription is done', signal, timeoutMs: lookTimeoutMs });
        return answer.status === 'completed' || answer.status === 'error' ? answer : undefined;
      },
    });

  const startAnew = async (audio: TranscribeAudio, job: JobNote | undefined): Promise<Answer> => {
    const audioUrl = await upload(audio);
    await job?.note(`${UPLOAD}${audioUrl}`);
    const id = await start(audioUrl, audio);
    await job?.note(`${TRANSCRIPT}${id}`);
    return awaitTranscript(id, audio.signal);
  };

  const goOn = async (audio: TranscribeAudio, job: JobNote, known: string): Promise<Answer> => {
    if (known.startsWith(TRANSCRIPT)) return awaitTranscript(known.slice(TRANSCRIPT.length), audio.signal);
    const audioUrl = known.slice(UPLOAD.length);
    const id = (await startedFor(audioUrl, audio.signal)) ?? (await start(audioUrl, audio));
    await job.note(`${TRANSCRIPT}${id}`);
    return awaitTranscript(id, audio.signal);
  };

  return {
    name: 'assemblyai',
    model,
    limits: LIMITS,
    tellsSpeakers: true,

    async transcribe(audio): Promise<SpeechResult> {
      const { job } = audio;
      const answer = await (job?.known
        ? goOn(audio, job, job.known).catch((error: unknown) => {
            // Deleted, or kept no longer: there is nothing to go on with.
            if (isAftercallError(error) && error.code === 'NOT_FOUND') return startAnew(audio, job);
            throw error;
          })
        : startAnew(audio, job));
      if (answer.status === 'error') {
        const why = answer.error ?? 'it does not say why';
        // Language detection fails on silence; so would a person asked for its language.
        if (/no spoken audio/i.test(why)) return resultOf({ ...answer, utterances: [], words: [], text: '' }, audio, model);
        throw jobFailed(/server error|internal|try again|retry/i.test(why) ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_REJECTED', `Transcribing failed: AssemblyAI gave transcript ${answer.id} up (${why.slice(0, 200)}).`);
      }
      return resultOf(answer, audio, model);
    },
  };
};

export const assemblyai: Provider<Transcriber> = { baseUrl: 'https://api.assemblyai.com', model: 'universal-2', create: createAssemblyAITranscriber };

/** What a note holds. */
const UPLOAD = 'upload:';
const TRANSCRIPT = 'transcript:';

const resultOf = ({ id, utterances, words, text, confidence, audio_duration, speech_model_used, language_code }: Answer, audio: TranscribeAudio, model: string): SpeechResult => {
  const durationMs = audio_duration ? Math.round(audio_duration * 1_000) : audio.durationMs;
  const whole = text?.trim() ? [{ text, start: 0, end: durationMs, confidence, speaker: null, words }] : [];
  const language = languageTag(language_code);
  return {
    segments: (utterances?.length ? utterances : whole).map((utterance) => segmentOf(utterance)),
    durationMs,
    provider: 'assemblyai',
    model: speech_model_used ?? model,
    usage: { seconds: audio_duration ?? Math.ceil(audio.durationMs / 1_000) },
    requestId: id,
    ...(language ? { language } : {}),
  };
};

interface Timed {
  text: string;
  start: number;
  end: number;
  confidence?: number | null | undefined;
  speaker?: string | null | undefined;
}

const spoken = ({ text, start, end, confidence, speaker }: Timed): SpokenWord => ({
  startMs: Math.max(0, Math.round(start)),
  endMs: Math.max(0, Math.round(end)),
  text: text.trim(),
  ...(speaker ? { speaker } : {}),
  ...(typeof confidence === 'number' ? { confidence } : {}),
});

const segmentOf = ({ words, ...utterance }: Timed & { words?: Timed[] | null | undefined }): SpeechSegment => ({ ...spoken(utterance), ...(words?.length ? { words: words.map(spoken) } : {}) });

/** `en_us` is its way of writing `en-US`. */
const languageTag = (code: string | null | undefined): string | undefined => {
  if (!code) return undefined;
  const [language, region] = code.split('_');
  return region ? `${language}-${region.toUpperCase()}` : language;
};
