import { createHmac } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { addFaults, clearFaults } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const WEBHOOK_SECRET = 'a-webhook-secret-of-32-characters!';
const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;
const LATE = SAMPLE_CALLS.find((call) => call.title.includes('comes late'))!.taskId;

let server: DevServer;
let system: TestSystem;
let api: RunningApi;
let document: { paths: Record<string, Record<string, { responses: Record<string, { content?: Record<string, { schema: object }> }> }>>; components?: object };
let keys = 0;

const path = (rest: string): string => `${api.url}/v1/projects/default${rest}`;
const get = (url: string, headers: Record<string, string> = {}): Promise<Response> => fetch(url, { headers: { authorization: `Bearer ${system.config.API_TOKEN}`, ...headers } });
const post = (url: string, body: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(url, {
    method: 'POST',
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json', 'idempotency-key': `test-key-${(keys += 1)}`, ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
const json = async <T = Record<string, unknown>>(response: Response | Promise<Response>): Promise<T> => (await (await response).json()) as T;

/** The answer fits the schema that the documentation gives for it. */
const fitsSchema = async (method: 'get' | 'post', route: string, response: Response): Promise<Record<string, unknown>> => {
  const body = await json(response);
  const { schema } = document.paths[route]![method]!.responses[String(response.status)]!.content!['application/json']!;
  const validate = new Ajv2020({ strict: false, validateFormats: false }).compile({ ...schema, components: document.components });
  expect(validate(body) ? [] : validate.errors).toEqual([]);
  return body;
};

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { WEBEX_WEBHOOK_SECRET: WEBHOOK_SECRET, API_PORT: '0', TEMPORAL_UI_URL: 'http://127.0.0.1:8233', RECORDING_FIRST_LOOK: '10m' } });
  await system.startCall(GOOD);
  await system.until(GOOD, 'completed');
  api = await startApi(system.wiring);
  document = await json(fetch(`${api.url}/openapi.json`));
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await server?.stop();
});

describe('who may', () => {
  it.each(['', 'Bearer wrong-token-of-some-length', 'Basic abc'])('nobody in with "%s"', async (authorization) => {
    for (const route of [path('/calls'), path(`/calls/${GOOD}/recording`), `${api.url}/metrics`]) {
      const response = await fetch(route, { headers: { authorization } });
      expect(response.status).toBe(401);
      expect(response.headers.get('www-authenticate')).toContain('Bearer');
      expect(response.headers.get('content-type')).toContain('application/problem+json');
    }
    const decode = await fetch(`${api.url}/codec/decode`, { method: 'POST', headers: { authorization, 'content-type': 'application/json' }, body: '{"payloads":[]}' });
    expect(decode.status).toBe(401);
  });

  it('tells everybody that it is alive, ready and documented, and nobody what runs it', async () => {
    expect(await json(fetch(`${api.url}/healthz`))).toEqual({ status: 'ok' });
    expect(await json(fetch(`${api.url}/readyz`))).toEqual({ status: 'ok', checks: { database: 'ok', objects: 'ok', temporal: 'ok' } });
    const docs = await fetch(`${api.url}/docs`);
    expect(docs.headers.get('content-security-policy')).toContain("script-src 'self'");
    expect(docs.headers.get('x-powered-by')).toBeNull();
  });
});

