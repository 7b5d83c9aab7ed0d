import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import type { Database } from '../../src/db/database.ts';
import { createErasures } from '../../src/db/erasures.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { analysis, DAY, DAY_MS, details, grade, openWarehouse as open, stage as stageAll, type TestWarehouse as World } from '../support/warehouse.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const project = 'default';
const stage = (db: Database, ...calls: CallDetails[]): Promise<unknown> => stageAll(db, calls);
const calls = (world: World): Promise<QueryValue[][]> => world.query((table) => `select call_id, agent, dt from ${table('calls')} c order by 1`);

describe.each(['PGlite', 'PostgreSQL'])('the warehouse loaded from %s', (kind) => {
  let world: World;
  beforeEach(async () => {
    world = await open(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
  });
  afterEach(() => world?.close());

  it('shows each call once, as it is now, before and after its files are put together', async () => {
    const { db, load, compact } = world;
    expect(await calls(world)).toEqual([]);
    await stage(db, details('a'), details('b'));
    await load();
    await stage(db, details('a', { agentName: 'Bea' }));
    await load();
    const now = [['a', 'Bea', '2026-11-20'], ['b', 'Ada', '2026-11-20']];
    expect(await calls(world)).toEqual(now);
    await compact();
    expect(await calls(world)).toEqual(now);
    expect([await world.files('.json'), (await world.files('.parquet')).length]).toEqual([[], 3]);
    // What comes later lies beside what was put together.
    await stage(db, details('b', { agentName: 'Cem' }), details('c'));
    await load();
    expect(await calls(world)).toEqual([['a', 'Bea', '2026-11-20'], ['b', 'Cem', '2026-11-20'], ['c', 'Ada', '2026-11-20']]);
  });

  it('follows a call to another day, and forgets one that is deleted', async () => {
    const { db, load, compact } = world;
    await stage(db, details('a'), details('b'));
    await load();
    await db.updateTable('calls').set({ started_at: new Date(DAY + DAY_MS), details: sql`jsonb_set(details, '{startedAtMs}', ${String(DAY + DAY_MS)}::jsonb)` }).where('call_id', '=', 'a').execute();
    await db.deleteFrom('calls').where('call_id', '=', 'b').execute();
    await load();
    expect(await calls(world)).toEqual([['a', 'Ada', '2026-11-21']]);
    expect(await world.query((table) => `select count(*) from ${table('calls')} c where dt = '2026-11-20'`)).toEqual([[0]]);
    await compact();
    expect(await calls(world)).toEqual([['a', 'Ada', '2026-11-21']]);
  });

  it('takes back answers and issues that an analysis no longer has', async () => {
    const { db, load } = world;
    await stage(db, details('a'));
    await grade(db, 'a', analysis(['No greeting.', 'Long  silence', 'no greeting']));
    await load();
    expect(await world.query((table) => `select kind, name, position_ms from ${table('events')} e order by 1, 2`)).toEqual([['issue', 'long silence', null], ['issue', 'no greeting', null], ['pattern', 'objection_price', 7_000]]);
    expect(await world.query((table) => `select criterion, verdict, points, out_of, queue from ${table('answers')} a order by 1`)).toMatchObject([['closing', 'no', 0, expect.any(Number), 'Sales'], ['greeting', 'yes', expect.any(Number), expect.any(Number), 'Sales']]);
    await grade(db, 'a', analysis([], { greeting: 'no' }));
    await load();
    expect(await world.query((table) => `select kind from ${table('events')} e`)).toEqual([['pattern']]);
    expect(await world.query((table) => `select criterion, verdict from ${table('answers')} a`)).toEqual([['greeting', 'no']]);
  });

  it('takes an issue that is cut short where a character has two halves', async () => {
    const { db, load, compact } = world;
    await stage(db, details('a'), details('b'));
    await grade(db, 'a', analysis([`${'x'.repeat(199)}😀 and more`]));
    await load();
    await compact();
    expect(await world.query((table) => `select name from ${table('events')} e where kind = 'issue'`)).toEqual([[`${'x'.repeat(199)}😀`]]);
    expect((await calls(world)).length).toBe(2);
  });

  it('catches up after an outage, batch by batch, to the same sums as the database', async () => {
    const { db, load, books } = world;
    for (let from = 0; from < 10_000; from += 1_000) await stage(db, ...Array.from({ length: 1_000 }, (_each, index) => details(`call-${from + index}`, { startedAtMs: DAY + ((from + index) % 5) * DAY_MS })));
    await sql`insert into costs (key, project, call_id, version, step, kind, provider, model, state, micro_usd) select 'cost of ' || call_id, project, call_id, 1, 'analysis', 'llm', 'p', 'm', 'settled', 7 from calls where call_id like '%1'`.execute(db);
    expect((await books.status(project))[0]).toMatchObject({ sink: 'files', waiting: 12_000, loads: 0 });
    expect(await load()).toBeGreaterThanOrEqual(12);
    expect((await books.status(project))[0]).toMatchObject({ waiting: 0, oldestWaitingAt: null, failure: null });
    const { rows } = await sql<{ day: string; calls: number }>`select (started_at at time zone 'UTC')::date::text as day, count(*)::int as calls from calls group by 1 order by 1`.execute(db);
    expect(await world.query((table) => `select dt, count(*) from ${table('calls')} c group by 1 order by 1`)).toEqual(rows.map(({ day, calls: counted }) => [day, counted]));
    expect(await world.query((table) => `select count(*), sum(micro_usd), (select sum(cost_micro_usd) from ${table('calls')} c) from ${table('costs')} k`)).toEqual([[1_000, 7_000, 7_000]]);
    await world.compact();
    expect(await world.query((table) => `select count(*) from ${table('calls')} c`)).toEqual([[10_000]]);
  });

  it('holds nothing of an erased call in any file once it is put together', async () => {
    const { db, load, compact } = world;
    await stage(db, details('kept'), details('to-be-forgotten', { agentName: 'Zed Unique' }));
    await grade(db, 'to-be-forgotten', analysis(['a very special issue']));
    await load();
    await compact();
    const erasures = createErasures(db);
    await erasures.open({ project, id: 'e', kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'x', callIds: ['to-be-forgotten'] });
    await erasures.eraseRows({ project, callId: 'to-be-forgotten' }, 'e', { erased: {}, left: {}, removedKeys: [] });
    await load();
    await compact();
    expect(await calls(world)).toEqual([['kept', 'Ada', '2026-11-20']]);
    const held = await Promise.all([...(await world.files('.json')), ...(await world.files('.parquet'))].map(async (name) => (await readFile(join(world.folder, name))).toString('latin1')));
    expect(held.filter((text) => /to-be-forgotten|Zed Unique|very special/.test(text))).toEqual([]);
    expect(held.length).toBeGreaterThan(0);
  });

  it('is built anew from the database, without what the database does not have', async () => {
    const { db, load, compact, books } = world;
    await stage(db, details('a'), details('b'));
    await load();
    await compact();
    // As after a database was put back to an earlier state: nobody noted that the call is gone.
    await db.deleteFrom('calls').where('call_id', '=', 'b').execute();
    await db.deleteFrom('warehouse_changes').execute();
    await books.rebuild(project, ['files']);
    expect((await books.status(project))[0]).toMatchObject({ rebuilding: true });
    await load();
    await compact();
    expect(await calls(world)).toEqual([['a', 'Ada', '2026-11-20']]);
    expect((await books.status(project))[0]).toMatchObject({ rebuilding: false });
  });

  it('is loaded by one at a time', async () => {
    const { db, books, run } = world;
    await stage(db, details('a'));
    const lease = (await books.lease(project, 'files', 60_000))!;
    await expect(run((of) => of.loadBatch({ project, sink: 'files' }))).rejects.toMatchObject({ code: 'CONFLICT', retryable: true });
    // One that was taken for dead can finish nothing.
    await db.updateTable('warehouse_sinks').set({ lease_until: new Date(0) }).execute();
    const other = (await books.lease(project, 'files', 60_000))!;
    await expect(books.take(lease)).rejects.toMatchObject({ code: 'CONFLICT' });
    expect((await books.take(other))?.changed).toEqual([{ kind: 'call', unit: 'a', days: ['2026-11-20'] }]);
  });
});

/** What breaks off is between the database and the files; the database is the same to it. */
describe('a load that is broken off', () => {
  let world: World;
  beforeEach(async () => {
    world = await open(await postgres.createDatabase());
  });
  afterEach(() => world?.close());

  it('leaves the same, wherever that was', async () => {
    const { db, objects, run, load } = world;
    for (const when of ['before', 'after'] as const) {
      for (let at = 1; ; at += 1) {
        await stage(db, details('a', { agentName: `${when} ${at}` }), details(`${when}-${at}`, { startedAtMs: DAY + DAY_MS }));
        objects.interrupt({ at, when });
        const broken = await run((of) => of.loadBatch({ project, sink: 'files' })).then(() => false, () => true);
        // Whatever is seen of it, no call is seen twice.
        expect(await world.query((table) => `select call_id from ${table('calls')} c group by 1 having count(*) > 1`)).toEqual([]);
        objects.interrupt(undefined);
        await load();
        expect((await calls(world)).filter(([callId]) => callId === 'a' || callId === `${when}-${at}`)).toEqual([['a', `${when} ${at}`, '2026-11-20'], [`${when}-${at}`, 'Ada', '2026-11-21']]);
        if (!broken) break;
      }
    }
  });

  it('leaves the same when it was putting files together', async () => {
    const { db, objects, run } = world;
    for (const when of ['before', 'after'] as const) {
      for (let at = 1; ; at += 1) {
        await stage(db, details('a', { agentName: `${when} ${at}` }), details(`${when}-${at}`));
        await world.load();
        const before = await calls(world);
        objects.interrupt({ at, when });
        const broken = await run(async (of) => {
          while ((await of.compactSome({ project })).more);
          await of.sweepFiles({ project, olderThanMs: 0 });
        }).then(() => false, () => true);
        expect(await calls(world)).toEqual(before);
        objects.interrupt(undefined);
        await world.compact();
        expect(await calls(world)).toEqual(before);
        if (!broken) break;
      }
    }
    // Nothing is left lying of all that was broken off.
    expect([await world.files('.json'), (await world.files('.parquet')).length]).toEqual([[], 3]);
  });
});

describe('changes that are committed in another order than they were made', () => {
  it('are all loaded, each once it is committed', async () => {
    const world = await open(await postgres.createDatabase());
    try {
      const { db, load } = world;
      await stage(db, details('a'));
      const late = await db.startTransaction().execute();
      await late.updateTable('calls').set({ result: 'processed' }).where('call_id', '=', 'a').execute();
      await stage(db, details('b'));
      await load();
      expect(await world.query((table) => `select call_id, result from ${table('calls')} c order by 1`)).toEqual([['a', null], ['b', null]]);
      await late.commit().execute();
      await load();
      expect(await world.query((table) => `select call_id, result from ${table('calls')} c order by 1`)).toEqual([['a', 'processed'], ['b', null]]);
    } finally {
      await world.close();
    }
  });
});
