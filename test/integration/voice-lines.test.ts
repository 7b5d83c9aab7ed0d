import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { asOwner } from '../../src/db/scope.ts';
import { append } from '../../src/db/tracking.ts';
import { createVoiceBatches } from '../../src/db/voice-batches.ts';
import { createVoiceCalls } from '../../src/db/voice-calls.ts';
import { createVoiceLines, type TakeLines } from '../../src/db/voice-lines.ts';
import type { CallingRules } from '../../src/domain/daily-limit.ts';
import type { VoiceCallRequest } from '../../src/domain/voice.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { until } from '../support/until.ts';

let postgres: TestPostgres;
let db: Database;
let other: Database;
let lines: ReturnType<typeof createVoiceLines>;
let calls: ReturnType<typeof createVoiceCalls>;
let batches: ReturnType<typeof createVoiceBatches>;

const rules: CallingRules = { timeZone: 'UTC', quietHours: [], voiceCallsPerNumberPerDay: 0 };
const NOON = Date.parse('2036-11-21T12:00:00Z');
let numbers = 0;

beforeAll(async () => {
  postgres = await startPostgres();
  const url = await postgres.createDatabase();
  // Two pools, as two processes have them.
  [db, other] = await Promise.all([openDatabase(url), openDatabase(url)]);
  await migrate(db);
  await db.insertInto('projects').values(['a', 'b'].map((id) => ({ id, name: id, settings: '{}' }))).execute();
  lines = createVoiceLines(db);
  calls = createVoiceCalls({ db, tracking: { append } });
  batches = createVoiceBatches(db);
});
afterAll(async () => {
  await Promise.all([db?.destroy(), other?.destroy()]);
  await postgres?.stop();
});
beforeEach(async () => {
  for (const table of ['voice_calls', 'voice_batches', 'voice_lines', 'voice_accounts'] as const) await db.deleteFrom(table).execute();
  await lines.noteReading('account', { limit: 5, others: 0, readAt: new Date() });
});

const request = (some: Partial<VoiceCallRequest> = {}): VoiceCallRequest => ({ from: '+15550100', to: `+155501${String((numbers += 1)).padStart(5, '0')}`, variables: {}, metadata: {}, priority: 3, notBeforeMs: NOON - 60_000, ...some });
const enqueue = async (voiceCallId: string, some: Partial<VoiceCallRequest> = {}, project = 'a'): Promise<void> => void (await calls.enqueue({ project, voiceCallId, request: request(some), requestedBy: 'a test' }));
const batchOf = (id: string, count: number, some: Partial<VoiceCallRequest> = {}, project = 'a') =>
  batches.create({ project, id, name: id, priority: 3, skipped: 0, sha256: id, variables: [], requestedBy: 'a test', calls: Array.from({ length: count }, (_, index) => ({ row: index + 1, request: request(some) })) });
const take = (some: Partial<TakeLines> = {}, from = lines) => from.take({ project: 'a', account: 'account', nowMs: NOON, rules, most: 0, callsPerSecond: 1_000, aheadMs: 5_000, ...some });
const stateOf = (id: string) => db.selectFrom('voice_calls').select(['state', 'held', 'waits_for', 'not_before', 'lined_up_at', 'line_account']).where('id', '=', id).executeTakeFirstOrThrow();

