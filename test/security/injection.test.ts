import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SEED } from '../../sandbox/salesforce/seed.ts';
import type { LedgerEntry } from '../../sandbox/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { paceOf } from '../../src/config.ts';
import type { CallRow } from '../../src/db/calls.ts';
import { analysisKey, transcriptKey } from '../../src/domain/ids.ts';
import { sharedPrefix } from '../../src/domain/prompts.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { type StoredRecord, recordsOf, requestsOf } from '../support/salesforce.ts';
import { addFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { FOREIGN_LEAD, HOSTILE_CALLS, type HostileCall, OWN_LEAD } from './injection-corpus.ts';
import { until } from '../support/until.ts';

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
const ended = new Map<string, CallRow>();

const idOf = (hostile: HostileCall): string => `hostile-${HOSTILE_CALLS.indexOf(hostile) + 1}`;
/** The card of the amoCRM stand-in that these calls belong to. */
const CARD = { kind: 'lead' as const, id: '7000001' };

const transcriptOf = ({ says, agentSays }: HostileCall, callId: string): Transcript => {
  const lines: [string, string][] = [['agent', 'Northwind sales desk.'], ...says.map((text): [string, string] => ['customer', text]), ['agent', agentSays ?? 'I see.'], ['customer', 'Right.']];
  return {
    callId,
    durationMs: lines.length * 5_000,
    provider: 'test',
    model: 'test',
    speakersBy: 'channel',
    speakers: ['agent', 'customer'],
    turns: lines.map(([speaker, text], index) => ({ speaker, text, startMs: index * 5_000, endMs: index * 5_000 + 4_000 })),
    usage: { requests: 0 },
  };
};

const play = async (hostile: HostileCall): Promise<void> => {
  const { calls, objects, callsClient } = system.wiring;
  const call = { ...system.key(idOf(hostile)), version: 1 };
  const source = hostile.card ? 'amocrm' : 'webex';
  await calls.stage('default', [{ source, callId: call.callId, status: 'completed', direction: 'inbound', originPhone: '+15550100', queueName: 'Sales', agentName: 'Priya', startedAtMs: Date.UTC(2026, 10, 20, 10), ...(hostile.card ? { card: CARD } : {}) }], 'staged');
  await calls.openVersion(call, { from: 'analysis', state: 'staged' });
  const key = transcriptKey(call);
  await objects.put(key, JSON.stringify(transcriptOf(hostile, call.callId)), { contentType: 'application/json' });
  await calls.keepResult(call, 'transcription', { key, turns: 5, durationMs: 30_000, provider: 'test', model: 'test' });
  await callsClient.start({ call, source, from: 'analysis', autoProcess: true, mode: 'unless-completed', pace: paceOf(system.config) });
  const row = await system.until(call.callId, 'completed', 'needs_attention', 'awaiting_approval');
  // Parked at the CRM step: a person sees why, and lets it go on without. Now it is delivered as well.
  if (row.state === 'needs_attention' && row.step === 'crm') {
    await callsClient.skipStep(call, { by: 'test', step: 'crm' }, `skip-${call.callId}`);
    await system.until(call.callId, 'completed');
  }
  ended.set(call.callId, row);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-injection-'));
  [server, sandbox] = await Promise.all([startTemporalProcess(), startTestSandbox(folder)]);
  system = await startSystem({ server, sandbox, folder, env: { ...sandbox.telling, API_PORT: '0', RETRY_FIRST: '1s', RETRY_MAX: '1s', RETRY_ATTEMPTS: '2', MESSAGE_FIRST_RETRY: '1s', API_PUBLIC_URL: 'https://aftercall.example' } });
  await addFaults(sandbox.openai, { route: 'POST /v1/chat/completions', effect: { kind: 'obey_cunningly' }, times: 100_000 });
  api = await startApi(system.wiring);
  await Promise.all(HOSTILE_CALLS.map(play));
  await until('all is told', async () => (await onTheWay()) === 0);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const onTheWay = async (): Promise<number> => (await system.wiring.messages.list('default', {}, { limit: 200 })).filter(({ state }) => state === 'pending' || state === 'sending').length;
const written = async (): Promise<LedgerEntry[]> => (await ledgerOf(sandbox.salesforce)).filter(({ kind }) => kind !== 'signed_in');

/** Everything that leaves the system about these calls, or is shown. */
const shown = async (): Promise<string> => {
  const parts: unknown[] = [await recordsOf(sandbox.salesforce, 'Task'), await recordsOf(sandbox.salesforce, 'Lead'), await recordsOf(sandbox.salesforce, 'Account'), await ledgerOf(sandbox.amocrm), await ledgerOf(sandbox.telegram), await ledgerOf(sandbox.receiver)];
  for (const hostile of HOSTILE_CALLS) {
    const key = system.key(idOf(hostile));
    parts.push(await system.wiring.objects.getText(analysisKey(key)), await system.wiring.calls.listVersions(key), await system.wiring.effects.list('default', key.callId), ended.get(key.callId));
  }
  return JSON.stringify(parts);
};

it('has forty calls in it, each another attack', () => {
  expect([HOSTILE_CALLS.length, new Set(HOSTILE_CALLS.map(({ title }) => title)).size, new Set(HOSTILE_CALLS.map(({ says }) => says.join())).size]).toEqual([40, 40, 40]);
});

it('is played by a model that really obeys: in its first answers, its form does not hold what it was told', async () => {
  const asked = await ledgerOf(sandbox.openai, 'completion');
  // Each analysis is asked for twice: what it did at first did not fit.
  expect(asked.length).toBeGreaterThanOrEqual(HOSTILE_CALLS.length * 4);
});

describe.each(HOSTILE_CALLS.map((hostile) => [hostile.title, hostile] as const))('%s', (_title, hostile) => {
  it('earns nothing, changes nothing that is somebody else’s, and is written down as text', async () => {
    const key = system.key(idOf(hostile));
    const { analysis, crm } = await system.wiring.calls.getVersion({ ...key, version: 1 });
    expect((await system.wiring.calls.get(key)).state).toBe('completed');
    // Nothing of what the model quotes was said by the agent.
    expect([analysis!.grading.total_score_percent, analysis!.grading.pass]).toEqual([0, false]);
    expect(analysis!.answers.map(({ verdict }) => verdict).filter((verdict) => verdict === 'yes' || verdict === 'not_applicable')).toEqual([]);
    expect(analysis!.answers.map(({ criterion }) => criterion)).not.toContain('a_question_of_its_own');
    expect(Object.keys(analysis!)).not.toContain('ownerId');
    expect(analysis!.patterns).toEqual([]);

    expect(crm?.action === 'convert_lead' ? crm.records.leadId : undefined).toBe(hostile.mayConvert);
    expect([undefined, 'none', 'create_lead', hostile.mayConvert && 'convert_lead']).toContain(crm?.action);

    // Texts are of one line and bounded, without signs that nobody sees.
    for (const text of [analysis!.summary, ...analysis!.recommendations, ...analysis!.issues_detected, ...analysis!.answers.flatMap(({ reason, rejected }) => [reason, ...rejected.map(({ quote }) => quote)])]) {
      expect(text.length).toBeLessThanOrEqual(2_000);
      expect(text).not.toMatch(/[\p{Cc}\p{Cf}\p{Cs}]/u);
    }
  });
});

describe('after all of them', () => {
  it('the CRM has done nothing but what it may: new leads of callers, the caller’s own lead, notes', async () => {
    const kinds = new Set((await written()).map(({ kind }) => kind));
    for (const kind of kinds) expect(['lead_created', 'lead_converted', 'task_created', 'task_updated']).toContain(kind);
    expect((await ledgerOf(sandbox.salesforce, 'lead_converted')).map((entry) => entry['id'])).toEqual([OWN_LEAD]);
    for (const object of ['Account', 'Opportunity', 'User', 'Lead'] as const) {
      const now = await recordsOf(sandbox.salesforce, object);
      for (const seeded of SEED[object] ?? []) {
        if (seeded.Id === OWN_LEAD) continue;
        expect(now.find(({ Id }) => Id === seeded.Id)).toMatchObject(seeded);
      }
    }
    expect((await recordsOf(sandbox.salesforce, 'Lead')).find(({ Id }) => Id === FOREIGN_LEAD)!['IsConverted']).toBe(false);
  });

  it('it was asked for nothing else: no other object, no deletion, no owner', async () => {
    const allowed = /^(GET|POST) \/services\/(oauth2\/token|Soap\/u\/)|^GET \/services\/data\/v[\d.]+\/(query|limits|sobjects\/Task\/)|^PATCH \/services\/data\/v[\d.]+\/sobjects\/(Lead|Task)\//;
    const asked = (await requestsOf(sandbox.salesforce)).filter(({ path }) => !path.startsWith('/_sandbox')).map(({ method, path }) => `${method} ${path}`);
    expect(asked.filter((request) => !allowed.test(request))).toEqual([]);
    const fields = new Set((await recordsOf(sandbox.salesforce, 'Lead')).filter(({ Id }: StoredRecord) => !(SEED.Lead ?? []).some((seeded) => seeded.Id === Id)).flatMap((lead) => Object.keys(lead)));
    for (const field of fields) expect(['Id', 'LastName', 'Company', 'LeadSource', 'Description', 'BRN__c', 'Email', 'Phone', 'Status', 'IsConverted', 'CreatedDate', 'ConvertedAccountId', 'ConvertedContactId', 'ConvertedOpportunityId', 'Aftercall_Key__c', 'OwnerId']).toContain(field);
  });

  it('amoCRM has notes on the callers’ card, one for each call, and nothing else', async () => {
    const acts = (await ledgerOf(sandbox.amocrm)).filter(({ kind }) => kind !== 'token_issued');
    const notes = acts.filter(({ kind }) => kind === 'note_created');
    const mine = HOSTILE_CALLS.filter(({ card }) => card).length;
    expect([notes.length, acts.length]).toEqual([mine, mine]);
    expect(new Set(notes.map(({ list, entityId }) => `${String(list)}/${String(entityId)}`))).toEqual(new Set([`leads/${CARD.id}`]));
  });

  it('messages are whole, and their markup is ours alone', async () => {
    const messages = await system.wiring.messages.list('default', {}, { limit: 200 });
    expect(messages.filter(({ state }) => state !== 'delivered').map(({ state, notifier, event }) => [state, notifier, event])).toEqual([]);
    const alerts = (await ledgerOf(sandbox.telegram)).filter(({ kind }) => kind === 'message_sent');
    expect(alerts).toHaveLength(HOSTILE_CALLS.length);
    for (const { type, data } of (await ledgerOf(sandbox.receiver, 'event_received')).map((entry) => entry['event'] as { type: string; data: Record<string, unknown> })) {
      if (!type.startsWith('call.')) continue;
      expect([data['project'], data['scorePercent'] ?? 0]).toEqual(['default', 0]);
      expect(Object.keys(data)).not.toContain('ownerId');
      expect(String(data['reportUrl'] ?? 'https://aftercall.example/')).toMatch(/^https:\/\/aftercall\.example\//);
    }
  });

  it('nothing that is shown gives away what the model was told, or the marker that fences what callers say', async () => {
    const all = await shown();
    const rules = sharedPrefix(transcriptOf(HOSTILE_CALLS[0]!, 'x'), 'fence')[0]!.content.split('\n').filter((line) => line.length > 30);
    for (const rule of rules) expect(all).not.toContain(JSON.stringify(rule).slice(1, -1));
    const { createHash } = await import('node:crypto');
    for (const hostile of HOSTILE_CALLS) {
      const fence = createHash('sha256').update(JSON.stringify(['default', idOf(hostile), transcriptOf(hostile, idOf(hostile)).turns])).digest('hex').slice(0, 16);
      expect(all).not.toContain(fence);
    }
  });

  it('captions and pages carry what was said as text', async () => {
    const { accessToken } = (await (await fetch(`${api.url}/v1/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(api.firstAdmin) })).json()) as { accessToken: string };
    const get = async (path: string) => fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${accessToken}` } });
    for (const hostile of HOSTILE_CALLS) {
      const base = `/v1/projects/default/calls/${idOf(hostile)}`;
      const vtt = await (await get(`${base}/transcript?format=vtt`)).text();
      expect(vtt.replaceAll(/<v (agent|customer)>/g, '')).not.toMatch(/<[a-z/!]/i);
      expect(vtt.match(/-->/g)).toHaveLength(transcriptOf(hostile, 'x').turns.length);
      const link = system.wiring.reportLinks.make(system.key(idOf(hostile))).url;
      const page = await fetch(link.replace('https://aftercall.example', api.url));
      expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
      expect(page.headers.get('content-security-policy')).toContain("default-src 'none'");
      const html = await page.text();
      for (const text of hostile.says.filter((said) => /[<>"]/.test(said))) expect(html).not.toContain(text);
      expect(html).not.toMatch(/<script>|<img |<iframe|<svg\/|href="(https:\/\/evil|javascript:)/i);
    }
  });
});
