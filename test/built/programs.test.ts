import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { freePort } from '../../scripts/ports.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

/** What the image runs: the compiled worker and API as processes of their own. Needs `npm run build` first. */
const dist = (path: string): string => fileURLToPath(new URL(`../../dist/${path}`, import.meta.url));
const GOOD = SAMPLE_CALLS.find(({ scenario }) => scenario === 'good_lead')!.taskId;

let server: DevServer;
let postgres: TestPostgres;
let desk: TestSystem;
const programs: ChildProcess[] = [];

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  desk = await startSystem({ server, env: { DATABASE_URL: await postgres.createDatabase() } });
  await desk.stopWorkers();
});
afterAll(async () => {
  for (const program of programs) program.kill('SIGKILL');
  await desk?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

const start = async (file: string, env: Record<string, string>, readyAt: string): Promise<ChildProcess> => {
  const program = spawn(process.execPath, ['--max-semi-space-size=1', dist(file)], { env: { PATH: process.env['PATH']!, ...desk.env, WORKFLOW_BUNDLE: dist('workflow-bundle.js'), ...env }, stdio: ['ignore', 'ignore', 'pipe'] });
  programs.push(program);
  let complaint = '';
  program.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  for (let attempt = 0; !(await fetch(readyAt).then((response) => response.ok, () => false)); attempt += 1) {
    if (attempt > 1_200 || program.exitCode !== null) throw new Error(`${file} did not start: ${complaint}`);
    await sleep(100);
  }
  return program;
};

const stopped = async (program: ChildProcess): Promise<number | null> => {
  const ended = new Promise<number | null>((resolve) => program.once('exit', resolve));
  program.kill('SIGTERM');
  return ended;
};

it('processes a call, serves it, and ends with 0 when it is told to', async () => {
  const [healthPort, metricsPort, apiPort] = [await freePort(), await freePort(), await freePort()];
  const api = `http://127.0.0.1:${apiPort}`;
  const worker = await start('worker.js', { WORKER_HEALTH_PORT: String(healthPort), WORKER_METRICS_PORT: String(metricsPort) }, `http://127.0.0.1:${healthPort}/readyz`);
  const server = await start('api/main.js', { API_PORT: String(apiPort) }, `${api}/readyz`);
  await desk.startCall(GOOD);
  await desk.until(GOOD, 'completed');
  const response = await fetch(`${api}/v1/projects/default/calls/${GOOD}`, { headers: { authorization: `Bearer ${desk.config.API_TOKEN}` } });
  expect(await response.json()).toMatchObject({ callId: GOOD, state: 'completed', result: 'processed' });
  expect(await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text()).toContain('temporal_activity_execution_latency');
  expect([await stopped(worker), await stopped(server)]).toEqual([0, 0]);
});
