import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import express from 'express';
import { type Answer, createAnswers, type Question } from '../../src/api/analytics/answers.ts';
import type { Watermark } from '../../src/api/analytics/answers.ts';
import type { ApiDependencies } from '../../src/api/dependencies.ts';
import { problemHandler } from '../../src/api/problems.ts';
import { createRouteTable } from '../../src/api/route.ts';
import { analyticsRoutes } from '../../src/api/routes/analytics.ts';
import { listen, type RunningApi } from '../../src/api/app.ts';
import type { QueryEngine } from '../../src/adapters/warehouse/engine.ts';
import { createSnowflakeEngine } from '../../src/adapters/warehouse/snowflake/engine.ts';
import { QUERY_NAMES } from '../../src/domain/analytics/catalogue.ts';
import { addDays } from '../../src/domain/analytics/zone.ts';
import type { Principal } from '../../src/domain/access.ts';
import { DEFAULT_SETTINGS } from '../../src/domain/settings.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { startEngines, type TestEngines } from '../support/engines.ts';
import { buildFixture } from '../support/warehouse-fixture.ts';

let engines: TestEngines;
let api: RunningApi;
let engine: QueryEngine;
let watermark: Watermark;

const principal = (name: string, role: 'project_viewer' | 'project_admin', project: string): Principal => ({ kind: 'user', id: name, name, platformAdmin: false, operator: false, roles: new Map([[project, role]]) });
const PEOPLE: Record<string, Principal> = { viewer: principal('viewer', 'project_viewer', 'default'), stranger: principal('stranger', 'project_admin', 'other') };

const serve = (given: QueryEngine, timeoutMs: number): Promise<RunningApi> => {
  const app = express();
  app.set('query parser', 'simple');
  const routes = createRouteTable({ authenticate: async (token) => PEOPLE[token], idempotency: {} as never, audit: {} as never });
  const log = createLog({ LOG_LEVEL: 'fatal' } as never, 'test', 2);
  analyticsRoutes(routes, { analytics: { engine: given, watermarkOf: async () => watermark, timeoutMs }, projects: { settings: async () => DEFAULT_SETTINGS }, log } as unknown as ApiDependencies);
  app.use(routes.router);
  app.use(problemHandler(log));
  return listen(app, { host: '127.0.0.1', port: 0 });
};

beforeAll(async () => {
  engines = await startEngines();
  await engines.load('default', buildFixture('default', 60).rows);
  engine = engines.engines.duckdb;
  watermark = { asOf: new Date('2026-11-12T00:00:00.000Z'), edition: 1 };
  api = await serve(engine, 30_000);
});
beforeEach(() => clearFaults(engines.snowflake));
afterAll(async () => {
  await api?.close();
  await engines?.stop();
});

const PERIOD = 'from=2026-10-20&to=2026-11-20';
const get = (path: string, { as = 'viewer', headers = {}, base = api.url }: { as?: string; headers?: Record<string, string>; base?: string } = {}): Promise<Response> => fetch(`${base}/v1/projects/default/analytics${path}`, { headers: { authorization: `Bearer ${as}`, ...headers } });
const json = async (response: Response | Promise<Response>) => (await (await response).json()) as { columns: { name: string }[]; rows: Record<string, unknown>[]; truncated: boolean; asOf: string | null; from: string; to: string; timeZone: string; detail: string; errors: { path: string; message: string }[] };
const statements = async (): Promise<number> => (await ledgerOf(engines.snowflake, 'statement')).length;

