import type { Analysis, Verdict } from './analysis.ts';
import type { CrmAction, Scenario } from './crm-rules.ts';
import type { Pace } from './messages.ts';

/** A shadow run: stored calls graded by another preset, and nothing written but what it found. */

export const MOST_RESCORED = 1_000;
export const RESCORE_STATES = ['running', 'paused', 'waiting_for_budget', 'completed', 'cancelled', 'failed'] as const;
export type RescoreState = (typeof RESCORE_STATES)[number];
export const rescoreHasEnded = (state: RescoreState): boolean => ['completed', 'cancelled', 'failed'].includes(state);

/** What a grading came to, without a word of what was said. */
export interface Grade {
  /** As `sales@3`. */
  preset: string;
  rubric: string;
  scorePercent: number | null;
  verdicts: Record<string, Verdict>;
  /** What the CRM's rules made of it; null where they were not asked. */
  decision: { scenario: Scenario; action: CrmAction } | null;
}

export interface RescoredCall {
  /** As it is stored. */
  old: Grade;
  /** By the preset that is looked at. */
  new: Grade;
  /** By the old preset once more: what differs is noise. Of sampled calls only. */
  again: Grade | null;
  costMicroUsd: number;
}

export const gradeOf = ({ versions, grading, answers }: Analysis, decision: Grade['decision']): Grade => ({
  preset: versions.preset ?? 'installation@0',
  rubric: versions.rubric,
  scorePercent: grading.total_score_percent,
  verdicts: Object.fromEntries(answers.map(({ criterion, verdict }) => [criterion, verdict])),
  decision,
});

/** What a run will cost, as far as can be told beforehand. */
export interface RescoreForecast {
  calls: number;
  sampled: number;
  requests: number;
  inputTokens: number;
  outputTokens: number;
  /** Null: no price is known for one of the models. */
  microUsd: number | null;
}

export interface RescoreInput {
  project: string;
  rescoreId: string;
  pace: Pace;
  /** Set by the workflow itself when it continues as new. */
  paused?: boolean;
}

export const RESCORE_SIGNALS = { pause: 'pause', resume: 'resume', cancel: 'cancel' } as const;

interface OfRescore {
  project: string;
  rescoreId: string;
}

export interface RescoreActivities {
  /** The next calls to be graded; none: all are. */
  nextRescoreCalls(input: OfRescore & { limit: number }): Promise<number[]>;
  rescoreCall(input: OfRescore & { seq: number }): Promise<void>;
  failRescoreCall(input: OfRescore & { seq: number; error: { code: string; message: string; advice: string } }): Promise<void>;
  setRescoreState(input: OfRescore & { state: RescoreState; reason?: string }): Promise<void>;
}

export const rescoreReference = (rescoreId: string): string => `rescore/${rescoreId}`;
/** The old preset once more is paid for on its own, also where it asks the very same. */
export const againReference = (rescoreId: string): string => `${rescoreReference(rescoreId)}/again`;
