import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { createWarehouseActivities } from '../../src/activities/warehouse.ts';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import type { ObjectStore } from '../../src/adapters/objects/object-store.ts';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import type { QueryEngine, QueryValue } from '../../src/adapters/warehouse/engine.ts';
import type { TableLoader } from '../../src/adapters/warehouse/table-loader.ts';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createProjects } from '../../src/db/projects.ts';
import { createQuality } from '../../src/db/quality.ts';
import { createWarehouseBooks } from '../../src/db/warehouse.ts';
import { createWarehouseFiles } from '../../src/db/warehouse-files.ts';
import type { Analysis } from '../../src/domain/analysis.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import type { WarehouseActivities, WarehouseSink } from '../../src/domain/warehouse.ts';
import type { WarehouseTable } from '../../src/domain/warehouse-tables.ts';
import { interruptible } from './interrupted-store.ts';

export const DAY_MS = 86_400_000;
export const DAY = Date.UTC(2026, 10, 20);

export const details = (callId: string, more: Partial<CallDetails> = {}): CallDetails => ({ source: 'webex', callId, status: 'completed', direction: 'inbound', agentName: 'Ada', queueName: 'Sales', startedAtMs: DAY + 3_600_000, ...more });
export const analysis = (issues: string[], verdicts: Record<string, 'yes' | 'no'> = { greeting: 'yes', closing: 'no' }): Analysis => ({
  call_id: 'c',
  summary: '',
  sentiment: 'negative',
  grading: { total_score_percent: 50, pass: false, categories: {} },
  issues_detected: issues,
  recommendations: [],
  patterns: [{ kind: 'objection_price', evidence: { quote: 'q', speaker: 'customer', turn: 0, startMs: 7_000, endMs: 8_000 } }],
  answers: Object.entries(verdicts).map(([criterion, verdict]) => ({ criterion, verdict, claimed: verdict, reason: '', evidence: [], rejected: [] })),
  versions: { prompt: '2', rubric: 'service-call@1', model: 'm', provider: 'p' },
  usage: { kind: 'llm', inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 },
  cost_micro_usd: 0,
});

/** What rows are written to and read from. */
interface Where {
  objects?: ObjectStore;
  engine?: QueryEngine;
  register?: Parameters<typeof createWarehouseActivities>[0]['register'];
  snowflake?: TableLoader;
}

/** A database, a store of files (a folder if none is given), and what loads the one into the other. */
export const openWarehouse = async (url: string, where: Where = {}) => {
  const db = await openDatabase(url);
  await migrate(db);
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-warehouse-test-'));
  const { engine = createDuckDbEngine(folder), register = async () => {} } = where;
  const objects = interruptible(where.objects ?? createFolderStore(folder));
  const books = createWarehouseBooks(db);
  const activitiesWith = (snowflake: TableLoader | undefined) => createWarehouseActivities({ books, files: createWarehouseFiles(db), objects, projects: createProjects(db), leaseMs: 90_000, register, snowflake });
  let activities = activitiesWith(where.snowflake);
  const environment = new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') });
  const run = <T>(work: (of: WarehouseActivities) => Promise<T>): Promise<T> => environment.run<[], T, () => Promise<T>>(() => work(activities));
  return {
    db,
    books,
    objects,
    folder,
    run,
    /** Goes on as after the settings of Snowflake were changed. */
    connect: (snowflake: TableLoader | undefined): void => {
      activities = activitiesWith(snowflake);
    },
    /** Until nothing is left. @returns in how many batches */
    load: async (project = 'default', sink: WarehouseSink = 'files'): Promise<number> => {
      for (let batches = 1; ; batches += 1) if (!(await run((of) => of.loadBatch({ project, sink }))).more) return batches;
    },
    compact: async (project = 'default'): Promise<void> => {
      while ((await run((of) => of.compactSome({ project }))).more);
      await run((of) => of.sweepFiles({ project, olderThanMs: 0 }));
    },
    query: async (build: (table: (name: WarehouseTable) => string) => string, project = 'default'): Promise<QueryValue[][]> =>
      (await engine.run(project, build((name) => engine.tableRef(project, name)), [], { signal: AbortSignal.timeout(60_000), maxRows: 1_000, timeoutMs: 60_000 })).rows,
    files: async (ending: string): Promise<string[]> => (await readdir(folder, { recursive: true })).filter((name) => name.startsWith('warehouse') && name.endsWith(ending)),
    close: async (): Promise<void> => {
      await db.destroy();
      await rm(folder, { recursive: true, force: true });
    },
  };
};
export type TestWarehouse = Awaited<ReturnType<typeof openWarehouse>>;

export const stage = (db: Database, calls: readonly CallDetails[], project = 'default'): Promise<unknown> => createCalls(db).stage(project, [...calls], 'staged');

/** Writes an analysis of a call down, as the pipeline and its people have left it. */
export const grade = async (db: Database, callId: string, graded: Analysis, project = 'default'): Promise<void> => {
  const call = { project, callId, version: 1 };
  const written = { analysis: JSON.stringify(graded) };
  await db.insertInto('call_versions').values({ project, call_id: callId, version: 1, started_from: 'recording', state: 'processing', ...written }).onConflict((conflict) => conflict.columns(['project', 'call_id', 'version']).doUpdateSet(written)).execute();
  await createQuality(db).keep(call, { details: details(callId), category: undefined, analysis: graded });
};
