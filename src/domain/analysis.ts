import type { Usage } from './cost.ts';
import type { PatternKind } from './patterns.ts';
import type { Rubric } from './rubric.ts';

/**
 * The analysis as stored at `call-detail/{task_id}/analysis.json`.
 *
 * The brief's fields come first; what makes them checkable follows. Every total is computed by code
 * from the answers, never by the model.
 */
export interface Analysis {
  call_id: string;
  summary: string;
  sentiment: Sentiment;
  grading: Grading;
  issues_detected: string[];
  recommendations: string[];
  /** Absent on analyses from before they were looked for. */
  patterns?: DetectedPattern[];
  answers: GradedAnswer[];
  /** `preset` is absent on analyses from before there were any. */
  versions: { prompt: string; preset?: string; rubric: string; model: string; provider: string };
  usage: Extract<Usage, { kind: 'llm' }>;
  cost_micro_usd: number;
  /** What it was graded by, so that totals can be computed again. Absent on analyses older than reviews. */
  rubric?: Rubric;
  /** The pass mark at that time. */
  pass_percent?: number;
}

/** Something that the customer said which is counted over calls. */
export interface DetectedPattern {
  kind: PatternKind;
  evidence: Evidence;
}

export type Sentiment = 'positive' | 'neutral' | 'negative';

export interface Grading {
  /** Points reached of those reachable, 0 to 100, rounded; null when nothing was applicable. */
  total_score_percent: number | null;
  /** Null when there is no score. */
  pass: boolean | null;
  categories: Record<string, { score_percent: number | null; points: number; out_of: number }>;
}

/**
 * `not_evidenced`: the model said yes but its quotes are not in the transcript. It earns no points and
 * stays in the denominator.
 */
export type Verdict = 'yes' | 'no' | 'not_applicable' | 'not_evidenced';

export interface GradedAnswer {
  criterion: string;
  verdict: Verdict;
  /** What the model answered before its evidence was checked. */
  claimed: Exclude<Verdict, 'not_evidenced'>;
  reason: string;
  evidence: Evidence[];
  /** Quotes that were thrown out, and why. */
  rejected: { quote: string; why: EvidenceFault }[];
}

/** A quote that stands in the transcript word for word. */
export interface Evidence {
  quote: string;
  speaker: string;
  /** Index into the transcript's turns. */
  turn: number;
  startMs: number;
  endMs: number;
}

export type EvidenceFault = 'empty' | 'not_in_transcript' | 'wrong_speaker';
