import type { AgreementFloor } from './agreement.ts';
import type { Analysis, DetectedPattern, Evidence, GradedAnswer, Grading, Verdict } from './analysis.ts';
import { grade } from './grading.ts';
import { DEFAULT_RUBRIC, type Rubric } from './rubric.ts';
import { DEFAULT_SETTINGS } from './settings.ts';
import type { Transcript } from './transcript.ts';

/**
 * What people say of an analysis. Entries are only ever added: an undo is one too, and the model's own
 * answers stay as they are. What stands is the *effective analysis*: the model's, and every entry that
 * nobody has undone.
 */

/** What a person can answer. `not_evidenced` is the outcome of a check, not an opinion. */
export type PersonVerdict = Exclude<Verdict, 'not_evidenced'>;

export type ReviewAct =
  /** The answer is another one. */
  | { kind: 'correct'; criterion: string; verdict: PersonVerdict; comment: string; evidence?: Evidence }
  /** The answers are right as they stand. */
  | { kind: 'confirm'; verdicts: Record<string, PersonVerdict> }
  /** The total is this, whatever the answers add up to. */
  | { kind: 'override'; scorePercent: number; comment: string }
  /**
   * The speakers are these, by the labels of the transcript that the analysis was made from.
   *
   * `answers` are the model's, with their evidence checked again under those names.
   */
  | { kind: 'swap_speakers'; speakers: Record<string, string>; answers: GradedAnswer[] }
  | { kind: 'undo'; undoes: number };

export type ReviewKind = ReviewAct['kind'];

export type ReviewEntry = ReviewAct & {
  /** From 1, without gaps, for each version of a call. */
  revision: number;
  by: string;
  /** ISO 8601. */
  at: string;
};

type EntryOf<K extends ReviewKind> = Extract<ReviewEntry, { kind: K }>;

/** A question that people and the model agree on too little for it to count, and the figure that says so. */
export interface AdvisoryQuestion {
  criterion: string;
  measure: AgreementFloor['measure'];
  /** Null where the measure is undefined. */
  value: number | null;
  n: number;
}

/** An answer as it stands, beside it what the model had said where that is something else. */
export interface EffectiveAnswer extends GradedAnswer {
  /** Of an answer that a person has looked at. */
  review?: { outcome: 'confirmed' | 'corrected'; revision: number; by: string; at: string; comment?: string };
  /** The model's, when a correction or other speakers have changed it. */
  ai?: Pick<GradedAnswer, 'verdict' | 'evidence' | 'rejected'>;
  /** Shown, but left out of every total and of what is pushed. */
  advisory?: true;
}

export interface EffectiveAnalysis extends Omit<Analysis, 'answers'> {
  answers: EffectiveAnswer[];
  /** Absent when nobody has changed or confirmed anything. */
  review?: {
    /** The newest entry, undone ones included. */
    revision: number;
    by: string;
    at: string;
    /** The model's own. */
    ai_grading: Grading;
    confirmed: string[];
    corrected: string[];
    speakers?: Record<string, string>;
    override?: { score_percent: number; computed_score_percent: number | null; comment: string; by: string; at: string };
  };
  advisory?: AdvisoryQuestion[];
}

/** What of a call's reviews stands. */
export interface Standing {
  /** The last word on each question. */
  answers: ReadonlyMap<string, EntryOf<'correct'> | EntryOf<'confirm'>>;
  override?: EntryOf<'override'>;
  swap?: EntryOf<'swap_speakers'>;
}

/** @param entries of one version, in any order */
export const standingOf = (entries: readonly ReviewEntry[]): Standing => {
  const undone = new Set(entries.filter((entry) => entry.kind === 'undo').map((entry) => entry.undoes));
  const answers = new Map<string, EntryOf<'correct'> | EntryOf<'confirm'>>();
  let override: EntryOf<'override'> | undefined;
  let swap: EntryOf<'swap_speakers'> | undefined;
  for (const entry of entries.toSorted((a, b) => a.revision - b.revision)) {
    if (undone.has(entry.revision)) continue;
    switch (entry.kind) {
      case 'correct':
        answers.set(entry.criterion, entry);
        break;
      case 'confirm':
        for (const criterion of Object.keys(entry.verdicts)) answers.set(criterion, entry);
        break;
      case 'override':
        override = entry;
        break;
      case 'swap_speakers':
        swap = entry;
        break;
      case 'undo':
        break;
    }
  }
  return { answers, ...(override ? { override } : {}), ...(swap ? { swap } : {}) };
};

/** Whether an entry can be undone: it is there, is no undo, and is not undone already. */
export const canUndo = (entries: readonly ReviewEntry[], revision: number): boolean =>
  entries.some((entry) => entry.revision === revision && entry.kind !== 'undo') && !entries.some((entry) => entry.kind === 'undo' && entry.undoes === revision);

/** A verdict as a person would put it: what is claimed without evidence earns nothing, as "no" does. */
export const asPersonWould = (verdict: Verdict): PersonVerdict => (verdict === 'not_evidenced' ? 'no' : verdict);

/** What an analysis was graded by. Older ones do not say; there was one rubric then. */
export const rubricOf = (analysis: Pick<Analysis, 'rubric'>): Rubric => analysis.rubric ?? DEFAULT_RUBRIC;

