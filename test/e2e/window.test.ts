import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { actionsBetween, actionsOf, startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  // No heartbeats: how many there are depends on how long the steps take, that is on the machine.
  system = await startSystem({ server, env: { DATABASE_URL: await postgres.createDatabase(), HEARTBEAT_TIMEOUT: '10m' } });
});
afterAll(async () => {
  await system?.stop();
  await server?.stop();
  await postgres?.stop();
});

const bulk = (body: object): Promise<Response> => fetch(`${system.sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });

describe('what a call costs in Temporal', () => {
  it('is at most seven Actions on the happy path', async () => {
    const callId = SAMPLE_CALLS[0]!.taskId;
    const before = await actionsOf(server);
    await system.startCall(callId);
    await system.until(callId, 'completed');
    // The workflow's last task is counted a moment after the record is written.
    await system.wiring.callsClient.result(system.key(callId));
    const { total, byType } = actionsBetween(before, await actionsOf(server));
    expect({ total, byType }).toEqual({ total: 7, byType: { command_ScheduleActivityTask: 6, grpc_StartWorkflowExecution: 1 } });
  });
});

describe('a window of 100,000 calls', () => {
  const COUNT = 100_000;
  const NEW = 40;

  it('is read page by page with a flat history, goes on at its page after a failure, and finds what is new', async () => {
    const toMs = Date.now() - 3_600_000;
    await bulk({ count: COUNT, fromMs: toMs - 5 * 86_400_000, toMs, status: 'abandoned', prefix: 'c0000000' });
    // All but a few were processed by an earlier window, longer ago than Temporal remembers.
    await sql`insert into calls (project, call_id, source, details, started_at, state, version)
      select 'default', 'c0000000-0000-4000-8000-' || lpad(n::text, 12, '0'), 'webex', '{}', now(), 'completed', 1
      from generate_series(${NEW}::int, ${COUNT - 1}::int) n`.execute(system.wiring.db);
    // In the middle the source fails; the page is asked for again, not the window.
    await addFaults(system.sandbox.webex, { route: 'GET /v1/tasks', skip: 50, times: 2, effect: { kind: 'respond', status: 503, body: {} } });
    const asked = (await (await fetch(`${system.sandbox.webex.url}/_sandbox/requests`)).json() as { path: string }[]).filter(({ path }) => path === '/v1/tasks').length;
    const before = await actionsOf(server);
    const heapBefore = process.memoryUsage().heapUsed;

    const handle = await system.wiring.schedules.runWindow({ workflowId: 'ingest/default/webex/large' });
    const report = (await handle.result()) as ExecutionReport;
    await clearFaults(system.sandbox.webex);

    expect(report.tasksFound).toBe(COUNT + SAMPLE_CALLS.length);
    expect(report.newTasks).toBeGreaterThanOrEqual(NEW);
    expect(report.newTasks).toBeLessThan(NEW + SAMPLE_CALLS.length);
    expect(report.skippedAlreadyProcessed).toBe(report.tasksFound - report.newTasks - report.stillOpen);
    expect(report.endedEarly.abandoned).toBeGreaterThanOrEqual(NEW);

    const askedNow = (await (await fetch(`${system.sandbox.webex.url}/_sandbox/requests`)).json() as { path: string }[]).filter(({ path }) => path === '/v1/tasks').length;
    // A hundred pages and a bit for the borders, and the two that failed: nothing was read again from the start.
    expect(askedNow - asked).toBeLessThan(106);
    const { historyLength, raw } = await handle.describe();
    expect(historyLength).toBeLessThan(1_000);
    expect(Number(raw.workflowExecutionInfo?.historySizeBytes)).toBeLessThan(1_000_000);
    // One start for each new call; those that were known cost none.
    expect(actionsBetween(before, await actionsOf(server)).byType['grpc_StartWorkflowExecution'] ?? 0).toBeLessThanOrEqual(report.newTasks + 1);
    expect((process.memoryUsage().heapUsed - heapBefore) / 1024 / 1024).toBeLessThan(200);
  });
});

describe('the schedule', () => {
  it('reads what each scheduled time stands for when it is backfilled, and every call once', async () => {
    const { schedules, runs } = system.wiring;
    await schedules.apply();
    await schedules.pause('test');
    const before = (await runs.list('default', { limit: 100 })).length;
    const hour = 3_600_000;
    const to = Math.floor(Date.now() / hour) * hour - 24 * hour;
    await schedules.backfill(new Date(to - 46 * 60_000), new Date(to));
    let rows = await runs.list('default', { limit: 100 });
    for (let attempt = 0; attempt < 2_400 && (rows.length < before + 4 || rows.some(({ state }) => state !== 'completed')); attempt += 1) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      rows = await runs.list('default', { limit: 100 });
    }
    const backfilled = rows.slice(0, rows.length - before);
    expect(backfilled.map(({ windowTo }) => windowTo.getTime()).toSorted((a, b) => a - b)).toEqual([45, 30, 15, 0].map((minutes) => to - minutes * 60_000));
    for (const { windowFrom, windowTo, report } of backfilled) {
      expect(windowTo.getTime() - windowFrom.getTime()).toBe(system.config.MINUTES_BACK * 60_000);
      expect(report?.newTasks).toBe(0);
    }
  });
});

describe('calls that wait for approval', () => {
  it('cost nothing while they wait, and go on or end as people say', async () => {
    const staged = await startSystem({ server, env: { AUTO_PROCESS: 'false', DATABASE_URL: await postgres.createDatabase() }, sandbox: system.sandbox });
    await system.stopWorkers();
    try {
      await bulk({ count: 2, fromMs: Date.now() - 600_000, toMs: Date.now() - 598_000, recordingOf: SAMPLE_CALLS[0]!.taskId, prefix: 'e0000000' });
      const [first, second] = ['e0000000-0000-4000-8000-000000000000', 'e0000000-0000-4000-8000-000000000001'] as const;
      const billed = (await ledgerOf(system.sandbox.openai)).length;
      await staged.startCall(first);
      await staged.startCall(second);
      await staged.until(first, 'awaiting_approval');
      await staged.wiring.callsClient.reject(staged.key(first), { by: 'ann', reason: 'private call' }, 'reject-1');
      await staged.until(first, 'rejected');
      expect((await ledgerOf(system.sandbox.openai)).length).toBe(billed);
      await staged.wiring.callsClient.approve(staged.key(second), { by: 'ann' }, 'approve-1');
      await staged.until(second, 'completed');
    } finally {
      await staged.stop();
    }
  });
});
