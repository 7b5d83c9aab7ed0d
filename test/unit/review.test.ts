import { describe, expect, it } from '@jest/globals';
import type { Analysis } from '../../src/domain/analysis.ts';
import { checkAgain, checkAnswers, grade } from '../../src/domain/grading.ts';
import { canUndo, effectiveAnalysis, type ReviewAct, type ReviewEntry, withSpeakers } from '../../src/domain/review.ts';
import { DEFAULT_RUBRIC } from '../../src/domain/rubric.ts';

const transcript = {
  speakers: ['agent', 'customer'],
  turns: [
    { speaker: 'agent', startMs: 0, endMs: 1_000, text: 'Good morning, this is Acme.' },
    { speaker: 'customer', startMs: 1_000, endMs: 2_000, text: 'May I ask what you need?' },
    { speaker: 'agent', startMs: 2_000, endMs: 3_000, text: 'Thank you, goodbye.' },
  ],
};
const answers = checkAnswers(DEFAULT_RUBRIC, transcript, [
  { criterion: 'greeting', answer: 'yes', reason: 'r', quotes: ['Good morning'] },
  // Said by the wrong one: it would be evidence if the speakers were the other way round.
  { criterion: 'needs', answer: 'yes', reason: 'r', quotes: ['what you need'] },
  { criterion: 'presentation', answer: 'no', reason: 'r', quotes: [] },
  { criterion: 'objections', answer: 'not_applicable', reason: 'r', quotes: [] },
  { criterion: 'closing', answer: 'yes', reason: 'r', quotes: ['Thank you'] },
  { criterion: 'tone', answer: 'yes', reason: 'r', quotes: ['Thank you'] },
]);
const analysis: Analysis = {
  call_id: 'c',
  summary: 's',
  sentiment: 'neutral',
  grading: grade(DEFAULT_RUBRIC, answers, 70),
  issues_detected: [],
  recommendations: [],
  answers,
  versions: { prompt: '1', rubric: 'service-call@1', model: 'm', provider: 'p' },
  usage: { kind: 'llm', inputTokens: 1, cachedInputTokens: 0, outputTokens: 1 },
  cost_micro_usd: 1,
  rubric: DEFAULT_RUBRIC,
  pass_percent: 70,
};
const swapped = { agent: 'customer', customer: 'agent' };
const swap: ReviewAct = { kind: 'swap_speakers', speakers: swapped, answers: checkAgain(DEFAULT_RUBRIC, withSpeakers(transcript, swapped), answers) };

const entries = (...acts: ReviewAct[]): ReviewEntry[] => acts.map((act, index) => ({ ...act, revision: index + 1, by: `person-${index + 1}@example.org`, at: `2026-11-21T10:0${index}:00.000Z` }));
const effective = (...acts: ReviewAct[]) => effectiveAnalysis(analysis, { entries: entries(...acts) });
const correct = (criterion: string, verdict: 'yes' | 'no' | 'not_applicable'): ReviewAct => ({ kind: 'correct', criterion, verdict, comment: 'heard it' });

