import { randomUUID } from 'node:crypto';
import express, { type NextFunction, type Request, type Response } from 'express';
import { type Heard, wordsOf } from '../openai/speech.ts';
import { faultOf, type SandboxServer, startSandboxServer } from '../server.ts';
import { bytesOf, speechOf, type SpeechServerOptions } from '../speech-server.ts';

/** The key that this stand-in takes. */
export const ASSEMBLYAI_KEY = 'sandbox-assemblyai-key';

/** USD per hour; telling speakers apart adds to it. */
const PER_HOUR: Record<string, number> = { 'universal-2': 0.15, 'universal-3-5-pro': 0.21 };
const SPEAKERS_PER_HOUR = 0.02;
const CONFIDENCE = 0.97;

interface Transcript {
  id: string;
  audioUrl: string;
  created: string;
  model: string;
  speakers: boolean;
  language: string | undefined;
  /** Looks that still find it at work. */
  looks: number;
  state: { status: 'queued' | 'processing' } | { status: 'completed'; heard: Heard } | { status: 'error'; error: string };
}

const refuse = (response: Response, status: number, error: string): void => void response.status(status).json({ error });

/**
 * A stand-in for AssemblyAI's pre-recorded transcription.
 *
 * A transcript is done at the second look after it was heard. Acts out `failed` and `server_error` of a
 * transcript, and `slow`, which takes `looks` more looks, all at its creation. What is forgotten
 * (`DELETE /v2/transcript/{id}`) is not found again.
 */
