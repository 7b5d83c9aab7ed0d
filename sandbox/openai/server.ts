import { randomUUID } from 'node:crypto';
import type { NextFunction, Request, Response } from 'express';
import type { SampleCall } from '../calls/script.ts';
import { type SandboxServer, startSandboxServer } from '../server.ts';
import { chatRoute } from './chat.ts';
import { refuse } from './errors.ts';
import { type Flavour, FLAVOURS, type FlavourName } from './flavours.ts';
import { createScriptedSpeech } from './scripted-speech.ts';
import { transcriptionRoute } from './transcriptions.ts';
import { startWhisperSpeech } from './whisper-speech.ts';

/** The key that this stand-in takes. */
export const OPENAI_KEY = 'sandbox-openai-key';

export interface OpenAIOptions {
  port?: number;
  calls: readonly SampleCall[];
  audioFolder: string;
  ffmpegPath: string;
  /** Without it, the ledger lives in memory. */
  dataFolder?: string;
  /** The key that it takes instead. */
  apiKey?: string;
  /** Another server that speaks the API, with what it lacks. Default: OpenAI itself. */
  flavour?: FlavourName;
  /** Transcribes with a local model instead of from the scripts. */
  whisper?: { pythonPath: string; modelPath: string };
}

/** A stand-in for OpenAI's API, or any server that speaks it: transcription and chat completions. */
export const startOpenAI = async ({ port = 0, dataFolder, whisper, flavour: name, apiKey = OPENAI_KEY, ...options }: OpenAIOptions): Promise<SandboxServer> => {
  const speech = whisper ? await startWhisperSpeech(whisper) : createScriptedSpeech(options);
  const flavour: Flavour | undefined = name && FLAVOURS[name];
  const server = await startSandboxServer(
    'openai',
    (sandbox) => {
      sandbox.app.use('/v1', (request, response, next) => {
        response.set('x-request-id', `req_${randomUUID().replaceAll('-', '')}`);
        if (flavour?.open || request.get('authorization') === `Bearer ${apiKey}`) return next();
        refuse(response, 401, 'Incorrect API key provided.', { code: 'invalid_api_key' });
      });
      sandbox.app.get('/v1/models', (_request, response) => {
        response.json({ object: 'list', data: ['gpt-4o-transcribe-diarize', 'gpt-4o-transcribe', 'gpt-4o-mini-transcribe', 'whisper-1', 'gpt-5-mini'].map((id) => ({ id, object: 'model', created: 0, owned_by: 'sandbox' })) });
      });
      if (!flavour || flavour.transcription) transcriptionRoute(sandbox, speech, flavour?.transcription);
      if (!flavour || flavour.chat) chatRoute(sandbox, flavour?.chat);
      sandbox.app.use('/v1', (request, response) => refuse(response, 404, `Invalid URL (${request.method} ${request.originalUrl})`));
      sandbox.app.use((error: { status?: number }, _request: Request, response: Response, _next: NextFunction) => {
        const unreadable = (error.status ?? 500) < 500;
        refuse(response, error.status ?? 500, unreadable ? 'We could not parse the JSON body of your request.' : 'The server had an error while processing your request.', unreadable ? {} : { type: 'server_error' });
      });
    },
    { port, dataFolder },
  );
  return {
    ...server,
    close: async () => {
      await server.close();
      await speech.close();
    },
  };
};
