import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { ABT_SECRETS, startAbt } from '../../sandbox/abt/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { createHttpSink } from '../../src/adapters/tracking/http.ts';
import { guardOf } from '../../src/adapters/http/guard.ts';
import type { TrackingSink } from '../../src/adapters/tracking/sink.ts';
import { startTrackingRelay } from '../../src/api/tracking-relay.ts';
import { loadConfig } from '../../src/config.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { append, createTracking, eraseTracking, type Tracking, trackingKey, type TrackingRow } from '../../src/db/tracking.ts';
import { createTrackingQueue, type QueueOptions, type TrackingQueue } from '../../src/db/tracking-queue.ts';
import { TRACKING_EVENTS, trackingEvent, type TrackingEventName } from '../../src/domain/tracking.ts';
import type { Observation } from '../../src/domain/voice.ts';
import { createVoiceCalls } from '../../src/db/voice-calls.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { complete } from '../support/config.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { appendAll, aTrackedCall } from '../support/tracking.ts';
import { until } from '../support/until.ts';

const config = loadConfig(complete);
const log = createLog({ LOG_LEVEL: 'error' }, 'test', 2);
const FAST: QueueOptions = { patienceMs: 3_600_000, firstRetryMs: 10, maxRetryMs: 40 };
const PATH = 'POST /events';
const [INITIATED, STARTED, COMPLETED] = TRACKING_EVENTS;

let postgres: TestPostgres;
let db: Database;
let abt: SandboxServer;
let tracking: Tracking;
let stops: (() => Promise<void>)[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());
beforeEach(async () => {
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
  await db.insertInto('projects').values(['default', 'other', 'third'].map((id) => ({ id, name: id, settings: '{}' }))).onConflict((conflict) => conflict.doNothing()).execute();
  tracking = createTracking(db);
  abt = await startAbt();
});
afterEach(async () => {
  await Promise.all(stops.map((stop) => stop()));
  stops = [];
  await db.destroy();
  await abt.close();
});

const httpSink = (url = `${abt.url}/events`): TrackingSink => createHttpSink({ url, secrets: [ABT_SECRETS[0]], guard: guardOf(config) });
/** A relay as another process would run it. It is kicked so that nobody waits for its clock. */
const relay = (options: QueueOptions = FAST, sinkOf: (project: string) => TrackingSink | undefined = () => httpSink(), on: Database = db): TrackingQueue => {
  const queue = createTrackingQueue(on, options);
  const running = startTrackingRelay({ queue, sinkOf: (project) => Promise.resolve(sinkOf(project)), log });
  const kicks = setInterval(running.kick, 10);
  stops.push(async () => {
    clearInterval(kicks);
    await running.stop();
  });
  return queue;
};
const fault = (effect: Fault['effect'], more: Partial<Fault> = {}): Promise<void> => addFaults(abt, { route: PATH, effect, ...more });
const key = (subject: string, name: TrackingEventName, project = 'default') => trackingKey({ project, subject, name });
const eventOf = (subject: string, name: TrackingEventName): Promise<TrackingRow> => tracking.get('default', key(subject, name));
const statesOf = async (subject: string): Promise<string[]> => (await tracking.list('default', { subject }, { limit: 10 })).toReversed().toSorted((a, b) => TRACKING_EVENTS.indexOf(a.name) - TRACKING_EVENTS.indexOf(b.name)).map(({ state }) => state);
const received = async (subject?: string): Promise<string[]> =>
  (await ledgerOf(abt, 'event_received')).map((entry) => entry['event'] as { subject: string; event: string }).filter((event) => subject === undefined || event.subject === subject).map(({ event }) => event);
const allDelivered = (project = 'default') => async (): Promise<boolean> => {
  const { counts } = await tracking.summary(project);
  return counts.pending + counts.failed === 0 && counts.delivered > 0;
};