describe('reading', () => {
  it('documents every route with its answers', () => {
    // Which they are is held down in test/security/access.test.ts.
    expect(Object.keys(document.paths).length).toBeGreaterThan(40);
    for (const methods of Object.values(document.paths)) for (const { responses } of Object.values(methods)) expect(Object.keys(responses)).toContain('default');
  });

  it('lists calls in pages, filtered and counted', async () => {
    const list = await fitsSchema('get', '/v1/projects/{project}/calls', await get(path('/calls?limit=1&state=completed&state=failed')));
    expect(list).toMatchObject({ calls: [{ callId: GOOD, state: 'completed', queueName: 'Business Sales' }], next: null, countByState: { completed: 1 } });
    expect((await get(path('/calls?limit=1000'))).status).toBe(400);
    expect(await json(get(path('/calls?nonsense=1')))).toMatchObject({ status: 400, errors: [{ message: expect.stringContaining('nonsense') as unknown }] });
    expect((await get(path('/calls?cursor=bm90IG9uZQ'))).status).toBe(400);
    for (const position of [['+275760-09-13T00:00:00.000Z', 'x'], ['-000001-01-01T00:00:00.000Z', 'x'], ['2026-11-20T00:00:00.000Z', 'a\0'], [0, 'x'], null]) {
      const cursor = Buffer.from(JSON.stringify(position)).toString('base64url');
      expect([position, (await get(path(`/calls?cursor=${cursor}`))).status, (await get(path(`/runs?cursor=${cursor}`))).status]).toEqual([position, 400, 400]);
    }
    expect((await get(path('/calls?text=%00'))).status).toBe(400);
    expect((await get(path('/calls/%00'))).status).toBe(400);
    expect((await get(`${api.url}/v1/projects/nobody/calls`)).status).toBe(404);
  });

  it('shows a call with its version, effects, costs and what can be done', async () => {
    const call = await fitsSchema('get', '/v1/projects/{project}/calls/{callId}', await get(path(`/calls/${GOOD}`)));
    expect(call).toMatchObject({
      actions: ['reprocess'],
      versions: [{ version: 1, crm: { scenario: 'good_lead', action: 'create_lead' }, scorePercent: 100 }],
      effects: [
        { effect: 'create_lead', target: 'salesforce', class: 'upsert_by_key', state: 'done' },
        { effect: 'note', target: 'salesforce', class: 'read_before_write', state: 'done' },
      ],
      links: { temporal: expect.stringContaining('call%2Fdefault%2F') as unknown },
    });
    expect((call['costs'] as unknown[]).length).toBe(4);
    expect(await json(get(path('/calls/unknown')))).toMatchObject({ status: 404, detail: expect.stringContaining('unknown') as unknown, advice: expect.any(String) as unknown });
  });

  it('compares graded calls by queue, by question and by what customers said', async () => {
    const ofYear = `from=2026-01-01T00:00:00Z&to=2027-01-01T00:00:00Z`;
    expect(await fitsSchema('get', '/v1/projects/{project}/quality', await get(path(`/quality?by=queue&${ofYear}`)))).toMatchObject({ totals: [{ of: 'Business Sales', calls: 1, averageScorePercent: 100, passPercent: 100 }] });
    const { criteria } = (await fitsSchema('get', '/v1/projects/{project}/quality/criteria', await get(path(`/quality/criteria?${ofYear}`)))) as unknown as { criteria: { of: string }[] };
    expect(criteria.map(({ of }) => of).toSorted()).toEqual(['closing', 'greeting', 'needs', 'objections', 'presentation', 'tone']);
    expect(await fitsSchema('get', '/v1/projects/{project}/quality/patterns', await get(path(`/quality/patterns?${ofYear}`)))).toMatchObject({ patterns: [{ of: 'purchase_intent', calls: 1, sharePercent: 100 }] });
    for (const wrong of ['by=nobody', 'timeZone=Mars/Olympus', 'timeZone=%2B03:00', 'from=2026-01-01T00:00:00Z&to=2025-01-01T00:00:00Z', 'from=2020-01-01T00:00:00Z']) expect([wrong, (await get(path(`/quality?${wrong}`))).status]).toEqual([wrong, 400]);
  });

  it("changes the project's settings one by one, and gives them back to the installation", async () => {
    const change = (changes: object) => fetch(path('/settings'), { method: 'PATCH', headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json' }, body: JSON.stringify(changes) });
    const before = (await fitsSchema('get', '/v1/projects/{project}/settings', await get(path('/settings')))) as { settings: Record<string, unknown>; changed: string[] };
    expect([before.settings['passPercent'], before.settings['recordingFirstLookSeconds'], before.changed]).toEqual([70, 600, []]);
    const categories = [{ category: 'sales', queues: ['*sales*'] }];
    expect(await json(change({ passPercent: 55, categories }))).toEqual({ settings: { ...before.settings, passPercent: 55, categories }, changed: ['categories', 'passPercent'] });
    expect(await json(change({ passPercent: null, categories: null }))).toEqual(before);
    // The ones that an installation begins with are possible, too.
    expect((await change({ brnFormats: before.settings['brnFormats'] })).status).toBe(200);
    expect((await change({ brnFormats: null })).status).toBe(200);
    for (const [wrong, says] of [[{}, 'names no setting'], [{ passPercent: 101 }, '100'], [{ passPercents: 1 }, 'passPercents'], [{ brnFormats: ['(a+)+$'] }, 'take for ever'], [{ brnFormats: [`^${'\\d*'.repeat(8)}X$`] }, 'take for ever'], [{ brnFormats: [`^${'a?'.repeat(40)}$`] }, 'take for ever'], [{ brnFormats: [`^${'(1|1)'.repeat(20)}$`] }, 'take for ever'], [{ brnFormats: ['^(?=1)1$'] }, 'take for ever'], [{ brnFormats: ['['] }, 'regular expression'], [{ managedAccountsOwner: 'me' }, 'Salesforce'], [{ categories: [{ category: 'Sales!' }] }, 'lower-case']] as const) {
      const refused = await change(wrong);
      expect([refused.status, await refused.text()]).toEqual([400, expect.stringContaining(says)]);
    }
    expect(await json(get(path('/settings')))).toEqual(before);
  });

  it('gives the transcript as JSON, WebVTT and SRT, and the analysis', async () => {
    expect(await json(get(path(`/calls/${GOOD}/transcript`)))).toMatchObject({ callId: GOOD, speakersBy: 'channel' });
    const vtt = await get(path(`/calls/${GOOD}/transcript?format=vtt`));
    expect(vtt.headers.get('content-type')).toContain('text/vtt');
    expect(await vtt.text()).toMatch(/^WEBVTT\n\n00:00:00\.400 --> .*\n<v agent>Good morning/);
    expect(await (await get(path(`/calls/${GOOD}/transcript?format=srt`))).text()).toMatch(/^1\n00:00:00,400 --> .*\nagent: Good morning/);
    expect(await json(get(path(`/calls/${GOOD}/analysis`)))).toMatchObject({ call_id: GOOD, grading: { pass: true } });
  });

  it('streams the recording, whole and in ranges', async () => {
    const url = path(`/calls/${GOOD}/recording`);
    const whole = new Uint8Array(await (await get(url)).arrayBuffer());
    const part = await get(url, { range: 'bytes=1000-1999' });
    expect(part.status).toBe(206);
    expect(part.headers.get('content-range')).toBe(`bytes 1000-1999/${whole.byteLength}`);
    expect(Buffer.from(await part.arrayBuffer()).equals(Buffer.from(whole.subarray(1000, 2000)))).toBe(true);
    const etag = part.headers.get('etag')!;
    expect((await get(url, { range: 'bytes=0-9', 'if-range': etag })).status).toBe(206);
    const changed = await get(url, { range: 'bytes=0-9', 'if-range': '"of-another-recording"' });
    expect([changed.status, changed.headers.get('content-length')]).toEqual([200, String(whole.byteLength)]);
    await changed.body?.cancel();
    expect((await get(url, { range: 'bytes=-10' })).headers.get('content-length')).toBe('10');
    expect((await get(url, { range: `bytes=${whole.byteLength}-` })).status).toBe(416);
    const head = await fetch(url, { method: 'HEAD', headers: { authorization: `Bearer ${system.config.API_TOKEN}` } });
    expect([head.status, head.headers.get('content-length'), head.headers.get('x-content-type-options')]).toEqual([200, String(whole.byteLength), 'nosniff']);
  });

  it('counts calls and requests for Prometheus', async () => {
    const metrics = await (await get(`${api.url}/metrics`)).text();
    expect(metrics).toContain('aftercall_calls{project="default",state="completed"} 1');
    expect(metrics).toContain('aftercall_http_request_seconds_count');
    expect(metrics).not.toContain(GOOD);
  });
});

describe('acting', () => {
  it('needs an Idempotency-Key, and does the same thing once', async () => {
    const url = path(`/calls/${GOOD}/reprocess`);
    expect((await post(url, { by: 'ann', from: 'analysis' }, { 'idempotency-key': '' })).status).toBe(400);
    const first = await post(url, { by: 'ann', from: 'analysis' }, { 'idempotency-key': 'reprocess-1' });
    expect([first.status, await fitsSchema('post', '/v1/projects/{project}/calls/{callId}/reprocess', first)]).toEqual([202, { callId: GOOD, started: true, version: 2 }]);
    const again = await post(url, { by: 'ann', from: 'analysis' }, { 'idempotency-key': 'reprocess-1' });
    expect([again.status, again.headers.get('idempotent-replay'), await json(again)]).toEqual([202, 'true', { callId: GOOD, started: true, version: 2 }]);
    expect((await post(url, { by: 'ann', from: 'crm' }, { 'idempotency-key': 'reprocess-1' })).status).toBe(422);
    await system.until(GOOD, 'completed');
    expect((await system.wiring.calls.get(system.key(GOOD))).version).toBe(2);
  });

  it('says why an action does not fit the call', async () => {
    const refused = await post(path(`/calls/${GOOD}/approve`), { by: 'ann' });
    expect([refused.status, await json(refused)]).toMatchObject([409, { detail: expect.stringContaining('completed') as unknown, advice: expect.stringContaining('Reprocess') as unknown }]);
    expect((await post(path('/calls/unknown/retry'), { by: 'ann' })).status).toBe(404);
    expect(await json(post(path(`/calls/${GOOD}/retry`), { by: 'ann', from: 'lunch' }))).toMatchObject({ status: 400, errors: [{ path: 'from' }] });
  });

  it('frees a stuck call by retry, and tells two who press at once apart', async () => {
    const callId = SAMPLE_CALLS[1]!.taskId;
    await addFaults(system.sandbox.openai, { route: 'POST /v1/chat/completions', effect: { kind: 'refusal' } });
    await system.startCall(callId);
    await system.until(callId, 'needs_attention');
    await clearFaults(system.sandbox.openai);
    expect(await json(get(path(`/calls/${callId}`)))).toMatchObject({ state: 'needs_attention', step: 'analysis', attention: { code: 'MODEL_REFUSED' }, actions: ['retry', 'skip-step', 'give-up'] });
    expect((await post(path(`/calls/${callId}/skip-step`), { by: 'ann', step: 'crm' })).status).toBe(409);
    const pressed = await Promise.all([post(path(`/calls/${callId}/retry`), { by: 'ann' }), post(path(`/calls/${callId}/give-up`), { by: 'bob', reason: 'no' })]);
    expect(pressed.map(({ status }) => status).toSorted()[0]).toBe(200);
    const call = await system.until(callId, 'completed', 'given_up');
    expect(['completed', 'given_up']).toContain(call.state);
  });

  it('ends a call that is given up, whatever characters the reason has', async () => {
    const callId = SAMPLE_CALLS[2]!.taskId;
    await addFaults(system.sandbox.webex, { route: 'POST /v1/captures/query', effect: { kind: 'respond', status: 403, body: {} }, times: 5 });
    await system.startCall(callId);
    await system.until(callId, 'needs_attention');
    await clearFaults(system.sandbox.webex);
    expect((await post(path(`/calls/${callId}/give-up`), { by: 'ann\0', reason: 'no\0 use' })).status).toBe(200);
    expect((await system.until(callId, 'given_up')).reason).toContain('use');
  });

  it('answers 503 while no worker serves, and the same request goes through afterwards', async () => {
    const callId = SAMPLE_CALLS[4]!.taskId;
    await addFaults(system.sandbox.openai, { route: 'POST /v1/chat/completions', effect: { kind: 'refusal' } });
    await system.startCall(callId);
    await system.until(callId, 'needs_attention');
    await clearFaults(system.sandbox.openai);
    await system.stopWorkers();
    const refused = await post(path(`/calls/${callId}/retry`), { by: 'ann' }, { 'idempotency-key': 'retry-later-1' });
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '5']);
    await system.startWorkers();
    expect((await post(path(`/calls/${callId}/retry`), { by: 'ann' }, { 'idempotency-key': 'retry-later-1' })).status).toBe(200);
    await system.until(callId, 'completed');
  });

  it('reads and steers the schedule', async () => {
    expect((await get(path('/schedules/webex'))).status).toBe(404);
    await system.wiring.schedules.apply();
    expect(await system.wiring.schedules.apply()).toBe('updated');
    expect(await fitsSchema('get', '/v1/projects/{project}/schedules/{source}', await get(path('/schedules/webex')))).toMatchObject({ id: 'ingest/default/webex', paused: false, overlap: 'buffer_one' });
    expect((await post(path('/schedules/webex/pause'), { note: 'holiday' })).status).toBe(200);
    expect(await json(get(path('/schedules/webex')))).toMatchObject({ paused: true, note: 'holiday' });
    expect((await post(path('/schedules/webex/backfill'), { from: '2026-11-20T00:00:00Z', to: '2026-11-19T00:00:00Z' })).status).toBe(400);
  });
});

