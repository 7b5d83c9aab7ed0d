import { createHash, createHmac, randomUUID } from 'node:crypto';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { request as httpRequest } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AMOCRM_CLIENT, startAmoCrm } from '../../sandbox/amocrm/server.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { RECEIVER_SECRETS } from '../../sandbox/receiver/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { TELEGRAM_BOT } from '../../sandbox/telegram/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import type { CallRow } from '../../src/db/calls.ts';
import type { CallState } from '../../src/domain/call.ts';
import { callWorkflowId } from '../../src/domain/ids.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { addNotes, setLimits } from '../support/amocrm.ts';
import { ffmpegPath, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until as wait } from '../support/until.ts';

/** Two projects, each with an amoCRM account of its own in which notes have the same numbers, and calls that are handed in. */
const CONSUMER = SAMPLE_CALLS.find((call) => call.title.includes('private customer'))!;
const PLACES = { north: { accountId: '1001', secret: 'north-address-that-nobody-can-guess' }, south: { accountId: '2002', secret: 'south-address-that-nobody-can-guess' } };
type Place = keyof typeof PLACES;

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let token: string;
const accounts: Partial<Record<Place, SandboxServer>> = {};

const ask = (method: string, path: string, body?: unknown, headers: Record<string, string> = {}): Promise<Response> =>
  fetch(`${api.url}${path}`, { method, headers: { authorization: `Bearer ${token}`, 'idempotency-key': randomUUID(), ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...headers }, ...(body === undefined ? {} : { body: JSON.stringify(body) }) });
const json = async <T>(response: Promise<Response>): Promise<T> => (await (await response).json()) as T;
const connector = (place: Place) => `/v1/projects/${place}/connectors/amocrm`;
const settingsOf = (place: Place, more: Record<string, string> = {}) => ({
  AMOCRM_BASE_URL: accounts[place]!.url,
  AMOCRM_CLIENT_ID: AMOCRM_CLIENT.clientId,
  AMOCRM_CLIENT_SECRET: AMOCRM_CLIENT.clientSecret,
  AMOCRM_REFRESH_TOKEN: AMOCRM_CLIENT.refreshToken,
  AMOCRM_REDIRECT_URI: AMOCRM_CLIENT.redirectUri,
  AMOCRM_ACCOUNT_ID: PLACES[place].accountId,
  AMOCRM_WEBHOOK_SECRET: PLACES[place].secret,
  AMOCRM_REQUESTS_PER_SECOND: '7',
  ...more,
});

