import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import { createAnswers, type Question } from '../../src/api/analytics/answers.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createWarehouseBooks } from '../../src/db/warehouse.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { DAY, DAY_MS, details, openWarehouse, stage } from '../support/warehouse.ts';

let postgres: TestPostgres;
let db: Database;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());
beforeEach(async () => {
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
});
afterEach(() => db?.destroy());

const project = 'default';

/** What some work reads of the queue of changes: rows from its beginning to its end, and how often an index of it. */
const readBy = async (on: Database, work: () => Promise<void>): Promise<{ scanned: number; lookedUp: number }> => {
  const soFar = async () => (await sql<{ scanned: number; lookedUp: number }>`select seq_tup_read::int as scanned, idx_scan::int as "lookedUp" from pg_stat_xact_user_tables where relname = 'warehouse_changes'`.execute(on)).rows[0]!;
  const before = await soFar();
  await work();
  const after = await soFar();
  return { scanned: after.scanned - before.scanned, lookedUp: after.lookedUp - before.lookedUp };
};

describe('how far the warehouse has come', () => {
  const load = async (): Promise<void> => {
    const books = createWarehouseBooks(db);
    await sql`insert into warehouse_changes (project, kind, unit) values (${project}, 'call', 'a')`.execute(db);
    const lease = (await books.lease(project, 'files', 60_000))!;
    await books.finish(lease, (await books.take(lease))!, { rows: 1 });
    await books.release(lease);
  };
  /** Many changes wait, of this project and of another. */
  const fill = async (): Promise<void> => {
    await sql`insert into warehouse_changes (project, kind, unit) select case when n <= 50 then ${project} else 'other' end, 'call', n::text from generate_series(1, 20000) n`.execute(db);
    await sql`vacuum analyze warehouse_changes`.execute(db);
  };

  it('is told without a look at what waits', async () => {
    expect(await createWarehouseBooks(db).watermark(project, 'files')).toMatchObject({ asOf: null, edition: 0 });
    await load();
    await fill();
    await db.transaction().execute(async (tx) => {
      const read = await readBy(tx, async () => {
        expect(await createWarehouseBooks(tx).watermark(project, 'files')).toMatchObject({ asOf: expect.any(Date), edition: 1 });
        expect(await createWarehouseBooks(tx).watermark(project, 'snowflake')).toMatchObject({ asOf: null, edition: 0 });
      });
      expect(read).toEqual({ scanned: 0, lookedUp: 0 });
    });
  });

  it("is counted for people by the project's own changes only, those that a load is under way with among them", async () => {
    await load();
    await fill();
    const books = createWarehouseBooks(db);
    await books.take((await books.lease(project, 'files', 60_000))!);
    await db.transaction().execute(async (tx) => {
      const read = await readBy(tx, async () => {
        expect(await createWarehouseBooks(tx).status(project)).toMatchObject([{ waiting: 50, oldestWaitingAt: expect.any(Date) }]);
      });
      expect(read).toMatchObject({ scanned: 0 });
      expect(read.lookedUp).toBeGreaterThan(0);
    });
  });
});

describe('an answer that is kept', () => {
  it('is asked anew when rows go that the database does not have', async () => {
    const world = await openWarehouse(await postgres.createDatabase());
    try {
      const { books } = world;
      const answers = createAnswers({ engine: createDuckDbEngine(world.folder), watermarkOf: (of) => books.watermark(of, 'files'), timeoutMs: 60_000 });
      const question: Question = { name: 'volume', span: { fromMs: DAY, toMs: DAY + DAY_MS }, timeZone: 'UTC', groupBy: [], filters: {}, limit: 10 };
      const ask = async () => {
        const watermark = await answers.watermarkOf(project);
        return { key: answers.keyOf(project, question, watermark), calls: (await answers.answer(project, question, watermark, new AbortController().signal)).rows[0]?.[0] };
      };
      await stage(world.db, [details('a'), details('b')]);
      await world.load();
      // As after a database was put back to an earlier state: nobody noted that the call is gone.
      await world.db.deleteFrom('calls').where('call_id', '=', 'b').execute();
      await world.db.deleteFrom('warehouse_changes').execute();
      await books.rebuild(project, ['files']);
      await world.load();
      const before = await ask();
      expect(before.calls).toBe(2);
      // Put together, and the old files not removed yet.
      while ((await world.run((of) => of.compactSome({ project }))).more);
      await ask();
      await world.run((of) => of.sweepFiles({ project, olderThanMs: 0 }));
      const after = await ask();
      expect(after.calls).toBe(1);
      expect(after.key).not.toBe(before.key);
      // Nothing more went.
      await world.run((of) => of.sweepFiles({ project, olderThanMs: 0 }));
      expect(await ask()).toEqual(after);
    } finally {
      await world.close();
    }
  });
});
