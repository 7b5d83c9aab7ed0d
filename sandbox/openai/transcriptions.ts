import type { Request, Response as Answering } from 'express';
import type { Sandbox } from '../server.ts';
import { refuse } from './errors.ts';
import type { Flavour } from './flavours.ts';
import { type Heard, type KnownVoice, SampleRefused, type SpeechEngine, wordsOf } from './speech.ts';

const MAX_BYTES = 25 * 1024 * 1024;

interface Model {
  formats: string[];
  maxSeconds?: number;
  /** USD per minute, or by tokens. */
  perMinute?: number;
  /** Takes `include[]=logprobs`. */
  logprobs?: boolean;
}

/** What each model takes, by its own documentation. A name that is not here is treated like whisper-1, as self-hosted servers do. */
const MODELS: Record<string, Model> = {
  'whisper-1': { formats: ['json', 'text', 'srt', 'verbose_json', 'vtt'], perMinute: 0.006 },
  'gpt-transcribe': { formats: ['json'], perMinute: 0.0045 },
  'gpt-4o-transcribe': { formats: ['json'], maxSeconds: 1_500, logprobs: true },
  'gpt-4o-mini-transcribe': { formats: ['json'], maxSeconds: 1_500, logprobs: true },
  'gpt-4o-mini-transcribe-2025-12-15': { formats: ['json'], maxSeconds: 1_500, logprobs: true },
  'gpt-4o-transcribe-diarize': { formats: ['json', 'text', 'diarized_json'], maxSeconds: 1_400 },
};
/** USD per million tokens. */
const TOKEN_PRICE = { input: 2.5, output: 10 };
const MINI_TOKEN_PRICE = { input: 1.25, output: 5 };
const DIARIZE = 'gpt-4o-transcribe-diarize';
/** Audio tokens per second, about what the real models count. */
const TOKENS_PER_SECOND = 10;

export const transcriptionRoute = ({ app, record }: Sandbox, engine: SpeechEngine, flavour?: Flavour['transcription']): void => {
  app.post('/v1/audio/transcriptions', async (request, response) => {
    const form = await readForm(request);
    const file = form?.get('file');
    if (!form || !(file instanceof Blob)) return refuse(response, 400, 'A multipart form with a file is required.', { param: 'file' });
    const name = String(form.get('model') ?? '');
    if (!name) return refuse(response, 400, 'you must provide a model parameter', { param: 'model' });
    const model: Model = flavour ? { formats: [...flavour.formats], perMinute: 0 } : (MODELS[name] ?? MODELS['whisper-1']!);
    const format = String(form.get('response_format') ?? 'json');
    if (!model.formats.includes(format)) return refuse(response, 400, `response_format '${format}' is not compatible with model '${name}'.`, { param: 'response_format', code: 'unsupported_value' });
    for (const field of ['prompt', 'include[]', 'timestamp_granularities[]']) {
      if (name === DIARIZE && form.has(field)) return refuse(response, 400, `${field.replace('[]', '')} is not supported with model '${name}'.`, { param: field.replace('[]', ''), code: 'unsupported_value' });
    }
    if (form.has('include[]') && !model.logprobs) return refuse(response, 400, `include is not supported with model '${name}'.`, { param: 'include', code: 'unsupported_value' });
    if (form.has('timestamp_granularities[]') && format !== 'verbose_json') return refuse(response, 400, 'timestamp_granularities needs response_format verbose_json.', { param: 'timestamp_granularities' });
    if (form.get('stream') === 'true' && name !== 'whisper-1') return refuse(response, 400, 'This stand-in does not stream.', { param: 'stream' });
    if (file.size > MAX_BYTES) return refuse(response, 413, `Maximum content size limit (${MAX_BYTES}) exceeded (${file.size} bytes read)`);
    if (file.size === 0) return refuse(response, 400, 'Audio file is empty.', { param: 'file' });

    const voices = voicesIn(form);
    if (typeof voices === 'string') return refuse(response, 400, voices, { param: 'known_speaker_references' });
    const language = form.get('language');
    const heard = await engine.hear(new Uint8Array(await file.arrayBuffer()), { knownVoices: voices, ...(language ? { language: String(language) } : {}) }).catch((error: unknown) => (error instanceof SampleRefused ? error : undefined));
    if (heard instanceof SampleRefused) return refuse(response, 400, heard.message, { param: 'known_speaker_references', code: 'invalid_value' });
    if (!heard) return refuse(response, 400, 'Audio file might be corrupted or unsupported', { param: 'file', code: 'invalid_value' });
    const seconds = heard.durationMs / 1_000;
    if (model.maxSeconds && seconds > model.maxSeconds) {
      return refuse(response, 400, `audio duration ${seconds.toFixed(1)} seconds is longer than ${model.maxSeconds} seconds which is the maximum for this model`, { code: 'invalid_value' });
    }
    if (name === DIARIZE && seconds > 30 && !form.has('chunking_strategy')) return refuse(response, 400, 'chunking_strategy is required for diarization models with audio longer than 30 seconds.', { param: 'chunking_strategy' });

    const text = heard.segments.map((segment) => segment.text).join(' ');
    const tokens = { input: Math.ceil(seconds * TOKENS_PER_SECOND), output: Math.ceil(text.length / 4) };
    const byMinute = model.perMinute !== undefined;
    const price = name.includes('mini') ? MINI_TOKEN_PRICE : TOKEN_PRICE;
    record('transcription', {
      requestId: response.get('x-request-id'),
      model: name,
      format,
      seconds,
      microUsd: byMinute ? Math.round((Math.ceil(seconds) / 60) * model.perMinute! * 1e6) : Math.round(tokens.input * price.input + tokens.output * price.output),
    });
    response.set({ 'x-stt-provider': heard.provider, ...(heard.model ? { 'x-stt-model': heard.model } : {}) });
    const usage = flavour?.usage === false ? undefined : byMinute
      ? { type: 'duration', seconds: Math.ceil(seconds) }
      : { type: 'tokens', input_tokens: tokens.input, output_tokens: tokens.output, total_tokens: tokens.input + tokens.output, input_token_details: { audio_tokens: tokens.input, text_tokens: 0 } };
    answer(response, { format, heard, text, usage, granularities: form.getAll('timestamp_granularities[]').map(String) });
  });
};

