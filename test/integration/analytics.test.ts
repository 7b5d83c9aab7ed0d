import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { Dialect } from '../../src/adapters/warehouse/engine.ts';
import { CATALOGUE, QUERY_NAMES, type QueryName, queryOf } from '../../src/domain/analytics/catalogue.ts';
import { DIALECTS } from '../../src/domain/analytics/dialect.ts';
import { type FilterName, type Filters, FILTERS, type GroupName } from '../../src/domain/analytics/groups.ts';
import { columnsOf, groupsOf, type ResultValue, rowsOf } from '../../src/domain/analytics/result.ts';
import { addDays, dayIn, shownWithOffset, startOf } from '../../src/domain/analytics/zone.ts';
import { startEngines, type TestEngines } from '../support/engines.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { AGENTS, buildFixture, type Fixture } from '../support/warehouse-fixture.ts';

let test: TestEngines;
let fixture: Fixture;

beforeAll(async () => {
  test = await startEngines();
  fixture = buildFixture();
  await test.load('default', fixture.rows);
  // Another project's, which nobody of the first one may count.
  await test.load('other', buildFixture('other', 20).rows);
});
afterAll(() => test?.stop());

interface Question {
  from?: string;
  to?: string;
  timeZone?: string;
  groupBy?: GroupName[];
  filters?: Filters;
  maxRows?: number;
  project?: string;
}

const ask = async (dialect: Dialect, name: QueryName, { from = '2026-10-20', to = '2026-11-20', timeZone = 'UTC', groupBy, filters = {}, maxRows = 5_000, project = 'default' }: Question) => {
  const query = queryOf(name);
  const engine = test.engines[dialect];
  const groups = groupsOf(query, groupBy ?? query.defaultGroups);
  const { sql, parameters } = query.select({ span: { fromMs: startOf(from, timeZone), toMs: startOf(to, timeZone) }, timeZone, groupBy: groups, filters, maxRows }, { dialect, tableRef: (table, span) => engine.tableRef(project, table, span) });
  const result = await engine.run(project, sql, parameters, { signal: AbortSignal.timeout(60_000), maxRows, timeoutMs: 60_000 });
  return { columns: columnsOf(query, groups).map((column) => column.name), rows: rowsOf(query, groups, timeZone, result), truncated: result.truncated };
};
/** Asks all three engines. @returns their one answer */
const askAll = async (name: QueryName, question: Question = {}) => {
  const [duckdb, athena, snowflake] = await Promise.all(DIALECTS.map((dialect) => ask(dialect, name, question)));
  expect(athena).toEqual(duckdb);
  expect(snowflake).toEqual(duckdb);
  return duckdb!;
};
type Told = Record<string, ResultValue>[];
const records = ({ columns, rows }: { columns: string[]; rows: ResultValue[][] }): Told => rows.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]!])));

/** The calls that took place, by hand. */
const happened = () => fixture.calls.filter((call) => call['voice_call_id'] === null || call['dialled_at'] !== null);
const msOf = (text: unknown): number => Date.parse(`${String(text).replace(' ', 'T')}Z`);
const between = (from: string, to: string, timeZone: string) => (call: Record<string, unknown>) => msOf(call['call_started_at']) >= startOf(from, timeZone) && msOf(call['call_started_at']) < startOf(to, timeZone);

const ZONES = ['UTC', 'Asia/Singapore', 'America/New_York', 'Asia/Kathmandu'];

