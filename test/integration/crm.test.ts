import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { MANAGED_ACCOUNTS_OWNER } from '../../sandbox/salesforce/seed.ts';
import { createAskModel } from '../../src/activities/ask-model.ts';
import { createCrmActivities } from '../../src/activities/crm.ts';
import { createFactExtraction } from '../../src/activities/crm-facts.ts';
import { createSalesforce } from '../../src/adapters/crm/salesforce.ts';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import type { ObjectStore } from '../../src/adapters/objects/object-store.ts';
import { loadConfig, withSystem } from '../../src/config.ts';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createEffects } from '../../src/db/effects.ts';
import { createProjects } from '../../src/db/projects.ts';
import type { CallVersion } from '../../src/domain/call.ts';
import { type CrmMarker, markerText, parseMarker } from '../../src/domain/crm-marker.ts';
import { crmMarkerKey, transcriptKey } from '../../src/domain/ids.ts';
import type { CrmOutcome } from '../../src/domain/outcomes.ts';
import type { ProjectSettings } from '../../src/domain/settings.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { loadPrices } from '../../src/prices.ts';
import { complete } from '../support/config.ts';
import { addRecord, failureOf, recordsOf, requestsOf } from '../support/salesforce.ts';
import { testProviders } from '../support/providers.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { anyDatabase } from '../support/postgres.ts';

let folder: string;
let sandbox: TestSandbox;
let db: Database;
let objects: ObjectStore;
let calls: ReturnType<typeof createCalls>;
let effects: ReturnType<typeof createEffects>;
let projects: ReturnType<typeof createProjects>;
let activities: ReturnType<typeof createCrmActivities>;
let made = 0;

const SETTINGS: Partial<ProjectSettings> = { managedAccountsOwner: MANAGED_ACCOUNTS_OWNER, consumerHotline: '+65 6000 0199' };

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-crm-'));
  db = await openDatabase(await anyDatabase());
  await migrate(db);
  objects = createFolderStore(join(folder, 'objects'));
  calls = createCalls(db);
  effects = createEffects(db);
  projects = createProjects(db);
});
afterAll(async () => {
  await db?.destroy();
  await rm(folder, { recursive: true, force: true });
});

beforeEach(async () => {
  await sandbox?.stop();
  sandbox = await startTestSandbox(join(folder, `sandbox-${made}`));
  const config = loadConfig({ ...complete, ...sandbox.env });
  const askModel = createAskModel({ costs: createCosts(db), prices: loadPrices(undefined) });
  const crm = createSalesforce(withSystem(config, 'salesforce')!);
  const adaptersOf = async () => ({ crm }) as never;
  activities = createCrmActivities({ calls, effects, projects, objects, adaptersOf, extractFacts: createFactExtraction({ calls, objects, providers: testProviders(db, config), askModel }) });
  await projects.saveSettings('default', SETTINGS);
});
afterAll(() => sandbox?.stop());

/** A call whose transcript is stored: what a sample says, under an ID of its own. */
const aCall = async (title: string): Promise<CallVersion> => {
  made += 1;
  const call = { project: 'default', callId: `crm-${made}`, version: 1 };
  const script = SAMPLE_CALLS.find((sample) => sample.title.includes(title))!.script!;
  const transcript: Transcript = { callId: call.callId, durationMs: 60_000, provider: 'test', model: 'test', speakersBy: 'channel', speakers: ['customer', 'agent'], turns: script, usage: { requests: 0 } };
  await calls.stage('default', [{ source: 'webex', callId: call.callId, status: 'completed', direction: 'inbound', originPhone: '+15550100', startedAtMs: Date.UTC(2026, 10, 20, 10) }], 'staged');
  await calls.openVersion(call, { from: 'recording', state: 'staged' });
  await keepTranscript(call, transcript);
  return call;
};
const keepTranscript = async (call: CallVersion, transcript: Transcript): Promise<void> => {
  const key = transcriptKey(call);
  await objects.put(key, JSON.stringify(transcript), { contentType: 'application/json' });
  await calls.keepResult(call, 'transcription', { key, turns: transcript.turns.length, durationMs: 60_000, provider: 'test', model: 'test' });
};

/** Failed attempts are what is tested here, and need no warnings. */
const anAttempt = (): MockActivityEnvironment => new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') });

