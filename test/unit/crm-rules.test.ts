import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { type AccountState, type CrmAction, decide, lookupKeys, needsApproval, type Scenario } from '../../src/domain/crm-rules.ts';
import { type CheckedFact, FACT_NAMES, type FactName } from '../../src/domain/facts.ts';
import { normaliseLeadId } from '../../src/domain/lead-id.ts';
import { DEFAULT_SETTINGS } from '../../src/domain/settings.ts';

const settings = { ...DEFAULT_SETTINGS, consumerHotline: '+65 6000 0199', managedAccountsOwner: '005000000000001AAA' };

/** A fact that is said in just these words. */
const fact = (name: FactName, value: string, quote = value): CheckedFact => ({ name, value, quote, evidence: { quote, speaker: 'customer', turn: 0, startMs: 0, endMs: 1 } });
const unsaid = (name: FactName, value: string): CheckedFact => ({ name, value, quote: value, fault: 'not_in_transcript' });
type Said = Partial<Record<FactName, string>>;
const said = (facts: Said): CheckedFact[] => Object.entries(facts).map(([name, value]) => fact(name as FactName, value));

const LEAD = '00Q5g00000KbA1XEAV';
const account: AccountState = { account: { id: '001', name: 'Juniper', revenueFlagged: false }, openOpportunity: { id: '006', name: 'renewal' } };
const flagged: AccountState = { account: { id: '001', name: 'Summit', revenueFlagged: true } };
const goodLead = { company: 'Harbour Ltd', brn: '53912345K', callType: 'new_inquiry', qualification: 'strong' };