describe('lines that are given', () => {
  it('are never more than there are, and never given twice, however many ask at once', async () => {
    await batchOf('one', 40);
    await batchOf('two', 40, {}, 'b');
    const elsewhere = createVoiceLines(other);
    const asked = await Promise.all(Array.from({ length: 24 }, (_, index) => take({ project: index % 2 === 0 ? 'a' : 'b' }, index % 3 === 0 ? elsewhere : lines)));
    const given = asked.flatMap(({ start }) => start.map(({ id }) => id));
    expect([given.length, new Set(given).size]).toEqual([5, 5]);
    expect((await db.selectFrom('voice_calls').select('id').where('lined_up_at', 'is not', null).execute()).map(({ id }) => id).toSorted()).toEqual(given.toSorted());
  });

  it('are given again when they are free, until nothing waits, at no moment too many', async () => {
    await batchOf('many', 60);
    const seen = new Set<string>();
    for (let rounds = 0; seen.size < 60; rounds += 1) {
      expect(rounds).toBeLessThan(100);
      const taken = (await Promise.all([take(), take({}, createVoiceLines(other))])).flatMap(({ start }) => start);
      for (const { id } of taken) {
        expect(seen.has(id)).toBe(false);
        seen.add(id);
        expect((await calls.beginDial({ project: 'a', voiceCallId: id })).verdict).toBe('dial');
      }
      const busy = await db.selectFrom('voice_calls').select('id').where('state', '=', 'dialling').execute();
      expect(busy.length).toBeLessThanOrEqual(5);
      for (const { id } of busy.slice(0, 1 + (rounds % 5))) await calls.fail({ project: 'a', voiceCallId: id }, { dials: 1, reason: 'over' });
    }
  });

  it('leave alone what others use, and what the project may not have', async () => {
    await batchOf('many', 20);
    await lines.noteReading('account', { limit: 10, others: 7, readAt: new Date() });
    expect((await take({ most: 2 })).start).toHaveLength(2);
    expect((await take()).start).toHaveLength(1);
    expect(await take()).toEqual({ start: [], lacking: 'lines', more: false });
  });

  it('go to the most urgent first, then to who has waited longest', async () => {
    for (const [id, priority, agoMs] of [['late', 1, 1_000], ['early', 1, 5_000], ['plain', 3, 9_000], ['idle', 5, 99_000]] as const) await enqueue(id, { priority, notBeforeMs: NOON - agoMs });
    await enqueue('not yet', { priority: 1, notBeforeMs: NOON + 1_000 });
    expect((await take()).start.map(({ id }) => id)).toEqual(['early', 'late', 'plain', 'idle']);
  });

  it('are spread by the rate of the account, over all its projects', async () => {
    await batchOf('one', 2);
    await batchOf('two', 2, {}, 'b');
    const some = { callsPerSecond: 2 };
    const first = await take({ ...some, aheadMs: 500 });
    const second = await take({ ...some, project: 'b', aheadMs: 500 });
    expect([first.start.map(({ atMs }) => atMs - NOON), second.start, second.lacking]).toEqual([[0, 500], [], 'rate']);
    // When it pays to look again, and not before.
    expect(second.rateAllowsAtMs).toBe(NOON + 500);
    expect((await take({ ...some, project: 'b', nowMs: NOON + 500, aheadMs: 500 })).start.map(({ atMs }) => atMs - NOON)).toEqual([1_000]);
  });

  it('come back with a call that the provider turns away, which is due later', async () => {
    await enqueue('one');
    await take();
    await calls.beginDial({ project: 'a', voiceCallId: 'one' });
    await calls.requeue({ project: 'a', voiceCallId: 'one' }, { from: 'dialling', dials: 1, notBefore: new Date(NOON + 60_000), reason: 'No line.' });
    expect(await stateOf('one')).toMatchObject({ state: 'queued', waits_for: 'provider', lined_up_at: null, line_account: null });
    expect((await take()).start).toEqual([]);
    expect((await take({ nowMs: NOON + 60_000 })).start.map(({ id }) => id)).toEqual(['one']);
  });

  it('are taken back where their start was lost, and given again when the hour and the rate allow', async () => {
    await batchOf('lost', 3);
    expect((await take()).start).toHaveLength(3);
    expect(await lines.takeBack('a', new Date(NOON - 1))).toEqual([]);
    const morning = Date.parse('2036-11-22T03:00:00Z');
    expect(await lines.takeBack('a', new Date(morning))).toHaveLength(3);
    const atNight = { ...rules, quietHours: [{ from: '21:00', to: '08:00' }] };
    expect((await take({ nowMs: morning, rules: atNight })).start).toEqual([]);
    const again = (await take({ nowMs: Date.parse('2036-11-22T08:00:00Z'), rules: atNight, callsPerSecond: 1, aheadMs: 1_000 })).start;
    expect(again).toHaveLength(2);
    await calls.beginDial({ project: 'a', voiceCallId: again[0]!.id });
    expect(await lines.takeBack('a', new Date('2036-11-23T00:00:00Z'))).toEqual([again[1]!.id]);
  });
});

