import type { ChatCompletion, ChatCompletionCreateParamsNonStreaming } from 'openai/resources/chat/completions';
import { AftercallError } from '../../domain/errors.ts';
import { OPENAI_COMPATIBILITY, type OpenAICapabilities } from '../openai-capabilities.ts';
import { openAIClient, openAIFailure, providerName, refusalOf } from '../openai-errors.ts';
import type { Provider, ProviderConfig } from '../provider.ts';
import { jsonInText } from './json-in-text.ts';
import type { Completion, CompletionRequest, LanguageModel } from './language-model.ts';

const DOING = 'Asking the language model';

/** Chat completions in JSON, at OpenAI or any server that speaks its API: each is asked for what it can do. */
const createOpenAIModel = ({ baseUrl, apiKey, model, timeoutMs, appUrl, only, outside, capabilities = OPENAI_COMPATIBILITY.openai }: ProviderConfig): LanguageModel => {
  // Gateways that tell what a request cost also list who sent it; nobody else is told.
  const headers: Record<string, string> = capabilities.usage === 'cost' ? { 'x-title': 'Aftercall', ...(appUrl ? { 'http-referer': appUrl } : {}) } : {};
  const client = openAIClient({ baseUrl, apiKey, timeoutMs, only, outside, headers });
  const name = providerName(baseUrl);
  return {
    name,
    model,

    async complete(request): Promise<Completion> {
      const { signal } = request;
      let answer: Answer;
      try {
        answer = await client.chat.completions.create(paramsOf(request, model, capabilities), { signal });
      } catch (error) {
        throw openAIFailure(error, DOING, signal);
      }
      const choice = answer.choices?.[0];
      const failure = answer.error ?? choice?.error;
      if (failure) throw failedInside(failure);
      if (!choice) throw new AftercallError('UPSTREAM_NONSENSE', `${DOING} failed: the server answered without a choice.`, { advice: 'Check OPENAI_BASE_URL and LLM_MODEL.' });
      const { refusal, content } = choice.message;
      const { usage } = answer;
      const cached = usage?.prompt_tokens_details?.cached_tokens ?? 0;
      const cost = capabilities.usage === 'cost' ? usage?.cost : undefined;
      return {
        content: capabilities.structuredOutput === 'json_schema' ? (content ?? '') : jsonInText(content ?? ''),
        finish: refusal ? 'refusal' : finishOf(choice.finish_reason),
        ...(refusal ? { refusal } : {}),
        model: answer.model ?? model,
        provider: name,
        // The provider counts cached tokens among the prompt's; kept apart here so that none is paid for twice.
        usage: { inputTokens: (usage?.prompt_tokens ?? 0) - cached, cachedInputTokens: cached, outputTokens: usage?.completion_tokens ?? 0 },
        ...(typeof cost === 'number' && cost >= 0 ? { costMicroUsd: Math.round(cost * 1e6) } : {}),
        ...((answer._request_id ?? answer.id) ? { requestId: answer._request_id ?? answer.id } : {}),
      };
    },
  };
};

/** OpenAI's own API, and the many that speak it. */
export const openai: Provider<LanguageModel> = { baseUrl: 'https://api.openai.com/v1', model: 'gpt-5-mini', create: createOpenAIModel };

/** What a gateway adds: what it charged, and errors of the provider behind it inside an answer of 200. */
type Answer = Partial<ChatCompletion> & {
  _request_id?: string | null;
  error?: InnerError;
  usage?: { cost?: number | null };
  choices?: (ChatCompletion['choices'][number] & { error?: InnerError })[];
};

interface InnerError {
  code?: number | string;
  message?: string;
  metadata?: { reasons?: unknown };
}

const paramsOf = ({ messages, schema, cacheKey, maxOutputTokens }: CompletionRequest, model: string, { structuredOutput, promptCacheKey, outputLimit, usage }: OpenAICapabilities): ChatCompletionCreateParamsNonStreaming => ({
  model,
  messages: structuredOutput === 'json_schema' ? messages : withSchema(messages, schema.json),
  ...(structuredOutput === 'json_schema' ? { response_format: { type: 'json_schema' as const, json_schema: { name: schema.name, strict: true, schema: schema.json } } } : {}),
  ...(structuredOutput === 'json_object' ? { response_format: { type: 'json_object' as const } } : {}),
  [outputLimit]: maxOutputTokens,
  ...(promptCacheKey ? { prompt_cache_key: cacheKey } : {}),
  // Extensions of the gateway: no provider that would drop the schema, and the bill in the answer.
  ...(usage === 'cost' ? { usage: { include: true }, ...(structuredOutput === 'json_schema' ? { provider: { require_parameters: true } } : {}) } : {}),
});

/** The schema as words, at the front: it is the same for all requests, and some servers take one system message, the first. */
const withSchema = (messages: CompletionRequest['messages'], schema: Record<string, unknown>): CompletionRequest['messages'] => {
  const rule = `Answer with one JSON object and nothing else: no other words, no code fence. It must fit this JSON Schema:\n${JSON.stringify(schema)}`;
  const [first, ...rest] = messages;
  return first?.role === 'system' ? [{ role: 'system', content: `${first.content}\n\n${rule}` }, ...rest] : [{ role: 'system', content: rule }, ...messages];
};

/** Begun and not finished: whether it is billed is not known. */
const failedInside = ({ code, message = 'it does not say why', metadata }: InnerError): AftercallError => {
  const status = Number(code);
  if (status === 403 && metadata?.reasons) {
    return new AftercallError('MODEL_REFUSED', `The gateway's moderation stopped the request: ${message.slice(0, 200)}`, { advice: 'Read the call. Retry, perhaps with another model, or skip the step.' });
  }
  return refusalOf({ doing: DOING, status: Number.isInteger(status) ? status : undefined, message, outcome: 'unknown' });
};

const finishOf = (reason: string | null | undefined): Completion['finish'] => (reason === 'length' || reason === 'content_filter' ? reason : 'stop');
