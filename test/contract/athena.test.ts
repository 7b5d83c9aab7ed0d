import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { AthenaClient, GetQueryExecutionCommand, StopQueryExecutionCommand } from '@aws-sdk/client-athena';
import { CreateDatabaseCommand, CreateTableCommand, GlueClient } from '@aws-sdk/client-glue';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { startAthena } from '../../sandbox/athena/server.ts';
import { glueTables } from '../../sandbox/athena/tables.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { createAthenaEngine } from '../../src/adapters/warehouse/athena/engine.ts';
import { decodeCell, literalOf } from '../../src/adapters/warehouse/athena/queries.ts';
import type { QueryOptions, QueryParameter } from '../../src/adapters/warehouse/engine.ts';
import { startAws, REGION, type TestAws } from '../support/moto.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { sqlglotPython } from '../support/snowflake.ts';
import { until } from '../support/until.ts';

const ROWS = 2_500;
/** What a name may be, and what would become of the query if it stood in there as it is. */
const NAMES = ["Tim O'Shea", "' OR '1'='1", "'; DROP TABLE spoken; --", "\\' OR 1=1 --", '?', 'Zoë "Z" Ng', "''", 'a\\', "' || (SELECT 1) || '", 'line\nbreak', '%', '', 'null'];

let folder: string;
let aws: TestAws;
let tables: ReturnType<typeof glueTables>;
let athena: SandboxServer;
let sdk: AthenaClient;

