import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { shownAt } from '../../src/domain/local-time.ts';
import { complete } from '../support/config.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf, startRetellSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const PROJECT = 'default';
const FROM = '+15550100';
let folder: string;
let server: DevServer;
let postgres: TestPostgres;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let keys = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-lines-'));
  [server, postgres, retell] = await Promise.all([startTemporalProcess(), startPostgres(), startRetellSandbox(folder, { speed: { ringMs: 400, talkMs: 200, analysisMs: 50 } })]);
  system = await startSystem({ server, env: { ...retell.env, API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), RETELL_CALLS_PER_SECOND: '50', VOICE_SECOND_LOOK: '1s', VOICE_LOOK_UP_FIRST: '1s', VOICE_LOOK_UP_MAX: '1s' } });
  api = await startApi(system.wiring);
  await retell.control('webhooks', { url: `${api.url}/webhooks/retell` });
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([retell?.close(), server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await retell.control('limits', { concurrency: 3 });
  await changeSettings({ timeZone: 'UTC', quietHours: [], voiceCallsPerNumberPerDay: 0, voiceLines: 0 });
});

const ask = async <T = Record<string, unknown>>(method: string, path: string, { body, csv, key, token = complete.API_TOKEN }: { body?: object; csv?: string; key?: string; token?: string } = {}): Promise<{ status: number; body: T; text: string; headers: Headers }> => {
  const answer = await fetch(`${api.url}${path.startsWith('/v1') ? path : `/v1/projects/${PROJECT}/${path}`}`, {
    method,
    headers: { authorization: `Bearer ${token}`, 'idempotency-key': key ?? `lines-key-${(keys += 1)}`, ...(csv === undefined ? (method === 'GET' ? {} : { 'content-type': 'application/json' }) : { 'content-type': 'text/csv' }) },
    ...(csv === undefined ? (method === 'GET' ? {} : { body: JSON.stringify(body ?? {}) }) : { body: csv }),
  });
  const text = await answer.text();
  return { status: answer.status, text, headers: answer.headers, body: (answer.headers.get('content-type') ?? '').includes('json') ? (JSON.parse(text) as T) : ({} as T) };
};
const changeSettings = async (settings: object): Promise<void> => {
  const { status, text } = await ask('PATCH', 'settings', { body: settings });
  expect([status, text]).toEqual([200, expect.anything()]);
};

interface Batch {
  batchId: string;
  state: string;
  calls: number;
  progress: { queued: number; onALine: number; open: number; settled: number; percent: number };
  byState: Record<string, number>;
  byOutcome: Record<string, number>;
  pausedSince: string | null;
}
interface Row { row: number; voiceCallId: string; to: string; state: string; outcome: string | null; waitsFor: string | null; notBefore: string }
let numbers = 0;
/** Numbers that nobody answers at. */
const someNumbers = (count: number): string[] => Array.from({ length: count }, () => `+155501${String((numbers += 1)).padStart(3, '0')}91`);
const send = async (csv: string, query = '', key?: string) => ask<{ batchId: string; address: string; calls: number; state: string; problems: object[]; problemCount: number; skipped: number }>('POST', `voice-batches?from=${encodeURIComponent(FROM)}${query}`, { csv, ...(key ? { key } : {}) });
const batchOf = async (batchId: string): Promise<Batch> => (await ask<Batch>('GET', `voice-batches/${batchId}`)).body;
const rowsOf = async (batchId: string): Promise<Row[]> => (await ask<{ rows: Row[] }>('GET', `voice-batches/${batchId}/rows?limit=200`)).body.rows;
const isOver = (batchId: string): Promise<Batch> => until(`batch ${batchId} is over`, async () => { const batch = await batchOf(batchId); return batch.progress.settled === batch.calls && batch; });
const placed = async (): Promise<string[]> => (await ledgerOf(retell, 'call_placed')).map((entry) => String((entry as unknown as { to: string }).to));
const dialsOf = (batchId: string) => system.wiring.db.selectFrom('voice_calls').select('dials').where('batch_id', '=', batchId).execute();

