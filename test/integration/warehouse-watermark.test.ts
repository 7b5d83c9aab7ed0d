import { afterAll, beforeAll, beforeEach, afterEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createWarehouseBooks } from '../../src/db/warehouse.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;
let db: Database;
beforeAll(async () => {
  postgres = await startPostgres();
}, 300_000);
afterAll(() => postgres?.stop());
beforeEach(async () => {
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
}, 60_000);
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
    expect(await createWarehouseBooks(db).watermark(project, 'files')).toMatchObject({ asOf: null, loads: 0 });
    await load();
    await fill();
    await db.transaction().execute(async (tx) => {
      const read = await readBy(tx, async () => {
        expect(await createWarehouseBooks(tx).watermark(project, 'files')).toMatchObject({ asOf: expect.any(Date), loads: 1 });
        expect(await createWarehouseBooks(tx).watermark(project, 'snowflake')).toMatchObject({ asOf: null, loads: 0 });
      });
      expect(read).toEqual({ scanned: 0, lookedUp: 0 });
    });
  }, 60_000);

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
  }, 60_000);
});
