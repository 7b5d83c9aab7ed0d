import { createHash, randomUUID } from 'node:crypto';
import type { NextFunction, Request, Response } from 'express';
import { type Heard, wordsOf } from '../openai/speech.ts';
import { type SandboxServer, startSandboxServer } from '../server.ts';
import { bytesOf, speechOf, type SpeechServerOptions } from '../speech-server.ts';

/** The key that this stand-in takes. */
export const DEEPGRAM_KEY = 'sandbox-deepgram-key';

const MODELS = ['nova-3', 'nova-2'];
/** USD per minute: the model, and what telling speakers apart adds. */
const PER_MINUTE = { model: 0.0043, diarize: 0.002 };
const MAX_BYTES = 2_000_000_000;
const CONFIDENCE = 0.98;

const refuse = (response: Response, status: number, err_code: string, err_msg: string): void => {
  response.status(status).json({ err_code, err_msg, request_id: response.get('dg-request-id') });
};

/** A stand-in for Deepgram's pre-recorded transcription. Acts out `no_utterances`. */
export const startDeepgram = async (options: SpeechServerOptions): Promise<SandboxServer> => {
  const speech = speechOf(options);
  return startSandboxServer(
    'deepgram',
    (sandbox) => {
      sandbox.app.use('/v1', (request, response, next) => {
        response.set('dg-request-id', randomUUID());
        if (request.get('authorization') === `Token ${DEEPGRAM_KEY}`) return next();
        refuse(response, 401, 'INVALID_AUTH', 'Invalid credentials.');
      });
      sandbox.app.post('/v1/listen', async (request, response) => {
        const { model = 'base', language, ...query } = request.query as Record<string, string>;
        const on = (name: string): boolean => query[name] === 'true';
        if (!MODELS.includes(model)) return refuse(response, 400, 'Bad Request', 'Bad Request: No such model/language/tier combination found.');
        if (language !== undefined && !/^(multi|[a-z]{2}(-[A-Za-z0-9]+)?)$/.test(language)) return refuse(response, 400, 'Bad Request', 'Bad Request: No such model/language/tier combination found.');
        if (request.is('json')) return refuse(response, 400, 'Bad Request', 'This stand-in takes audio, not addresses.');
        const audio = await bytesOf(request);
        if (audio.byteLength > MAX_BYTES) return refuse(response, 413, 'PAYLOAD_TOO_LARGE', 'The payload is too large.');
        if (audio.byteLength === 0) return refuse(response, 400, 'Bad Request', 'Bad Request: the request body is empty.');
        const heard = await speech.hear(audio, language ? { language } : {}).catch(() => undefined);
        if (!heard) return refuse(response, 400, 'Bad Request', 'Bad Request: failed to process audio: corrupt or unsupported data');

        const seconds = heard.durationMs / 1_000;
        const perMinute = PER_MINUTE.model + (on('diarize') ? PER_MINUTE.diarize : 0);
        const requestId = response.get('dg-request-id')!;
        sandbox.record('transcription', { requestId, model, seconds, microUsd: Math.round((seconds / 60) * perMinute * 1e6) });
        const version = randomUUID();
        const words = wordsIn(heard, on('diarize'), on('smart_format'));
        response.json({
          metadata: {
            transaction_key: 'deprecated',
            request_id: requestId,
            sha256: createHash('sha256').update(audio).digest('hex'),
            created: new Date().toISOString(),
            duration: seconds,
            channels: 1,
            models: [version],
            model_info: { [version]: { name: `general-${model}`, version: '2025-07-31.0', arch: model } },
          },
          results: {
            channels: [
              {
                ...(on('detect_language') ? { detected_language: heard.language ?? 'en', language_confidence: 0.99 } : {}),
                alternatives: [{ transcript: heard.segments.map(({ text }) => text).join(' '), confidence: words.length > 0 ? CONFIDENCE : 0, words: words.flat() }],
              },
            ],
            ...(on('utterances') && (response.locals as { fault?: { kind: string } }).fault?.kind !== 'no_utterances'
              ? {
                  utterances: heard.segments.map(({ startMs, endMs, text }, index) => ({
                    start: startMs / 1_000,
                    end: endMs / 1_000,
                    confidence: CONFIDENCE,
                    channel: 0,
                    transcript: text,
                    words: words[index],
                    ...(on('diarize') ? { speaker: words[index]![0]?.speaker } : {}),
                    id: randomUUID(),
                  })),
                }
              : {}),
          },
        });
      });
      sandbox.app.use('/v1', (_request, response) => refuse(response, 404, 'NOT_FOUND', 'The requested resource was not found.'));
      sandbox.app.use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => refuse(response, 500, 'INTERNAL_SERVER_ERROR', 'Something went wrong.'));
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
};

/** Numbered from 0 in the order in which they speak. */
const wordsIn = ({ segments }: Heard, diarize: boolean, smart: boolean) => {
  const speakers = [...new Set(segments.map(({ speaker }) => speaker))];
  return segments.map((segment) =>
    wordsOf(segment).map(({ text, startMs, endMs }) => ({
      word: text.toLowerCase().replaceAll(/[^\p{L}\p{N}'-]/gu, ''),
      start: startMs / 1_000,
      end: endMs / 1_000,
      confidence: CONFIDENCE,
      ...(diarize ? { speaker: speakers.indexOf(segment.speaker), speaker_confidence: 0.9 } : {}),
      ...(smart ? { punctuated_word: text } : {}),
    })),
  );
};
