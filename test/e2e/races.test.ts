import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { projectSettings } from '../../src/config.ts';
import type { CallState } from '../../src/domain/call.ts';
import { callWorkflowId, runIdOf } from '../../src/domain/ids.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { asOwner } from '../../src/db/scope.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;

let server: DevServer;
let system: TestSystem;
let windows = 0;

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { RECORDING_FIRST_LOOK: '10m', INGEST_SETTLE: '25s' } });
});
afterAll(async () => {
  await system?.stop();
  await server?.stop();
});

/** A window of its own with some calls in it. */
const aWindow = async (more: object = {}): Promise<{ callId: string; window: { fromMs: number; toMs: number }; read(): ReturnType<TestSystem['wiring']['schedules']['runWindow']> }> => {
  windows += 1;
  const fromMs = Math.floor(Date.now() / 1_000) * 1_000 - 120_000 * (windows + 1);
  const window = { fromMs, toMs: fromMs + 10_000 };
  const prefix = `f${String(windows).padStart(7, '0')}`;
  await fetch(`${system.sandbox.webex.url}/_sandbox-bulk`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ count: 1, fromMs, toMs: fromMs + 1_000, prefix, ...more }),
  });
  let reads = 0;
  return {
    callId: `${prefix}-0000-4000-8000-000000000000`,
    window,
    read: () => system.wiring.schedules.runWindow({ workflowId: `ingest/default/webex/race-${windows}-${(reads += 1)}`, window }),
  };
};
const processAgain = (skipProcessed: boolean): Promise<void> => system.wiring.projects.saveSettings('default', { ...projectSettings(system.config), skipProcessed });
const versionOf = async (callId: string): Promise<{ version: number; state: string }> => {
  const { version, state } = await system.wiring.calls.get(system.key(callId));
  return { version, state };
};
/** Waits for a call that a window is yet to find. */
const until = async (callId: string, state: CallState): Promise<void> => {
  while (!(await system.wiring.calls.find(system.key(callId)))) await new Promise((resolve) => setTimeout(resolve, 50));
  await system.until(callId, state);
};
const reportOf = async (handle: { result(): Promise<unknown> }): Promise<ExecutionReport> => (await handle.result()) as ExecutionReport;

