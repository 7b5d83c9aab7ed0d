import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { DEFAULT_TEMPLATE } from '../../src/domain/prompt-template.ts';
import type { RescoreState } from '../../src/domain/rescore.ts';
import { DEFAULT_RUBRIC } from '../../src/domain/rubric.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: RunningApi;
let keys = 0;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  system = await startSystem({ server, env: { API_PORT: '0', DATABASE_URL: await postgres.createDatabase() } });
  api = await startApi(system.wiring);
  await system.runWindow();
  for (const { taskId } of SAMPLE_CALLS.filter(({ task }) => task.status !== 'assigned')) await system.until(taskId, 'completed', 'needs_attention');
}, 600_000);
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

interface Run {
  rescoreId: string;
  state: RescoreState;
  reason: string | null;
  forecast: { calls: number; sampled: number; requests: number; microUsd: number };
  actual: { requests: number; unsettled: number; microUsd: number };
  progress: { waiting: number; done: number; failed: number };
  summary: { calls: number; questions: { criterion: string; flips: { count: number }; noise: { count: number; of: number }; excess: { beyondNoise: boolean } | null }[]; onlyOld: string[]; decisions: { flips: { of: number; count: number }; noise: { count: number } }; notes: number };
}

const ask = async <T = Run>(method: string, path: string, body?: object): Promise<T & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'idempotency-key': `rescore-key-${(keys += 1)}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { ...((await response.json()) as T), status: response.status };
};
const until = async (id: string, ...states: RescoreState[]): Promise<Run> => {
  for (;;) {
    const run = await ask('GET', `/rescores/${id}`);
    if (states.includes(run.state)) return run;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
};
/** All that stands outside a shadow run's own tables, but for what it cost. */
const everythingElse = async (): Promise<string> => {
  const { db } = system.wiring;
  const rows = await Promise.all((['calls', 'call_versions', 'call_analysis', 'effects', 'projects', 'presets', 'preset_versions'] as const).map((table) => db.selectFrom(table).selectAll().execute()));
  return JSON.stringify([rows, await ledgerOf(system.sandbox.salesforce)]);
};
const requests = async (): Promise<number> => (await ledgerOf(system.sandbox.openai)).length;

describe('a shadow run', () => {
  it('grades stored calls by another preset and their old one, and writes nothing besides', async () => {
    // One question less, one that nobody answers with yes, the others as they were.
    const criteria = [...DEFAULT_RUBRIC.criteria.filter(({ id }) => id !== 'closing'), { id: 'warranty', category: 'closing', question: 'Does the agent explain the warranty?', weight: 5, evidenceFrom: 'agent' }];
    expect(await ask('POST', '/presets', { id: 'stricter', name: 'Stricter', template: DEFAULT_TEMPLATE, criteria })).toMatchObject({ status: 201 });
    const selection = { preset: 'stricter', sample: 2 };
    const forecast = await ask<Run['forecast']>('POST', '/rescores/forecast', selection);
    expect(forecast).toMatchObject({ status: 200, sampled: 2, requests: (forecast.calls + 2) * 2 });
    const before = await everythingElse();
    const asked = await requests();
    const spent = await system.wiring.costs.spentOn('default');
    expect(await ask('POST', '/rescores', { ...selection, mostMicroUsd: 1 })).toMatchObject({ status: 409 });

    const { rescoreId } = await ask('POST', '/rescores', { ...selection, mostMicroUsd: forecast.microUsd });
    const done = await until(rescoreId, 'completed', 'failed');
    expect(done).toMatchObject({ state: 'completed', progress: { waiting: 0, done: forecast.calls, failed: 0 }, summary: { calls: forecast.calls, onlyOld: ['closing'] } });
    expect(await everythingElse()).toBe(before);
    // The sandbox answers the same each time: no flip, and no noise, on the questions that stayed.
    expect(done.summary.questions.map(({ criterion, flips, noise }) => [criterion, flips.count, noise.count, noise.of])).toEqual(['greeting', 'needs', 'objections', 'presentation', 'tone'].map((criterion) => [criterion, 0, 0, 2]));
    expect(done.summary.decisions).toMatchObject({ noise: { count: 0 } });
    expect(done.summary.notes).toBeGreaterThan(0);
    // What was forecast is what was sent, and costs at most that; it is in the day's budget to the cent.
    expect(done.actual).toMatchObject({ requests: (await requests()) - asked, unsettled: 0 });
    expect(done.actual.microUsd).toBeGreaterThan(0);
    expect(done.actual.microUsd).toBeLessThanOrEqual(forecast.microUsd * 1.2);
    expect(await system.wiring.costs.spentOn('default')).toBe(spent + done.actual.microUsd);
    const { calls, next } = await ask<{ calls: { callId: string; change: { note: boolean } }[]; next: string | null }>('GET', `/rescores/${rescoreId}/calls?limit=2`);
    expect([calls.length, next !== null]).toEqual([2, forecast.calls > 2]);
    expect(await ask<{ rescores: object[] }>('GET', '/rescores')).toMatchObject({ rescores: [{ rescoreId, preset: 'stricter@1' }] });
  });

  it('is promoted by one act, and not when what is bound has changed since', async () => {
    const { rescores } = await ask<{ rescores: { rescoreId: string }[] }>('GET', '/rescores');
    const { rescoreId } = rescores[0]!;
    expect(await ask('POST', `/rescores/${rescoreId}/promote`, { preset: 'stricter@2', categories: ['default'] })).toMatchObject({ status: 409 });
    await ask('POST', '/presets', { id: 'meanwhile', name: 'Meanwhile', template: DEFAULT_TEMPLATE, criteria: DEFAULT_RUBRIC.criteria });
    await ask('PATCH', '/settings', { presets: { sales: 'meanwhile' } });
    expect(await ask('POST', `/rescores/${rescoreId}/promote`, { preset: 'stricter@1', categories: ['sales', 'support'] })).toMatchObject({ status: 409, detail: expect.stringContaining('sales has changed') as unknown });
    expect((await system.wiring.projects.settings('default')).presets).toEqual({ sales: 'meanwhile' });
    expect(await ask('POST', `/rescores/${rescoreId}/promote`, { preset: 'stricter@1', categories: ['support', 'default'] })).toMatchObject({ status: 200, promoted: { categories: ['support', 'default'] } });
    expect((await system.wiring.projects.settings('default')).presets).toEqual({ sales: 'meanwhile', support: 'stricter@1', default: 'stricter@1' });
    const { entries } = await ask<{ entries: { action: string; details: object }[] }>('GET', `/audit?target=${rescoreId}&limit=1`);
    expect(entries).toMatchObject([{ action: 'rescores.promote', details: { preset: 'stricter@1', categories: ['support', 'default'] } }]);
  });

  it('waits at the budget, goes on when it is raised, and pays for no request twice, also over a killed worker', async () => {
    const asked = await requests();
    const spent = await system.wiring.costs.spentOn('default');
    await ask('PATCH', '/settings', { dailyBudgetMicroUsd: spent + 1 });
    const { rescoreId, forecast } = await ask('POST', '/rescores', { preset: 'stricter', sample: 0, facts: false });
    expect(await until(rescoreId, 'waiting_for_budget', 'completed')).toMatchObject({ state: 'waiting_for_budget', reason: expect.stringContaining('spent or set aside') as unknown });
    expect(await requests()).toBe(asked);
    // Each answer comes late, so that the worker goes while some are under way.
    await addFaults(system.sandbox.openai, { route: 'POST /v1/chat/completions', times: 1_000, effect: { kind: 'late', byMs: 300 } });
    await ask('PATCH', '/settings', { dailyBudgetMicroUsd: null });
    await ask('POST', `/rescores/${rescoreId}/resume`, {});
    while ((await requests()) === asked) await new Promise((resolve) => setTimeout(resolve, 50));
    await system.stopWorkers();
    await clearFaults(system.sandbox.openai);
    await system.startWorkers();
    const done = await until(rescoreId, 'completed', 'failed');
    expect(done).toMatchObject({ state: 'completed', progress: { failed: 0, done: forecast.calls } });
    // A worker that stops lets its requests finish: each is asked once.
    expect((await requests()) - asked).toBe(done.actual.requests);
    expect(done.actual).toMatchObject({ requests: forecast.calls, unsettled: 0 });
  });

  it('can be paused, resumed and cancelled, and says of each call that failed why', async () => {
    await addFaults(system.sandbox.openai, { route: 'POST /v1/chat/completions', times: 1, effect: { kind: 'refusal' } }, { route: 'POST /v1/chat/completions', times: 1_000, effect: { kind: 'late', byMs: 400 } });
    const { rescoreId } = await ask('POST', '/rescores', { preset: 'installation', sample: 0, facts: false });
    await ask('POST', `/rescores/${rescoreId}/pause`, {});
    const paused = await until(rescoreId, 'paused', 'completed');
    expect(paused.state).toBe('paused');
    await ask('POST', `/rescores/${rescoreId}/cancel`, {});
    const ended = await until(rescoreId, 'cancelled', 'completed');
    expect(ended.state).toBe('cancelled');
    expect(await ask('POST', `/rescores/${rescoreId}/resume`, {})).toMatchObject({ status: 409 });
    expect(await ask('POST', `/rescores/${rescoreId}/promote`, { preset: 'installation@0', categories: ['default'] })).toMatchObject({ status: 409 });
    await clearFaults(system.sandbox.openai);

    await addFaults(system.sandbox.openai, { route: 'POST /v1/chat/completions', times: 1, effect: { kind: 'refusal' } });
    const second = await ask('POST', '/rescores', { preset: 'installation', sample: 0, facts: false });
    expect(await until(second.rescoreId, 'completed', 'failed')).toMatchObject({ state: 'completed', progress: { failed: 1, waiting: 0 } });
    const { calls } = await ask<{ calls: { state: string; error: { code: string } | null }[] }>('GET', `/rescores/${second.rescoreId}/calls`);
    expect(calls.filter(({ state }) => state === 'failed').map(({ error }) => error?.code)).toEqual(['MODEL_REFUSED']);
  });
});
