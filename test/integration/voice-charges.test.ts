import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { Migrator } from 'kysely/migration';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createErasures } from '../../src/db/erasures.ts';
import { MIGRATIONS } from '../../src/db/migrations/index.ts';
import { asOwner } from '../../src/db/scope.ts';
import { append } from '../../src/db/tracking.ts';
import { voiceChargeKey } from '../../src/db/voice-charges.ts';
import { createVoiceCalls, voiceCallIdOf } from '../../src/db/voice-calls.ts';
import { applyObservations } from '../../src/db/voice-observations.ts';
import type { Observation, ProviderCall, VoiceCallKey } from '../../src/domain/voice.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

/** What the provider charged is in the ledger once it is seen, once, and under the call that the voice call has become. */

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const project = 'default';
const PRODUCTS = [{ product: 'voice', microUsd: 125_000 }];
const today = (): string => new Date().toISOString().slice(0, 10);

describe.each(['PGlite', 'PostgreSQL'])('what a call was charged for, on %s', (kind) => {
  let db: Database;
  let costs: ReturnType<typeof createCosts>;
  let voiceCalls: ReturnType<typeof createVoiceCalls>;
  let placed = 0;
  beforeEach(async () => {
    db = await openDatabase(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    costs = createCosts(db);
    voiceCalls = createVoiceCalls({ db, tracking: { append } });
  });
  afterEach(() => db.destroy());

  const place = async (): Promise<VoiceCallKey> => {
    const key = { project, voiceCallId: voiceCallIdOf(project, [String((placed += 1))]) };
    await voiceCalls.enqueue({ ...key, request: { from: '+15550100', to: '+15550110', variables: {}, metadata: {}, priority: 3 }, requestedBy: 'ann' });
    return key;
  };
  const atProvider = ({ voiceCallId }: VoiceCallKey): string => `call_${voiceCallId}`;
  const sight = (key: VoiceCallKey, call: Partial<ProviderCall>, by: Observation['by'] = 'call_ended'): Observation => ({ by, atMs: Date.now(), call: { providerCallId: atProvider(key), status: 'ended', direction: 'outbound', startedAtMs: 1_000_000, endedAtMs: 1_060_000, durationMs: 60_000, disconnectionReason: 'user_hangup', ...call } });
  const see = (key: VoiceCallKey, call: Partial<ProviderCall>, by?: Observation['by']) => voiceCalls.applyObservation(key, sight(key, call, by));
  const stage = (callId: string) => createCalls(db).stage(project, [{ source: 'retell', callId, status: 'completed', direction: 'outbound', startedAtMs: 1_000_000 }], 'staged');
  const byCall = async () => (await costs.totals(project, { by: 'call', from: today(), to: today(), limit: 10 })).map(({ of, requests, microUsd }) => [of, requests, microUsd]);
  /** By every way of adding up. */
  const sums = async () => ({
    spent: await costs.spentOn(project),
    day: (await costs.totals(project, { by: 'day', from: today(), to: today(), limit: 10 })).map(({ requests, microUsd }) => [requests, microUsd]),
    step: (await costs.totals(project, { by: 'step', from: today(), to: today(), limit: 10 })).map(({ of, requests, microUsd }) => [of, requests, microUsd]),
  });
  const summing = (requests: number, microUsd: number) => ({ spent: microUsd, day: [[requests, microUsd]], step: [['voice', requests, microUsd]] });

  it('counts for one that reached nobody, under its own ID', async () => {
    const key = await place();
    await see(key, { status: 'not_connected', disconnectionReason: 'dial_busy', durationMs: 0, costCents: 1.5 });
    expect(await byCall()).toEqual([[key.voiceCallId, 1, 15_000]]);
    expect(await sums()).toEqual(summing(1, 15_000));
  });

  it('grows with what is seen, in whatever order, and never counts twice', async () => {
    const key = await place();
    await see(key, { status: 'registered', startedAtMs: 0 }, 'dial');
    expect(await sums()).toEqual({ spent: 0, day: [], step: [] });
    await see(key, { costCents: 12.5, analysis: {} }, 'call_analyzed');
    await see(key, { costCents: 10 });
    await see(key, { costCents: 12.5 }, 'lookup');
    expect(await sums()).toEqual(summing(1, 125_000));
    await see(key, { costCents: 14 }, 'lookup');
    expect(await sums()).toEqual(summing(1, 140_000));
  });

  it('goes over to the call that it is handed over as, and what comes later is added there', async () => {
    const key = await place();
    await see(key, { costCents: 12.5 });
    await stage(atProvider(key));
    // What the processing of the call reads may come before the hand-over is noted, or after.
    const call = { project, callId: atProvider(key), version: 1 };
    await voiceCalls.handOver(key, call.callId);
    expect(await byCall()).toEqual([[call.callId, 1, 125_000]]);
    await costs.charge(call, { provider: 'retell', microUsd: 125_000, seconds: 60, products: PRODUCTS });
    await voiceCalls.handOver(key, call.callId);
    expect(await costs.list(project, call.callId)).toMatchObject([{ step: 'voice', microUsd: 125_000, usage: { kind: 'voice', seconds: 60, products: PRODUCTS } }]);
    await see(key, { costCents: 15, analysis: {} }, 'call_analyzed');
    expect(await costs.list(project, call.callId)).toMatchObject([{ microUsd: 150_000, usage: { products: PRODUCTS } }]);
    expect(await sums()).toEqual(summing(1, 150_000));
    // A bill that the provider has corrected.
    await costs.charge({ ...call, version: 2 }, { provider: 'retell', microUsd: 140_000, seconds: 60, products: PRODUCTS });
    expect(await sums()).toEqual(summing(1, 140_000));
  });

  it('is the one that the processing of the call has written down before', async () => {
    const key = await place();
    await see(key, {}, 'dial');
    await stage(atProvider(key));
    await costs.charge({ project, callId: atProvider(key), version: 1 }, { provider: 'retell', microUsd: 125_000, seconds: 60, products: PRODUCTS });
    await see(key, { costCents: 11, analysis: {} }, 'call_analyzed');
    expect(await byCall()).toEqual([[atProvider(key), 1, 125_000]]);
    await see(key, { costCents: 13 }, 'lookup');
    await voiceCalls.handOver(key, atProvider(key));
    expect(await byCall()).toEqual([[atProvider(key), 1, 130_000]]);
    expect(await sums()).toEqual(summing(1, 130_000));
  });

  it('is written once by many at once: events together and one by one, and the processing of the calls', async () => {
    const keys = await Promise.all([place(), place(), place()]);
    for (const key of keys) await stage(atProvider(key));
    const batch = (cents: number) => applyObservations(db, project, keys.map((key) => ({ voiceCallId: key.voiceCallId, observation: sight(key, { costCents: cents }) })));
    await Promise.all([
      batch(10),
      batch(12.5),
      ...keys.map((key) => see(key, { costCents: 12.5, analysis: {} }, 'call_analyzed')),
      ...keys.map((key) => costs.charge({ project, callId: atProvider(key), version: 1 }, { provider: 'retell', microUsd: 125_000, seconds: 60, products: PRODUCTS })),
      ...keys.map((key) => voiceCalls.handOver(key, atProvider(key))),
    ]);
    expect((await byCall()).toSorted()).toEqual(keys.map((key) => [atProvider(key), 1, 125_000]).toSorted());
    expect(await sums()).toEqual(summing(3, 375_000));
  });

  it('counts for both where the provider has called twice', async () => {
    const key = await place();
    await see(key, { costCents: 10 });
    const second = { providerCallId: 'call_again', costCents: 8 };
    expect((await see(key, second)).kind).toBe('another_call');
    await see(key, second);
    expect(await byCall()).toEqual([[key.voiceCallId, 2, 180_000]]);
    await stage(atProvider(key));
    await voiceCalls.handOver(key, atProvider(key));
    expect(await byCall()).toEqual([[atProvider(key), 2, 180_000]]);
    expect(await sums()).toEqual(summing(2, 180_000));
  });

  it.each(['that was handed over', 'that was not'])('goes with a call %s when that is erased, and stays spent', async (which) => {
    const key = await place();
    const callId = which === 'that was not' ? key.voiceCallId : atProvider(key);
    await see(key, { costCents: 12.5 });
    if (callId !== key.voiceCallId) {
      await stage(callId);
      await voiceCalls.handOver(key, callId);
    }
    const erasures = createErasures(db);
    await erasures.open({ project, id: 'e', kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'ann', callIds: [callId] });
    expect(await erasures.count(project, [callId])).toMatchObject({ costs: 1, voice_calls: 1 });
    await erasures.eraseRows({ project, callId }, 'e', { erased: {}, left: {}, removedKeys: [] });
    expect(await erasures.get(project, 'e')).toMatchObject({ erased: { costs: 1, voice_calls: 1 } });
    expect(await db.selectFrom('costs').select('key').execute()).toEqual([]);
    expect(await sums()).toEqual(summing(1, 125_000));
    // What the provider still tells of it is no one's.
    expect(await see(key, { costCents: 20 })).toEqual({ kind: 'no_such_voice_call' });
    expect(await sums()).toEqual(summing(1, 125_000));
  });
});

it('was left out before, and is made up for on the days on which the calls were', async () => {
  const db = await openDatabase(await postgres.createDatabase());
  try {
    const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
    expect((await asOwner(() => migrator.migrateTo('0024-inbox'))).error).toBeUndefined();
    const add = (id: string, observed: object, callId: string | null) =>
      sql`insert into voice_calls (project, id, state, priority, from_number, to_number, request, requested_by, requested_at, ended_at, provider_call_id, observed, call_id)
        values (${project}, ${id}, 'completed', 3, '+15550100', '+15550101', '{}', 'x', '2025-11-20T23:59:00Z', '2025-11-21T00:01:00Z', ${`call_${id}`}, ${JSON.stringify(observed)}::jsonb, ${callId})`.execute(db);
    await add('vc_1', { costCents: 12.5, durationMs: 60_250 }, null);
    await add('vc_2', { costCents: 3 }, 'call_vc_2');
    await add('vc_3', { costCents: 0 }, null);
    await add('vc_4', { costCents: 9 }, 'call_vc_4');
    for (const callId of ['call_vc_2', 'call_vc_4']) await createCalls(db).stage(project, [{ source: 'retell', callId, status: 'completed', direction: 'outbound', startedAtMs: 1 }], 'staged');
    // Charged before, by its processing.
    await db.insertInto('costs').values({ key: voiceChargeKey({ project, callId: 'call_vc_4', provider: 'retell' }), project, call_id: 'call_vc_4', version: 1, step: 'voice', kind: 'voice', provider: 'retell', model: 'call', state: 'settled', micro_usd: 80_000 }).execute();
    expect((await asOwner(() => migrator.migrateToLatest())).error).toBeUndefined();
    const costs = createCosts(db);
    const day = '2025-11-21';
    expect(await costs.totals(project, { by: 'day', from: day, to: day, limit: 5 })).toMatchObject([{ of: day, requests: 2, microUsd: 155_000 }]);
    expect(await costs.spentOn(project, day)).toBe(155_000);
    expect((await costs.totals(project, { by: 'call', from: day, to: day, limit: 5 })).map(({ of }) => of)).toEqual(['vc_1', 'call_vc_2']);
    await costs.charge({ project, callId: 'call_vc_2', version: 1 }, { provider: 'retell', microUsd: 30_000, seconds: 5, products: PRODUCTS });
    expect(await costs.list(project, 'call_vc_2')).toMatchObject([{ microUsd: 30_000, usage: { products: PRODUCTS } }]);
  } finally {
    await db.destroy();
  }
});
