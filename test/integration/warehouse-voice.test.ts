import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { openDatabase } from '../../src/db/database.ts';
import { MIGRATIONS } from '../../src/db/migrations/index.ts';
import { asOwner } from '../../src/db/scope.ts';
import { append, createTracking, eraseTracking } from '../../src/db/tracking.ts';
import { createVoiceCalls, type VoiceCalls, voiceCallIdOf } from '../../src/db/voice-calls.ts';
import type { Observation, ProviderCall, VoiceCallKey, VoiceCallRequest } from '../../src/domain/voice.ts';
import { dayOf } from '../../src/domain/warehouse-rows.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { appendAll } from '../support/tracking.ts';
import { DAY, DAY_MS, details, openWarehouse, stage, type TestWarehouse } from '../support/warehouse.ts';

/** Outbound calls in the warehouse, from the wish to the call that came of it. */

const project = 'default';
const REQUEST: VoiceCallRequest = { from: '+15550100', to: '+15550110', agent: 'agent_1', variables: { name: 'nobody' }, metadata: { secret: 'm' }, priority: 3 };
const START = DAY + 5 * DAY_MS + 3_600_000;

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

let world: TestWarehouse;
let voiceCalls: VoiceCalls;
beforeEach(async () => {
  world = await openWarehouse(await postgres.createDatabase());
  voiceCalls = createVoiceCalls({ db: world.db, tracking: { append } });
});
afterEach(() => world?.close());

const beginDial = async (key: { project: string; voiceCallId: string }): Promise<void> => {
  await world.db.updateTable('voice_calls').set({ lined_up_at: new Date(), line_account: 'account' }).where('id', '=', key.voiceCallId).execute();
  expect((await voiceCalls.beginDial(key)).verdict).toBe('dial');
};
const place = async (name: string): Promise<VoiceCallKey> => {
  const key = { project, voiceCallId: voiceCallIdOf(project, [name]) };
  await voiceCalls.enqueue({ ...key, request: REQUEST, requestedBy: 'ann' });
  return key;
};
const see = (key: VoiceCallKey, by: Observation['by'], call: Partial<ProviderCall>) => voiceCalls.applyObservation(key, { by, atMs: START, call: { providerCallId: `call_${key.voiceCallId}`, status: 'registered', direction: 'outbound', agentId: 'agent_1', ...call } });
const rows = () => world.query((table) => `select call_id, source, agent, voice_state, outcome, connected, duration_ms, cost_micro_usd, dt from ${table('calls')} c order by call_id`);
const costs = () => world.query((table) => `select call_id, step, provider, micro_usd from ${table('costs')} c`);
const events = () => world.query((table) => `select name, kind, state, voice_call_id, call_id from ${table('events')} e order by occurred_at, name`);