describe('lines of an account', () => {
  it('are all used and never more than there are, and nobody is turned away by the provider', async () => {
    const to = someNumbers(20);
    const { status, body, headers } = await send(`to\n${to.join('\n')}\n`, '&name=Twenty');
    expect([status, body.calls, headers.get('location')]).toEqual([202, 20, body.address]);
    let most = 0;
    await until('all are over', async () => {
      const seen = (await (await fetch(`${retell.url}/_sandbox/lines`)).json()) as { onALine: object[] };
      most = Math.max(most, seen.onALine.length);
      return (await batchOf(body.batchId)).progress.settled === 20;
    });
    expect(most).toBe(3);
    const batch = await isOver(body.batchId);
    expect(batch).toMatchObject({ state: 'completed', byOutcome: { no_answer: 20 }, byState: { not_connected: 20 }, progress: { percent: 100 } });
    expect((await placed()).toSorted()).toEqual(to.toSorted());
    // Dialled once each: no dial was answered with "too many".
    expect((await dialsOf(body.batchId)).every(({ dials }) => dials === 1)).toBe(true);
    const { text } = await ask('GET', `voice-batches/${body.batchId}/results`);
    expect(text.split('\r\n')[1]).toMatch(new RegExp(`^1,\\+${to[0]!.slice(1)},\\+15550100,,3,not_connected,no_answer,`));
    expect(text.trim().split('\r\n')).toHaveLength(21);
  });

  it('go to urgent calls first, and to a project’s own share only', async () => {
    await retell.control('limits', { concurrency: 0 });
    // Not by what was read a moment ago: whoever is turned away goes behind.
    const { voice } = await system.wiring.adaptersOf(PROJECT);
    await system.wiring.voiceLines.noteReading(voice!.account, { limit: 0, others: 0, readAt: new Date() });
    const [low, middle, high] = [someNumbers(2), someNumbers(2), someNumbers(2)];
    const { body } = await send(`to,priority\n${[...low.map((to) => `${to},5`), ...middle.map((to) => `${to},3`), ...high.map((to) => `${to},1`)].join('\n')}\n`);
    await until('the queue waits for a line', async () => {
      const { body: lines } = await ask<{ account: { limit: number } | null; queue: { due: number } }>('GET', 'voice-lines');
      return lines.account?.limit === 0 && lines.queue.due === 6;
    });
    const before = (await placed()).length;
    await changeSettings({ voiceLines: 1 });
    await retell.control('limits', { concurrency: 3 });
    await isOver(body.batchId);
    expect((await placed()).slice(before)).toEqual([...high, ...middle, ...low]);
  });

  it('are given again where a start was lost, and where nobody was woken', async () => {
    const place = (voiceCallId: string) => system.wiring.voiceCalls.enqueue({ project: PROJECT, voiceCallId, request: { from: FROM, to: someNumbers(1)[0]!, variables: {}, metadata: {}, priority: 3, notBeforeMs: Date.now() - 60_000 }, requestedBy: 'a test' });
    await place('vc_lost');
    const { voice } = await system.wiring.adaptersOf(PROJECT);
    await system.wiring.voiceLines.noteReading(voice!.account, { limit: 3, others: 0, readAt: new Date() });
    const taken = await system.wiring.voiceLines.take({ project: PROJECT, account: voice!.account, nowMs: Date.now(), rules: { timeZone: 'UTC', quietHours: [], voiceCallsPerNumberPerDay: 0 }, most: 0, callsPerSecond: 50, aheadMs: 0 });
    expect(taken.start.map(({ id }) => id)).toEqual(['vc_lost']);
    await place('vc_forgotten');
    for (const id of ['vc_lost', 'vc_forgotten']) await until(`${id} is over`, async () => (await system.wiring.voiceCalls.get(PROJECT, id)).state === 'not_connected');
  });
});

it('looks again when the rate of the account allows, and not all the time until then', async () => {
  const { voice } = await system.wiring.adaptersOf(PROJECT);
  await isOver((await send(`to\n${someNumbers(1)[0]!}\n`)).body.batchId);
  const handle = system.wiring.temporal.workflow.getHandle('voice-lines/default');
  await until('nobody looks', async () => (await handle.describe()).status.name === 'COMPLETED');
  // As another project that shares the account has planned its calls.
  await system.wiring.db.updateTable('voice_accounts').set({ planned_until: new Date(Date.now() + 10_000) }).where('account', '=', voice!.account).execute();
  const { body } = await send(`to\n${someNumbers(1)[0]!}\n`);
  await isOver(body.batchId);
  await until('nobody looks any more', async () => (await handle.describe()).status.name === 'COMPLETED');
  const looks = ((await handle.fetchHistory()).events ?? []).filter(({ activityTaskScheduledEventAttributes: scheduled }) => scheduled?.activityType?.name === 'startDueCalls');
  expect(looks.length).toBeLessThan(20);
});

