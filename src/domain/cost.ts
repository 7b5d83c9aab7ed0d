import { type Step, STEPS } from './steps.ts';

/** What a paid request used. Buckets are disjoint: `inputTokens` never contains the cached ones. */
export type Usage =
  | { kind: 'llm'; inputTokens: number; cachedInputTokens: number; outputTokens: number }
  | { kind: 'stt'; seconds: number; inputTokens?: number; outputTokens?: number }
  | { kind: 'diarization'; seconds: number }
  /** What a provider charged for holding the call itself, by its own bill. */
  | { kind: 'voice'; seconds: number; products: ChargedProduct[] };

export interface ChargedProduct {
  product: string;
  microUsd: number;
}

/** Voice providers charge in US cents, with fractions. A cent is ten thousand millionths of a dollar. */
export const centsToMicroUsd = (cents: number): number => Math.round(cents * 10_000);

/** What a voice provider has charged for a call: spent already, whatever comes after. */
export interface Charge {
  /** The whole of it; discounts may make it less than its products together. */
  microUsd: number;
  seconds: number;
  products: ChargedProduct[];
}

/** What is paid for. */
export type CostKind = Usage['kind'];

/** What is paid for: a step of the call, a look at how another preset would do, or the call itself. */
export const PAID_FOR = [...STEPS, 'preset_test', 'rescore', 'voice'] as const;
export type PaidFor = (typeof PAID_FOR)[number];
export const isStepOfCall = (paidFor: PaidFor): paidFor is Step => (STEPS as readonly PaidFor[]).includes(paidFor);

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
  // What a provider charged stands on its bill.
  if (usage.kind === 'voice') return 0;
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
