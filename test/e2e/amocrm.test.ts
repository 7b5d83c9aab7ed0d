import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { AMOCRM_CLIENT } from '../../sandbox/amocrm/server.ts';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createAmoCrmSession } from '../../src/adapters/amocrm/session.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { createSchedules } from '../../src/client/schedules.ts';
import { paceOf, withSystem } from '../../src/config.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCredentials } from '../../src/db/credentials.ts';
import type { CallRow } from '../../src/db/calls.ts';
import type { CallState } from '../../src/domain/call.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { addNotes, changeNote, notesOf, setLimits, setWebhooks, webhooksOf } from '../support/amocrm.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { requestsOf } from '../support/salesforce.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until as wait } from '../support/until.ts';

const SECRET = 'an-address-of-amocrm-nobody-guesses';
const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!;
const CONSUMER = SAMPLE_CALLS.find((call) => call.title.includes('private customer'))!;

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let api: RunningApi;
let windows = 0;

/** Reads a window of amoCRM, as its schedule would. */
const runWindow = async (): Promise<ExecutionReport> => {
  windows += 1;
  const { config, wiring } = system;
  const schedules = createSchedules({ client: wiring.temporal, config, pace: paceOf(config), minutesBack: config.MINUTES_BACK, project: 'default', source: 'amocrm' });
  return (await (await schedules.runWindow({ workflowId: `ingest/default/amocrm/test-${windows}` })).result()) as ExecutionReport;
};
const send = (body: string | URLSearchParams, secret = SECRET): Promise<Response> =>
  fetch(`${api.url}/webhooks/amocrm/${secret}`, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body: body.toString() });
const account = { 'account[id]': AMOCRM_CLIENT.accountId, 'account[subdomain]': AMOCRM_CLIENT.subdomain };
const noteForm = (list: string, id: number | string, more: Record<string, string> = {}): URLSearchParams =>
  new URLSearchParams({ ...account, [`${list}[note][0][note][id]`]: String(id), [`${list}[note][0][note][note_type]`]: '10', [`${list}[note][0][note][element_id]`]: '7000001', ...more });
const inboxRows = () => system.wiring.db.selectFrom('inbox').selectAll().where('source', '=', 'amocrm').orderBy('received_at').execute();
const callsOf = async (): Promise<string[]> => (await system.wiring.calls.list({ project: 'default', source: 'amocrm' }, { limit: 100 })).map(({ callId }) => callId);
/** Until all that came in has been delivered. */
const delivered = (): Promise<boolean> => wait('all is delivered', async () => (await inboxRows()).every((row) => row.delivered_at !== null), 50);
/** Waits for a call that may not have been taken in yet. */
const until = async (callId: string, state: CallState): Promise<CallRow> => {
  await wait(`${callId} is taken in`, async () => (await system.wiring.calls.find(system.key(callId))) !== undefined, 50);
  return system.until(callId, state);
};
const leads = async (): Promise<number> => (await ledgerOf(sandbox.salesforce, 'lead_created')).length;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-amocrm-'));
  server = await startTemporalProcess();
  // Two calls in the account to begin with: one leads to a lead, one does not.
  sandbox = await startTestSandbox(folder, [GOOD, CONSUMER]);
  system = await startSystem({ server, sandbox, folder, env: { API_PORT: '0', AMOCRM_WEBHOOK_SECRET: SECRET, AMOCRM_REQUESTS_PER_SECOND: '7', RECORDING_FIRST_LOOK: '10m' } });
  await setLimits(sandbox.amocrm, { perSecond: 100 });
  api = await startApi(system.wiring);
  // The integration subscribes, as it would when it is connected.
  await addHook();
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await setWebhooks(sandbox.amocrm, { lose: 0, times: 1, reverse: 1 });
  await clearFaults(sandbox.amocrm);
});

const addHook = async (): Promise<void> => {
  const session = createAmoCrmSession({ config: withSystem(system.config, 'amocrm')!, credentials: createCredentials(system.wiring.db, createKeyRing(system.config.AFTERCALL_KEYS)) });
  await session.ask({ doing: 'Subscribing', path: '/api/v4/webhooks', method: 'POST', body: { destination: `${api.url}/webhooks/amocrm/${SECRET}`, settings: ['note_lead', 'note_contact', 'note_company'] }, signal: AbortSignal.timeout(10_000) });
};

