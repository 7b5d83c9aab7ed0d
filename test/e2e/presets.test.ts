import type { Payload } from '@temporalio/common';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { startOpenAI } from '../../sandbox/openai/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { DEFAULT_TEMPLATE } from '../../src/domain/prompt-template.ts';
import { SALES_RUBRIC } from '../../src/domain/rubrics/sales.ts';
import { asOwner } from '../../src/db/scope.ts';
import { addFaults, ffmpegPath, ledgerOf } from '../support/sandbox.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: RunningApi;
/** Two servers with a key each: who was asked, and with which key, is theirs to tell. */
let second: SandboxServer;
let third: SandboxServer;
let keys = 0;

const SECOND_KEY = 'sk-second-0123456789-wxyz';
const THIRD_KEY = 'sk-third-9876543210-dcba';
const [GOOD, OTHER] = SAMPLE_CALLS.filter(({ scenario }) => scenario === 'good_lead' || scenario === 'existing_customer_renewal').map(({ taskId }) => taskId) as [string, string];

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  const files = { calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() };
  second = await startOpenAI({ ...files, apiKey: SECOND_KEY });
  third = await startOpenAI({ ...files, apiKey: THIRD_KEY });
  system = await startSystem({ server, env: { API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), OUTBOUND_ALLOW: '127.0.0.1' } });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop(), second?.close(), third?.close()]);
});

