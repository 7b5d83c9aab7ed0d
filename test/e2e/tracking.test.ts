import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { ABT_SECRETS } from '../../sandbox/abt/server.ts';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { trackingKey } from '../../src/db/tracking.ts';
import type { Certificate } from '../../src/domain/erasure.ts';
import { TRACKING_EVENTS } from '../../src/domain/tracking.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { appendAll } from '../support/tracking.ts';
import { until } from '../support/until.ts';

const [INITIATED, STARTED, COMPLETED] = TRACKING_EVENTS;
const CALL = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;
const EVENTS = '/v1/projects/default/tracking-events';
const [SECRET] = ABT_SECRETS;

interface View {
  eventId: string;
  name: string;
  voiceCallId: string;
  state: string;
  attempts: number;
  round: number;
  failingSince: string | null;
  keptBackBy: string | null;
  settledBy: string | null;
  sink: string | null;
  tries: { outcome: string; code?: string; reason?: string }[];
  properties: Record<string, unknown>;
}
interface Answer {
  status: number;
  replayedAnswer: boolean;
}

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let platformAdmin: string;

const ask = async <T = Record<string, unknown>>(method: string, path: string, body?: object, { token = system.config.API_TOKEN!, key = randomUUID() }: { token?: string; key?: string } = {}): Promise<T & Answer> => {
  const response = await fetch(`${api.url}${path}`, { method, headers: { authorization: `Bearer ${token}`, 'idempotency-key': key, ...(body ? { 'content-type': 'application/json' } : {}) }, ...(body ? { body: JSON.stringify(body) } : {}) });
  return { ...((await response.json()) as T), status: response.status, replayedAnswer: response.headers.get('idempotent-replay') === 'true' };
};
const list = (query = ''): Promise<{ events: View[]; next: string | null } & Answer> => ask('GET', `${EVENTS}${query}`);
const one = (subject: string, name: (typeof TRACKING_EVENTS)[number]): Promise<View & Answer> => ask('GET', `${EVENTS}/${trackingKey({ project: 'default', subject, name })}`);
const address = (subject: string, name: (typeof TRACKING_EVENTS)[number], act: string): string => `${EVENTS}/${trackingKey({ project: 'default', subject, name })}/${act}`;
const stateOf = async (subject: string, name: (typeof TRACKING_EVENTS)[number]): Promise<string> => (await one(subject, name)).state;
const received = async (subject: string): Promise<string[]> => (await ledgerOf(sandbox.abt, 'event_received')).map((entry) => entry['event'] as { subject: string; event: string }).filter((event) => event.subject === subject).map(({ event }) => event);
const isGone = (subject: string) => async (): Promise<boolean> => (await list(`?voiceCallId=${subject}`)).events.every(({ state }) => state === 'delivered');

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-tracking-'));
  [server, sandbox] = await Promise.all([startTemporalProcess(), startTestSandbox(folder)]);
  system = await startSystem({ server, sandbox, folder, env: { ...sandbox.telling, API_PORT: '0', HEARTBEAT_TIMEOUT: '2s' } });
  api = await startApi(system.wiring);
  const { email, password } = api.firstAdmin!;
  platformAdmin = (await ask<{ accessToken: string }>('POST', '/v1/auth/login', { email, password })).accessToken;
  expect((await ask('POST', '/v1/projects', { id: 'other', name: 'Other' }, { token: platformAdmin })).status).toBe(201);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(() => clearFaults(sandbox.abt));

/** Events of a call of which the first has been refused once and waits. */
const aStuckCall = async (subject: string): Promise<void> => {
  await addFaults(sandbox.abt, { route: 'POST /events', effect: { kind: 'respond', status: 410, body: { error: 'gone fishing' } } });
  await appendAll(system.wiring.db, subject);
  await until('it has failed', async () => (await stateOf(subject, INITIATED)) === 'failed');
};

