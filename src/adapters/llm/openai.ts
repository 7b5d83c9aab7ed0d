import type { ChatCompletion } from 'openai/resources/chat/completions';
import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { openAIClient, openAIFailure, providerName } from '../openai-errors.ts';
import type { Completion, LanguageModel } from './language-model.ts';

type LlmConfig = Pick<Config, 'OPENAI_BASE_URL' | 'OPENAI_API_KEY' | 'LLM_MODEL' | 'MODEL_TIMEOUT'>;

/** Chat completions with structured output, at OpenAI or any server that speaks its API. */
export const createOpenAIModel = (config: LlmConfig): LanguageModel => {
  const client = openAIClient({ baseUrl: config.OPENAI_BASE_URL, apiKey: config.OPENAI_API_KEY, timeoutMs: config.MODEL_TIMEOUT });
  const name = providerName(config.OPENAI_BASE_URL);
  return {
    name,
    model: config.LLM_MODEL,

    async complete({ messages, schema, cacheKey, maxOutputTokens, signal }): Promise<Completion> {
      let answer: ChatCompletion & { _request_id?: string | null };
      try {
        answer = await client.chat.completions.create(
          {
            model: config.LLM_MODEL,
            messages,
            response_format: { type: 'json_schema', json_schema: { name: schema.name, strict: true, schema: schema.json } },
            max_completion_tokens: maxOutputTokens,
            prompt_cache_key: cacheKey,
          },
          { signal },
        );
      } catch (error) {
        throw openAIFailure(error, 'Asking the language model', signal);
      }
      const choice = answer.choices?.[0];
      if (!choice) throw new AftercallError('UPSTREAM_NONSENSE', 'Asking the language model failed: the server answered without a choice.', { advice: 'Check OPENAI_BASE_URL and LLM_MODEL.' });
      const { refusal, content } = choice.message;
      const { usage } = answer;
      const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
      return {
        content: content ?? '',
        finish: refusal ? 'refusal' : finishOf(choice.finish_reason),
        ...(refusal ? { refusal } : {}),
        model: answer.model,
        provider: name,
        // The provider counts cached tokens among the prompt's; kept apart here so that none is paid for twice.
        usage: { inputTokens: (usage?.prompt_tokens ?? 0) - cached, cachedInputTokens: cached, outputTokens: usage?.completion_tokens ?? 0 },
        ...(answer._request_id ? { requestId: answer._request_id } : {}),
      };
    },
  };
};

const finishOf = (reason: string): Completion['finish'] => (reason === 'length' || reason === 'content_filter' ? reason : 'stop');
