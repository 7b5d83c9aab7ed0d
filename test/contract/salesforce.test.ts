import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import type { Crm, KnownAccount } from '../../src/adapters/crm/crm.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';
import { startSalesforce } from '../../sandbox/salesforce/server.ts';
import { MANAGED_ACCOUNTS_OWNER } from '../../sandbox/salesforce/seed.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { addFaults, ledgerOf } from '../support/sandbox.ts';
import { addRecord, failureOf, recordsOf, requestsOf, salesforceAt } from '../support/salesforce.ts';

const never = new AbortController().signal;
const note = { subject: 'Enquiry by phone', text: 'Enquiry by phone, call c1.\nA qualified enquiry.', date: '2026-11-20', direction: 'inbound' as const };
const aLead = { lastName: 'Daniel', company: 'Harbour Lights Logistics Pte Ltd', brn: '53912345K', email: 'daniel@harbourlights.example', phone: '+15550100', note };
const KEY = 'a1b2c3';
/** Seeded. */
const LEAD = '00Q5g00000KbA1XEAV';
const JUNIPER = '0015g00000AcC1XAAV';
const RENEWAL = '0065g00000OpP1XAAV';
const SUMMIT = '0015g00000AcC2YAAV';

const SAVE = 'PATCH /services/data/*';
const SOAP = 'POST /services/Soap/*';
const respond = (route: string, status: number, body: unknown): Fault => ({ route, effect: { kind: 'respond', status, body } });

let sandbox: SandboxServer;
let salesforce: Crm;
beforeEach(async () => {
  sandbox = await startSalesforce();
  salesforce = salesforceAt(sandbox);
});
afterEach(() => sandbox.close());

const created = () => ledgerOf(sandbox, 'lead_created');
const recordOf = async (object: string, id: string) => (await recordsOf(sandbox, object)).find((record) => record.Id === id);
const known = async (keys: { brn?: string; company?: string }): Promise<KnownAccount> => {
  const { account, ...rest } = await salesforce.lookUp(keys, never);
  if (!account) throw new Error('The account was not found.');
  return { account, ...rest };
};

describe('looking an account up', () => {
  it('finds it by its registration number, with its open opportunity', async () => {
    expect(await salesforce.lookUp({ brn: '201812345M', company: 'somebody else' }, never)).toEqual({
      account: { id: JUNIPER, name: 'Juniper Dental Clinic Pte Ltd', revenueFlagged: false, ownerId: '0055g00000UsR2YAAV' },
      openOpportunity: { id: RENEWAL, name: 'Juniper Dental Clinic renewal' },
    });
  });

  it('finds it by its exact name, flag included', async () => {
    expect((await salesforce.lookUp({ company: 'summit ridge holdings pte ltd' }, never)).account).toMatchObject({ id: SUMMIT, revenueFlagged: true });
    expect(await salesforce.lookUp({ company: 'Summit Ridge' }, never)).toEqual({});
  });

  it('takes no account of another number for the company', async () => {
    expect(await salesforce.lookUp({ brn: '53912345K', company: 'Juniper Dental Clinic Pte Ltd' }, never)).toEqual({});
  });

  it('takes an account without a number by its name', async () => {
    const id = await addRecord(sandbox, 'Account', { Name: 'Orchid Bay Hotels Pte Ltd' });
    expect((await salesforce.lookUp({ brn: '53912345K', company: 'Orchid Bay Hotels Pte Ltd' }, never)).account?.id).toBe(id);
  });

  it('chooses none of several, but misses no flagged one', async () => {
    await addRecord(sandbox, 'Account', { Name: 'Twin Ltd' });
    await addRecord(sandbox, 'Account', { Name: 'Twin Ltd' });
    expect(await salesforce.lookUp({ company: 'Twin Ltd' }, never)).toEqual({ candidates: 2 });
    const flagged = await addRecord(sandbox, 'Account', { Name: 'Twin Ltd', Revenue_Flagged__c: true });
    expect((await salesforce.lookUp({ company: 'Twin Ltd' }, never)).account).toMatchObject({ id: flagged, revenueFlagged: true });
  });

  it.each([`O'Brien "Sons" \\ Daughters`, "' OR Name != '", 'Zwei\nZeilen', 'Ångström & Söhne <GmbH>', '100% _ %20 ?q=x#y'])('finds %j as it is written, and nothing else', async (name) => {
    expect(await salesforce.lookUp({ company: name }, never)).toEqual({});
    const id = await addRecord(sandbox, 'Account', { Name: name });
    expect((await salesforce.lookUp({ company: name }, never)).account).toMatchObject({ id, name });
  });

  it('asks nothing when there is nothing to ask for', async () => {
    expect(await salesforce.lookUp({}, never)).toEqual({});
    expect(await requestsOf(sandbox)).toEqual([]);
  });

  it('ignores closed opportunities', async () => {
    expect(await salesforce.lookUp({ brn: '199901234N' }, never)).not.toHaveProperty('openOpportunity');
  });
});

