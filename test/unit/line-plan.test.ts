import { describe, expect, it } from '@jest/globals';
import type { CallingRules } from '../../src/domain/daily-limit.ts';
import { type DialRate, freeLines, type Lines, planLines, type WaitingCall } from '../../src/domain/line-plan.ts';

const rules: CallingRules = { timeZone: 'UTC', quietHours: [], voiceCallsPerNumberPerDay: 0 };
const lines: Lines = { limit: 20, others: 0, ours: 0, ofProject: 0, most: 0 };
const rate: DialRate = { callsPerSecond: 100, aheadMs: 5_000 };
const NOON = Date.parse('2026-11-21T12:00:00Z');
let numbers = 0;
const call = (id: string, more: Partial<WaitingCall> = {}): WaitingCall => ({ id, to: `+155501${String((numbers += 1)).padStart(5, '0')}`, priority: 3, dialledToday: 0, ...more });
const ids = (list: readonly { id: string }[]): string => list.map(({ id }) => id).join('');

describe('free lines', () => {
  it.each<[string, Partial<Lines>, number]>([
    ['all', {}, 20],
    ['without those that others use', { others: 7 }, 13],
    ['without those that we use', { ours: 8, ofProject: 3 }, 12],
    ['of a project that may use few', { most: 4 }, 4],
    ['of a project that uses some of its few', { most: 4, ours: 3, ofProject: 3 }, 1],
    ['of a project that uses more than its few, since they were lowered', { most: 2, ours: 3, ofProject: 3 }, 0],
    ['of a project with few, when the account has fewer', { most: 10, others: 18 }, 2],
    ['of an account that is full', { others: 12, ours: 8 }, 0],
    ['of an account whose limit was lowered', { limit: 5, ours: 8 }, 0],
  ])('%s', (_what, some, free) => {
    expect(freeLines({ ...lines, ...some })).toBe(free);
  });
});

describe('the plan of lines', () => {
  it.each<[what: string, waiting: WaitingCall[], some: { lines?: Partial<Lines>; rate?: Partial<DialRate>; rules?: Partial<CallingRules> }, start: string, wait: string, lacking: string | undefined]>([
    ['nobody waits', [], {}, '', '', undefined],
    ['in order of time', [call('a'), call('b'), call('c')], {}, 'abc', '', undefined],
    ['by priority first', [call('a', { priority: 5 }), call('b'), call('c', { priority: 1 }), call('d')], {}, 'cbda', '', undefined],
    ['no more than there are lines', [call('a'), call('b'), call('c')], { lines: { limit: 2 } }, 'ab', '', 'lines'],
    ['as many as there are lines', [call('a'), call('b')], { lines: { limit: 2 } }, 'ab', '', undefined],
    ['nobody when none is free', [call('a', { priority: 1 })], { lines: { limit: 2, others: 2 } }, '', '', 'lines'],
    ['no more than the rate allows for now', [call('a'), call('b'), call('c'), call('d')], { rate: { callsPerSecond: 1, aheadMs: 2_000 } }, 'abc', '', 'rate'],
    ['nobody while the rate is used up', [call('a')], { rate: { callsPerSecond: 1, aheadMs: 0, lastAtMs: NOON - 500 } }, '', '', 'rate'],
    ['past those in quiet hours', [call('a', { priority: 1, timeZone: 'Asia/Tokyo' }), call('b')], { lines: { limit: 1 }, rules: { quietHours: [{ from: '20:00', to: '08:00' }] } }, 'b', 'a', undefined],
    ['past those over their number’s limit', [call('a', { dialledToday: 2 }), call('b')], { rules: { voiceCallsPerNumberPerDay: 2 } }, 'b', 'a', undefined],
    ['the number’s limit over the plan itself', [call('a', { to: '+15550100' }), call('b', { to: '+15550100' }), call('c', { to: '+15550100', priority: 1 }), call('d')], { rules: { voiceCallsPerNumberPerDay: 2 } }, 'cad', 'b', undefined],
    ['also whoever comes behind the last line is told to wait', [call('a'), call('b', { dialledToday: 1 }), call('c')], { lines: { limit: 1 }, rules: { voiceCallsPerNumberPerDay: 1 } }, 'a', 'b', 'lines'],
    ['one behind the last line does not use up its number', [call('a'), call('b', { to: '+15550101' }), call('c', { to: '+15550101' })], { lines: { limit: 1 }, rules: { voiceCallsPerNumberPerDay: 1 } }, 'a', '', 'lines'],
  ])('%s', (_what, waiting, some, start, wait, lacking) => {
    const plan = planLines({ nowMs: NOON, waiting, rules: { ...rules, ...some.rules }, lines: { ...lines, ...some.lines }, rate: { ...rate, ...some.rate } });
    expect([ids(plan.start), ids(plan.wait), plan.lacking]).toEqual([start, wait, lacking]);
  });

  it('spreads calls by the rate, from the last one that was planned', () => {
    const waiting = ['a', 'b', 'c'].map((id) => call(id));
    expect(planLines({ nowMs: NOON, waiting, rules, lines, rate: { callsPerSecond: 2, aheadMs: 5_000, lastAtMs: NOON + 100 } }).start.map(({ atMs }) => atMs - NOON)).toEqual([600, 1_100, 1_600]);
    expect(planLines({ nowMs: NOON, waiting, rules, lines, rate: { callsPerSecond: 3, aheadMs: 5_000, lastAtMs: NOON - 60_000 } }).start.map(({ atMs }) => atMs - NOON)).toEqual([0, 334, 668]);
  });

  it('puts off a call until it may be made', () => {
    const plan = planLines({ nowMs: NOON, waiting: [call('a', { timeZone: 'Asia/Tokyo' })], rules: { ...rules, quietHours: [{ from: '20:00', to: '08:00' }] }, lines, rate });
    expect(plan.wait).toEqual([{ id: 'a', untilMs: Date.parse('2026-11-21T23:00:00Z'), waitsFor: 'quiet_hours' }]);
  });
});

