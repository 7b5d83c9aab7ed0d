import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { TrackingEvent } from '../../src/domain/tracking.ts';
import { type Observation, type ProviderCall, VOICE_STATES } from '../../src/domain/voice.ts';
import { ANALYSIS_DEADLINE_MS, hasReachedNobody, merge, observe, type ObservedVoiceCall } from '../../src/domain/voice-observations.ts';

const DIALLING_MS = Date.parse('2026-03-02T09:00:00Z');
const STARTED_MS = DIALLING_MS + 7_000;
const ENDED_MS = STARTED_MS + 61_500;

const dialling: ObservedVoiceCall = { project: 'p', voiceCallId: 'vc_1', state: 'dialling', request: { from: '+15550100', to: '+15550101', metadata: { lead: 'L-1' } }, diallingAtMs: DIALLING_MS };

interface Told {
  voiceCall: ObservedVoiceCall & { outcome: string | null; endedAtMs: number | null };
  events: TrackingEvent[];
}

/** As the database does it: each observation against what the ones before have left. */
const tell = (observations: Observation[], from: ObservedVoiceCall = dialling): Told =>
  observations.reduce<Told>(
    ({ voiceCall, events }, observation) => {
      const effect = observe(voiceCall, observation);
      if (effect.kind !== 'changed') return { voiceCall, events };
      const { state, observed, outcome, dialledAtMs, startedAtMs, endedAtMs, settledAtMs } = effect.change;
      return { voiceCall: { ...voiceCall, state, observed, outcome, dialledAtMs, startedAtMs: startedAtMs ?? undefined, endedAtMs, settledAtMs: settledAtMs ?? undefined }, events: [...events, ...effect.events] };
    },
    { voiceCall: { ...from, outcome: null, endedAtMs: null }, events: [] },
  );

/** Without when it was learned of, which differs. */
const standing = ({ voiceCall: { state, outcome, observed, startedAtMs, endedAtMs, settledAtMs }, events }: Told) => ({ state, outcome, observed, startedAtMs: startedAtMs ?? null, endedAtMs, settled: settledAtMs !== undefined, events });

/** As text, with the names in order: thousands are compared. */
const written = (told: Told): string => JSON.stringify(standing(told), (_name, value: unknown) => (value !== null && typeof value === 'object' && !Array.isArray(value) ? Object.fromEntries(Object.entries(value).toSorted()) : value));
const endsOf = (orders: Observation[][], from?: ObservedVoiceCall): unknown[] => [...new Set(orders.map((order) => written(tell(order, from))))].map((end) => JSON.parse(end) as unknown);

const common = { providerCallId: 'call_1', direction: 'outbound', voiceCallId: 'vc_1', agentId: 'agent_1', fromNumber: '+15550100', toNumber: '+15550101' } as const;

/** A call as the provider knows it in the end. */
interface Story {
  reason: string;
  connected: boolean;
  outcome: string;
  voicemail?: boolean;
  /** Unconnected calls may carry times all the same. */
  times?: boolean;
  status?: ProviderCall['status'];
}

const STORIES: Story[] = [
  { reason: 'user_hangup', connected: true, outcome: 'connected' },
  { reason: 'max_duration_reached', connected: true, outcome: 'connected' },
  { reason: 'voicemail_reached', connected: true, outcome: 'voicemail' },
  { reason: 'agent_hangup', connected: true, outcome: 'voicemail', voicemail: true },
  { reason: 'error_llm_websocket_lost_connection', connected: true, outcome: 'connected', status: 'error' },
  { reason: 'a_reason_of_next_year', connected: true, outcome: 'connected' },
  { reason: 'a_reason_of_next_year', connected: false, outcome: 'failed' },
  { reason: 'error_llm_websocket_open', connected: false, outcome: 'failed', status: 'error' },
  { reason: 'manual_stopped', connected: true, outcome: 'connected' },
  { reason: 'manual_stopped', connected: false, outcome: 'failed' },
  { reason: 'manual_stopped', connected: false, outcome: 'failed', times: true },
  { reason: 'dial_busy', connected: false, outcome: 'busy', status: 'not_connected' },
  { reason: 'dial_busy', connected: false, outcome: 'busy', times: true },
  { reason: 'dial_no_answer', connected: false, outcome: 'no_answer', times: true },
  { reason: 'dial_no_answer', connected: false, outcome: 'no_answer', voicemail: false },
  { reason: 'dial_failed', connected: false, outcome: 'failed', status: 'error', times: true },
  { reason: 'dial_in_a_new_way', connected: false, outcome: 'failed', times: true },
  { reason: 'telephony_provider_permission_denied', connected: false, outcome: 'failed' },
  { reason: 'sip_routing_error', connected: false, outcome: 'failed', times: true },
  ...['invalid_destination', 'concurrency_limit_reached', 'no_concurrency_fallback', 'no_valid_payment', 'marked_as_spam', 'user_declined', 'registered_call_timeout', 'error_user_not_joined'].map((reason) => ({ reason, connected: false, outcome: 'failed', times: true })),
];