describe('three engines give one answer', () => {
  it.each(QUERY_NAMES)('to %s, divided as by default', async (name) => {
    const { rows } = await askAll(name, { timeZone: 'Asia/Singapore' });
    expect(rows.length).toBeGreaterThan(0);
  });

  // One of each way in which rows are chosen and counted; two groups at a time, so that each was in one of them.
  const KINDS = ['volume', 'duration', 'outcome', 'criteria', 'issues', 'cost', 'answer-rate', 'attempts'] as const satisfies readonly QueryName[];
  it.each(KINDS)('to %s, divided by each of its groups', async (name) => {
    const { groups } = queryOf(name);
    const pairs = Array.from({ length: Math.ceil(groups.length / 2) }, (_each, index) => groups.slice(index * 2, index * 2 + 2));
    const answers = await Promise.all(pairs.map((groupBy) => askAll(name, { timeZone: 'America/New_York', groupBy })));
    for (const { rows } of answers) expect(rows.length).toBeGreaterThan(0);
  });

  it.each(QUERY_NAMES)('to %s of a span without calls', async (name) => {
    const { rows } = await askAll(name, { from: '2020-01-01', to: '2020-02-01', groupBy: queryOf(name).groups.slice(0, 1) });
    expect(rows).toEqual([]);
  });

  // Each filter once, where the column stands on the row, on its call and on both halves of a question of shares.
  const VALUES: Record<FilterName, string[]> = { source: ['webex', 'retell'], direction: ['inbound', 'outbound'], queue: ['Support, first line'], team: ['North'], agent: ["Tim O'Shea", 'DROP TABLE calls; --'], category: ['sales'], outcome: ['connected'], batch: ['batch-1'], rubric: ['service-call@1'], criterion: ['needs'], step: ['analysis'], kind: ['llm'], provider: ['openai'], model: ['gpt-5'] };
  const chosen: [QueryName, readonly FilterName[]][] = [['cost', CATALOGUE.cost.filters], ['criteria', ['rubric', 'criterion', 'team']], ['duration', ['outcome', 'batch', 'queue']], ['objections', ['agent', 'category']], ['answer-rate', ['source', 'batch']]];
  it('to questions chosen by each of the filters', () => expect(FILTERS.filter((filter) => !chosen.some(([, filters]) => filters.includes(filter)))).toEqual([]));
  it.each(chosen)('to %s chosen by %j', async (name, filters) => {
    const answers = await Promise.all(filters.map((filter) => askAll(name, { groupBy: [], filters: { [filter]: VALUES[filter] } })));
    for (const some of answers) expect(records(some).reduce((sum, record) => sum + Number(record[some.columns[queryOf(name).by.length]!]), 0)).toBeGreaterThan(0);
  });

  it('also to who has none of it', async () => {
    const [all, without, either] = (await Promise.all([{}, { queue: [null] }, { queue: ['Sales', null] }].map((filters) => askAll('volume', { groupBy: ['queue'], filters })))).map(records) as [Told, Told, Told];
    expect(without).toEqual(all.filter(({ queue }) => queue === null));
    expect(either.map(({ queue }) => queue).toSorted()).toEqual(['Sales', null].toSorted());
  });

  it('cut off at the same row', async () => {
    const [whole, cut] = await Promise.all([askAll('volume', { groupBy: ['day', 'agent'] }), askAll('volume', { groupBy: ['day', 'agent'], maxRows: 7 })]);
    expect(cut).toEqual({ columns: whole.columns, rows: whole.rows.slice(0, 7), truncated: true });
    expect(whole.truncated).toBe(false);
  });
});

