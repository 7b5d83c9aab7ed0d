import type { Evidence, EvidenceFault } from './analysis.ts';

/**
 * What a call says that matters to the CRM. Each fact carries the quote it rests on.
 *
 * Facts come out of a language model that read what strangers said: they may choose among the decision
 * table's outcomes, never a record's owner, an endpoint or a field.
 */
export const FACT_NAMES = [
  'callerName',
  'customerName',
  'company',
  'email',
  'phone',
  'callType',
  'segment',
  'serviceType',
  'brn',
  'leadId',
  'revenueFlagged',
  'qualification',
  'requirements',
] as const;

export type FactName = (typeof FACT_NAMES)[number];

/** Facts with a closed set of values. The others are free text. */
export const FACT_VALUES = {
  callType: ['new_inquiry', 'existing_renewal', 'other'],
  segment: ['sme', 'enterprise', 'consumer', 'unknown'],
  revenueFlagged: ['yes', 'no'],
  qualification: ['strong', 'weak', 'none'],
} as const satisfies Partial<Record<FactName, readonly string[]>>;

/** As the model gave it. */
export interface ClaimedFact {
  name: FactName;
  value: string;
  quote: string;
}

/** After its quote was looked up in the transcript. */
export interface CheckedFact {
  name: FactName;
  value: string;
  quote: string;
  evidence?: Evidence;
  fault?: EvidenceFault;
}