const put = (key: string, rows: readonly object[]) => aws.s3.send(new PutObjectCommand({ Bucket: aws.bucket, Key: key, Body: rows.map((row) => `${JSON.stringify(row)}\n`).join('') }));
const describeTable = async (name: string, columns: Record<string, string>): Promise<void> => {
  const glue = new GlueClient({ region: REGION, endpoint: aws.url });
  await glue.send(new CreateDatabaseCommand({ DatabaseInput: { Name: 'aftercall' } })).catch(() => {});
  await glue.send(
    new CreateTableCommand({
      DatabaseName: 'aftercall',
      TableInput: { Name: name, TableType: 'EXTERNAL_TABLE', StorageDescriptor: { Location: `s3://${aws.bucket}/${name}/`, Columns: Object.entries(columns).map(([Name, Type]) => ({ Name, Type })), SerdeInfo: { SerializationLibrary: 'org.apache.hive.hcatalog.data.JsonSerDe' } } },
    }),
  );
  glue.destroy();
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-athena-'));
  aws = await startAws();
  await describeTable('counted', { n: 'int' });
  await put('counted/rows.json', Array.from({ length: ROWS }, (_each, n) => ({ n })));
  await describeTable('spoken', { name: 'string', score: 'double', passed: 'boolean', spoken_at: 'timestamp', spoken_on: 'date', talked_ms: 'bigint' });
  await put('spoken/rows.json', [...NAMES.map((name, index) => ({ name, score: index + 0.5, passed: index % 2 === 0, spoken_at: '2026-11-01 05:59:59.125', spoken_on: '1969-12-31', talked_ms: index })), {}]);
  tables = glueTables({ endpoint: aws.url, region: REGION, folder: join(folder, 'fetched') });
  athena = await startAthena({ pythonPath: sqlglotPython(), tables });
  sdk = new AthenaClient({ region: REGION, endpoint: athena.url });
});
afterEach(() => clearFaults(athena));
afterAll(async () => {
  sdk?.destroy();
  tables?.close();
  await Promise.all([athena?.close(), aws?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const engineOf = (options: { requestTimeoutMs?: number; tries?: number } = {}) =>
  createAthenaEngine({ AWS_REGION: REGION, AWS_ENDPOINT_URL: aws.url, ATHENA_ENDPOINT_URL: athena.url, GLUE_DATABASE: 'aftercall', ATHENA_WORKGROUP: 'primary', ATHENA_OUTPUT: `s3://${aws.bucket}/athena/` }, { lookEveryMs: { first: 10, most: 50 }, ...options });
const PATIENT: QueryOptions = { signal: new AbortController().signal, maxRows: 10_000, timeoutMs: 60_000 };
const run = (sql: string, parameters: readonly QueryParameter[] = [], options: Partial<QueryOptions> = {}) => engineOf().run('default', sql, parameters, { ...PATIENT, ...options });

interface Asked {
  target: string;
  body: { QueryString?: string; ClientRequestToken?: string; ExecutionParameters?: string[]; QueryExecutionId?: string; NextToken?: string; MaxResults?: number };
}
const asked = async (target: string, since = 0): Promise<Asked['body'][]> => ((await ledgerOf(athena, 'asked')).slice(since) as unknown as Asked[]).filter((each) => each.target === target).map(({ body }) => body);
const seen = async (): Promise<number> => (await ledgerOf(athena, 'asked')).length;
const requests = async (): Promise<number> => ((await (await fetch(`${athena.url}/_sandbox/requests`)).json()) as object[]).length;
const executions = async (): Promise<number> => (await ledgerOf(athena, 'query')).length;

const ALL = 'SELECT n FROM counted ORDER BY n';
const refusal = (type: string) => ({ kind: 'respond', status: 400, body: { __type: type, message: 'Rate exceeded' } }) as const;

describe('results of Athena', () => {
  it('are read page by page, and only the first begins with a header', async () => {
    const before = await seen();
    const { columns, rows, truncated } = await run(ALL);
    expect(columns).toEqual(['n']);
    expect(rows.map(([n]) => n)).toEqual(Array.from({ length: ROWS }, (_each, n) => n));
    expect(truncated).toBe(false);
    const pages = await asked('GetQueryResults', before);
    expect(pages.map(({ NextToken, MaxResults }) => [NextToken, MaxResults])).toEqual([[undefined, 1_000], ['1000', 1_000], ['2000', 1_000]]);
  });

  it.each([
    [7, true, 1],
    // A page of a thousand holds the header and 999 rows.
    [999, true, 2],
    [1_000, true, 2],
    [ROWS - 1, true, 3],
    [ROWS, false, 3],
  ])('are left off after %i rows, which is said', async (maxRows, truncated, pages) => {
    const before = await seen();
    const result = await run(ALL, [], { maxRows });
    expect([result.rows.length, result.rows.at(-1), result.truncated]).toEqual([maxRows, [maxRows - 1], truncated]);
    expect(await asked('GetQueryResults', before)).toHaveLength(pages);
  });

  it('have columns also without rows', async () => {
    expect(await run('SELECT n FROM counted WHERE n < ?', [0])).toEqual({ columns: ['n'], rows: [], truncated: false });
  });

  it('have cells of their types, and null where there is none, which is not the empty text', async () => {
    const { columns, rows } = await run('SELECT name, score, passed, spoken_at, spoken_on, talked_ms FROM spoken WHERE name = ? OR name IS NULL ORDER BY name', ['']);
    expect(columns).toEqual(['name', 'score', 'passed', 'spoken_at', 'spoken_on', 'talked_ms']);
    expect(rows).toEqual([['', NAMES.indexOf('') + 0.5, NAMES.indexOf('') % 2 === 0, '2026-11-01T05:59:59.125Z', '1969-12-31', NAMES.indexOf('')], [null, null, null, null, null, null]]);
  });

  it.each([
    ['9007199254740993', 'bigint', '9007199254740993'],
    ['12.50', 'decimal', 12.5],
    ['false', 'boolean', false],
    ['2026-11-01 05:59:59.000', 'timestamp', '2026-11-01T05:59:59.000Z'],
    ['', 'varchar', ''],
    [undefined, 'varchar', null],
    [undefined, 'bigint', null],
  ])('read %s of type %s as %s', (cell, Type, value) => {
    expect(decodeCell(cell, { Type })).toEqual(value);
  });
});

describe('values', () => {
  it.each(NAMES)('are bound, whatever they are written like: %j', async (name) => {
    const before = await seen();
    const sql = 'SELECT name FROM spoken WHERE name = ?';
    expect((await run(sql, [name])).rows).toEqual([[name]]);
    expect(await asked('StartQueryExecution', before)).toEqual([expect.objectContaining({ QueryString: sql, ExecutionParameters: [`'${name.replaceAll("'", "''")}'`] })]);
  });

  it('are bound in their order, a question mark in a text being none', async () => {
    const { rows } = await run("SELECT name, talked_ms FROM spoken WHERE passed = ? AND score > ? AND talked_ms <= ? AND name <> '?' AND name <> ? ORDER BY talked_ms", [true, 1.5, 8, '?']);
    expect(rows).toEqual([[NAMES[2], 2], [NAMES[6], 6], [NAMES[8], 8]]);
  });

  it.each([
    ["it's", "'it''s'"],
    [-2.5, '-2.5'],
    [1e21, '1e+21'],
    [true, 'true'],
  ])('%s is the literal %s', (value, literal) => {
    expect(literalOf(value)).toBe(literal);
  });
});

describe('a query', () => {
  it('is started once, though the answer to its start is lost', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'drop_after' } });
    const [before, executed] = [await seen(), await executions()];
    expect((await run('SELECT COUNT(*) AS n FROM counted')).rows).toEqual([[ROWS]]);
    const starts = await asked('StartQueryExecution', before);
    expect(starts).toHaveLength(2);
    expect(new Set(starts.map(({ ClientRequestToken }) => ClientRequestToken)).size).toBe(1);
    expect(starts[0]!.ClientRequestToken!.length).toBeGreaterThanOrEqual(32);
    expect((await executions()) - executed).toBe(1);
  });

  it('is started anew when it is asked again, so that a failure does not stay', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'fail', reason: 'GENERIC_INTERNAL_ERROR: out of nodes', retryable: true } });
    const before = await seen();
    await expect(run(ALL)).rejects.toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
    expect((await run(ALL)).rows).toHaveLength(ROWS);
    expect(new Set((await asked('StartQueryExecution', before)).map(({ ClientRequestToken }) => ClientRequestToken)).size).toBe(2);
  });

  it('goes on through throttling, at its start, while it runs and while it is read', async () => {
    const throttled = { route: 'POST /', effect: refusal('TooManyRequestsException') };
    await addFaults(athena, throttled, { ...throttled, skip: 1, effect: refusal('ThrottlingException') }, { ...throttled, skip: 2 });
    const before = await executions();
    expect((await run(ALL)).rows).toHaveLength(ROWS);
    expect((await executions()) - before).toBe(1);
  });

  it('that is throttled for long is for whoever can wait longer', async () => {
    await addFaults(athena, { route: 'POST /', times: 99, effect: refusal('TooManyRequestsException') });
    await expect(engineOf({ tries: 2 }).run('default', ALL, [], PATIENT)).rejects.toMatchObject({ code: 'RATE_LIMITED', retryable: true, message: expect.stringContaining('TooManyRequestsException') as unknown });
  });

  it('goes on when Athena falls silent for a request', async () => {
    await addFaults(athena, { route: 'POST /', skip: 1, effect: { kind: 'hang' } });
    const { rows } = await engineOf({ requestTimeoutMs: 1_000 }).run('default', ALL, [], PATIENT);
    expect(rows).toHaveLength(ROWS);
  });

  it('may fall back from running to waiting', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'states', states: ['QUEUED', 'RUNNING', 'QUEUED', 'RUNNING'] } });
    expect((await run('SELECT COUNT(*) AS n FROM counted')).rows).toEqual([[ROWS]]);
  });

  it.each([
    [{ reason: 'HIVE_BAD_DATA: Error parsing field value', retryable: false }, 'UPSTREAM_REJECTED', false, /failed by Athena: HIVE_BAD_DATA/],
    [{ reason: 'GENERIC_INTERNAL_ERROR: out of nodes', retryable: true }, 'UPSTREAM_UNAVAILABLE', true, /failed by Athena: GENERIC_INTERNAL_ERROR/],
    [{ reason: 'Bytes scanned limit was exceeded', state: 'CANCELLED' }, 'UPSTREAM_REJECTED', false, /cancelled by Athena: Bytes scanned limit was exceeded/],
  ])('that ends badly says why: %j', async (fault, code, retryable, said) => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'fail', ...fault } });
    await expect(run(ALL)).rejects.toMatchObject({ code, retryable, message: expect.stringMatching(said) as unknown });
  });

  it('of a table that is not there says so', async () => {
    await expect(run('SELECT n FROM nowhere')).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED', message: expect.stringContaining('TABLE_NOT_FOUND') as unknown, advice: expect.stringContaining('missing') as unknown });
  });

  it('that somebody stops in Athena says that', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'hold', forMs: 60_000 } });
    const before = await seen();
    const refused = expect(run(ALL)).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED', message: expect.stringContaining('cancelled by Athena: no reason given') as unknown });
    const { QueryExecutionId } = await until('it is looked at', async () => (await asked('GetQueryExecution', before))[0]);
    await sdk.send(new StopQueryExecutionCommand({ QueryExecutionId }));
    await refused;
  });

  it.each([
    ['SELEC n FROM counted', [], /Queries of this type are not supported/],
    ['SELECT n FROM counted; DROP TABLE counted', [], /Only one sql statement/],
    ['DROP TABLE counted', [], /SELECT/],
    ['SELECT n FROM counted WHERE n = ?', [], /Incorrect number of parameters/],
    ['SELECT ? AS n FROM counted', [1], /WHERE clause/],
  ])('that Athena refuses is asked once: %s', async (sql, parameters, said) => {
    const before = await requests();
    await expect(run(sql, parameters)).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED', outcome: 'refused', message: expect.stringMatching(said) as unknown });
    expect((await requests()) - before).toBe(1);
  });

  it.each(['AccessDeniedException', 'UnrecognizedClientException', 'ExpiredTokenException'])('without the right to it (%s) is a matter of credentials', async (type) => {
    await addFaults(athena, { route: 'POST /', times: 9, effect: refusal(type) });
    await expect(run(ALL)).rejects.toMatchObject({ code: 'AUTH_FAILED', retryable: false });
  });
});

