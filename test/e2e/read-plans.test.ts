import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import pg from 'pg';
import { LARGE, planOf, type Read, readsOf, settleDown, statementsOf, tokenFor } from '../../bench/reads.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { seedCalls } from '../../scripts/seed-calls.ts';
import { startApi } from '../../src/api/start.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let client: pg.Client;
let reads: Read[];
let token: string;

const PROJECT = 'seed-1';

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  const url = await postgres.createDatabase();
  system = await startSystem({ server, env: { API_PORT: '0', DATABASE_URL: url } });
  await system.stopWorkers();
  const { db } = system.wiring;
  await seedCalls(db, { calls: 20_000, projects: 3, days: 730, auditEntries: 5_000 });
  await settleDown(db);
  api = await startApi(system.wiring);
  token = await tokenFor(db, PROJECT);
  reads = await readsOf(db, PROJECT);
  client = new pg.Client({ connectionString: url });
  await client.connect();
}, 600_000);
afterAll(async () => {
  await client?.end();
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

describe('reading among many calls', () => {
  it('scans no table that grows with the calls, whatever is asked for', async () => {
    const found: string[] = [];
    for (const { what, path } of reads) {
      let status = 0;
      const statements = await statementsOf(async () => {
        const response = await fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
        await response.arrayBuffer();
        status = response.status;
      });
      expect([what, status]).toEqual([what, 200]);
      expect(statements.length).toBeGreaterThan(0);
      for (const statement of statements) {
        const { scanned, text } = await planOf(client, PROJECT, statement);
        if (scanned.some((table) => LARGE.includes(table))) found.push(`${what}: ${statement.text}\n${text}`);
      }
    }
    expect(found).toEqual([]);
  });

  it('would notice a scan', async () => {
    const { scanned } = await planOf(client, PROJECT, { text: "select count(*) from calls where details->>'queueName' ilike $1", values: ['%sales%'] });
    expect(scanned).toEqual(['calls']);
  });

  it('counts what is there', async () => {
    const counted = await system.wiring.calls.countByState(PROJECT);
    const { rows } = await client.query<{ state: string; calls: string }>('select state, count(*) as calls from calls where project = $1 group by 1', [PROJECT]);
    expect(counted).toEqual(Object.fromEntries(rows.map(({ state, calls }) => [state, Number(calls)])));
  });
});