let windows = 0;
const runWindow = async (place: Place): Promise<ExecutionReport> => {
  windows += 1;
  const schedules = await system.wiring.scheduleOf(place, 'amocrm');
  return (await (await schedules.runWindow({ workflowId: `ingest/${place}/amocrm/test-${windows}` })).result()) as ExecutionReport;
};
const callsOf = async (project: string): Promise<string[]> => (await system.wiring.calls.list({ project }, { limit: 100 })).map(({ callId }) => callId).toSorted();
const until = async (project: string, callId: string, ...states: CallState[]): Promise<CallRow> => {
  let call: CallRow | undefined;
  return wait(() => `call ${callId} of ${project} is ${states.join(' or ')}; it is ${call?.state} (${call?.attention?.message ?? call?.reason})`, async () => {
    call = await system.wiring.calls.find({ project, callId });
    return call && states.includes(call.state) && call;
  });
};
const delivered = (): Promise<boolean> => wait('all is delivered', async () => (await system.wiring.inbox.backlog()) === 0);

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-projects-'));
  server = await startTemporalProcess();
  sandbox = await startTestSandbox(folder, [CONSUMER]);
  for (const place of Object.keys(PLACES) as Place[]) {
    accounts[place] = await startAmoCrm({ calls: [CONSUMER], audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath(), dataFolder: join(folder, place), accountId: PLACES[place].accountId });
    await setLimits(accounts[place], { perSecond: 100 });
  }
  // An installation whose own settings connect nothing but speech and language.
  const own = Object.fromEntries(['WEBEX_BASE_URL', 'WEBEX_CLIENT_ID', 'WEBEX_CLIENT_SECRET', 'WEBEX_REFRESH_TOKEN', 'AMOCRM_BASE_URL', 'AMOCRM_CLIENT_ID', 'AMOCRM_CLIENT_SECRET', 'AMOCRM_REFRESH_TOKEN', 'AMOCRM_REDIRECT_URI', 'AMOCRM_ACCOUNT_ID', 'SFDC_URL', 'SFDC_CLIENT_ID', 'SFDC_CLIENT_SECRET'].map((name) => [name, '']));
  system = await startSystem({ server, sandbox, folder, env: { ...own, API_PORT: '0', OUTBOUND_ALLOW: '127.0.0.1', MAX_RECORDING_MB: '50' } });
  api = await startApi(system.wiring);
  const { email, password } = api.firstAdmin!;
  token = (await json<{ accessToken: string }>(fetch(`${api.url}/v1/auth/login`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ email, password }) }))).accessToken;
  for (const place of Object.keys(PLACES)) expect((await ask('POST', '/v1/projects', { id: place, name: place })).status).toBe(201);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([sandbox?.stop(), ...Object.values(accounts).map((account) => account.close())]);
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('a connector', () => {
  it('is refused with all that is wrong with it, and nothing is kept', async () => {
    const { errors } = await json<{ errors: { path: string }[] }>(ask('PUT', connector('north'), { settings: { ...settingsOf('north'), AMOCRM_REFRESH_TOKEN: '', AMOCRM_REQUESTS_PER_SECOND: '700', AMOCRM_WEBHOOK_SECRET: 'short' } }));
    expect(errors.map(({ path }) => path).toSorted()).toEqual(['AMOCRM_REFRESH_TOKEN', 'AMOCRM_REQUESTS_PER_SECOND', 'AMOCRM_WEBHOOK_SECRET']);
    expect((await ask('PUT', connector('north'), { settings: { ...settingsOf('north'), DATABASE_URL: 'x' } })).status).toBe(400);
    expect((await ask('PUT', connector('north'), { settings: {} })).status).toBe(400);
    const key = await json<{ errors: { message: string }[] }>(ask('PUT', '/v1/projects/north/connectors/salesforce', { settings: { SFDC_URL: 'https://x.example.org', SFDC_CLIENT_ID: 'x', SFDC_USERNAME: 'x', SFDC_PRIVATE_KEY: '/etc/passwd' } }));
    expect(key.errors.map(({ message }) => message)).toEqual(['SFDC_PRIVATE_KEY has to be the key itself, in PEM.']);
    expect((await ask('GET', connector('north'))).status).toBe(404);
    expect((await ask('GET', '/v1/projects/north/schedules/amocrm')).status).toBe(404);
  });

  it('is kept with its secrets sealed, shows them masked, and reads its source on a schedule', async () => {
    for (const place of Object.keys(PLACES) as Place[]) {
      const saved = await ask('PUT', connector(place), { settings: settingsOf(place, { INGEST_EVERY: '1h', MINUTES_BACK: '20160' }) });
      expect([saved.status, await saved.json()]).toEqual([200, expect.objectContaining({ from: 'project', secrets: { AMOCRM_CLIENT_SECRET: expect.stringMatching(/^\*{4}.{0,4}$/) as unknown, AMOCRM_REFRESH_TOKEN: expect.stringMatching(/^\*{4}/) as unknown, AMOCRM_WEBHOOK_SECRET: '****uess' } })]);
      expect(await json(ask('GET', `/v1/projects/${place}/schedules/amocrm`))).toMatchObject({ id: `ingest/${place}/amocrm`, paused: false, spec: 'every 60 min' });
    }
    const dump = JSON.stringify([await system.wiring.db.selectFrom('connectors').selectAll().execute(), await system.wiring.db.selectFrom('audit_log').selectAll().execute()]);
    expect([AMOCRM_CLIENT.clientSecret, AMOCRM_CLIENT.refreshToken, PLACES.north.secret].filter((secret) => dump.includes(secret))).toEqual([]);
    // Those of one project cannot be opened in the other's place.
    const { sealed } = await system.wiring.db.selectFrom('connectors').select('sealed').where('project', '=', 'north').executeTakeFirstOrThrow();
    const { sealed: own } = await system.wiring.db.selectFrom('connectors').select('sealed').where('project', '=', 'south').executeTakeFirstOrThrow();
    await system.wiring.db.updateTable('connectors').set({ sealed }).where('project', '=', 'south').execute();
    await expect(system.wiring.connectors.find('south', 'amocrm')).rejects.toThrow(/cannot be decrypted/);
    await system.wiring.db.updateTable('connectors').set({ sealed: own }).where('project', '=', 'south').execute();
  });

  it('takes its own masks for what they stand for, and wants secrets anew for another address', async () => {
    const { settings, secrets } = await json<{ settings: Record<string, string>; secrets: Record<string, string> }>(ask('GET', connector('north')));
    expect((await ask('PUT', connector('north'), { settings: { ...settings, ...secrets } })).status).toBe(200);
    expect((await system.wiring.connectors.find('north', 'amocrm'))!.secrets['AMOCRM_CLIENT_SECRET']).toBe(AMOCRM_CLIENT.clientSecret);
    const moved = await ask('PUT', connector('north'), { settings: { ...settings, ...secrets, AMOCRM_BASE_URL: 'https://evil.example.org' } });
    expect([moved.status, ((await moved.json()) as { errors: { path: string }[] }).errors.map(({ path }) => path).toSorted()]).toEqual([400, ['AMOCRM_CLIENT_SECRET', 'AMOCRM_REFRESH_TOKEN', 'AMOCRM_WEBHOOK_SECRET']]);
    expect((await ask('PUT', connector('south'), { settings: settingsOf('south', { AMOCRM_WEBHOOK_SECRET: PLACES.north.secret }) })).status).toBe(409);
  });

  it('is checked by signing in and reading one thing, at addresses only that may be reached', async () => {
    expect(await json(ask('POST', `${connector('north')}/check`, {}))).toEqual({ ok: true, what: 'Account 1001 was read.', advice: null });
    await ask('POST', '/v1/projects', { id: 'west', name: 'West' });
    await ask('PUT', '/v1/projects/west/connectors/amocrm', { settings: settingsOf('south', { AMOCRM_BASE_URL: 'http://169.254.169.254', AMOCRM_WEBHOOK_SECRET: 'west-address-that-nobody-can-guess' }) });
    expect(await json(ask('POST', '/v1/projects/west/connectors/amocrm/check', {}))).toMatchObject({ ok: false, what: expect.stringContaining('169.254.169.254') as unknown });
    // Gone with it: what it was read by.
    expect((await ask('DELETE', '/v1/projects/west/connectors/amocrm')).status).toBe(200);
    await expect(system.wiring.temporal.schedule.getHandle('ingest/west/amocrm').describe()).rejects.toThrow();
  });

  it('leads messages to a bot and a receiver of the project’s own', async () => {
    const path = (kind: string) => `/v1/projects/north/connectors/${kind}`;
    expect(await json(ask('PUT', path('telegram'), { settings: { TELEGRAM_BOT_TOKEN: TELEGRAM_BOT.token } }))).toMatchObject({ from: 'project', settings: {}, secrets: { TELEGRAM_BOT_TOKEN: '****0000' } });
    expect(await json(ask('POST', `${path('telegram')}/check`, {}))).toEqual({ ok: true, what: 'The bot @sandbox_bot was read.', advice: null });
    expect((await ask('PUT', path('webhook'), { settings: { WEBHOOK_URL: `${sandbox.receiver.url}/hooks/north` } })).status).toBe(400);
    expect(await json(ask('PUT', path('webhook'), { settings: { WEBHOOK_URL: `${sandbox.receiver.url}/hooks/north`, WEBHOOK_SECRETS: RECEIVER_SECRETS[0] } }))).toMatchObject({ settings: { WEBHOOK_URL: `${sandbox.receiver.url}/hooks/north` }, secrets: { WEBHOOK_SECRETS: '****LTE=' } });
    expect(await json(ask('POST', `${path('webhook')}/check`, {}))).toMatchObject({ ok: true });
    const moved = await ask('PUT', path('webhook'), { settings: { WEBHOOK_URL: 'https://evil.example.org/' } });
    expect([moved.status, await moved.text()]).toEqual([400, expect.stringContaining('has to be given anew')]);
    await ask('PUT', '/v1/projects/west/connectors/webhook', { settings: { WEBHOOK_URL: 'http://169.254.169.254/', WEBHOOK_SECRETS: RECEIVER_SECRETS[0] } });
    expect(await json(ask('POST', '/v1/projects/west/connectors/webhook/check', {}))).toMatchObject({ ok: false, what: expect.stringContaining('169.254.169.254') as unknown });
    expect((await ask('PATCH', '/v1/projects/north/settings', { runsChat: TELEGRAM_BOT.chats.team })).status).toBe(200);
    expect((await ask('PATCH', '/v1/projects/south/settings', { runsChat: TELEGRAM_BOT.chats.team })).status).toBe(200);
    expect(await system.wiring.targetsOf('south')).toEqual({});
  });
});

