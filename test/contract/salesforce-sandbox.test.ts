import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { normaliseLeadId } from '../../src/domain/lead-id.ts';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { SEED } from '../../sandbox/salesforce/seed.ts';
import { SALESFORCE_CLIENT, startSalesforce } from '../../sandbox/salesforce/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { recordsOf, salesforceAt } from '../support/salesforce.ts';

const never = new AbortController().signal;
const note = { subject: 'Enquiry by phone', text: 'Enquiry by phone, call c1.', date: '2026-11-20', direction: 'inbound' as const };

let folder: string;
let sandbox: SandboxServer;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-salesforce-'));
  sandbox = await startSalesforce({ dataFolder: folder });
});
afterEach(async () => {
  await sandbox.close();
  await rm(folder, { recursive: true, force: true });
});

/** A request as the documentation of Salesforce gives it, without our adapter in between. */
const rest = async (method: string, path: string, body?: unknown) => {
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: SALESFORCE_CLIENT.clientId, client_secret: SALESFORCE_CLIENT.clientSecret });
  const { access_token: token } = (await (await fetch(`${sandbox.url}/services/oauth2/token`, { method: 'POST', body: form })).json()) as { access_token: string };
  const response = await fetch(`${sandbox.url}/services/data/v68.0${path}`, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
  const text = await response.text();
  return { status: response.status, answer: (text === '' ? undefined : JSON.parse(text)) as unknown };
};
const soql = (query: string) => rest('GET', `/query?q=${encodeURIComponent(query)}`);
const refusal = (errorCode: string) => [expect.objectContaining({ errorCode, message: expect.any(String) as unknown })];