describe('the CRM decision table', () => {
  const table: [string, Said, AccountState, Scenario, CrmAction][] = [
    ['a consumer, whatever else is said', { ...goodLead, segment: 'consumer', leadId: LEAD }, flagged, 'consumer_redirect', 'none'],
    ['a consumer with placeholders', { ...goodLead, segment: 'consumer', company: 'n/a' }, {}, 'consumer_redirect', 'none'],
    ['flagged by the matched account', goodLead, flagged, 'requires_transfer', 'transfer'],
    ['flagged by their own words', { revenueFlagged: 'yes' }, account, 'requires_transfer', 'transfer'],
    ['flagged by their own words, account unknown', { revenueFlagged: 'yes' }, {}, 'requires_transfer', 'none'],
    ['flagged, though the facts are poor', { ...goodLead, company: 'test', revenueFlagged: 'yes' }, account, 'requires_transfer', 'transfer'],
    ['flagged, with a Lead ID', { revenueFlagged: 'yes', leadId: LEAD }, account, 'requires_transfer', 'transfer'],
    ['said not to be flagged', { ...goodLead, revenueFlagged: 'no' }, {}, 'good_lead', 'create_lead'],
    ['a placeholder company', { ...goodLead, company: 'test company' }, {}, 'poor_data_practices', 'none'],
    ['a placeholder company and vague needs', { ...goodLead, company: 'asdf', qualification: 'weak' }, {}, 'poor_data_practices', 'none'],
    ['a malformed registration number', { ...goodLead, brn: '12345' }, {}, 'poor_data_practices', 'none'],
    ['an e-mail address that is none', { ...goodLead, email: 'call me' }, {}, 'poor_data_practices', 'none'],
    ['a Lead ID with a wrong checksum', { leadId: '00Q5g00000KbA1XEAA' }, {}, 'poor_data_practices', 'none'],
    ['the ID of another kind of record', { leadId: '0015g00000AcC1XAAV' }, {}, 'poor_data_practices', 'none'],
    ['a renewal with a malformed registration number', { callType: 'existing_renewal', brn: '12345' }, account, 'poor_data_practices', 'none'],
    ['a complaint under a placeholder: nothing was to be written', { callType: 'other', company: 'test' }, {}, 'insufficient_qualification', 'none'],
    ['a Lead ID', { leadId: LEAD }, {}, 'lead_to_opportunity', 'convert_lead'],
    ['a Lead ID of 15 characters', { leadId: LEAD.slice(0, 15) }, {}, 'lead_to_opportunity', 'convert_lead'],
    ['a Lead ID beside facts that converting does not need', { leadId: LEAD, company: 'test', email: 'none at all', brn: '1' }, {}, 'lead_to_opportunity', 'convert_lead'],
    ['a renewal with a Lead ID', { callType: 'existing_renewal', leadId: LEAD }, account, 'lead_to_opportunity', 'convert_lead'],
    ['a renewal without', { callType: 'existing_renewal' }, account, 'existing_customer_renewal', 'update_account'],
    ['a renewal of nobody known', { callType: 'existing_renewal' }, {}, 'existing_customer_renewal', 'none'],
    ['a renewal of one of three', { callType: 'existing_renewal' }, { candidates: 3 }, 'existing_customer_renewal', 'none'],
    ['a qualified enquiry', goodLead, {}, 'good_lead', 'create_lead'],
    ['a qualified enquiry by a known account', goodLead, account, 'good_lead', 'create_lead'],
    ['an enquiry without a company', { ...goodLead, company: '' }, {}, 'insufficient_qualification', 'none'],
    ['an enquiry without a registration number', { ...goodLead, brn: '' }, {}, 'insufficient_qualification', 'none'],
    ['a vague enquiry', { ...goodLead, qualification: 'weak' }, {}, 'insufficient_qualification', 'none'],
    ['no kind of call', { company: 'Harbour Ltd', brn: '53912345K', qualification: 'strong' }, {}, 'insufficient_qualification', 'none'],
    ['nothing', {}, {}, 'insufficient_qualification', 'none'],
    ['"unknown" in every field', Object.fromEntries(FACT_NAMES.map((name) => [name, 'unknown'])), {}, 'insufficient_qualification', 'none'],
  ];

  it.each(table)('%s', (_title, facts, crm, scenario, action) => {
    expect(decide(said(facts), crm, settings)).toMatchObject({ scenario, action });
  });

  const claims: [string, CheckedFact[], Scenario, RegExp][] = [
    ['two companies', [...said(goodLead), fact('company', 'Other Ltd')], 'poor_data_practices', /company is contradicted: "Harbour Ltd" and "Other Ltd"/],
    ['two Lead IDs', [fact('leadId', LEAD), fact('leadId', '00Q5g00000KbA2YEAV')], 'poor_data_practices', /Lead ID is contradicted/],
    ['a new enquiry that is a renewal', [...said(goodLead), fact('callType', 'existing_renewal')], 'poor_data_practices', /kind of call is contradicted/],
    ['strong and weak', [...said(goodLead), fact('qualification', 'weak')], 'poor_data_practices', /qualification is contradicted/],
    ['perhaps a consumer', [...said(goodLead), fact('segment', 'sme'), fact('segment', 'consumer')], 'poor_data_practices', /segment is contradicted/],
    ['flagged and not flagged', [...said(goodLead), fact('revenueFlagged', 'no'), fact('revenueFlagged', 'yes')], 'poor_data_practices', /revenue flag is contradicted/],
    ['a number nobody said', [...said({ ...goodLead, brn: '' }), unsaid('brn', '53912345K')], 'poor_data_practices', /registration number "53912345K" rests on words that are not in the transcript/],
    ['a Lead ID nobody said', [unsaid('leadId', LEAD)], 'poor_data_practices', /Lead ID .* not in the transcript/],
    ['a consumer nobody said', [...said(goodLead), unsaid('segment', 'consumer')], 'poor_data_practices', /segment "consumer" rests on words/],
    ['a number that is not the one in its quote', [...said({ ...goodLead, brn: '' }), fact('brn', '53912345K', 'it is 53912346K')], 'poor_data_practices', /is not what its quote says: "it is 53912346K"/],
    ['a Lead ID made up to a true quote', [fact('leadId', LEAD, 'we spoke about the offer last week')], 'poor_data_practices', /is not what its quote says/],
    ['one company, said in full and in short', [...said(goodLead), fact('company', 'Harbour')], 'good_lead', /Harbour Ltd/],
    ['one number, written in two ways', [...said(goodLead), fact('brn', '5391-2345 k')], 'good_lead', /qualified/],
    ['one Lead ID, long and short', [fact('leadId', LEAD), fact('leadId', LEAD.slice(0, 15))], 'lead_to_opportunity', /00Q5g00000KbA1XEAV/],
    ['a claim repeated without its words', [...said(goodLead), unsaid('company', 'Harbour Ltd')], 'good_lead', /qualified/],
    ['a number dictated in words', [...said({ ...goodLead, brn: '' }), fact('brn', '53912245K', 'five three nine one, double two, four five K')], 'good_lead', /qualified/],
    ['a Lead ID whose case the recognition lost', [fact('leadId', LEAD.toUpperCase(), `it is ${LEAD.toLowerCase()}`)], 'lead_to_opportunity', /00Q5g00000KbA1XEAV/],
  ];

  it.each(claims)('weighs the claims: %s', (_title, facts, scenario, reason) => {
    const decision = decide(facts, {}, settings);
    expect(decision.scenario).toBe(scenario);
    expect(decision.reasons.join(' ')).toMatch(reason);
  });

  it.each(['n/a', 'NA', 'test', 'Test Pte Ltd', 'unknown', 'company', 'my company', 'asdf', 'xxx', '-', '12345', 'a'])('takes "%s" for no company', (company) => {
    expect(decide(said({ ...goodLead, company }), {}, settings).scenario).toBe('poor_data_practices');
  });

  it.each(['Testarossa Motors', 'Unknown Pleasures Records Ltd', 'Companyon Pte Ltd', 'Asda', '株式会社ハーバー', '3M Singapore'])('takes "%s" for a company', (company) => {
    expect(decide(said({ ...goodLead, company }), {}, settings).scenario).toBe('good_lead');
  });

  it('writes what can be reached, and leaves out what is no number or not what was said', () => {
    const factsOf = (...more: CheckedFact[]) => Object.fromEntries(decide([...said(goodLead), ...more], {}, settings).facts.map(({ name, value }) => [name, value]));
    expect(factsOf(fact('phone', '+65 6000-0110'), fact('email', 'Daniel@Harbour.example', 'daniel at harbour dot example'))).toMatchObject({ phone: '+6560000110', email: 'daniel@harbour.example' });
    expect(factsOf(fact('phone', '12'), fact('email', 'daniel@harbour.example', 'you have my e-mail'))).toEqual(goodLead);
    expect(factsOf(fact('phone', '000000'))).toEqual(goodLead);
  });

  it('adds up what a call may ask for several times', () => {
    const { facts, scenario } = decide([...said(goodLead), fact('serviceType', 'internet'), fact('serviceType', 'landline'), fact('serviceType', 'internet'), unsaid('serviceType', 'television')], {}, settings);
    expect(scenario).toBe('good_lead');
    expect(facts.find(({ name }) => name === 'serviceType')?.value).toBe('internet; landline');
  });

  it('says every reason for which it does nothing', () => {
    expect(decide([], {}, settings).reasons).toHaveLength(4);
    expect(decide(said({ ...goodLead, company: 'test', brn: '1', email: 'x' }), {}, settings).reasons).toHaveLength(3);
    expect(decide(said({ segment: 'consumer' }), {}, settings).reasons.join()).toContain('+65 6000 0199');
    expect(decide(said({ callType: 'existing_renewal' }), { candidates: 3 }, settings).reasons.join()).toContain('3 accounts');
    expect(decide(said({ revenueFlagged: 'yes' }), account, { ...settings, managedAccountsOwner: '' }).reasons.join()).toContain('keeps its owner');
  });

  it('names the account that it touches, and no other', () => {
    expect(decide(said({ callType: 'existing_renewal' }), account, settings).account).toEqual({ id: '001', name: 'Juniper' });
    expect(decide(said({ leadId: LEAD }), account, settings).account).toEqual({ id: '001', name: 'Juniper' });
    expect(decide(said({ leadId: LEAD }), {}, settings)).not.toHaveProperty('account');
    expect(decide(said(goodLead), account, settings)).not.toHaveProperty('account');
  });

  it('looks accounts up by facts that stand only', () => {
    expect(lookupKeys([fact('brn', '5391-2345k'), fact('company', 'Harbour Ltd')], settings)).toEqual({ brn: '53912345K', company: 'Harbour Ltd' });
    expect(lookupKeys([unsaid('brn', '53912345K'), fact('company', 'test')], settings)).toEqual({});
  });

  it('lets no number through formats that are no regular expressions', () => {
    expect(decide(said(goodLead), {}, { ...settings, brnFormats: ['(['] }).scenario).toBe('poor_data_practices');
  });
});

