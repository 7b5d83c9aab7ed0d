import { type FactFault, weighFacts } from './fact-checks.ts';
import type { CheckedFact, FactName } from './facts.ts';
import type { ProjectSettings } from './settings.ts';

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
  /** How many accounts answer to the name, when they are several: then none of them is `account`. */
  candidates?: number;
}

export interface Decision {
  scenario: Scenario;
  action: CrmAction;
  /** In words, for people; lists what was wrong or missing. */
  reasons: string[];
  /** The facts the action writes: one for each name, each with its evidence. */
  facts: CheckedFact[];
  /** The account that is to be updated, handed over or given the opportunity: what a person approves, and no other is touched. */
  account?: { id: string; name: string };
}

/** What became of a decision. */
export interface CrmResult {
  scenario: Scenario;
  action: CrmAction;
  reasons: string[];
  /** IDs of the records that were written, by what they are. */
  records: CrmRecords;
}

export interface CrmRecords {
  leadId?: string;
  accountId?: string;
  contactId?: string;
  opportunityId?: string;
  taskId?: string;
  /**
   * The lead, contact or account among these that a duplicate rule of the CRM named instead of a new lead: it was there
   * before, and the call was noted on it.
   */
  duplicateOf?: string;
}

type RuleSettings = Pick<ProjectSettings, 'brnFormats' | 'consumerHotline' | 'managedAccountsOwner'>;

/** The facts of a call as the rules see them. */
interface Case {
  /** The value of a fact that stands. */
  value(name: FactName): string | undefined;
  standing: CheckedFact[];
  faults: FactFault[];
  crm: AccountState;
  settings: RuleSettings;
}

interface Rule {
  scenario: Scenario;
  action: CrmAction | ((call: Case) => CrmAction);
  applies(call: Case): boolean;
  reasons(call: Case): string[];
}

const faultOf = (call: Case, name: FactName): FactFault | undefined => call.faults.find((fault) => fault.name === name);
const mayBe = (call: Case, name: FactName, value: string): boolean => call.value(name) === value || faultOf(call, name)?.claimed.includes(value) === true;

/**
 * The facts that the act in view rests on: those that choose it, name its record, or are written by it.
 *
 * Empty when no act is in view: a caller who wants nothing from the CRM may name a company as they like.
 */
const neededToAct = (call: Case): FactName[] => {
  const choosing: FactName[] = [
    ...(mayBe(call, 'segment', 'consumer') ? (['segment'] as const) : []),
    ...(mayBe(call, 'revenueFlagged', 'yes') ? (['revenueFlagged'] as const) : []),
  ];
  if (call.value('leadId') !== undefined || faultOf(call, 'leadId')) return [...choosing, 'leadId'];
  if (mayBe(call, 'callType', 'existing_renewal')) return [...choosing, 'callType', 'brn', 'company'];
  if (mayBe(call, 'callType', 'new_inquiry')) return [...choosing, 'callType', 'company', 'brn', 'email', ...(mayBe(call, 'qualification', 'strong') ? (['qualification'] as const) : [])];
  return [];
};

const faultsInTheWay = (call: Case): FactFault[] => {
  const needed = neededToAct(call);
  return call.faults.filter(({ name }) => needed.includes(name));
};

const missingForLead = (call: Case): string[] => {
  const missing: string[] = [];
  if (call.value('callType') !== 'new_inquiry') missing.push('It is not clear that this is a new enquiry.');
  if (!call.value('company')) missing.push('No company is named.');
  if (!call.value('brn')) missing.push('No business registration number is given.');
  if (call.value('qualification') !== 'strong') missing.push('The need, budget or time is vague.');
  return missing;
};

const noAccount = ({ candidates }: AccountState): string =>
  candidates ? `${candidates} accounts answer to that company: choose the right one by hand.` : 'no account was found by registration number or company.';

