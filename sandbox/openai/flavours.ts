/** How a server that speaks OpenAI's API differs from OpenAI. */
export interface Flavour {
  /** Absent: no such address. */
  transcription?: { formats: readonly string[]; usage: boolean };
  chat?: {
    /** What it does with `response_format`: `ignores` takes a schema and answers in whatever words it likes. */
    schema: 'enforced' | 'ignores' | 'unknown';
    /** `cost`: also what it charges, when asked with `usage: {include: true}`. */
    usage: 'without_details' | 'cost';
    /** The limit's name; the other one is refused. Absent: both are taken. */
    limit?: 'max_tokens' | 'max_completion_tokens';
  };
  /** Takes any key, and none. */
  open?: true;
}

export const FLAVOURS = {
  vllm: { transcription: { formats: ['json', 'text'], usage: true }, chat: { schema: 'enforced', usage: 'without_details' } },
  ollama: { transcription: { formats: ['json', 'text'], usage: false }, chat: { schema: 'enforced', usage: 'without_details', limit: 'max_tokens' }, open: true },
  ollama_cloud: { chat: { schema: 'ignores', usage: 'without_details', limit: 'max_tokens' } },
  speaches: { transcription: { formats: ['json', 'text', 'verbose_json', 'srt', 'vtt'], usage: false }, open: true },
  openrouter: { chat: { schema: 'enforced', usage: 'cost', limit: 'max_tokens' } },
  plain: { transcription: { formats: ['json', 'text'], usage: false }, chat: { schema: 'unknown', usage: 'without_details', limit: 'max_tokens' } },
} as const satisfies Record<string, Flavour>;

export type FlavourName = keyof typeof FLAVOURS;