describe('the effective analysis', () => {
  it('is the model’s own when nobody has said anything, or all of it is undone', () => {
    expect(analysis.grading.total_score_percent).toBe(47); // 40 of 85
    expect(effective()).toBe(analysis);
    expect(effective(correct('needs', 'yes'), { kind: 'undo', undoes: 1 })).toBe(analysis);
  });

  it('adds the points up anew, and keeps the model’s answer beside the correction', () => {
    const { grading, answers: now, review } = effective(correct('needs', 'yes'));
    expect(grading).toEqual({ ...grade(DEFAULT_RUBRIC, now, 70) });
    expect([grading.total_score_percent, grading.pass, grading.categories['needs_discovery']]).toEqual([76, true, { score_percent: 100, points: 25, out_of: 25 }]);
    expect(now.find(({ criterion }) => criterion === 'needs')).toMatchObject({
      verdict: 'yes',
      claimed: 'yes',
      ai: { verdict: 'not_evidenced', evidence: [], rejected: [{ why: 'wrong_speaker' }] },
      review: { outcome: 'corrected', by: 'person-1@example.org', comment: 'heard it', revision: 1 },
    });
    expect(review).toMatchObject({ revision: 1, corrected: ['needs'], confirmed: [], ai_grading: { total_score_percent: 47 } });
    expect(analysis.answers).toBe(answers);
  });

  it('takes a question out of what is reachable when it does not apply', () => {
    expect(effective(correct('presentation', 'not_applicable')).grading.total_score_percent).toBe(62); // 40 of 65
  });

  it('has the last word that stands: the one before comes back with an undo', () => {
    const acts = [correct('needs', 'yes'), correct('needs', 'not_applicable')] as const;
    expect(effective(...acts).grading.total_score_percent).toBe(67); // 40 of 60
    expect(effective(...acts, { kind: 'undo', undoes: 2 }).grading.total_score_percent).toBe(76);
    // In whichever order they are read.
    expect(effectiveAnalysis(analysis, { entries: entries(...acts).toReversed() }).grading.total_score_percent).toBe(67);
  });

  it('marks what was confirmed, and scores it as before', () => {
    const { grading, answers: now, review } = effective({ kind: 'confirm', verdicts: { greeting: 'yes', needs: 'no' } });
    expect(grading).toEqual(analysis.grading);
    expect(review).toMatchObject({ confirmed: ['greeting', 'needs'], corrected: [] });
    // A claim without evidence stays what it is; that it earns nothing is what was confirmed.
    expect(now.find(({ criterion }) => criterion === 'needs')).toMatchObject({ verdict: 'not_evidenced', review: { outcome: 'confirmed' } });
  });

  it('has the total that a person sets, with what the answers add up to beside it', () => {
    const { grading, review } = effective({ kind: 'override', scorePercent: 90, comment: 'rescued the customer' });
    expect(grading).toEqual({ ...analysis.grading, total_score_percent: 90, pass: true });
    expect(review!.override).toMatchObject({ score_percent: 90, computed_score_percent: 47, comment: 'rescued the customer', by: 'person-1@example.org' });
    expect(effective({ kind: 'override', scorePercent: 69, comment: 'x' }).grading.pass).toBe(false);
  });

  it('checks the evidence again under other speakers', () => {
    const { answers: now, grading, review } = effective(swap);
    expect(now.map(({ criterion, verdict }) => [criterion, verdict])).toEqual([
      ['greeting', 'not_evidenced'],
      ['needs', 'yes'],
      ['presentation', 'no'],
      ['objections', 'not_applicable'],
      ['closing', 'not_evidenced'],
      ['tone', 'not_evidenced'],
    ]);
    expect(now[0]!.ai).toMatchObject({ verdict: 'yes', evidence: [{ speaker: 'agent' }] });
    expect([grading.total_score_percent, review!.speakers]).toEqual([29, swapped]); // 25 of 85
    expect(effective(swap, { kind: 'undo', undoes: 1 })).toBe(analysis);
  });

  it('shows a person’s evidence under the names that stand', () => {
    const evidence = { quote: 'what you need', speaker: 'customer', turn: 1, startMs: 0, endMs: 1 };
    const corrected: ReviewAct = { kind: 'correct', criterion: 'presentation', verdict: 'yes', comment: 'c', evidence };
    const of = (...acts: ReviewAct[]) => effective(...acts).answers.find(({ criterion }) => criterion === 'presentation')!.evidence[0]!.speaker;
    expect([of(corrected), of(corrected, swap), of(swap, corrected)]).toEqual(['customer', 'agent', 'agent']);
  });

  it('shows advisory questions and leaves them out of every total', () => {
    const advisory = [{ criterion: 'needs', measure: 'ac1' as const, value: 0.2, n: 40 }, { criterion: 'of another rubric', measure: 'ac1' as const, value: 0, n: 40 }];
    const now = effectiveAnalysis(analysis, { entries: [], advisory });
    expect(now.grading.total_score_percent).toBe(67); // 40 of 60
    expect(now.grading.categories['needs_discovery']).toBeUndefined();
    expect(now.answers.filter((answer) => answer.advisory).map(({ criterion }) => criterion)).toEqual(['needs']);
    expect([now.advisory, now.review]).toEqual([[advisory[0]], undefined]);
  });

  it('has no score when everything that counts does not apply', () => {
    const advisory = DEFAULT_RUBRIC.criteria.filter(({ id }) => id !== 'objections').map(({ id }) => ({ criterion: id, measure: 'raw' as const, value: 0, n: 9 }));
    expect(effectiveAnalysis(analysis, { entries: [], advisory }).grading).toMatchObject({ total_score_percent: null, pass: null });
  });

  it('reads analyses that are older than reviews', () => {
    const { rubric: _rubric, pass_percent: _pass, ...old } = analysis;
    expect(effectiveAnalysis(old, { entries: entries(correct('needs', 'yes')) }).grading.total_score_percent).toBe(76);
  });
});

describe('an undo', () => {
  it('is for entries that stand', () => {
    const all = entries(correct('needs', 'yes'), { kind: 'undo', undoes: 1 });
    expect([canUndo(all, 1), canUndo(all, 2), canUndo(all, 3), canUndo(all.slice(0, 1), 1)]).toEqual([false, false, false, true]);
  });
});

describe('speakers', () => {
  it('may be called like what every object has', () => {
    const odd = { speakers: ['constructor', '__proto__'], turns: [{ speaker: 'constructor', startMs: 0, endMs: 1, text: 'Hello' }] };
    expect(withSpeakers(odd, { agent: 'customer' })).toEqual(odd);
  });
});
