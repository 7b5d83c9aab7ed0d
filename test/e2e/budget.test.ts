import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const GOOD = SAMPLE_CALLS.find(({ scenario }) => scenario === 'good_lead')!.taskId;

let server: DevServer;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;

beforeAll(async () => {
  server = await startTemporalProcess();
  // Enough for the transcription, not for the analysis on top of it.
  system = await startSystem({ server, env: { DAILY_BUDGET: '0.013', API_PORT: '0' } });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await server?.stop();
});

describe('a call at the limit of the day', () => {
  it('waits before anything is paid, and goes on with the next window once there is room, paying nothing twice', async () => {
    await system.startCall(GOOD);
    const parked = await system.until(GOOD, 'needs_attention', 'completed');
    expect(parked).toMatchObject({ state: 'needs_attention', attention: { step: 'analysis', code: 'BUDGET_REACHED', advice: expect.stringContaining('midnight UTC') as unknown } });
    const kinds = async () => (await ledgerOf(system.sandbox.openai)).map(({ kind }) => kind);
    expect(await kinds()).toEqual(['transcription', 'transcription']);
    // Nothing is set aside for what was not sent.
    const billed = (await ledgerOf(system.sandbox.openai)).reduce((sum, entry) => sum + Number(entry['microUsd']), 0);
    expect(await system.wiring.costs.spentOn('default')).toBe(billed);

    // A window without room lets nothing go on.
    await system.runWindow();
    expect(await system.wiring.calls.get(system.key(GOOD))).toMatchObject({ state: 'needs_attention', attention: { code: 'BUDGET_REACHED' } });

    await system.wiring.projects.changeSettings('default', { dailyBudgetMicroUsd: 5_000_000 });
    await system.runWindow();
    expect(await system.until(GOOD, 'completed')).toMatchObject({ result: 'processed', attention: null });
    const ofThisCall = await system.wiring.costs.list('default', GOOD);
    expect(ofThisCall.map(({ kind, state }) => `${kind} ${state}`).toSorted()).toEqual(['llm settled', 'llm settled', 'stt settled', 'stt settled']);
    // The others of the window, which waited at the limit as well, have gone on too.
    for (const { taskId } of SAMPLE_CALLS.filter(({ task }) => task.status !== 'assigned')) await system.until(taskId, 'completed');
    const all = (await ledgerOf(system.sandbox.openai)).reduce((sum, entry) => sum + Number(entry['microUsd']), 0);
    expect(await system.wiring.costs.spentOn('default')).toBe(all);
  });

  it('goes on when somebody raises the limit, of the day or of the call, without any window', async () => {
    const key = system.key(GOOD);
    const change = async (changes: object): Promise<void> => {
      const response = await fetch(`${api.url}/v1/projects/default/settings`, { method: 'PATCH', headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json' }, body: JSON.stringify(changes) });
      expect(response.status).toBe(200);
    };
    for (const [limit, code] of [['dailyBudgetMicroUsd', 'BUDGET_REACHED'], ['callBudgetMicroUsd', 'CALL_BUDGET_REACHED']] as const) {
      await change({ [limit]: 1 });
      await system.wiring.callsClient.reprocess(key, { by: 'test', from: 'analysis' });
      expect(await system.until(GOOD, 'needs_attention')).toMatchObject({ attention: { step: 'analysis', code } });
      await change({ [limit]: 5_000_000 });
      expect(await system.until(GOOD, 'completed')).toMatchObject({ result: 'processed' });
    }
  });

  it('goes on when a sweep finds room, in a project that has no windows', async () => {
    await system.wiring.projects.changeSettings('default', { dailyBudgetMicroUsd: 1 });
    await system.wiring.callsClient.reprocess(system.key(GOOD), { by: 'test', from: 'analysis' });
    await system.until(GOOD, 'needs_attention');
    await system.wiring.budgetRelease.everywhere();
    expect((await system.wiring.calls.get(system.key(GOOD))).state).toBe('needs_attention');
    await system.wiring.projects.changeSettings('default', { dailyBudgetMicroUsd: 5_000_000 });
    await system.wiring.budgetRelease.everywhere();
    await system.until(GOOD, 'completed');
  });
});
