import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import { createSnowflakeClient, freshRequestId } from '../../src/adapters/warehouse/snowflake/client.ts';
import { snowflakeTable } from '../../src/adapters/warehouse/table-definitions.ts';
import { startApi } from '../../src/api/start.ts';
import type { RunningApi } from '../../src/api/app.ts';
import type { Certificate } from '../../src/domain/erasure.ts';
import { WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { requestsOf } from '../support/salesforce.ts';
import { addFaults, clearFaults, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startTestSnowflake, type TestSnowflake } from '../support/snowflake.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';
import { DAY, DAY_MS, details, stage } from '../support/warehouse.ts';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.ts';

let folder: string;
let postgres: TestPostgres;
let server: DevServer;
let sandbox: TestSandbox;
let snowflake: TestSnowflake;
let desk: TestSystem;
let api: RunningApi;
let worker: WorkerProcess | undefined;
let settings: Record<string, string>;
let keys = 0;

/** Opens the database and the API anew, as after settings were changed; serves no queue. */
const open = async (more: Record<string, string>): Promise<void> => {
  desk = await startSystem({ server, sandbox, folder, env: { ...settings, ...more } });
  await desk.stopWorkers();
  api = await startApi(desk.wiring);
};
const close = async (): Promise<void> => {
  await worker?.end('SIGKILL');
  await api?.close();
  await desk?.stop();
};
const startWorker = async (): Promise<void> => {
  worker = await startWorkerProcess(desk.env);
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-warehouse-e2e-'));
  [postgres, server, sandbox, snowflake] = await Promise.all([startPostgres(), startTemporalProcess(), startTestSandbox(folder), startTestSnowflake()]);
  settings = { API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), HEARTBEAT_TIMEOUT: '2s', WAREHOUSE_LOAD_EVERY: '1s' };
  for (const table of WAREHOUSE_TABLES) await inSnowflake(snowflakeTable(table));
  await open(snowflake.env);
});
afterAll(async () => {
  await close();
  await Promise.all([sandbox?.stop(), snowflake?.close(), server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const ask = async <T>(method: string, path: string, body?: object): Promise<T> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${desk.config.API_TOKEN}`, 'idempotency-key': `warehouse-key-${(keys += 1)}`, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
  return (await response.json()) as T;
};
interface Sink {
  sink: string;
  state: string;
  missedSince: string | null;
  backlog: { changes: number };
}
const sinkOf = async (name: string): Promise<Sink | undefined> => (await ask<{ sinks: Sink[] }>('GET', '/warehouse')).sinks.find(({ sink }) => sink === name);

const QUERY = 'select call_id, agent, dt from calls c order by 1';
const inSnowflake = async (query: string): Promise<QueryValue[][]> => (await createSnowflakeClient(snowflake.config).execute(query, [], { requestId: freshRequestId(), signal: AbortSignal.timeout(60_000) })).rows;
const inFiles = async (): Promise<QueryValue[][]> => {
  const engine = createDuckDbEngine(join(folder, 'objects'));
  return (await engine.run('default', QUERY.replace('from calls', `from ${engine.tableRef('default', 'calls')}`), [], { signal: AbortSignal.timeout(60_000), maxRows: 10_000, timeoutMs: 60_000 })).rows;
};
const inDatabase = async (): Promise<QueryValue[][]> =>
  (await desk.wiring.db.selectFrom('calls').select(['call_id', 'agent_name', sql<string>`to_char(started_at at time zone 'UTC', 'YYYY-MM-DD')`.as('dt')]).orderBy('call_id').execute()).map(({ call_id, agent_name, dt }) => [call_id, agent_name, dt]);

/** Of the warehouse. */
const timetables = async (): Promise<string[]> => {
  const found: string[] = [];
  for await (const { scheduleId } of desk.wiring.temporal.schedule.list()) if (scheduleId.startsWith('warehouse-')) found.push(scheduleId);
  return found.toSorted();
};

/** Waits until nothing waits for the sinks. */
const loaded = (...sinks: string[]): Promise<boolean> =>
  until(`${sinks.join(' and ')} loaded`, async () => {
    const states = await Promise.all(sinks.map(sinkOf));
    return states.every((sink) => sink?.backlog.changes === 0 && sink.state === 'up_to_date');
  });

it('loads by its timetable what has changed, to the files and to Snowflake', async () => {
  await startWorker();
  await stage(desk.wiring.db, [details('first'), details('second', { agentName: 'Bea' })]);
  await loaded('files', 'snowflake');
  const rows = await inDatabase();
  expect(rows).toHaveLength(2);
  expect([await inFiles(), await inSnowflake(QUERY)]).toEqual([rows, rows]);
  const { nextLoad, nextCompaction } = await ask<{ nextLoad: string | null; nextCompaction: string | null }>('GET', '/warehouse');
  expect([typeof nextLoad, typeof nextCompaction]).toEqual(['string', 'string']);
});

it('puts files together that came while an earlier request still waits to remove some', async () => {
  const asLoaded = async (): Promise<number> => (await desk.wiring.db.selectFrom('warehouse_files').select('key').where('form', '=', 'json').where('done', '=', true).where('superseded_at', 'is', null).execute()).length;
  const { workflowId } = await ask<{ workflowId: string }>('POST', '/warehouse/compact', {});
  await until('files put together', async () => (await asLoaded()) === 0);
  await stage(desk.wiring.db, [details('first', { agentName: 'Dee' })]);
  await loaded('files', 'snowflake');
  expect(await asLoaded()).toBeGreaterThan(0);
  expect(await ask('POST', '/warehouse/compact', {})).toEqual({ workflowId });
  await until('files put together again', async () => (await asLoaded()) === 0);
  expect(await inFiles()).toEqual(await inDatabase());
  // It waits for the grace time; nothing of what follows does.
  await desk.wiring.temporal.workflow.getHandle(workflowId).terminate();
});

describe('a worker killed in the middle of a load', () => {
  it('to the files: the next one finishes the batch under its number, and nothing is missing or counted twice', async () => {
    const { db } = desk.wiring;
    // Of many days, so that many files are to be written.
    await stage(db, Array.from({ length: 400 }, (_each, index) => details(`files-${String(index).padStart(3, '0')}`, { startedAtMs: DAY - index * DAY_MS })));
    const planned = () => db.selectFrom('warehouse_files').select('key').where('done', '=', false).execute();
    await until('a batch is being written', async () => (await planned()).length > 0, 1);
    await worker!.end('SIGKILL');
    const left = (await planned()).map(({ key }) => key);
    expect(left.length).toBeGreaterThan(0);
    await startWorker();
    await loaded('files', 'snowflake');
    const rows = await inDatabase();
    expect(rows).toHaveLength(402);
    expect([await inFiles(), await inSnowflake(QUERY)]).toEqual([rows, rows]);
    const counted = await db.selectFrom('warehouse_files').select('key').where('done', '=', true).where('superseded_at', 'is', null).where('key', 'in', left).execute();
    expect(counted.map(({ key }) => key).toSorted()).toEqual(left.toSorted());
  });

  it('to Snowflake: the next one merges the batch again, and no row is there twice', async () => {
    const before = (await requestsOf(snowflake)).length;
    await addFaults(snowflake, { route: 'POST /api/v2/statements', effect: { kind: 'hold', forMs: 20_000 } });
    await stage(desk.wiring.db, [details('first', { agentName: 'Cem' }), details('third')]);
    await until('the statement runs', async () => (await requestsOf(snowflake)).slice(before).some(({ method, path }) => method === 'GET' && path.startsWith('/api/')));
    await worker!.end('SIGKILL');
    await clearFaults(snowflake);
    await startWorker();
    await loaded('files', 'snowflake');
    const rows = await inDatabase();
    expect(rows).toContainEqual(['first', 'Cem', '2026-11-20']);
    expect([await inFiles(), await inSnowflake(QUERY)]).toEqual([rows, rows]);
  });
});

it('goes on loading the files while Snowflake hangs', async () => {
  const loadsOf = async (sink: 'snowflake') => (await desk.wiring.db.selectFrom('warehouse_sinks').select('loads').where('sink', '=', sink).executeTakeFirstOrThrow()).loads;
  const soFar = await loadsOf('snowflake');
  const before = (await requestsOf(snowflake)).length;
  await addFaults(snowflake, { route: 'POST /api/v2/statements', effect: { kind: 'hold', forMs: 45_000 } });
  await stage(desk.wiring.db, [details('hung')]);
  await until('the statement runs', async () => (await requestsOf(snowflake)).slice(before).some(({ method, path }) => method === 'GET' && path.startsWith('/api/')));
  await stage(desk.wiring.db, [details('not-held-up')]);
  await loaded('files');
  // Of Snowflake, the batch that hangs is not even loaded yet.
  expect(await loadsOf('snowflake')).toBe(soFar);
  expect(await inFiles()).toEqual(await inDatabase());
  await loaded('files', 'snowflake');
  expect(await inSnowflake(QUERY)).toEqual(await inDatabase());
});

it('says what Snowflake was not told of while it was not connected, and makes up for it once it is', async () => {
  await until('the timetables', async () => (await timetables()).length === 3);
  await close();
  await open({});
  await until('the timetable of Snowflake gone', async () => (await timetables()).length === 2);
  await startWorker();
  await stage(desk.wiring.db, [details('fourth')]);
  const { erasureId } = await ask<{ erasureId: string }>('POST', '/erasures', { callId: 'second', confirm: 'erase 1 call' });
  const certificate = await until('the certificate', async () => {
    const found = await ask<Certificate>('GET', `/erasures/${erasureId}`);
    return found.endedAt !== null && found;
  });
  expect(certificate.notErased).toMatchObject({ 'calls that rows in snowflake may tell of': 1 });
  await loaded('files');
  expect(await sinkOf('snowflake')).toMatchObject({ state: 'not_connected', missedSince: expect.any(String) as unknown });
  const rows = await inDatabase();
  expect(rows).not.toContainEqual(expect.arrayContaining(['second']));
  expect(await inFiles()).toEqual(rows);
  expect(await inSnowflake(QUERY)).toContainEqual(expect.arrayContaining(['second']));

  await close();
  await open(snowflake.env);
  await startWorker();
  await until('Snowflake is told again', async () => (await sinkOf('snowflake'))?.missedSince === null);
  await loaded('files', 'snowflake');
  expect(await inSnowflake(QUERY)).toEqual(rows);
  const again = await ask<{ erasureId: string }>('POST', '/erasures', { callId: 'third', confirm: 'erase 1 call' });
  const whole = await until('the second certificate', async () => {
    const found = await ask<Certificate>('GET', `/erasures/${again.erasureId}`);
    return found.endedAt !== null && found;
  });
  expect(whole.notErased).not.toHaveProperty(['calls that rows in snowflake may tell of']);
  expect(await inSnowflake(QUERY)).not.toContainEqual(expect.arrayContaining(['third']));
}, 600_000);

it('loads by hand only where that is set, and still puts files together by its timetable', async () => {
  await close();
  await open({ ...snowflake.env, WAREHOUSE_LOAD_EVERY: '0s' });
  await until('the timetables gone', async () => (await timetables()).length === 1);
  expect(await ask('GET', '/warehouse')).toMatchObject({ nextLoad: null, nextCompaction: expect.any(String) as unknown });
  await startWorker();
  await stage(desk.wiring.db, [details('by-hand')]);
  await ask('POST', '/warehouse/load', {});
  await loaded('files', 'snowflake');
  const rows = await inDatabase();
  expect(rows).toContainEqual(expect.arrayContaining(['by-hand']));
  expect([await inFiles(), await inSnowflake(QUERY)]).toEqual([rows, rows]);
});
