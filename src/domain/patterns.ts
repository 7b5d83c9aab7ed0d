import type { DetectedPattern } from './analysis.ts';
import { findQuote } from './evidence.ts';
import type { Transcript } from './transcript.ts';

/**
 * What calls are looked through for beside the rubric, and what each means to the model.
 *
 * A closed list, so that patterns can be counted over calls: which objections come up most, with whom.
 */
export const PATTERNS = {
  objection_price: 'the customer finds it too expensive',
  objection_need: 'the customer sees no need for it',
  objection_timing: 'the customer wants to decide later',
  objection_trust: 'the customer doubts the company, the product or a promise',
  objection_competitor: 'the customer prefers or praises another provider',
  objection_authority: 'the customer cannot decide alone',
  complaint: 'the customer complains',
  repeated_contact: 'the customer says that they have called about this before',
  churn_risk: 'the customer speaks of leaving or cancelling',
  purchase_intent: 'the customer wants to buy or to go ahead',
  callback_requested: 'the customer asks to be called back',
} as const;

export type PatternKind = keyof typeof PATTERNS;
export const PATTERN_KINDS = Object.keys(PATTERNS) as [PatternKind, ...PatternKind[]];

/** Most of one kind that are kept; a caller who says it ten times has said it. */
const MOST_OF_A_KIND = 3;

/** Keeps what the customer's own words show, in the order of the call; what has no quote in the transcript is dropped. */
export const checkPatterns = (transcript: Pick<Transcript, 'turns'>, claimed: readonly { kind: PatternKind; quote: string }[]): DetectedPattern[] => {
  const found: DetectedPattern[] = [];
  for (const { kind, quote } of claimed) {
    const checked = findQuote(transcript, quote, 'customer');
    if (!('evidence' in checked)) continue;
    const same = found.filter((pattern) => pattern.kind === kind);
    if (same.length < MOST_OF_A_KIND && !same.some(({ evidence }) => evidence.startMs === checked.evidence.startMs)) found.push({ kind, evidence: checked.evidence });
  }
  return found.toSorted((a, b) => a.evidence.startMs - b.evidence.startMs);
};