describe('calls that have to wait', () => {
  const quiet: CallingRules = { timeZone: 'Europe/Berlin', quietHours: [{ from: '12:00', to: '14:00' }], voiceCallsPerNumberPerDay: 0 };

  it('are put off all at once for their zone’s quiet hours, and keep nobody behind them waiting', async () => {
    await batchOf('berlin', 300, { priority: 1 });
    await enqueue('tokyo', { timeZone: 'Asia/Tokyo', priority: 5 });
    await lines.postpone({ project: 'a', nowMs: NOON, rules: quiet });
    const put = await db.selectFrom('voice_calls').select(['waits_for', 'not_before']).where('batch_id', '=', 'berlin').groupBy(['waits_for', 'not_before']).execute();
    expect(put).toEqual([{ waits_for: 'quiet_hours', not_before: new Date('2036-11-21T13:00:00Z') }]);
    expect((await take({ rules: quiet })).start.map(({ id }) => id)).toEqual(['tokyo']);
    expect((await lines.next('a')).dueAt).toEqual(new Date('2036-11-21T13:00:00Z'));
    expect((await take({ rules: quiet, nowMs: Date.parse('2036-11-21T13:00:00Z') })).start).toHaveLength(4);
  });

  it('are due again when the rules are changed', async () => {
    await enqueue('one');
    await lines.postpone({ project: 'a', nowMs: NOON, rules: quiet });
    expect((await take({ rules: quiet })).start).toEqual([]);
    await lines.postpone({ project: 'a', nowMs: NOON, rules });
    // No sooner than they were asked for.
    expect((await stateOf('one')).waits_for).toBeNull();
    expect((await take()).start.map(({ id }) => id)).toEqual(['one']);
  });

  it('are those beyond a number’s limit, until its next day', async () => {
    const limited = { ...rules, timeZone: 'Asia/Kolkata', voiceCallsPerNumberPerDay: 2 };
    for (const id of ['first', 'second', 'third']) await enqueue(id, { to: '+15550177' });
    await enqueue('another');
    expect((await take({ rules: limited })).start).toHaveLength(3);
    const waits = await db.selectFrom('voice_calls').select(['waits_for', 'not_before']).where('waits_for', 'is not', null).execute();
    expect(waits).toEqual([{ waits_for: 'daily_limit', not_before: new Date('2036-11-21T18:30:00Z') }]);
    await db.updateTable('voice_calls').set({ state: 'not_connected', dialling_at: new Date(NOON) }).where('lined_up_at', 'is not', null).execute();
    expect((await take({ rules: limited, nowMs: Date.parse('2036-11-21T18:30:00Z') })).start).toHaveLength(1);
  });

  it('are not given to calls whose time is over: those are taken back, also while their batch is paused', async () => {
    const over = { notAfterMs: NOON };
    await enqueue('over', over);
    await enqueue('in time', { notAfterMs: NOON + 60_000 });
    await batchOf('paused', 2, over);
    await batches.pause('a', 'paused', 'ann');
    expect((await take()).start.map(({ id }) => id)).toEqual(['in time']);
    expect(await lines.next('a')).toMatchObject({ dueAt: expect.any(Date) as unknown, expiresAt: new Date(NOON) });
    expect([await lines.expire('a', NOON - 1), await lines.expire('a', NOON), await lines.expire('a', NOON)]).toEqual([0, 3, 0]);
    expect(await calls.get('a', 'over')).toMatchObject({ state: 'cancelled', reason: expect.stringMatching(/to be dialled before 20\d\d-\d\d-\d\d \d\d:\d\d UTC/) as unknown, settledAt: expect.any(Date) as unknown });
    expect((await batches.get('a', 'paused')).state).toBe('completed');
    expect(await lines.next('a')).toMatchObject({ dueAt: null, expiresAt: null });
    // One whose turn comes just as its time is over.
    await enqueue('just now', { notBeforeMs: 0, notAfterMs: Date.now() });
    await db.updateTable('voice_calls').set({ lined_up_at: new Date(), line_account: 'account' }).where('id', '=', 'just now').execute();
    expect((await calls.beginDial({ project: 'a', voiceCallId: 'just now' })).verdict).toBe('passed');
  });

  it('do not keep people from pausing a batch whose calls are being lined up in another order', async () => {
    await batchOf('crossed', 2);
    const ids = (await db.selectFrom('voice_calls').select('id').where('batch_id', '=', 'crossed').orderBy('row').execute()).map(({ id }) => id);
    const held = (which: string) => asOwner(() => sql<{ waits: number }>`select count(*)::int as waits from pg_stat_activity where wait_event_type = 'Lock' and query like ${`%${which}%`} and datname = current_database()`.execute(db)).then(({ rows }) => rows[0]!.waits > 0);
    const lining = await other.startTransaction().execute();
    const lock = (id: string) => lining.selectFrom('voice_calls').select('id').where('id', '=', id).forUpdate().execute();
    await lock(ids[1]!);
    const pausing = batches.pause('a', 'crossed', 'ann');
    await until('it waits for the second', () => held('set held = true'));
    await lock(ids[0]!);
    await lining.commit().execute();
    expect((await pausing).state).toBe('paused');
    expect(await Promise.all(ids.map(async (id) => (await stateOf(id)).held))).toEqual([true, true]);
  });

  it('do not include a number that the provider refused to call', async () => {
    await enqueue('refused', { to: '+15550178' });
    await take();
    await calls.beginDial({ project: 'a', voiceCallId: 'refused' });
    await calls.fail({ project: 'a', voiceCallId: 'refused' }, { dials: 1, reason: 'No such agent.' });
    await db.updateTable('voice_calls').set({ dialling_at: new Date(NOON) }).where('id', '=', 'refused').execute();
    await enqueue('again', { to: '+15550178' });
    expect((await take({ rules: { ...rules, voiceCallsPerNumberPerDay: 1 } })).start.map(({ id }) => id)).toEqual(['again']);
  });
});

