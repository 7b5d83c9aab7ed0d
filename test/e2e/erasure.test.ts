import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { WorkflowNotFoundError } from '@temporalio/client';
import { sql } from 'kysely';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createWarehouse } from '../../src/adapters/warehouse/registry.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { paceOf } from '../../src/config.ts';
import type { CallRow } from '../../src/db/calls.ts';
import { asOwner } from '../../src/db/scope.ts';
import type { Certificate } from '../../src/domain/erasure.ts';
import { erasureKey, erasureWorkflowId, presetTestWorkflowId, rescoreWorkflowId, transcriptKey } from '../../src/domain/ids.ts';
import { INSTALLATION_PRESET } from '../../src/domain/preset.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;
const [OTHER, THIRD, FOURTH] = SAMPLE_CALLS.filter((call) => call.recording && call.taskId !== GOOD && !call.title.includes('comes late')).map(({ taskId }) => taskId) as [string, string, string];

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: RunningApi;
let keys = 0;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  system = await startSystem({ server, env: { API_PORT: '0', HEARTBEAT_TIMEOUT: '2s', DATABASE_URL: await postgres.createDatabase() } });
  api = await startApi(system.wiring);
  for (const callId of [GOOD, OTHER]) await system.startCall(callId);
  for (const callId of [GOOD, OTHER]) await system.until(callId, 'completed', 'needs_attention');
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