describe('an event', () => {
  it('is there with the state that it reports, or neither is', async () => {
    await expect(
      db.transaction().execute(async (tx) => {
        await append(tx, trackingEvent(INITIATED, aTrackedCall('vc_gone'), 1));
        throw new Error('the state could not be written');
      }),
    ).rejects.toThrow('the state');
    expect(await tracking.list('default', {}, { limit: 10 })).toEqual([]);
  });

  it('that is told again stays as it was told first', async () => {
    await appendAll(db, 'vc_1', { names: [INITIATED] });
    await db.transaction().execute((tx) => append(tx, trackingEvent(INITIATED, aTrackedCall('vc_1', { batchId: 'later' }), 99)));
    const [event, ...more] = await tracking.list('default', {}, { limit: 10 });
    expect(more).toEqual([]);
    expect([event!.occurredAt.getTime(), event!.properties]).toEqual([1_800_000_000_000, expect.objectContaining({ batchId: null })]);
  });

  it('goes out once, signed and of the published form, and the view says so', async () => {
    await appendAll(db, 'vc_1');
    relay();
    await until('all are delivered', allDelivered());
    const entries = await ledgerOf(abt);
    expect(entries.map((entry) => [entry.kind, (entry['event'] as { event: string }).event, entry['inOrder']])).toEqual(TRACKING_EVENTS.map((name) => ['event_received', name, true]));
    expect(await eventOf('vc_1', COMPLETED)).toMatchObject({ state: 'delivered', attempts: 1, sink: 'http', receipt: { status: 204 }, failingSince: null, nextTryAt: null, keptBackBy: null, isBeingSent: false, tries: [{ outcome: 'delivered', sink: 'http' }] });
  });
});

describe('what voice calls tell', () => {
  const seen = { providerCallId: 'call_1', direction: 'outbound', agentId: 'agent_1' } as const;
  const observed = async (voiceCallId: string, ...observations: Observation[]): Promise<void> => {
    const voiceCalls = createVoiceCalls({ db, tracking: { append } });
    const key = { project: 'default', voiceCallId };
    await voiceCalls.enqueue({ ...key, requestedBy: 'test', request: { from: '+15550100100', to: '+6560000123', variables: { name: 'canary' }, metadata: { customer: 'c-17' }, priority: 3 } });
    await db.updateTable('voice_calls').set({ lined_up_at: new Date(), line_account: 'account' }).where('id', '=', voiceCallId).execute();
    expect((await voiceCalls.beginDial(key)).verdict).toBe('dial');
    for (const observation of observations) await voiceCalls.applyObservation(key, { ...observation, call: { ...observation.call, providerCallId: `call_of_${voiceCallId}` } });
  };

  it('is taken by a strict receiver, in whatever order it was learned', async () => {
    const at = Date.now();
    const dial: Observation = { by: 'dial', atMs: at, call: { ...seen, status: 'registered' } };
    const started: Observation = { by: 'call_started', atMs: at + 10, call: { ...seen, status: 'ongoing', startedAtMs: at + 5 } };
    const ended: Observation = { by: 'call_ended', atMs: at + 900, call: { ...seen, status: 'ended', startedAtMs: at + 5, endedAtMs: at + 805, durationMs: 800, disconnectionReason: 'agent_hangup' } };
    const analysed: Observation = { by: 'call_analyzed', atMs: at + 950, call: { ...ended.call, analysis: { successful: false, sentiment: 'Neutral' }, costCents: 3.25 } };
    const busy: Observation = { by: 'call_analyzed', atMs: at + 950, call: { ...seen, status: 'not_connected', endedAtMs: at + 500, disconnectionReason: 'dial_busy', analysis: {} } };
    await observed('vc_straight', dial, started, ended, analysed);
    await observed('vc_backwards', analysed, ended, started, dial);
    await observed('vc_busy', dial, busy);
    relay();
    await until('all are delivered', allDelivered());
    expect(await ledgerOf(abt, 'event_refused')).toEqual([]);
    expect([await received('vc_straight'), await received('vc_backwards'), await received('vc_busy')]).toEqual([[...TRACKING_EVENTS], [...TRACKING_EVENTS], [INITIATED, COMPLETED]]);
    const { properties: straight } = await eventOf('vc_straight', COMPLETED);
    const { properties: backwards } = await eventOf('vc_backwards', COMPLETED);
    expect(straight).toMatchObject({ to: '+6560000123', metadata: { customer: 'c-17' }, connected: true, outcome: 'connected', durationMs: 800, successful: false, costCents: 3.25 });
    expect({ ...backwards, voiceCallId: '', providerCallId: '' }).toEqual({ ...straight, voiceCallId: '', providerCallId: '' });
    expect((await eventOf('vc_busy', COMPLETED)).properties).toMatchObject({ connected: false, outcome: 'busy', startedAt: null, durationMs: null });
    // What was filled into the prompt is nobody else's.
    expect(JSON.stringify(await ledgerOf(abt))).not.toContain('canary');
  });
});

