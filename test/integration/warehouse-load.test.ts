import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createWarehouseActivities } from '../../src/activities/warehouse.ts';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createProjects } from '../../src/db/projects.ts';
import { createWarehouseBooks } from '../../src/db/warehouse.ts';
import { createWarehouseFiles } from '../../src/db/warehouse-files.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import type { LoadedBatch } from '../../src/domain/warehouse.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
}, 300_000);
afterAll(() => postgres?.stop());

const DAY = Date.UTC(2026, 10, 20);
const project = 'default';
const details = (callId: string, more: Partial<CallDetails> = {}): CallDetails => ({ source: 'webex', callId, status: 'completed', direction: 'inbound', agentName: 'Ada', queueName: 'Sales', startedAtMs: DAY + 3_600_000, ...more });

describe.each(['PGlite', 'PostgreSQL'])('the warehouse loaded from %s', (kind) => {
  let db: Database;
  let url: string;
  let folder: string;
  let load: () => Promise<LoadedBatch[]>;
  let compact: () => Promise<void>;
  let query: (sql: (table: (name: 'calls' | 'answers' | 'costs' | 'effects' | 'events') => string) => string) => Promise<QueryValue[][]>;

  const stage = (...calls: CallDetails[]): Promise<unknown> => createCalls(db).stage(project, calls, 'staged');

  beforeEach(async () => {
    url = kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase();
    db = await openDatabase(url);
    await migrate(db);
    folder = await mkdtemp(join(tmpdir(), 'aftercall-warehouse-test-'));
    const activities = createWarehouseActivities({ books: createWarehouseBooks(db), files: createWarehouseFiles(db), objects: createFolderStore(folder), projects: createProjects(db), register: async () => {} });
    const environment = new MockActivityEnvironment();
    load = async () => {
      const batches: LoadedBatch[] = [];
      do batches.push(await environment.run<[], LoadedBatch, () => Promise<LoadedBatch>>(() => activities.loadBatch({ project, sink: 'files' })));
      while (batches.at(-1)!.more);
      return batches;
    };
    compact = async () => {
      while (await environment.run<[], boolean, () => Promise<boolean>>(async () => (await activities.compactSome({ project })).more));
      await environment.run<[], number, () => Promise<number>>(() => activities.sweepFiles({ project, olderThanMs: 0 }));
    };
    const engine = createDuckDbEngine(folder);
    query = async (sql) => (await engine.run(project, sql((name) => engine.tableRef(project, name)), [], { signal: AbortSignal.timeout(30_000), maxRows: 1_000, timeoutMs: 30_000 })).rows;
  }, 60_000);
  afterAll(async () => {
    await db?.destroy();
    await rm(folder, { recursive: true, force: true });
  });

  it('shows each call once, as it is now', async () => {
    expect(await query((table) => `select count(*) from ${table('calls')} c`)).toEqual([[0]]);
    await stage(details('a'), details('b'));
    await load();
    await stage(details('a', { agentName: 'Bea' }));
    await load();
    expect(await query((table) => `select call_id, agent, dt from ${table('calls')} c order by 1`)).toEqual([['a', 'Bea', '2026-11-20'], ['b', 'Ada', '2026-11-20']]);
    await compact();
    expect(await query((table) => `select call_id, agent, dt from ${table('calls')} c order by 1`)).toEqual([['a', 'Bea', '2026-11-20'], ['b', 'Ada', '2026-11-20']]);
  });
});
