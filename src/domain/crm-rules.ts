import { type CheckedFact, FACT_VALUES, type FactName } from './facts.ts';
import { normaliseLeadId } from './lead-id.ts';
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
}

export interface Decision {
  scenario: Scenario;
  action: CrmAction;
  /** In words, for people; lists what was wrong or missing. */
  reasons: string[];
  /** The facts the action writes: one for each name, each with its evidence. */
  facts: CheckedFact[];
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
}

type RuleSettings = Pick<ProjectSettings, 'brnFormats' | 'consumerHotline' | 'managedAccountsOwner'>;

/** The facts of a call as the rules see them. */
interface Case {
  /** The value of a fact that stands: quoted, well-formed, not contradicted. */
  value(name: FactName): string | undefined;
  /** What is wrong with the facts that were claimed, in words. */
  faults: { name: FactName; why: string }[];
  standing: CheckedFact[];
  crm: AccountState;
  settings: RuleSettings;
}

interface Rule {
  scenario: Scenario;
  action: CrmAction | ((call: Case) => CrmAction);
  applies(call: Case): boolean;
  reasons(call: Case): string[];
}

/** Facts without which the action they are meant for cannot be taken, or would write nonsense. */
const NEEDED_TO_ACT: FactName[] = ['company', 'brn', 'email', 'leadId'];

const wantsRecord = (call: Case): boolean =>
  call.value('leadId') !== undefined ||
  call.faults.some(({ name }) => name === 'leadId') ||
  call.value('callType') === 'existing_renewal' ||
  (call.value('callType') === 'new_inquiry' && call.value('qualification') === 'strong');

const missingForLead = (call: Case): string[] => {
  const missing: string[] = [];
  if (call.value('callType') !== 'new_inquiry') missing.push('It is not clear that this is a new enquiry.');
  if (!call.value('company')) missing.push('No company is named.');
  if (!call.value('brn')) missing.push('No business registration number is given.');
  if (call.value('qualification') !== 'strong') missing.push('The need, budget or time is vague.');
  return missing;
};

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
    reasons: (call) => [
      call.crm.account?.revenueFlagged ? `The account ${call.crm.account.name} is revenue-flagged.` : 'The customer is revenue-flagged by their own words.',
      ...(call.crm.account ? [] : ['No account was found to hand over: tell Managed Accounts by hand.']),
    ],
  },
  {
    scenario: 'poor_data_practices',
    action: 'none',
    applies: (call) => wantsRecord(call) && call.faults.some(({ name }) => NEEDED_TO_ACT.includes(name)),
    reasons: (call) => call.faults.filter(({ name }) => NEEDED_TO_ACT.includes(name)).map(({ why }) => why),
  },
  {
    scenario: 'lead_to_opportunity',
    action: 'convert_lead',
    applies: (call) => call.value('leadId') !== undefined,
    reasons: (call) => [`Lead ${call.value('leadId')} is named${call.value('callType') === 'existing_renewal' ? ' for a renewal' : ''}.`],
  },
  {
    scenario: 'existing_customer_renewal',
    action: ({ crm }) => (crm.account ? 'update_account' : 'none'),
    applies: (call) => call.value('callType') === 'existing_renewal',
    reasons: ({ crm }) => [crm.account ? `The account ${crm.account.name} renews.` : 'An existing customer wants to renew, but no account was found by registration number or company.'],
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
  return {
    scenario: rule.scenario,
    action: typeof rule.action === 'function' ? rule.action(call) : rule.action,
    reasons: rule.reasons(call),
    facts: call.standing,
  };
};

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
  const faults: Case['faults'] = [];
  const standing: CheckedFact[] = [];
  for (const name of new Set(facts.map((fact) => fact.name))) {
    const claimed = facts.filter((fact) => fact.name === name && !isNothing(fact.value)).map((fact) => ({ ...fact, value: normalise(name, fact.value) ?? fact.value }));
    const first = claimed[0];
    if (!first) continue;
    const why = faultOf(name, claimed, settings);
    if (why) faults.push({ name, why });
    else standing.push(first);
  }
  return { value: (name) => standing.find((fact) => fact.name === name)?.value, faults, standing, crm, settings };
};

/** Ways in which forms say "none". */
const isNothing = (value: string): boolean => /^(|-|none|null|unknown|not (given|provided|mentioned|stated|available))$/i.test(value.trim());

const normalise = (name: FactName, value: string): string | undefined => {
  const text = value.trim();
  switch (name) {
    case 'brn':
      return text.replaceAll(/[\s.-]+/g, '').toUpperCase();
    case 'email':
      return text.replaceAll(/\s+/g, '').toLowerCase();
    case 'leadId':
      return normaliseLeadId(text.replaceAll(/\s+/g, ''));
    case 'callType':
    case 'segment':
    case 'revenueFlagged':
    case 'qualification':
      return text.toLowerCase();
    default:
      return text;
  }
};

const PLACEHOLDER = /^(test|testing|sample|dummy|example|company|my company|your company|some company|acme|asdf\w*|xxx+|abc|foo|bar|n\/?a)( (company|inc|ltd|pte ltd|corp|llc))?$/i;
const EMAIL = /^[a-z0-9!#$%&'*+/=?^_`{|}~-]+(\.[a-z0-9!#$%&'*+/=?^_`{|}~-]+)*@([a-z0-9]([a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,63}$/;

/** What is wrong with the claims of one fact, or undefined. Claims of one fact have to agree. */
const faultOf = (name: FactName, claimed: readonly CheckedFact[], { brnFormats }: RuleSettings): string | undefined => {
  const [first] = claimed;
  if (!first) return undefined;
  if (claimed.some((fact) => !fact.evidence)) return `${label(name)} "${first.value}" rests on words that are not in the transcript.`;
  if (new Set(claimed.map((fact) => fact.value.toLowerCase())).size > 1) return `${label(name)} is contradicted: ${claimed.map((fact) => `"${fact.value}"`).join(' and ')}.`;
  const { value } = first;
  switch (name) {
    case 'company':
      return PLACEHOLDER.test(value) || !/\p{L}{2}/u.test(value) ? `"${value}" is a placeholder, no company.` : undefined;
    case 'brn':
      return brnFormats.some((format) => new RegExp(format).test(value)) ? undefined : `"${value}" is no valid business registration number.`;
    case 'email':
      return EMAIL.test(value) ? undefined : `"${value}" is no e-mail address.`;
    case 'leadId':
      return normaliseLeadId(value) ? undefined : `"${value}" is no valid Lead ID.`;
    case 'callType':
    case 'segment':
    case 'revenueFlagged':
    case 'qualification':
      return (FACT_VALUES[name] as readonly string[]).includes(value) ? undefined : `${label(name)} "${value}" is not one of ${FACT_VALUES[name].join(', ')}.`;
    case 'callerName':
    case 'customerName':
    case 'phone':
    case 'serviceType':
    case 'requirements':
      return undefined;
  }
};

const label = (name: FactName): string => ({ brn: 'The registration number', leadId: 'The Lead ID', email: 'The e-mail address', company: 'The company', callType: 'The kind of call', segment: 'The segment' })[name as string] ?? `The fact ${name}`;
