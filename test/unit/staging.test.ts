import { describe, expect, it } from '@jest/globals';
import type { CallDetails } from '../../src/domain/call.ts';
import { matchesPattern } from '../../src/domain/pattern.ts';
import { isSampled, type StagingRule, stagingOf } from '../../src/domain/staging.ts';

const call: CallDetails = { source: 'webex', callId: 'c1', status: 'completed', direction: 'inbound', queueName: 'Business Sales', startedAtMs: 0, durationMs: 60_000 };
const rule = (conditions: Partial<StagingRule>): StagingRule => ({ name: 'the rule', act: 'ignore', ...conditions });

describe('a staging rule', () => {
  it.each<[string, Partial<StagingRule>, Partial<CallDetails>, string | undefined, boolean]>([
    ['without conditions fits all', {}, {}, undefined, true],
    ['of the same direction', { direction: 'inbound' }, {}, undefined, true],
    ['of the other direction', { direction: 'outbound' }, {}, undefined, false],
    ['of the exact queue, in any case', { queues: ['business sales'] }, {}, undefined, true],
    ['of one of several queues', { queues: ['Support', '*sales'] }, {}, undefined, true],
    ['of another queue', { queues: ['Sales'] }, {}, undefined, false],
    ['of a queue, for a call without one', { queues: ['Sales'] }, { queueName: undefined as never }, undefined, false],
    ['of any queue, for a call without one', { queues: ['*'] }, { queueName: undefined as never }, undefined, true],
    ['of no queue', { queues: [] }, {}, undefined, false],
    ['of the category', { categories: ['sales'] }, {}, 'sales', true],
    ['of another category', { categories: ['sales'] }, {}, 'support', false],
    ['of a category, for a call of none', { categories: ['sales'] }, {}, undefined, false],
    ['of the source', { sources: ['webex'] }, {}, undefined, true],
    ['of another source', { sources: ['amocrm'] }, {}, undefined, false],
    ['at its shortest', { minDurationSeconds: 60 }, {}, undefined, true],
    ['longer than the call', { minDurationSeconds: 61 }, {}, undefined, false],
    ['at its longest', { maxDurationSeconds: 60 }, {}, undefined, true],
    ['shorter than the call', { maxDurationSeconds: 59 }, {}, undefined, false],
    ['of a duration that is not known', { maxDurationSeconds: 59 }, { durationMs: undefined as never }, undefined, false],
    ['of all conditions at once', { direction: 'inbound', queues: ['*'], sources: ['webex'], minDurationSeconds: 1 }, {}, undefined, true],
    ['of all conditions but one', { direction: 'inbound', queues: ['*'], sources: ['webex'], minDurationSeconds: 100 }, {}, undefined, false],
    ['of no sample', { samplePercent: 0 }, {}, undefined, false],
    ['of the whole sample', { samplePercent: 100 }, {}, undefined, true],
  ])('%s', (_what, conditions, details, category, fits) => {
    const verdict = stagingOf({ project: 'p', call: { ...call, ...details }, category }, { stagingRules: [rule(conditions)], autoProcess: true });
    expect(verdict).toEqual(fits ? { act: 'ignore', rule: 'the rule' } : { act: 'process' });
  });

  it('decides before those that follow', () => {
    const stagingRules = [rule({ direction: 'outbound' }), rule({ name: 'first', act: 'stage' }), rule({ name: 'second' })];
    expect(stagingOf({ project: 'p', call }, { stagingRules, autoProcess: true })).toEqual({ act: 'stage', rule: 'first' });
  });

  it.each([[true, 'process'], [false, 'stage']] as const)('leaves what none fits to autoProcess: %s', (autoProcess, act) => {
    expect(stagingOf({ project: 'p', call }, { stagingRules: [], autoProcess })).toEqual({ act });
  });
});

it.each<[string, string, boolean]>([
  ['sales', 'Sales', true],
  ['sales', 'Sales 2', false],
  ['sales*', 'Sales 2', true],
  ['*sales', 'Business Sales', true],
  ['*sales*', 'Business Sales 2', true],
  ['b*s*2', 'Business Sales 2', true],
  ['a*a', 'a', false],
  ['a*a', 'aa', true],
  ['*', '', true],
  ['', '', true],
  ['a*b*b', 'ab', false],
  ['.*', 'anything', false],
  ['*a'.repeat(30), 'a'.repeat(5_000), true],
])('the pattern "%s" fits "%s": %s', (pattern, name, fits) => {
  expect(matchesPattern(pattern, name)).toBe(fits);
});

describe('a sample', () => {
  const ids = Array.from({ length: 10_000 }, (_, index) => `call-${String(index).padStart(8, '0')}`);

  it.each([1, 10, 33.3, 50, 90])('of %d % takes that share of 10,000 calls', (percent) => {
    const taken = ids.filter((id) => isSampled('default', id, percent)).length;
    // Four standard deviations of an even draw.
    expect(Math.abs(taken - 100 * percent)).toBeLessThan(4 * Math.sqrt(10_000 * (percent / 100) * (1 - percent / 100)));
  });

  it('takes the same calls every time, and more of them when it grows', () => {
    const ten = ids.filter((id) => isSampled('default', id, 10));
    expect(ids.filter((id) => isSampled('default', id, 10))).toEqual(ten);
    expect(ten.every((id) => isSampled('default', id, 20))).toBe(true);
    expect(ids.filter((id) => isSampled('other', id, 10))).not.toEqual(ten);
  });
});
