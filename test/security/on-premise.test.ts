import { existsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { watchConnections } from '../support/connections.ts';
import { addFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let seen: ReturnType<typeof watchConnections>;

const hostOf = (url: string): string => new URL(url).host;
/** What a call of Webex's needs; amoCRM is among the installation's own hosts, too. */
const needed = (): string[] => [...[sandbox.webex, sandbox.openai, sandbox.salesforce].map(({ url }) => hostOf(url)), server.address].sort();
const own = (): string[] => [...needed(), hostOf(sandbox.amocrm.url)];

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-on-premise-'));
  [server, sandbox] = await Promise.all([startTemporalProcess(), startTestSandbox(folder)]);
  seen = watchConnections();
  system = await startSystem({ server, sandbox, folder, env: { DATABASE_URL: 'pglite:', OUTBOUND_ONLY: own().join(','), RETRY_ATTEMPTS: '2' } });
});
afterAll(async () => {
  await system?.stop();
  await seen?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

describe('an installation that may reach its own hosts only', () => {
  const call = SAMPLE_CALLS.find(({ title }) => title.includes('qualified'))!;

  it('processes a whole call, and reaches and looks up nothing else', async () => {
    await system.startCall(call.taskId);
    await system.until(call.taskId, 'completed');
    expect(await ledgerOf(sandbox.salesforce, 'lead_created')).toHaveLength(1);
    expect([...seen.attempts].sort()).toEqual(needed());
    expect(seen.lookups).toEqual([]);
    // Temporal's worker is native; it is seen among the process's sockets, where the system shows them.
    if (existsSync('/proc/self/net/tcp')) expect([...seen.natives]).toEqual(['127.0.0.1']);
  });

  it.each([
    ['an address', 'https://192.0.2.10/recording.wav?signature=hidden'],
    ['a name', 'https://recordings.outside.example/recording.wav?signature=hidden'],
    ['a server of this machine that is not named', 'http://127.0.0.1:9/recording.wav?signature=hidden'],
  ])('parks a call whose recording lies outside (%s), and asks nobody for it', async (_title, filePath) => {
    const prefix = `a${Math.random().toString(16).slice(2, 9).padEnd(7, '0')}`;
    const at = Date.now() - 3_600_000;
    await fetch(`${sandbox.webex.url}/_sandbox-bulk`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ count: 1, fromMs: at, toMs: at + 1, recordingOf: call.taskId, prefix }),
    });
    const callId = `${prefix}-0000-4000-8000-000000000000`;
    const recording = { id: 'rec-1', attributes: { fileName: 'recording.wav', filePath } };
    await addFaults(sandbox.webex, { route: 'POST /v1/captures/query', effect: { kind: 'respond', status: 200, body: { meta: {}, data: [{ taskId: callId, recording: [recording] }] } } });
    await system.startCall(callId);
    const parked = await system.until(callId, 'needs_attention', 'completed');
    expect(parked).toMatchObject({ state: 'needs_attention', step: 'recording', attention: { code: 'URL_REFUSED', message: expect.stringContaining('OUTBOUND_ONLY') as unknown } });
    expect(JSON.stringify(parked)).not.toContain('hidden');
    expect([[...seen.attempts].sort(), seen.lookups]).toEqual([needed(), []]);
  });
});