describe('creating a lead', () => {
  it('writes what is known', async () => {
    const { leadId } = await salesforce.createLead(KEY, aLead, never);
    expect(await recordOf('Lead', leadId!)).toMatchObject({
      LastName: 'Daniel', Company: 'Harbour Lights Logistics Pte Ltd', BRN__c: '53912345K', Email: 'daniel@harbourlights.example',
      Phone: '+15550100', LeadSource: 'Phone', Description: note.text, Aftercall_Id__c: KEY, IsConverted: false,
    });
  });

  it('makes one of two that are asked for with one key', async () => {
    expect(await salesforce.createLead(KEY, aLead, never)).toEqual(await salesforce.createLead(KEY, aLead, never));
    expect(await created()).toHaveLength(1);
  });

  it('fits what is too long', async () => {
    const { leadId } = await salesforce.createLead(KEY, { lastName: 'N'.repeat(300), company: 'C'.repeat(300), note: { ...note, text: 'T'.repeat(40_000) } }, never);
    expect(String((await recordOf('Lead', leadId!))?.['LastName'])).toHaveLength(80);
  });

  it.each(['a/b', 'a b', '', '../../Account', 'é'])('refuses the key %j before it becomes an address', async (key) => {
    expect(await failureOf(salesforce.createLead(key, aLead, never))).toMatchObject({ code: 'CRM_REJECTED', retryable: false });
    expect(await created()).toEqual([]);
  });

  it('notes the call on the lead that a duplicate rule finds, once', async () => {
    const existing = await addRecord(sandbox, 'Lead', { LastName: 'Dan', Company: 'Harbour', Email: aLead.email });
    const before = (await created()).length;
    for (let time = 0; time < 2; time += 1) {
      await addFaults(sandbox, { route: `${SAVE}/sobjects/Lead/*`, effect: { kind: 'duplicate_rule' } });
      expect(await salesforce.createLead(KEY, aLead, never)).toEqual({ leadId: existing, duplicateOf: existing, taskId: expect.stringMatching(/^00T/) as unknown });
    }
    expect(await created()).toHaveLength(before);
    expect(await recordsOf(sandbox, 'Task')).toEqual([expect.objectContaining({ WhoId: existing, Description: note.text, ActivityDate: '2026-11-20', TaskSubtype: 'Call', CallType: 'Inbound', Aftercall_Id__c: KEY })]);
  });

  it('notes the call on the contact or account that a duplicate rule names', async () => {
    const contactId = await addRecord(sandbox, 'Contact', { LastName: 'Dan', AccountId: JUNIPER });
    for (const [matchId, records, task] of [[contactId, { contactId, duplicateOf: contactId }, { WhoId: contactId }], [JUNIPER, { accountId: JUNIPER, duplicateOf: JUNIPER }, { WhatId: JUNIPER }]] as const) {
      await addFaults(sandbox, { route: `${SAVE}/sobjects/Lead/*`, effect: { kind: 'duplicates', matchId } });
      const { taskId, ...rest } = await salesforce.createLead(`${KEY}-${matchId}`, aLead, never);
      expect(rest).toEqual(records);
      expect(await recordOf('Task', taskId!)).toMatchObject(task);
    }
  });

  it('leaves it to a person when the rule names nobody', async () => {
    await addFaults(sandbox, { route: SAVE, effect: { kind: 'duplicates' } });
    expect(await failureOf(salesforce.createLead(KEY, aLead, never))).toMatchObject({ code: 'CRM_DUPLICATE', retryable: false, outcome: 'refused' });
  });

  it('finds its lead when somebody has converted it before the lost answer was asked for again', async () => {
    await addFaults(sandbox, { route: SAVE, effect: { kind: 'drop_after' } });
    await failureOf(salesforce.createLead(KEY, aLead, never));
    const [lead] = await created();
    await salesforce.convertLead({ leadId: String(lead!['id']) }, never);
    expect(await salesforce.createLead(KEY, aLead, never)).toEqual({ leadId: lead!['id'] });
  });
});