describe('an outbound call', () => {
  it('is one row through all its states, with what was told of it, and goes over into the call that came of it', async () => {
    const key = await place('answered');
    const id = key.voiceCallId;
    const requested = dayOf((await voiceCalls.get(project, id)).requestedAt);
    await world.load();
    expect(await rows()).toEqual([[id, 'voice', 'agent_1', 'queued', null, null, null, 0, requested]]);

    await beginDial(key);
    await see(key, 'dial', {});
    await world.load();
    expect(await rows()).toEqual([[id, 'voice', 'agent_1', 'dialled', null, null, null, 0, requested]]);
    expect(await events()).toEqual([['Voice call initiated', 'tracking', 'pending', id, null]]);

    // It lies under the day on which it began from then on, which is another one.
    await see(key, 'call_ended', { status: 'ended', startedAtMs: START, endedAtMs: START + 60_000, durationMs: 60_000, disconnectionReason: 'user_hangup' });
    await see(key, 'call_analyzed', { status: 'ended', startedAtMs: START, endedAtMs: START + 60_000, durationMs: 60_000, disconnectionReason: 'user_hangup', analysis: { successful: true, voicemail: false }, costCents: 12.5 });
    await world.load();
    expect(await rows()).toEqual([[id, 'voice', 'agent_1', 'completed', 'connected', true, 60_000, 125_000, dayOf(START)]]);
    expect(await costs()).toEqual([[id, 'voice', 'retell', 125_000]]);
    expect((await events()).map(([name]) => name).toSorted()).toEqual(['Call completed', 'Call started', 'Voice call initiated']);

    // Put together, the day that it has left holds nothing of it.
    await world.compact();
    expect(await world.query((table) => `select count(*) from ${table('calls')} c where dt = '${requested}'`)).toEqual([[0]]);

    await stage(world.db, [details('retell-1', { source: 'retell', direction: 'outbound', startedAtMs: START })]);
    await voiceCalls.handOver(key, 'retell-1');
    await world.load();
    expect(await world.query((table) => `select call_id, source, voice_call_id, voice_state, outcome, disconnection_reason, cost_micro_usd from ${table('calls')} c`)).toEqual([['retell-1', 'retell', id, 'completed', 'connected', 'user_hangup', 125_000]]);
    expect(await costs()).toEqual([['retell-1', 'voice', 'retell', 125_000]]);
    const { rows: told } = await sql<{ count: number }>`select count(*)::int as count from tracking_events`.execute(world.db);
    expect(await world.query((table) => `select count(*) from ${table('events')} e where voice_call_id = '${id}'`)).toEqual([[told[0]!.count]]);
  });

  it('that reached nobody, or was taken back, stays as it ended', async () => {
    const [busy, cancelled] = [await place('busy'), await place('cancelled')];
    await beginDial(busy);
    await see(busy, 'lookup', { status: 'not_connected', disconnectionReason: 'dial_busy' });
    await voiceCalls.cancel(cancelled, 'a mistake');
    await world.load();
    const found = await world.query((table) => `select call_id, voice_state, outcome, connected from ${table('calls')} c`);
    expect(new Map(found.map(([id, ...rest]) => [id, rest]))).toEqual(new Map([[busy.voiceCallId, ['not_connected', 'busy', false]], [cancelled.voiceCallId, ['cancelled', null, null]]]));
  });

  it('keeps what was told of it when the queue that told it drops that, and loses it when it is erased', async () => {
    await appendAll(world.db, 'vc_told');
    await world.db.updateTable('tracking_events').set({ state: 'delivered', delivered_at: new Date(DAY) }).execute();
    await world.load();
    const held = await events();
    expect(held.map(([name]) => name)).toEqual(['Voice call initiated', 'Call started', 'Call completed']);

    expect(await createTracking(world.db).sweep(-1_000)).toBe(3);
    await world.load();
    expect(await events()).toEqual(held);
    await world.compact();
    expect(await events()).toEqual(held);
    await world.books.rebuild(project, ['files']);
    await world.load();
    await world.compact();
    expect(await events()).toEqual(held);

    await world.db.transaction().execute((tx) => eraseTracking(tx, project, ['vc_told']));
    await world.load();
    expect(await events()).toEqual([]);
  });

  it('leaves neither numbers nor what it was asked with in the files', async () => {
    const key = await place('private');
    await beginDial(key);
    await see(key, 'dial', {});
    await world.load();

    const held = await Promise.all((await world.files('.json')).map((name) => readFile(`${world.folder}/${name}`, 'utf8')));
    expect(held.length).toBeGreaterThan(0);
    expect(held.filter((text) => /55501|nobody|secret/.test(text))).toEqual([]);
  });
});

describe('what was there before the warehouse', () => {
  it('is loaded by it, outbound calls and what was told of them among it', async () => {
    const db = await openDatabase(await postgres.createDatabase());
    try {
      const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
      const { error } = await asOwner(() => migrator.migrateTo('0016-tracking'));
      expect(error).toBeUndefined();
      await stage(db, [details('a')]);
      await sql`insert into voice_calls (project, id, state, priority, from_number, to_number, request, requested_by, requested_at) values ('default', 'vc_1', 'queued', 3, '+15550100', '+15550101', '{}', 'x', '2026-11-20T23:00:00Z')`.execute(db);
      await appendAll(db, 'vc_1', { names: ['Call started'] });
      expect((await asOwner(() => migrator.migrateToLatest())).error).toBeUndefined();
      const { rows: noted } = await sql`select kind, unit, dt::text as dt from warehouse_changes where kind <> 'tracking' order by kind`.execute(db);
      expect(noted).toEqual([{ kind: 'call', unit: 'a', dt: '2026-11-20' }, { kind: 'voice', unit: 'vc_1', dt: '2026-11-20' }]);
      const { rows: told } = await sql`select dt::text as dt from warehouse_changes join tracking_events on unit = tracking_events.id where kind = 'tracking'`.execute(db);
      expect(told).toEqual([{ dt: dayOf(1_800_000_005_000) }]);
    } finally {
      await db.destroy();
    }
  });
});