describe('the delivery view', () => {
  it('shows events as they arrived, by state, name, call and time, page by page', async () => {
    for (const call of ['vc_a', 'vc_b']) await appendAll(system.wiring.db, call);
    await until('both are told', async () => (await isGone('vc_a')()) && (await isGone('vc_b')()));
    expect(await received('vc_a')).toEqual([...TRACKING_EVENTS]);
    const pages: View[] = [];
    for (let cursor: string | null = ''; cursor !== null; ) {
      const page: Awaited<ReturnType<typeof list>> = await list(`?limit=4${cursor ? `&cursor=${cursor}` : ''}`);
      pages.push(...page.events);
      cursor = page.next;
    }
    expect([pages.length, new Set(pages.map(({ eventId }) => eventId)).size]).toEqual([6, 6]);
    expect((await list(`?name=${encodeURIComponent(STARTED)}&voiceCallId=vc_b`)).events.map(({ name, voiceCallId, state, sink }) => [name, voiceCallId, state, sink])).toEqual([[STARTED, 'vc_b', 'delivered', 'http']]);
    expect([(await list('?state=failed')).events, (await list(`?to=${encodeURIComponent('2020-01-01T00:00:00+08:00')}`)).events, (await list('?from=2020-01-01T00:00:00Z')).events.length]).toEqual([[], [], 6]);
    // What a call's people are called by is shown where one looks at one event, not in lists.
    expect(JSON.stringify(pages)).not.toContain('+65');
    expect(await one('vc_a', COMPLETED)).toMatchObject({ attempts: 1, properties: { to: '+6560000123', durationMs: 60_250 }, tries: [{ outcome: 'delivered' }] });
    expect(await ask('GET', `${EVENTS}/summary`)).toMatchObject({ sink: 'http', counts: { pending: 0, delivered: 6, failed: 0, skipped: 0 }, failing: 0, oldestPendingAt: null });
    expect(await ask('GET', `${EVENTS}/schema`)).toMatchObject({ title: 'Aftercall tracking event', oneOf: { length: 3 } });
  });

  it.each(['?cursor=nonsense', '?state=lost', '?from=yesterday', '?name=Call%20ended', '?unknown=1'])('refuses %s', async (query) => {
    expect((await list(query)).status).toBe(400);
  });

  it('knows nothing of events that are not there, or another project’s', async () => {
    expect((await ask('GET', `${EVENTS}/${'0'.repeat(64)}`)).status).toBe(404);
    const id = trackingKey({ project: 'default', subject: 'vc_a', name: STARTED });
    expect((await ask('GET', `/v1/projects/other/tracking-events/${id}`, undefined, { token: platformAdmin })).status).toBe(404);
    expect((await ask('POST', `/v1/projects/other/tracking-events/${id}/replay`, {}, { token: platformAdmin })).status).toBe(404);
    expect(await ask('GET', '/v1/projects/other/tracking-events', undefined, { token: platformAdmin })).toMatchObject({ events: [] });
  });
});

describe('an event that is stuck', () => {
  it('says why, is counted in the metrics, and goes out with those behind it when somebody replays it', async () => {
    await aStuckCall('vc_stuck');
    const stuck = await one('vc_stuck', INITIATED);
    expect(stuck).toMatchObject({ state: 'failed', tries: [{ outcome: 'refused', code: 'UPSTREAM_REJECTED', reason: expect.stringContaining('gone fishing') }] });
    expect(await one('vc_stuck', STARTED)).toMatchObject({ state: 'pending', attempts: 0, keptBackBy: stuck.eventId });
    const metrics = await (await fetch(`${api.url}/metrics`, { headers: { authorization: `Bearer ${system.config.API_TOKEN}` } })).text();
    expect(metrics).toContain('aftercall_tracking_backlog{project="default",state="failed"} 1');
    expect(metrics).toMatch(/aftercall_tracking_oldest_seconds\{project="default",state="pending"\} \d/);

    const key = randomUUID();
    const first = await ask<View>('POST', address('vc_stuck', INITIATED, 'replay'), {}, { key });
    expect(first).toMatchObject({ status: 200, state: 'pending', round: 2 });
    await until('all are told', isGone('vc_stuck'));
    expect(await ask('POST', address('vc_stuck', INITIATED, 'replay'), {}, { key })).toMatchObject({ replayedAnswer: true, round: 2 });
    expect(await received('vc_stuck')).toEqual([...TRACKING_EVENTS]);
    expect((await one('vc_stuck', INITIATED)).round).toBe(2);
  });

  it('lets the others go when somebody skips it, and the record says who', async () => {
    await aStuckCall('vc_skipped');
    expect(await ask('POST', address('vc_skipped', INITIATED, 'skip'), { by: 'the night shift' })).toMatchObject({ status: 200, state: 'skipped', settledBy: 'the night shift' });
    await until('the others are told', async () => (await received('vc_skipped')).length === 2);
    expect(await received('vc_skipped')).toEqual([STARTED, COMPLETED]);
    expect((await ask('POST', address('vc_skipped', COMPLETED, 'skip'), {})).status).toBe(409);
    const { entries } = await ask<{ entries: { action: string; target: string }[] }>('GET', '/v1/projects/default/audit?limit=2');
    expect(entries.map(({ action }) => action)).toEqual(['tracking.skip.failed', 'tracking.skip']);
  });

  it('and many of them go by one request, a part at a time', async () => {
    for (const call of ['vc_m1', 'vc_m2', 'vc_m3']) await aStuckCall(call);
    expect((await ask('POST', `${EVENTS}/replay`, {})).status).toBe(400);
    expect((await ask('POST', `${EVENTS}/replay`, { state: 'pending' })).status).toBe(400);
    expect((await ask('POST', `${EVENTS}/replay`, { state: 'failed', limit: 100_000 })).status).toBe(400);
    const first = await ask<{ replayed: number; next: string | null }>('POST', `${EVENTS}/replay`, { state: 'failed', limit: 2 });
    expect(first).toMatchObject({ status: 200, replayed: 2, next: expect.any(String) });
    expect(await ask('POST', `${EVENTS}/replay`, { state: 'failed', cursor: first.next! })).toMatchObject({ replayed: 1, next: null });
    for (const call of ['vc_m1', 'vc_m2', 'vc_m3']) {
      await until('all are told', isGone(call));
      expect(await received(call)).toEqual([...TRACKING_EVENTS]);
    }
    expect((await ask('POST', `${EVENTS}/replay`, { state: 'failed', cursor: 'nonsense' })).status).toBe(400);
  });
});

