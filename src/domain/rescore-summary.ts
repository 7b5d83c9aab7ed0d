import type { Grade, RescoredCall } from './rescore.ts';

/** A share with the bounds between which it lies nineteen times in twenty. Shares are 0 to 1; null without anything to count. */
export interface Rate {
  count: number;
  of: number;
  rate: number | null;
  low: number | null;
  high: number | null;
}

/** 97.5th percentile of the normal distribution. */
const Z = 1.959_964;

/** Wilson's score interval: right for small numbers, and for none and all. */
export const rateOf = (count: number, of: number): Rate => {
  if (of === 0) return { count, of, rate: null, low: null, high: null };
  const p = count / of;
  const centre = (p + Z ** 2 / (2 * of)) / (1 + Z ** 2 / of);
  const half = (Z / (1 + Z ** 2 / of)) * Math.sqrt((p * (1 - p)) / of + Z ** 2 / (4 * of ** 2));
  return { count, of, rate: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half) };
};

/** How much more often answers flip than they do by themselves. */
export interface Excess {
  rate: number;
  low: number;
  high: number;
  /** The whole interval lies above nothing. */
  beyondNoise: boolean;
}

/** Newcombe's interval for the difference of two shares, from Wilson's for each. */
export const excessOf = (flips: Rate, noise: Rate): Excess | null => {
  if (flips.rate === null || noise.rate === null) return null;
  const rate = flips.rate - noise.rate;
  const low = rate - Math.hypot(flips.rate - flips.low!, noise.high! - noise.rate);
  const high = rate + Math.hypot(flips.high! - flips.rate, noise.rate - noise.low!);
  return { rate, low, high, beyondNoise: low > 0 };
};

/** A mean with its 95 % interval by the normal approximation; null without two values. */
export interface Mean {
  n: number;
  mean: number | null;
  low: number | null;
  high: number | null;
}

export const meanOf = (values: readonly number[]): Mean => {
  const n = values.length;
  if (n === 0) return { n, mean: null, low: null, high: null };
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return { n, mean, low: null, high: null };
  const half = Z * Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1) / n);
  return { n, mean, low: mean - half, high: mean + half };
};

export interface QuestionSummary {
  criterion: string;
  flips: Rate;
  noise: Rate;
  excess: Excess | null;
  /** How often from which answer to which, as in `no → yes`. */
  changes: Record<string, number>;
}

export interface RescoreSummary {
  calls: number;
  /** New less old, in percentage points. */
  scoreDifference: Mean;
  /** The old preset once more less the stored score. */
  noiseDifference: Mean;
  questions: QuestionSummary[];
  /** Questions that only one of the rubrics has. */
  onlyOld: string[];
  onlyNew: string[];
  /** Decisions of the CRM's rules that would be others, and how many are by themselves. */
  decisions: { flips: Rate; noise: Rate; excess: Excess | null; changes: Record<string, number> };
  /** Leads that would be created which were not, and the other way round. */
  leads: { more: number; fewer: number };
  /** Low-score alerts that would be sent which were not, and the other way round. */
  alerts: { more: number; fewer: number };
  /** Notes in the CRM that would show another score. */
  notes: number;
}

const isLow = (score: number | null, threshold: number): boolean => score !== null && score < threshold;
const createsLead = ({ decision }: Grade): boolean => decision?.action === 'create_lead';

/** How one call would change. */
export interface CallChange {
  flips: string[];
  scoreDifference: number | null;
  decision: string | null;
  lead: 'more' | 'fewer' | null;
  alert: 'more' | 'fewer' | null;
  note: boolean;
}

export const changeOf = ({ old, new: fresh }: RescoredCall, lowScoreThreshold: number): CallChange => ({
  flips: sharedQuestions(old, fresh).filter((criterion) => old.verdicts[criterion] !== fresh.verdicts[criterion]),
  scoreDifference: old.scorePercent === null || fresh.scorePercent === null ? null : fresh.scorePercent - old.scorePercent,
  decision: decisionChange(old, fresh),
  lead: change(createsLead(old), old.decision !== null && fresh.decision !== null ? createsLead(fresh) : createsLead(old)),
  alert: change(isLow(old.scorePercent, lowScoreThreshold), isLow(fresh.scorePercent, lowScoreThreshold)),
  note: old.scorePercent !== fresh.scorePercent,
});