describe('an account whose calls do not go out', () => {
  const later = (minutes: number): number => NOON + minutes * 60_000;
  const fates = {
    parked: { state: 'needs_attention' },
    'given up': { state: 'cancelled' },
    'in doubt': { state: 'dialling', reason: 'It answered 503.' },
    'without an answer': { state: 'dialling' },
    'ended for want of money': { state: 'not_connected', provider_call_id: 'ended', observed: '{"disconnectionReason": "no_valid_payment"}' },
    'ended, not analysed': { state: 'ended', provider_call_id: 'ended', observed: '{"disconnectionReason": "concurrency_limit_reached"}' },
    'just begun': { state: 'dialling', dialling_at: new Date(NOON - 1_000) },
    'just taken': { state: 'dialled', provider_call_id: 'taken', dialled_at: new Date(NOON - 1_000) },
    refused: { state: 'failed' },
    'not answered': { state: 'not_connected', provider_call_id: 'rung', observed: '{"disconnectionReason": "dial_no_answer"}' },
    ringing: { state: 'dialled', provider_call_id: 'rings', dialled_at: new Date(NOON - 40_000) },
    talking: { state: 'ongoing', provider_call_id: 'talks' },
    'cut off for want of money': { state: 'completed', provider_call_id: 'cut', started_at: new Date(NOON - 60_000), observed: '{"disconnectionReason": "no_valid_payment"}' },
  } as const;
  type Fate = keyof typeof fates;
  /** Dials of the account as they went, the oldest first, a minute ago. */
  const dialled = async (list: readonly Fate[], agoMs = 60_000): Promise<void> => {
    for (const [index, fate] of list.entries()) {
      const id = `${fate} ${(numbers += 1)}`;
      await enqueue(id);
      const { provider_call_id: provider, ...columns } = { provider_call_id: undefined, ...fates[fate] };
      await db.updateTable('voice_calls').set({ line_account: 'account', lined_up_at: new Date(NOON - agoMs), dialling_at: new Date(NOON - agoMs + index * 1_000), dials: 1, ...(provider ? { provider_call_id: `${provider} ${id}` } : {}), ...columns }).where('id', '=', id).execute();
    }
  };
  const five = (fate: Fate): Fate[] => Array.from({ length: 5 }, () => fate);

  it.each<[what: string, dials: Fate[], code: string | undefined]>([
    ['nobody was called yet', [], undefined],
    ['four are in doubt', five('parked').slice(1), undefined],
    ['five are parked', five('parked'), 'UPSTREAM_UNAVAILABLE'],
    ['people have given some up', [...five('given up').slice(2), 'parked', 'in doubt'], 'UPSTREAM_UNAVAILABLE'],
    ['none has had an answer', five('without an answer'), 'UPSTREAM_UNAVAILABLE'],
    ['it is not paid for', five('ended for want of money'), 'QUOTA_EXHAUSTED'],
    ['its lines are all in use', five('ended, not analysed'), 'RATE_LIMITED'],
    ['both, with others that say nothing yet', ['parked', 'refused', 'parked', 'ended for want of money', 'just taken', 'parked', 'ended, not analysed', 'just begun'], 'RATE_LIMITED'],
    ['one went out before them', ['not answered', ...five('parked')], 'UPSTREAM_UNAVAILABLE'],
    ['one went out since', [...five('parked'), 'not answered'], undefined],
    ['one rings since', [...five('parked'), 'ringing'], undefined],
    ['one talks among them', ['parked', 'parked', 'talking', 'parked', 'parked'], undefined],
    ['one was cut off that had been answered', [...five('ended for want of money'), 'cut off for want of money'], undefined],
    ['numbers are refused', five('refused'), undefined],
  ])('is found: %s', async (_what, dials, code) => {
    await dialled(dials);
    await lines.noteReading('account', { limit: 50, others: 0, readAt: new Date() });
    await batchOf('many', 10);
    const taken = await take();
    expect(taken.braked?.code).toBe(code);
    expect(taken.start.length > 1).toBe(code === undefined);
  });

  it('gets one at a time, one a minute, whichever project asks, until one goes out', async () => {
    await dialled(five('parked'));
    await batchOf('one', 10);
    await batchOf('two', 10, {}, 'b');
    const first = await take();
    expect([first.start.length, first.braked]).toEqual([1, expect.objectContaining({ nextAtMs: later(1), message: expect.stringMatching(/braked/) as unknown })]);
    expect(await take({ project: 'b', nowMs: later(0.9) })).toMatchObject({ start: [], braked: { code: 'UPSTREAM_UNAVAILABLE' } });
    // It is not known yet what became of it.
    await db.updateTable('voice_calls').set({ state: 'dialling', dialling_at: new Date(NOON) }).where('id', '=', first.start[0]!.id).execute();
    expect((await take({ nowMs: later(2) })).start).toEqual([]);
    await db.updateTable('voice_calls').set({ state: 'needs_attention' }).where('id', '=', first.start[0]!.id).execute();
    const second = await take({ project: 'b', nowMs: later(2) });
    expect(second.start).toHaveLength(1);
    // The provider was busy: it is in the queue again, and the next one is tried no sooner for it.
    await db.updateTable('voice_calls').set({ lined_up_at: null, line_account: null, not_before: new Date(later(30)) }).where('id', '=', second.start[0]!.id).execute();
    expect((await take({ nowMs: later(2.5) })).start).toEqual([]);
    const third = await take({ nowMs: later(3) });
    expect(third.start).toHaveLength(1);
    await db.updateTable('voice_calls').set({ state: 'ongoing', provider_call_id: 'third', dialling_at: new Date(later(3)) }).where('id', '=', third.start[0]!.id).execute();
    const all = await take({ nowMs: later(3.1) });
    expect([all.start.length, all.braked]).toEqual([4, undefined]);
  });

  it('gets none where no line is free, and is tried as ever after a quarter of an hour', async () => {
    await dialled(five('parked'));
    await batchOf('many', 10);
    await lines.noteReading('account', { limit: 5, others: 5, readAt: new Date() });
    expect(await take()).toMatchObject({ start: [], braked: { code: 'UPSTREAM_UNAVAILABLE' } });
    await lines.noteReading('account', { limit: 5, others: 0, readAt: new Date() });
    expect((await take({ nowMs: later(15) })).start).toHaveLength(5);
  });

  it('does not use up what a number gets in a day, where nobody was rung', async () => {
    await enqueue('again', { to: '+15550179' });
    for (const [id, reason] of [['ended', 'no_concurrency_fallback'], ['busy', 'dial_busy']] as const) {
      await enqueue(id, { to: '+15550179' });
      await db.updateTable('voice_calls').set({ state: 'not_connected', dialling_at: new Date(NOON - 60_000), line_account: 'account', provider_call_id: id, observed: JSON.stringify({ disconnectionReason: reason }) }).where('id', '=', id).execute();
    }
    const limited = (most: number) => take({ rules: { ...rules, voiceCallsPerNumberPerDay: most } });
    expect((await limited(1)).start).toEqual([]);
    await db.updateTable('voice_calls').set({ not_before: new Date(NOON - 60_000), waits_for: null }).where('id', '=', 'again').execute();
    expect((await limited(2)).start.map(({ id }) => id)).toEqual(['again']);
  });
});