describe('a project of its own', () => {
  const connector = '/v1/projects/other/connectors/tracking';
  const connect = (settings: Record<string, string>) => ask<{ secrets?: Record<string, string>; errors?: { path: string }[] }>('PUT', connector, { settings }, { token: platformAdmin });
  const theirs = (subject: string): Promise<View & Answer> => ask('GET', `/v1/projects/other/tracking-events/${trackingKey({ project: 'other', subject, name: INITIATED })}`, undefined, { token: platformAdmin });

  it('has its events kept until it connects a sink, and never sends them to the installation’s', async () => {
    await appendAll(system.wiring.db, 'vc_theirs', { project: 'other' });
    await until('they are settled', async () => (await theirs('vc_theirs')).state === 'skipped');
    expect(await ask('GET', '/v1/projects/other/tracking-events/summary', undefined, { token: platformAdmin })).toMatchObject({ sink: null, counts: { skipped: 3 } });
    expect(await received('vc_theirs')).toEqual([]);
  });

  it.each([
    [{ TRACKING_SINK: 'log' }, ['TRACKING_SINK']],
    [{ TRACKING_SINK: 'sqs', TRACKING_SQS_QUEUE_URL: 'http://169.254.169.254/latest' }, ['TRACKING_SQS_QUEUE_URL', 'TRACKING_SQS_ACCESS_KEY_ID', 'TRACKING_SQS_SECRET_ACCESS_KEY']],
    [{ TRACKING_SINK: 'http', TRACKING_URL: 'https://abt.example.com/' }, ['TRACKING_SECRETS']],
    [{ TRACKING_URL: 'https://abt.example.com/', TRACKING_SECRETS: SECRET }, ['TRACKING_SINK']],
  ] as [Record<string, string>, string[]][])('cannot connect %j', async (settings, paths) => {
    const answer = await connect(settings);
    expect([answer.status, answer.errors?.map(({ path }) => path)]).toEqual([400, paths]);
    expect(JSON.stringify(answer)).not.toContain(SECRET);
  });

  it('does not reach into the installation’s network, and sees why', async () => {
    expect(await connect({ TRACKING_SINK: 'http', TRACKING_URL: 'https://10.0.0.8/events', TRACKING_SECRETS: SECRET })).toMatchObject({ status: 200, secrets: { TRACKING_SECRETS: `****${SECRET.slice(-4)}` } });
    expect(await ask('POST', `${connector}/check`, {}, { token: platformAdmin })).toMatchObject({ ok: false });
    await appendAll(system.wiring.db, 'vc_inward', { project: 'other', names: [INITIATED] });
    await until('it was tried', async () => (await theirs('vc_inward')).tries.length > 0);
    const tried = await theirs('vc_inward');
    expect(tried).toMatchObject({ state: 'pending', failingSince: expect.any(String), tries: [{ outcome: 'refused', code: 'URL_REFUSED' }] });
    expect(JSON.stringify(tried)).not.toContain('whsec');
  });

  it('gets what it was not sent by a replay, from its own sink, and what failed at the old address goes to the new', async () => {
    expect((await connect({ TRACKING_SINK: 'http', TRACKING_URL: `${sandbox.abt.url}/events`, TRACKING_SECRETS: SECRET })).status).toBe(200);
    expect(await ask('POST', '/v1/projects/other/tracking-events/replay', { state: 'skipped' }, { token: platformAdmin })).toMatchObject({ replayed: 3 });
    expect((await ask('POST', `/v1/projects/other/tracking-events/${trackingKey({ project: 'other', subject: 'vc_inward', name: INITIATED })}/replay`, {}, { token: platformAdmin })).status).toBe(200);
    await until('they are told', async () => (await received('vc_theirs')).length === 3 && (await received('vc_inward')).length === 1);
    expect(await received('vc_theirs')).toEqual([...TRACKING_EVENTS]);
  });
});

