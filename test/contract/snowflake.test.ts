import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { createSnowflakeClient, type SnowflakeClient } from '../../src/adapters/warehouse/snowflake/client.ts';
import { decodeCell } from '../../src/adapters/warehouse/snowflake/cells.ts';
import { createSnowflakeTokens } from '../../src/adapters/warehouse/snowflake/token.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { startTestSnowflake, type TestSnowflake } from '../support/snowflake.ts';

let snowflake: TestSnowflake;
let client: SnowflakeClient;
beforeAll(async () => {
  snowflake = await startTestSnowflake({ partitionRows: 3 });
  client = createSnowflakeClient(snowflake.config);
});
afterEach(() => clearFaults(snowflake));
afterAll(() => snowflake?.close());

const POST = 'POST /api/v2/statements';
const GET = 'GET /api/v2/statements/*';
const patient = () => ({ requestId: randomUUID(), signal: AbortSignal.timeout(20_000) });
const run = (sql: string, bindings: (string | number | boolean | null)[] = []) => client.execute(sql, bindings, patient());

interface Seen {
  method: string;
  path: string;
  query: Record<string, string>;
  status?: number;
}
const requests = async (since = 0): Promise<Seen[]> => ((await (await fetch(`${snowflake.url}/_sandbox/requests`)).json()) as Seen[]).slice(since);
const statementsUnder = async (requestId: string) => (await ledgerOf(snowflake, 'statement')).filter((entry) => entry['requestId'] === requestId);