it('feeds few of a queue to a provider that takes no calls, says so, and goes on by itself when it does', async () => {
  const route = 'POST /v2/create-phone-call';
  await addFaults(retell, { route, times: 2, effect: { kind: 'drop_before' } });
  await addFaults(retell, { route, times: 1_000, effect: { kind: 'respond', status: 503, body: {} } });
  const to = someNumbers(30);
  const { batchId } = (await send(`to\n${to.join('\n')}\n`)).body;
  const heldBack = await until('the queue is braked', async () => (await ask<{ heldBack: { code: string } | null }>('GET', 'voice-lines')).body.heldBack ?? undefined);
  expect(heldBack).toEqual({ code: 'UPSTREAM_UNAVAILABLE', message: expect.stringMatching(/braked: of the last 5 calls/), advice: expect.stringMatching(/One call a minute is tried/) });
  // Those that had a line when the fifth failed, and perhaps one that was tried.
  const { byState: during } = await until('what was dialled is parked', async () => {
    const batch = await batchOf(batchId);
    return batch.byState['dialling'] === undefined && (batch.byState['needs_attention'] ?? 0) >= 5 && batch;
  });
  expect(during['needs_attention']).toBeLessThanOrEqual(8);
  const metrics = await (await fetch(`${api.url}/metrics`, { headers: { authorization: `Bearer ${complete.API_TOKEN}` } })).text();
  expect(metrics).toMatch(/^aftercall_voice_held_back\{project="default",code="UPSTREAM_UNAVAILABLE"\} 1$/m);
  expect(metrics).toMatch(new RegExp(`^aftercall_voice_calls\\{project="default",state="needs_attention"\\} ${during['needs_attention']}$`, 'm'));
  expect(metrics).toMatch(/^aftercall_voice_oldest_due_seconds\{project="default"\} [0-9.]+$/m);
  await clearFaults(retell);
  const { byState: after } = await until('all others were dialled', async () => {
    const batch = await batchOf(batchId);
    return (batch.byState['not_connected'] ?? 0) + (batch.byState['needs_attention'] ?? 0) === 30 && batch;
  });
  expect(after['needs_attention']).toBeLessThanOrEqual(9);
  expect((await ask('GET', 'voice-lines')).body).toMatchObject({ heldBack: null });
  expect((await placed()).filter((number) => to.includes(number))).toHaveLength(after['not_connected']!);
});

it('does not dial in quiet hours what had its turn before them, when nobody worked then', async () => {
  const zone = 'Asia/Kolkata';
  const clock = (ms: number): string => new Date(shownAt(ms, zone)).toISOString().slice(11, 16);
  await changeSettings({ timeZone: zone, quietHours: [{ from: clock(Date.now() - 3_600_000), to: clock(Date.now() + 3_600_000) }] });
  const [to] = someNumbers(1);
  const key = { project: PROJECT, voiceCallId: 'vc_evening' };
  await system.wiring.voiceCalls.enqueue({ ...key, request: { from: FROM, to: to!, variables: {}, metadata: {}, priority: 3, notBeforeMs: Date.now() - 7_200_000 }, requestedBy: 'a test' });
  await system.wiring.db.updateTable('voice_calls').set({ lined_up_at: new Date(Date.now() - 7_000_000), line_account: 'account' }).where('id', '=', key.voiceCallId).execute();
  // Its workflow was started then; only now does a worker take it up.
  await system.wiring.voiceLinesClient.startCall(key);
  await until('it waits for the morning', async () => {
    const { waits_for: waitsFor } = await system.wiring.db.selectFrom('voice_calls').select('waits_for').where('id', '=', key.voiceCallId).executeTakeFirstOrThrow();
    return waitsFor === 'quiet_hours';
  });
  expect([(await system.wiring.voiceCalls.get(PROJECT, key.voiceCallId)).state, (await placed()).includes(to!)]).toEqual(['queued', false]);
  await system.wiring.voiceCalls.cancel(key, 'not wanted any more');
});

