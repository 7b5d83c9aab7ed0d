import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { DAY, details, openWarehouse, stage, type TestWarehouse } from '../support/warehouse.ts';

let postgres: TestPostgres;
let world: TestWarehouse;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());
beforeEach(async () => {
  world = await openWarehouse(await postgres.createDatabase());
});
afterEach(() => world?.close());

const project = 'default';
const NAMES = ['Voice call initiated', 'Call started'] as const;
const at = (minutes: number): Date => new Date(DAY + minutes * 60_000);
const told = () => world.query((table) => `select name, call_id, voice_call_id, agent, call_started_at, state from ${table('events')} e where kind = 'tracking' order by occurred_at`);

/** A voice call that was asked for, and what was told of that. */
const requested = async (): Promise<void> => {
  const { db } = world;
  const request = JSON.stringify({ from: '+15550100', to: '+15550101' });
  await db.insertInto('voice_calls').values({ project, id: 'vc_1', state: 'dialled', priority: 3, from_number: '+15550100', to_number: '+15550101', request, requested_by: 'test', requested_at: at(0) }).execute();
  await db.insertInto('tracking_events').values(NAMES.map((name, index) => ({ project, id: name, name, subject: 'vc_1', schema_version: 1, occurred_at: at(index + 1), properties: '{}' }))).execute();
};

describe('what was told of a voice call', () => {
  it('names the call that it became, and when that began, though this was known only later', async () => {
    const { db, load, compact } = world;
    await requested();
    await load();
    expect(await told()).toEqual(NAMES.map((name) => [name, null, 'vc_1', null, at(0).toISOString(), 'pending']));
    await stage(db, [details('call-1')]);
    await sql`update voice_calls set call_id = 'call-1', started_at = ${at(2)}, observed = ${JSON.stringify({ agentId: 'agent-1' })} where id = 'vc_1'`.execute(db);
    await load();
    const now = NAMES.map((name) => [name, 'call-1', 'vc_1', 'agent-1', at(2).toISOString(), 'pending']);
    expect(await told()).toEqual(now);
    await compact();
    expect(await told()).toEqual(now);
  });

  it('stays once when both have changed, and goes with its row', async () => {
    const { db, load } = world;
    await requested();
    await load();
    await sql`update voice_calls set call_id = 'call-1' where id = 'vc_1'`.execute(db);
    await db.updateTable('tracking_events').set({ state: 'delivered', delivered_at: at(3) }).where('id', '=', 'Voice call initiated').execute();
    await db.deleteFrom('tracking_events').where('id', '=', 'Call started').execute();
    await load();
    expect(await told()).toEqual([['Voice call initiated', 'call-1', 'vc_1', null, at(0).toISOString(), 'delivered']]);
  });
});
