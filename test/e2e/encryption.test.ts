import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { retireKey } from '../../src/db/encryption-keys.ts';
import { workflowIdOfRun } from '../../src/domain/ids.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const OLD_KEY = `old:${Buffer.alloc(32, 1).toString('base64')}`;
const NEW_KEY = `new:${Buffer.alloc(32, 2).toString('base64')}`;
const GOOD = SAMPLE_CALLS.find(({ scenario }) => scenario === 'good_lead')!;
const WITH_LEAD = SAMPLE_CALLS.find(({ scenario }) => scenario === 'lead_to_opportunity')!;
/** Echoed by Salesforce, so that it travels through a failure. */
const SAID_BY_SALESFORCE = 'canary-5e1f7c';

let server: DevServer;
let postgres: TestPostgres;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
});
afterAll(async () => {
  await Promise.all([server?.stop(), postgres?.stop()]);
});

/** Every text in a value, those in byte fields and those inside other encodings included. */
const textsIn = (value: unknown): string[] => {
  if (typeof value === 'string') return [value];
  if (value instanceof Uint8Array) return [Buffer.from(value).toString('utf8'), Buffer.from(value).toString('latin1')];
  if (Array.isArray(value)) return value.flatMap(textsIn);
  if (value !== null && typeof value === 'object') return Object.entries(value).flatMap(([key, inner]) => [key, ...textsIn(inner)]);
  return [];
};

/** Everything that Temporal keeps of a workflow: its history and what its description shows. */
const keptOf = async (system: TestSystem, workflowId: string): Promise<string> => {
  const handle = system.wiring.temporal.workflow.getHandle(workflowId);
  const { raw } = await handle.describe();
  return textsIn([await handle.fetchHistory(), raw]).join('\n');
};

describe('what Temporal keeps of a call', () => {
  let system: TestSystem;
  beforeAll(async () => {
    system = await startSystem({ server, env: { AUTO_PROCESS: 'false', CRM_APPROVAL: 'always' } });
  });
  afterAll(() => system?.stop());

  it('holds nothing of what was said, who called or what a system answered', async () => {
    await addFaults(system.sandbox.salesforce, { route: 'PATCH /services/data/*', effect: { kind: 'respond', status: 400, body: [{ message: `Phone ${SAID_BY_SALESFORCE}`, errorCode: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }] } });
    const report = system.runWindow();
    const key = system.key(GOOD.taskId);
    while (!(await system.wiring.callsClient.workflowStatus(key))) await sleep(100);
    await system.until(GOOD.taskId, 'awaiting_approval');
    await system.wiring.callsClient.approve(key, { by: 'reviewer-canary', note: 'note-canary' }, 'approve-1');
    while (!((await system.wiring.calls.get(key)).state === 'awaiting_approval' && (await system.wiring.calls.get(key)).step === 'crm')) await sleep(100);
    await system.wiring.callsClient.approve(key, { by: 'reviewer-canary' }, 'approve-2');
    const parked = await system.until(GOOD.taskId, 'needs_attention');
    // The canary went all the way: a person sees it.
    expect(parked.attention?.message).toContain(SAID_BY_SALESFORCE);
    const waiting = await keptOf(system, `call/default/${GOOD.taskId}`);
    await system.wiring.callsClient.retry(key, { by: 'reviewer-canary' }, 'retry-1');
    await system.until(GOOD.taskId, 'completed');
    const kept = `${waiting}\n${await keptOf(system, `call/default/${GOOD.taskId}`)}`;

    const secrets = [
      SAID_BY_SALESFORCE, 'reviewer-canary', 'note-canary', 'Harbour Lights', 'Daniel', 'daniel@harbourlights.example', '53912345K', 'Northwind', 'good_lead',
      GOOD.task.origin, GOOD.task.destination, ...GOOD.script!.map(({ text }) => text),
    ].filter((secret) => secret !== undefined);
    expect(secrets.filter((secret) => kept.includes(secret))).toEqual([]);
    // What may be read there, so that people can search.
    expect(['default', GOOD.taskId, 'webex', 'fetchRecording'].filter((shown) => !kept.includes(shown))).toEqual([]);

    for (const call of SAMPLE_CALLS.filter(({ task, taskId }) => task.status !== 'assigned' && taskId !== GOOD.taskId)) {
      while (!(await system.wiring.callsClient.workflowStatus(system.key(call.taskId)))) await sleep(100);
      await system.wiring.callsClient.reject(system.key(call.taskId), { by: 'reviewer-canary', reason: 'note-canary' }, `reject-${call.taskId}`);
    }
    const window = await keptOf(system, workflowIdOfRun((await report).runId));
    expect(SAMPLE_CALLS.flatMap(({ task }) => [task.origin, task.queue]).filter((secret) => secret !== undefined && window.includes(secret))).toEqual([]);
  });
});

