import { type Step, STEPS } from './steps.ts';

/** What a paid request used. Buckets are disjoint: `inputTokens` never contains the cached ones. */
export type Usage =
  | { kind: 'llm'; inputTokens: number; cachedInputTokens: number; outputTokens: number }
  | { kind: 'stt'; seconds: number; inputTokens?: number; outputTokens?: number }
  | { kind: 'diarization'; seconds: number };

/** What is paid for. */
export type CostKind = Usage['kind'];

/** What a request is made for: a step of the call, or a look at how another preset would do. */
export const PAID_FOR = [...STEPS, 'preset_test', 'rescore'] as const;
export type PaidFor = Step | 'preset_test' | 'rescore';
export const isStepOfCall = (paidFor: PaidFor): paidFor is Step => paidFor !== 'preset_test' && paidFor !== 'rescore';

/**
 * Where a request that is worked off in the background is written down before its answer is there, so
 * that another try finds it again instead of paying for a second one.
 */
export interface JobNote {
  /** What an earlier try wrote down. */
  known?: string;
  /** Written before this returns, and kept until the request is answered or refused. */
  note(reference: string): Promise<void>;
}

/** A model's price from `validFrom` (ISO date) on. USD per million tokens, or per minute of audio. */
export interface Price {
  /** Matched as a prefix: providers report dated snapshots of the model that was asked for. */
  model: string;
  validFrom: string;
  inputPerMillion?: number;
  cachedInputPerMillion?: number;
  outputPerMillion?: number;
  perMinute?: number;
}

/** The price that holds for a model on a day: the longest matching prefix wins, then the latest. */
export const priceOf = (prices: readonly Price[], model: string, onDay: string): Price | undefined =>
  prices
    .filter((candidate) => model.startsWith(candidate.model) && candidate.validFrom <= onDay)
    .sort((a, b) => b.model.length - a.model.length || b.validFrom.localeCompare(a.validFrom))[0];

/**
 * The cost of a request in millionths of a US dollar, rounded half up.
 *
 * No price means zero, which is right for one's own servers.
 */
export const costMicroUsd = (prices: readonly Price[], model: string, usage: Usage, onDay: string): number => {
  const price = priceOf(prices, model, onDay);
  if (!price) return 0;
  // USD per million tokens is micro-USD per token.
  const tokens = (count: number | undefined, perMillion: number | undefined) => (count ?? 0) * (perMillion ?? 0);
  if (usage.kind === 'diarization') return Math.round((usage.seconds / 60) * (price.perMinute ?? 0) * 1e6);
  if (usage.kind === 'stt') {
    if (price.perMinute !== undefined) return Math.round((usage.seconds / 60) * price.perMinute * 1e6);
    return Math.round(tokens(usage.inputTokens, price.inputPerMillion) + tokens(usage.outputTokens, price.outputPerMillion));
  }
  return Math.round(
    tokens(usage.inputTokens, price.inputPerMillion) +
      tokens(usage.cachedInputTokens, price.cachedInputPerMillion ?? price.inputPerMillion) +
      tokens(usage.outputTokens, price.outputPerMillion),
  );
};
