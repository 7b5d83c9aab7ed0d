import { describe, expect, it } from '@jest/globals';
import type { Grade, RescoredCall } from '../../src/domain/rescore.ts';
import { excessOf, meanOf, rateOf, summarise } from '../../src/domain/rescore-summary.ts';

const rounded = (value: number | null): number | null => (value === null ? null : Math.round(value * 10_000) / 10_000);

describe('a share', () => {
  // Newcombe (1998), table I: Wilson's interval without continuity correction.
  it.each([
    [81, 263, 0.2553, 0.3662],
    [15, 148, 0.0624, 0.1605],
    [0, 20, 0, 0.1611],
    [1, 29, 0.0061, 0.1718],
  ])('of %i in %i lies between %d and %d', (count, of, low, high) => {
    const rate = rateOf(count, of);
    expect([rounded(rate.low), rounded(rate.high)]).toEqual([low, high]);
  });
  it('of nothing is not known', () => {
    expect(rateOf(0, 0)).toEqual({ count: 0, of: 0, rate: null, low: null, high: null });
    expect(excessOf(rateOf(1, 2), rateOf(0, 0))).toBeNull();
  });
});

describe('the difference of two shares', () => {
  // Newcombe (1998), "Interval estimation for the difference", table II, method 10.
  it.each([
    [56, 70, 48, 80, 0.0524, 0.3339],
    [9, 10, 3, 10, 0.1705, 0.809],
    [10, 10, 0, 10, 0.6075, 1],
  ])('of %i/%i and %i/%i lies between %d and %d', (a, n, b, m, low, high) => {
    const excess = excessOf(rateOf(a, n), rateOf(b, m))!;
    expect([rounded(excess.low), rounded(excess.high), excess.beyondNoise]).toEqual([low, high, true]);
  });
  it('is not beyond noise when both flip alike', () => {
    expect(excessOf(rateOf(6, 100), rateOf(2, 30))!.beyondNoise).toBe(false);
  });
});

it('a mean has an interval from two values on', () => {
  expect([meanOf([]), meanOf([3])]).toEqual([{ n: 0, mean: null, low: null, high: null }, { n: 1, mean: 3, low: null, high: null }]);
  const { mean, low, high } = meanOf([1, 2, 3, 4]);
  expect([mean, rounded(low), rounded(high)]).toEqual([2.5, 1.2348, 3.7652]);
});

const grade = (scorePercent: number | null, verdicts: Grade['verdicts'], action: 'create_lead' | 'none' | null = null): Grade => ({
  preset: 'p@1',
  rubric: 'p@1',
  scorePercent,
  verdicts,
  decision: action && { scenario: action === 'none' ? 'insufficient_qualification' : 'good_lead', action },
});
const call = (old: Grade, fresh: Grade, again: Grade | null = null): RescoredCall => ({ old, new: fresh, again, costMicroUsd: 1 });

describe('a summary', () => {
  it('counts flips on shared questions, and names those that only one rubric has', () => {
    const { questions, onlyOld, onlyNew } = summarise([call(grade(50, { a: 'yes', gone: 'yes' }), grade(100, { a: 'no', fresh: 'yes' }), grade(50, { a: 'yes', gone: 'no' }))], 60);
    expect(questions).toEqual([expect.objectContaining({ criterion: 'a', flips: expect.objectContaining({ count: 1, of: 1 }) as unknown, noise: expect.objectContaining({ count: 0, of: 1 }) as unknown, changes: { 'yes → no': 1 } })]);
    expect([onlyOld, onlyNew]).toEqual([['gone'], ['fresh']]);
  });
  it('takes what the old preset flips by itself off what the new one flips', () => {
    const calls = Array.from({ length: 40 }, (_, index) => call(grade(50, { noisy: 'yes', moved: 'yes' }), grade(50, { noisy: index % 3 === 0 ? 'no' : 'yes', moved: index % 2 === 0 ? 'no' : 'yes' }), grade(50, { noisy: index % 3 === 0 ? 'no' : 'yes', moved: 'yes' })));
    expect(Object.fromEntries(summarise(calls, 60).questions.map(({ criterion, excess }) => [criterion, excess?.beyondNoise]))).toEqual({ noisy: false, moved: true });
  });
  it('tells leads, alerts and notes that would change, and nothing where nothing is known', () => {
    const summary = summarise(
      [
        call(grade(70, {}, 'none'), grade(50, {}, 'create_lead')),
        call(grade(50, {}, 'create_lead'), grade(70, {}, 'none')),
        call(grade(60, {}, null), grade(60, {}, 'create_lead')),
        call(grade(null, {}), grade(10, {})),
        call(grade(10, {}), grade(null, {})),
      ],
      60,
    );
    expect(summary).toMatchObject({ leads: { more: 1, fewer: 1 }, alerts: { more: 2, fewer: 2 }, notes: 4, scoreDifference: { n: 3, mean: 0 } });
    expect(summary.decisions.changes).toEqual({ 'insufficient_qualification (none) → good_lead (create_lead)': 1, 'good_lead (create_lead) → insufficient_qualification (none)': 1 });
  });
  it('of no calls is empty', () => {
    expect(summarise([], 60)).toMatchObject({ calls: 0, questions: [], decisions: { flips: { rate: null } } });
  });
});
