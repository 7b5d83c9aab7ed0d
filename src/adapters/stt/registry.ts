import type { Config } from '../../config.ts';
import { createOpenAITranscriber } from './openai.ts';
import type { Transcriber } from './transcriber.ts';

/** Every speech provider by its name. A new one is a file beside this and a line here. */
const TRANSCRIBERS = { openai: createOpenAITranscriber } satisfies Record<string, (config: Config) => Transcriber>;

export const createTranscriber = (config: Config, provider: keyof typeof TRANSCRIBERS = 'openai'): Transcriber => TRANSCRIBERS[provider](config);
