import type { Analysis } from './analysis.ts';
import type { PresetRef } from './preset.ts';

/** How a stored call would be graded by another preset. Nothing of it is kept with the call. */
export interface PresetTestResult {
  preset: PresetRef;
  /** As it would be stored. */
  analysis: Analysis;
  /** Of the call as it stands. */
  stored: { scorePercent: number | null; preset: string; rubric: string } | null;
  /** Whether the recording was transcribed anew, and into how many turns. */
  transcript: { anew: boolean; turns: number; provider: string; model: string };
  /** Over all requests, transcription included. */
  costMicroUsd: number;
}
