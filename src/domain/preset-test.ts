import type { Analysis } from './analysis.ts';
import type { Pace } from './messages.ts';
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

export interface PresetTestInput {
  project: string;
  testId: string;
  pace: Pace;
}

export interface PresetTestActivities {
  /** Grades the call anew and keeps what came of it with the test. */
  runPresetTest(input: { project: string; testId: string }): Promise<void>;
  failPresetTest(input: { project: string; testId: string; error: { code: string; message: string; advice: string } }): Promise<void>;
}

/** What a test's requests are kept under among the costs. */
export const presetTestReference = (testId: string): string => `preset-test/${testId}`;
/** The preset that holds a draft for as long as its test runs. */
export const draftOf = (testId: string): string => `draft-${testId}`;