interface Answer {
  format: string;
  heard: Heard;
  text: string;
  usage: object | undefined;
  /** What verbose JSON has times for; segments, when nothing is asked for. */
  granularities: string[];
}

const answer = (response: Answering, { format, heard, text, usage, granularities }: Answer): void => {
  const { segments, language, durationMs } = heard;
  const seconds = (ms: number): number => ms / 1_000;
  switch (format) {
    case 'verbose_json':
      return void response.json({
        task: 'transcribe',
        language: language === 'en' ? 'english' : (language ?? 'unknown'),
        duration: seconds(durationMs),
        text,
        ...(granularities.length === 0 || granularities.includes('segment')
          ? { segments: segments.map((segment, id) => ({ id, seek: 0, start: seconds(segment.startMs), end: seconds(segment.endMs), text: ` ${segment.text}`, tokens: [], temperature: 0, avg_logprob: -0.2, compression_ratio: 1.2, no_speech_prob: 0.01 })) }
          : {}),
        ...(granularities.includes('word') ? { words: segments.flatMap(wordsOf).map(({ text: word, startMs, endMs }) => ({ word, start: seconds(startMs), end: seconds(endMs) })) } : {}),
        usage,
      });
    case 'diarized_json':
      return void response.json({
        task: 'transcribe',
        duration: seconds(durationMs),
        text,
        segments: segments.map((segment, index) => ({
          type: 'transcript.text.segment',
          id: `seg_${String(index + 1).padStart(3, '0')}`,
          start: seconds(segment.startMs),
          end: seconds(segment.endMs),
          speaker: segment.speaker,
          text: segment.text,
        })),
        usage,
      });
    case 'text':
      return void response.type('text').send(`${text}\n`);
    case 'srt':
    case 'vtt': {
      const comma = format === 'srt' ? ',' : '.';
      const clock = (ms: number): string => new Date(ms).toISOString().slice(11, 23).replace('.', comma);
      const cues = segments.map((segment, index) => `${format === 'srt' ? `${index + 1}\n` : ''}${clock(segment.startMs)} --> ${clock(segment.endMs)}\n${segment.text}\n`);
      return void response.type('text').send(`${format === 'vtt' ? 'WEBVTT\n\n' : ''}${cues.join('\n')}`);
    }
    default:
      return void response.json({ text, usage });
  }
};

const MAX_VOICES = 4;

/** The speakers that the caller knows, or what is wrong with how they were sent. */
const voicesIn = (form: FormData): KnownVoice[] | string => {
  const names = form.getAll('known_speaker_names[]').map(String);
  const references = form.getAll('known_speaker_references[]').map((reference) => /^data:audio\/[\w.+-]+;base64,([A-Za-z0-9+/]+=*)$/.exec(String(reference))?.[1]);
  if (names.length !== references.length) return 'known_speaker_names and known_speaker_references must have the same length.';
  if (names.length > MAX_VOICES) return `At most ${MAX_VOICES} known speakers are supported.`;
  if (references.includes(undefined)) return 'known_speaker_references must be data URLs of audio.';
  return names.map((name, index) => ({ name, sample: Buffer.from(references[index]!, 'base64') }));
};

const readForm = async (request: Request): Promise<FormData | undefined> => {
  const type = request.get('content-type');
  if (!type?.startsWith('multipart/form-data')) return undefined;
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return new Response(Buffer.concat(chunks), { headers: { 'content-type': type } }).formData().catch(() => undefined);
};