describe('over many rounds of chance', () => {
  /** Small, seeded and the same everywhere. */
  const randomFrom = (seed: number) => (): number => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };

  it.each(Array.from({ length: 25 }, (_, seed) => seed))('never more than the limits, nobody of equal priority overtaken, and all served: seed %i', (seed) => {
    const random = randomFrom(seed + 1);
    const upTo = (most: number): number => Math.floor(random() * (most + 1));
    const limit = 1 + upTo(8);
    const most = upTo(3) === 0 ? 1 + upTo(4) : 0;
    const callsPerSecond = 1 + upTo(9);
    const perNumber = 1 + upTo(2);
    const day: CallingRules = { timeZone: 'UTC', quietHours: [{ from: '22:00', to: '06:00' }], voiceCallsPerNumberPerDay: perNumber };
    interface Queued { id: string; to: string; priority: number; seq: number; dueMs: number }
    let queue: Queued[] = Array.from({ length: 60 }, (_, seq) => ({ id: `c${seq}`, seq, to: `+1555010${upTo(30)}`, priority: 1 + upTo(4), dueMs: NOON }));
    const onLine: { id: string; endMs: number }[] = [];
    const dialled: { to: string; atMs: number; id: string; priority: number; seq: number }[] = [];
    let lastAtMs: number | undefined;
    let nowMs = NOON;
    for (let rounds = 0; queue.length > 0 && rounds < 100_000; rounds += 1) {
      for (let index = onLine.length - 1; index >= 0; index -= 1) if (onLine[index]!.endMs <= nowMs) onLine.splice(index, 1);
      const due = queue.filter(({ dueMs }) => dueMs <= nowMs);
      const others = upTo(Math.max(0, limit - onLine.length));
      const today = new Date(nowMs).toISOString().slice(0, 10);
      const waiting = due.map((each) => ({ ...each, dialledToday: dialled.filter(({ to, atMs }) => to === each.to && new Date(atMs).toISOString().startsWith(today)).length }));
      const plan = planLines({ nowMs, waiting, rules: day, lines: { limit, others, ours: onLine.length, ofProject: onLine.length, most }, rate: { callsPerSecond, lastAtMs, aheadMs: 1_000 } });
      const planned = new Set(plan.start.map(({ id }) => id));
      const waits = new Map(plan.wait.map(({ id, untilMs }) => [id, untilMs]));
      for (const { id, atMs } of plan.start) {
        const { to, priority, seq } = queue.find((each) => each.id === id)!;
        // Nobody who could have gone was passed over by somebody less urgent, or as urgent and later.
        expect(due.filter((each) => !planned.has(each.id) && !waits.has(each.id) && (each.priority < priority || (each.priority === priority && each.seq < seq)))).toEqual([]);
        if (lastAtMs !== undefined) expect(atMs - lastAtMs).toBeGreaterThanOrEqual(1_000 / callsPerSecond);
        lastAtMs = atMs;
        dialled.push({ to, atMs: nowMs, id, priority, seq });
        onLine.push({ id, endMs: nowMs + 1_000 * (1 + upTo(120)) });
      }
      expect(onLine.length + others).toBeLessThanOrEqual(limit);
      if (most > 0) expect(onLine.length).toBeLessThanOrEqual(most);
      queue = queue.filter(({ id }) => !planned.has(id)).map((each) => ({ ...each, dueMs: waits.get(each.id) ?? each.dueMs }));
      const nextDueMs = Math.min(...queue.map(({ dueMs }) => dueMs));
      nowMs = nextDueMs > nowMs ? nextDueMs : nowMs + 1_000 * (1 + upTo(30));
    }
    expect(queue).toEqual([]);
    const perDay = new Map<string, number>();
    for (const { to, atMs } of dialled) {
      const hour = new Date(atMs).getUTCHours();
      expect(hour >= 6 && hour < 22).toBe(true);
      const key = `${to} ${new Date(atMs).toISOString().slice(0, 10)}`;
      perDay.set(key, (perDay.get(key) ?? 0) + 1);
    }
    expect(Math.max(...perDay.values())).toBeLessThanOrEqual(perNumber);
  });
});