describe('the answers are right', () => {
  it.each(ZONES)('calls by day in %s, also where clocks change', async (timeZone) => {
    const [from, to] = ['2026-10-30', '2026-11-04'];
    const expected = new Map<string, number>();
    for (const call of happened().filter(between(from, to, timeZone))) {
      const day = dayIn(msOf(call['call_started_at']), timeZone);
      expected.set(day, (expected.get(day) ?? 0) + 1);
    }
    const found = records(await askAll('volume', { from, to, timeZone }));
    expect(found.map(({ day, calls }) => [day, calls])).toEqual([...expected].toSorted());
  });

  it('an hour that clocks show twice is two', async () => {
    const found = records(await askAll('volume', { from: '2026-11-01', to: '2026-11-02', timeZone: 'America/New_York', groupBy: ['hour'] }));
    const hours = found.map(({ hour }) => hour);
    expect(hours).toEqual(expect.arrayContaining(['2026-11-01T00:00:00-04:00', '2026-11-01T01:00:00-04:00', '2026-11-01T01:00:00-05:00']));
    const expected = happened().filter(between('2026-11-01', '2026-11-02', 'America/New_York'));
    expect(found.reduce((sum, { calls }) => sum + Number(calls), 0)).toBe(expected.length);
    const inHour = (hour: unknown) => expected.filter((call) => shownWithOffset(Math.floor(msOf(call['call_started_at']) / 3_600_000) * 3_600_000, 'America/New_York') === hour).length;
    for (const { hour, calls } of found) expect([hour, calls]).toEqual([hour, inHour(hour)]);
  });

  it('durations, by nearest rank', async () => {
    const lengths = happened().map((call) => call['duration_ms']).filter((ms) => ms !== null).map(Number).toSorted((a, b) => a - b);
    const rank = (part: number): number => Math.round(lengths[Math.ceil(lengths.length * part) - 1]! / 100) / 10;
    const [found] = records(await askAll('duration', { groupBy: [] }));
    expect(found).toMatchObject({ calls: lengths.length, p50Seconds: rank(0.5), p90Seconds: rank(0.9), longestSeconds: rank(1) });
  });

  it('scores by agent, of the newest state of each call', async () => {
    const found = records(await askAll('score'));
    expect(found.map(({ agent }) => agent).toSorted()).toEqual([...AGENTS].toSorted());
    for (const { agent, gradedCalls, averageScorePercent } of found) {
      const scores = happened().filter((call) => call['agent'] === agent && call['score_percent'] !== null).map((call) => Number(call['score_percent']));
      expect([agent, gradedCalls]).toEqual([agent, scores.length]);
      expect(averageScorePercent).toBeCloseTo(scores.reduce((sum, score) => sum + score, 0) / scores.length, 1);
    }
  });

  it('costs by source, which stands on the call', async () => {
    const found = records(await askAll('cost', { groupBy: ['source'] }));
    const expected = Object.fromEntries([...Map.groupBy(fixture.costs, (cost) => String(cost['source']))].map(([source, costs]) => [source, costs.reduce((sum, cost) => sum + Number(cost['micro_usd']), 0)]));
    expect(Object.fromEntries(found.map(({ source, costMicroUsd }) => [source, costMicroUsd]))).toEqual(expected);
  });

  it('the funnel, and the shares of what was said', async () => {
    const calls = happened();
    const [found] = records(await askAll('funnel'));
    const did = (...actions: string[]) => calls.filter((call) => actions.includes(String(call['crm_action']))).length;
    const leads = did('create_lead', 'convert_lead');
    // There are some that would count if it went by the IDs that stand on calls.
    expect(calls.filter((call) => call['crm_action'] === 'update_account' && call['opportunity_id'] !== null).length * did('note_duplicate') * did('create_lead')).toBeGreaterThan(0);
    expect(found).toMatchObject({ calls: calls.length, leads, opportunities: did('convert_lead'), leadPercent: Math.round((leads / calls.filter((call) => call['connected']).length) * 10_000) / 100 });
    const objections = records(await askAll('objections'));
    expect(objections.map(({ name }) => name).toSorted()).toEqual(['objection_price', 'objection_timing']);
    expect(new Set(objections.map(({ analysedCalls }) => analysedCalls))).toEqual(new Set([calls.filter((call) => call['has_analysis']).length]));
  });

  it('voice calls by what became of them', async () => {
    const voice = fixture.calls.filter((call) => call['voice_call_id'] !== null);
    const [found] = records(await askAll('attempts', { groupBy: [] }));
    const of = (state: string) => voice.filter((call) => call['voice_state'] === state).length;
    expect(found).toMatchObject({ requested: voice.length, dialled: voice.filter((call) => call['dialled_at'] !== null).length, busy: voice.filter((call) => call['outcome'] === 'busy').length, cancelled: of('cancelled'), waiting: of('queued') });
  });

  it('of calls as old as any that are taken', async () => {
    const { row } = fixture.rows.find(({ table, row: each }) => table === 'calls' && each['deleted'] === false && each['voice_call_id'] === null)!;
    const days = ['2000-01-01', '2013-05-06'];
    await test.load('archive', days.map((dt, index) => ({ table: 'calls', dt, row: { ...row, project: 'archive', call_id: `old-${dt}`, unit_id: `call/old-${dt}`, load_id: index + 1, call_started_at: `${dt} 00:00:00.000` } })));
    const found = await Promise.all(days.map((day) => askAll('volume', { project: 'archive', from: day, to: addDays(day, 2) })));
    expect(found.map((each) => records(each).map(({ day, calls }) => [day, calls]))).toEqual(days.map((day) => [[day, 1]]));
  });

  it('of one project only', async () => {
    const other = await askAll('volume', { project: 'other', groupBy: [] });
    expect(records(other)[0]!['calls']).toBe(buildFixture('other', 20).calls.filter((call) => call['voice_call_id'] === null || call['dialled_at'] !== null).length);
  });
});