describe('the order of a call’s events', () => {
  it('holds while one fails again and again, and other calls go on', async () => {
    await appendAll(db, 'vc_bad');
    // Three times in vain: whoever looks sees why, and what waits behind it.
    await fault({ kind: 'respond', status: 503, body: { error: 'not now' } }, { times: 3 });
    const queue = createTrackingQueue(db, { ...FAST, firstRetryMs: 400, maxRetryMs: 400 });
    const [first] = await queue.claim('default', { claim: 'by-hand', limit: 10 });
    expect([first!.envelope.event, await queue.claim('default', { claim: 'another', limit: 10 })]).toEqual([INITIATED, []]);
    expect(await queue.missed(first!, { sink: 'http', outcome: 'refused', code: 'UPSTREAM_UNAVAILABLE', reason: 'down' })).toBe('pending');
    const head = await eventOf('vc_bad', INITIATED);
    expect(head).toMatchObject({ attempts: 1, failingSince: expect.any(Date), nextTryAt: expect.any(Date), keptBackBy: null });
    expect(await eventOf('vc_bad', COMPLETED)).toMatchObject({ attempts: 0, keptBackBy: head.id });
    expect((await tracking.list('default', { failing: true }, { limit: 10 })).map(({ name }) => name)).toEqual([INITIATED]);
    await appendAll(db, 'vc_good');
    expect((await queue.claim('default', { claim: 'a-third', limit: 10 })).map(({ envelope }) => envelope.subject)).toEqual(['vc_good']);
    await sql`update tracking_events set claimed_by = null, claimed_until = null, attempts = 0 where subject = 'vc_good'`.execute(db);

    relay();
    await until('all are delivered', allDelivered());
    const entries = (await ledgerOf(abt, 'event_received')).map((entry) => [entry['inOrder'], (entry['event'] as { subject: string }).subject]);
    expect(entries.filter(([inOrder]) => inOrder !== true)).toEqual([]);
    expect([await received('vc_bad'), await received('vc_good')]).toEqual([[...TRACKING_EVENTS], [...TRACKING_EVENTS]]);
  });

  it('holds for many calls with two relays, a third of all tries failing, and each event is counted once', async () => {
    const calls = Array.from({ length: 40 }, (_, index) => `vc_${index}`);
    for (const call of calls) await appendAll(db, call);
    // Refused, lost on the way there, lost on the way back.
    for (let skip = 2; skip < 60; skip += 3) {
      await fault({ kind: 'respond', status: 500 }, { skip });
      await fault({ kind: 'drop_before' }, { skip });
      await fault({ kind: 'drop_after' }, { skip });
    }
    const other = await openDatabase((await sql<{ url: string }>`select current_database() as url`.execute(db).then(({ rows }) => postgres.url.replace(/\/[^/]*$/, `/${rows[0]!.url}`))), { poolSize: 4 });
    stops.push(() => other.destroy());
    relay();
    relay(FAST, () => httpSink(), other);
    await until('all are delivered', allDelivered());
    const entries = await ledgerOf(abt);
    expect(entries.filter(({ kind, inOrder }) => kind === 'event_received' && inOrder !== true)).toEqual([]);
    expect(entries.filter(({ kind }) => kind === 'event_received')).toHaveLength(120);
    for (const call of calls) expect(await received(call)).toEqual([...TRACKING_EVENTS]);
    // Repeats are only those whose first answer was lost.
    const repeated = entries.filter(({ kind }) => kind === 'event_repeated').length;
    const { rows } = await sql<{ unknown: number }>`select count(*)::int as unknown from tracking_events, jsonb_array_elements(tries) t where t ->> 'outcome' = 'unknown'`.execute(db);
    expect(repeated).toBeGreaterThan(0);
    expect(repeated).toBeLessThanOrEqual(rows[0]!.unknown);
  });

  it('lets no two relays have one event, or two of one call', async () => {
    for (let call = 0; call < 30; call += 1) await appendAll(db, `vc_${call}`);
    const queues = [createTrackingQueue(db, FAST), createTrackingQueue(db, FAST)];
    const claimed = (await Promise.all(Array.from({ length: 12 }, (_, index) => queues[index % 2]!.claim('default', { claim: `relay-${index}`, limit: 7 })))).flat();
    expect(claimed.map(({ envelope }) => envelope.event)).toEqual(claimed.map(() => INITIATED));
    expect(new Set(claimed.map(({ envelope }) => envelope.subject)).size).toBe(claimed.length);
    expect(claimed).toHaveLength(30);
  });
});

