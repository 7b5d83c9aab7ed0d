import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { z } from 'zod';
import type { Fault } from '../../sandbox/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import type { VoiceCallDetailShape } from '../../src/api/voice-calls.schema.ts';
import type { VoiceState } from '../../src/domain/voice.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf, startRetellSandbox, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.ts';
import { until as wait } from '../support/until.ts';

/** From the request to the end, without one webhook: what comes of a call is looked up. The worker is a process of its own, and dies as processes do. */
type Detail = z.output<typeof VoiceCallDetailShape>;

let postgres: TestPostgres;
let server: DevServer;
let sandbox: TestSandbox;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let folder: string;
let desk: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let worker: WorkerProcess | undefined;
let env: Record<string, string>;
let keys = 0;
let numbers = 0;

const FROM = '+15550100';
/** A number that is used once; `ending` chooses what becomes of the call. */
const aNumber = (ending = '10'): string => `+1555012${String((numbers += 1)).padStart(4, '0')}${ending}`;

const ask = async (method: string, path: string, body?: object, key = `voice-key-${(keys += 1)}`): Promise<{ status: number; headers: Headers; body: Record<string, unknown> }> => {
  const answer = await fetch(`${api.url}${path}`, {
    method,
    headers: { authorization: `Bearer ${desk.config.API_TOKEN}`, ...(key ? { 'idempotency-key': key } : {}), ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { status: answer.status, headers: answer.headers, body: (await answer.json()) as Record<string, unknown> };
};
const CALLS = '/v1/projects/default/voice-calls';
const place = async (body: object): Promise<string> => {
  const { status, body: answer } = await ask('POST', CALLS, { from: FROM, ...body });
  expect([status, answer['state']]).toEqual([202, 'queued']);
  return String(answer['url']);
};
const read = async (url: string): Promise<Detail> => (await ask('GET', url)).body as unknown as Detail;
const until = async (url: string, ...states: VoiceState[]): Promise<Detail> => {
  let call = await read(url);
  await wait(() => `${states.join(' or ')}; the call is ${call.state} (${call.reason ?? ''} ${call.attention?.message ?? ''})`, async () => {
    call = await read(url);
    return states.includes(call.state);
  });
  return call;
};
const placedTo = async (number: string): Promise<string[]> => (await ledgerOf(retell, 'call_placed')).filter(({ to }) => to === number).map(({ callId }) => String(callId));
const DIAL = /^POST \/v2\/create-phone-call/;
const requestsTo = async (path: RegExp): Promise<number> => ((await (await fetch(`${retell.url}/_sandbox/requests`)).json()) as { method: string; path: string }[]).filter((request) => path.test(`${request.method} ${request.path}`)).length;

const startWorker = async (): Promise<void> => {
  worker = await startWorkerProcess(env);
};
const endWorker = async (signal: NodeJS.Signals): Promise<void> => void (await worker?.end(signal));

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-voice-'));
  [postgres, server, sandbox, retell] = await Promise.all([startPostgres(), startTemporalProcess(), startTestSandbox(folder), startRetellSandbox(folder)]);
  const overrides = {
    ...retell.env,
    // The recordings' links lead to the one sandbox, those of messages to the others.
    OUTBOUND_ALLOW: '127.0.0.1',
    DATABASE_URL: await postgres.createDatabase(),
    API_PORT: '0',
    HEARTBEAT_TIMEOUT: '3s',
    UPSTREAM_TIMEOUT: '4s',
    RETELL_CALLS_PER_SECOND: '20',
    VOICE_SECOND_LOOK: '1s',
    VOICE_LOOK_UP_FIRST: '1s',
    VOICE_LOOK_UP_MAX: '2s',
  };
  desk = await startSystem({ server, sandbox, folder, env: overrides });
  await desk.stopWorkers();
  env = { ...desk.env, ...overrides };
  api = await startApi(desk.wiring);
  await startWorker();
});
afterAll(async () => {
  await endWorker('SIGKILL');
  await api?.close();
  await desk?.stop();
  await Promise.all([retell?.close(), sandbox?.stop(), server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await clearFaults(retell);
  await retell.control('listing', { lagMs: 0, registered: true });
});

describe('placing a call', () => {
  it('answers with its address, dials once, follows it to its end, and hands it over', async () => {
    const to = aNumber('80');
    const key = `voice-key-${(keys += 1)}`;
    const body = { from: FROM, to, variables: { first_name: 'Ann' }, metadata: { order: 'o-7' }, priority: 1 };
    const first = await ask('POST', CALLS, body, key);
    expect([first.status, first.headers.get('location')]).toEqual([202, first.body['url']]);
    const again = await ask('POST', CALLS, body, key);
    expect([again.status, again.headers.get('location'), again.body]).toEqual([202, first.headers.get('location'), first.body]);

    const url = String(first.body['url']);
    const ended = await until(url, 'completed');
    expect(ended).toMatchObject({ outcome: 'connected', to, dials: 1, attention: null, metadata: { order: 'o-7' } });
    expect(ended.timeline.map(({ what }) => what)).toEqual(expect.arrayContaining(['requested', 'dialling', 'dialled', 'answered', 'ended', 'settled']));
    expect(ended.trackingEvents.map(({ name }) => name)).toEqual(['Voice call initiated', 'Call started', 'Call completed']);
    expect(await placedTo(to)).toEqual([ended.provider!.callId]);
    await wait('it is handed over', async () => (await read(url)).callId !== null);
    const { callId, links, actions } = await read(url);
    expect([callId, actions]).toEqual([ended.provider!.callId, []]);
    await desk.until(callId!, 'completed');
    expect((await ask('GET', links.call!)).status).toBe(200);
  });

  it('takes the key of another request for what it is, also when the answer to the first is forgotten', async () => {
    const to = aNumber('90');
    const key = `voice-key-${(keys += 1)}`;
    const first = await ask('POST', CALLS, { from: FROM, to }, key);
    expect((await ask('POST', CALLS, { from: FROM, to: aNumber() }, key)).status).toBe(422);
    await desk.wiring.db.deleteFrom('idempotency_keys').execute();
    expect((await ask('POST', CALLS, { from: FROM, to: aNumber() }, key)).status).toBe(422);
    await desk.wiring.db.deleteFrom('idempotency_keys').execute();
    const again = await ask('POST', CALLS, { from: FROM, to }, key);
    expect([again.status, again.body['url']]).toEqual([202, first.body['url']]);
    const ended = await until(String(first.body['url']), 'not_connected');
    expect([ended.outcome, ended.provider?.disconnectionReason, (await placedTo(to)).length]).toEqual(['busy', 'dial_busy', 1]);
    // Nobody answered: nothing began, and there is nothing to hand over.
    expect([ended.trackingEvents.map(({ name }) => name), ended.callId]).toEqual([['Voice call initiated', 'Call completed'], null]);
  });

  it.each<[string, object | undefined, string, number]>([
    ['without a key', { to: '+15550110' }, '', 400],
    ['to what is no number', { to: '5550110' }, 'x', 400],
    ['to the number that it comes from', { to: FROM }, 'x', 400],
    ['with metadata that is ours', { to: '+15550110', metadata: { aftercall_project: 'other' } }, 'x', 400],
    ['with variables that are no texts', { to: '+15550110', variables: { age: 7 } }, 'x', 400],
    ['with more than goes into a prompt', { to: '+15550110', variables: Object.fromEntries(Array.from({ length: 51 }, (_, index) => [`v${index}`, 'x'])) }, 'x', 400],
    ['in a zone that there is not', { to: '+15550110', timeZone: 'Mars/Olympus' }, 'x', 400],
    ['in ten years', { to: '+15550110', notBefore: '2999-01-01T00:00:00Z' }, 'x', 400],
    ['before it begins', { to: '+15550110', notBefore: '2026-11-23T10:00:00Z', notAfter: '2026-11-23T10:00:00Z' }, 'x', 400],
    ['with a field that there is not', { to: '+15550110', agnet: 'a' }, 'x', 400],
  ])('is refused %s', async (_title, body, key, status) => {
    const answer = await ask('POST', CALLS, { from: FROM, ...body }, key && `voice-key-${(keys += 1)}`);
    expect([answer.status, typeof answer.body['detail']]).toEqual([status, 'string']);
  });

  it('is refused from a number that the project does not call from', async () => {
    await desk.wiring.projects.changeSettings('default', { voiceNumbers: ['+15550101'] });
    try {
      expect((await ask('POST', CALLS, { from: FROM, to: aNumber() })).status).toBe(422);
    } finally {
      await desk.wiring.projects.changeSettings('default', { voiceNumbers: null });
    }
  });
});

describe('nobody is called twice', () => {
  const killedWhileDialling = async (to: string, fault: Fault): Promise<string> => {
    const before = await requestsTo(DIAL);
    await addFaults(retell, fault);
    const url = await place({ to });
    await wait('it is being dialled', async () => (await requestsTo(DIAL)) > before, 20);
    await endWorker('SIGKILL');
    expect((await read(url)).state).toBe('dialling');
    await startWorker();
    return url;
  };

  it('when the worker is killed before it hears that Retell has taken the call', async () => {
    const to = aNumber('81');
    const dials = await requestsTo(DIAL);
    const url = await killedWhileDialling(to, { route: 'POST /v2/create-phone-call', effect: { kind: 'late', byMs: 1_500 } });
    const ended = await until(url, 'completed');
    expect([await placedTo(to), ended.dials, await requestsTo(DIAL)]).toEqual([[ended.provider!.callId], 1, dials + 1]);
  });

  it('when the worker is killed before Retell has taken the call: a person decides', async () => {
    const to = aNumber('90');
    const dials = await requestsTo(DIAL);
    const url = await killedWhileDialling(to, { route: 'POST /v2/create-phone-call', delayMs: 1_500, effect: { kind: 'delay' } });
    await until(url, 'needs_attention');
    expect([await placedTo(to), await requestsTo(DIAL)]).toEqual([[], dials + 1]);
    expect((await ask('POST', `${url}/resolve`, { as: 'dial_again' })).status).toBe(200);
    await until(url, 'not_connected');
    expect((await placedTo(to)).length).toBe(1);
  });

  it('when the answer is lost, and the list does not show the call at the first look', async () => {
    const to = aNumber('82');
    await retell.control('listing', { lagMs: 700 });
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'drop_after' } });
    const ended = await until(await place({ to }), 'completed');
    expect([await placedTo(to), ended.dials]).toEqual([[ended.provider!.callId], 1]);
  });

  const parked = async (to: string): Promise<string> => {
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'respond', status: 502, body: '' } });
    const url = await place({ to });
    const call = await until(url, 'needs_attention');
    expect(call).toMatchObject({ attention: { code: 'DIAL_UNKNOWN' }, actions: ['resolve'], resolutions: ['dialled', 'dial_again', 'look_again', 'give_up'] });
    expect(await placedTo(to)).toEqual([]);
    return url;
  };

  it('when it is not found: a person says that it was not dialled, and it is', async () => {
    const to = aNumber('90');
    const url = await parked(to);
    expect((await ask('POST', `${url}/cancel`, {})).status).toBe(409);
    expect((await ask('POST', `${url}/resolve`, { as: 'dial_again' })).status).toBe(200);
    const ended = await until(url, 'not_connected');
    expect([(await placedTo(to)).length, ended.dials]).toEqual([1, 2]);
  });

  it('when it is not found: a person gives it up', async () => {
    const to = aNumber('90');
    const url = await parked(to);
    const given = await ask('POST', `${url}/resolve`, { as: 'give_up', reason: 'the customer wrote' });
    expect([given.status, given.body['state'], given.body['reason']]).toEqual([200, 'cancelled', expect.stringContaining('the customer wrote')]);
    expect((await ask('POST', `${url}/resolve`, { as: 'dial_again' })).status).toBe(409);
    expect(await placedTo(to)).toEqual([]);
  });

  it('when it is not found and its workflow was ended: whoever resolves it has it watched again', async () => {
    const to = aNumber('90');
    const url = await parked(to);
    await desk.wiring.temporal.workflow.getHandle(`voice/default/${url.slice(url.lastIndexOf('/') + 1)}`).terminate('by hand');
    const refused = await ask('POST', `${url}/resolve`, { as: 'dial_again' });
    expect([refused.status, refused.body['detail']]).toEqual([409, expect.stringContaining('had been ended in Temporal')]);
    await wait('it can be resolved', async () => (await ask('POST', `${url}/resolve`, { as: 'dial_again' })).status === 200);
    expect((await until(url, 'not_connected')).dials).toBe(2);
  });

  it('when many are not found: one request says the same of all', async () => {
    const requestedFrom = new Date(Date.now() - 1_000).toISOString();
    const numbers = [aNumber('90'), aNumber('90')];
    const urls = [await parked(numbers[0]!), await parked(numbers[1]!)];
    const many = (body: object) => ask('POST', `${urls[0]!.slice(0, urls[0]!.lastIndexOf('/'))}/resolve`, { requestedFrom, ...body });
    expect((await many({ as: 'dial_again', code: 'END_UNKNOWN' })).body).toEqual({ resolved: 0, stillWaiting: 0, refused: [], next: null });
    expect((await many({ as: 'look_again' })).body).toEqual({ resolved: 0, stillWaiting: 2, refused: [], next: null });
    expect((await many({ as: 'give_up' })).status).toBe(400);
    expect((await many({ as: 'dial_again', code: 'DIAL_UNKNOWN' })).body).toEqual({ resolved: 2, stillWaiting: 0, refused: [], next: null });
    for (const [index, url] of urls.entries()) {
      const ended = await until(url, 'not_connected');
      expect([(await placedTo(numbers[index]!)).length, ended.dials]).toEqual([1, 2]);
    }
    expect((await many({ as: 'give_up', reason: 'not wanted any more' })).body).toEqual({ resolved: 0, stillWaiting: 0, refused: [], next: null });
    const entries = await desk.wiring.db.selectFrom('audit_log').select('details').where('action', '=', 'voice_calls.resolve_many').orderBy('at').execute();
    expect(entries.map(({ details }) => (details as { as: string }).as)).toEqual(['dial_again', 'look_again', 'dial_again', 'give_up']);
  });

  it('when it is not found: a person names the call, and another’s is not taken for it', async () => {
    const to = aNumber('83');
    await retell.control('listing', { lagMs: 3_600_000 });
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'drop_after' } });
    const url = await place({ to });
    await until(url, 'needs_attention');
    const [providerCallId] = await placedTo(to);
    const other = (await ledgerOf(retell, 'call_placed')).find((entry) => entry['to'] !== to)!['callId'];
    const refusals = await Promise.all([ask('POST', `${url}/resolve`, { as: 'dialled', providerCallId: other }), ask('POST', `${url}/resolve`, { as: 'dialled', providerCallId: 'call_nobody' })]);
    expect(refusals.map(({ status }) => status)).toEqual([409, 409]);
    expect((await ask('POST', `${url}/resolve`, { as: 'dialled', providerCallId })).status).toBe(200);
    const ended = await until(url, 'completed');
    expect([ended.provider!.callId, (await placedTo(to)).length]).toEqual([providerCallId, 1]);
  });
});

