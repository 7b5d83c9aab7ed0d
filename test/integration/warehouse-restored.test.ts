import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { DAY, DAY_MS, details, openWarehouse, stage, type TestWarehouse } from '../support/warehouse.ts';

const project = 'default';
let postgres: TestPostgres;
let world: TestWarehouse;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());
beforeEach(async () => {
  world = await openWarehouse(await postgres.createDatabase());
});
afterEach(() => world?.close());

const calls = (): Promise<QueryValue[][]> => world.query((table) => `select call_id from ${table('calls')} c order by 1`);
const filesOf = async (): Promise<string[]> => [...(await world.files('.json')), ...(await world.files('.parquet'))].toSorted();
const booksOf = async (): Promise<string[]> => (await world.db.selectFrom('warehouse_files').select('key').orderBy('key').execute()).map(({ key }) => key).toSorted();

/** What a copy of the database holds of the warehouse. That calls went with the rest is noted nowhere. */
const COPIED = ['warehouse_files', 'warehouse_sinks', 'warehouse_changes'];
type Copy = Map<string, string>;
const copy = async (): Promise<Copy> => {
  const made: Copy = new Map();
  for (const name of COPIED) {
    const { rows } = await sql<{ rows: string }>`select coalesce(json_agg(t), '[]')::text as rows from ${sql.table(name)} t`.execute(world.db);
    made.set(name, rows[0]!.rows);
  }
  return made;
};
const putBack = async (made: Copy, { without }: { without: string[] }): Promise<void> => {
  await world.db.deleteFrom('calls').where('call_id', 'in', without).execute();
  for (const [name, rows] of made) {
    await sql`delete from ${sql.table(name)}`.execute(world.db);
    await sql`insert into ${sql.table(name)} overriding system value select * from json_populate_recordset(null::${sql.table(name)}, ${rows}::json)`.execute(world.db);
  }
};

describe('a database that was put back to an earlier state', () => {
  it('has the warehouse built anew, though its books know files that are gone and do not know those that are there', async () => {
    const { db, load, compact, books } = world;
    await stage(db, [details('a'), details('b'), details('c', { startedAtMs: DAY + DAY_MS })]);
    await load();
    const earlier = await copy();
    await stage(db, [details('d')]);
    await load();
    await compact();
    await stage(db, [details('e', { startedAtMs: DAY + 2 * DAY_MS })]);
    await load();
    expect(await calls()).toEqual([['a'], ['b'], ['c'], ['d'], ['e']]);
    await putBack(earlier, { without: ['d', 'e'] });
    await expect(compact()).rejects.toMatchObject({ code: 'STORAGE_REJECTED' });
    await books.rebuild(project, ['files']);
    await load();
    await compact();
    expect(await calls()).toEqual([['a'], ['b'], ['c']]);
    expect(await filesOf()).toEqual(await booksOf());
    expect((await books.status(project))[0]).toMatchObject({ rebuilding: false });
  });
});

describe('a file of the warehouse', () => {
  it('that is gone keeps no other day from being put together', async () => {
    const { db, load, compact } = world;
    const days = Array.from({ length: 13 }, (_each, index) => index);
    await stage(db, days.map((day) => details(`call-${day}`, { startedAtMs: DAY + day * DAY_MS })));
    await load();
    const written = await world.files('.json');
    await rm(join(world.folder, written.filter((name) => name.startsWith('warehouse/calls/')).toSorted()[0]!));
    await expect(compact()).rejects.toMatchObject({ code: 'STORAGE_REJECTED' });
    const put = (await db.selectFrom('warehouse_files').select('key').where('form', '=', 'parquet').where('done', '=', true).execute()).length;
    expect(put).toBe(written.length - 1);
    expect((await calls()).map(([callId]) => callId)).not.toContain('call-0');
    expect((await calls()).length).toBe(12);
  });

  it('that no book knows is removed after a day, and nothing that is not of its kind', async () => {
    const { db, load, objects, run } = world;
    await stage(db, [details('a')]);
    await load();
    const own = await filesOf();
    const lay = async (at: number, ending: string): Promise<string> => {
      const key = `warehouse/calls/dt=2026-11-20/${at}${ending}`;
      await objects.put(key, '', { contentType: 'application/x-ndjson' });
      return key;
    };
    const [hour, now] = [3_600_000, Date.now()];
    const old = await lay(now - 25 * hour, '.json');
    const young = await lay(now - hour, '.json');
    const others = await lay(now - 25 * hour, '-notes.json');
    await objects.put(`warehouse-daily/calls/dt=2026-11-20/${now - 25 * hour}-${now}.parquet`, '', { contentType: 'application/vnd.apache.parquet' });
    expect(await run((of) => of.sweepFiles({ project, olderThanMs: 0 }))).toBe(2);
    expect(await filesOf()).toEqual([...own, young, others].toSorted());
    expect(await objects.head(old)).toBeUndefined();
  });

  it('of another project is not removed', async () => {
    const { db, load, run } = world;
    await db.insertInto('projects').values({ id: 'south', name: 'South', settings: '{}' }).execute();
    await stage(db, [details('a')], 'south');
    await load('south');
    await sql`update warehouse_sinks set floor_load = ${Date.now() + DAY_MS}`.execute(db);
    await sql`insert into warehouse_sinks (project, sink, floor_load) values (${project}, 'files', ${Date.now() + DAY_MS})`.execute(db);
    expect(await run((of) => of.sweepFiles({ project, olderThanMs: 0 }))).toBe(0);
    expect(await run((of) => of.sweepFiles({ project: 'south', olderThanMs: 0 }))).toBe(0);
    expect(await world.query((table) => `select call_id from ${table('calls')} c`, 'south')).toEqual([['a']]);
  });
});
