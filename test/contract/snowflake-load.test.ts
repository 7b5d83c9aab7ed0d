import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createSnowflakeClient, freshRequestId, type SnowflakeClient } from '../../src/adapters/warehouse/snowflake/client.ts';
import { createSnowflakeLoader } from '../../src/adapters/warehouse/snowflake/load.ts';
import { snowflakeTable } from '../../src/adapters/warehouse/table-definitions.ts';
import type { TableLoader } from '../../src/adapters/warehouse/table-loader.ts';
import { type CallFacts, callUnits, type UnitRows } from '../../src/domain/warehouse-rows.ts';
import { WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';
import type { QueryValue } from '../../src/adapters/warehouse/engine.ts';
import { requestsOf } from '../support/salesforce.ts';
import { addFaults } from '../support/sandbox.ts';
import { startTestSnowflake, type TestSnowflake } from '../support/snowflake.ts';
import { until } from '../support/until.ts';

let snowflake: TestSnowflake;
let client: SnowflakeClient;
let loader: TableLoader;
const signal = (): AbortSignal => AbortSignal.timeout(60_000);
const ask = async (sql: string): Promise<QueryValue[][]> => (await client.execute(sql, [], { requestId: freshRequestId(), signal: signal() })).rows;

beforeAll(async () => {
  snowflake = await startTestSnowflake();
  client = createSnowflakeClient(snowflake.config);
  loader = createSnowflakeLoader(client);
  for (const table of WAREHOUSE_TABLES) await ask(snowflakeTable(table));
});
afterAll(() => snowflake?.close());

const DAY = Date.UTC(2026, 10, 20);
const call = (callId: string, more: Partial<CallFacts> = {}): UnitRows[] =>
  callUnits({
    callId,
    unitId: `call/${callId}`,
    source: 'webex',
    details: { source: 'webex', callId, status: 'completed', direction: 'inbound', startedAtMs: DAY },
    category: undefined,
    team: 'North',
    state: 'completed',
    result: 'processed',
    version: 1,
    endedAt: new Date(DAY + 1_500),
    durationMs: 61_000,
    hasRecording: true,
    hasTranscript: true,
    language: 'en',
    graded: undefined,
    crm: undefined,
    voice: undefined,
    costMicroUsd: 5,
    ...more,
  });
const gone = (unit: UnitRows): UnitRows => ({ ...unit, rows: [] });
const load = (loadId: number, units: readonly UnitRows[], project = 'default'): Promise<number> => loader.load(project, { loadId, readAt: new Date(DAY), units }, signal());
const loaded = (): Promise<QueryValue[][]> => ask('SELECT project, call_id, state, load_id FROM calls ORDER BY 1, 2');

describe('rows merged into Snowflake', () => {
  it('stand there as they were given', async () => {
    await load(10, [...call('a'), ...call('b')]);
    await load(10, call('a'), 'other');
    expect(await loaded()).toEqual([['default', 'a', 'completed', 10], ['default', 'b', 'completed', 10], ['other', 'a', 'completed', 10]]);
    expect(await ask("SELECT team, duration_ms, has_recording, call_started_at, processed_at, dt, queue FROM calls WHERE call_id = 'b'")).toEqual([['North', 61_000, true, '2026-11-20T00:00:00.000Z', '2026-11-20T00:00:01.500Z', '2026-11-20', null]]);
  });

  it('are replaced by later ones, never by earlier ones, and not doubled by repeats', async () => {
    await load(12, call('a', { state: 'needs_attention' }));
    await load(12, call('a', { state: 'needs_attention' }));
    // One that was given up for dead comes late.
    await load(11, call('a', { state: 'processing' }));
    expect((await loaded())[0]).toEqual(['default', 'a', 'needs_attention', 12]);
    // The same unit in two states within one batch: moved from one day to another.
    await load(13, [...call('a'), ...call('a').map((unit) => ({ ...gone(unit), dt: '2026-11-19' }))]);
    expect((await loaded())[0]).toEqual(['default', 'a', 'completed', 13]);
  });

  it('go when their unit is gone, of this project only', async () => {
    await load(14, call('a').map(gone));
    expect(await loaded()).toEqual([['default', 'b', 'completed', 10], ['other', 'a', 'completed', 10]]);
    await loader.dropBefore('default', 15, signal());
    expect(await loaded()).toEqual([['other', 'a', 'completed', 10]]);
  });

  it.each(['load', 'dropBefore'] as const)('are brought in order by the next attempt when one was cancelled in Snowflake (%s)', async (what) => {
    await load(20, call('c'));
    const attempt = (stop: AbortSignal): Promise<unknown> => (what === 'load' ? loader.load('default', { loadId: 21, readAt: new Date(DAY), units: call('c').map(gone) }, stop) : loader.dropBefore('default', 21, stop));
    await addFaults(snowflake, { route: 'POST /api/v2/statements', effect: { kind: 'hold', forMs: 60_000 } });
    const given = new AbortController();
    const before = (await requestsOf(snowflake)).length;
    const first = expect(attempt(given.signal)).rejects.toThrow();
    await until('the statement runs', async () => (await requestsOf(snowflake)).slice(before).some(({ method, path }) => method === 'GET' && path.startsWith('/api/')));
    given.abort();
    await first;
    await attempt(signal());
    expect((await loaded()).filter(([project]) => project === 'default')).toEqual([]);
  });

  it('show of no unit a part, wherever a load is broken off', async () => {
    const three = (unitId: string): UnitRows => ({ table: 'answers', unitId, dt: '2026-11-20', rows: ['greeting', 'needs', 'closing'].map((criterion) => ({ call_id: unitId, criterion, verdict: 'yes' })) });
    await addFaults(snowflake, { route: 'POST /api/v2/statements', skip: 1, effect: { kind: 'respond', status: 422 } });
    await expect(load(30, Array.from({ length: 2_000 }, (_each, index) => three(`call/${index}`)), 'large')).rejects.toMatchObject({ code: 'UPSTREAM_REJECTED' });
    const counted = await ask("SELECT rows_each, COUNT(*) > 0 AS some FROM (SELECT unit_id, COUNT(*) AS rows_each FROM answers WHERE project = 'large' GROUP BY unit_id) AS units GROUP BY rows_each");
    expect(counted).toEqual([[3, true]]);
  });
});