const ATTEMPTS = ["' OR '1'='1", "'; DROP TABLE calls; --", "\\' OR 1=1 --", "?", "') UNION ALL SELECT * FROM calls --", '" OR ""="', "' || (SELECT 1) || '", '/* */ OR 1=1', '\u2019 OR 1=1', '%', "a\\"];

describe('a value is a value', () => {
  it('in every filter, whatever it is written like', async () => {
    const asked = FILTERS.map((filter) => [QUERY_NAMES.find((each) => queryOf(each).filters.includes(filter))!, filter] as const);
    const answers = await Promise.all(asked.map(([name, filter]) => askAll(name, { groupBy: queryOf(name).groups.slice(0, 1), filters: { [filter]: ATTEMPTS } })));
    expect(answers.flatMap(({ rows }) => rows)).toEqual([]);
  });

  it('never stands in the SQL', () => {
    for (const name of QUERY_NAMES) {
      for (const dialect of DIALECTS) {
        const query = queryOf(name);
        const filters = Object.fromEntries(query.filters.map((filter) => [filter, ATTEMPTS]));
        const { sql, parameters } = query.select({ span: { fromMs: 0, toMs: 86_400_000 }, timeZone: 'UTC', groupBy: groupsOf(query, query.defaultGroups), filters, maxRows: 10 }, { dialect, tableRef: (table) => `(SELECT * FROM ${table})` });
        for (const attempt of ATTEMPTS.filter((each) => each.length > 1)) expect(sql).not.toContain(attempt);
        expect([...sql.replaceAll(/'[^']*'/g, '').matchAll(/\?/g)]).toHaveLength(parameters.length);
      }
    }
  });

  it('and an agent called DROP TABLE is an agent', async () => {
    const found = records(await askAll('volume', { groupBy: ['agent'], filters: { agent: ['DROP TABLE calls; --'] } }));
    expect(found).toEqual([expect.objectContaining({ agent: 'DROP TABLE calls; --' })]);
  });
});

describe('what the engines are asked', () => {
  it('was of their own grammar, each time', async () => {
    const refused = [...(await ledgerOf(test.athena, 'query')), ...(await ledgerOf(test.snowflake, 'statement'))].filter(({ state }) => state !== 'SUCCEEDED' && state !== 'done');
    expect(refused).toEqual([]);
  });

  it('reads no more days than can matter', async () => {
    const { sql } = CATALOGUE.volume.select({ span: { fromMs: startOf('2026-11-01', 'UTC'), toMs: startOf(addDays('2026-11-01', 1), 'UTC') }, timeZone: 'UTC', groupBy: ['day'], filters: {}, maxRows: 10 }, { dialect: 'athena', tableRef: (table, span) => test.engines.athena.tableRef('default', table, span) });
    expect(sql).toContain("dt BETWEEN '2026-10-30' AND '2026-11-04'");
  });
});