/** What each way of learning shows of it. `analysed` and `looked up analysed` are whole. */
const sightsOf = ({ reason, connected, times, voicemail, status = 'ended' }: Story): Record<string, Observation> => {
  const timed = connected || times === true;
  const ended: ProviderCall = { ...common, status, ...(timed ? { startedAtMs: STARTED_MS, endedAtMs: ENDED_MS, durationMs: connected ? ENDED_MS - STARTED_MS : 0 } : {}), disconnectionReason: reason, costCents: 12.5 };
  const whole: ProviderCall = { ...ended, analysis: { successful: connected, sentiment: 'Neutral', ...(voicemail === undefined ? {} : { voicemail }) } };
  const at = (seconds: number): number => DIALLING_MS + seconds * 1_000;
  return {
    dialled: { by: 'dial', atMs: at(1), call: { ...common, status: 'registered' } },
    'looked up waiting': { by: 'lookup', atMs: at(3), call: { ...common, status: 'registered', ...(times ? { startedAtMs: STARTED_MS } : {}) } },
    ...(connected
      ? {
          started: { by: 'call_started', atMs: at(8), call: { ...common, status: 'ongoing', startedAtMs: STARTED_MS } },
          'looked up ongoing': { by: 'lookup', atMs: at(20), call: { ...common, status: 'ongoing', startedAtMs: STARTED_MS } },
        }
      : {}),
    ended: { by: 'call_ended', atMs: at(70), call: ended },
    'looked up ended': { by: 'lookup', atMs: at(71), call: ended },
    analysed: { by: 'call_analyzed', atMs: at(80), call: whole },
    'looked up analysed': { by: 'lookup', atMs: at(90), call: whole },
  };
};

/** All orders of a multiset. */
const ordersOf = <T>(items: T[]): T[][] => (items.length <= 1 ? [items] : items.flatMap((item, index) => ordersOf(items.toSpliced(index, 1)).map((rest) => [item, ...rest])));
const subsetsOf = <T>(items: T[]): T[][] => items.reduce<T[][]>((subsets, item) => [...subsets, ...subsets.map((subset) => [...subset, item])], [[]]);

describe.each(STORIES.map((story) => ({ ...story, how: JSON.stringify(story) })))('a call that ends as $how', (story) => {
  const sights = sightsOf(story);
  const whole = (observation: Observation): boolean => observation.call.analysis !== undefined;
  const expected = standing(tell(Object.values(sights)));

  it('comes to its end with each event once and in order', () => {
    expect(expected).toMatchObject({ state: story.connected ? 'completed' : 'not_connected', outcome: story.outcome, settled: true });
    expect(expected.events.map(({ name }) => name)).toEqual(story.connected ? ['Voice call initiated', 'Call started', 'Call completed'] : ['Voice call initiated', 'Call completed']);
    expect(expected.events.at(-1)).toMatchObject({ subject: 'vc_1', properties: { connected: story.connected, outcome: story.outcome, disconnectionReason: story.reason, metadata: { lead: 'L-1' } } });
    expect(expected.startedAtMs).toBe(story.connected ? STARTED_MS : null);
    const occurred = expected.events.map(({ occurredAtMs }) => occurredAtMs);
    expect(occurred).toEqual(occurred.toSorted((one, other) => one - other));
  });

  it('is read the same from one look at what the provider has of it', () => {
    const looks = [sights['ended']!, sights['analysed']!].map(({ call }) => hasReachedNobody(call));
    expect(looks).toEqual([!story.connected, !story.connected]);
    expect(hasReachedNobody(sights['looked up waiting']!.call)).toBe(false);
  });

  it('ends the same whatever is lost, in every order, as long as one look or webhook is whole', () => {
    const subsets = subsetsOf(Object.values(sights)).filter((subset) => subset.some(whole) && subset.length <= 5);
    expect(endsOf(subsets.flatMap(ordersOf))).toEqual([expected]);
  });

  it('ends the same when everything comes twice, in every order', () => {
    const { dialled, started, ended, analysed } = sights;
    const twice = [dialled, started, started, ended, analysed, analysed].filter((each) => each !== undefined);
    expect(endsOf(ordersOf(twice))).toEqual([expected]);
  });

  it('ends the same over any repetition and any order', () => {
    fc.assert(
      fc.property(fc.array(fc.constantFrom(...Object.values(sights)), { maxLength: 25 }), fc.constantFrom('analysed', 'looked up analysed'), fc.nat(25), (observations, last, at) => {
        expect(standing(tell(observations.toSpliced(at, 0, sights[last] as Observation)))).toEqual(expected);
      }),
    );
  });
});

