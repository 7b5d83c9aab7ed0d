/**
 * How well people and the model agree on a question.
 *
 * Raw agreement alone misleads where nearly every call has the same answer; kappa alone misleads there
 * in the other direction. So all three are given, with n, their intervals and how often each said yes.
 */

/** One answer to one question about one call, by both. */
export interface AnswerPair {
  person: string;
  model: string;
}

export interface Measure {
  value: number;
  /** 95 % interval; null where it cannot be told, as for a single pair. */
  interval: [number, number] | null;
}

export interface Agreement {
  n: number;
  raw: Measure | null;
  /** Cohen's kappa. Null when it is undefined: both gave one and the same answer throughout. */
  kappa: Measure | null;
  /** Gwet's AC1. */
  ac1: Measure | null;
  /** Pairs by `person` and then `model`. */
  confusion: Record<string, Record<string, number>>;
}

/** Of the standard normal distribution, two-sided 95 %. */
const Z = 1.959_963_985;

/**
 * @param pairs answers outside of `categories` are an error of the caller
 * @param categories all answers that could be given, not only those that were: AC1 depends on how many there are
 */
export const agreementOf = (pairs: readonly AnswerPair[], categories: readonly string[]): Agreement => {
  const confusion = Object.fromEntries(categories.map((person) => [person, Object.fromEntries(categories.map((model) => [model, 0]))]));
  for (const { person, model } of pairs) {
    const row = confusion[person];
    if (row?.[model] === undefined) throw new RangeError(`"${person}" or "${model}" is not one of ${categories.join(', ')}.`);
    row[model] += 1;
  }
  const n = pairs.length;
  if (n === 0) return { n, raw: null, kappa: null, ac1: null, confusion };
  const observed = pairs.filter(({ person, model }) => person === model).length / n;
  return { n, raw: { value: observed, interval: wilson(observed, n) }, kappa: kappa(pairs, categories, observed), ac1: ac1(pairs, categories, observed), confusion };
};

/**
 * Cohen's kappa: (p_o − p_e) / (1 − p_e) with p_e = Σ_k p_k· p_·k.
 *
 * J. Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement 20
 * (1960) 37–46. Interval: see `withInterval`, with p_e|i = the mean of p_·k at the person's answer and p_k·
 * at the model's.
 */
const kappa = (pairs: readonly AnswerPair[], categories: readonly string[], observed: number): Measure | null => {
  const person = sharesOf(pairs.map((pair) => pair.person), categories);
  const model = sharesOf(pairs.map((pair) => pair.model), categories);
  const expected = categories.reduce((total, category) => total + person[category]! * model[category]!, 0);
  if (1 - expected < 1e-12) return null;
  return withInterval(pairs, observed, expected, (pair) => (model[pair.person]! + person[pair.model]!) / 2);
};

/**
 * Gwet's AC1: (p_o − p_e) / (1 − p_e) with p_e = Σ_k π_k (1 − π_k) / (q − 1), π_k = (p_k· + p_·k) / 2 and q
 * the number of categories.
 *
 * K. L. Gwet, Computing inter-rater reliability and its variance in the presence of high agreement, British
 * Journal of Mathematical and Statistical Psychology 61 (2008) 29–48. Defined, and 1, also when everybody
 * gave one and the same answer.
 */
const ac1 = (pairs: readonly AnswerPair[], categories: readonly string[], observed: number): Measure | null => {
  if (categories.length < 2) return null;
  const shares = sharesOf(pairs.flatMap(({ person, model }) => [person, model]), categories);
  const perCategory = 1 / (categories.length - 1);
  const expected = perCategory * categories.reduce((total, category) => total + shares[category]! * (1 - shares[category]!), 0);
  return withInterval(pairs, observed, expected, ({ person, model }) => (perCategory * (1 - shares[person]! + 1 - shares[model]!)) / 2);
};

/**
 * A chance-corrected coefficient γ with its interval, from the linearised variance
 * v = Σ_i (γ*_i − γ)² / (n (n − 1)), γ*_i = γ_i − 2 (1 − γ)(p_e|i − p_e) / (1 − p_e), where γ_i is pair i's own
 * (a_i − p_e) / (1 − p_e): Gwet 2008, equations for two raters; sampling of raters is not in it.
 */
const withInterval = (pairs: readonly AnswerPair[], observed: number, expected: number, expectedOf: (pair: AnswerPair) => number): Measure => {
  const n = pairs.length;
  const value = (observed - expected) / (1 - expected);
  if (n < 2) return { value, interval: null };
  const squares = pairs.reduce((total, pair) => {
    const own = ((pair.person === pair.model ? 1 : 0) - expected) / (1 - expected);
    const linearised = own - (2 * (1 - value) * (expectedOf(pair) - expected)) / (1 - expected);
    return total + (linearised - value) ** 2;
  }, 0);
  const error = Math.sqrt(squares / (n * (n - 1)));
  return { value, interval: [Math.max(-1, value - Z * error), Math.min(1, value + Z * error)] };
};

/** E. B. Wilson, Journal of the American Statistical Association 22 (1927) 209–212: holds also near 0 and 1. */
const wilson = (share: number, n: number): [number, number] => {
  const centre = share + Z ** 2 / (2 * n);
  const half = Z * Math.sqrt((share * (1 - share)) / n + Z ** 2 / (4 * n ** 2));
  const scale = 1 + Z ** 2 / n;
  return [Math.max(0, (centre - half) / scale), Math.min(1, (centre + half) / scale)];
};

const sharesOf = (answers: readonly string[], categories: readonly string[]): Record<string, number> =>
  Object.fromEntries(categories.map((category) => [category, answers.filter((answer) => answer === category).length / answers.length]));

/** Below this, a question counts for nothing. */
export interface AgreementFloor {
  measure: 'raw' | 'kappa' | 'ac1';
  /** −1 to 1. */
  value: number;
  /** Fewer pairs say nothing yet. */
  minN: number;
}

/** A question that was set aside counts again only this far above the floor, so that it does not flap around it. */
export const FLOOR_MARGIN = 0.05;

/** Whether a question is advisory, given how it stood. Too few pairs change nothing; without a floor everything counts. */
export const isAdvisory = ({ n, ...measures }: Pick<Agreement, 'n' | 'raw' | 'kappa' | 'ac1'>, floor: AgreementFloor | undefined, was: boolean): boolean => {
  if (!floor) return false;
  const measure = measures[floor.measure];
  if (n < floor.minN || !measure) return was;
  return measure.value < (was ? Math.min(1, floor.value + FLOOR_MARGIN) : floor.value);
};
