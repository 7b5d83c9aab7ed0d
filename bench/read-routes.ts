import { mkdtemp, rm } from 'node:fs/promises';
import { cpus, loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import pg from 'pg';
import { startDevServerProcess } from '../scripts/dev-server.ts';
import { freePort } from '../scripts/ports.ts';
import { say, temporalCli } from '../scripts/programs/index.ts';
import { startApi } from '../src/api/start.ts';
import { loadConfig } from '../src/config.ts';
import { createLog } from '../src/telemetry/log.ts';
import { wire } from '../src/wiring.ts';
import { LARGE, planOf, readsOf, statementsOf, timesOf, tokenFor } from './reads.ts';
import { UNUSED_SYSTEMS } from './unused-systems.ts';

/**
 * Measures every route that reads, through the API, on a database that `npm run seed` has filled:
 * `DATABASE_URL=… npm run bench:reads -- [--times N] [--project seed-1] [--plans]`.
 */
const { values } = parseArgs({ options: { times: { type: 'string', default: '200' }, project: { type: 'string', default: 'seed-1' }, plans: { type: 'boolean', default: false } } });
const url = process.env['DATABASE_URL'];
if (!url?.startsWith('postgres')) throw new Error('Set DATABASE_URL to a database that `npm run seed` has filled.');

const folder = await mkdtemp(join(tmpdir(), 'aftercall-bench-'));
const server = await startDevServerProcess({ cliPath: await temporalCli(), port: await freePort(), uiPort: await freePort(), metricsPort: await freePort() });
const config = loadConfig({
  TEMPORAL_ADDRESS: server.address,
  AFTERCALL_KEYS: `bench:${Buffer.alloc(32, 1).toString('base64')}`,
  DATABASE_URL: url,
  OBJECTS_DIR: join(folder, 'objects'),
  API_PORT: '0',
  LOG_LEVEL: 'error',
  ...UNUSED_SYSTEMS,
});
const wiring = await wire(config, createLog(config, 'bench'));
const api = await startApi(wiring);
const client = new pg.Client({ connectionString: url });
await client.connect();
try {
  const token = await tokenFor(wiring.db, values.project);
  const read = (path: string) => (): Promise<Response> => fetch(`${api.url}${path}`, { headers: { authorization: `Bearer ${token}` } });
  say(`${cpus().length} × ${cpus()[0]?.model.trim()}, load ${loadavg()[0]!.toFixed(1)}; ${values.times} requests each, one after the other`);
  say('| read | p50 ms | p99 ms | scans |\n|---|---|---|---|');
  const plans: string[] = [];
  for (const { what, path } of await readsOf(wiring.db, values.project)) {
    // Not the first one, which fills caches of both.
    await timesOf(read(path), 1);
    const times = await timesOf(read(path), Number(values.times));
    const statements = await statementsOf(async () => void (await timesOf(read(path), 1)));
    const scanned = new Set<string>();
    for (const statement of statements) {
      const plan = await planOf(client, values.project, statement);
      for (const table of plan.scanned) if (LARGE.includes(table)) scanned.add(table);
      plans.push(`-- ${what}\n${plan.statement}\n${plan.text}\n`);
    }
    const at = (share: number): string => times[Math.min(times.length - 1, Math.floor(times.length * share))]!.toFixed(1);
    say(`| ${what} | ${at(0.5)} | ${at(0.99)} | ${[...scanned].join(', ') || 'none'} |`);
  }
  if (values.plans) process.stdout.write(plans.join('\n'));
} finally {
  await client.end();
  await api.close();
  await wiring.close();
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
