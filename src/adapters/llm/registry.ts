import type { Config } from '../../config.ts';
import { OPENAI_COMPATIBILITY } from '../openai-capabilities.ts';
import { createProviderRegistry, type ProviderChoice } from '../provider.ts';
import type { LanguageModel } from './language-model.ts';
import { openai } from './openai.ts';

/** Every model provider by its name. A new one is a file beside this and a name here. */
export const languageModels = createProviderRegistry<LanguageModel>('language model', { openai });

/** The installation's own. */
export const modelChoice = (config: Config): ProviderChoice => ({
  provider: 'openai',
  baseUrl: config.OPENAI_BASE_URL,
  apiKey: config.OPENAI_API_KEY,
  model: config.LLM_MODEL,
  timeoutMs: config.MODEL_TIMEOUT,
  only: config.OUTBOUND_ONLY,
  capabilities: OPENAI_COMPATIBILITY[config.OPENAI_COMPATIBILITY],
  ...(config.API_PUBLIC_URL ? { appUrl: config.API_PUBLIC_URL } : {}),
});

export const createLanguageModel = (config: Config): LanguageModel => languageModels.create(modelChoice(config));
