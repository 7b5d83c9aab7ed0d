import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { createExpiry } from '../../src/client/expiry.ts';
import { projectSettings } from '../../src/config.ts';
import type { CallState } from '../../src/domain/call.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import type { ProjectSettings } from '../../src/domain/settings.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: RunningApi;
let keys = 0;
let windows = 0;

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  system = await startSystem({ server, env: { API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), CRM_APPROVAL: 'always', INGEST_SETTLE: '25s' } });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

const ask = async <T = Record<string, unknown>>(method: string, path: string, body?: object, key = `staging-key-${(keys += 1)}`): Promise<T & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'idempotency-key': key, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { ...((await response.json()) as T), status: response.status };
};
const settle = (settings: Partial<ProjectSettings>): Promise<void> => system.wiring.projects.saveSettings('default', { ...projectSettings(system.config), ...settings });

/** A window with calls that nobody took: they are through their steps in a moment. */
const aWindow = async (count: number) => {
  windows += 1;
  // A month back, where the sandbox has no calls of its own.
  const fromMs = Math.floor(Date.now() / 1_000) * 1_000 - 30 * 86_400_000 - 120_000 * windows;
  const window = { fromMs, toMs: fromMs + 100_000 };
  const prefix = `e${String(windows).padStart(7, '0')}`;
  await fetch(`${system.sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count, fromMs, toMs: fromMs + 90_000, prefix, status: 'abandoned' }) });
  let reads = 0;
  return {
    callIds: Array.from({ length: count }, (_, index) => `${prefix}-0000-4000-8000-${String(index).padStart(12, '0')}`),
    filter: { startedFrom: new Date(fromMs).toISOString(), startedTo: new Date(window.toMs).toISOString() },
    read: async (): Promise<ExecutionReport> => {
      const handle = await system.wiring.schedules.runWindow({ workflowId: `ingest/default/webex/staging-${windows}-${(reads += 1)}`, window });
      return (await handle.result()) as ExecutionReport;
    },
  };
};
const standing = async (callId: string) => {
  const { state, reason, version } = await system.wiring.calls.get(system.key(callId));
  return { state, reason, version };
};
const all = async (callIds: string[], state: CallState): Promise<void> => void (await Promise.all(callIds.map((callId) => system.until(callId, state))));
const ended = async (bulkId: string): Promise<Record<string, unknown>> => {
  for (;;) {
    const ruling = await ask('GET', `/bulk-rulings/${bulkId}`);
    if (ruling['state'] === 'ended') return ruling;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

describe('the rules at the gate', () => {
  it('leave out a call with the name of the rule, and no later poll starts it', async () => {
    await settle({ stagingRules: [{ name: 'nothing in bulk', act: 'ignore', queues: ['bul*'] }], skipProcessed: false });
    const { callIds, read } = await aWindow(3);
    expect(await read()).toMatchObject({ tasksFound: 3, newTasks: 3, rejected: 3, processedSuccessfully: 0 });
    expect(await standing(callIds[0]!)).toEqual({ state: 'rejected', reason: 'Left out by the rule "nothing in bulk".', version: 1 });
    expect(await system.wiring.callsClient.workflowStatus(system.key(callIds[0]!))).toBeUndefined();
    // Not even a poll that is told to process calls again.
    expect(await read()).toMatchObject({ newTasks: 0, skippedAlreadyProcessed: 3 });
    await settle({});
    expect(await read()).toMatchObject({ newTasks: 0, skippedAlreadyProcessed: 3 });
    expect(await standing(callIds[1]!)).toMatchObject({ state: 'rejected', version: 1 });
    // A person may think again.
    expect(await ask('POST', `/calls/${callIds[0]}/reprocess`, {})).toMatchObject({ status: 202, started: true, version: 2 });
    await system.until(callIds[0]!, 'completed');
  });

  it('process one call, stage the next, and leave the rest to autoProcess', async () => {
    await settle({ autoProcess: false, stagingRules: [{ name: 'a sample', act: 'process', samplePercent: 50 }] });
    const { callIds, read } = await aWindow(20);
    const report = await read();
    expect(report.processedSuccessfully + report.awaitingApproval).toBe(20);
    expect(report.processedSuccessfully).toBeGreaterThan(0);
    expect(report.awaitingApproval).toBeGreaterThan(0);
    const stands = await Promise.all(callIds.map(standing));
    // Read again under other rules, each stays on the side it came down on.
    await settle({ stagingRules: [{ name: 'none', act: 'ignore' }] });
    await read();
    expect(await Promise.all(callIds.map(standing))).toEqual(stands);
  });
});

describe('rulings on many calls', () => {
  it('say what they would do, do it once, and tell what became of each call', async () => {
    await settle({ autoProcess: false });
    const { callIds, filter, read } = await aWindow(60);
    await read();
    const body = { filter, reason: 'a rehearsal' };
    expect(await ask('POST', '/calls/bulk/reject', { ...body, dryRun: true })).toMatchObject({ status: 202, bulkId: null, count: 60, would: 'This would reject 60 calls.' });
    expect(await standing(callIds[0]!)).toMatchObject({ state: 'awaiting_approval' });

    // One is ruled on by somebody else, one is none.
    await ask('POST', `/calls/${callIds[0]}/approve`, {});
    await system.until(callIds[0]!, 'completed');
    const ids = [...callIds, 'no-such-call'];
    const first = await ask<{ bulkId: string }>('POST', '/calls/bulk/reject', { ids, reason: 'a rehearsal' }, 'the-same-request');
    expect(first).toMatchObject({ status: 202, count: 61 });
    expect(await ask('POST', '/calls/bulk/reject', { ids, reason: 'a rehearsal' }, 'the-same-request')).toMatchObject({ bulkId: first.bulkId, status: 202 });
    const ruling = await ended(first.bulkId);
    expect(ruling).toMatchObject({ ruling: 'reject', reason: 'a rehearsal', total: 61, done: 59, refused: 2, failed: 0, pending: 0 });
    expect(ruling['notDone']).toEqual([
      { callId: callIds[0], outcome: 'refused', detail: expect.stringContaining('completed') as unknown },
      { callId: 'no-such-call', outcome: 'refused', detail: expect.stringContaining('no call') as unknown },
    ]);
    await all(callIds.slice(1), 'rejected');
    expect(await standing(callIds[5]!)).toMatchObject({ reason: 'a rehearsal' });
    const audit = await ask<{ entries: object[] }>('GET', `/audit?target=${first.bulkId}`);
    expect(audit.entries).toEqual([expect.objectContaining({ action: 'calls.bulk_reject', details: { count: 61, at: 'staging', ids: true } })]);
  });

  it('go on after the process that took the request and the worker have ended', async () => {
    await settle({ autoProcess: false });
    const { callIds, filter, read } = await aWindow(80);
    await read();
    const { bulkId } = await ask<{ bulkId: string }>('POST', '/calls/bulk/approve', { filter: { ...filter, text: 'Bulk' } });
    await api.close();
    await system.stopWorkers();
    await system.startWorkers();
    api = await startApi(system.wiring);
    expect(await ended(bulkId)).toMatchObject({ total: 80, done: 80 });
    await all(callIds, 'completed');
    const audit = await ask<{ entries: { details: object }[] }>('GET', `/audit?target=${bulkId}`);
    expect(audit.entries[0]!.details).toEqual({ count: 80, at: 'staging', filter: { ...filter, text: true } });
  });

  it('meet single rulings without ruling twice', async () => {
    await settle({ autoProcess: false });
    const { callIds, filter, read } = await aWindow(30);
    await read();
    const [{ bulkId }, ...single] = await Promise.all([ask<{ bulkId: string }>('POST', '/calls/bulk/approve', { filter }), ...callIds.map((callId) => ask('POST', `/calls/${callId}/reject`, { reason: 'one by one' }))]);
    const { done, refused } = (await ended(bulkId)) as { done: number; refused: number };
    const rejected = single.filter(({ status }) => status === 200).length;
    expect(done + rejected).toBe(30);
    expect(refused).toBe(30 - done);
    const states = await Promise.all(callIds.map(async (callId) => (await system.until(callId, 'completed', 'rejected')).state));
    expect(states.filter((state) => state === 'rejected')).toHaveLength(rejected);
  });

  it.each<[object, string]>([
    [{}, 'neither'],
    [{ ids: ['a'], filter: {} }, 'both'],
    [{ ids: Array.from({ length: 1_001 }, (_, index) => String(index)) }, 'too many'],
    [{ ids: [] }, 'none'],
    [{ filter: { nonsense: 1 } }, 'unknown'],
  ])('are refused: %#', async (body, _why) => {
    expect(await ask('POST', '/calls/bulk/approve', body)).toMatchObject({ status: 400 });
  });

  it('do not let a call act in the CRM that was to be let in', async () => {
    await settle({ crmApproval: 'always' });
    await system.startCall(GOOD);
    await system.until(GOOD, 'awaiting_approval');
    const { bulkId } = await ask<{ bulkId: string }>('POST', '/calls/bulk/approve', { ids: [GOOD] });
    expect(await ended(bulkId)).toMatchObject({ done: 0, refused: 1, notDone: [{ detail: expect.stringContaining('crm') as unknown }] });
    const told = await ask<{ bulkId: string }>('POST', '/calls/bulk/reject', { filter: {}, at: 'crm', reason: 'not this customer' });
    expect(await ended(told.bulkId)).toMatchObject({ done: 1 });
    await system.until(GOOD, 'completed');
    expect(await standing(GOOD)).toMatchObject({ reason: expect.stringMatching(/^Skipped: crm\. crm was turned down: not this customer \(.*\)\.$/) as unknown });
  });
});

describe('a call that nobody rules on', () => {
  it('expires when its time is over, and can be approved later all the same', async () => {
    await settle({ autoProcess: false, stagingExpiresAfterHours: 2 });
    const { callIds, read } = await aWindow(3);
    await read();
    const expiry = createExpiry({ calls: system.wiring.calls, projects: system.wiring.projects, client: system.wiring.callsClient, log: system.wiring.log });
    expect(await expiry.sweep(Date.now() + 3_600_000)).toBe(0);
    // One has lost its workflow in Temporal.
    await system.wiring.temporal.workflow.getHandle(`call/default/${callIds[2]}`).terminate('a test');
    await expiry.sweep(Date.now() + 3 * 3_600_000);
    await all(callIds, 'rejected');
    for (const callId of callIds) expect(await standing(callId)).toMatchObject({ reason: 'expired: nobody ruled on it within 2 hours' });
    expect(await expiry.sweep(Date.now() + 3 * 3_600_000)).toBe(0);
    for (const callId of callIds.slice(1)) {
      expect(await ask('POST', `/calls/${callId}/reprocess`, {})).toMatchObject({ started: true, version: 2 });
      await system.until(callId, 'completed');
    }
  });
});