describe('the analytics API', () => {
  it('lists its questions, with what they take and give', async () => {
    const catalogue = (await (await get('')).json()) as { asOf: string; engine: string; queries: { name: string; columns: object[]; link: string }[] };
    expect(catalogue).toMatchObject({ asOf: '2026-11-12T00:00:00.000Z', engine: 'duckdb' });
    expect(catalogue.queries.map(({ name }) => name)).toEqual(QUERY_NAMES);
    expect(catalogue.queries[0]).toMatchObject({ link: '/v1/projects/default/analytics/volume', columns: expect.arrayContaining([{ name: 'calls', type: 'integer', unit: 'calls', about: expect.any(String) as unknown }]) as unknown });
  });

  it.each(QUERY_NAMES)('answers %s', async (name) => {
    const response = await get(`/${name}?${PERIOD}`);
    expect(response.status).toBe(200);
    const { rows, columns } = await json(response);
    expect(rows.length).toBeGreaterThan(0);
    expect(Object.keys(rows[0]!)).toEqual(columns.map((column) => column.name));
  });

  it('means days of the zone that is asked for, the last one excluded', async () => {
    const answer = await json(get('/volume?from=2026-11-01&to=2026-11-02&timeZone=America/New_York&groupBy=hour'));
    expect(answer).toMatchObject({ from: '2026-11-01T04:00:00.000Z', to: '2026-11-02T05:00:00.000Z', timeZone: 'America/New_York' });
    expect(answer.rows.map((row) => row['hour'])).toEqual(expect.arrayContaining(['2026-11-01T01:00:00-04:00', '2026-11-01T01:00:00-05:00']));
  });

  it('means the last thirty days, today among them, or those before the end that is given', async () => {
    const days = ({ from, to }: { from: string; to: string }): number => (Date.parse(to) - Date.parse(from)) / 86_400_000;
    const before = new Date().toISOString().slice(0, 10);
    const recent = await json(get('/volume?timeZone=UTC'));
    expect([addDays(before, 1), addDays(new Date().toISOString().slice(0, 10), 1)]).toContain(recent.to.slice(0, 10));
    expect(days(recent)).toBe(30);
    expect(await json(get('/volume?timeZone=UTC&to=2026-11-01'))).toMatchObject({ from: '2026-10-02T00:00:00.000Z', to: '2026-11-01T00:00:00.000Z' });
  });

  it('takes points in time, and several values of a filter, an empty one for none', async () => {
    const answer = await json(get('/volume?from=2026-10-20T00:00:00Z&to=2026-11-20T00:00:00%2B08:00&groupBy=queue&queue=Sales&queue='));
    expect(answer.to).toBe('2026-11-19T16:00:00.000Z');
    expect(answer.rows.map((row) => row['queue']).toSorted()).toEqual(['Sales', null].toSorted());
  });

  it('gives CSV that no spreadsheet takes for formulas', async () => {
    const response = await get(`/volume?${PERIOD}&groupBy=agent&format=csv`);
    expect(response.headers.get('content-type')).toMatch(/^text\/csv/);
    expect(response.headers.get('content-disposition')).toBe('attachment; filename="volume_2026-10-20_2026-11-20.csv"');
    const lines = (await response.text()).split('\r\n');
    expect(lines[0]).toBe('agent,calls,connected,processed,analysed,needAttention');
    expect(lines.some((line) => line.startsWith("'=1+1,"))).toBe(true);
    expect(lines.some((line) => line.startsWith('"Zoë ""Z"" Ng",'))).toBe(true);
    expect(await (await get(`/volume?${PERIOD}&groupBy=agent`, { headers: { accept: 'text/csv' } })).text()).toBe(lines.join('\r\n'));
  });

  it('says when there are more rows', async () => {
    const all = await json(get(`/volume?${PERIOD}`));
    const some = await json(get(`/volume?${PERIOD}&limit=2`));
    expect(some).toMatchObject({ truncated: true, rows: all.rows.slice(0, 2) });
    expect((await get(`/volume?${PERIOD}&limit=2&format=csv`)).headers.get('x-truncated')).toBe('true');
  });

  it('answers 304 until the next load', async () => {
    const etag = (await get(`/score?${PERIOD}`)).headers.get('etag')!;
    expect((await get(`/score?${PERIOD}`, { headers: { 'if-none-match': `"other", W/${etag}` } })).status).toBe(304);
    expect((await get(`/score?${PERIOD}&format=csv`, { headers: { 'if-none-match': etag } })).status).toBe(200);
    expect((await get(`/score?${PERIOD}&agent=Mina`, { headers: { 'if-none-match': etag } })).status).toBe(200);
    watermark = { asOf: new Date('2026-11-12T01:00:00.000Z'), edition: 2 };
    const anew = await get(`/score?${PERIOD}`, { headers: { 'if-none-match': etag } });
    expect([anew.status, (await json(anew)).asOf]).toEqual([200, '2026-11-12T01:00:00.000Z']);
  });

  it.each([
    ['/volume?agnet=Mina', '', 'agnet'],
    ['/volume?sql=SELECT%201', '', 'sql'],
    ['/volume?criterion=needs', '', 'criterion'],
    ['/volume?groupBy=day,agent,queue', 'groupBy', 'at most 2'],
    ['/volume?groupBy=name;DROP', 'groupBy', 'is none of'],
    ['/volume?from=2026-11-31', 'from', 'no day'],
    ['/volume?from=2026-02-32', 'from', 'no day'],
    ['/volume?to=2026-13-01', 'to', 'no day'],
    ['/volume?from=0000-00-00', 'from', 'no day'],
    ['/volume?from=yesterday', 'from', 'must be a day'],
    ['/volume?from=2026-11-02&to=2026-11-02', 'from', 'before to'],
    ['/volume?from=2020-01-01&to=2026-01-01', 'from', '366 days'],
    ["/volume?timeZone=UTC'--", 'timeZone', 'time zone'],
    ['/volume?limit=10001', 'limit', '10000'],
    ['/volume?format=xml', 'format', 'json'],
    [`/volume?agent=${'x'.repeat(201)}`, 'agent', ''],
  ])('refuses %s, and names what is wrong', async (path, field, said) => {
    const response = await get(path);
    expect(response.status).toBe(400);
    const { errors } = await json(response);
    expect(errors[0]!.path).toBe(field);
    expect(errors[0]!.message).toContain(said);
  });

  it('is for members of the project', async () => {
    expect((await get('/volume', { as: 'nobody' })).status).toBe(401);
    expect((await get('/volume', { as: 'stranger' })).status).toBe(404);
    expect((await get('/everything')).status).toBe(404);
  });

  it('is empty before the first load, without asking an engine that has no tables yet', async () => {
    const before = watermark;
    watermark = { asOf: null, edition: 0 };
    try {
      expect(await json(get(`/volume?${PERIOD}`))).toMatchObject({ asOf: null, rows: [], truncated: false });
    } finally {
      watermark = before;
    }
  });
});