/** Every word that the API has said. */
const heard: string[] = [];
const ask = async <T = Record<string, unknown>>(method: string, path: string, body?: object): Promise<T & { status: number; detail?: string; errors?: { path: string; message: string }[] }> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'idempotency-key': `presets-key-${(keys += 1)}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  const text = await response.text();
  heard.push(text);
  return { ...(JSON.parse(text) as T), status: response.status };
};

const openai = (server: SandboxServer) => ({ provider: 'openai', baseUrl: `${server.url}/v1` });
const preset = (server: SandboxServer, key: string | undefined, more: object = {}) => ({
  speech: openai(server),
  model: { ...openai(server), language: 'en' },
  template: `You work for {{company}} on {{category}} calls.\n${DEFAULT_TEMPLATE}`,
  criteria: SALES_RUBRIC.criteria,
  keys: key === undefined ? {} : { speech: key, model: key },
  ...more,
});
const billedAt = async (...servers: SandboxServer[]): Promise<number[]> => Promise.all(servers.map(async (one) => (await ledgerOf(one)).length));

describe('the presets of a project', () => {
  it('are saved in versions, and show of their keys no more than the end', async () => {
    const made = await ask('POST', '/presets', { id: 'sales', name: 'Sales', ...preset(second, SECOND_KEY) });
    expect(made).toMatchObject({ status: 201, preset: 'sales', version: 1, speech: { ...openai(second), keyHint: '****wxyz' }, rubric: { id: 'sales', version: '1' }, pricing: { model: { model: 'gpt-5-mini', price: 'listed' } } });
    // Without keys, those of the version before go on; the rubric's version says that its questions are the same.
    const saved = await ask('POST', '/presets/sales/versions', { basedOn: 1, ...preset(second, undefined, { template: `Be strict.\n${DEFAULT_TEMPLATE}`, model: { ...openai(second), model: 'local-7b' } }) });
    expect(saved).toMatchObject({ status: 201, version: 2, speech: { keyHint: '****wxyz' }, rubric: { version: '1' }, pricing: { model: { model: 'local-7b', price: 'unpriced' } } });
    expect(await ask('POST', '/presets/sales/versions', { basedOn: 1, ...preset(second, undefined) })).toMatchObject({ status: 409, detail: expect.stringContaining('version 2 by now') as unknown });
    const changed = await ask('POST', '/presets/sales/versions', preset(second, undefined, { criteria: SALES_RUBRIC.criteria.slice(1) }));
    expect(changed).toMatchObject({ version: 3, rubric: { version: '3' } });
    expect(await ask('GET', '/presets/sales?version=1')).toMatchObject({ version: 1, newestVersion: 3, template: preset(second, undefined).template });
    expect((await ask<{ presets: { version: number }[] }>('GET', '/presets/sales/versions')).presets.map(({ version }) => version)).toEqual([3, 2, 1]);
    await ask('POST', '/presets/sales/versions', preset(second, undefined));
  });

  it('never lead a key to another server', async () => {
    expect(await ask('POST', '/presets/sales/versions', preset(third, undefined))).toMatchObject({ status: 409, detail: expect.stringContaining('speech key was given for another') as unknown });
    expect(await ask('POST', '/presets/sales/versions', preset(second, undefined, { speech: { provider: 'deepgram' } }))).toMatchObject({ status: 409 });
    // Nor any request to where only this machine should go.
    const refused = await ask('POST', '/presets', { id: 'inside', name: 'x', ...preset(second, SECOND_KEY, { model: { provider: 'openai', baseUrl: 'http://169.254.169.254/latest' } }) });
    expect(refused).toMatchObject({ status: 400, errors: [{ path: 'model.baseUrl' }] });
    expect(await billedAt(third)).toEqual([0]);
  });

  it('are refused with every fault named', async () => {
    const { errors, status } = await ask('POST', '/presets', {
      id: 'service-call',
      name: 'x',
      speech: { provider: 'whisperer' },
      model: { provider: 'openai', compatibility: 'speaches' },
      template: '{{transcript}}',
      criteria: [{ id: 'Greeting', category: 'greeting', question: 'Hello?', weight: 0 }],
      keys: { diarization: 'k' },
    });
    expect(status).toBe(400);
    expect(errors!.map(({ path }) => path).toSorted()).toEqual(expect.arrayContaining(['criteria', 'id', 'model.compatibility', 'speech.provider', 'template']));
    expect(await ask('GET', '/presets/service-call')).toMatchObject({ status: 404 });
  });

  it('come with some to begin with, which can be saved as they are', async () => {
    const { presets } = await ask<{ presets: { id: string; name: string; template: string; speech: object; diarization: object; model: object; rubric: { criteria: object[] } }[] }>('GET', '/starter-presets');
    expect(presets.map(({ id }) => id)).toEqual(['sales', 'support', 'complaints']);
    for (const { id, name, rubric, template, speech, diarization, model } of presets.slice(1)) {
      expect(await ask('POST', '/presets', { id, name, template, speech, diarization, model, criteria: rubric.criteria })).toMatchObject({ status: 201, rubric: { criteria: rubric.criteria } });
    }
  });
});

describe('a call', () => {
  it('is heard and graded by the preset of its category, with that preset’s key, and says so', async () => {
    await ask('POST', '/presets', { id: 'others', name: 'Others', ...preset(third, THIRD_KEY) });
    const queue = SAMPLE_CALLS.find(({ taskId }) => taskId === GOOD)!.task;
    const { details } = { details: (await (async () => {
      await system.startCall(GOOD);
      return system.until(GOOD, 'completed');
    })()).details };
    expect(queue).toBeDefined();
    // Nothing bound: the installation's own.
    expect(await ask('GET', `/calls/${GOOD}`)).toMatchObject({ versions: [{ version: 1, preset: 'installation@0' }] });
    expect(await billedAt(second, third)).toEqual([0, 0]);

    expect(await ask('PATCH', '/settings', { categories: [{ category: 'sales', agents: [details.agentName!] }], presets: { sales: 'sales', default: 'others' } })).toMatchObject({ status: 200 });
    expect(await ask('PATCH', '/settings', { presets: { sales: 'nobody' } })).toMatchObject({ status: 404 });
    await ask('POST', `/calls/${GOOD}/reprocess`, {});
    await system.until(GOOD, 'completed');
    const call = await ask<{ versions: { preset: string; transcript: object }[] }>('GET', `/calls/${GOOD}`);
    expect(call.versions[0]).toMatchObject({ preset: 'sales@4' });
    expect(await ask('GET', `/calls/${GOOD}/analysis`)).toMatchObject({ versions: { preset: 'sales@4', rubric: 'sales@4' } });
    const [bySecond, byThird] = await billedAt(second, third);
    // Two channels and the analysis; nobody else was asked for any of it. The first run has acted in the CRM.
    expect([bySecond, byThird]).toEqual([3, 0]);

    // Another preset for one run, whatever is bound.
    await ask('POST', `/calls/${GOOD}/reprocess`, { from: 'analysis', preset: 'others@1' });
    await system.until(GOOD, 'completed');
    expect(await ask('GET', `/calls/${GOOD}/analysis`)).toMatchObject({ versions: { preset: 'others@1' } });
    expect(await billedAt(second)).toEqual([3]);
    expect((await ledgerOf(third)).every(({ kind }) => kind === 'completion')).toBe(true);
  });

  it('keeps its preset over retries, also if a new version is saved in between', async () => {
    await addFaults(third, { route: 'POST /v1/chat/completions', times: 1, effect: { kind: 'respond', status: 400, body: { error: { message: 'no such model' } } } });
    await ask('PATCH', '/settings', { presets: { default: 'others' } });
    await ask('PATCH', '/settings', { categories: [] });
    await system.startCall(OTHER);
    expect(await system.until(OTHER, 'needs_attention', 'completed')).toMatchObject({ state: 'needs_attention', attention: { step: 'analysis' } });
    expect(await ask('POST', '/presets/others/versions', preset(third, undefined, { template: `Anew.\n${DEFAULT_TEMPLATE}` }))).toMatchObject({ version: 2 });
    await ask('POST', `/calls/${OTHER}/retry`, {});
    await system.until(OTHER, 'completed');
    expect(await ask('GET', `/calls/${OTHER}/analysis`)).toMatchObject({ versions: { preset: 'others@1' } });
    expect(await ask('POST', '/preset-tests', { callId: GOOD, draft: { basedOn: 'sales', ...preset(third, undefined) } })).toMatchObject({ status: 409, detail: expect.stringContaining('given for another') as unknown });
    // A bound preset is not taken away.
    expect(await ask('DELETE', '/presets/others')).toMatchObject({ status: 409, detail: expect.stringContaining('bound to default') as unknown });
    expect(await ask('DELETE', '/presets/complaints')).toMatchObject({ status: 200, archivedAt: expect.any(String) as unknown });
    expect(await ask('PATCH', '/settings', { presets: { default: 'complaints' } })).toMatchObject({ status: 409 });
  });
});

describe('a test of a preset', () => {
  const untilDone = async (testId: string) => {
    for (;;) {
      const test = await ask<{ state: string; error: object | null; costMicroUsd: number; result: { analysis: { versions: { preset: string } }; stored: { preset: string }; costMicroUsd: number; transcript: { anew: boolean } } | null }>('GET', `/preset-tests/${testId}`);
      if (test.state !== 'running') return test;
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  };
  /** All that is kept of the call: rows, and its objects by what is in them. */
  const everythingOf = async (callId: string): Promise<string> => {
    const { db, objects } = system.wiring;
    const rows = await Promise.all([db.selectFrom('calls').selectAll().where('call_id', '=', callId).execute(), db.selectFrom('call_versions').selectAll().where('call_id', '=', callId).execute(), db.selectFrom('effects').selectAll().execute()]);
    return JSON.stringify([rows, await objects.getText(`call-detail/${callId}/analysis.json`), await objects.getText(`call-detail/${callId}/transcript.json`), await ledgerOf(system.sandbox.salesforce)]);
  };

  it('answers beside the stored score, writes nothing to the call, and counts in the budget', async () => {
    const before = await everythingOf(GOOD);
    const spent = await system.wiring.costs.spentOn('default');
    const started = await ask<{ testId: string }>('POST', '/preset-tests', { callId: GOOD, transcribe: true, draft: preset(second, SECOND_KEY, { template: `A draft.\n${DEFAULT_TEMPLATE}` }) });
    expect(started).toMatchObject({ status: 202, preset: 'draft' });
    const done = await untilDone(started.testId);
    expect(done).toMatchObject({ state: 'done', error: null, result: { stored: { preset: 'others@1' }, transcript: { anew: true } } });
    expect(await everythingOf(GOOD)).toBe(before);
    expect(done.costMicroUsd).toBeGreaterThan(0);
    expect(await system.wiring.costs.spentOn('default')).toBe(spent + done.costMicroUsd);
    expect((await system.wiring.costs.list('default', GOOD)).filter(({ step }) => step === 'preset_test').map(({ kind }) => kind).toSorted()).toEqual(['llm', 'stt', 'stt']);
    // The draft is gone, its keys with it.
    expect(await system.wiring.db.selectFrom('presets').select('id').where('draft', '=', true).execute()).toEqual([]);
  });

  it('says what went wrong', async () => {
    const started = await ask<{ testId: string }>('POST', '/preset-tests', { callId: GOOD, draft: preset(second, 'not-its-key-at-all') });
    expect(await untilDone(started.testId)).toMatchObject({ state: 'failed', error: { code: 'AUTH_FAILED' }, result: null });
  });
});

describe('a key', () => {
  it('is in no answer, no row and no history', async () => {
    const secrets = [SECOND_KEY, THIRD_KEY, 'not-its-key-at-all'];
    for (const text of heard) expect(secrets.filter((secret) => text.includes(secret))).toEqual([]);
    const tables = ['presets', 'preset_versions', 'preset_tests', 'audit_log', 'idempotency_keys', 'costs', 'call_versions'] as const;
    const dump = JSON.stringify(await asOwner(() => Promise.all(tables.map((table) => system.wiring.db.selectFrom(table).selectAll().execute()))));
    expect(secrets.filter((secret) => dump.includes(secret))).toEqual([]);
    for await (const execution of system.wiring.temporal.workflow.list()) {
      const history = await system.wiring.temporal.workflow.getHandle(execution.workflowId, execution.runId).fetchHistory();
      // As the server keeps it, and as whoever holds the key ring reads it.
      const payloads = await Promise.all((history.events ?? []).flatMap((event) => payloadsIn(event)).map(async (payload) => Buffer.from(((await system.wiring.converter.payloadCodecs?.[0]?.decode([payload])) ?? [payload])[0]!.data ?? []).toString('utf8')));
      expect(secrets.filter((secret) => payloads.some((text) => text.includes(secret)))).toEqual([]);
    }
  });
});

/** Every payload of an event, wherever it hangs. */
const payloadsIn = (value: unknown): Payload[] => {
  if (value === null || typeof value !== 'object' || value instanceof Uint8Array) return [];
  if ('data' in value && 'metadata' in value) return [value as Payload];
  return Object.values(value).flatMap(payloadsIn);
};