describe('two projects', () => {
  it('read each its own account, with calls of the same number, and touch nothing of the other', async () => {
    const reports = await Promise.all([runWindow('north'), runWindow('south')]);
    expect(reports).toMatchObject([{ project: 'north', newTasks: 1, processedSuccessfully: 1, catalogue: { totalRecords: 1 } }, { project: 'south', newTasks: 1, processedSuccessfully: 1, catalogue: { totalRecords: 1 } }]);
    for (const place of Object.keys(PLACES) as Place[]) {
      expect(await callsOf(place)).toEqual(['amo-lead-9000001']);
      expect(await system.wiring.temporal.workflow.getHandle(callWorkflowId({ project: place, callId: 'amo-lead-9000001' })).describe()).toMatchObject({ status: { name: 'COMPLETED' } });
      const { recording } = await system.wiring.calls.getVersion({ project: place, callId: 'amo-lead-9000001', version: 1 });
      expect(recording!.key).toBe(`projects/${place}/call-detail/amo-lead-9000001/recording.wav`);
      // One renewal of each, by one holder, under a name of its own.
      expect((await ledgerOf(accounts[place]!, 'token_issued')).length).toBe(1);
      expect((await ledgerOf(accounts[place]!, 'recording_served')).length).toBe(1);
    }
    expect((await system.wiring.db.selectFrom('credentials').select('name').execute()).map(({ name }) => name).toSorted()).toEqual(['amocrm/north', 'amocrm/south']);
    expect(await callsOf('default')).toEqual([]);
    // Only the one that has connected a bot and a receiver tells of its run, and only them.
    await wait('two events', async () => (await ledgerOf(sandbox.receiver, 'event_received')).length >= 2);
    const events = await ledgerOf(sandbox.receiver, 'event_received');
    expect(events.map(({ path, event }) => [path, (event as { type: string }).type]).toSorted()).toEqual([['/hooks/north', 'call.completed'], ['/hooks/north', 'run.completed']]);
    await wait('a message', async () => (await ledgerOf(sandbox.telegram, 'message_sent')).length >= 1);
    expect((await ledgerOf(sandbox.telegram, 'message_sent')).map(({ text }) => text)).toEqual([expect.stringContaining('north')]);
  });

  it('read as far back as their settings say, from the next window on', async () => {
    const windowOf = async (place: Place): Promise<unknown> => {
      const { action } = await system.wiring.temporal.schedule.getHandle(`ingest/${place}/amocrm`).describe();
      return (action as { args?: unknown[] }).args;
    };
    expect((await ask('PUT', connector('south'), { settings: settingsOf('south', { INGEST_EVERY: '1h' }) })).status).toBe(200);
    const before = await windowOf('north');
    for (const place of ['north', 'south']) expect((await ask('PATCH', `/v1/projects/${place}/settings`, { minutesBack: 4_321 })).status).toBe(200);
    expect(await windowOf('south')).toMatchObject([{ minutesBack: 4_321 }]);
    // What the connector itself says comes first.
    expect(await windowOf('north')).toEqual(before);
  });

  it('take webhooks each at its own address and from its own account', async () => {
    const [id] = await addNotes(accounts.north!, { list: 'contacts', recordingOf: CONSUMER.taskId });
    const send = (secret: string, accountId: string): Promise<Response> =>
      fetch(`${api.url}/webhooks/amocrm/${secret}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ 'account[id]': accountId, 'contacts[note][0][note][id]': String(id), 'contacts[note][0][note][note_type]': '10' }) });
    expect([(await send(PLACES.north.secret, PLACES.south.accountId)).status, (await send(PLACES.south.secret, PLACES.north.accountId)).status, (await send('x'.repeat(40), PLACES.north.accountId)).status]).toEqual([403, 403, 404]);
    // Its own account, in which there is no such note.
    expect((await send(PLACES.south.secret, PLACES.south.accountId)).status).toBe(200);
    expect((await send(PLACES.north.secret, PLACES.north.accountId)).status).toBe(200);
    await until('north', `amo-contact-${id}`, 'completed');
    await delivered();
    expect([await callsOf('north'), await callsOf('south')]).toEqual([[`amo-contact-${id}`, 'amo-lead-9000001'], ['amo-lead-9000001']]);
  });

  it('have no CRM where none is connected, and say so', async () => {
    const outcome = (await system.wiring.temporal.workflow.getHandle(callWorkflowId({ project: 'north', callId: 'amo-lead-9000001' })).result()) as object;
    expect(outcome).toMatchObject({ state: 'completed', result: 'processed' });
    expect((await system.wiring.calls.getVersion({ project: 'north', callId: 'amo-lead-9000001', version: 1 })).crm).toBeNull();
  });
});

const TURNS = [
  { speaker: 'customer', start: 0, end: 4, text: 'Good morning, I would like to ask about your home internet plans.' },
  { speaker: 'agent', start: 4, end: 9, text: 'Good morning. This line is for business customers. May I give you our consumer hotline?' },
  { speaker: 'customer', start: 9, end: 12, text: 'Yes please, that would be helpful.' },
  { speaker: 'agent', start: 12, end: 16, text: 'It is six thousand, zero one nine nine.' },
  { speaker: 'customer', start: 16, end: 18, text: 'Thank you very much.' },
];
const callNamed = (id: string, more: object = {}) => ({ id, direction: 'inbound', startedAt: '2026-01-02T03:04:05+08:00', from: '+6560000101', agent: 'Priya', queue: 'Sales', ...more });
const upload = (project: string, body: string | Uint8Array, type: string, query = ''): Promise<Response> => fetch(`${api.url}/v1/projects/${project}/calls/upload${query}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': type }, body });

describe('a signed webhook of calls', () => {
  let hook: { id: string; path: string; secret: string };
  beforeAll(async () => {
    hook = await json(ask('POST', '/v1/projects/south/hooks', { name: 'the PBX' }));
  });
  const sign = (body: string, { at = Math.floor(Date.now() / 1_000), secret = hook.secret, id = 'msg-1' } = {}) => ({
    'webhook-id': id,
    'webhook-timestamp': String(at),
    'webhook-signature': `v1,${createHmac('sha256', Buffer.from(secret.slice(6), 'base64')).update(`${id}.${at}.${body}`).digest('base64')}`,
  });
  const post = (body: string, headers: Record<string, string>, path = hook.path): Promise<Response> => fetch(`${api.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json', ...headers }, body });

  it('has a call with a transcript graded, and nobody is paid to listen; a repeat is harmless', async () => {
    const body = JSON.stringify(callNamed('hook-1', { transcript: { language: 'en', turns: TURNS } }));
    const heard = (await ledgerOf(sandbox.openai)).filter(({ kind }) => kind.includes('transcri')).length;
    expect((await post(body, sign(body))).status).toBe(202);
    await until('south', 'hook-1', 'completed');
    expect((await post(body, sign(body, { id: 'msg-2' }))).status).toBe(200);
    await delivered();
    const [version, ...more] = await system.wiring.calls.listVersions({ project: 'south', callId: 'hook-1' });
    expect([more, version]).toMatchObject([[], { state: 'completed', result: 'processed', recording: null, transcript: { provider: 'upload', turns: 5, language: 'en' } }]);
    expect(version!.analysis).not.toBeNull();
    expect((await ledgerOf(sandbox.openai)).filter(({ kind }) => kind.includes('transcri')).length).toBe(heard);
    expect((await system.wiring.costs.list('south', 'hook-1')).filter(({ kind }) => kind === 'stt')).toEqual([]);
    // What was said stays with the call, not in the inbox.
    expect(JSON.stringify(await system.wiring.db.selectFrom('inbox').selectAll().execute())).not.toContain('home internet');
    expect(await callsOf('north')).not.toContain('hook-1');
  });

  it('has a recording fetched from its link, and not from where it may not lead', async () => {
    const recordingUrl = `${accounts.south!.url}/recordings/${CONSUMER.taskId}`;
    const body = JSON.stringify([callNamed('hook-2', { recordingUrl }), callNamed('hook-3', { recordingUrl: 'http://169.254.169.254/latest/meta-data' })]);
    expect((await post(body, sign(body))).status).toBe(202);
    expect(await until('south', 'hook-2', 'completed')).toMatchObject({ result: 'processed' });
    expect(await until('south', 'hook-3', 'needs_attention')).toMatchObject({ attention: { step: 'recording', code: 'URL_REFUSED' } });
    expect(JSON.stringify(await system.wiring.db.selectFrom('given_calls').selectAll().execute())).not.toContain('/recordings/');
  });

  it('is refused when it is forged, old, unknown, compressed or not what it should be, and takes nothing in', async () => {
    const rows = (await system.wiring.db.selectFrom('inbox').selectAll().execute()).length;
    const good = JSON.stringify(callNamed('hook-9'));
    const many = JSON.stringify(Array.from({ length: 101 }, (_, index) => callNamed(`hook-9-${index}`)));
    const answers: [number, Promise<Response>][] = [
      [401, post(good, {})],
      [401, post(good, sign(`${good} `))],
      [401, post(good, sign(good, { secret: `whsec_${Buffer.alloc(32).toString('base64')}` }))],
      [401, post(good, sign(good, { at: Math.floor(Date.now() / 1_000) - 301 }))],
      [401, post(good, sign(good, { at: Math.floor(Date.now() / 1_000) + 400 }))],
      [404, post(good, sign(good), '/webhooks/calls/hk_000000000000000000000000')],
      [415, post(good, { ...sign(good), 'content-encoding': 'gzip' })],
      [400, post('{', sign('{'))],
      [400, post('[]', sign('[]'))],
      [400, post(many, sign(many))],
    ];
    for (const body of [callNamed('../x'), callNamed('hook-9', { project: 'north' }), callNamed('hook-9', { startedAt: 'yesterday' }), callNamed('hook-9', { recordingUrl: 'javascript:alert(1)' }), callNamed('hook-9', { agent: 'x'.repeat(300) }), [callNamed('hook-9'), callNamed('hook-9')], [callNamed('hook-9'), { id: 1 }]]) {
      const text = JSON.stringify(body);
      answers.push([400, post(text, sign(text))]);
    }
    expect(await Promise.all(answers.map(async ([, answer]) => (await answer).status))).toEqual(answers.map(([status]) => status));
    expect((await system.wiring.db.selectFrom('inbox').selectAll().execute()).length).toBe(rows);
  });
});

describe('an upload', () => {
  it('takes in all of its calls, or none and what is wrong with each', async () => {
    const header = 'id,direction,startedAt,agent,transcript';
    const row = (id: string, at = '2026-01-02 03:04:05') => `${id},inbound,${at},Priya,"${JSON.stringify({ turns: TURNS }).replaceAll('"', '""')}"`;
    const good = [header, row('up-1'), row('up-2')].join('\n');
    const bad = [header, row('up-8'), row('up-9', 'soon'), `${row('up-8')}`].join('\n');
    const refused = await upload('north', bad, 'text/csv', '?timeZone=Asia/Singapore');
    expect([refused.status, await refused.json()]).toMatchObject([422, { detail: expect.stringContaining('Nothing was taken in') as unknown, errors: [{ path: 'line 3: startedAt' }, { path: 'line 4: id' }] }]);
    expect(await json(upload('north', bad, 'text/csv', '?timeZone=Asia/Singapore&dryRun=true'))).toMatchObject({ rows: 3, accepted: 0, dryRun: true, problems: [{ line: 3, field: 'startedAt' }, { line: 4, field: 'id' }] });
    expect(await callsOf('north')).not.toContain('up-8');

    expect(await json(upload('north', good, 'text/csv', '?timeZone=Asia/Singapore'))).toEqual({ rows: 2, accepted: 2, repeated: 0, dryRun: false, problems: [], moreProblems: 0 });
    expect(await until('north', 'up-2', 'completed')).toMatchObject({ source: 'upload', startedAt: new Date('2026-01-01T19:04:05Z'), result: 'processed' });
    expect(await json(upload('north', good, 'text/csv', '?timeZone=Asia/Singapore'))).toMatchObject({ accepted: 0, repeated: 2 });
    await until('north', 'up-1', 'completed');
    expect(await system.wiring.calls.listVersions({ project: 'north', callId: 'up-1' })).toHaveLength(1);
  });

  it('of a recording is heard and graded, and leaves nothing beside its call', async () => {
    const { key } = (await system.wiring.calls.getVersion({ project: 'north', callId: 'amo-lead-9000001', version: 1 })).recording!;
    const audio = await readFile(join(folder, 'objects', key));
    const form = (call: unknown, file: Uint8Array, name = 'audio'): Promise<Response> => {
      const body = new FormData();
      body.append('call', JSON.stringify(call));
      body.append(name, new Blob([Buffer.from(file)]), 'call.wav');
      return fetch(`${api.url}/v1/projects/north/calls/upload-audio`, { method: 'POST', headers: { authorization: `Bearer ${token}` }, body });
    };
    const answer = await form(callNamed('audio-1'), audio);
    expect([answer.status, await answer.json()]).toEqual([202, { callId: 'audio-1', accepted: true, recording: { bytes: audio.byteLength, sha256: createHash('sha256').update(audio).digest('hex'), format: 'wav' } }]);
    await until('north', 'audio-1', 'completed');
    expect((await system.wiring.calls.getVersion({ project: 'north', callId: 'audio-1', version: 1 })).recording).toMatchObject({ key: 'projects/north/call-detail/audio-1/recording.wav', bytes: audio.byteLength });
    expect(await json(form(callNamed('audio-1'), audio))).toMatchObject({ accepted: false });
    const statuses = [await form(callNamed('../audio'), audio), await form(callNamed('audio-2'), Buffer.from('<html>no</html>')), await form(callNamed('audio-2'), audio.subarray(0, 100_000)), await form(callNamed('audio-2'), audio, 'video'), await form('x', audio), await form(callNamed('audio-2'), Buffer.concat([audio.subarray(0, 44), Buffer.alloc(51 * 1024 * 1024)]))].map(({ status }) => status);
    expect(statuses).toEqual([422, 422, 422, 400, 422, 413]);
    await delivered();
    expect(await callsOf('north')).not.toContain('audio-2');
    expect(await readdir(join(folder, 'objects/projects/north/uploads')).catch(() => [])).toEqual([]);
  });

  it('of 2 GB is refused before it is sent', async () => {
    const statusOf = (path: string, headers: Record<string, string>): Promise<number> =>
      new Promise((resolve, reject) => {
        const sent = httpRequest(`${api.url}${path}`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-length': String(2 * 1024 ** 3), ...headers } }, (response) => {
          resolve(response.statusCode!);
          sent.destroy();
        });
        sent.on('error', reject);
        sent.flushHeaders();
      });
    expect(await statusOf('/v1/projects/north/calls/upload', { 'content-type': 'text/csv' })).toBe(413);
    expect(await statusOf('/v1/projects/north/calls/upload-audio', { 'content-type': 'multipart/form-data; boundary=x' })).toBe(413);
  });

  it('that is none of ours is told what it should be', async () => {
    const answers = await Promise.all([upload('north', 'x', 'application/zip'), upload('north', 'x', 'text/csv; charset=koi8-r'), upload('north', Buffer.from('PK\u0003\u0004'), 'text/csv'), upload('north', 'x', 'text/csv', '?timeZone=Mars/Base'), upload('north', 'x'.repeat(17 * 1024 * 1024), 'text/csv')]);
    expect(answers.map(({ status }) => status)).toEqual([415, 415, 422, 400, 413]);
    const packed = await fetch(`${api.url}/v1/projects/north/calls/upload`, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'text/csv', 'content-encoding': 'gzip' }, body: 'x' });
    expect(packed.status).toBe(415);
  });
});

describe('the same call', () => {
  it('found by a window, announced by a webhook and uploaded at once is one call with one run', async () => {
    const [id] = await addNotes(accounts.north!, { list: 'leads', recordingOf: CONSUMER.taskId });
    const callId = `amo-lead-${id}`;
    const announce = (): Promise<Response> =>
      fetch(`${api.url}/webhooks/amocrm/${PLACES.north.secret}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: new URLSearchParams({ 'account[id]': PLACES.north.accountId, 'leads[note][0][note][id]': String(id), 'leads[note][0][note][note_type]': '10' }) });
    const table = JSON.stringify([callNamed(callId)]);
    const [, announced, uploaded] = await Promise.all([runWindow('north'), announce(), upload('north', table, 'application/json'), announce()]);
    expect([announced.status, uploaded.status]).toEqual([200, 202]);
    await until('north', callId, 'completed');
    await delivered();
    expect(await system.wiring.calls.listVersions({ project: 'north', callId })).toHaveLength(1);
    const runs: string[] = [];
    for await (const { runId } of system.wiring.temporal.workflow.list({ query: `WorkflowId = "${callWorkflowId({ project: 'north', callId })}"` })) runs.push(runId);
    expect(runs).toHaveLength(1);
    expect((await callsOf('north')).filter((each) => each === callId)).toHaveLength(1);
    expect(await callsOf('south')).not.toContain(callId);
  });
});