describe('the CRM decision, whatever is claimed', () => {
  const value = fc.oneof(fc.string(), fc.string({ unit: 'binary' }), fc.constantFrom(LEAD, '53912345K', 'Harbour Ltd', 'consumer', 'strong', 'new_inquiry', 'existing_renewal', 'yes', 'no', 'test', 'n/a', 'call me'));
  const claim = fc.record({ name: fc.constantFrom(...FACT_NAMES), value, quoted: fc.boolean(), quote: fc.option(fc.string()) });
  const claims = fc.array(claim, { maxLength: 14 }).map((all) => all.map(({ name, value: text, quoted, quote }) => (quoted ? fact(name, text, quote ?? text) : unsaid(name, text))));
  const state = fc.constantFrom<AccountState>({}, account, flagged, { candidates: 2 });

  it('is total, and writes only what evidence holds up', () => {
    fc.assert(
      fc.property(claims, state, (facts, crm) => {
        const decision = decide(facts, crm, settings);
        const names = decision.facts.map(({ name }) => name);
        expect(new Set(names).size).toBe(names.length);
        expect(decision.facts.every(({ evidence }) => evidence !== undefined)).toBe(true);
        expect(decision.reasons.length).toBeGreaterThan(0);
        if (decision.action === 'create_lead') expect(names).toEqual(expect.arrayContaining(['company', 'brn', 'callType', 'qualification']));
        if (decision.action === 'convert_lead') expect(names).toContain('leadId');
        if (decision.action === 'update_account' || decision.action === 'transfer') expect(decision.account).toBeDefined();
      }),
      { numRuns: 2_000 },
    );
  });

  it('never acts on claims without evidence, unless the account itself is flagged', () => {
    fc.assert(
      fc.property(claims, fc.constantFrom<AccountState>({}, account), (facts, crm) => {
        expect(decide(facts.map(({ name, value: text }) => unsaid(name, text)), crm, settings).action).toBe('none');
      }),
      { numRuns: 1_000 },
    );
  });

  it('does not depend on the order of claims', () => {
    fc.assert(
      fc.property(claims, state, (facts, crm) => {
        const { scenario, action } = decide(facts, crm, settings);
        expect(decide([...facts].reverse(), crm, settings)).toMatchObject({ scenario, action });
      }),
      { numRuns: 1_000 },
    );
  });

  it('finds the same account keys in its own facts as in the claims', () => {
    fc.assert(fc.property(claims, (facts) => expect(lookupKeys(decide(facts, {}, settings).facts, settings)).toEqual(lookupKeys(facts, settings))), { numRuns: 1_000 });
  });
});

