import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import { createSnowflakeClient, freshRequestId, type SnowflakeClient } from '../../src/adapters/warehouse/snowflake/client.ts';
import { createSnowflakeLoader } from '../../src/adapters/warehouse/snowflake/load.ts';
import { snowflakeTable } from '../../src/adapters/warehouse/table-definitions.ts';
import type { TableLoader } from '../../src/adapters/warehouse/table-loader.ts';
import type { WarehouseSink } from '../../src/domain/warehouse.ts';
import { WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults } from '../support/sandbox.ts';
import { startTestSnowflake, type TestSnowflake } from '../support/snowflake.ts';
import { DAY, DAY_MS, details, openWarehouse, stage, type TestWarehouse } from '../support/warehouse.ts';

const project = 'default';
let postgres: TestPostgres;
let snowflake: TestSnowflake;
let client: SnowflakeClient;
let loader: TableLoader;
let world: TestWarehouse;
beforeAll(async () => {
  [postgres, snowflake] = await Promise.all([startPostgres(), startTestSnowflake()]);
  client = createSnowflakeClient(snowflake.config);
  loader = createSnowflakeLoader(client);
});
afterAll(() => Promise.all([postgres?.stop(), snowflake?.close()]));
beforeEach(async () => {
  world = await openWarehouse(await postgres.createDatabase(), { snowflake: loader });
  for (const table of WAREHOUSE_TABLES) {
    await ask(`DROP TABLE IF EXISTS ${table}`);
    await ask(snowflakeTable(table));
  }
});
afterEach(() => world?.close());

const ask = async (query: string): Promise<QueryValue[][]> => (await client.execute(query, [], { requestId: freshRequestId(), signal: AbortSignal.timeout(60_000) })).rows;
const inSnowflake = (): Promise<QueryValue[][]> => ask('SELECT call_id FROM calls ORDER BY 1');
const inFiles = (): Promise<QueryValue[][]> => world.query((table) => `select call_id from ${table('calls')} c order by 1`);
const sinkOf = async (name: WarehouseSink) => (await world.books.status(project)).find(({ sink }) => sink === name);
const loadBoth = async (): Promise<void> => {
  await world.load();
  await world.load(project, 'snowflake');
};
const waitingFor = async (sink: WarehouseSink): Promise<string[]> => (await world.db.selectFrom('warehouse_changes').select('unit').where('sink', '=', sink).orderBy('id').execute()).map(({ unit }) => unit);

describe('building anew where there is nothing to load', () => {
  it('ends, and takes out of Snowflake what went while it was not connected', async () => {
    await stage(world.db, [details('a')]);
    await loadBoth();
    expect(await inSnowflake()).toEqual([['a']]);
    world.connect(undefined);
    await world.db.deleteFrom('calls').execute();
    await world.load();
    expect(await inSnowflake()).toEqual([['a']]);
    world.connect(loader);
    expect(await world.run((of) => of.loadBatch({ project, sink: 'snowflake' }))).toEqual({ units: 0, rows: 0, more: false, rebuilt: true });
    expect(await inSnowflake()).toEqual([]);
    expect(await sinkOf('snowflake')).toMatchObject({ rebuilding: false, missedSince: null });
    expect(await world.run((of) => of.loadBatch({ project, sink: 'snowflake' }))).toMatchObject({ rebuilt: false });
  });

  it('ends, and takes out of the files what the database does not have any more', async () => {
    await stage(world.db, [details('a')]);
    await world.load();
    await world.db.deleteFrom('calls').execute();
    await world.db.deleteFrom('warehouse_changes').execute();
    await world.books.rebuild(project, ['files']);
    expect(await world.run((of) => of.loadBatch({ project, sink: 'files' }))).toMatchObject({ units: 0, rebuilt: true });
    await world.compact();
    expect([await inFiles(), await sinkOf('files')]).toMatchObject([[], { rebuilding: false }]);
  });
});

describe('a queue that is noted anew', () => {
  it('holds everything once, however often that is asked for', async () => {
    await stage(world.db, [details('a'), details('b')]);
    await loadBoth();
    await stage(world.db, [details('a', { agentName: 'Bea' })]);
    for (let times = 0; times < 3; times += 1) await world.books.rebuild(project, ['files', 'snowflake']);
    expect([await waitingFor('files'), await waitingFor('snowflake')]).toEqual([['a', 'b'], ['a', 'b']]);
    await loadBoth();
    await world.compact();
    expect([await inFiles(), await inSnowflake()]).toEqual([[['a'], ['b']], [['a'], ['b']]]);
  });

  it('is not touched by a worker that cannot load it', async () => {
    world.connect(undefined);
    await stage(world.db, [details('a')]);
    await expect(world.run((of) => of.loadBatch({ project, sink: 'snowflake' }))).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    expect(await waitingFor('snowflake')).toEqual([]);
    expect(await sinkOf('snowflake')).toBeUndefined();
  });

  it('still has erased calls go from files whose partition says nothing of it', async () => {
    await stage(world.db, [details('a'), details('kept', { startedAtMs: DAY + DAY_MS })]);
    await world.load();
    await world.compact();
    await world.db.deleteFrom('calls').where('call_id', '=', 'a').execute();
    await world.books.rebuild(project, ['files']);
    await world.load();
    // As an erasure does it.
    while ((await world.run((of) => of.compactSome({ project, deletedOnly: true }))).more);
    await world.run((of) => of.sweepFiles({ project, olderThanMs: 0 }));
    expect(await inFiles()).toEqual([['kept']]);
  });
});

describe('a Snowflake that is not connected', () => {
  it('is named as out of reach as soon as a load to it was begun', async () => {
    expect(await world.books.outOfReach(project, ['files'])).toEqual([]);
    await stage(world.db, [details('a')]);
    await world.load();
    expect(await world.books.outOfReach(project, ['files'])).toEqual([]);
    await addFaults(snowflake, { route: 'POST /api/v2/statements', effect: { kind: 'respond', status: 422 } });
    await expect(world.load(project, 'snowflake')).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED' });
    await clearFaults(snowflake);
    expect(await sinkOf('snowflake')).toMatchObject({ rows: 0, loads: 0 });
    expect(await world.books.outOfReach(project, ['files'])).toEqual(['snowflake']);
    expect(await world.books.outOfReach(project, ['files', 'snowflake'])).toEqual([]);
  });

  it('has no calls wait for it', async () => {
    await stage(world.db, [details('a')]);
    await loadBoth();
    await stage(world.db, [details('b'), details('c')]);
    await world.load();
    expect(await waitingFor('snowflake')).toEqual(['b', 'c']);
    world.connect(undefined);
    await world.db.deleteFrom('calls').where('call_id', '=', 'b').execute();
    await world.load();
    expect([await waitingFor('snowflake'), await sinkOf('snowflake')]).toMatchObject([[], { missedSince: expect.any(Date) as unknown }]);
    world.connect(loader);
    await world.load(project, 'snowflake');
    expect(await inSnowflake()).toEqual([['a'], ['c']]);
  });

  it('keeps its rows when it is taken out in the middle of being built anew', async () => {
    await stage(world.db, [details('a'), details('b')]);
    await loadBoth();
    await world.books.rebuild(project, ['snowflake']);
    const lease = (await world.books.lease(project, 'snowflake', 60_000))!;
    world.connect(undefined);
    await stage(world.db, [details('c')]);
    await world.load();
    expect([await world.books.take(lease), await world.books.floorAfter(lease, undefined), await world.books.endRebuild(lease)]).toEqual([undefined, undefined, false]);
  });
});