describe('bad requests', () => {
  it.each([
    ['malformed JSON', '{"by":', {}, 400],
    ['another type', '{"by":"ann"}', { 'content-type': 'text/plain' }, 415],
    ['an unknown key', '{"by":"ann","surprise":1}', {}, 400],
    ['too large a body', JSON.stringify({ by: 'x'.repeat(300_000) }), {}, 413],
  ] as const)('%s', async (_title, body, headers, status) => {
    const response = await post(path(`/calls/${GOOD}/retry`), body, headers);
    expect(response.status).toBe(status);
    expect(await json(response)).toMatchObject({ status, title: expect.any(String) as unknown, instance: expect.stringMatching(/^urn:uuid:/) as unknown });
  });

  it('are told what is wrong with the address or the method', async () => {
    expect((await get(`${api.url}/nowhere`)).status).toBe(404);
    expect((await fetch(path('/calls'), { method: 'DELETE', headers: { authorization: `Bearer ${system.config.API_TOKEN}` } })).status).toBe(405);
  });
});

describe('Webex webhooks', () => {
  const send = (event: object, { secret = WEBHOOK_SECRET, timestamp = Date.now(), body = JSON.stringify(event) } = {}): Promise<Response> =>
    fetch(`${api.url}/webhooks/webex`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', 'x-webexcc-signature': createHmac('sha256', secret).update(body).digest('hex'), 'x-webexcc-timestamp': String(timestamp) },
      body,
    });
  const event = (id: string, taskId: string) => ({ id, type: 'capture:available', specversion: '1.0', data: { taskId } });

  it('wake the call whose recording has come, once, however often they are sent', async () => {
    await system.startCall(LATE);
    await system.until(LATE, 'waiting_for_recording');
    // The stand-in still answers one look with nothing.
    expect((await send(event('e1', LATE))).status).toBe(202);
    expect((await send(event('e1', LATE))).status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await system.until(LATE, 'waiting_for_recording');
    expect((await send(event('e2', LATE))).status).toBe(202);
    await system.until(LATE, 'completed');
  });

  it('start a window when a call has ended, also after the schedule could not be reached', async () => {
    const { schedules, temporal } = system.wiring;
    await temporal.schedule.getHandle(schedules.id).delete();
    expect((await send({ id: 'ended-1', type: 'task:ended', data: { taskId: 'any' } })).status).toBe(202);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await schedules.apply();
    await until('a window runs', async () => (await schedules.describe()).recentRuns.length > 0);
    expect((await schedules.describe()).recentRuns).toHaveLength(1);
  });

  it.each([
    ['another secret', event('e3', LATE), { secret: 'somebody-elses-secret-of-32-chars' }, 401],
    ['an old event', event('e4', LATE), { timestamp: Date.now() - 301_000 }, 401],
    ['no event', { hello: 1 }, {}, 400],
    ['no JSON', {}, { body: 'hello' }, 400],
  ])('are refused with %s', async (_title, body, options, status) => {
    expect((await send(body, options)).status).toBe(status);
  });
});