export const startAssemblyAI = async (options: SpeechServerOptions): Promise<SandboxServer> => {
  const speech = speechOf(options);
  const uploads = new Map<string, Buffer>();
  const transcripts = new Map<string, Transcript>();
  let address = '';

  const server = await startSandboxServer(
    'assemblyai',
    ({ app, record }) => {
      app.use('/v2', (request, response, next) => {
        // The key alone: "Bearer" before it is another key.
        if (request.get('authorization') === ASSEMBLYAI_KEY) return next();
        refuse(response, 401, 'Authentication error, API token missing/invalid');
      });
      app.post('/v2/upload', async (request, response) => {
        const audio = await bytesOf(request);
        if (audio.byteLength === 0) return refuse(response, 422, 'Upload failed, please try again. If you continue to have issues please reach out to support@assemblyai.com');
        const url = `${address}/upload/${randomUUID()}`;
        uploads.set(url, audio);
        response.json({ upload_url: url });
      });

      const hear = async (transcript: Transcript): Promise<void> => {
        const audio = uploads.get(transcript.audioUrl)!;
        const heard = await speech.hear(audio, transcript.language ? { language: transcript.language } : {}).catch(() => undefined);
        if (!heard) {
          transcript.state = { status: 'error', error: 'Transcoding failed. File does not appear to contain audio.' };
        } else if (heard.segments.length === 0 && !transcript.language) {
          transcript.state = { status: 'error', error: 'language_detection cannot be performed on files with no spoken audio.' };
        } else {
          const seconds = Math.round(heard.durationMs / 1_000);
          const perHour = PER_HOUR[transcript.model]! + (transcript.speakers ? SPEAKERS_PER_HOUR : 0);
          record('transcription', { requestId: transcript.id, model: transcript.model, seconds, microUsd: Math.round((seconds / 3_600) * perHour * 1e6) });
          transcript.state = { status: 'completed', heard };
        }
      };

      app.post('/v2/transcript', express.json(), (request, response) => {
        const body = (request.body ?? {}) as { audio_url?: string; speaker_labels?: boolean; speech_models?: string[]; language_code?: string; language_detection?: boolean };
        if (!body.audio_url) return refuse(response, 400, 'Missing required field: audio_url');
        if (!uploads.has(body.audio_url)) return refuse(response, 400, `Download error, unable to access file at ${body.audio_url}`);
        const model = body.speech_models?.find((name) => name in PER_HOUR);
        if (!model) return refuse(response, 400, '"speech_models" must be a non-empty list containing one or more of: "universal-3-5-pro", "universal-2"');
        if (body.language_code && body.language_detection) return refuse(response, 400, 'Either language_code or language_detection is required, not both.');
        if (body.language_code && !/^[a-z]{2}(_[a-z]{2})?$/.test(body.language_code)) return refuse(response, 400, `Invalid endpoint schema, please refer to documentation: language_code ${body.language_code}`);
        const fault = faultOf(response) as { kind: string; looks?: number } | undefined;
        const transcript: Transcript = { id: randomUUID(), audioUrl: body.audio_url, created: new Date().toISOString(), model, speakers: body.speaker_labels === true, language: body.language_code, looks: 1 + (fault?.looks ?? 0), state: { status: 'queued' } };
        transcripts.set(transcript.id, transcript);
        record('started', { requestId: transcript.id });
        if (fault?.kind === 'failed') transcript.state = { status: 'error', error: 'Transcoding failed. File type application/zip is not supported.' };
        else if (fault?.kind === 'server_error') transcript.state = { status: 'error', error: 'Internal server error. Please retry your request.' };
        else void hear(transcript);
        response.json(shown(transcript));
      });
      app.get('/v2/transcript', (request, response) => {
        const limit = Number(request.query['limit'] ?? 10);
        if (!(limit >= 1 && limit <= 200)) return refuse(response, 400, 'limit must be between 1 and 200');
        const newest = [...transcripts.values()].toReversed().slice(0, limit);
        response.json({
          page_details: { limit, result_count: newest.length, current_url: `${address}${request.originalUrl}`, prev_url: null, next_url: null },
          transcripts: newest.map((one) => ({ id: one.id, resource_url: `${address}/v2/transcript/${one.id}`, status: one.state.status, created: one.created, completed: null, audio_url: one.audioUrl, error: null })),
        });
      });
      app.get('/v2/transcript/:id', (request, response) => {
        const transcript = transcripts.get(request.params.id);
        if (!transcript) return refuse(response, 404, 'Transcript lookup error, transcript id not found');
        const answer = shown(transcript);
        if (transcript.state.status === 'completed' && transcript.looks > 0) transcript.looks -= 1;
        response.json(answer);
      });
      app.delete('/v2/transcript/:id', (request, response) => {
        transcripts.delete(request.params.id);
        response.json({ id: request.params.id, status: 'completed', text: 'Deleted by user.' });
      });
      app.use('/v2', (_request, response) => refuse(response, 404, 'Not found'));
      app.use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => refuse(response, 500, 'Internal server error'));
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return server;
};

const shown = ({ id, audioUrl, model, language, speakers, looks, state }: Transcript): object => {
  const common = { id, audio_url: audioUrl, speech_models: [model], speaker_labels: speakers, language_detection: language === undefined };
  if (state.status === 'error') return { ...common, status: 'error', error: state.error };
  if (state.status !== 'completed' || looks > 0) return { ...common, status: state.status === 'queued' ? 'queued' : 'processing', text: null, words: null, utterances: null, audio_duration: null };
  const { segments, durationMs } = state.heard;
  const words = segments.map((segment) => wordsOf(segment).map(({ text, startMs, endMs }) => ({ text, start: startMs, end: endMs, confidence: CONFIDENCE, speaker: speakers ? segment.speaker : null })));
  return {
    ...common,
    status: 'completed',
    speech_model_used: model,
    language_code: language ?? 'en_us',
    language_confidence: language ? null : 0.99,
    text: segments.map(({ text }) => text).join(' '),
    confidence: CONFIDENCE,
    audio_duration: Math.round(durationMs / 1_000),
    words: words.flat(),
    utterances: speakers ? segments.map(({ startMs, endMs, text, speaker }, index) => ({ start: startMs, end: endMs, text, speaker, confidence: CONFIDENCE, words: words[index] })) : null,
  };
};
