/** What a server that speaks OpenAI's API can do of it. */
export interface OpenAICapabilities {
  /** How an answer is held to a JSON schema: by the server, to some JSON by the server, or by the prompt alone. */
  structuredOutput: 'json_schema' | 'json_object' | 'none';
  /** Formats of a transcription, best first. A model may know fewer. */
  transcriptionFormats: readonly TranscriptionFormat[];
  /** False: it has no language model. */
  chat?: false;
  /** Takes `timestamp_granularities[]` and answers with the times of words. */
  wordTimes: boolean;
  /** What it says of what a request used. `cost`: also what it charges, in US dollars. */
  usage: 'none' | 'tokens' | 'cost';
  /** Takes `prompt_cache_key`. Others cache by themselves or not at all. */
  promptCacheKey: boolean;
  /** The name of the limit on the answer's length. */
  outputLimit: 'max_completion_tokens' | 'max_tokens';
}

export type TranscriptionFormat = 'diarized_json' | 'verbose_json' | 'json';

/**
 * Servers by name. Chosen by a setting, never guessed from an address: a server behind a proxy looks like
 * any other.
 *
 * `plain` asks for nothing beyond the oldest part of the API; it fits a server that is not here.
 */
export const OPENAI_COMPATIBILITY = {
  openai: { structuredOutput: 'json_schema', transcriptionFormats: ['diarized_json', 'verbose_json', 'json'], wordTimes: true, usage: 'tokens', promptCacheKey: true, outputLimit: 'max_completion_tokens' },
  /** Guided decoding honours the schema. Its transcriptions have long known plain JSON only (vllm issue 14818). */
  vllm: { structuredOutput: 'json_schema', transcriptionFormats: ['json'], wordTimes: false, usage: 'tokens', promptCacheKey: false, outputLimit: 'max_completion_tokens' },
  /** Self-hosted, from 0.5 on. Its default context is small, and what does not fit is cut off without a word: raise `num_ctx`. */
  ollama: { structuredOutput: 'json_schema', transcriptionFormats: ['json'], wordTimes: false, usage: 'tokens', promptCacheKey: false, outputLimit: 'max_tokens' },
  /** Takes a schema, but does not enforce it. */
  ollama_cloud: { structuredOutput: 'json_object', transcriptionFormats: [], wordTimes: false, usage: 'tokens', promptCacheKey: false, outputLimit: 'max_tokens' },
  /** Formerly faster-whisper-server; speech only. */
  speaches: { chat: false, structuredOutput: 'none', transcriptionFormats: ['verbose_json', 'json'], wordTimes: true, usage: 'none', promptCacheKey: false, outputLimit: 'max_tokens' },
  /** Whether a schema is honoured is the model's business there; requests go only to providers that take it. */
  openrouter: { structuredOutput: 'json_schema', transcriptionFormats: [], wordTimes: false, usage: 'cost', promptCacheKey: false, outputLimit: 'max_tokens' },
  plain: { structuredOutput: 'none', transcriptionFormats: ['json'], wordTimes: false, usage: 'tokens', promptCacheKey: false, outputLimit: 'max_tokens' },
} as const satisfies Record<string, OpenAICapabilities>;

export type OpenAICompatibility = keyof typeof OPENAI_COMPATIBILITY;
export const OPENAI_COMPATIBILITIES = Object.keys(OPENAI_COMPATIBILITY) as [OpenAICompatibility, ...OpenAICompatibility[]];