describe('at the border of quiet hours', () => {
  const night: CallingRules = { timeZone: 'UTC', quietHours: [{ from: '12:00', to: '14:00' }], voiceCallsPerNumberPerDay: 0 };

  it.each([
    ['no turn is given that would last into them', NOON - 62_999, 0],
    ['one is given that ends with their beginning', NOON - 63_000, 1],
    ['one is given as they end', NOON + 2 * 3_600_000, 1],
  ] as const)('%s', async (_what, nowMs, turns) => {
    await enqueue('one', { notBeforeMs: NOON - 3_600_000 });
    expect((await take({ rules: night, nowMs, aheadMs: 3_000 })).start).toHaveLength(turns);
    if (turns > 0) return;
    // Put off until they are over, by this look and by the other way alike: the next look is then, and not at once.
    const ends = new Date(NOON + 2 * 3_600_000);
    expect((await lines.next('a')).dueAt).toEqual(ends);
    await db.updateTable('voice_calls').set({ not_before: new Date(NOON - 3_600_000), waits_for: null }).execute();
    await lines.postpone({ project: 'a', nowMs, rules: night });
    expect(await stateOf('one')).toMatchObject({ waits_for: 'quiet_hours', not_before: ends });
  });
});

describe('a queue that nobody looks at', () => {
  it('is found once its calls have been due for a while', async () => {
    await enqueue('one', { notBeforeMs: Date.now() - 60_000 });
    expect(await lines.neglected(20_000)).toEqual(['a']);
    await lines.looked('a', { lookAgainAt: null });
    expect(await lines.neglected(20_000)).toEqual([]);
    await db.updateTable('voice_lines').set({ looked_at: new Date(Date.now() - 60_000), look_again_at: new Date(Date.now() + 60_000) }).execute();
    // It was asked for after the last look: whoever planned the next one did not know of it.
    expect(await lines.neglected(20_000)).toEqual(['a']);
    await sql`update voice_calls set requested_at = now() - interval '90 seconds'`.execute(db);
    expect(await lines.neglected(20_000)).toEqual([]);
    await db.updateTable('voice_lines').set({ look_again_at: new Date(Date.now() - 30_000) }).execute();
    expect(await lines.neglected(20_000)).toEqual(['a']);
    await db.updateTable('voice_calls').set({ held: true }).execute();
    expect(await lines.neglected(20_000)).toEqual([]);
  });
});