describe('observations that no provider should make', () => {
  const optional = <T>(value: fc.Arbitrary<T>): fc.Arbitrary<T | undefined> => fc.option(value, { nil: undefined });
  const without = <T extends object>(record: T): T => Object.fromEntries(Object.entries(record).filter(([, value]) => value !== undefined)) as T;
  const anyCall = fc
    .record({
      status: fc.constantFrom<ProviderCall['status']>('registered', 'not_connected', 'ongoing', 'ended', 'error'),
      startedAtMs: optional(fc.constantFrom(1, 2, 3)),
      endedAtMs: optional(fc.constantFrom(4, 5)),
      durationMs: optional(fc.constantFrom(0, 10)),
      disconnectionReason: optional(fc.constantFrom('dial_busy', 'user_hangup', 'voicemail_reached', 'manual_stopped', 'something_new')),
      costCents: optional(fc.constantFrom(0, 1.5, 3)),
      agentId: optional(fc.constantFrom('agent_1', 'agent_2')),
      analysis: optional(fc.record({ successful: optional(fc.boolean()), voicemail: optional(fc.boolean()), sentiment: optional(fc.constantFrom('Positive', 'Negative')) }).map(without)),
    })
    .map((fields) => without({ ...common, ...fields }) as ProviderCall);
  const anyObservation: fc.Arbitrary<Observation> = fc.record({ by: fc.constantFrom('dial', 'call_started', 'call_ended', 'call_analyzed', 'lookup'), atMs: fc.constantFrom(10, 20, ANALYSIS_DEADLINE_MS * 2), call: anyCall });

  it('merge all the same: in any order, grouped in any way, and any number of times', () => {
    fc.assert(
      fc.property(anyCall, anyCall, anyCall, (one, two, three) => {
        expect(merge(one, two)).toEqual(merge(two, one));
        expect(merge(merge(one, two), three)).toEqual(merge(one, merge(two, three)));
        expect(merge(one, one)).toEqual(one);
      }),
      { numRuns: 2_000 },
    );
  });

  it('leave the same state in every order, and tell nothing twice or out of turn', () => {
    const turns = ['Voice call initiated', 'Call started', 'Call completed'];
    fc.assert(
      fc.property(fc.array(anyObservation, { minLength: 1, maxLength: 4 }), (observations) => {
        const ends = ordersOf(observations).map((order) => tell(order));
        for (const { voiceCall, events } of ends) {
          expect({ state: voiceCall.state, outcome: voiceCall.outcome, observed: voiceCall.observed }).toEqual({ state: ends[0]?.voiceCall.state, outcome: ends[0]?.voiceCall.outcome, observed: ends[0]?.voiceCall.observed });
          const names = events.map(({ name }) => name);
          expect(names).toEqual(turns.filter((turn) => (names as string[]).includes(turn)));
        }
      }),
      { numRuns: 1_000 },
    );
  });
});