/** One attempt of the step. */
const act = (call: CallVersion, approvedBy?: string): Promise<CrmOutcome> => anAttempt().run(activities.actOnCrm, { call, ...(approvedBy ? { approvedBy } : {}) });

const markerOf = async (call: CallVersion): Promise<CrmMarker | undefined> => parseMarker((await objects.getText(crmMarkerKey(call))) ?? '');
const resultOf = async (call: CallVersion) => (await calls.getVersion(call)).crm;
const written = async () => (await ledgerOf(sandbox.salesforce)).filter(({ kind }) => kind !== 'signed_in').map(({ kind }) => kind);
const completions = async () => (await ledgerOf(sandbox.openai, 'completion')).length;
const QUALIFIED = 'a qualified new enquiry';
const CREATE = 'PATCH /services/data/*/sobjects/Lead/*';

describe('acting in the CRM', () => {
  const acts: Record<string, string[]> = {
    good_lead: ['lead_created'],
    lead_to_opportunity: ['lead_converted'],
    existing_customer_renewal: ['account_updated', 'opportunity_updated', 'task_created'],
    requires_transfer: ['task_created', 'owner_changed'],
  };
  it.each(SAMPLE_CALLS.filter(({ scenario }) => scenario).map(({ title, scenario }) => [title, scenario!] as const))('%s: %s', async (title, scenario) => {
    const call = await aCall(title);
    expect(await act(call)).toMatchObject({ state: 'done', scenario });
    expect(await written()).toEqual(acts[scenario] ?? []);
    const marker = await markerOf(call);
    expect(marker).toMatchObject({ state: 'done', owner: `default/${call.callId}`, decision: { scenario } });
    expect(await resultOf(call)).toEqual({ scenario, action: marker!.decision.action, reasons: marker!.decision.reasons, records: marker!.records });
    expect((await effects.list('default', call.callId)).map(({ state }) => state)).toEqual(acts[scenario] ? ['done'] : []);
  });

  it('does nothing when it is switched off', async () => {
    await projects.saveSettings('default', { ...SETTINGS, runCrmActions: false });
    const call = await aCall(QUALIFIED);
    expect(await act(call)).toEqual({ state: 'off' });
    expect([await written(), await completions(), await markerOf(call)]).toEqual([[], 0, undefined]);
  });

  it('acts once for a call that runs again as a new version, and keeps the records for it', async () => {
    const call = await aCall(QUALIFIED);
    await act(call);
    const again = { ...call, version: 2 };
    await calls.openVersion(again, { from: 'analysis', state: 'staged' });
    const before = [await completions(), (await requestsOf(sandbox.salesforce)).length];
    expect(await act(again)).toEqual({ state: 'already_done', scenario: 'good_lead' });
    expect([await completions(), (await requestsOf(sandbox.salesforce)).length]).toEqual(before);
    expect(await resultOf(again)).toEqual(await resultOf(call));
  });

  it.each([
    ['the text of an earlier system', 'processed 2025-01-01'],
    ['another project’s marker', markerText({ owner: 'other/crm', state: 'decided', decision: { scenario: 'good_lead', action: 'create_lead', reasons: [], facts: [] }, decidedAt: '2026-11-20T10:00:00.000Z' })],
  ])('skips a call that carries %s', async (_title, text) => {
    const call = await aCall(QUALIFIED);
    await objects.put(crmMarkerKey(call), text, { contentType: 'text/plain' });
    expect(await act(call)).toEqual({ state: 'already_done' });
    expect([await written(), await completions()]).toEqual([[], 0]);
    expect(await objects.getText(crmMarkerKey(call))).toBe(text);
  });

  it('makes one lead when two attempts run at once', async () => {
    const call = await aCall(QUALIFIED);
    const outcomes = await Promise.allSettled([act(call), act(call)]);
    expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
    await act(call);
    expect((await written()).filter((kind) => kind === 'lead_created')).toHaveLength(1);
    expect(await markerOf(call)).toMatchObject({ state: 'done' });
  });

  it('carries out the decision that stands, not one that came later', async () => {
    await addFaults(sandbox.salesforce, { route: 'GET /services/data/*', delayMs: 1_500, effect: { kind: 'delay' } });
    const call = await aCall(QUALIFIED);
    const slow = act(call);
    while (!(await requestsOf(sandbox.salesforce)).some(({ method }) => method === 'GET')) await new Promise(setImmediate);
    expect(await act(call)).toMatchObject({ state: 'done', scenario: 'good_lead' });
    await addRecord(sandbox.salesforce, 'Account', { Name: 'Harbour Lights Logistics Pte Ltd', BRN__c: '53912345K', Revenue_Flagged__c: true });
    expect(await slow).toEqual({ state: 'already_done', scenario: 'good_lead' });
    expect(await written()).toEqual(['lead_created', 'account_created']);
  });

  it('stops at once when it is cancelled, and can be taken up', async () => {
    await addFaults(sandbox.salesforce, { route: CREATE, effect: { kind: 'hang' } });
    const call = await aCall(QUALIFIED);
    const environment = anAttempt();
    const attempt = environment.run(activities.actOnCrm, { call }).catch((error: unknown) => error);
    while (!(await requestsOf(sandbox.salesforce)).some(({ method }) => method === 'PATCH')) await new Promise(setImmediate);
    environment.cancel();
    expect(await attempt).toMatchObject({ name: 'CancelledFailure' });
    expect(await act(call)).toMatchObject({ state: 'done', scenario: 'good_lead' });
    expect(await written()).toEqual(['lead_created']);
  });
});

