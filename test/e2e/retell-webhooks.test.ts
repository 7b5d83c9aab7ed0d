import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { RETELL_ACCOUNT } from '../../sandbox/retell/server.ts';
import { signatureOf } from '../../sandbox/retell/webhooks.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import type { VoiceCallRow } from '../../src/db/voice-calls.ts';
import { voiceCallWorkflowId } from '../../src/domain/ids.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, startRetellSandbox, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const PROJECT = 'default';
const HONEST = { lose: 0, loseEvents: [], times: 1, reverse: 1, delayMs: 0, jitterMs: 0 };

let folder: string;
let server: DevServer;
let postgres: TestPostgres;
let sandbox: TestSandbox;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let made = 0;
/** A call's workflow begins a new history each time that it has looked for news. */
const temporalOptions = () => ({ dbFile: join(folder, 'temporal.db'), suggestContinueAsNewAt: 10 });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-retell-webhooks-'));
  [server, postgres, sandbox, retell] = await Promise.all([
    startTemporalProcess(temporalOptions()),
    startPostgres(),
    startTestSandbox(folder),
    startRetellSandbox(folder, { speed: { ringMs: 100, talkMs: 200, analysisMs: 100 } }),
  ]);
  system = await startSystem({
    server,
    sandbox,
    folder,
    env: { ...retell.env, API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), RETELL_CALLS_PER_SECOND: '50', VOICE_LOOK_UP_FIRST: '5s', VOICE_LOOK_UP_MAX: '5s', RETRY_FIRST: '1s', RETRY_MAX: '1s' },
  });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await retell?.close();
  await sandbox?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  await retell.control('webhooks', { ...HONEST, url: `${api.url}/webhooks/retell` });
});

const read = (voiceCallId: string): Promise<VoiceCallRow> => system.wiring.voiceCalls.get(PROJECT, voiceCallId);
const reaches = (voiceCallId: string, ...states: VoiceCallRow['state'][]): Promise<VoiceCallRow> =>
  until(`${voiceCallId} is ${states.join(' or ')}`, async () => {
    const row = await read(voiceCallId);
    return states.includes(row.state) ? row : undefined;
  });
const begin = async (to: string): Promise<string> => {
  made += 1;
  const voiceCallId = `vc_${String(made).padStart(22, '0')}`;
  await system.wiring.voiceCalls.enqueue({ project: PROJECT, voiceCallId, request: { from: '+15550100', to, variables: {}, metadata: { lead: `L-${made}` }, priority: 3 }, requestedBy: 'a test' });
  await system.wiring.voiceLinesClient.wake(PROJECT);
  return voiceCallId;
};
const toldOf = async (voiceCallId: string) =>
  (await system.wiring.db.selectFrom('tracking_events').select(['name', 'occurred_at', 'properties']).where('subject', '=', voiceCallId).orderBy('seq').execute()).map(({ name, occurred_at: at, properties }) => ({ name, atMs: at.getTime(), properties }));
const eventsOf = async (providerCallId: string) => system.wiring.db.selectFrom('inbox').selectAll().where('source', '=', 'retell').where('event_id', 'like', `${providerCallId}:%`).orderBy('received_at').execute();

const CONNECTED = { state: 'completed', outcome: 'connected', told: ['Voice call initiated', 'Call started', 'Call completed'] };