/** The decision table: the first rule that applies decides. */
const RULES: readonly Rule[] = [
  {
    scenario: 'consumer_redirect',
    action: 'none',
    applies: (call) => call.value('segment') === 'consumer',
    reasons: ({ settings }) => [`A private customer: to be redirected to the consumer hotline${settings.consumerHotline ? ` ${settings.consumerHotline}` : ''}.`],
  },
  {
    scenario: 'requires_transfer',
    // Without a record there is nothing to note or hand over; the outcome says so.
    action: ({ crm }) => (crm.account ? 'transfer' : 'none'),
    applies: (call) => call.value('revenueFlagged') === 'yes' || call.crm.account?.revenueFlagged === true,
    reasons: ({ crm, settings }) => [
      crm.account?.revenueFlagged ? `The account ${crm.account.name} is revenue-flagged.` : 'The customer is revenue-flagged by what is said.',
      ...(crm.account ? [] : [`Tell Managed Accounts by hand: ${noAccount(crm)}`]),
      ...(crm.account && !settings.managedAccountsOwner ? ['No owner for managed accounts is set: the call is noted, and the account keeps its owner.'] : []),
    ],
  },
  {
    scenario: 'poor_data_practices',
    action: 'none',
    applies: (call) => faultsInTheWay(call).length > 0,
    reasons: (call) => faultsInTheWay(call).map(({ why }) => why),
  },
  {
    scenario: 'lead_to_opportunity',
    action: 'convert_lead',
    applies: (call) => call.value('leadId') !== undefined,
    reasons: (call) => [
      `Lead ${call.value('leadId')} is named${call.value('callType') === 'existing_renewal' ? ' for a renewal' : ''}.`,
      ...(call.crm.account ? [`If it is about ${call.crm.account.name}, the opportunity goes to that account.`] : []),
    ],
  },
  {
    scenario: 'existing_customer_renewal',
    action: ({ crm }) => (crm.account ? 'update_account' : 'none'),
    applies: (call) => call.value('callType') === 'existing_renewal',
    reasons: ({ crm }) => [crm.account ? `The account ${crm.account.name} renews.` : `An existing customer wants to renew, but ${noAccount(crm)}`],
  },
  {
    scenario: 'good_lead',
    action: 'create_lead',
    applies: (call) => missingForLead(call).length === 0,
    reasons: (call) => [`A qualified enquiry by ${call.value('company')}.`],
  },
  {
    scenario: 'insufficient_qualification',
    action: 'none',
    applies: () => true,
    reasons: missingForLead,
  },
];

/**
 * Chooses what to do in the CRM. Pure and total: every combination of facts has exactly one outcome.
 *
 * @param facts as extracted; a fact without evidence can block an act, never cause one
 */
export const decide = (facts: readonly CheckedFact[], crm: AccountState, settings: RuleSettings): Decision => {
  const call = caseOf(facts, crm, settings);
  // The last rule always applies.
  const rule = RULES.find((candidate) => candidate.applies(call))!;
  const action = typeof rule.action === 'function' ? rule.action(call) : rule.action;
  const touched = ACTS_ON_ACCOUNT.includes(action) ? crm.account : undefined;
  return {
    scenario: rule.scenario,
    action,
    reasons: rule.reasons(call),
    facts: call.standing,
    ...(touched ? { account: { id: touched.id, name: touched.name } } : {}),
  };
};

const ACTS_ON_ACCOUNT: CrmAction[] = ['transfer', 'update_account', 'convert_lead'];
const RISKY: CrmAction[] = ['convert_lead', 'update_account', 'transfer'];

/** Whether a person has to say yes first. Risky is what touches records that others work with. */
export const needsApproval = ({ action }: Pick<Decision, 'action'>, policy: ProjectSettings['crmApproval']): boolean => {
  if (action === 'none' || policy === 'never') return false;
  return policy === 'always' || RISKY.includes(action);
};

/** The value a decision's facts give for a name. */
export const factOf = ({ facts }: Pick<Decision, 'facts'>, name: FactName): string | undefined => facts.find((fact) => fact.name === name)?.value;

/** What to look the caller's account up by: only facts that stand. */
export const lookupKeys = (facts: readonly CheckedFact[], settings: RuleSettings): { brn?: string; company?: string } => {
  const call = caseOf(facts, {}, settings);
  const brn = call.value('brn');
  const company = call.value('company');
  return { ...(brn ? { brn } : {}), ...(company ? { company } : {}) };
};

const caseOf = (facts: readonly CheckedFact[], crm: AccountState, settings: RuleSettings): Case => {
  const { standing, faults } = weighFacts(facts, settings);
  return { value: (name) => standing.find((fact) => fact.name === name)?.value, standing, faults, crm, settings };
};