describe('what Salesforce refuses', () => {
  const table: [string, number, unknown, ErrorCode][] = [
    ['a locked row', 400, [{ message: 'unable to obtain exclusive access to this record', errorCode: 'UNABLE_TO_LOCK_ROW' }], 'CRM_LOCKED'],
    ['two upserts of one value', 400, [{ message: 'duplicate value found', errorCode: 'DUPLICATE_VALUE' }], 'CRM_LOCKED'],
    ['the daily limit', 403, [{ message: 'TotalRequests Limit exceeded.', errorCode: 'REQUEST_LIMIT_EXCEEDED' }], 'CRM_LIMIT_REACHED'],
    ['the daily limit by way of a proxy', 503, [{ message: 'TotalRequests Limit exceeded.', errorCode: 'REQUEST_LIMIT_EXCEEDED' }], 'CRM_LIMIT_REACHED'],
    ['a missing field', 400, [{ message: 'Required fields are missing: [X__c]', errorCode: 'REQUIRED_FIELD_MISSING', fields: ['X__c'] }], 'CRM_REJECTED'],
    ['a validation rule', 400, [{ message: 'Phone must be national', errorCode: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }], 'CRM_REJECTED'],
    ['an external ID that is not unique', 300, ['/services/data/v68.0/sobjects/Lead/00Q1', '/services/data/v68.0/sobjects/Lead/00Q2'], 'CRM_REJECTED'],
    ['an API that is switched off', 403, [{ message: 'API is not enabled', errorCode: 'API_DISABLED_FOR_ORG' }], 'AUTH_FAILED'],
    ['a defect of Salesforce', 500, [{ message: 'An unexpected error occurred', errorCode: 'UNKNOWN_EXCEPTION' }], 'UPSTREAM_UNAVAILABLE'],
    ['maintenance', 503, [{ message: 'down', errorCode: 'SERVER_UNAVAILABLE' }], 'UPSTREAM_UNAVAILABLE'],
    ['a record that is not saved inside a 200', 200, { id: null, success: false, errors: [{ statusCode: 'UNABLE_TO_LOCK_ROW', message: 'locked', fields: [] }] }, 'CRM_LOCKED'],
    ['a record that is not saved, in the older spelling', 200, { id: null, success: false, errors: [{ errorCode: 'STRING_TOO_LONG', message: 'too long', fields: [] }] }, 'CRM_REJECTED'],
    ['several errors at once', 400, [{ message: 'locked', errorCode: 'UNABLE_TO_LOCK_ROW' }, { message: 'and more', errorCode: 'STRING_TOO_LONG' }], 'CRM_LOCKED'],
  ];
  it.each(table)('%s', async (_title, status, body, code) => {
    await addFaults(sandbox, respond(SAVE, status, body));
    const failure = await failureOf(salesforce.createLead(KEY, aLead, never));
    expect(failure).toMatchObject({ code, message: expect.stringMatching(/^Creating the lead failed: Salesforce answered [A-Z_]+ \(/) as unknown });
    expect(failure.advice.length).toBeGreaterThan(10);
    expect(await created()).toEqual([]);
    await salesforce.createLead(KEY, aLead, never);
    expect(await created()).toHaveLength(1);
  });

  it('asks for a long wait when the daily limit is used up', async () => {
    await addFaults(sandbox, respond(SAVE, 403, [{ message: 'TotalRequests Limit exceeded.', errorCode: 'REQUEST_LIMIT_EXCEEDED' }]));
    expect((await failureOf(salesforce.createLead(KEY, aLead, never))).retryAfterMs).toBeGreaterThanOrEqual(10 * 60_000);
  });

  it('a field that the org does not have', async () => {
    const failure = await failureOf(salesforceAt(sandbox, { SFDC_BRN_FIELD: 'Nope__c' }).createLead(KEY, aLead, never));
    expect(failure).toMatchObject({ code: 'CRM_REJECTED', message: expect.stringContaining('Nope__c') as unknown });
    expect(await failureOf(salesforceAt(sandbox, { SFDC_EXTERNAL_ID_FIELD: 'Nope__c' }).createLead(KEY, aLead, never))).toMatchObject({ code: 'CRM_REJECTED' });
  });
});

describe('converting a lead', () => {
  it('makes an account, a contact and an opportunity, once', async () => {
    const records = await salesforce.convertLead({ leadId: LEAD }, never);
    expect(records).toEqual({ leadId: LEAD, accountId: expect.stringMatching(/^001/) as unknown, contactId: expect.stringMatching(/^003/) as unknown, opportunityId: expect.stringMatching(/^006/) as unknown });
    expect(await salesforce.convertLead({ leadId: LEAD }, never)).toEqual(records);
    expect(await ledgerOf(sandbox, 'lead_converted')).toHaveLength(1);
    // The second time it was read, and not asked for.
    expect((await requestsOf(sandbox)).filter(({ path }) => path.includes('/Soap/'))).toHaveLength(1);
  });

  it('finds what it did when the answer was lost', async () => {
    await addFaults(sandbox, { route: SOAP, effect: { kind: 'drop_after' } });
    expect(await failureOf(salesforce.convertLead({ leadId: LEAD }, never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' });
    expect(await salesforce.convertLead({ leadId: LEAD }, never)).toMatchObject({ leadId: LEAD, opportunityId: expect.stringMatching(/^006/) as unknown });
    expect(await ledgerOf(sandbox, 'lead_converted')).toHaveLength(1);
  });

  it('makes no second account for a customer that has one', async () => {
    const accountId = await addRecord(sandbox, 'Account', { Name: 'Bluefin Marine Supplies Pte. Ltd.' });
    expect(await salesforce.convertLead({ leadId: LEAD, accountId }, never)).toMatchObject({ accountId });
    expect((await recordsOf(sandbox, 'Account')).filter(({ Name }) => String(Name).startsWith('Bluefin'))).toHaveLength(1);
  });

  it('gives a lead of another company to no caller', async () => {
    const { accountId } = await salesforce.convertLead({ leadId: LEAD, accountId: JUNIPER }, never);
    expect(await recordOf('Account', accountId!)).toMatchObject({ Name: 'Bluefin Marine Supplies Pte Ltd' });
  });

  it('takes the records of whoever was faster', async () => {
    const records = await salesforceAt(sandbox).convertLead({ leadId: LEAD }, never);
    // Read before the other's conversion, asked after it.
    await addFaults(sandbox, respond('GET /services/data/*/query', 200, { totalSize: 1, done: true, records: [{ Id: LEAD, IsConverted: false }] }));
    expect(await salesforce.convertLead({ leadId: LEAD }, never)).toEqual(records);
  });

  it('says when there is no such lead', async () => {
    expect(await failureOf(salesforce.convertLead({ leadId: '00Q5g00000KbA9XEAV' }, never))).toMatchObject({ code: 'CRM_REJECTED', message: expect.stringContaining('00Q5g00000KbA9XEAV') as unknown });
  });

  it.each([
    ['a fault', { kind: 'soap_fault', code: 'UNABLE_TO_LOCK_ROW' }, 'CRM_LOCKED'],
    ['a fault of the daily limit', { kind: 'soap_fault', code: 'REQUEST_LIMIT_EXCEEDED' }, 'CRM_LIMIT_REACHED'],
    ['an unsuccessful result: locked', { kind: 'convert_error', statusCode: 'UNABLE_TO_LOCK_ROW' }, 'CRM_LOCKED'],
    ['an unsuccessful result: duplicates', { kind: 'convert_error', statusCode: 'DUPLICATES_DETECTED' }, 'CRM_DUPLICATE'],
    ['an unsuccessful result: validation', { kind: 'convert_error', statusCode: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }, 'CRM_REJECTED'],
    ['a gateway’s page', { kind: 'respond', status: 500, body: '<html>oops</html>' }, 'UPSTREAM_UNAVAILABLE'],
  ] as const)('reads %s', async (_title, effect, code) => {
    await addFaults(sandbox, { route: SOAP, effect });
    expect(await failureOf(salesforce.convertLead({ leadId: LEAD }, never))).toMatchObject({ code, message: expect.stringContaining(`Converting the lead ${LEAD} failed`) as unknown });
    expect(await ledgerOf(sandbox, 'lead_converted')).toEqual([]);
  });

  it('says when the status does not mean converted', async () => {
    expect(await failureOf(salesforceAt(sandbox, { SFDC_CONVERTED_STATUS: 'Done' }).convertLead({ leadId: LEAD }, never))).toMatchObject({ code: 'CRM_REJECTED', message: expect.stringContaining('INVALID_STATUS') as unknown });
  });
});

describe('noting a renewal', () => {
  const renewal = { ...note, subject: 'Customer wants to renew', text: 'Customer wants to renew, call c1.\nIn January.' };

  it('puts it above what people wrote on account and opportunity, once', async () => {
    const id = await addRecord(sandbox, 'Account', { Name: 'Orchid Bay Hotels Pte Ltd', Description: 'Pays late.' });
    const opportunityId = await addRecord(sandbox, 'Opportunity', { Name: 'Renewal', AccountId: id, StageName: 'Negotiation', CloseDate: '2026-12-31', IsClosed: undefined });
    const state = await known({ company: 'Orchid Bay Hotels Pte Ltd' });
    for (let time = 0; time < 2; time += 1) expect(await salesforce.updateAccount(KEY, state, renewal, never)).toEqual({ accountId: id, opportunityId, taskId: expect.stringMatching(/^00T/) as unknown });
    expect(await recordOf('Account', id)).toMatchObject({ Description: 'Customer wants to renew, call c1.\nIn January.\n\nPays late.' });
    expect(await recordOf('Opportunity', opportunityId)).toMatchObject({ Description: renewal.text, NextStep: 'Customer wants to renew' });
    expect(await recordsOf(sandbox, 'Task')).toEqual([expect.objectContaining({ WhatId: opportunityId, Subject: 'Customer wants to renew' })]);
  });

  it('knows its note again with the line ends that Salesforce gives it', async () => {
    const id = await addRecord(sandbox, 'Account', { Name: 'Windows Ltd', Description: `${renewal.text.replace('\n', '\r\n')}\r\n\r\nPays late.` });
    await salesforce.updateAccount(KEY, await known({ company: 'Windows Ltd' }), renewal, never);
    expect(String((await recordOf('Account', id))?.['Description']).split('In January.')).toHaveLength(2);
  });

  it('leaves a description alone that has no room left: the task holds the note', async () => {
    const id = await addRecord(sandbox, 'Account', { Name: 'Full Ltd', Description: 'D'.repeat(31_999) });
    const { taskId } = await salesforce.updateAccount(KEY, await known({ company: 'Full Ltd' }), renewal, never);
    expect((await recordOf('Account', id))?.['Description']).toBe('D'.repeat(31_999));
    expect(await recordOf('Task', taskId!)).toMatchObject({ WhatId: id, Description: renewal.text });
  });
});

describe('handing an account over', () => {
  it('notes the call and changes the owner, once', async () => {
    const state = await known({ brn: '199901234N' });
    const records = await salesforce.transfer(KEY, state, { ...note, ownerId: MANAGED_ACCOUNTS_OWNER }, never);
    expect(await salesforce.transfer(KEY, await known({ brn: '199901234N' }), { ...note, ownerId: MANAGED_ACCOUNTS_OWNER }, never)).toEqual(records);
    expect(await recordOf('Account', SUMMIT)).toMatchObject({ OwnerId: MANAGED_ACCOUNTS_OWNER });
    expect(await ledgerOf(sandbox, 'owner_changed')).toHaveLength(1);
    expect(await ledgerOf(sandbox, 'task_created')).toEqual([expect.objectContaining({ externalId: KEY })]);
  });

  it('notes the call and keeps the owner when nobody is named', async () => {
    await salesforce.transfer(KEY, await known({ brn: '199901234N' }), { ...note, ownerId: '' }, never);
    expect(await ledgerOf(sandbox, 'owner_changed')).toEqual([]);
    expect(await ledgerOf(sandbox, 'task_created')).toHaveLength(1);
  });

  it('says when there is no such owner', async () => {
    expect(await failureOf(salesforce.transfer(KEY, await known({ brn: '199901234N' }), { ...note, ownerId: '005000000000009AAA' }, never))).toMatchObject({ code: 'CRM_REJECTED' });
  });
});