describe('an outbound call ends the same', () => {
  it.each<[string, object]>([
    ['when all goes well', {}],
    ['when every event comes three times', { times: 3 }],
    ['when events come in reverse', { reverse: 3 }],
    ['when events are late and overtake each other', { delayMs: 300, jitterMs: 1_500, times: 2 }],
    ['when its start is never told', { loseEvents: ['call_started'] }],
    ['when its analysis is never told', { loseEvents: ['call_analyzed'] }],
    ['when nothing is ever told', { loseEvents: ['call_started', 'call_ended', 'call_analyzed'] }],
  ])('%s', async (_how, mode) => {
    await retell.control('webhooks', mode);
    const voiceCallId = await begin('+15550123');
    const row = await reaches(voiceCallId, 'completed', 'not_connected');
    const told = await toldOf(voiceCallId);
    expect({ state: row.state, outcome: row.outcome, told: told.map(({ name }) => name) }).toEqual(CONNECTED);
    expect(told.map(({ atMs }) => atMs)).toEqual([row.diallingAt!.getTime(), row.observed!.startedAtMs, row.observed!.endedAtMs]);
    expect(told.at(-1)?.properties).toMatchObject({ connected: true, outcome: 'connected', successful: true, sentiment: 'Neutral', metadata: { lead: `L-${made}` } });
    // What still comes changes nothing.
    await until('all is delivered', async () => ((await eventsOf(row.providerCallId!)).every(({ delivered_at: at }) => at !== null) ? true : undefined));
    expect({ ...(await read(voiceCallId)), callId: null, updatedAt: null }).toEqual({ ...row, callId: null, updatedAt: null });
    expect(await toldOf(voiceCallId)).toEqual(told);
  });

  it('when its analysis is never told, and Retell has deleted it meanwhile', async () => {
    await retell.control('webhooks', { loseEvents: ['call_analyzed'] });
    await addFaults(retell, { route: 'GET /v2/get-call/*', times: 1_000, effect: { kind: 'respond', status: 404, body: { status: 'error', message: 'Item not found' } } });
    try {
      const voiceCallId = await begin('+15550123');
      await reaches(voiceCallId, 'ended');
      // Two hours later.
      await sql`update voice_calls set observed = jsonb_set(observed, '{endedAtMs}', to_jsonb((observed ->> 'endedAtMs')::bigint - 10800000)) where id = ${voiceCallId}`.execute(system.wiring.db);
      const row = await reaches(voiceCallId, 'completed', 'needs_attention');
      expect([row.state, row.outcome, (await toldOf(voiceCallId)).map(({ name }) => name)]).toEqual(['completed', 'connected', CONNECTED.told]);
    } finally {
      await clearFaults(retell);
    }
  });

  it('when it is looked up so often that its history begins anew', async () => {
    await retell.control('webhooks', { loseEvents: ['call_started', 'call_ended', 'call_analyzed'] });
    await retell.control('speed', { talkMs: 12_000 });
    const voiceCallId = await begin('+15550123');
    const row = await reaches(voiceCallId, 'completed').finally(() => retell.control('speed', { talkMs: 200 }));
    expect([row.outcome, row.dials, (await toldOf(voiceCallId)).map(({ name }) => name)]).toEqual(['connected', 1, CONNECTED.told]);
    await until('it is handed over', async () => (await read(voiceCallId)).callId !== null);
    const runs = await system.wiring.temporal.workflow.count(`WorkflowId = '${voiceCallWorkflowId({ project: PROJECT, voiceCallId })}'`);
    expect(runs.count).toBeGreaterThan(1);
  });

  it('when Temporal is down from its middle to after its end', async () => {
    const voiceCallId = await begin('+15550195');
    const { providerCallId } = await reaches(voiceCallId, 'ongoing');
    await until('its start is delivered', async () => ((await eventsOf(providerCallId!)).some(({ delivered_at: at }) => at !== null) ? true : undefined));
    await system.stopWorkers();
    const port = Number(server.address.split(':')[1]);
    await server.kill();
    await retell.control(`calls/${providerCallId}/end`, {});
    // Taken in, and written to the call, without it.
    const row = await reaches(voiceCallId, 'completed');
    const sent = (await (await fetch(`${retell.url}/_sandbox/webhooks`)).json()) as { callId: string; event: string; status: number }[];
    expect(sent.filter(({ callId }) => callId === providerCallId).map(({ event, status }) => [event, status])).toEqual([['call_started', 204], ['call_ended', 204], ['call_analyzed', 204]]);
    expect((await toldOf(voiceCallId)).map(({ name }) => name)).toEqual(CONNECTED.told);
    expect(row.callId).toBeNull();
    expect((await eventsOf(providerCallId!)).map(({ delivered_at: at }) => at !== null)).toEqual([true, false, false]);

    server = await startTemporalProcess({ ...temporalOptions(), port });
    await system.startWorkers();
    await until('all is delivered', async () => ((await eventsOf(providerCallId!)).every(({ delivered_at: at }) => at !== null) ? true : undefined));
    // And the workflow goes on where it was.
    await until('it is handed over', async () => ((await read(voiceCallId)).callId === null ? undefined : true));
    expect((await toldOf(voiceCallId)).map(({ name }) => name)).toEqual(CONNECTED.told);
  });
});