describe('the stand-in for Salesforce', () => {
  it('keeps its records over a restart', async () => {
    const { leadId } = await salesforceAt(sandbox).createLead('k1', { lastName: 'Daniel', company: 'Harbour Ltd', note }, never);
    await sandbox.close();
    sandbox = await startSalesforce({ dataFolder: folder });
    expect((await recordsOf(sandbox, 'Lead')).map(({ Id }) => Id)).toContain(leadId);
    expect(await salesforceAt(sandbox).createLead('k1', { lastName: 'Daniel', company: 'Harbour Ltd', note }, never)).toEqual({ leadId });
    // And a new record gets a new ID.
    expect(await salesforceAt(sandbox).createLead('k2', { lastName: 'Daniel', company: 'Harbour Ltd', note }, never)).not.toEqual({ leadId });
  });

  it('has not forgotten over a restart what it did', async () => {
    await salesforceAt(sandbox).createLead('k1', { lastName: 'Daniel', company: 'Harbour Ltd', note }, never);
    const before = await ledgerOf(sandbox);
    expect(before.map(({ kind }) => kind)).toContain('lead_created');
    await sandbox.close();
    sandbox = await startSalesforce({ dataFolder: folder });
    expect(await ledgerOf(sandbox)).toEqual(before);
  });

  it('takes up a folder of a time when it had fewer objects', async () => {
    await sandbox.close();
    const stored = JSON.parse(await readFile(join(folder, 'salesforce.json'), 'utf8').catch(() => '{"tables":{"Lead":[]},"made":0}')) as { tables: Record<string, unknown> };
    await writeFile(join(folder, 'salesforce.json'), JSON.stringify({ ...stored, tables: { Lead: [] } }));
    sandbox = await startSalesforce({ dataFolder: folder });
    expect(await recordsOf(sandbox, 'Lead')).toEqual([]);
    expect(await recordsOf(sandbox, 'User')).toHaveLength(2);
  });

  it('answers an upsert with 201, then 200', async () => {
    const lead = { LastName: 'Daniel', Company: 'Harbour Ltd' };
    const first = await rest('PATCH', '/sobjects/Lead/Aftercall_Id__c/k1', lead);
    const { id } = first.answer as { id: string };
    expect(first).toEqual({ status: 201, answer: { id, success: true, errors: [], created: true } });
    expect(normaliseLeadId(id)).toBe(id);
    expect(await rest('PATCH', '/sobjects/Lead/Aftercall_Id__c/k1', lead)).toEqual({ status: 200, answer: { id, success: true, errors: [], created: false } });
    expect(await rest('PATCH', `/sobjects/Lead/${id}`, { Phone: '+15550100' })).toEqual({ status: 204, answer: undefined });
    expect((await rest('GET', `/sobjects/Lead/${id}`)).answer).toMatchObject({ Id: id, Phone: '+15550100' });
  });

  it.each([
    ['POST', '/sobjects/Lead', { Company: 'Harbour Ltd' }, 400, 'REQUIRED_FIELD_MISSING'],
    ['POST', '/sobjects/Lead', { LastName: 'D', Company: 'H', Nope__c: 1 }, 400, 'INVALID_FIELD'],
    ['POST', '/sobjects/Lead', { LastName: 'D', Company: 'H', IsConverted: true }, 400, 'INVALID_FIELD_FOR_INSERT_UPDATE'],
    ['POST', '/sobjects/Lead', { LastName: 'D'.repeat(81), Company: 'H' }, 400, 'STRING_TOO_LONG'],
    ['POST', '/sobjects/Lead', { LastName: 'D', Company: 'H', Email: 'nobody' }, 400, 'INVALID_EMAIL_ADDRESS'],
    ['POST', '/sobjects/Task', { Subject: 'S', WhoId: '00Q5g00000KbA1XEAV', WhatId: '0015g00000AcC1XAAV' }, 400, 'FIELD_INTEGRITY_EXCEPTION'],
    ['POST', '/sobjects/Task', { Subject: 'S', WhatId: '001000000000001AAA' }, 400, 'INVALID_CROSS_REFERENCE_KEY'],
    ['POST', '/sobjects/Task', { Subject: 'S', CallType: 'Sideways' }, 400, 'INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST'],
    ['PATCH', '/sobjects/Lead/Aftercall_Id__c/k1', { Aftercall_Id__c: 'k1', LastName: 'D', Company: 'H' }, 400, 'INVALID_FIELD'],
    ['PATCH', '/sobjects/Lead/BRN__c/k1', { LastName: 'D', Company: 'H' }, 404, 'NOT_FOUND'],
    ['PATCH', '/sobjects/Account/001000000000001AAA', { Name: 'N' }, 404, 'NOT_FOUND'],
    ['GET', '/sobjects/Nope/001000000000001AAA', undefined, 404, 'NOT_FOUND'],
    ['GET', '/nowhere', undefined, 404, 'NOT_FOUND'],
  ])('refuses %s %s %j', async (method, path, body, status, code) => {
    expect(await rest(method, path, body)).toEqual({ status, answer: refusal(code) });
  });

  it.each([
    ["SELECT Id FROM Lead WHERE Company = 'Bluefin Marine Supplies Pte Ltd'", ['00Q5g00000KbA1XEAV']],
    ["select Id from Lead where Company = 'bluefin marine supplies pte ltd' and IsConverted = false", ['00Q5g00000KbA1XEAV']],
    ["SELECT Id FROM Lead WHERE Id = '00Q5g00000KbA1X'", ['00Q5g00000KbA1XEAV']],
    ["SELECT Id FROM Lead WHERE Company = 'x\\' OR Id != \\''", []],
    ['SELECT Id FROM Lead ORDER BY LastName DESC LIMIT 1', ['00Q5g00000KbA2YEAV']],
    ['SELECT Id FROM Account WHERE Revenue_Flagged__c = true', ['0015g00000AcC2YAAV']],
    ['SELECT Id FROM Account WHERE Description = null', 'INVALID_FIELD'],
    ['SELECT Id FROM Lead WHERE Email = null LIMIT 1', ['00Q5g00000KbA1XEAV']],
    ['SELECT Nope__c FROM Lead', 'INVALID_FIELD'],
    ["SELECT Id FROM Lead WHERE Nope__c = 'x'", 'INVALID_FIELD'],
    ['SELECT Id FROM Nope', 'INVALID_TYPE'],
    ["SELECT Id FROM Lead WHERE Company = 'open", 'MALFORMED_QUERY'],
    ['SELECT Id FROM Lead WHERE', 'MALFORMED_QUERY'],
    ['DELETE FROM Lead', 'MALFORMED_QUERY'],
  ])('queries %s', async (query, expected) => {
    const { status, answer } = await soql(query);
    if (typeof expected === 'string') return void expect({ status, answer }).toEqual({ status: 400, answer: refusal(expected) });
    const { records, totalSize, done } = answer as { records: { Id: string }[]; totalSize: number; done: boolean };
    expect({ ids: records.map(({ Id }) => Id), totalSize, done }).toEqual({ ids: expected, totalSize: expected.length, done: true });
  });

  it('refuses whoever has not signed in', async () => {
    const response = await fetch(`${sandbox.url}/services/data/v68.0/limits`, { headers: { authorization: 'Bearer nobody' } });
    expect({ status: response.status, answer: await response.json() }).toEqual({ status: 401, answer: refusal('INVALID_SESSION_ID') });
  });

  it('describes what it has', async () => {
    expect((await rest('GET', '/sobjects/Lead/describe')).answer).toMatchObject({ name: 'Lead', fields: expect.arrayContaining([{ name: 'Aftercall_Id__c', custom: true, externalId: true, unique: true }]) as unknown });
  });

  it('has the leads and accounts that the sample calls mention', () => {
    const said = SAMPLE_CALLS.flatMap(({ script }) => script ?? []).map(({ text }) => text).join('\n');
    for (const { Id } of SEED.Lead!) expect(said).toContain(Id);
    for (const { BRN__c } of SEED.Account!) expect(said).toContain(String(BRN__c));
    for (const { Id } of SEED.Lead!) expect(normaliseLeadId(String(Id))).toBe(Id);
  });

  it('shows a person what was written, and runs none of it', async () => {
    await salesforceAt(sandbox).createLead('k1', { lastName: '<script>alert(1)</script>', company: 'Harbour & Sons', note }, never);
    const page = await (await fetch(sandbox.url)).text();
    expect(page).toContain('Harbour &amp; Sons');
    expect(page).toContain('&lt;script&gt;');
    expect(page).not.toContain('<script>');
  });
});