describe('a call on its way', () => {
  const sights = sightsOf({ reason: 'user_hangup', connected: true, outcome: 'connected' });
  const [dialled, waiting, started, ended] = [sights['dialled'], sights['looked up waiting'], sights['started'], sights['ended']] as [Observation, Observation, Observation, Observation];

  it.each<[string, Observation[], string, string[]]>([
    ['is dialled when the provider has taken it', [dialled], 'dialled', ['Voice call initiated']],
    ['is not ongoing for a start time alone', [{ ...waiting, call: { ...waiting.call, startedAtMs: STARTED_MS } }], 'dialled', ['Voice call initiated']],
    ['is ongoing when it has been answered', [dialled, started], 'ongoing', ['Voice call initiated', 'Call started']],
    ['goes on although a look-up has an analysis already', [dialled, { ...started, by: 'lookup', call: { ...started.call, analysis: {} } }], 'ongoing', ['Voice call initiated', 'Call started']],
    ['is not analysed at its end by what a look-up had before it', [{ ...started, by: 'lookup', call: { ...started.call, analysis: {} } }, ended], 'ended', ['Voice call initiated', 'Call started']],
    ['is not begun while it rings, whatever a look-up has', [{ ...waiting, call: { ...waiting.call, analysis: { voicemail: false } } }], 'dialled', ['Voice call initiated']],
    ['is known to be dialled by its start', [started], 'ongoing', ['Voice call initiated', 'Call started']],
    ['is not ongoing again after its end', [ended, started, dialled], 'ended', ['Voice call initiated', 'Call started']],
    ['is over, and tells nothing more, until it is analysed', [dialled, started, ended], 'ended', ['Voice call initiated', 'Call started']],
  ])('%s', (_what, observations, state, names) => {
    const told = tell(observations);
    expect(told.voiceCall.state).toBe(state);
    expect(told.events.map(({ name }) => name)).toEqual(names);
    expect(told.voiceCall.settledAtMs).toBeUndefined();
  });

  it.each(['queued', 'cancelled', 'failed', 'needs_attention'] as const)('is what the provider shows, although it was %s', (state) => {
    const told = tell(Object.values(sights), { ...dialling, state, ...(state === 'cancelled' || state === 'failed' ? { settledAtMs: DIALLING_MS } : {}) });
    expect(standing(told)).toEqual(standing(tell(Object.values(sights))));
  });

  it('stays with a person when what is known comes once more', () => {
    const { voiceCall } = tell([dialled, started]);
    expect(observe({ ...voiceCall, state: 'needs_attention' }, started)).toEqual({ kind: 'known' });
  });

  it('is not changed by another of the provider\'s calls', () => {
    const { voiceCall } = tell([dialled]);
    expect(observe(voiceCall, { ...ended, call: { ...ended.call, providerCallId: 'call_2' } })).toEqual({ kind: 'another_call', providerCallId: 'call_2' });
  });
});

describe('an analysis that never comes', () => {
  const story = { reason: 'user_hangup', connected: true, outcome: 'connected' };
  const { dialled, started, ended, analysed, 'looked up ended': lookedUp } = sightsOf(story) as { dialled: Observation; started: Observation; ended: Observation; analysed: Observation; 'looked up ended': Observation };
  const late = { ...lookedUp, atMs: ENDED_MS + ANALYSIS_DEADLINE_MS };

  it('is waited for until its time is up', () => {
    expect(tell([dialled, started, ended, { ...late, atMs: late.atMs - 1 }]).voiceCall.state).toBe('ended');
  });

  it('leaves the call completed without it, in every order', () => {
    const expected = standing(tell([dialled, started, ended, late]));
    expect(expected.state).toBe('completed');
    expect(expected.events.at(-1)).toMatchObject({ name: 'Call completed', properties: { connected: true, successful: null, sentiment: null } });
    expect(endsOf(ordersOf([dialled, started, ended, late]))).toEqual([expected]);
  });

  it('is written down when it comes after all, and not told again', () => {
    const { voiceCall, events } = tell([dialled, started, ended, late, analysed]);
    expect(voiceCall.observed?.analysis).toEqual({ successful: true, sentiment: 'Neutral' });
    expect(events.filter(({ name }) => name === 'Call completed')).toHaveLength(1);
  });

  it('is not waited for by a call of which only is known that it failed', () => {
    const failed: Observation = { by: 'lookup', atMs: DIALLING_MS + ANALYSIS_DEADLINE_MS, call: { ...common, status: 'not_connected', disconnectionReason: 'dial_failed' } };
    expect(tell([failed]).voiceCall).toMatchObject({ state: 'not_connected', outcome: 'failed', endedAtMs: DIALLING_MS });
    expect(tell([{ ...failed, atMs: failed.atMs - 1 }]).voiceCall.state).toBe('ended');
  });
});

it('leaves a voice call only in states that there are', () => {
  for (const story of STORIES) for (const sight of Object.values(sightsOf(story))) expect(VOICE_STATES).toContain(tell([sight]).voiceCall.state);
});