describe('a call that reaches nobody', () => {
  it.each([
    ['+15550189', 'failed', 'invalid_destination'],
    ['+15550190', 'busy', 'dial_busy'],
    ['+15550191', 'no_answer', 'dial_no_answer'],
    ['+15550193', 'failed', 'dial_failed'],
    ['+15550196', 'failed', 'user_declined'],
  ])('%s ends as %s, without a start', async (to, outcome, reason) => {
    await retell.control('webhooks', { reverse: 2, times: 2 });
    const voiceCallId = await begin(to);
    const row = await reaches(voiceCallId, 'not_connected', 'completed');
    expect(row).toMatchObject({ state: 'not_connected', outcome, startedAt: null });
    const told = await toldOf(voiceCallId);
    expect(told.map(({ name }) => name)).toEqual(['Voice call initiated', 'Call completed']);
    expect(told.at(-1)?.properties).toMatchObject({ connected: false, outcome, disconnectionReason: reason, startedAt: null, durationMs: null });
  });

  it('ends as voicemail, with a start, when a machine answers', async () => {
    const row = await reaches(await begin('+15550192'), 'completed', 'not_connected');
    expect(row).toMatchObject({ state: 'completed', outcome: 'voicemail' });
    expect((await toldOf(row.voiceCallId)).map(({ name }) => name)).toEqual(CONNECTED.told);
  });
});

describe('a call that we did not place', () => {
  const rings = async (): Promise<string> => {
    const [{ call_id: providerCallId } = { call_id: '' }] = [(await retell.control('calls', { from: '+15550124' })) as { call_id: string } | { call_id: string }[]].flat();
    await until('its analysis is delivered', async () => ((await eventsOf(providerCallId)).some(({ type, delivered_at: at }) => type === 'call_analyzed' && at !== null) ? true : undefined));
    return providerCallId;
  };

  it('is left alone, unless the project wants it', async () => {
    expect(await system.wiring.calls.find(system.key(await rings()))).toBeUndefined();
  });

  it('is taken in when it is analysed, once, if the project wants it', async () => {
    await system.wiring.projects.changeSettings(PROJECT, { takeUnplacedCalls: true });
    await retell.control('webhooks', { times: 3 });
    const providerCallId = await rings();
    expect(await system.wiring.calls.find(system.key(providerCallId))).toMatchObject({ source: 'retell', details: { direction: 'inbound' } });
    expect(await toldOf(providerCallId)).toEqual([]);
  });
});

it('keeps one event of a thousand that come at once', async () => {
  const body = JSON.stringify({ event: 'call_started', call: { call_id: 'call_thousand', call_status: 'ongoing', direction: 'inbound', transcript: 'nothing of this is kept' } });
  const statuses = await Promise.all(
    Array.from({ length: 1_000 }, async () => {
      const response = await fetch(`${api.url}/webhooks/retell`, { method: 'POST', headers: { 'x-retell-signature': signatureOf(body, RETELL_ACCOUNT.key, Date.now()) }, body });
      return response.status;
    }),
  );
  expect(new Set(statuses)).toEqual(new Set([204]));
  expect(await eventsOf('call_thousand')).toHaveLength(1);
});
