import { connect, createServer, type Server, type Socket } from 'node:net';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const COUNT = 3;
const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;
const callIdOf = (at: number): string => `ab000000-0000-4000-8000-${String(at).padStart(12, '0')}`;

let server: DevServer;
let postgres: TestPostgres;
let road: Awaited<ReturnType<typeof startRoad>>;
let system: TestSystem;

/** The way to the database, which can be cut. */
const startRoad = async (target: string) => {
  const { hostname, port } = new URL(target);
  const sockets = new Set<Socket>();
  let listener: Server;
  let at = 0;
  const open = async (): Promise<void> => {
    listener = createServer((near) => {
      const far = connect(Number(port), hostname);
      for (const [one, other] of [[near, far], [far, near]] as const) {
        sockets.add(one);
        one.on('error', () => {});
        one.on('close', () => other.destroy());
        one.pipe(other);
      }
    });
    await new Promise<void>((resolve) => listener.listen(at, '127.0.0.1', resolve));
    at = (listener.address() as AddressInfo).port;
  };
  const cut = async (): Promise<void> => {
    const closed = new Promise<void>((resolve) => listener.close(() => resolve()));
    for (const socket of sockets) socket.destroy();
    sockets.clear();
    await closed;
  };
  await open();
  const url = new URL(target);
  url.port = String(at);
  return { url: url.href, open, cut };
};

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  road = await startRoad(await postgres.createDatabase());
  system = await startSystem({ server, env: { DATABASE_URL: road.url, RETRY_ATTEMPTS: '2', API_PORT: '0' } });
});
afterAll(async () => {
  await system?.stop();
  await road?.cut();
  await server?.stop();
  await postgres?.stop();
});

it('calls live through ten seconds without the database, and the API says what is wrong meanwhile', async () => {
  const at = Date.now() - 3_600_000;
  await fetch(`${system.sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count: COUNT, fromMs: at, toMs: at + 10_000, recordingOf: GOOD, prefix: 'ab000000' }) });
  const api = await startApi(system.wiring);
  for (let one = 0; one < COUNT; one += 1) await system.startCall(callIdOf(one));
  await sleep(700);
  await road.cut();
  const statuses: number[] = [];
  for (const untilMs = Date.now() + 10_000; Date.now() < untilMs; await sleep(500)) {
    statuses.push((await fetch(`${api.url}/v1/projects/default/calls`, { headers: { authorization: `Bearer ${system.config.API_TOKEN}` } })).status);
  }
  await road.open();
  await api.close();
  expect(new Set(statuses)).toEqual(new Set([503]));
  for (let one = 0; one < COUNT; one += 1) expect((await system.until(callIdOf(one), 'completed', 'needs_attention')).attention).toBeNull();
  expect(await ledgerOf(system.sandbox.salesforce, 'lead_created')).toHaveLength(COUNT);
});
