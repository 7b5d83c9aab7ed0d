/** A language model that answers in JSON of a given schema. It has no tools. */
export interface LanguageModel {
  readonly name: string;
  readonly model: string;
  complete(request: CompletionRequest): Promise<Completion>;
}

export interface CompletionRequest {
  /**
   * In order. Requests that share their schema and leading messages share the provider's prompt cache,
   * so what differs comes last.
   */
  messages: { role: 'system' | 'user' | 'assistant'; content: string }[];
  schema: { name: string; json: Record<string, unknown> };
  /** Requests with equal keys are routed to the same cache where the provider supports it. */
  cacheKey: string;
  maxOutputTokens: number;
  signal: AbortSignal;
}

export interface Completion {
  /** Not parsed and not to be trusted; where nobody holds the model to JSON, what looks like it. Empty on refusal. */
  content: string;
  finish: 'stop' | 'length' | 'content_filter' | 'refusal';
  refusal?: string;
  /** As the server reported it. */
  model: string;
  provider: string;
  /** Disjoint buckets; all zero when the server reports none. */
  usage: { inputTokens: number; cachedInputTokens: number; outputTokens: number };
  /** What the provider says it charged, where it does. */
  costMicroUsd?: number;
  requestId?: string;
}