describe('the Snowflake client', () => {
  it('binds values by their types and reads cells by theirs', async () => {
    const { columns, rows } = await run(
      "SELECT ? AS name, ? AS whole, ? AS part, ? AS flag, ? AS nothing, CAST('2026-11-01 05:59:59.125' AS TIMESTAMP_NTZ) AS at, CAST('1969-12-31' AS DATE) AS day, CAST('1969-12-31 23:59:59.750' AS TIMESTAMP_NTZ) AS before",
      ["O'Brien; DROP TABLE calls --", -42, 2.5, true, null],
    );
    expect(columns).toEqual(['name', 'whole', 'part', 'flag', 'nothing', 'at', 'day', 'before']);
    expect(rows).toEqual([["O'Brien; DROP TABLE calls --", -42, 2.5, true, null, '2026-11-01T05:59:59.125Z', '1969-12-31', '1969-12-31T23:59:59.750Z']]);
  });

  it.each([
    ['1616173619000000000', 'fixed', '1616173619000000000'],
    ['12.50', 'fixed', 12.5],
    ['1', 'boolean', true],
    ['1616173619.000000000 1740', 'timestamp_tz', '2021-03-19T17:06:59.000Z'],
    ['{"a":1}', 'variant', '{"a":1}'],
    [null, 'fixed', null],
  ])('reads %s of type %s as %s', (cell, type, value) => {
    expect(decodeCell(cell, { name: 'x', type })).toEqual(value);
  });

  it('says how texts are read as times, whatever the account has set', async () => {
    const at = "SELECT CAST('2026-11-01 05:59:59.125' AS TIMESTAMP_NTZ) AS at";
    expect((await run(at)).rows).toEqual([['2026-11-01T05:59:59.125Z']]);
    // A request that leaves it to the account.
    const plain = await fetch(`${snowflake.url}/api/v2/statements`, { method: 'POST', headers: { authorization: `Bearer ${createSnowflakeTokens(snowflake.config).token()}`, 'content-type': 'application/json', 'user-agent': 'test' }, body: JSON.stringify({ statement: at, database: snowflake.config.SNOWFLAKE_DATABASE, schema: snowflake.config.SNOWFLAKE_SCHEMA }) });
    expect([plain.status, await plain.json()]).toEqual([422, expect.objectContaining({ code: '100035' })]);
  });

  it('fetches partitions, which come compressed, and stops when it has as many rows as it needs', async () => {
    const many = 'SELECT value AS n FROM (SELECT * FROM (VALUES (1), (2), (3), (4), (5), (6), (7), (8)) AS numbers (value)) ORDER BY n';
    expect((await run(many)).rows.flat()).toEqual([1, 2, 3, 4, 5, 6, 7, 8]);
    const before = (await requests()).length;
    const some = await client.execute(many, [], { ...patient(), maxRows: 4 });
    expect(some).toMatchObject({ rows: [[1], [2], [3], [4]], truncated: true });
    expect((await requests(before)).filter(({ query }) => query['partition'] !== undefined).map(({ query }) => query['partition'])).toEqual(['1']);
  });

  it('waits for a statement that goes on', async () => {
    await addFaults(snowflake, { route: POST, effect: { kind: 'hold', forMs: 400 } });
    const before = (await requests()).length;
    expect((await run('SELECT 1 AS one')).rows).toEqual([[1]]);
    expect((await requests(before)).filter(({ status }) => status === 202).length).toBeGreaterThan(1);
  });

  it('asks again under the same request ID, and what was done is not done again', async () => {
    await run('CREATE TABLE counted (n NUMBER(38,0))');
    await addFaults(snowflake, { route: POST, effect: { kind: 'respond', status: 429, headers: { 'retry-after': '0' } } }, { route: POST, effect: { kind: 'drop_after' } }, { route: POST, effect: { kind: 'respond', status: 503 } });
    const requestId = randomUUID();
    const before = (await requests()).length;
    const { changed } = await client.execute('INSERT INTO counted (n) SELECT ?', [7], { ...patient(), requestId });
    expect(changed).toEqual({ inserted: 1, updated: 0, deleted: 0 });
    const posts = (await requests(before)).filter(({ method }) => method === 'POST');
    expect(posts).toHaveLength(4);
    expect(posts.map(({ query }) => [query['requestId'], query['retry']])).toEqual(posts.map(() => [requestId, 'true']));
    expect(await statementsUnder(requestId)).toHaveLength(1);
    // Also by a later attempt, or another process.
    await createSnowflakeClient(snowflake.config).execute('INSERT INTO counted (n) SELECT ?', [7], { ...patient(), requestId });
    expect((await run('SELECT COUNT(*) AS n FROM counted')).rows).toEqual([[1]]);
  });

  it('signs in anew when its token is refused, once', async () => {
    await addFaults(snowflake, { route: POST, effect: { kind: 'respond', status: 401, body: { code: '390144', message: 'JWT token is invalid.' } } });
    expect((await run('SELECT 1 AS one')).rows).toEqual([[1]]);
    await addFaults(snowflake, { route: POST, times: 2, effect: { kind: 'respond', status: 401, body: { code: '390144', message: 'JWT token is invalid.' } } });
    await expect(run('SELECT 1 AS one')).rejects.toMatchObject({ code: 'AUTH_FAILED', message: expect.stringContaining('390144') as unknown });
  });

  it('uses a token until shortly before it expires', () => {
    const tokens = createSnowflakeTokens(snowflake.config);
    const first = tokens.token(0);
    expect(tokens.token(50 * 60_000)).toBe(first);
    expect(tokens.token(55 * 60_000)).not.toBe(first);
  });

  it('is refused with a key that is not the user’s, or for another account', async () => {
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem', cipher: 'aes-256-cbc', passphrase: 'open' } });
    const other = createSnowflakeClient({ ...snowflake.config, SNOWFLAKE_PRIVATE_KEY: privateKey, SNOWFLAKE_PRIVATE_KEY_PASSPHRASE: 'open' });
    await expect(other.execute('SELECT 1 AS one', [], patient())).rejects.toMatchObject({ code: 'AUTH_FAILED' });
    const elsewhere = createSnowflakeClient({ ...snowflake.config, SNOWFLAKE_ACCOUNT: 'OTHER-ACCOUNT' });
    await expect(elsewhere.execute('SELECT 1 AS one', [], patient())).rejects.toMatchObject({ code: 'AUTH_FAILED' });
    expect(() => createSnowflakeClient({ ...snowflake.config, SNOWFLAKE_PRIVATE_KEY: privateKey })).toThrow(/SNOWFLAKE_PRIVATE_KEY cannot be read/);
    expect(() => createSnowflakeClient({ ...snowflake.config, SNOWFLAKE_PRIVATE_KEY: '/no/such/key.pem' })).toThrow(/SNOWFLAKE_PRIVATE_KEY cannot be read: ENOENT/);
  });

  it('names the account without its region, in capitals', async () => {
    const regional = createSnowflakeClient({ ...snowflake.config, SNOWFLAKE_ACCOUNT: 'sandbox-aftercall.ap-southeast-1', SNOWFLAKE_USER: 'aftercall_loader' });
    expect((await regional.execute('SELECT 1 AS one', [], patient())).rows).toEqual([[1]]);
  });

  it.each([
    ['SELEC 1', 'UPSTREAM_REJECTED', '001003'],
    ['SELECT 1; DROP TABLE counted', 'UPSTREAM_REJECTED', '000008'],
    ['USE WAREHOUSE big', 'UPSTREAM_REJECTED', '391911'],
    ['SELECT n FROM nowhere', 'UPSTREAM_REJECTED', '002003'],
    ['SELECT nothing FROM counted', 'UPSTREAM_REJECTED', '000904'],
    ["SELECT CAST(? AS NUMBER(38,0)) AS n", 'UPSTREAM_REJECTED', '100038'],
  ])('says why Snowflake refuses: %s', async (sql, code, said) => {
    const before = (await requests()).length;
    await expect(run(sql, sql.includes('?') ? ['not a number'] : [])).rejects.toMatchObject({ code, outcome: 'refused', message: expect.stringContaining(said) as unknown });
    // Asking again would be answered the same.
    expect((await requests(before)).filter(({ method }) => method === 'POST')).toHaveLength(1);
  });

  it('hands a lock that too many wait for to whoever can wait longer', async () => {
    await addFaults(snowflake, { route: GET, effect: { kind: 'respond', status: 422, body: { code: '000625', sqlState: '57014', message: 'has locked table' } } });
    await expect(run('SELECT 1 AS one')).rejects.toMatchObject({ code: 'CONFLICT', retryable: true, retryAfterMs: 5_000 });
  });

  it('does not sit out a long wait', async () => {
    await addFaults(snowflake, { route: POST, times: 9, effect: { kind: 'respond', status: 429, headers: { 'retry-after': '120' } } });
    await expect(run('SELECT 1 AS one')).rejects.toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 120_000 });
  });

  it('cancels a statement that nobody waits for any more', async () => {
    await addFaults(snowflake, { route: POST, effect: { kind: 'hold', forMs: 60_000 } });
    const gone = new AbortController();
    const requestId = randomUUID();
    const asked = client.execute('SELECT 1 AS one', [], { requestId, signal: gone.signal });
    const refused = expect(asked).rejects.toThrow('gone');
    for (let before = true; before; ) before = !(await requests()).some(({ method, query, status }) => (method === 'GET' && status === 202) || (query['requestId'] === requestId && status === 202));
    gone.abort(new Error('gone'));
    await refused;
    expect(await statementsUnder(requestId)).toMatchObject([{ state: 'failed', code: '000604' }]);
  });

  it('cancels a statement that takes too long, and says so', async () => {
    await addFaults(snowflake, { route: POST, effect: { kind: 'hold', forMs: 60_000 } });
    const requestId = randomUUID();
    await expect(client.execute('SELECT 1 AS one', [], { requestId, signal: AbortSignal.timeout(20_000), timeoutMs: 500 })).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
    expect(await statementsUnder(requestId)).toMatchObject([{ state: 'failed', code: '000604' }]);
  });

  it('reads Snowflake’s own limit of time as what it is', async () => {
    await addFaults(snowflake, { route: GET, effect: { kind: 'respond', status: 408, body: { code: '000630', message: 'Statement reached its statement or warehouse timeout(s) and was canceled.' } } });
    await expect(run('SELECT 1 AS one')).rejects.toMatchObject({ code: 'UPSTREAM_TIMEOUT' });
  });

  it('knows an answer that is none', async () => {
    await addFaults(snowflake, { route: POST, effect: { kind: 'respond', status: 200, body: '<html>Sign in</html>' } });
    await expect(run('SELECT 1 AS one')).rejects.toMatchObject({ code: 'UPSTREAM_NONSENSE' });
  });

  it('merges batches, and a source with the same key twice is refused', async () => {
    await run('CREATE TABLE merged (id VARCHAR NOT NULL, n NUMBER(38,0), at TIMESTAMP_NTZ(3))');
    const merge = `MERGE INTO merged AS target USING (
      SELECT f.value:id::VARCHAR AS id, f.value:n::NUMBER(38,0) AS n, f.value:at::TIMESTAMP_NTZ AS at FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?))) AS f
    ) AS source ON target.id = source.id
    WHEN MATCHED AND source.n >= target.n THEN UPDATE SET n = source.n, at = source.at
    WHEN NOT MATCHED THEN INSERT (id, n, at) VALUES (source.id, source.n, source.at)`;
    const batch = (...rows: object[]) => run(merge, [JSON.stringify(rows)]);
    expect((await batch({ id: 'a', n: 1, at: '2026-11-01 00:00:00.000' }, { id: 'b', n: 1, at: null })).changed).toEqual({ inserted: 2, updated: 0, deleted: 0 });
    expect((await batch({ id: 'a', n: 2, at: '2026-11-02 00:00:00.500' }, { id: 'b', n: 0, at: null }, { id: 'c', n: 1, at: null })).changed).toEqual({ inserted: 1, updated: 1, deleted: 0 });
    expect((await run('SELECT id, n, at FROM merged ORDER BY id')).rows).toEqual([['a', 2, '2026-11-02T00:00:00.500Z'], ['b', 1, null], ['c', 1, null]]);
    await expect(batch({ id: 'a', n: 3 }, { id: 'a', n: 4 })).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED', message: expect.stringContaining('100090') as unknown });
  });
});
