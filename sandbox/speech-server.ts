import type { Request } from 'express';
import type { SampleCall } from './calls/script.ts';
import { createScriptedSpeech } from './openai/scripted-speech.ts';
import type { SpeechEngine } from './openai/speech.ts';

/** What a stand-in for a speech service is started with. */
export interface SpeechServerOptions {
  port?: number;
  calls: readonly SampleCall[];
  audioFolder: string;
  ffmpegPath: string;
  /** Without it, the ledger lives in memory. */
  dataFolder?: string;
  /** What hears; whoever gives it closes it. Default: known calls by their scripts. */
  speech?: SpeechEngine;
}

export const speechOf = ({ speech, ...options }: SpeechServerOptions): SpeechEngine => speech ?? createScriptedSpeech(options);

/** A request's body as it came. */
export const bytesOf = async (request: Request): Promise<Buffer> => {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
};