describe('a window of amoCRM', () => {
  it('processes its calls to the end, once', async () => {
    const report = await runWindow();
    expect(report).toMatchObject({ tasksFound: 2, newTasks: 2, processedSuccessfully: 2, failed: 0, transcriptsCollected: 2, analyzed: 2, crm: { leadsCreated: 1 } });
    const call = await system.wiring.calls.get(system.key('amo-lead-9000001'));
    expect(call).toMatchObject({ source: 'amocrm', state: 'completed', result: 'processed', details: { agentName: 'Priya', card: { kind: 'lead', id: '7000001' } } });
    expect(await runWindow()).toMatchObject({ tasksFound: 2, newTasks: 0, skippedAlreadyProcessed: 2 });
    // The telephone system saw nothing of our token.
    expect((await ledgerOf(sandbox.amocrm, 'recording_asked')).map(({ authorization }) => authorization)).toEqual([false, false]);
  });
});

describe('a call that stands on a card', () => {
  const notesOn = async (id: number | string, before: number): Promise<(string | undefined)[]> => (await notesOf(sandbox.amocrm, 'common')).slice(before).filter(({ entity_id }) => entity_id === Number(id)).map(({ params }) => params.text);

  it('is noted there with score, summary and report, once, also when the answer to that is lost, and again by a re-run', async () => {
    const before = (await notesOf(sandbox.amocrm, 'common')).length;
    await addFaults(sandbox.amocrm, { route: 'POST /api/v4/leads/notes', effect: { kind: 'drop_after' } });
    const [id] = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: GOOD.taskId, announce: true });
    const call = await until(`amo-lead-${id}`, 'completed');
    const effect = (await system.wiring.effects.list('default', call.callId)).find((each) => each.effect === 'note')!;
    const { summary, grading } = (await system.wiring.calls.getVersion(call)).analysis!;
    const notes = await notesOn(call.details.card!.id, before);
    expect(notes).toHaveLength(1);
    expect(notes[0]!.split('\n').slice(0, 2)).toEqual([`Call graded: ${grading.total_score_percent} of 100`, summary]);
    expect(notes[0]).toContain(`/calls/default/${call.callId}?link=`);
    expect(notes[0]!.endsWith(`[aftercall ${effect.key}]`)).toBe(true);
    expect(effect).toMatchObject({ state: 'done', class: 'read_before_write', target: 'amocrm' });

    await system.wiring.callsClient.result(call);
    await system.wiring.callsClient.reprocess(call, { by: 'test', from: 'analysis' });
    await system.wiring.callsClient.result(call);
    expect((await system.wiring.calls.get(call)).version).toBe(2);
    expect(await notesOn(call.details.card!.id, before)).toHaveLength(1);
  });
});