describe('erasing a call', () => {
  it('takes what was told of it out of here, and says that it was told', async () => {
    await system.startCall(CALL);
    await system.until(CALL, 'completed');
    const { db } = system.wiring;
    await db
      .insertInto('voice_calls')
      .values({ project: 'default', id: 'vc_erased', state: 'completed', priority: 3, from_number: '+15550100100', to_number: '+6560000123', request: JSON.stringify({ from: '+15550100100', to: '+6560000123', variables: {}, metadata: {}, priority: 3 }), call_id: CALL, requested_by: 'test' })
      .execute();
    await appendAll(db, 'vc_erased');
    await until('it is told', isGone('vc_erased'));
    const plan = await ask<{ rows: Record<string, number>; confirm: string }>('POST', '/v1/projects/default/erasures', { callId: CALL, dryRun: true });
    expect(plan.rows).toMatchObject({ tracking_events: 3 });
    const { erasureId } = await ask<{ erasureId: string }>('POST', '/v1/projects/default/erasures', { callId: CALL, confirm: plan.confirm });
    await until('it is erased', async () => (await ask<Certificate>('GET', `/v1/projects/default/erasures/${erasureId}`)).endedAt !== null);
    expect(await ask('GET', `/v1/projects/default/erasures/${erasureId}`)).toMatchObject({ erased: { tracking_events: 3 }, notErased: { 'tracking events that were sent': 3 } });
    expect((await list('?voiceCallId=vc_erased')).events).toEqual([]);
  });

  it('by number finds those that nobody answered, too', async () => {
    const { db } = system.wiring;
    const request = { from: '+15550100100', to: '+6560000777', variables: { name: 'somebody' }, metadata: {}, priority: 3 };
    await db.insertInto('voice_calls').values({ project: 'default', id: 'vc_unanswered', state: 'not_connected', priority: 3, from_number: request.from, to_number: request.to, request: JSON.stringify(request), requested_by: 'test' }).execute();
    await appendAll(db, 'vc_unanswered', { names: [INITIATED, COMPLETED] });
    await until('it is told', isGone('vc_unanswered'));
    const plan = await ask<{ calls: number; rows: Record<string, number>; confirm: string }>('POST', '/v1/projects/default/erasures', { phone: '+65 6000 0777', dryRun: true });
    expect(plan).toMatchObject({ calls: 1, rows: { tracking_events: 2, voice_calls: 1 } });
    const { erasureId } = await ask<{ erasureId: string }>('POST', '/v1/projects/default/erasures', { phone: '+65 6000 0777', confirm: plan.confirm });
    await until('it is erased', async () => (await ask<Certificate>('GET', `/v1/projects/default/erasures/${erasureId}`)).endedAt !== null);
    expect(await ask('GET', `/v1/projects/default/erasures/${erasureId}`)).toMatchObject({ erased: { tracking_events: 2, voice_calls: 1 }, notErased: { 'tracking events that were sent': 2 } });
    expect(JSON.stringify([await db.selectFrom('voice_calls').selectAll().execute(), await db.selectFrom('tracking_events').selectAll().execute()])).not.toContain('60000777');
    expect((await ask('POST', '/v1/projects/default/erasures', { callId: 'vc_unanswered', dryRun: true })).status).toBe(404);
  });
});
