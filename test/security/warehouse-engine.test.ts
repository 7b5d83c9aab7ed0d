import { mkdir, mkdtemp, readdir, realpath, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import type { QueryEngine, QueryResult } from '../../src/adapters/warehouse/engine.ts';
import { tablePrefix } from '../../src/domain/warehouse-tables.ts';
import { buildFixture } from '../support/warehouse-fixture.ts';

/** What a query could do to the process and the machine that DuckDB runs in, if ever one came through that is not ours. */

const PROJECTS = ['default', 'south', 'south-2'];
/** So many rows that no machine is ever done. */
const ENDLESS = 'SELECT COUNT(*) FROM range(1000000000) AS a, range(1000000000) AS b WHERE a.range * b.range = -1';

let folder: string;
let engine: QueryEngine;
const pathOf = (project: string): string => join(folder, `${tablePrefix(project, 'json', 'calls')}dt=2026-11-20/1.json`);

beforeAll(async () => {
  folder = await realpath(await mkdtemp(join(tmpdir(), 'aftercall-engine-')));
  for (const project of PROJECTS) {
    const [first] = buildFixture(project, 20).rows.filter(({ table, row }) => table === 'calls' && row['deleted'] === false);
    await mkdir(dirname(pathOf(project)), { recursive: true });
    await writeFile(pathOf(project), `${JSON.stringify(first!.row)}\n`);
  }
  await writeFile(join(folder, 'recording.json'), '{"said":"in confidence"}\n');
  engine = createDuckDbEngine(folder);
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const run = (sql: string, { project = 'south', timeoutMs = 60_000, signal = new AbortController().signal } = {}): Promise<QueryResult> => engine.run(project, sql, [], { signal, maxRows: 100, timeoutMs });

describe('a query that would run for ever', () => {
  it('is ended after its time, with what to do about it', async () => {
    await expect(run(ENDLESS, { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT', message: 'DuckDB did not answer the query within 1 s.', advice: expect.stringContaining('shorter span') as unknown });
  });

  it('is ended however early its time is over', async () => {
    for (const timeoutMs of [1, 3, 10, 30]) await expect(run(ENDLESS, { timeoutMs })).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
  });

  it('is ended when nobody waits for it any more', async () => {
    const gone = new AbortController();
    const running = run(ENDLESS, { signal: gone.signal });
    setTimeout(() => gone.abort(new Error('The caller has gone.')), 200);
    await expect(running).rejects.toThrow('The caller has gone.');
  });
});

describe('a query that needs more memory than it may have', () => {
  it('is refused, and the next one is answered', async () => {
    await expect(run("SELECT LENGTH(STRING_AGG(REPEAT('x', 1000) || range)) FROM range(5000000)")).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED', message: expect.stringContaining('more than 512 MB') as unknown });
    expect((await run('SELECT 1 AS one')).rows).toEqual([[1]]);
  });
});

describe('a query that reaches out of its project', () => {
  const inFolder = (...path: string[]) => join(folder, ...path);
  const attempts: [string, () => string][] = [
    ['reads a file of the machine', () => "SELECT * FROM read_text('/etc/hostname')"],
    ['reads what else is stored', () => `SELECT * FROM read_json('${inFolder('recording.json')}')`],
    ['names a file as a table', () => `SELECT * FROM '${inFolder('recording.json')}'`],
    ['climbs out of its folder', () => `SELECT * FROM read_text('${inFolder(tablePrefix('south', 'json', 'calls'))}../../../../recording.json')`],
    ['lists the machine', () => "SELECT * FROM glob('/etc/*')"],
    ['reads the process’s surroundings', () => "SELECT * FROM read_text('/proc/self/environ')"],
    ['reads the first project', () => `SELECT * FROM read_json('${pathOf('default')}')`],
    ['reads a project whose name begins alike', () => `SELECT * FROM read_json('${pathOf('south-2')}')`],
    ['fetches from the internet', () => "SELECT * FROM read_text('http://127.0.0.1:9/x')"],
    ['writes a file', () => `COPY (SELECT 1) TO '${inFolder('written.csv')}'`],
    ['writes into its own folder', () => `COPY (SELECT 1) TO '${inFolder(tablePrefix('south', 'json', 'calls'), 'written.json')}'`],
    ['attaches a database', () => `ATTACH '${inFolder('other.db')}' AS other`],
    ['installs an extension', () => 'INSTALL httpfs'],
    ['loads an extension', () => 'LOAD httpfs'],
    ['loosens the settings', () => 'SET enable_external_access = true'],
    ['changes its folders', () => "SET allowed_directories = ['/']"],
    ['makes a table', () => 'CREATE TABLE mine AS SELECT 1'],
    ['replaces what is read', () => 'CREATE OR REPLACE VIEW aftercall_all_calls AS SELECT 1'],
    ['takes its data out', () => `EXPORT DATABASE '${inFolder('exported')}'`],
    ['hides a second statement', () => `SELECT 1; COPY (SELECT 1) TO '${inFolder('written.csv')}'`],
  ];

  it.each(attempts)('%s: refused', async (_title, sql) => {
    await expect(run(sql())).rejects.toMatchObject({ name: 'AftercallError', code: expect.stringMatching(/^UPSTREAM_(REJECTED|UNAVAILABLE)$/) as unknown });
  });

  it('leaves nothing behind, and its own rows are read as before', async () => {
    expect((await readdir(folder)).toSorted()).toEqual(['projects', 'recording.json', 'warehouse']);
    expect(await readdir(dirname(pathOf('south')))).toEqual(['1.json']);
    for (const project of PROJECTS) expect((await run(`SELECT DISTINCT project FROM ${engine.tableRef(project, 'calls')} AS c`, { project })).rows).toEqual([[project]]);
  });
});
