import { describe, expect, it } from '@jest/globals';
import { CALL_STATES, type CallState, RESULTS } from '../../src/domain/call.ts';
import { type Compared, GAP_REASONS, isSettled, judge, REASONS, type Verdict, verdictOn } from '../../src/domain/completeness.ts';
import { CATCH_UP_DAYS, daysDue, type KnownDay } from '../../src/domain/days-due.ts';
import { addDays, boundsOfDay, dayAt, isDayName } from '../../src/domain/local-time.ts';

const compared = (more: Partial<Compared>): Compared => ({ status: 'completed', problem: null, ours: null, ...more });
const standing = (state: CallState, more: Partial<NonNullable<Compared['ours']>> = {}): NonNullable<Compared['ours']> => ({ state, result: null, reason: null, step: null, attention: null, ...more });

describe('what a call of ours amounts to', () => {
  /** Written down for every state there is: a new one has to be given its reason. */
  const OF_STATE: Record<Exclude<CallState, 'completed'>, Verdict> = {
    staged: 'in_progress',
    awaiting_approval: 'awaiting_approval',
    processing: 'in_progress',
    waiting_for_recording: 'no_recording_yet',
    needs_attention: 'parked',
    rejected: 'filtered',
    given_up: 'given_up',
    cancelled: 'cancelled',
    failed: 'failed',
  };
  it.each(CALL_STATES.filter((state) => state !== 'completed'))('%s', (state) => expect(verdictOn({ state, result: null, reason: null })).toBe(OF_STATE[state]));
  it.each(RESULTS)('completed: %s', (result) => expect(verdictOn({ state: 'completed', result, reason: null })).toBe(result));
  it('completed with no result is what nobody can explain', () => expect(verdictOn({ state: 'completed', result: null, reason: null })).toBe('unexplained'));
  it.each([
    ['Left out by the rule "consumers".', 'filtered'],
    ['private call', 'rejected'],
    ['expired: nobody ruled on it within 24 hours', 'rejected'],
  ])('rejected for "%s" is %s', (reason, verdict) => expect(verdictOn({ state: 'rejected', result: null, reason })).toBe(verdict));
});

describe('the reason of a gap', () => {
  it.each<[string, Partial<Compared>, Verdict, string | null]>([
    ['processed', { ours: standing('completed', { result: 'processed' }) }, 'processed', null],
    ['parked, with the step', { ours: standing('needs_attention', { step: 'analysis', attention: { code: 'QUOTA_EXHAUSTED', message: 'The credit is used up.' } }) }, 'parked', 'analysis: QUOTA_EXHAUSTED: The credit is used up.'],
    ['given up, with the reason', { ours: standing('given_up', { reason: 'no budget (ann)' }) }, 'given_up', 'no budget (ann)'],
    ['open there, and not ours', { status: 'open' }, 'open_at_source', null],
    ['open there, and ours all the same', { status: 'open', ours: standing('processing') }, 'in_progress', null],
    ['of an ID that cannot be used', { status: 'left_out' }, 'left_out_id', null],
    ['from before the first window', { status: 'too_old' }, 'before_first_window', null],
    ['from before, and ours all the same', { status: 'too_old', ours: standing('completed', { result: 'too_short' }) }, 'too_short', null],
    ['placed by somebody else', { status: 'unplaced' }, 'filtered', 'The project takes in no calls that it did not place (`takeUnplacedCalls`).'],
    ['erased', { status: 'erased' }, 'erased', null],
    ['handed in and not delivered', { status: 'waiting', problem: 'Temporal is down.' }, 'not_taken_in', 'Temporal is down.'],
    ['not to be taken in', { problem: 'invalid' }, 'not_taken_in', 'invalid'],
    ['only to be compared', { status: 'only_compared' }, 'only_compared', null],
    ['only to be compared, and ours since', { status: 'only_compared', ours: standing('processing') }, 'in_progress', null],
    ['there and not here', {}, 'unexplained', null],
    ['abandoned there and not here', { status: 'abandoned' }, 'unexplained', null],
  ])('%s', (_what, more, verdict, detail) => expect(judge(compared(more))).toEqual({ verdict, detail }));

  it('has words, and says whether more is to come', () => {
    for (const reason of GAP_REASONS) expect(REASONS[reason].meaning).toMatch(/\.$/);
    // What a person or time can still change keeps a day open.
    expect(GAP_REASONS.filter((reason) => !REASONS[reason].settled)).toEqual(['in_progress', 'no_recording_yet', 'awaiting_approval', 'parked', 'failed', 'cancelled', 'open_at_source', 'not_taken_in', 'only_compared', 'unexplained']);
    expect(isSettled({ gaps: { too_short: 3, erased: 1 }, notListed: { deleted_there: 1 } })).toBe(true);
    expect(isSettled({ gaps: { too_short: 3, parked: 1 }, notListed: {} })).toBe(false);
    expect(isSettled({ gaps: {}, notListed: { unexplained: 1 } })).toBe(false);
  });
});