describe('the analytics API over a warehouse that takes its time', () => {
  const POST = 'POST /api/v2/statements';
  let slow: RunningApi;
  beforeAll(async () => {
    slow = await serve(createSnowflakeEngine(engines.snowflake.config), 5_000);
  });
  afterAll(() => slow?.close());

  it('asks once what several ask at once, and keeps the answer', async () => {
    const before = await statements();
    const path = `/funnel?${PERIOD}&groupBy=agent`;
    const all = await Promise.all(Array.from({ length: 5 }, () => json(get(path, { base: slow.url }))));
    expect(new Set(all.map((answer) => JSON.stringify(answer))).size).toBe(1);
    await json(get(path, { base: slow.url }));
    expect((await statements()) - before).toBe(1);
  });

  it('cancels what takes too long, and says 504', async () => {
    const short = await serve(createSnowflakeEngine(engines.snowflake.config), 400);
    await addFaults(engines.snowflake, { route: POST, effect: { kind: 'hold', forMs: 60_000 } });
    const response = await get(`/volume?${PERIOD}&agent=slow`, { base: short.url });
    expect([response.status, (await json(response)).detail]).toEqual([504, expect.stringContaining('0.4 s')]);
    expect((await ledgerOf(engines.snowflake, 'cancelled')).length).toBeGreaterThan(0);
    await short.close();
  });

  it('cancels what nobody waits for any more', async () => {
    const cancelled = (await ledgerOf(engines.snowflake, 'cancelled')).length;
    await addFaults(engines.snowflake, { route: POST, effect: { kind: 'hold', forMs: 60_000 } });
    const gone = new AbortController();
    const asked = fetch(`${slow.url}/v1/projects/default/analytics/volume?${PERIOD}&agent=gone`, { headers: { authorization: 'Bearer viewer' }, signal: gone.signal }).catch(() => 'gone');
    for (let seen = false; !seen; await sleep(20)) seen = ((await (await fetch(`${engines.snowflake.url}/_sandbox/requests`)).json()) as { fault?: string; status?: number }[]).some(({ fault, status }) => fault === 'hold' && status === 202);
    await sleep(200);
    gone.abort();
    expect(await asked).toBe('gone');
    for (let now = cancelled; now === cancelled; await sleep(20)) now = (await ledgerOf(engines.snowflake, 'cancelled')).length;
  });

  it.each([
    [{ status: 503, body: {} }, 503],
    [{ status: 422, body: { code: '002003', message: "Object 'SECRET_TABLE' does not exist" } }, 502],
    [{ status: 401, body: { code: '390144' } }, 502],
  ])('says %j without what it is like inside', async (answer, status) => {
    await addFaults(engines.snowflake, { route: POST, times: 9, effect: { kind: 'respond', ...answer } });
    const response = await get(`/volume?${PERIOD}&agent=broken-${answer.status}`, { base: slow.url });
    expect(response.status).toBe(status);
    expect(await response.text()).not.toMatch(/SECRET_TABLE|390144|Snowflake/);
  });
});