describe('a batch', () => {
  it('is all there or not at all, and a repeat of it changes nothing', async () => {
    await expect(batches.create({ project: 'a', id: 'broken', name: 'n', priority: 3, skipped: 0, sha256: 's', variables: [], requestedBy: 'x', calls: [{ row: 1, request: request() }, { row: 1, request: request() }] })).rejects.toThrow(/duplicate key/);
    expect([await db.selectFrom('voice_calls').select('id').execute(), await db.selectFrom('voice_batches').select('id').execute()]).toEqual([[], []]);
    expect([await batchOf('good', 3), await batchOf('good', 3)]).toEqual([true, false]);
    expect(await batches.known('a', 'good', 'good')).toBe('same');
    expect(await batches.known('a', 'good', 'another file')).toBe('other');
    expect(await db.selectFrom('voice_calls').select('id').execute()).toHaveLength(3);
  });

  it('takes 50,000 rows, is paused, resumed and cancelled as a whole', async () => {
    await batchOf('big', 50_000);
    expect((await batches.counts('a', ['big'])).get('big')).toEqual({ byState: { queued: 50_000 }, byOutcome: {} });
    const { start } = await take();
    expect(start).toHaveLength(5);
    await calls.beginDial({ project: 'a', voiceCallId: start[0]!.id });

    await batches.pause('a', 'big', 'ann');
    expect((await lines.view('a')).paused).toBe(49_999);
    // Their turn had come, and is taken back; whoever was to dial one finds that out.
    expect((await calls.beginDial({ project: 'a', voiceCallId: start[1]!.id })).verdict).toBe('passed');
    expect([(await take()).start, await lines.takeBack('a', new Date(NOON + 60_000))]).toEqual([[], []]);
    // One that is turned away by the provider meanwhile is paused, too.
    await calls.requeue({ project: 'a', voiceCallId: start[0]!.id }, { from: 'dialling', dials: 1, notBefore: new Date(NOON), reason: null });
    expect((await take()).start).toEqual([]);

    await batches.resume('a', 'big');
    const again = (await take()).start;
    expect(again).toHaveLength(5);
    const { voiceCall } = await calls.beginDial({ project: 'a', voiceCallId: again[0]!.id });
    expect(await batches.cancel('a', 'big', { by: 'ann', reason: 'the wrong list' })).toMatchObject({ cancelled: 49_999, onALine: 1, batch: { state: 'cancelled', cancelledBy: 'ann', reason: 'the wrong list' } });
    await calls.requeue({ project: 'a', voiceCallId: again[0]!.id }, { from: 'dialling', dials: voiceCall.dials, notBefore: new Date(NOON), reason: null });
    await lines.postpone({ project: 'a', nowMs: NOON, rules });
    expect((await batches.counts('a', ['big'])).get('big')).toEqual({ byState: { cancelled: 50_000 }, byOutcome: {} });
    expect((await batches.get('a', 'big')).state).toBe('cancelled');
    await expect(batches.resume('a', 'big')).rejects.toThrow(/This batch is cancelled: it cannot be resumed/);
  });

  it('goes earlier when it is given another priority, and is completed with its last call', async () => {
    await batchOf('plain', 1);
    await batchOf('urgent', 2);
    await batches.change('a', 'urgent', { priority: 1, name: 'first of all' });
    const { start } = await take();
    const rows = await db.selectFrom('voice_calls').select(['id', 'batch_id']).execute();
    expect(start.map(({ id }) => rows.find((row) => row.id === id)!.batch_id)).toEqual(['urgent', 'urgent', 'plain']);
    for (const { id } of start) {
      await calls.beginDial({ project: 'a', voiceCallId: id });
      await calls.fail({ project: 'a', voiceCallId: id }, { dials: 1, reason: 'refused' });
    }
    expect(await batches.get('a', 'urgent')).toMatchObject({ state: 'completed', name: 'first of all', priority: 1 });
    // Its counts outlive its calls.
    await db.deleteFrom('voice_calls').execute();
    expect((await batches.counts('a', ['urgent'])).get('urgent')).toEqual({ byState: { failed: 2 }, byOutcome: {} });
    await expect(batches.pause('a', 'urgent', 'ann')).rejects.toThrow(/completed/);
    await expect(batches.get('b', 'urgent')).rejects.toThrow(/There is no batch urgent in project b/);
  });
});