describe('keys that are replaced', () => {
  const systems: TestSystem[] = [];
  let own: DevServer;
  beforeAll(async () => {
    own = await startTemporalProcess();
  });
  afterAll(async () => {
    for (const system of systems.toReversed()) await system.stop();
    await own?.stop();
  });

  it('read what was written before; without the old one nothing starts and says why, until it is retired', async () => {
    const ring = createKeyRing(`${NEW_KEY},${OLD_KEY}`);
    const DATABASE_URL = await postgres.createDatabase();
    const first = await startSystem({ server: own, env: { DATABASE_URL, AUTO_PROCESS: 'false', AFTERCALL_KEYS: OLD_KEY } });
    const callIds = [GOOD.taskId, WITH_LEAD.taskId] as const;
    systems.push(first);
    const start = async (keys: string): Promise<TestSystem> => {
      const next = await startSystem({ server: own, sandbox: first.sandbox, folder: first.folder, env: { DATABASE_URL, AUTO_PROCESS: 'false', AFTERCALL_KEYS: keys } });
      systems.push(next);
      return next;
    };
    for (const callId of callIds) {
      await first.startCall(callId);
      await first.until(callId, 'awaiting_approval');
    }
    await first.stopWorkers();

    const rotated = await start(`${NEW_KEY},${OLD_KEY}`);
    await rotated.wiring.callsClient.approve(rotated.key(callIds[0]), { by: 'ann' }, 'approve-1');
    await rotated.until(callIds[0], 'completed');
    const kept = await keptOf(rotated, `call/default/${callIds[0]}`);
    expect([kept.includes('\nold\n'), kept.includes('\nnew\n')]).toEqual([true, true]);
    await rotated.stopWorkers();

    // Nothing starts that could not read what waits; whoever started it hears which key is missing.
    await expect(start(NEW_KEY)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('lacks the key "old"') as unknown });
    await expect(start(`${NEW_KEY},${OLD_KEY.replace('old:A', 'old:B')}`)).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('key "old"') as unknown });

    const restored = await start(`${NEW_KEY},${OLD_KEY}`);
    await restored.wiring.callsClient.approve(restored.key(callIds[1]), { by: 'ann' }, 'approve-2');
    await restored.until(callIds[1], 'completed');
    await expect(retireKey(restored.wiring.db, ring, 'old', { historiesKeptMs: 86_400_000 })).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('may be kept until') as unknown });
    await expect(retireKey(restored.wiring.db, ring, 'new', { historiesKeptMs: 0 })).rejects.toMatchObject({ code: 'CONFLICT' });
    await retireKey(restored.wiring.db, ring, 'old', { historiesKeptMs: 0 });
    expect((await restored.wiring.db.selectFrom('credentials').select('sealed').execute()).map(({ sealed }) => sealed.split('.')[1])).toEqual(['new']);
    await restored.stopWorkers();
    await start(NEW_KEY);
  });
});