describe('a webhook of amoCRM', () => {
  it('has its call processed at once, and a window finds it done', async () => {
    const before = await leads();
    const [id] = await addNotes(sandbox.amocrm, { list: 'contacts', recordingOf: GOOD.taskId, announce: true });
    await until(`amo-contact-${id}`, 'completed');
    expect(await leads()).toBe(before + 1);
    expect((await webhooksOf(sandbox.amocrm)).at(-1)!.status).toBe(200);
    await delivered();
    const starts = (await system.wiring.calls.listVersions(system.key(`amo-contact-${id}`))).length;
    expect([await runWindow(), starts]).toMatchObject([{ newTasks: 0 }, 1]);
  });

  it('and a window, in any order and at once, make one call of it and one lead', async () => {
    const before = await leads();
    const billed = (await ledgerOf(sandbox.openai)).length;
    // First the window, then the webhook, several times.
    const [first] = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: GOOD.taskId });
    await runWindow();
    for (let time = 0; time < 3; time += 1) expect((await send(noteForm('leads', first!, { 'leads[note][0][note][timestamp_x]': String(time) }))).status).toBe(200);
    await delivered();
    const perCall = (await ledgerOf(sandbox.openai)).length - billed;

    // At once, each webhook three times.
    await setWebhooks(sandbox.amocrm, { times: 3 });
    const [second] = await addNotes(sandbox.amocrm, { list: 'companies', recordingOf: GOOD.taskId, announce: true });
    await Promise.all([runWindow(), runWindow()]);
    await until(`amo-company-${second}`, 'completed');
    await delivered();
    for (const callId of [`amo-lead-${first}`, `amo-company-${second}`]) expect(await system.wiring.calls.listVersions(system.key(callId))).toHaveLength(1);
    expect(await leads()).toBe(before + 2);
    expect((await ledgerOf(sandbox.openai)).length - billed).toBe(2 * perCall);
  });

  it('that is lost is made up for by the window; those out of order are taken as they come', async () => {
    await setWebhooks(sandbox.amocrm, { lose: 1, reverse: 2 });
    const ids = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: CONSUMER.taskId, count: 3, announce: true });
    await until(`amo-lead-${ids[1]}`, 'completed');
    await until(`amo-lead-${ids[2]}`, 'completed');
    expect(await callsOf()).not.toContain(`amo-lead-${ids[0]}`);
    await runWindow();
    expect((await system.wiring.calls.get(system.key(`amo-lead-${ids[0]}`))).state).toBe('completed');
  });

  it('that comes again when the recording has its link wakes the call that waits for it', async () => {
    const [id] = await addNotes(sandbox.amocrm, { list: 'leads', announce: true });
    await until(`amo-lead-${id}`, 'waiting_for_recording');
    await changeNote(sandbox.amocrm, id!, { params: { link: `/recordings/${CONSUMER.taskId}` }, updatedAt: Math.floor(Date.now() / 1_000) });
    await send(noteForm('leads', id!, { 'leads[note][0][note][text]': '{"LINK":"https://elsewhere.example/x.mp3"}' }));
    await until(`amo-lead-${id}`, 'completed');
  });

  it('is kept while amoCRM is down, and delivered when it is back', async () => {
    await addFaults(sandbox.amocrm, { route: 'GET /api/v4/*', times: 1, effect: { kind: 'respond', status: 503, body: {} } });
    const [id] = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: CONSUMER.taskId, announce: true });
    await until(`amo-lead-${id}`, 'completed');
    await delivered();
    expect((await inboxRows()).at(-1)).toMatchObject({ attempts: 1, error: null });
    expect(await callsOf()).toContain(`amo-lead-${id}`);
  });

  it('that cannot be delivered is shown with why, and is tried at once when somebody asks for it', async () => {
    const ask = async (method: string, path: string, body?: object) => {
      const headers = { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json', 'idempotency-key': `inbox-${path}-key` };
      const response = await fetch(`${api.url}/v1/projects/default/inbox${path}`, { method, headers, ...(body ? { body: JSON.stringify(body) } : {}) });
      return { status: response.status, ...((await response.json()) as { events?: { source: string; state: string; error: string; eventId: string }[]; retried?: number; detail?: string }) };
    };
    await addFaults(sandbox.amocrm, { route: 'GET /api/v4/*', times: 1_000, effect: { kind: 'respond', status: 503, body: {} } });
    const [id] = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: CONSUMER.taskId, announce: true });
    const [event] = await wait('it has failed', async () => {
      const { events } = await ask('GET', '?source=amocrm');
      return events?.some(({ error }) => error !== null) && events;
    });
    expect(event).toMatchObject({ source: 'amocrm', state: 'waiting', error: expect.stringContaining('503') as unknown });
    // Later than anybody would wait.
    await system.wiring.db.updateTable('inbox').set({ next_attempt_at: new Date(Date.now() + 3_600_000) }).where('delivered_at', 'is', null).execute();
    await clearFaults(sandbox.amocrm);
    expect(await ask('POST', '/discard', { source: 'amocrm', eventId: event!.eventId })).toMatchObject({ status: 409, detail: expect.stringContaining('parked') as unknown });
    expect(await ask('POST', '/retry', { eventId: event!.eventId })).toMatchObject({ status: 400 });
    expect(await ask('POST', '/retry?', { source: 'amocrm' })).toMatchObject({ status: 200, retried: 1 });
    await until(`amo-lead-${id}`, 'completed');
    await delivered();
    expect(await ask('GET', '')).toMatchObject({ events: [] });
  });

  it('of our own note, or of anything but a call, starts nothing', async () => {
    const rows = (await inboxRows()).length;
    const calls = await callsOf();
    await (await system.wiring.adaptersOf('default')).callNotes.get('amocrm').put('k'.repeat(64), { kind: 'lead', id: '7000001' }, { subject: 'Graded', text: 'Score 100', date: '2026-11-20', direction: 'inbound' }, AbortSignal.timeout(10_000));
    expect((await notesOf(sandbox.amocrm, 'common')).filter(({ params }) => params.text?.includes('k'.repeat(64)))).toHaveLength(1);
    await wait('our note is told of', async () => (await webhooksOf(sandbox.amocrm)).at(-1)?.body.includes('note_type%5D=4'), 50);
    expect((await webhooksOf(sandbox.amocrm)).at(-1)).toMatchObject({ status: 200 });
    expect([(await inboxRows()).length, await callsOf()]).toEqual([rows, calls]);
  });
});

