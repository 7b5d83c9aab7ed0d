import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.ts';

/** The worker is a process of its own here, on PostgreSQL, and dies as processes do. */
let postgres: TestPostgres;
let server: DevServer;
let sandbox: TestSandbox;
let folder: string;
/** Starts calls and reads records; serves no queue. */
let desk: TestSystem;
let env: Record<string, string>;
let worker: WorkerProcess | undefined;
let made = 0;

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!;

/** One that the last test left is as good as new. */
const startWorker = async (): Promise<void> => {
  worker ??= await startWorkerProcess(env);
};
const end = async (signal: NodeJS.Signals): Promise<number | null> => {
  const ending = worker!;
  worker = undefined;
  return ending.end(signal);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-kill-'));
  [postgres, server, sandbox] = await Promise.all([startPostgres(), startTemporalProcess(), startTestSandbox(folder)]);
  const overrides = { ...sandbox.telling, DATABASE_URL: await postgres.createDatabase(), HEARTBEAT_TIMEOUT: '3s', RETRY_ATTEMPTS: '8', SHUTDOWN_GRACE: '20s' };
  desk = await startSystem({ server, sandbox, folder, env: overrides });
  await desk.stopWorkers();
  env = Object.fromEntries(Object.entries({ ...desk.env, ...overrides }));
});
afterAll(async () => {
  await worker?.end('SIGKILL');
  await desk?.stop();
  await Promise.all([sandbox?.stop(), server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const stand of [sandbox.webex, sandbox.openai, sandbox.salesforce, sandbox.telegram]) await clearFaults(stand);
});

const addCalls = async (count: number): Promise<string[]> => {
  made += 1;
  const prefix = `d${String(made).padStart(7, '0')}`;
  const at = Date.now() - 3_600_000 - made * 60_000;
  await fetch(`${sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count, fromMs: at, toMs: at + 1_000 * count, recordingOf: GOOD.taskId, prefix }) });
  return Array.from({ length: count }, (_, index) => `${prefix}-0000-4000-8000-${String(index).padStart(12, '0')}`);
};

const requestsTo = async (stand: SandboxServer, path: RegExp): Promise<number> => ((await (await fetch(`${stand.url}/_sandbox/requests`)).json()) as { method: string; path: string }[]).filter((request) => path.test(`${request.method} ${request.path}`)).length;

/** One lead per call, the recording whole, and no paid request unaccounted for. */
const audit = async (callIds: string[], billedBefore: number): Promise<void> => {
  let settled = 0;
  let unsettled = 0;
  for (const callId of callIds) {
    const version = await desk.wiring.calls.getVersion({ ...desk.key(callId), version: 1 });
    expect([version.result, version.crm?.action, version.transcript?.turns]).toEqual(['processed', 'create_lead', GOOD.script!.length]);
    const [effect] = await desk.wiring.effects.list('default', callId);
    const leads = (await ledgerOf(sandbox.salesforce, 'lead_created')).filter((entry) => entry['externalId'] === effect!.key);
    expect(leads.map(({ id }) => id)).toEqual([version.crm!.records.leadId]);
    const costs = await desk.wiring.costs.list('default', callId);
    settled += costs.filter(({ state }) => state === 'settled').length;
    unsettled += costs.filter(({ state }) => state === 'reserved').length;
  }
  const billed = (await ledgerOf(sandbox.openai)).length - billedBefore;
  // What was billed is settled, or stands as a reservation whose answer nobody heard.
  expect(billed).toBeGreaterThanOrEqual(settled);
  expect(billed).toBeLessThanOrEqual(settled + unsettled);
};

describe('a worker killed in the middle of a step', () => {
  /** Killed before the other side acted: it acts when nobody listens any more, or not at all. */
  const slow = (route: string): Fault => ({ route, delayMs: 1_500, effect: { kind: 'delay' } });
  /** Killed after the other side acted, before we heard of it. */
  const late = (route: string): Fault => ({ route, effect: { kind: 'late', byMs: 1_500 } });
  const cases: [string, 'webex' | 'openai' | 'salesforce', Fault, RegExp][] = [
    ['looking for the recording', 'webex', slow('POST /v1/captures/query'), /^POST \/v1\/captures\/query/],
    ['downloading', 'webex', { route: 'GET /recordings/*', effect: { kind: 'slow_drip' } }, /^GET \/recordings\//],
    ['transcribing', 'openai', slow('POST /v1/audio/transcriptions'), /^POST \/v1\/audio/],
    ['transcribing, paid for', 'openai', late('POST /v1/audio/transcriptions'), /^POST \/v1\/audio/],
    ['grading, paid for', 'openai', late('POST /v1/chat/completions'), /^POST \/v1\/chat/],
    ['creating the lead, created', 'salesforce', late('PATCH /services/data/*'), /^PATCH \/services\/data/],
    ['grading', 'openai', slow('POST /v1/chat/completions'), /^POST \/v1\/chat/],
    ['looking up the account', 'salesforce', slow('GET /services/data/*/query'), /^GET \/services\/data\/.*query/],
    // The lead is made after the worker is dead: nobody hears of it.
    ['creating the lead', 'salesforce', slow('PATCH /services/data/*'), /^PATCH \/services\/data/],
  ];

  it.each(cases)('%s: the next worker takes the call up, and nothing happens twice', async (_title, stand, fault, route) => {
    const billedBefore = (await ledgerOf(sandbox.openai)).length;
    await startWorker();
    const [callId] = await addCalls(1);
    const before = await requestsTo(sandbox[stand], route);
    await addFaults(sandbox[stand], fault);
    await desk.startCall(callId!);
    while ((await requestsTo(sandbox[stand], route)) === before) await sleep(20);
    await end('SIGKILL');
    await sleep(1_600);
    await startWorker();
    await desk.until(callId!, 'completed');
    await audit([callId!], billedBefore);
  });
});

describe('a worker killed between two steps', () => {
  const after: [string, (call: Awaited<ReturnType<TestSystem['wiring']['calls']['getVersion']>>) => boolean][] = [
    ['the recording', ({ recording }) => recording !== null],
    ['the transcription', ({ transcript }) => transcript !== null],
    ['the analysis', ({ analysis }) => analysis !== null],
    ['the CRM action', ({ crm }) => crm !== null],
    ['the delivery', ({ result }) => result !== null],
  ];

  it.each(after)('once %s is written down: the next worker goes on behind it', async (_what, isDone) => {
    const billedBefore = (await ledgerOf(sandbox.openai)).length;
    const downloadsBefore = await requestsTo(sandbox.webex, /^GET \/recordings\//);
    await startWorker();
    const [callId] = await addCalls(1);
    const version = await desk.startCall(callId!);
    while (!isDone(await desk.wiring.calls.getVersion(version))) await sleep(5);
    await end('SIGKILL');
    await startWorker();
    await desk.until(callId!, 'completed');
    await desk.wiring.callsClient.result(desk.key(callId!));
    await audit([callId!], billedBefore);
    // Nothing that is paid for or written down was asked for again.
    expect(await requestsTo(sandbox.webex, /^GET \/recordings\//)).toBe(downloadsBefore + 1);
    expect((await ledgerOf(sandbox.openai)).length - billedBefore).toBe((await desk.wiring.costs.list('default', callId!)).length);
  });
});

describe('a worker killed while a message goes out', () => {
  it('leaves it unknown: the next worker sends no second one', async () => {
    const sentBefore = (await ledgerOf(sandbox.telegram, 'message_sent')).length;
    // Nothing that was quoted stands: the score is 0.
    await addFaults(sandbox.openai, { route: 'POST /v1/chat/completions', effect: { kind: 'fabricated_quotes' } });
    await addFaults(sandbox.telegram, { route: 'POST /bot*/sendMessage', effect: { kind: 'late', byMs: 1_500 } });
    await startWorker();
    const [callId] = await addCalls(1);
    await desk.startCall(callId!);
    while ((await ledgerOf(sandbox.telegram, 'message_sent')).length === sentBefore) await sleep(20);
    await end('SIGKILL');
    await startWorker();
    const alert = async () => (await desk.wiring.messages.list('default', { callId: callId!, notifier: 'telegram' }, { limit: 10 }))[0]!;
    while ((await alert()).state === 'sending') await sleep(100);
    expect(await alert()).toMatchObject({ event: 'call.low_score', state: 'unknown', attempts: 1, tries: [{ outcome: 'unknown' }] });
    await desk.until(callId!, 'completed');
    expect((await ledgerOf(sandbox.telegram, 'message_sent')).length).toBe(sentBefore + 1);
  });
});

describe('workers killed again and again', () => {
  it('lose no call and make no lead twice', async () => {
    const billedBefore = (await ledgerOf(sandbox.openai)).length;
    const callIds = await addCalls(6);
    await startWorker();
    for (const callId of callIds) await desk.startCall(callId);
    for (const pauseMs of [700, 1_300, 2_100]) {
      await sleep(pauseMs);
      await end('SIGKILL');
      await startWorker();
    }
    for (const callId of callIds) await desk.until(callId, 'completed');
    await audit(callIds, billedBefore);
  });
});

describe('a worker killed while a window is read', () => {
  const PAGES = 12;
  const NEW = 6;

  it('is followed by one that goes on at its page, over several runs of the workflow', async () => {
    const count = PAGES * 1_000;
    const fromMs = Date.now() - 3 * 86_400_000;
    const window = { fromMs, toMs: fromMs + 3_600_000 };
    const prefix = 'cc000000';
    await fetch(`${sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count, fromMs: fromMs + 1_000, toMs: window.toMs - 1_000, status: 'abandoned', prefix }) });
    // All but a few on each side of the kill are known.
    await sql`insert into calls (project, call_id, source, details, started_at, state, version)
      select 'default', ${prefix} || '-0000-4000-8000-' || lpad(n::text, 12, '0'), 'webex', '{}', now(), 'completed', 1
      from generate_series(0, ${count - 1}::int) n where n % 2000 <> 999`.execute(desk.wiring.db);

    await startWorker();
    const before = await requestsTo(sandbox.webex, /^GET \/v1\/tasks/);
    await addFaults(sandbox.webex, { route: 'GET /v1/tasks', skip: 5, delayMs: 1_500, effect: { kind: 'delay' } });
    const handle = await desk.wiring.schedules.runWindow({ workflowId: 'ingest/default/webex/killed', window, pagesPerRun: 4 });
    while ((await requestsTo(sandbox.webex, /^GET \/v1\/tasks/)) < before + 6) await sleep(20);
    await end('SIGKILL');
    await startWorker();
    const report = (await handle.result()) as ExecutionReport;
    await end('SIGKILL');

    expect(report).toMatchObject({ tasksFound: count, newTasks: NEW, skippedAlreadyProcessed: count - NEW, processedSuccessfully: NEW, endedEarly: { abandoned: NEW } });
    // Every page once, the one that the kill interrupted twice, and one at the end that is empty or holds the border.
    expect((await requestsTo(sandbox.webex, /^GET \/v1\/tasks/)) - before).toBeLessThanOrEqual(PAGES + 2);
    const { raw, runId } = await handle.describe();
    expect(raw.workflowExecutionInfo?.firstRunId).not.toBe(runId);
    expect(Number(raw.workflowExecutionInfo?.historyLength)).toBeLessThan(60);
  });
});

