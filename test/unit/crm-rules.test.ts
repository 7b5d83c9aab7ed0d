import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type AccountState, type CrmAction, decide, needsApproval, type Scenario } from '../../src/domain/crm-rules.ts';
import { type CheckedFact, FACT_NAMES, type FactName } from '../../src/domain/facts.ts';
import { normaliseLeadId } from '../../src/domain/lead-id.ts';
import { DEFAULT_SETTINGS } from '../../src/domain/settings.ts';

const settings = { ...DEFAULT_SETTINGS, consumerHotline: '+65 6000 0199' };
const evidence = { quote: 'q', speaker: 'customer', turn: 0, startMs: 0, endMs: 1 };
const said = (facts: Partial<Record<FactName, string>>): CheckedFact[] => Object.entries(facts).map(([name, value]) => ({ name: name as FactName, value, quote: 'q', evidence }));

const LEAD = '00Q5g00000KbA1XEAV';
const account: AccountState = { account: { id: '001', name: 'Juniper', revenueFlagged: false }, openOpportunity: { id: '006', name: 'renewal' } };
const flagged: AccountState = { account: { id: '001', name: 'Summit', revenueFlagged: true } };
const goodLead = { company: 'Harbour Ltd', brn: '53912345K', callType: 'new_inquiry', qualification: 'strong' };

describe('the CRM decision table', () => {
  const table: [string, Partial<Record<FactName, string>>, AccountState, Scenario, CrmAction][] = [
    ['a consumer, whatever else is said', { ...goodLead, segment: 'consumer', leadId: LEAD }, flagged, 'consumer_redirect', 'none'],
    ['flagged by the matched account', goodLead, flagged, 'requires_transfer', 'transfer'],
    ['flagged by their own words', { revenueFlagged: 'yes' }, account, 'requires_transfer', 'transfer'],
    ['flagged by their own words, account unknown', { revenueFlagged: 'yes' }, {}, 'requires_transfer', 'none'],
    ['a placeholder company', { ...goodLead, company: 'test company' }, {}, 'poor_data_practices', 'none'],
    ['a malformed registration number', { ...goodLead, brn: '12345' }, {}, 'poor_data_practices', 'none'],
    ['an e-mail address that is none', { ...goodLead, email: 'call me' }, {}, 'poor_data_practices', 'none'],
    ['a Lead ID with a wrong checksum', { leadId: '00Q5g00000KbA1XEAA' }, {}, 'poor_data_practices', 'none'],
    ['a Lead ID', { leadId: LEAD }, {}, 'lead_to_opportunity', 'convert_lead'],
    ['a Lead ID of 15 characters', { leadId: LEAD.slice(0, 15) }, {}, 'lead_to_opportunity', 'convert_lead'],
    ['a renewal with a Lead ID', { callType: 'existing_renewal', leadId: LEAD }, account, 'lead_to_opportunity', 'convert_lead'],
    ['a renewal without', { callType: 'existing_renewal' }, account, 'existing_customer_renewal', 'update_account'],
    ['a renewal of nobody known', { callType: 'existing_renewal' }, {}, 'existing_customer_renewal', 'none'],
    ['a qualified enquiry', goodLead, {}, 'good_lead', 'create_lead'],
    ['an enquiry without a registration number', { ...goodLead, brn: '' }, {}, 'insufficient_qualification', 'none'],
    ['a vague enquiry', { ...goodLead, qualification: 'weak' }, {}, 'insufficient_qualification', 'none'],
    ['nothing', {}, {}, 'insufficient_qualification', 'none'],
    ['"unknown" in every field', Object.fromEntries(FACT_NAMES.map((name) => [name, 'unknown'])), {}, 'insufficient_qualification', 'none'],
  ];

  it.each(table)('%s', (_title, facts, crm, scenario, action) => {
    expect(decide(said(facts), crm, settings)).toMatchObject({ scenario, action });
  });

  it('blocks a lead whose facts contradict each other, or rest on words that nobody said', () => {
    const contradicted = [...said(goodLead), ...said({ company: 'Other Ltd' })];
    expect(decide(contradicted, {}, settings)).toMatchObject({ scenario: 'poor_data_practices', reasons: [expect.stringContaining('contradicted')] });
    const unsaid: CheckedFact[] = said(goodLead).map((fact) => (fact.name === 'brn' ? { name: 'brn', value: fact.value, quote: 'q', fault: 'not_in_transcript' } : fact));
    expect(decide(unsaid, {}, settings)).toMatchObject({ scenario: 'poor_data_practices', reasons: [expect.stringContaining('not in the transcript')] });
  });

  it('says every reason for which it does nothing', () => {
    expect(decide([], {}, settings).reasons).toHaveLength(4);
  });

  it('is total, and never writes what no evidence holds up', () => {
    const fact = fc.record({ name: fc.constantFrom(...FACT_NAMES), value: fc.oneof(fc.string(), fc.constantFrom(LEAD, '53912345K', 'consumer', 'strong', 'new_inquiry', 'existing_renewal', 'yes')), quoted: fc.boolean() });
    fc.assert(
      fc.property(fc.array(fact, { maxLength: 12 }), fc.constantFrom({}, account, flagged), (claims, crm) => {
        const facts = claims.map(({ name, value, quoted }): CheckedFact => (quoted ? { name, value, quote: 'q', evidence } : { name, value, quote: 'q', fault: 'not_in_transcript' }));
        const decision = decide(facts, crm, settings);
        expect(decision.facts.every((standing) => standing.evidence !== undefined)).toBe(true);
        if (decision.action === 'create_lead') expect(decision.facts.map(({ name }) => name)).toEqual(expect.arrayContaining(['company', 'brn']));
        if (decision.action === 'convert_lead') expect(decision.facts.some(({ name }) => name === 'leadId')).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  it.each([
    ['never', 'convert_lead', false],
    ['risky', 'convert_lead', true],
    ['risky', 'create_lead', false],
    ['always', 'create_lead', true],
    ['always', 'none', false],
  ] as const)('with approval "%s", %s waits: %s', (policy, action, waits) => {
    expect(needsApproval({ action }, policy)).toBe(waits);
  });
});

describe('Lead IDs', () => {
  it.each([
    ['00Q5g00000KbA1X', LEAD],
    [LEAD, LEAD],
    ['00Q5g00000KbA1XEAA', undefined],
    ['0015g00000KbA1X', undefined],
    ['00Q5g00000KbA1', undefined],
    ['00Q5g00000KbA1-', undefined],
    ['', undefined],
  ])('%s is %s', (text, id) => expect(normaliseLeadId(text)).toBe(id));
});