describe('approval', () => {
  it.each([
    ['never', 'convert_lead', false],
    ['never', 'transfer', false],
    ['risky', 'convert_lead', true],
    ['risky', 'update_account', true],
    ['risky', 'transfer', true],
    ['risky', 'create_lead', false],
    ['risky', 'none', false],
    ['always', 'create_lead', true],
    ['always', 'none', false],
  ] as const)('with "%s", %s waits: %s', (policy, action, waits) => {
    expect(needsApproval({ action }, policy)).toBe(waits);
  });
});

describe('Lead IDs', () => {
  it.each([
    ['00Q5g00000KbA1X', LEAD],
    [LEAD, LEAD],
    [` ${LEAD} `, LEAD],
    [LEAD.toLowerCase(), LEAD],
    [LEAD.toUpperCase(), LEAD],
    // The suffix says what the case of each letter is.
    ['00Q5G00000KbA1XEAV', undefined],
    ['00Q5g00000KbA1XEAA', undefined],
    // Bits of the suffix that stand for digits.
    ['00q5g00000kba1x555', undefined],
    ['0015g00000KbA1X', undefined],
    ['00Q5g00000KbA1', undefined],
    ['00Q5g00000KbA1XE', undefined],
    ['00Q5g00000KbA1-', undefined],
    ['', undefined],
  ])('%s is %s', (text, id) => expect(normaliseLeadId(text)).toBe(id));

  it('gets every ID back from its long form, with or without its case', () => {
    const short = fc.string({ unit: fc.constantFrom(...'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789'), minLength: 12, maxLength: 12 }).map((text) => `00Q${text}`);
    fc.assert(
      fc.property(short, (id) => {
        const long = normaliseLeadId(id)!;
        expect(long.slice(0, 15)).toBe(id);
        expect([normaliseLeadId(long), normaliseLeadId(long.toLowerCase()), normaliseLeadId(long.toUpperCase())]).toEqual([long, long, long]);
      }),
    );
  });
});