describe('a query that nobody waits for any more', () => {
  const stateOf = async (QueryExecutionId: string | undefined) => (await sdk.send(new GetQueryExecutionCommand({ QueryExecutionId }))).QueryExecution?.Status?.State;
  const stoppedSince = async (before: number): Promise<string | undefined> => (await asked('StopQueryExecution', before))[0]?.QueryExecutionId;

  it('is stopped', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'hold', forMs: 60_000 } });
    const before = await seen();
    const gone = new AbortController();
    const refused = expect(run(ALL, [], { signal: gone.signal })).rejects.toThrow('gone');
    await until('it is looked at', async () => (await asked('GetQueryExecution', before))[0]);
    gone.abort(new Error('gone'));
    await refused;
    expect(await stateOf(await stoppedSince(before))).toBe('CANCELLED');
  });

  it('is stopped also when its start is answered only then', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'late', byMs: 2_000 } });
    const [before, sent] = [await seen(), await requests()];
    const gone = new AbortController();
    const refused = expect(run(ALL, [], { signal: gone.signal })).rejects.toThrow('gone');
    await until('it is asked for', async () => ((await requests()) > sent ? true : undefined));
    gone.abort(new Error('gone'));
    await refused;
    expect(await stoppedSince(before)).toEqual(expect.any(String));
    expect(await asked('GetQueryResults', before)).toEqual([]);
  });

  it('is never started when nobody waited in the first place', async () => {
    const before = await requests();
    await expect(run(ALL, [], { signal: AbortSignal.abort(new Error('gone')) })).rejects.toThrow('gone');
    expect((await requests()) - before).toBe(0);
  });

  it('for as long as it may take is stopped, and said to be', async () => {
    await addFaults(athena, { route: 'POST /', effect: { kind: 'hold', forMs: 60_000 } });
    const before = await seen();
    await expect(run(ALL, [], { timeoutMs: 1_000 })).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT', message: expect.stringContaining('not done after 1 s') as unknown });
    expect(await stateOf(await stoppedSince(before))).toBe('CANCELLED');
  });
});