describe('a worker that died', () => {
  it('after the decision: the same decision is carried out, and the model is not asked again', async () => {
    await addFaults(sandbox.salesforce, { route: CREATE, effect: { kind: 'drop_before' } });
    const call = await aCall(QUALIFIED);
    expect(await failureOf(act(call))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
    const { decision } = (await markerOf(call))!;
    const asked = await completions();
    // What would now be decided otherwise.
    await addRecord(sandbox.salesforce, 'Account', { Name: 'Harbour Lights Logistics Pte Ltd', BRN__c: '53912345K', Revenue_Flagged__c: true });
    await keepTranscript(call, { callId: call.callId, durationMs: 1, provider: 'test', model: 'test', speakersBy: 'none', speakers: [], turns: [], usage: { requests: 0 } });
    expect(await act(call)).toEqual({ state: 'done', scenario: 'good_lead', action: 'create_lead' });
    expect(await markerOf(call)).toMatchObject({ state: 'done', decision });
    expect(await completions()).toBe(asked);
  });

  it('after Salesforce made the lead, before its answer came: the lead is found again', async () => {
    await addFaults(sandbox.salesforce, { route: CREATE, effect: { kind: 'drop_after' } });
    const call = await aCall(QUALIFIED);
    expect(await failureOf(act(call))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' });
    expect(await markerOf(call)).toMatchObject({ state: 'decided' });
    await act(call);
    const [effect] = await effects.list('default', call.callId);
    expect((await recordsOf(sandbox.salesforce, 'Lead')).filter((lead) => lead['Aftercall_Id__c'] === effect!.key).map(({ Id }) => Id)).toEqual([(await resultOf(call))!.records.leadId]);
    expect((await written()).filter((kind) => kind === 'lead_created')).toHaveLength(1);
  });

  it('after Salesforce converted the lead: its records are found again', async () => {
    await addFaults(sandbox.salesforce, { route: 'POST /services/Soap/*', effect: { kind: 'drop_after' } });
    const call = await aCall('names a Lead ID');
    await failureOf(act(call));
    await act(call);
    expect(await written()).toEqual(['lead_converted']);
    expect((await resultOf(call))!.records).toMatchObject({ leadId: '00Q5g00000KbA1XEAV', opportunityId: expect.stringMatching(/^006/) as unknown });
  });

  it.each([0, 1, 2])('after %i of the three writes of a renewal: each is there once', async (skip) => {
    await addFaults(sandbox.salesforce, { route: 'PATCH /services/data/*', skip, effect: { kind: 'drop_after' } });
    const call = await aCall('renews without a Lead ID');
    await failureOf(act(call));
    await act(call);
    const [account] = (await recordsOf(sandbox.salesforce, 'Account')).filter(({ Id }) => Id === '0015g00000AcC1XAAV');
    const subject = 'Customer wants to renew';
    expect(String(account!['Description']).split(subject)).toHaveLength(2);
    expect(await recordsOf(sandbox.salesforce, 'Task')).toHaveLength(1);
    expect(await recordsOf(sandbox.salesforce, 'Opportunity')).toEqual([expect.objectContaining({ NextStep: subject })]);
  });

  it('after the receipt, before the marker said "done": Salesforce is not asked again', async () => {
    const call = await aCall(QUALIFIED);
    await act(call);
    const { records: receipt, doneAt: _doneAt, ...marker } = (await markerOf(call))!;
    await objects.put(crmMarkerKey(call), markerText({ ...marker, state: 'decided' }), { contentType: 'text/plain' });
    const before = (await requestsOf(sandbox.salesforce)).length;
    expect(await act(call)).toMatchObject({ state: 'done' });
    expect(await markerOf(call)).toMatchObject({ state: 'done', records: receipt });
    expect((await requestsOf(sandbox.salesforce)).length).toBe(before);
  });

  it('before the decision was written down: nothing had been done', async () => {
    await addFaults(sandbox.salesforce, { route: 'GET /services/data/*', effect: { kind: 'respond', status: 503, body: [{ message: 'down', errorCode: 'SERVER_UNAVAILABLE' }] } });
    const call = await aCall(QUALIFIED);
    await failureOf(act(call));
    expect([await markerOf(call), await written()]).toEqual([undefined, []]);
    const asked = await completions();
    expect(await act(call)).toMatchObject({ state: 'done' });
    // The facts were paid for already.
    expect(await completions()).toBe(asked);
  });
});

describe('a decision that waits for a person', () => {
  beforeEach(() => projects.saveSettings('default', { ...SETTINGS, crmApproval: 'risky' }));

  it('is written down and not acted on until somebody says yes', async () => {
    const call = await aCall('names a Lead ID');
    expect(await act(call)).toEqual({ state: 'needs_approval', scenario: 'lead_to_opportunity', action: 'convert_lead', reasons: ['Lead 00Q5g00000KbA1XEAV is named.'] });
    const asked = await completions();
    expect(await act(call)).toMatchObject({ state: 'needs_approval' });
    expect([await written(), await completions(), await effects.list('default', call.callId)]).toEqual([[], asked, []]);
    expect(await act(call, 'lead@aftercall.example')).toMatchObject({ state: 'done' });
    expect(await markerOf(call)).toMatchObject({ state: 'done', approvedBy: 'lead@aftercall.example' });
    expect(await written()).toEqual(['lead_converted']);
  });

  it('stays approved when the first try after the approval fails', async () => {
    const call = await aCall('names a Lead ID');
    await act(call);
    await addFaults(sandbox.salesforce, { route: 'POST /services/Soap/*', effect: { kind: 'soap_fault', code: 'UNABLE_TO_LOCK_ROW' } });
    expect(await failureOf(act(call, 'lead@aftercall.example'))).toMatchObject({ code: 'CRM_LOCKED' });
    // A retry by hand starts the step again, without saying who had approved.
    expect(await act(call)).toMatchObject({ state: 'done' });
    expect(await markerOf(call)).toMatchObject({ approvedBy: 'lead@aftercall.example' });
  });

  it('touches no other account than the one that was approved', async () => {
    const call = await aCall('renews without a Lead ID');
    expect(await act(call)).toMatchObject({ state: 'needs_approval', action: 'update_account' });
    const marker = (await markerOf(call))!;
    expect(marker.decision.account).toEqual({ id: '0015g00000AcC1XAAV', name: 'Juniper Dental Clinic Pte Ltd' });
    await objects.put(crmMarkerKey(call), markerText({ ...marker, decision: { ...marker.decision, account: { id: '001000000000001AAA', name: 'Merged Ltd' } } }), { contentType: 'text/plain' });
    expect(await failureOf(act(call, 'lead@aftercall.example'))).toMatchObject({ code: 'CRM_REJECTED', message: expect.stringContaining('Merged Ltd') as unknown });
    expect(await written()).toEqual([]);
  });

  it('lets through what is not risky', async () => {
    await clearFaults(sandbox.salesforce);
    expect(await act(await aCall(QUALIFIED))).toMatchObject({ state: 'done', action: 'create_lead' });
  });
});