describe('the codec endpoint', () => {
  it('decodes what is encrypted in Temporal for the UI, and for nobody else’s page', async () => {
    const history = await system.wiring.temporal.workflow.getHandle(`call/default/${GOOD}`).fetchHistory();
    const payload = history.events?.[0]?.workflowExecutionStartedEventAttributes?.input?.payloads?.[0];
    const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
    const wire = { payloads: [{ metadata: Object.fromEntries(Object.entries(payload!.metadata!).map(([key, value]) => [key, base64(value)])), data: base64(payload!.data!) }] };
    expect(Buffer.from(payload!.data!).toString('latin1')).not.toContain(GOOD);
    const ask = (origin: string) => fetch(`${api.url}/codec/decode`, { method: 'POST', headers: { origin, 'content-type': 'application/json' }, body: JSON.stringify(wire) });
    const answered = await ask('http://127.0.0.1:8233');
    expect(answered.headers.get('access-control-allow-origin')).toBe('http://127.0.0.1:8233');
    const { payloads } = await json<{ payloads: { data: string }[] }>(answered);
    expect(Buffer.from(payloads[0]!.data, 'base64').toString()).toContain(GOOD);
    const foreign = await ask('http://elsewhere.example');
    expect([foreign.status, foreign.headers.get('access-control-allow-origin')]).toEqual([401, null]);
  });
});