const ask = async <T = Record<string, unknown>>(method: string, path: string, body?: object): Promise<T & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'idempotency-key': `erasure-key-${(keys += 1)}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { ...((await response.json()) as T), status: response.status };
};
const ended = async (erasureId: string): Promise<Certificate> => {
  for (;;) {
    const certificate = await ask<Certificate>('GET', `/erasures/${erasureId}`);
    if (certificate.endedAt) return certificate;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
};

const until = async (what: () => Promise<boolean>): Promise<void> => {
  while (!(await what())) await new Promise((resolve) => setTimeout(resolve, 100));
};

/** Everything that the database and the object store hold, as one text for each place. */
const everything = async (): Promise<Map<string, string>> => {
  const places = new Map<string, string>();
  const { db } = system.wiring;
  const { rows } = await sql<{ name: string }>`select tablename as name from pg_tables where schemaname = current_schema()`.execute(db);
  for (const { name } of rows) places.set(`table ${name}`, JSON.stringify((await asOwner(() => sql`select * from ${sql.table(name)}`.execute(db))).rows));
  const folder = join(system.folder, 'objects');
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) places.set(`object ${join(entry.parentPath, entry.name).slice(folder.length)}`, (await readFile(join(entry.parentPath, entry.name))).toString('latin1'));
  }
  return places;
};
const holding = (places: Map<string, string>, ...texts: string[]): string[] => [...places].filter(([place, held]) => texts.some((text) => held.includes(text) || place.includes(text))).map(([place]) => place);

describe('erasing by a phone number', () => {
  it('leaves nothing of it in any store, but a certificate that does not say whose it was', async () => {
    const call: CallRow = await system.wiring.calls.get(system.key(GOOD));
    const phone = call.details.originPhone!;
    const digits = phone.replaceAll(/\D/g, '');
    const said = (JSON.parse((await system.wiring.objects.getText(transcriptKey(system.key(GOOD))))!) as { turns: { text: string }[] }).turns.map(({ text }) => text).filter((text) => text.length > 25);
    // A preset is tried on it, and it is part of a shadow run.
    const trial = { preset: INSTALLATION_PRESET, by: 'ann' };
    await system.wiring.presetsClient.test({ ...trial, call: { ...system.key(GOOD), version: call.version }, id: 'trial', transcribe: false });
    await system.wiring.rescores.open({
      ...trial,
      project: 'default',
      id: 'shadow',
      facts: false,
      bindings: {},
      forecast: { calls: 1, sampled: 0, requests: 1, inputTokens: 1, outputTokens: 1, microUsd: null },
      calls: [{ call: { ...system.key(GOOD), version: call.version }, sampled: false }],
    });
    await system.wiring.rescoresClient.start('default', 'shadow');
    const trials = [presetTestWorkflowId('default', 'trial'), rescoreWorkflowId('default', 'shadow')];
    for (const id of trials) await system.wiring.temporal.workflow.getHandle(id).result();
    const counted = await createWarehouse(system.config).countCalls('default');
    const spent = await system.wiring.costs.totals('default', { by: 'step', from: '2020-01-01', to: '2100-01-01', limit: 10 });
    expect(holding(await everything(), digits, ...said).length).toBeGreaterThan(3);

    const plan = await ask<{ calls: number; confirm: string; rows: Record<string, number> }>('POST', '/erasures', { phone, dryRun: true });
    expect(plan).toMatchObject({ status: 202, erasureId: null, rows: { call_versions: expect.any(Number) as unknown, calls: plan.calls } });
    expect(await ask('POST', '/erasures', { phone, confirm: 'erase everything' })).toMatchObject({ status: 400, detail: expect.stringContaining(plan.confirm) as unknown });
    expect(await system.wiring.calls.find(system.key(GOOD))).toBeDefined();

    // Nobody works when it is asked for; the process that took the request ends as well.
    await system.stopWorkers();
    const { erasureId } = await ask<{ erasureId: string }>('POST', '/erasures', { phone: ` ${phone.slice(0, 3)} ${phone.slice(3)}`, confirm: plan.confirm });
    await api.close();
    await system.startWorkers();
    api = await startApi(system.wiring);
    const certificate = await ended(erasureId);
    expect(certificate).toMatchObject({ kind: 'phone', calls: plan.calls, erased: { calls: plan.calls, objects: expect.any(Number) as unknown, 'workflow histories': expect.any(Number) as unknown }, notErased: { 'record in salesforce': expect.any(Number) as unknown } });

    const left = await everything();
    expect(holding(left, digits, ...said)).toEqual([]);
    // The call's ID is left where a log may not be changed, and in windows' own lists; nothing is left under its name.
    expect(holding(left, GOOD).filter((place) => place.startsWith('object'))).toEqual([]);
    expect(JSON.parse((await system.wiring.objects.getText(erasureKey('default', erasureId)))!)).toEqual(JSON.parse(JSON.stringify({ ...certificate, status: undefined })));
    expect(await system.wiring.calls.countByState('default')).toEqual({ [(await system.wiring.calls.get(system.key(OTHER))).state]: 1 });
    // What was spent was spent.
    expect(await system.wiring.costs.totals('default', { by: 'step', from: '2020-01-01', to: '2100-01-01', limit: 10 })).toEqual(spent);

    expect((await createWarehouse(system.config).countCalls('default')).totalRecords).toBe(counted.totalRecords - 1);

    // Deleting is Temporal's own affair, a moment later.
    for (const id of trials) await until(() => system.wiring.temporal.workflow.getHandle(id).describe().then(() => false, (error: unknown) => error instanceof WorkflowNotFoundError));
    await until(async () => (await system.wiring.callsClient.workflowStatus(system.key(GOOD))) === undefined);

    // A later poll finds it at its source, and leaves it.
    const [taken] = await system.wiring.intake.takeIn({ project: 'default', source: 'webex', calls: [call.details], pace: paceOf(system.config) });
    expect(taken).toEqual({ callId: GOOD, disposition: 'skipped' });
    expect(await system.wiring.calls.find(system.key(GOOD))).toBeUndefined();
    expect(holding(await everything(), digits)).toEqual([]);

    // Nor is it taken in when it is handed in again, and nothing that comes with it is kept.
    const { recording } = await system.wiring.calls.getVersion({ ...system.key(OTHER), version: 1 });
    const form = new FormData();
    form.append('call', JSON.stringify({ id: GOOD, direction: 'inbound', startedAt: '2026-01-02T03:04:05+08:00', from: phone }));
    form.append('audio', new Blob([await readFile(join(system.folder, 'objects', recording!.key))]), 'call.wav');
    const handed = await fetch(`${api.url}/v1/projects/default/calls/upload-audio`, { method: 'POST', headers: { authorization: `Bearer ${system.config.API_TOKEN}` }, body: form });
    expect([handed.status, await handed.json()]).toMatchObject([202, { callId: GOOD, accepted: true }]);
    await until(async () => (await asOwner(() => system.wiring.inbox.backlog())) === 0);
    expect(holding(await everything(), digits, '/uploads/')).toEqual([]);
  });

  it('is refused for a number that no call has, and for what is none', async () => {
    expect(await ask('POST', '/erasures', { phone: '+99900000001', dryRun: true })).toMatchObject({ status: 404 });
    expect(await ask('POST', '/erasures', { phone: '(...)-', dryRun: true })).toMatchObject({ status: 400 });
    expect(await ask('POST', '/erasures', {})).toMatchObject({ status: 400 });
  });
});

describe('an erasure that is broken off between two places', () => {
  beforeAll(() =>
    asOwner(async () => {
      // The database refuses once, when all but its own rows is gone; a sequence does not forget with the transaction.
      const { db } = system.wiring;
      await sql`create sequence refusals`.execute(db);
      await sql`create function refuse_once() returns trigger language plpgsql as $$ begin if nextval('refusals') = 1 then raise exception 'broken off'; end if; return old; end $$`.execute(db);
      await sql`create trigger refuse_once before delete on calls for each row execute function refuse_once()`.execute(db);
    }),
  );
  afterAll(() => asOwner(() => sql`drop trigger refuse_once on calls`.execute(system.wiring.db)));

  const cases: [string, string, boolean][] = [
    ['that has ended', THIRD, true],
    ['whose steps are under way', FOURTH, false],
  ];
  it.each(cases)('goes on and leaves nothing of a call %s', async (_title, callId, hasEnded) => {
    const { db, temporal } = system.wiring;
    await asOwner(() => sql`alter sequence refusals restart`.execute(db));
    await system.startCall(callId);
    if (hasEnded) await system.until(callId, 'completed', 'needs_attention');
    const { erasureId } = await ask<{ erasureId: string }>('POST', '/erasures', { callId, confirm: 'erase 1 call' });
    expect(await ended(erasureId)).toMatchObject({ kind: 'call', calls: 1, erased: { calls: 1 } });
    expect(await asOwner(async () => (await sql<{ tries: number }>`select last_value::int as tries from refusals`.execute(db)).rows[0]!.tries)).toBe(2);
    expect(holding(await everything(), callId)).toEqual([]);
    // The second attempt finds nothing that runs; what the first one has ended is cleaned up after all the same.
    const { events } = await temporal.workflow.getHandle(erasureWorkflowId('default', erasureId)).fetchHistory();
    const steps = (events ?? []).flatMap((event) => event.activityTaskScheduledEventAttributes?.activityType?.name ?? []);
    // The warehouse is told of it batch by batch, however many there are.
    const forgotten = ['loadBatch', 'compactSome', 'sweepFiles'];
    expect([...new Set(steps)]).toEqual(['eraseSome', ...(hasEnded ? [] : ['eraseLate']), ...forgotten, 'certifyErasure']);
  });
});

describe('what a project keeps no longer', () => {
  it('goes: audio, then the words, then the call', async () => {
    const { projects, erasuresClient, calls, objects } = system.wiring;
    const { version } = await calls.get(system.key(OTHER));
    const before = await calls.getVersion({ ...system.key(OTHER), version });
    await sql`update call_versions set started_at = now() - interval '10 days', ended_at = now()`.execute(system.wiring.db);
    await sql`update calls set started_at = now() - interval '10 days', ended_at = now()`.execute(system.wiring.db);
    await projects.saveSettings('default', { retainAudioDays: 5, retainTranscriptsDays: 20 });
    await erasuresClient.sweep();
    await until(async () => (await calls.getVersion({ ...system.key(OTHER), version })).recording === null);
    expect(await objects.head(before.recording!.key)).toBeUndefined();
    expect(await objects.head(before.transcript!.key)).toBeDefined();

    await system.wiring.temporal.workflow.getHandle('retention/default').result();
    await projects.saveSettings('default', { retainTranscriptsDays: 5 });
    await erasuresClient.sweep();
    await until(async () => (await calls.getVersion({ ...system.key(OTHER), version })).transcript === null);
    expect(await objects.head(before.transcript!.key)).toBeUndefined();

    await system.wiring.temporal.workflow.getHandle('retention/default').result();
    // A load to Snowflake was begun once, and it is not connected any more.
    await system.wiring.db.insertInto('warehouse_sinks').values({ project: 'default', sink: 'snowflake', last_load: 1 }).execute();
    await projects.saveSettings('default', { retainRecordsDays: 5 });
    await erasuresClient.sweep();
    await until(async () => (await calls.find(system.key(OTHER))) === undefined);
    const { erasures } = await ask<{ erasures: Certificate[] }>('GET', '/erasures');
    expect(erasures[0]).toMatchObject({ kind: 'retention', by: 'retention', calls: 1 });
    expect(await ended(erasures[0]!.erasureId)).toMatchObject({ notErased: { 'calls that rows in snowflake may tell of': 1 } });
  });
});