describe('questions at once', () => {
  const question = (agent: string): Question => ({ name: 'volume', span: { fromMs: 0, toMs: 86_400_000 }, timeZone: 'UTC', groupBy: [], filters: { agent: [agent] }, limit: 10 });
  const now = { asOf: new Date(0), edition: 1 };
  /** An engine whose queries are answered when the test says so. */
  const held = (dialect: QueryEngine['dialect'] = 'snowflake') => {
    const open: (() => void)[] = [];
    const times: number[] = [];
    let running = 0;
    let most = 0;
    const engineOf: QueryEngine = {
      dialect,
      tableRef: (_project, table) => table,
      run: async (_project, _sql, _parameters, { timeoutMs }) => {
        times.push(timeoutMs);
        running += 1;
        most = Math.max(most, running);
        await new Promise<void>((resolve) => open.push(resolve));
        running -= 1;
        return { columns: [], rows: [], truncated: false };
      },
    };
    return { engine: engineOf, open, times, most: () => most };
  };

  it('have another key when the query that answers them is another', () => {
    const keyIn = (tableRef: QueryEngine['tableRef'], asked = question('Mina')): string => createAnswers({ engine: { ...held().engine, tableRef }, watermarkOf: async () => now, timeoutMs: 1_000 }).keyOf('default', asked, now);
    const before = keyIn((_project, table) => table);
    expect(keyIn((_project, table) => table)).toBe(before);
    expect(keyIn((_project, table) => `(SELECT * FROM ${table} WHERE NOT deleted)`)).not.toBe(before);
    expect(keyIn((_project, table) => table, question('Tim'))).not.toBe(before);
  });

  it('are four in a project at the engine, sixteen that wait, and no more', async () => {
    const { engine: slowEngine, open, most } = held();
    const answers = createAnswers({ engine: slowEngine, watermarkOf: async () => now, timeoutMs: 60_000 });
    const asked: Promise<Answer>[] = Array.from({ length: 20 }, (_each, index) => answers.answer('default', question(String(index)), now, new AbortController().signal));
    await expect(answers.answer('default', question('one more'), now, new AbortController().signal)).rejects.toMatchObject({ status: 429, headers: { 'retry-after': '5' } });
    // Another project has places of its own.
    const other = answers.answer('other', question('0'), now, new AbortController().signal);
    for (let done = 0; done < 21; ) {
      await sleep(1);
      for (const answer of open.splice(0)) {
        answer();
        done += 1;
      }
    }
    expect(await Promise.all([...asked, other])).toHaveLength(21);
    expect(most()).toBe(5);
  });

  it('that are given up while they wait leave their place', async () => {
    const { engine: slowEngine, open } = held();
    const answers = createAnswers({ engine: slowEngine, watermarkOf: async () => now, timeoutMs: 60_000 });
    const inside = Array.from({ length: 4 }, (_each, index) => answers.answer('default', question(String(index)), now, new AbortController().signal));
    const gone = new AbortController();
    const waiting = answers.answer('default', question('gone'), now, gone.signal);
    gone.abort(new Error('gone'));
    await expect(waiting).rejects.toThrow('gone');
    const next = answers.answer('default', question('next'), now, new AbortController().signal);
    for (let done = 0; done < 5; ) {
      await sleep(1);
      for (const answer of open.splice(0)) {
        answer();
        done += 1;
      }
    }
    expect(await Promise.all([...inside, next])).toHaveLength(5);
  });

  it('are four of all projects together where the engine is this process', async () => {
    const { engine: own, open, most } = held('duckdb');
    const answers = createAnswers({ engine: own, watermarkOf: async () => now, timeoutMs: 60_000 });
    const asked = ['a', 'b', 'c'].flatMap((project) => Array.from({ length: 4 }, (_each, index) => answers.answer(project, question(String(index)), now, new AbortController().signal)));
    for (let done = 0; done < 12; ) {
      await sleep(1);
      for (const answer of open.splice(0)) {
        answer();
        done += 1;
      }
    }
    expect(await Promise.all(asked)).toHaveLength(12);
    expect(most()).toBe(4);
  });

  it('have their time from being asked on, also while they wait for a place', async () => {
    const { engine: own, open, times } = held('duckdb');
    const answers = createAnswers({ engine: own, watermarkOf: async () => now, timeoutMs: 200 });
    const inside = Array.from({ length: 4 }, (_each, index) => answers.answer('a', question(String(index)), now, new AbortController().signal));
    for (; times.length < 4; await sleep(1));
    // One waits behind its own project's, one behind all projects'.
    const waiting = ['a', 'b'].map((project) => answers.answer(project, question('late'), now, new AbortController().signal));
    const [first, second] = await Promise.allSettled(waiting);
    expect([first, second]).toEqual([{ status: 'rejected', reason: expect.objectContaining({ code: 'UPSTREAM_TIMEOUT' }) as unknown }, { status: 'rejected', reason: expect.objectContaining({ code: 'UPSTREAM_TIMEOUT' }) as unknown }]);
    expect(times).toHaveLength(4);
    for (const answer of open) answer();
    expect(await Promise.all(inside)).toHaveLength(4);
  });

  it('leave the engine what is left of their time', async () => {
    const { engine: own, open, times } = held('duckdb');
    const answers = createAnswers({ engine: own, watermarkOf: async () => now, timeoutMs: 60_000 });
    const asked = Array.from({ length: 5 }, (_each, index) => answers.answer('a', question(String(index)), now, new AbortController().signal));
    for (; times.length < 4; await sleep(1));
    await sleep(50);
    for (let done = 0; done < 5; ) {
      for (const answer of open.splice(0)) {
        answer();
        done += 1;
      }
      await sleep(1);
    }
    await Promise.all(asked);
    expect(times[4]).toBeLessThan(60_000 - 40);
  });
});