describe('a worker told to stop', () => {
  it('finishes what it is doing and exits with 0; the call goes on at the next worker', async () => {
    const billedBefore = (await ledgerOf(sandbox.openai)).length;
    const [callId] = await addCalls(1);
    await startWorker();
    await addFaults(sandbox.openai, { route: 'POST /v1/audio/transcriptions', delayMs: 1_500, effect: { kind: 'delay' } });
    const before = await requestsTo(sandbox.openai, /^POST \/v1\/audio/);
    await desk.startCall(callId!);
    while ((await requestsTo(sandbox.openai, /^POST \/v1\/audio/)) === before) await sleep(20);
    expect(await end('SIGTERM')).toBe(0);
    // What was running was finished within the grace time: both channels are paid for and kept.
    expect((await desk.wiring.costs.list('default', callId!)).map(({ kind, state }) => [kind, state])).toEqual([['stt', 'settled'], ['stt', 'settled']]);
    await startWorker();
    await desk.until(callId!, 'completed');
    await end('SIGTERM');
    await audit([callId!], billedBefore);
    expect((await desk.wiring.costs.list('default', callId!)).filter(({ kind }) => kind === 'stt')).toHaveLength(2);
  });
});

describe('Temporal restarted', () => {
  it('comes back from its file with schedules and waiting calls intact', async () => {
    const dbFile = join(folder, 'temporal.db');
    const first = await startTemporalProcess({ dbFile });
    const system = await startSystem({ server: first, sandbox, env: { AUTO_PROCESS: 'false' } });
    try {
      await system.wiring.schedules.apply();
      await system.startCall(GOOD.taskId);
      await system.until(GOOD.taskId, 'awaiting_approval');
      await first.kill();
      const second = await startTemporalProcess({ dbFile, port: Number(first.address.split(':')[1]) });
      try {
        expect(await system.wiring.schedules.describe()).toMatchObject({ id: 'ingest/default/webex', paused: false });
        // The worker reconnects by itself; an approval before that is answered as "no worker yet".
        for (let attempt = 1; ; attempt += 1) {
          try {
            await system.wiring.callsClient.approve(system.key(GOOD.taskId), { by: 'ann' }, `approve-${attempt}`);
            break;
          } catch (error) {
            if (attempt > 5) throw error;
          }
        }
        await system.until(GOOD.taskId, 'completed');
      } finally {
        await system.stopWorkers();
        await second.stop();
      }
    } finally {
      await system.stop();
    }
  });
});