describe('when Retell says no', () => {
  it('dials later after a clear "not now", and says why it waits', async () => {
    const to = aNumber('91');
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'respond', status: 429, headers: { 'retry-after': '1' }, body: {} } });
    const url = await place({ to });
    await wait('it says why it waits', async () => (await read(url)).reason !== null, 50);
    expect(await read(url)).toMatchObject({ state: 'queued', dials: 1, reason: expect.stringContaining('429') as unknown });
    expect(Date.parse((await read(url)).notBefore)).toBeGreaterThan(Date.now());
    // Nobody waits for the quarter of a minute here.
    await desk.wiring.db.updateTable('voice_calls').set({ not_before: new Date() }).where('to_number', '=', to).execute();
    await desk.wiring.voiceLinesClient.wake('default');
    const ended = await until(url, 'not_connected');
    expect([ended.outcome, ended.dials, ended.reason]).toEqual(['no_answer', 2, null]);
  });

  it('ends a call that it will never take', async () => {
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'respond', status: 422, body: { status: 'error', message: 'agent not published' } } });
    const failed = await until(await place({ to: aNumber() }), 'failed');
    expect([failed.reason, failed.actions, failed.trackingEvents]).toEqual([expect.stringContaining('agent not published'), [], []]);
  });
});

describe('taking it back', () => {
  it('cancels before it is dialled, once and for all, and not after', async () => {
    const to = aNumber();
    const url = await place({ to, notBefore: new Date(Date.now() + 3_600_000).toISOString() });
    expect((await ask('POST', `${url}/stop`, {})).status).toBe(409);
    const cancelled = await ask('POST', `${url}/cancel`, { reason: 'no longer needed' });
    expect([cancelled.status, cancelled.body['state']]).toEqual([200, 'cancelled']);
    expect((await ask('POST', `${url}/cancel`, {})).body['reason']).toBe(cancelled.body['reason']);
    await desk.wiring.db.updateTable('voice_calls').set({ not_before: new Date() }).where('to_number', '=', to).execute();
    await desk.wiring.voiceLinesClient.wake('default');
    const next = await until(await place({ to: aNumber('93') }), 'not_connected');
    expect([next.outcome, await placedTo(to)]).toEqual(['failed', []]);
  });

  it('happens by itself once its time is over', async () => {
    const to = aNumber();
    const [notBefore, notAfter] = [3_600_000, 7_200_000].map((ms) => new Date(Date.now() + ms).toISOString());
    const url = await place({ to, notBefore, notAfter });
    expect(await read(url)).toMatchObject({ notBefore, notAfter, state: 'queued' });
    await desk.wiring.db.updateTable('voice_calls').set({ not_after: new Date(Date.now() + 500) }).where('to_number', '=', to).execute();
    await desk.wiring.voiceLinesClient.wake('default');
    expect((await until(url, 'cancelled')).reason).toMatch(/to be dialled before/);
    expect(await placedTo(to)).toEqual([]);
  });

  it('stops while it is being dialled: what Retell then does not take is not dialled again', async () => {
    const to = aNumber('80');
    await addFaults(retell, { route: 'POST /v2/create-phone-call', delayMs: 3_000, effect: { kind: 'respond', status: 429, headers: { 'retry-after': '1' }, body: {} } });
    const url = await place({ to });
    await until(url, 'dialling');
    expect(await ask('POST', `${url}/stop`, {})).toMatchObject({ status: 200, body: { stopped: false } });
    const ended = await until(url, 'cancelled');
    expect([ended.reason, ended.dials, await placedTo(to)]).toEqual([expect.stringContaining('stopped'), 1, []]);
  });

  it.each(['hangs up', 'is over'])('stops a call that was taken while it was being dialled, however often Retell refuses to, until it %s', async (end) => {
    const to = aNumber('95');
    const forLong = end === 'is over';
    await addFaults(retell, { route: 'POST /v2/create-phone-call', delayMs: 3_000, effect: { kind: 'delay' } });
    await addFaults(retell, { route: 'POST /v2/stop-call/*', times: forLong ? 1_000 : 6, effect: { kind: 'respond', status: 429, headers: { 'retry-after': '1' }, body: {} } });
    const url = await place({ to });
    await until(url, 'dialling');
    expect(await ask('POST', `${url}/stop`, {})).toMatchObject({ status: 200, body: { stopped: false } });
    const placed = await wait('it is placed', async () => (await placedTo(to))[0]);
    const stops = () => requestsTo(new RegExp(`^POST /v2/stop-call/${placed}$`));
    // More often than a stop is tried that somebody waits for.
    await wait('it was tried often', async () => (await stops()) >= 5);
    if (forLong) await retell.control(`calls/${placed}/end`, { reason: 'user_hangup' });
    const ended = await until(url, 'completed');
    expect([ended.provider!.disconnectionReason, ended.reason]).toEqual([forLong ? 'user_hangup' : 'manual_stopped', null]);
    await wait('it is handed over', async () => (await read(url)).callId !== null);
    if (!forLong) expect(await stops()).toBe(7);
  });

  it('stops during the call', async () => {
    const to = aNumber('95');
    const url = await place({ to });
    await until(url, 'ongoing');
    expect((await ask('POST', `${url}/cancel`, {})).status).toBe(409);
    expect(await ask('POST', `${url}/stop`, {})).toMatchObject({ status: 200, body: { stopped: true } });
    const ended = await until(url, 'completed');
    expect(ended.provider!.disconnectionReason).toBe('manual_stopped');
    expect((await ask('POST', `${url}/stop`, {})).status).toBe(409);
  });
});