describe('a batch', () => {
  it('is paused, goes on, and is taken back; calls on a line go on', async () => {
    await changeSettings({ voiceLines: 1 });
    const { body } = await send(`to\n${someNumbers(12).join('\n')}\n`);
    const { batchId } = body;
    await until('some were dialled', async () => (await batchOf(batchId)).progress.settled >= 2);
    const paused = await ask<Batch>('POST', `voice-batches/${batchId}/pause`);
    expect(paused.body).toMatchObject({ state: 'paused', pausedSince: expect.any(String) });
    const stood = await until('its lines are free', async () => {
      const batch = await batchOf(batchId);
      return batch.progress.onALine + batch.progress.open === 0 && batch;
    });
    expect(stood.progress.queued + stood.progress.settled).toBe(12);
    expect(stood.progress.queued).toBeGreaterThan(0);
    expect((await rowsOf(batchId)).filter(({ state }) => state === 'queued').every(({ waitsFor }) => waitsFor === 'paused')).toBe(true);
    // Another call goes past it.
    const other = await send(`to\n${someNumbers(1)[0]!}\n`);
    await isOver(other.body.batchId);
    expect((await batchOf(batchId)).progress).toEqual(stood.progress);

    expect((await ask<Batch>('POST', `voice-batches/${batchId}/resume`)).body.state).toBe('running');
    await until('it goes on', async () => (await batchOf(batchId)).progress.settled > stood.progress.settled);
    const cancelled = await ask<{ cancelled: number; onALine: number; batch: Batch }>('POST', `voice-batches/${batchId}/cancel`, { body: { reason: 'enough' } });
    expect(cancelled.body.batch.state).toBe('cancelled');
    const over = await isOver(batchId);
    expect(over.byState['cancelled']).toBe(cancelled.body.cancelled);
    expect((over.byState['not_connected'] ?? 0) + cancelled.body.cancelled).toBe(12);
    expect((await ask('POST', `voice-batches/${batchId}/resume`)).status).toBe(409);
  });

  it('of 50,000 rows is taken in as a whole, and is not again under the same key', async () => {
    const csv = `to,name\n${Array.from({ length: 50_000 }, (_, index) => `+1555${String(index).padStart(7, '0')},Name ${index}`).join('\n')}\n`;
    const first = await send(csv, '&paused=true', 'the-big-batch');
    expect([first.status, first.body]).toEqual([202, expect.objectContaining({ calls: 50_000, state: 'paused', problemCount: 0 })]);
    const again = await send(csv, '&paused=true', 'the-big-batch');
    expect([again.status, again.body.batchId, again.headers.get('idempotent-replay')]).toEqual([202, first.body.batchId, 'true']);
    expect((await send('to\n+15550101\n', '&paused=true', 'the-big-batch')).status).toBe(422);
    expect(await batchOf(first.body.batchId)).toMatchObject({ calls: 50_000, byState: { queued: 50_000 } });
    expect((await ask<{ cancelled: number }>('POST', `voice-batches/${first.body.batchId}/cancel`)).body.cancelled).toBe(50_000);
  });

  it('is the same for whoever sends it again, and so is a single call: a token may have been replaced meanwhile', async () => {
    const { body: made } = await ask<{ token: string }>('POST', 'tokens', { body: { name: 'the next one', role: 'project_admin' } });
    const [batched, single, another] = someNumbers(3);
    const sent = (csv: string, token?: string) => ask<{ batchId: string }>('POST', `voice-batches?from=${encodeURIComponent(FROM)}&paused=true`, { csv, key: 'a-batch-of-two', ...(token ? { token } : {}) });
    const first = await sent(`to\n${batched}\n`);
    const again = await sent(`to\n${batched}\n`, made.token);
    expect([first.status, again.status, again.body.batchId, again.headers.get('idempotent-replay')]).toEqual([202, 202, first.body.batchId, 'true']);
    expect((await sent(`to\n${another}\n`, made.token)).status).toBe(422);

    const notBefore = new Date(Date.now() + 86_400_000).toISOString();
    const call = (to: string, token?: string) => ask<{ voiceCallId: string }>('POST', 'voice-calls', { body: { from: FROM, to, notBefore }, key: 'a-call-of-two', ...(token ? { token } : {}) });
    const placedFirst = await call(single!);
    const placedAgain = await call(single!, made.token);
    expect([placedFirst.status, placedAgain.status, placedAgain.body.voiceCallId]).toEqual([202, 202, placedFirst.body.voiceCallId]);
    expect((await call(another!, made.token)).status).toBe(422);
    expect((await system.wiring.voiceCalls.list(PROJECT, { number: single! }, { limit: 5 })).map(({ requestedBy }) => requestedBy)).toHaveLength(1);
  });

  it('with anything wrong is not taken in, and says what is wrong with which row', async () => {
    const [one] = someNumbers(1);
    const csv = `to,priority\n${one},3\n${one},3\nnobody,9\n`;
    const dry = await send(csv, '&dryRun=true');
    expect([dry.status, dry.body]).toEqual([200, expect.objectContaining({ batchId: null, problemCount: 3, problems: [expect.objectContaining({ row: 2, line: 3, field: 'to' }), expect.objectContaining({ row: 3, field: 'to' }), expect.objectContaining({ row: 3, field: 'priority' })] })]);
    const refused = await ask<{ detail: string; errors: { path: string }[] }>('POST', `voice-batches?from=${encodeURIComponent(FROM)}`, { csv });
    expect([refused.status, refused.body.errors.map(({ path }) => path)]).toEqual([422, ['row 2 (line 3): to', 'row 3 (line 4): to', 'row 3 (line 4): priority']]);
    expect((await ask('POST', 'voice-batches', { csv, key: 'short' })).status).toBe(400);
    expect(await system.wiring.db.selectFrom('voice_calls').select('id').where('to_number', '=', one!).execute()).toEqual([]);
    const skipping = await send(`to\n${one}\n${one}\n`, '&repeats=skip&paused=true');
    expect(skipping.body).toMatchObject({ calls: 1, skipped: 1 });
    await ask('POST', `voice-batches/${skipping.body.batchId}/cancel`);
  });
});