describe('a relay that dies', () => {
  it('between sending and noting has its event sent again under the same key: counted once, and seen in the tries', async () => {
    await appendAll(db, 'vc_1', { names: [INITIATED, STARTED] });
    const short = createTrackingQueue(db, { ...FAST, leaseMs: 150 });
    const [event] = await short.claim('default', { claim: 'the-dead', limit: 1 });
    await httpSink().send(event!.envelope, AbortSignal.timeout(5_000));
    // Nobody noted it: as long as the lease holds, nobody else gets it.
    expect(await short.claim('default', { claim: 'too-soon', limit: 10 })).toEqual([]);
    expect(await eventOf('vc_1', INITIATED)).toMatchObject({ state: 'pending', isBeingSent: true });
    relay();
    await until('all are delivered', allDelivered());
    expect((await ledgerOf(abt)).map((entry) => [entry.kind, entry['id']])).toEqual([['event_received', key('vc_1', INITIATED)], ['event_repeated', key('vc_1', INITIATED)], ['event_received', key('vc_1', STARTED)]]);
    expect((await eventOf('vc_1', INITIATED)).tries.map(({ outcome }) => outcome)).toEqual(['unknown', 'delivered']);
  });

  it('and comes back late has no say in what another has taken over', async () => {
    await appendAll(db, 'vc_1');
    const short = createTrackingQueue(db, { ...FAST, leaseMs: 50 });
    const [slow] = await short.claim('default', { claim: 'slow', limit: 1 });
    let [taken] = [slow];
    await until('another has it', async () => ([taken] = await short.claim('default', { claim: 'quick', limit: 1 })).length > 0);
    expect([await short.delivered(slow!, { sink: 'http', receipt: {} }), await short.missed(slow!, { sink: 'http', outcome: 'refused' })]).toEqual([false, undefined]);
    expect(await short.delivered(taken!, { sink: 'http', receipt: {} })).toBe(true);
    expect(await statesOf('vc_1')).toEqual(['delivered', 'pending', 'pending']);
  });
});

