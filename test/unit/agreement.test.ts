import { describe, expect, it } from '@jest/globals';
import { type Agreement, agreementOf, type AnswerPair, isAdvisory } from '../../src/domain/agreement.ts';

/** Pairs of a table of counts: rows are what the person said, columns what the model said. */
const pairsOf = (categories: readonly string[], table: number[][]): AnswerPair[] =>
  table.flatMap((row, person) => row.flatMap((count, model) => Array.from({ length: count }, () => ({ person: categories[person]!, model: categories[model]! }))));

const YES_NO = ['yes', 'no'] as const;
const of = (table: number[][], categories: readonly string[] = YES_NO): Agreement => agreementOf(pairsOf(categories, table), categories);

describe('agreement between people and the model', () => {
  it.each([
    // Worked examples of Cohen's kappa as commonly taught (grant proposals; same raw agreement, other margins).
    ['20 5 / 10 15', [[20, 5], [10, 15]], 0.7, 0.4],
    ['45 15 / 25 15', [[45, 15], [25, 15]], 0.6, 0.1304],
    ['25 35 / 5 35', [[25, 35], [5, 35]], 0.6, 0.2593],
    // Fleiss, Cohen and Everitt's 3 × 3 table of two diagnosticians, as counts of 200: kappa 0.429.
    ['three categories', [[106, 10, 4], [22, 28, 10], [2, 12, 6]], 0.7, 0.429],
  ] as const)('gives the published kappa of %s', (_title, table, raw, kappa) => {
    const measured = of(table.map((row) => [...row]), table.length === 3 ? ['a', 'b', 'c'] : YES_NO);
    expect(measured.raw!.value).toBeCloseTo(raw, 10);
    expect(measured.kappa!.value).toBeCloseTo(kappa, 3);
  });

  it('gives the published AC1 where kappa fails: nearly everything is yes', () => {
    // Gwet (2002), the paradox table 118 5 / 2 0: raw 0.984 and 0.960 margins, kappa −0.02, AC1 0.94.
    const measured = of([[118, 5], [2, 0]]);
    expect(measured.n).toBe(125);
    expect(measured.raw!.value).toBeCloseTo(0.944, 3);
    expect(measured.kappa!.value).toBeCloseTo(-0.0234, 4);
    expect(measured.ac1!.value).toBeCloseTo(0.9408, 4);
  });

  it('spreads chance over all answers that could be given, also those that nobody gave', () => {
    const two = of([[40, 5], [5, 50]]);
    const three = of([[40, 5, 0], [5, 50, 0], [0, 0, 0]], ['yes', 'no', 'not_applicable']);
    expect(three.kappa!.value).toBeCloseTo(two.kappa!.value, 12);
    // p_e of AC1 halves: Σ π (1 − π) / 2 instead of / 1.
    const expected = 2 * 0.45 * 0.55;
    expect([two.ac1!.value, three.ac1!.value]).toEqual([expect.closeTo((0.9 - expected) / (1 - expected), 10), expect.closeTo((0.9 - expected / 2) / (1 - expected / 2), 10)]);
  });

  it('counts who said what', () => {
    expect(of([[3, 1], [2, 4]]).confusion).toEqual({ yes: { yes: 3, no: 1 }, no: { yes: 2, no: 4 } });
  });

  describe('intervals', () => {
    /** Leave one out, for every pair: another way to the same error, without any of the formulas. */
    const jackknife = (pairs: AnswerPair[], measure: 'kappa' | 'ac1'): number => {
      const values = pairs.map((_pair, index) => agreementOf(pairs.filter((_other, at) => at !== index), YES_NO)[measure]!.value);
      const mean = values.reduce((a, b) => a + b, 0) / values.length;
      return Math.sqrt(((values.length - 1) / values.length) * values.reduce((total, value) => total + (value - mean) ** 2, 0));
    };
    it.each(['kappa', 'ac1'] as const)('of %s are as wide as leaving pairs out says', (measure) => {
      for (const table of [[[400, 90], [60, 450]], [[800, 100], [60, 40]], [[200, 250], [300, 250]]]) {
        const pairs = pairsOf(YES_NO, table);
        const [low, high] = agreementOf(pairs, YES_NO)[measure]!.interval!;
        const error = (high - low) / 2 / 1.96;
        expect(error / jackknife(pairs, measure)).toBeGreaterThan(0.95);
        expect(error / jackknife(pairs, measure)).toBeLessThan(1.05);
      }
    });

    it('of the raw share stay inside 0 and 1, and are not empty when all agree', () => {
      // Wilson's for 20 of 20: n / (n + z²) to 1.
      const [low, high] = of([[20, 0], [0, 0]]).raw!.interval!;
      expect(low).toBeCloseTo(20 / (20 + 1.96 ** 2), 3);
      expect(high).toBe(1);
    });
  });

  describe('where there is little to measure', () => {
    it('is nothing without pairs', () => {
      expect(agreementOf([], YES_NO)).toMatchObject({ n: 0, raw: null, kappa: null, ac1: null });
    });
    it('has no kappa, and an AC1 of 1, when both said the same of every call', () => {
      expect(of([[12, 0], [0, 0]])).toMatchObject({ raw: { value: 1 }, kappa: null, ac1: { value: 1, interval: [1, 1] } });
    });
    it('has a kappa of 0 when one of them always says the same', () => {
      expect(of([[5, 0], [5, 0]]).kappa!.value).toBeCloseTo(0, 12);
    });
    it('has no intervals for one pair', () => {
      expect(of([[0, 1], [0, 0]])).toMatchObject({ n: 1, raw: { value: 0 }, ac1: { interval: null } });
    });
    it('refuses an answer that is none of the question’s', () => {
      expect(() => agreementOf([{ person: 'constructor', model: 'yes' }], YES_NO)).toThrow(/constructor/);
    });
  });

  describe('a floor', () => {
    const floor = { measure: 'ac1', value: 0.6, minN: 20 } as const;
    const at = (value: number, n = 50): Agreement => ({ n, raw: null, kappa: null, ac1: { value, interval: null }, confusion: {} });
    it.each([
      ['below it', at(0.59), floor, false, true],
      ['on it', at(0.6), floor, false, false],
      ['below it, with too few reviews to say', at(0.1, 19), floor, false, false],
      ['set aside, a little above it: not yet back', at(0.64), floor, true, true],
      ['set aside, well above it: back', at(0.65), floor, true, false],
      ['set aside, with too few reviews to say', at(0.9, 19), floor, true, true],
      ['set aside, by a measure that is undefined', at(0.9), { ...floor, measure: 'kappa' as const }, true, true],
      ['without a floor', at(0.1), undefined, true, false],
      ['set aside by a floor near the top: full agreement brings it back', at(1), { ...floor, value: 0.99 }, true, false],
    ] as const)('judges a question %s', (_title, agreement, given, was, is) => {
      expect(isAdvisory(agreement, given, was)).toBe(is);
    });
  });
});