describe('calls that have to wait', () => {
  it('are those of quiet hours, where they are, and go as soon as the project says otherwise', async () => {
    const zone = 'Asia/Kolkata';
    const clock = (ms: number): string => new Date(shownAt(ms, zone)).toISOString().slice(11, 16);
    const quietHours = [{ from: clock(Date.now() - 3_600_000), to: clock(Date.now() + 3_600_000) }];
    await changeSettings({ timeZone: zone, quietHours });
    const [here, there] = someNumbers(2);
    const { body } = await send(`to,timeZone\n${here},\n${there},America/Los_Angeles\n`);
    await until('the other side of the world was called', async () => (await rowsOf(body.batchId))[1]!.state === 'not_connected');
    const [waiting] = await rowsOf(body.batchId);
    expect(waiting).toMatchObject({ state: 'queued', waitsFor: 'quiet_hours' });
    expect(clock(Date.parse(waiting!.notBefore))).toBe(quietHours[0]!.to);
    expect((await ask('GET', 'voice-lines')).body).toMatchObject({ project: { quietNow: true }, queue: { quietHours: 1, due: 0 } });
    await changeSettings({ quietHours: [] });
    await isOver(body.batchId);
  });

  it('are those beyond what a number gets in a day', async () => {
    await changeSettings({ voiceCallsPerNumberPerDay: 1 });
    const [to] = someNumbers(1);
    const { body } = await send(`to\n${to}\n${to}\n`, '&repeats=keep');
    await until('the first was dialled', async () => (await rowsOf(body.batchId)).some(({ state }) => state === 'not_connected'));
    const waiting = await until('the second waits', async () => (await rowsOf(body.batchId)).find(({ waitsFor }) => waitsFor === 'daily_limit'));
    expect(waiting.notBefore.slice(11)).toBe('00:00:00.000Z');
    await changeSettings({ voiceCallsPerNumberPerDay: 2 });
    await isOver(body.batchId);
  });
});