describe('who sends webhooks in the name of amoCRM', () => {
  it.each(['', 'wrong', `${SECRET}x`, SECRET.slice(1), SECRET.toUpperCase(), '%00', '..%2f'])('finds nothing at the address "%s"', async (secret) => {
    const rows = (await inboxRows()).length;
    const answer = await send(noteForm('leads', 9_000_001), secret);
    expect([answer.status, await answer.text()]).toEqual([404, expect.not.stringContaining(SECRET)]);
    expect(await inboxRows()).toHaveLength(rows);
  });

  it.each([
    ['another account', { ...account, 'account[id]': '271828' }],
    ['no account', {}],
  ])('is refused for %s', async (_title, of: Record<string, string>) => {
    const rows = (await inboxRows()).length;
    const form = noteForm('leads', 9_000_001);
    form.delete('account[id]');
    form.delete('account[subdomain]');
    for (const [name, value] of Object.entries(of)) form.set(name, value);
    expect((await send(form)).status).toBe(403);
    expect(await inboxRows()).toHaveLength(rows);
  });

  it('does nothing by what a body claims: only the note itself counts, as amoCRM gives it', async () => {
    const [id] = await addNotes(sandbox.amocrm, { list: 'leads', recordingOf: CONSUMER.taskId, params: { phone: '+15550177' } });
    const asked = (await ledgerOf(sandbox.amocrm, 'recording_asked')).length;
    const answer = await send(
      noteForm('leads', id!, {
        'leads[note][0][note][element_id]': '1',
        'leads[note][0][note][note_type]': '11',
        'leads[note][0][note][text]': JSON.stringify({ UNIQ: 'x', LINK: 'http://169.254.169.254/latest/meta-data', PHONE: '+19990000000', DURATION: 9_999, SRC: 'evil' }),
        'leads[note][0][note][main_user_id]': '502',
      }),
    );
    expect(answer.status).toBe(200);
    const { details } = await until(`amo-lead-${id}`, 'completed');
    expect(details).toMatchObject({ direction: 'inbound', originPhone: '+15550177', agentName: 'Priya', card: { id: '7900001' } });
    expect(JSON.stringify(await inboxRows())).not.toMatch(/169\.254|19990000000|evil/);
    expect((await ledgerOf(sandbox.amocrm, 'recording_asked')).slice(asked).map(({ taskId }) => taskId)).toEqual([CONSUMER.taskId]);
  });

  it('makes no call of a note that is not there, is on another kind of card, or is none of a call', async () => {
    const calls = await callsOf();
    const [common] = await addNotes(sandbox.amocrm, { list: 'leads', noteType: 'common', params: { text: 'hello' } });
    for (const form of [noteForm('leads', 1), noteForm('contacts', 9_000_001), noteForm('leads', common!)]) expect((await send(form)).status).toBe(200);
    await delivered();
    expect(await callsOf()).toEqual(calls);
  });

  it('gets nowhere with large, deep or poisoned bodies', async () => {
    const rows = (await inboxRows()).length;
    const asked = (await requestsOf(sandbox.amocrm)).length;
    const prefix = new URLSearchParams(account).toString();
    const deep = `leads${'[note]'.repeat(2_000)}[id]=1`;
    const hostile = [
      deep,
      `${prefix}&${deep}`,
      `${prefix}&${Array.from({ length: 4_000 }, (_, index) => `leads[note][${index}][x][${'['.repeat(10)}=1`).join('&')}`,
      `${prefix}&__proto__[polluted]=1&constructor[prototype][polluted]=1&leads[__proto__][polluted]=1&leads[note][__proto__][note][id]=1&leads[note][0][note][__proto__]=1`,
      `${prefix}&leads[note][0][note][id]=../../users&leads[note][0][note][note_type]=10`,
      `${prefix}&leads[note][0][note][id]=${'9'.repeat(10_000)}&leads[note][0][note][note_type]=10`,
      `${prefix}&${'%'.repeat(20_000)}`,
      `${prefix}&account[id]=271828&leads[note][0][note][id]=9000001&leads[note][0][note][note_type]=10`,
      JSON.stringify({ account: { id: AMOCRM_CLIENT.accountId } }),
      '',
    ];
    const statuses = await Promise.all(hostile.map(async (body) => (await send(body)).status));
    expect(statuses).toEqual([403, 200, 200, 200, 200, 200, 200, 403, 403, 403]);
    expect((await send(`${prefix}&x=${'a'.repeat(300_000)}`)).status).toBe(413);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
    expect(await inboxRows()).toHaveLength(rows);
    expect((await requestsOf(sandbox.amocrm)).length).toBe(asked);
  });

  it('can name so many notes in a body, and no more', async () => {
    const asked = (await requestsOf(sandbox.amocrm)).length;
    const rows = (await inboxRows()).length;
    const form = new URLSearchParams(account);
    for (let index = 0; index < 1_000; index += 1) {
      form.append(`leads[note][${index}][note][id]`, String(1_000 + index));
      form.append(`leads[note][${index}][note][note_type]`, '10');
    }
    expect((await send(form)).status).toBe(200);
    expect((await inboxRows()).length - rows).toBe(250);
    await delivered();
    // Looked up together, not one by one.
    expect((await requestsOf(sandbox.amocrm)).length - asked).toBeLessThan(40);
  });
});