const change = (before: boolean, after: boolean): 'more' | 'fewer' | null => (before === after ? null : after ? 'more' : 'fewer');
const sharedQuestions = (a: Grade, b: Grade): string[] => Object.keys(a.verdicts).filter((criterion) => Object.hasOwn(b.verdicts, criterion));
const nameOf = ({ scenario, action }: NonNullable<Grade['decision']>): string => `${scenario} (${action})`;
const decisionChange = (a: Grade, b: Grade): string | null =>
  a.decision && b.decision && (a.decision.scenario !== b.decision.scenario || a.decision.action !== b.decision.action) ? `${nameOf(a.decision)} → ${nameOf(b.decision)}` : null;

/**
 * What a new preset changes over many calls, held against what changes without one.
 *
 * A model asked the same twice does not answer the same twice: flips count only as far as they are more than
 * the flips between the stored answers and the old preset run again.
 */
export const summarise = (calls: readonly RescoredCall[], lowScoreThreshold: number): RescoreSummary => {
  const sampled = calls.flatMap(({ old, again }) => (again ? [{ old, again }] : []));
  const changes = calls.map((call) => changeOf(call, lowScoreThreshold));
  const names = (of: (call: RescoredCall) => Grade): Set<string> => new Set(calls.flatMap((call) => Object.keys(of(call).verdicts)));
  const [inOld, inNew] = [names(({ old }) => old), names(({ new: fresh }) => fresh)];

  // The database keeps verdicts in an order of its own.
  const questions = [...inNew].filter((criterion) => inOld.has(criterion)).toSorted().map((criterion): QuestionSummary => {
    const pairs = calls.filter(({ old, new: fresh }) => Object.hasOwn(old.verdicts, criterion) && Object.hasOwn(fresh.verdicts, criterion));
    const flipped = pairs.filter(({ old, new: fresh }) => old.verdicts[criterion] !== fresh.verdicts[criterion]);
    const repeats = sampled.filter(({ old, again }) => Object.hasOwn(old.verdicts, criterion) && Object.hasOwn(again.verdicts, criterion));
    const flips = rateOf(flipped.length, pairs.length);
    const noise = rateOf(repeats.filter(({ old, again }) => old.verdicts[criterion] !== again.verdicts[criterion]).length, repeats.length);
    return { criterion, flips, noise, excess: excessOf(flips, noise), changes: countOf(flipped.map(({ old, new: fresh }) => `${old.verdicts[criterion]} → ${fresh.verdicts[criterion]}`)) };
  });

  const decided = calls.filter(({ old, new: fresh }) => old.decision && fresh.decision);
  const decidedAgain = sampled.filter(({ old, again }) => old.decision && again.decision);
  const flips = rateOf(changes.filter(({ decision }) => decision !== null).length, decided.length);
  const noise = rateOf(decidedAgain.filter(({ old, again }) => decisionChange(old, again) !== null).length, decidedAgain.length);
  const count = <K extends 'lead' | 'alert'>(what: K, which: 'more' | 'fewer'): number => changes.filter((one) => one[what] === which).length;
  return {
    calls: calls.length,
    scoreDifference: meanOf(changes.flatMap(({ scoreDifference }) => scoreDifference ?? [])),
    noiseDifference: meanOf(sampled.flatMap(({ old, again }) => (old.scorePercent === null || again.scorePercent === null ? [] : [again.scorePercent - old.scorePercent]))),
    questions,
    onlyOld: [...inOld].filter((criterion) => !inNew.has(criterion)).toSorted(),
    onlyNew: [...inNew].filter((criterion) => !inOld.has(criterion)).toSorted(),
    decisions: { flips, noise, excess: excessOf(flips, noise), changes: countOf(changes.flatMap(({ decision }) => decision ?? [])) },
    leads: { more: count('lead', 'more'), fewer: count('lead', 'fewer') },
    alerts: { more: count('alert', 'more'), fewer: count('alert', 'fewer') },
    notes: changes.filter(({ note }) => note).length,
  };
};

const countOf = (texts: readonly string[]): Record<string, number> => {
  const counts: Record<string, number> = {};
  for (const text of texts) counts[text] = (counts[text] ?? 0) + 1;
  return counts;
};