describe('a call is run again', () => {
  it('as one new version, and not before its last run has closed', async () => {
    const { wiring } = system;
    const { callId, read } = await aWindow({ status: 'abandoned' });
    await reportOf(await read());
    const key = system.key(callId);
    await wiring.callsClient.reprocess(key, { by: 'ann', from: 'recording' });
    await wiring.callsClient.result(key);
    // The next run stands still with its workflow open, and its record says already that it has ended.
    await system.stopWorkers();
    await wiring.callsClient.reprocess(key, { by: 'ann', from: 'recording' });
    await wiring.calls.setState({ ...key, version: 3 }, { state: 'completed', result: 'abandoned' });
    await processAgain(false);
    const again = wiring.callsClient.reprocess(key, { by: 'ann', from: 'recording' });
    const window = await read();
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await system.startWorkers();
    const { started, version } = await again;
    await reportOf(window);
    await processAgain(true);
    expect(started).toBe(true);
    await system.until(callId, 'completed');
    await wiring.callsClient.result(key);
    expect(await versionOf(callId)).toEqual({ version, state: 'completed' });
    expect((await wiring.calls.listVersions(key)).map(({ state }) => state)).toEqual(Array.from({ length: version }, () => 'completed'));
  });

  it('by the next window when whoever opened its version died before the start', async () => {
    const { callId, read } = await aWindow({ status: 'abandoned' });
    await reportOf(await read());
    await system.wiring.calls.openVersion({ ...system.key(callId), version: 2 }, { runId: 'died', from: 'recording', state: 'staged' });
    expect(await reportOf(await read())).toMatchObject({ tasksFound: 1, newTasks: 1, processedSuccessfully: 1 });
    expect(await versionOf(callId)).toEqual({ version: 2, state: 'completed' });
  });

  it('by hand when whoever opened its version died before the start', async () => {
    const { callId, read } = await aWindow({ status: 'abandoned' });
    await reportOf(await read());
    await system.wiring.calls.openVersion({ ...system.key(callId), version: 2 }, { from: 'recording', state: 'staged' });
    expect(await system.wiring.callsClient.reprocess(system.key(callId), { by: 'ann', from: 'recording' })).toEqual({ started: true, version: 2 });
    await system.until(callId, 'completed');
  });

  it('once by a window that reads its page twice, though processed calls are processed again', async () => {
    const { wiring } = system;
    const { callId, read } = await aWindow({ status: 'abandoned' });
    await asOwner(() => sql`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'not now'; end $$`.execute(wiring.db));
    await asOwner(() => sql`create trigger refuse_tasks before insert on run_tasks execute function refuse()`.execute(wiring.db));
    await processAgain(false);
    try {
      const handle = await read();
      await until(callId, 'completed');
      await wiring.callsClient.result(system.key(callId));
      await asOwner(() => sql`drop trigger refuse_tasks on run_tasks`.execute(wiring.db));
      expect(await reportOf(handle)).toMatchObject({ tasksFound: 1, newTasks: 1, processedSuccessfully: 1 });
      expect(await versionOf(callId)).toEqual({ version: 1, state: 'completed' });
    } finally {
      await asOwner(() => sql`drop trigger if exists refuse_tasks on run_tasks`.execute(wiring.db));
      await processAgain(true);
    }
  });

  it('and the report does not count again what was done in the CRM the first time', async () => {
    const { read } = await aWindow({ recordingOf: GOOD });
    expect((await reportOf(await read())).crm).toMatchObject({ leadsCreated: 1, crmSkipped: {} });
    await processAgain(false);
    const leads = (await ledgerOf(system.sandbox.salesforce, 'lead_created')).length;
    const { crm, processedSuccessfully } = await reportOf(await read());
    await processAgain(true);
    expect((await ledgerOf(system.sandbox.salesforce, 'lead_created')).length).toBe(leads);
    expect({ crm, processedSuccessfully }).toMatchObject({ processedSuccessfully: 1, crm: { leadsCreated: 0, crmSkipped: { already_done: 1 } } });
  });
});

describe('a workflow that is ended in Temporal', () => {
  it('leaves a call that can be run again by hand', async () => {
    const { callsClient, temporal, calls } = system.wiring;
    const { callId, read } = await aWindow({ recordingOf: GOOD, emptyLooks: 1 });
    const window = await read();
    await until(callId, 'waiting_for_recording');
    await temporal.workflow.getHandle(callWorkflowId(system.key(callId))).terminate('by hand');
    await expect(callsClient.retry(system.key(callId), { by: 'ann' }, 'retry-terminated')).rejects.toMatchObject({ code: 'CONFLICT', advice: expect.stringContaining('reprocess') as unknown });
    expect(await callsClient.reprocess(system.key(callId), { by: 'ann', from: 'recording' })).toEqual({ started: true, version: 2 });
    await system.until(callId, 'completed');
    expect((await calls.getVersion({ ...system.key(callId), version: 1 })).state).toBe('failed');
    expect(await reportOf(window)).toMatchObject({ newTasks: 1, failed: 1 });
  });

  it('and is started again by another window: the first one counts it as the other one’s', async () => {
    const { callId, read } = await aWindow({ recordingOf: GOOD, emptyLooks: 1 });
    const first = await read();
    await until(callId, 'waiting_for_recording');
    await system.wiring.temporal.workflow.getHandle(callWorkflowId(system.key(callId))).terminate('by hand');
    expect(await reportOf(await read())).toMatchObject({ newTasks: 1, processedSuccessfully: 1 });
    expect(await reportOf(first)).toMatchObject({ tasksFound: 1, newTasks: 0, skippedAlreadyProcessed: 1 });
  });

  it('says so of a window', async () => {
    const { callId, read } = await aWindow({ recordingOf: GOOD, emptyLooks: 100 });
    const handle = await read();
    await until(callId, 'waiting_for_recording');
    await handle.cancel();
    await expect(handle.result()).rejects.toThrow();
    expect(await system.wiring.runs.get('default', runIdOf(handle.workflowId))).toMatchObject({ state: 'failed', error: expect.stringContaining('cancelled') as unknown });
  });
});