/**
 * The analysis as it stands: the model's answers, what people have said of them, and the questions that
 * count for nothing because the two agree too little.
 *
 * Every place that shows, stores or pushes a score takes it from here. Totals are computed by the same
 * rules as the model's. Without reviews and advisory questions it is the analysis itself.
 */
export const effectiveAnalysis = (analysis: Analysis, { entries, advisory = [] }: { entries: readonly ReviewEntry[]; advisory?: readonly AdvisoryQuestion[] }): EffectiveAnalysis => {
  const standing = standingOf(entries);
  const isReviewed = standing.answers.size > 0 || standing.override !== undefined || standing.swap !== undefined;
  const setAside = advisory.filter(({ criterion }) => analysis.answers.some((answer) => answer.criterion === criterion));
  if (!isReviewed && setAside.length === 0) return analysis;

  const isAdvisory = (criterion: string): boolean => setAside.some((question) => question.criterion === criterion);
  const answers = analysis.answers.map((ai): EffectiveAnswer => {
    const checked = standing.swap?.answers.find(({ criterion }) => criterion === ai.criterion) ?? ai;
    const answer = withVerdict(checked, standing.answers.get(ai.criterion), standing.swap?.speakers);
    const changed = answer.verdict !== ai.verdict || checked !== ai || answer.review?.outcome === 'corrected';
    return { ...answer, ...(changed ? { ai: { verdict: ai.verdict, evidence: ai.evidence, rejected: ai.rejected } } : {}), ...(isAdvisory(ai.criterion) ? { advisory: true as const } : {}) };
  });

  const rubric = rubricOf(analysis);
  const counted = { ...rubric, criteria: rubric.criteria.filter(({ id }) => !isAdvisory(id)) };
  const passPercent = analysis.pass_percent ?? DEFAULT_SETTINGS.passPercent;
  const computed = grade(counted, answers, passPercent);
  const { override, swap } = standing;
  const grading = override ? { ...computed, total_score_percent: override.scorePercent, pass: override.scorePercent >= passPercent } : computed;
  const newest = entries.reduce<ReviewEntry | undefined>((last, entry) => (last && last.revision > entry.revision ? last : entry), undefined);
  const by = (outcome: 'confirmed' | 'corrected'): string[] => answers.filter((answer) => answer.review?.outcome === outcome).map(({ criterion }) => criterion);
  return {
    ...analysis,
    grading,
    answers,
    ...(swap && analysis.patterns ? { patterns: patternsUnder(swap.speakers, analysis.patterns) } : {}),
    ...(isReviewed && newest
      ? {
          review: {
            revision: newest.revision,
            by: newest.by,
            at: newest.at,
            ai_grading: analysis.grading,
            confirmed: by('confirmed'),
            corrected: by('corrected'),
            ...(swap ? { speakers: swap.speakers } : {}),
            ...(override ? { override: { score_percent: override.scorePercent, computed_score_percent: computed.total_score_percent, comment: override.comment, by: override.by, at: override.at } } : {}),
          },
        }
      : {}),
    ...(setAside.length > 0 ? { advisory: [...setAside] } : {}),
  };
};

/** Patterns are things that customers say: what the agent has said after all is none. */
const patternsUnder = (speakers: Record<string, string>, patterns: readonly DetectedPattern[]): DetectedPattern[] =>
  patterns.map((pattern) => ({ ...pattern, evidence: { ...pattern.evidence, speaker: nameOf(speakers, pattern.evidence.speaker) } })).filter(({ evidence }) => evidence.speaker !== 'agent');

const withVerdict = (answer: GradedAnswer, said: EntryOf<'correct'> | EntryOf<'confirm'> | undefined, speakers: Record<string, string> = {}): EffectiveAnswer => {
  if (!said) return answer;
  const { revision, by, at } = said;
  if (said.kind === 'confirm') {
    const verdict = said.verdicts[answer.criterion]!;
    // Confirmed as it was then; other speakers may have changed it since.
    return { ...answer, verdict: asPersonWould(answer.verdict) === verdict ? answer.verdict : verdict, review: { outcome: 'confirmed', revision, by, at } };
  }
  const { verdict, comment, evidence } = said;
  return {
    ...answer,
    verdict,
    evidence: evidence ? [{ ...evidence, speaker: nameOf(speakers, evidence.speaker) }] : verdict === answer.verdict ? answer.evidence : [],
    rejected: [],
    review: { outcome: 'corrected', revision, by, at, comment },
  };
};

/** Labels are a provider's: one may be called as something that every object has. */
const nameOf = (speakers: Record<string, string>, label: string): string => (Object.hasOwn(speakers, label) ? speakers[label]! : label);

/** A transcript under other names. Turns keep their places, so that evidence still points at them. */
export const withSpeakers = <T extends Pick<Transcript, 'turns' | 'speakers'>>(transcript: T, speakers: Record<string, string>): T => ({
  ...transcript,
  speakers: [...new Set(transcript.speakers.map((speaker) => nameOf(speakers, speaker)))],
  turns: transcript.turns.map((turn) => ({ ...turn, speaker: nameOf(speakers, turn.speaker) })),
});

/** How many answers a person should look at first: the model said yes and could not show it. */
export const doubtsOf = (analysis: Pick<Analysis, 'answers'>): number => analysis.answers.filter(({ verdict, rejected }) => verdict === 'not_evidenced' || rejected.length > 0).length;
