import type { GradedAnswer, Grading } from './analysis.ts';
import { findQuote } from './evidence.ts';
import type { Criterion, Rubric } from './rubric.ts';
import type { Transcript } from './transcript.ts';

/** An answer as the model gave it. */
export interface ClaimedAnswer {
  criterion: string;
  answer: 'yes' | 'no' | 'not_applicable';
  reason: string;
  quotes: string[];
}

/**
 * Holds the model's answers against the transcript, one for each criterion of the rubric.
 *
 * A "yes" without a quote that stands in the transcript is `not_evidenced`. "Not applicable" counts only
 * where the rubric allows it, and is a "no" elsewhere. A criterion that was not answered is
 * `not_evidenced`; answers to criteria that the rubric does not have are dropped.
 */
export const checkAnswers = (rubric: Rubric, transcript: Pick<Transcript, 'turns'>, claimed: readonly ClaimedAnswer[]): GradedAnswer[] =>
  rubric.criteria.map((criterion) => {
    const answer = claimed.find((candidate) => candidate.criterion === criterion.id);
    if (!answer) return { criterion: criterion.id, verdict: 'not_evidenced', claimed: 'no', reason: 'The model gave no answer.', evidence: [], rejected: [] };
    return checkAnswer(criterion, transcript, answer);
  });

const checkAnswer = (criterion: Criterion, transcript: Pick<Transcript, 'turns'>, { answer, reason, quotes }: ClaimedAnswer): GradedAnswer => {
  const evidence: GradedAnswer['evidence'] = [];
  const rejected: GradedAnswer['rejected'] = [];
  for (const quote of quotes) {
    const found = findQuote(transcript, quote, criterion.evidenceFrom);
    if ('evidence' in found) evidence.push(found.evidence);
    else rejected.push({ quote, why: found.fault });
  }
  const graded = { criterion: criterion.id, claimed: answer, reason, evidence, rejected };
  switch (answer) {
    case 'yes':
      return { ...graded, verdict: evidence.length > 0 ? 'yes' : 'not_evidenced' };
    case 'no':
      return { ...graded, verdict: 'no' };
    case 'not_applicable':
      return { ...graded, verdict: criterion.notApplicableWhen === undefined ? 'no' : 'not_applicable' };
  }
};

/** Holds answers that were checked before against the transcript as it reads now: the same claims and quotes, other speakers. */
export const checkAgain = (rubric: Rubric, transcript: Pick<Transcript, 'turns'>, answers: readonly GradedAnswer[]): GradedAnswer[] =>
  checkAnswers(
    rubric,
    transcript,
    answers.map(({ criterion, claimed, reason, evidence, rejected }) => ({ criterion, answer: claimed, reason, quotes: [...evidence, ...rejected].map(({ quote }) => quote) })),
  );

/**
 * Adds up a call's points.
 *
 * total = points reached / points reachable. A criterion's weight is reached by "yes"; "not applicable"
 * leaves what is reachable, everything else stays in it.
 */
export const grade = (rubric: Rubric, answers: readonly GradedAnswer[], passPercent: number): Grading => {
  const categories: Grading['categories'] = {};
  for (const criterion of rubric.criteria) {
    const verdict = answers.find((answer) => answer.criterion === criterion.id)?.verdict;
    const category = (categories[criterion.category] ??= { score_percent: null, points: 0, out_of: 0 });
    if (verdict === 'not_applicable') continue;
    category.out_of += criterion.weight;
    if (verdict === 'yes') category.points += criterion.weight;
  }
  for (const category of Object.values(categories)) category.score_percent = percent(category.points, category.out_of);
  const points = sum(Object.values(categories), (category) => category.points);
  const outOf = sum(Object.values(categories), (category) => category.out_of);
  const total = percent(points, outOf);
  return { total_score_percent: total, pass: total === null ? null : total >= passPercent, categories };
};

const percent = (points: number, outOf: number): number | null => (outOf === 0 ? null : Math.round((points / outOf) * 100));
const sum = <T>(values: readonly T[], of: (value: T) => number): number => values.reduce((total, value) => total + of(value), 0);