describe('days', () => {
  it.each([
    ['2026-11-20', 'UTC', '2026-11-20T00:00:00.000Z', 24],
    ['2026-11-20', 'Asia/Singapore', '2026-11-19T16:00:00.000Z', 24],
    ['2026-03-08', 'America/New_York', '2026-03-08T05:00:00.000Z', 23],
    ['2026-11-01', 'America/New_York', '2026-11-01T04:00:00.000Z', 25],
    // Clocks skip midnight itself.
    ['2026-09-06', 'America/Santiago', '2026-09-06T04:00:00.000Z', 23],
    // Left out by the whole island.
    ['2011-12-31', 'Pacific/Apia', '2011-12-30T10:00:00.000Z', 24],
    ['2026-04-05', 'Australia/Lord_Howe', '2026-04-04T13:00:00.000Z', 24.5],
  ])('%s in %s begins at %s and lasts %d hours', (day, zone, from, hours) => {
    const { fromMs, toMs } = boundsOfDay(day, zone);
    expect([new Date(fromMs).toISOString(), (toMs - fromMs) / 3_600_000]).toEqual([from, hours]);
    expect([dayAt(fromMs, zone), dayAt(toMs - 1, zone), dayAt(toMs, zone)]).toEqual([day, day, addDays(day, 1)]);
  });
  it.each([['2026-02-28', true], ['2026-02-29', false], ['2024-02-29', true], ['2026-13-01', false], ['2026-1-1', false], ['yesterday', false], ['0001-01-01', false]])('%s is a day: %s', (text, is) => expect(isDayName(text)).toBe(is));
});

describe('which days are due', () => {
  const at = (text: string): number => Date.parse(text);
  const known = (day: string, more: Partial<KnownDay> = {}): KnownDay => ({ day, done: true, settled: true, checkedAtMs: at(`${addDays(day, 1)}T04:00:00Z`), toMs: at(`${addDays(day, 1)}T00:00:00Z`), timeZone: 'UTC', ...more });
  const due = (days: KnownDay[], more: Partial<Parameters<typeof daysDue>[0]> = {}): string[] =>
    daysDue({ atMs: at('2026-11-21T04:00:00Z'), timeZone: 'UTC', known: days, firstDay: days[0]?.day, watchedFromMs: at('2026-01-01T00:00:00Z'), recheckDays: 7, hoursAfter: 3, ...more });
  const fourDays = ['2026-11-16', '2026-11-17', '2026-11-18', '2026-11-19'];

  it('the last one that is over, the first time only that', () => expect(due([])).toEqual(['2026-11-20']));
  it('by the clocks of the project', () => {
    expect(due([], { timeZone: 'Asia/Singapore', atMs: at('2026-11-20T20:00:00Z') })).toEqual(['2026-11-20']);
    expect(due([], { timeZone: 'America/Los_Angeles', atMs: at('2026-11-21T04:00:00Z') })).toEqual(['2026-11-19']);
  });
  it('not before it has been over for a while', () => expect(due([known('2026-11-19')], { atMs: at('2026-11-21T02:59:00Z') })).toEqual([]));
  it('each that was missed', () => expect(due([known('2026-11-16'), known('2026-11-19')])).toEqual(['2026-11-17', '2026-11-18', '2026-11-20']));
  it('those missed in the last month, and none from before the source was watched', () => {
    expect(due([known('2026-09-01')])).toHaveLength(CATCH_UP_DAYS);
    // All that is known is longer ago than is asked for.
    expect(due([], { firstDay: '2026-09-01' })).toHaveLength(CATCH_UP_DAYS);
    expect(due([known('2026-11-01')], { watchedFromMs: at('2026-11-18T12:00:00Z') })).toEqual(['2026-11-18', '2026-11-19', '2026-11-20']);
    expect(due([], { watchedFromMs: at('2026-11-21T01:00:00Z') })).toEqual([]);
  });
  it('those with something still to come, once a day, for a week', () => {
    const open = fourDays.map((day) => known(day, { settled: day === '2026-11-17' }));
    expect(due(open)).toEqual(['2026-11-16', '2026-11-18', '2026-11-19', '2026-11-20']);
    expect(due(open.map((row) => ({ ...row, checkedAtMs: at('2026-11-20T22:00:00Z') })))).toEqual(['2026-11-20']);
    expect(due([known('2026-11-13', { settled: false }), known('2026-11-14', { settled: false }), ...['2026-11-15', ...fourDays].map((day) => known(day))])).toEqual(['2026-11-14', '2026-11-20']);
  });
  it('those that could not be compared, or were before they were over', () => {
    expect(due(fourDays.map((day) => known(day, day === '2026-11-18' ? { done: false } : {})))).toEqual(['2026-11-18', '2026-11-20']);
    expect(due(fourDays.map((day) => known(day, day === '2026-11-18' ? { checkedAtMs: at('2026-11-18T12:00:00Z') } : {})))).toEqual(['2026-11-18', '2026-11-20']);
  });
  it('recent ones anew when the project’s days begin at another hour', () => expect(due(fourDays.map((day) => known(day, day === '2026-11-18' ? { timeZone: 'Asia/Singapore' } : {})))).toEqual(['2026-11-18', '2026-11-20']));
  it('none that only a person asked for', () => expect(due([known('2026-11-02')], { firstDay: undefined })).toEqual(['2026-11-20']));
});