describe('an event that cannot be delivered', () => {
  const impatient: QueueOptions = { ...FAST, patienceMs: 0, leastAttempts: 3 };

  it('waits for somebody after a while, keeps back its call alone, and goes out by a replay, in order', async () => {
    await appendAll(db, 'vc_bad', { names: [INITIATED, STARTED] });
    await fault({ kind: 'respond', status: 422, body: { error: 'no such customer' } }, { times: 3 });
    relay(impatient);
    await until('it has failed', async () => (await eventOf('vc_bad', INITIATED)).state === 'failed');
    await appendAll(db, 'vc_good');
    await until('the others go on', async () => (await received('vc_good')).length === 3);
    // One more comes meanwhile: it waits, too.
    await appendAll(db, 'vc_bad', { names: [COMPLETED] });
    const failed = await eventOf('vc_bad', INITIATED);
    expect(failed).toMatchObject({ attempts: 3, nextTryAt: null, tries: [{ code: 'UPSTREAM_REJECTED' }, {}, { outcome: 'refused', reason: expect.stringContaining('no such customer') }] });
    expect([await received('vc_bad'), await statesOf('vc_bad'), (await eventOf('vc_bad', STARTED)).keptBackBy]).toEqual([[], ['failed', 'pending', 'pending'], failed.id]);
    expect(await createTrackingQueue(db, FAST).dueProjects()).toEqual([]);
    expect(await tracking.backlog()).toEqual(expect.arrayContaining([expect.objectContaining({ project: 'default', state: 'failed', events: 1 }), expect.objectContaining({ state: 'pending', events: 2 })]));

    expect(await tracking.replay('default', failed.id)).toMatchObject({ state: 'pending', round: 2, attempts: 0, failingSince: null });
    await until('all are delivered', allDelivered());
    expect(await received('vc_bad')).toEqual([...TRACKING_EVENTS]);
  });

  it('lets the later ones go when it is skipped', async () => {
    await appendAll(db, 'vc_bad');
    await fault({ kind: 'respond', status: 500 }, { times: 3 });
    relay(impatient);
    await until('it has failed', async () => (await eventOf('vc_bad', INITIATED)).state === 'failed');
    expect(await tracking.skip('default', key('vc_bad', INITIATED), 'Ada')).toMatchObject({ state: 'skipped', settledBy: 'Ada' });
    await until('all are delivered', allDelivered());
    expect([await received('vc_bad'), await statesOf('vc_bad')]).toEqual([[STARTED, COMPLETED], ['skipped', 'delivered', 'delivered']]);
    // Twice is once.
    expect(await tracking.skip('default', key('vc_bad', INITIATED), 'Grace')).toMatchObject({ settledBy: 'Ada' });
    await expect(tracking.skip('default', key('vc_bad', STARTED), 'Ada')).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('waits at once when the endpoint says that it wants no more', async () => {
    await appendAll(db, 'vc_1');
    await fault({ kind: 'respond', status: 410 });
    relay();
    await until('it has failed', async () => (await eventOf('vc_1', INITIATED)).state === 'failed');
    expect(await eventOf('vc_1', INITIATED)).toMatchObject({ attempts: 1, tries: [{ advice: expect.stringContaining('new address') }] });
  });

  it('is not given up for time in which nobody tried', async () => {
    await appendAll(db, 'vc_1');
    const queue = createTrackingQueue(db, { ...FAST, patienceMs: 3_600_000, leastAttempts: 3 });
    const [first] = await queue.claim('default', { claim: 'a', limit: 1 });
    await queue.missed(first!, { sink: 'http', outcome: 'refused' });
    await sql`update tracking_events set failing_since = now() - interval '10 days', next_attempt_at = now() where id = ${first!.envelope.id}`.execute(db);
    const [second] = await queue.claim('default', { claim: 'b', limit: 1 });
    expect(await queue.missed(second!, { sink: 'http', outcome: 'refused' })).toBe('pending');
    await sql`update tracking_events set next_attempt_at = now() where id = ${first!.envelope.id}`.execute(db);
    const [third] = await queue.claim('default', { claim: 'c', limit: 1 });
    expect(await queue.missed(third!, { sink: 'http', outcome: 'refused' })).toBe('failed');
  });

  it('waits as long as the endpoint asks for, and no longer than an hour', async () => {
    await appendAll(db, 'vc_1', { names: [INITIATED] });
    await appendAll(db, 'vc_2', { names: [INITIATED] });
    const queue = createTrackingQueue(db, FAST);
    const claimed = await queue.claim('default', { claim: 'a', limit: 2 });
    await queue.missed(claimed[0]!, { sink: 'http', outcome: 'refused', retryAfterMs: 120_000 });
    await queue.missed(claimed[1]!, { sink: 'http', outcome: 'refused', retryAfterMs: 86_400_000 });
    const waits = await sql<{ seconds: number }>`select extract(epoch from next_attempt_at - updated_at)::float8 as seconds from tracking_events order by seq`.execute(db);
    expect(waits.rows.map(({ seconds }) => Math.round(seconds))).toEqual([120, 3_600]);
  });
});

describe('a project', () => {
  it('whose sink is down keeps nobody else waiting, and is not tried with all it has', async () => {
    for (let call = 0; call < 60; call += 1) await appendAll(db, `vc_${call}`, { project: 'other', names: [INITIATED] });
    await appendAll(db, 'vc_1');
    const down = await startAbt();
    await addFaults(down, { route: PATH, times: 1_000, effect: { kind: 'respond', status: 503 } });
    relay(FAST, (project) => httpSink(project === 'other' ? `${down.url}/events` : undefined));
    await until('ours are delivered', allDelivered());
    await until('theirs were tried', async () => (await (await fetch(`${down.url}/_sandbox/requests`)).json() as unknown[]).length >= 3);
    const tried = await sql<{ events: number }>`select count(*)::int as events from tracking_events where project = 'other' and attempts > 0`.execute(db);
    // One batch, and then one now and then.
    expect(tried.rows[0]!.events).toBeLessThan(20);
    expect((await tracking.summary('other')).counts).toEqual({ pending: 60, delivered: 0, failed: 0, skipped: 0 });
    await down.close();
  });

  it('without a sink has its events kept, and sent by a replay once there is one', async () => {
    for (const call of ['vc_1', 'vc_2', 'vc_3']) await appendAll(db, call);
    const connected: { sink?: TrackingSink } = {};
    relay(FAST, () => connected.sink);
    await until('all are settled', async () => (await tracking.summary('default')).counts.skipped === 9);
    expect(await eventOf('vc_1', COMPLETED)).toMatchObject({ settledBy: null, attempts: 0, tries: [{ reason: 'The project has no sink for tracking events.' }] });
    connected.sink = httpSink();
    const first = await tracking.replayMany('default', { state: 'skipped' }, { limit: 4 });
    expect(first).toEqual({ replayed: 4, last: expect.any(Number) });
    const second = await tracking.replayMany('default', { state: 'skipped' }, { limit: 100, after: first.last! });
    expect(second).toEqual({ replayed: 5, last: null });
    await until('all are delivered', allDelivered());
    for (const call of ['vc_1', 'vc_2', 'vc_3']) expect(await received(call)).toEqual([...TRACKING_EVENTS]);
  });

  it('sees its own events only, also in replays and counts', async () => {
    await appendAll(db, 'vc_1');
    await appendAll(db, 'vc_1', { project: 'other' });
    await expect(tracking.get('other', key('vc_1', STARTED))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(tracking.replay('other', key('vc_1', STARTED))).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await sql`update tracking_events set state = 'delivered'`.execute(db);
    expect(await tracking.replayMany('other', { from: new Date(0) }, { limit: 100 })).toEqual({ replayed: 3, last: null });
    expect([(await tracking.summary('default')).counts.delivered, (await tracking.summary('other')).counts.pending]).toEqual([3, 3]);
  });
});

describe('a replay', () => {
  it('of what was delivered goes under the same key, in order, and the receiver counts it once', async () => {
    await appendAll(db, 'vc_1');
    relay();
    await until('all are delivered', allDelivered());
    expect(await tracking.replayMany('default', { from: new Date(Date.now() - 3_600_000) }, { limit: 100 })).toEqual({ replayed: 3, last: null });
    await until('all are repeated', async () => (await ledgerOf(abt, 'event_repeated')).length === 3);
    expect((await ledgerOf(abt, 'event_repeated')).map(({ id }) => id)).toEqual(TRACKING_EVENTS.map((name) => key('vc_1', name)));
    expect(await received()).toEqual([...TRACKING_EVENTS]);
  });

  it('of one that is being sent is refused', async () => {
    await appendAll(db, 'vc_1');
    await createTrackingQueue(db, FAST).claim('default', { claim: 'busy', limit: 1 });
    await expect(tracking.replay('default', key('vc_1', INITIATED))).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(tracking.skip('default', key('vc_1', INITIATED), 'Ada')).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('of one that waits brings its next try forward, and counts as no new round', async () => {
    await appendAll(db, 'vc_1');
    const queue = createTrackingQueue(db, { ...FAST, firstRetryMs: 600_000, maxRetryMs: 600_000 });
    const [event] = await queue.claim('default', { claim: 'a', limit: 1 });
    await queue.missed(event!, { sink: 'http', outcome: 'refused' });
    expect(await queue.claim('default', { claim: 'b', limit: 1 })).toEqual([]);
    expect(await tracking.replay('default', event!.envelope.id)).toMatchObject({ round: 1 });
    expect(await queue.claim('default', { claim: 'c', limit: 5 })).toHaveLength(1);
  });
});

describe('events that are over', () => {
  it('are dropped after their time; what waits or is stuck stays', async () => {
    for (const call of ['vc_old', 'vc_new', 'vc_stuck']) await appendAll(db, call, { names: [INITIATED] });
    await sql`update tracking_events set state = 'delivered' where subject <> 'vc_stuck'`.execute(db);
    await sql`update tracking_events set updated_at = now() - interval '31 days' where subject <> 'vc_new'`.execute(db);
    expect(await tracking.sweep(30 * 86_400_000)).toBe(1);
    expect((await tracking.list('default', {}, { limit: 10 })).map(({ subject }) => subject).toSorted()).toEqual(['vc_new', 'vc_stuck']);
    expect((await tracking.summary('default')).counts).toEqual({ pending: 1, delivered: 1, failed: 0, skipped: 0 });
    expect(await tracking.sweep(30 * 86_400_000)).toBe(0);
  });

  it('leave nothing behind that tells of a person, are not sent again and not told anew', async () => {
    await appendAll(db, 'vc_1', { names: [INITIATED, STARTED] });
    const queue = createTrackingQueue(db, FAST);
    const [event] = await queue.claim('default', { claim: 'a', limit: 1 });
    await queue.delivered(event!, { sink: 'http', receipt: { status: 200 } });
    await tracking.skip('default', key('vc_1', STARTED), 'Ada');
    await tracking.sweep(-1_000);

    const held = await db.selectFrom('tracking_events').selectAll().orderBy('seq').execute();
    expect(held).toMatchObject([{ name: INITIATED, state: 'delivered', delivered_at: expect.any(Date) }, { name: STARTED, state: 'skipped' }]);
    for (const row of held) expect(row).toMatchObject({ subject: 'vc_1', properties: {}, tries: [], receipt: null, settled_by: null });
    for (const name of [INITIATED, STARTED]) {
      await expect(tracking.get('default', key('vc_1', name))).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(tracking.replay('default', key('vc_1', name))).rejects.toMatchObject({ code: 'NOT_FOUND' });
      await expect(tracking.skip('default', key('vc_1', name), 'Ada')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    }
    for (const state of ['delivered', 'skipped'] as const) expect(await tracking.replayMany('default', { state }, { limit: 10 })).toEqual({ replayed: 0, last: null });
    await appendAll(db, 'vc_1', { names: [INITIATED] });
    expect(await queue.claim('default', { claim: 'b', limit: 5 })).toEqual([]);
  });

  it('go with their call after they were dropped, too, and it is still known which may have gone out', async () => {
    await appendAll(db, 'vc_1', { names: [INITIATED, STARTED] });
    await appendAll(db, 'vc_2', { names: [INITIATED] });
    const queue = createTrackingQueue(db, FAST);
    for (const event of await queue.claim('default', { claim: 'a', limit: 5 })) {
      if (event.envelope.subject === 'vc_2') await queue.delivered(event, { sink: 'http', receipt: {} });
      else await queue.missed(event, { sink: 'http', outcome: 'unknown' });
    }
    for (const name of [INITIATED, STARTED]) await tracking.skip('default', key('vc_1', name), 'Ada');
    expect(await tracking.sweep(-1_000)).toBe(3);
    expect(await db.transaction().execute((tx) => eraseTracking(tx, 'default', ['vc_1', 'vc_2']))).toEqual({ removed: 3, sent: 2 });
    expect(await db.selectFrom('tracking_events').select('id').execute()).toEqual([]);
  });

  it('go with their call when it is erased, and it is known what had gone out', async () => {
    await appendAll(db, 'vc_1');
    await appendAll(db, 'vc_2');
    relay();
    await until('all are delivered', allDelivered());
    await Promise.all(stops.map((stop) => stop()));
    stops = [];
    await appendAll(db, 'vc_3');
    await clearFaults(abt);
    expect(await db.transaction().execute((tx) => eraseTracking(tx, 'default', ['vc_1', 'vc_3']))).toEqual({ removed: 6, sent: 3 });
    expect(new Set((await tracking.list('default', {}, { limit: 10 })).map(({ subject }) => subject))).toEqual(new Set(['vc_2']));
  });
});
