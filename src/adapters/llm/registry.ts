import type { Config } from '../../config.ts';
import type { LanguageModel } from './language-model.ts';
import { createOpenAIModel } from './openai.ts';

/** Every model provider by its name. A new one is a file beside this and a line here. */
const MODELS = { openai: createOpenAIModel } satisfies Record<string, (config: Config) => LanguageModel>;

export const createLanguageModel = (config: Config, provider: keyof typeof MODELS = 'openai'): LanguageModel => MODELS[provider](config);
