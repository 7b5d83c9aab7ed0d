import type { Config } from '../../config.ts';
import { OPENAI_COMPATIBILITY } from '../openai-capabilities.ts';
import { createProviderRegistry, type ProviderChoice } from '../provider.ts';
import { assemblyai } from './assemblyai.ts';
import { deepgram } from './deepgram.ts';
import { openai } from './openai.ts';
import type { Transcriber } from './transcriber.ts';

/** Every speech provider by its name. A new one is a file beside this and a name here. */
export const transcribers = createProviderRegistry<Transcriber>('transcription', { openai, deepgram, assemblyai });

/** The installation's own. Keys and addresses of OpenAI's API are never lent to another vendor's. */
export const speechChoice = (config: Config): ProviderChoice => {
  const byOpenAI = config.STT_PROVIDER === 'openai';
  const baseUrl = config.STT_BASE_URL ?? (byOpenAI ? config.OPENAI_BASE_URL : undefined);
  return {
    provider: config.STT_PROVIDER,
    apiKey: config.STT_API_KEY ?? (byOpenAI ? config.OPENAI_API_KEY : ''),
    timeoutMs: config.SPEECH_TIMEOUT,
    only: config.OUTBOUND_ONLY,
    ...(baseUrl ? { baseUrl } : {}),
    ...(config.STT_MODEL ? { model: config.STT_MODEL } : {}),
    ...(byOpenAI ? { capabilities: OPENAI_COMPATIBILITY[config.STT_COMPATIBILITY ?? (config.STT_BASE_URL ? 'openai' : config.OPENAI_COMPATIBILITY)] } : {}),
  };
};

export const createTranscriber = (config: Config): Transcriber => transcribers.create(speechChoice(config));
