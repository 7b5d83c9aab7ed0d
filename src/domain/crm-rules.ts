import type { CheckedFact } from './facts.ts';

/** The brief's seven scenarios. */
export const SCENARIOS = [
  'consumer_redirect',
  'requires_transfer',
  'poor_data_practices',
  'lead_to_opportunity',
  'existing_customer_renewal',
  'good_lead',
  'insufficient_qualification',
] as const;

export type Scenario = (typeof SCENARIOS)[number];

export type CrmAction = 'none' | 'transfer' | 'convert_lead' | 'update_account' | 'create_lead';

/** What the CRM knows of the caller's company before anything is decided. */
export interface AccountState {
  account?: { id: string; name: string; revenueFlagged: boolean; ownerId?: string };
  openOpportunity?: { id: string; name: string };
}

export interface Decision {
  scenario: Scenario;
  action: CrmAction;
  /** In words, for people; lists what was wrong or missing. */
  reasons: string[];
  /** The facts the action writes, already checked. */
  facts: CheckedFact[];
}

/** What became of a decision. */
export interface CrmResult {
  scenario: Scenario;
  action: CrmAction;
  reasons: string[];
  /** IDs of the records that were written, by what they are. */
  records: { leadId?: string; accountId?: string; contactId?: string; opportunityId?: string; taskId?: string };
}