it('lists calls by state, number and time, page by page, with how many there are', async () => {
  const to = aNumber('90');
  const number = `${to.slice(0, 2)} (${to.slice(2, 5)}) ${to.slice(5)}`;
  const later = new Date(Date.now() + 3_600_000).toISOString();
  const urls: string[] = [];
  for (let times = 0; times < 3; times += 1) urls.push(await place({ to, notBefore: later }));
  await ask('POST', `${urls[0]}/cancel`, {});
  const query = `number=${encodeURIComponent(number)}&limit=1&state=queued`;
  const first = (await ask('GET', `${CALLS}?${query}`)).body as { voiceCalls: Detail[]; next: string; countByState: object };
  expect(first.countByState).toEqual({ queued: 2, cancelled: 1 });
  const second = (await ask('GET', `${CALLS}?${query}&cursor=${first.next}`)).body as unknown as typeof first;
  expect([...first.voiceCalls, ...second.voiceCalls].map(({ url }) => url)).toEqual([urls[2], urls[1]]);
  expect([second.next, second.countByState]).toEqual([null, null]);
  expect((await ask('GET', `${CALLS}?number=${encodeURIComponent(to)}&requestedTo=2020-01-01T00:00:00Z`)).body).toMatchObject({ voiceCalls: [], next: null, countByState: {} });
});
