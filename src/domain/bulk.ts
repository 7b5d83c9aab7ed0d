import type { Gate, Pace } from './messages.ts';

/** A ruling on many calls at once, as one person asked for it. */
export const RULINGS = ['approve', 'reject'] as const;
export type RulingKind = (typeof RULINGS)[number];

/** More are ruled on in several goes. */
export const MOST_CALLS_AT_ONCE = 1_000;

export interface BulkRuling {
  project: string;
  bulkId: string;
  ruling: RulingKind;
  /** Only calls that wait there. */
  at: Gate;
  by: string;
  /** Of a rejection. */
  reason?: string;
}

export interface BulkRulingInput extends BulkRuling {
  callIds: string[];
  pace: Pace;
}

/** What became of one call: ruled on; not, because it had moved on; not, because no answer came in all tries. */
export const BULK_OUTCOMES = ['done', 'refused', 'failed'] as const;
export type BulkOutcome = (typeof BULK_OUTCOMES)[number];

export interface BulkActivities {
  /** Rules on what is left to be ruled on. */
  ruleOnCalls(input: BulkRulingInput): Promise<void>;
  /** Writes down that the rest was not ruled on, and why. */
  endBulkRuling(input: { project: string; bulkId: string; error: string }): Promise<void>;
}
