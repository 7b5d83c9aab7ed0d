import { type CallingRules } from './daily-limit.ts';
import { isQuiet } from './quiet-hours.ts';
import { ON_A_LINE, VOICE_ENDS, type VoiceOutcome, type VoiceState } from './voice.ts';

/** Voice calls that were asked for together, by one file. */

export const MOST_BATCH_ROWS = 50_000;

/** `completed`: nothing of it is under way any more. */
export const BATCH_STATES = ['running', 'paused', 'cancelled', 'completed'] as const;
export type BatchState = (typeof BATCH_STATES)[number];

export interface BatchCounts {
  byState: Partial<Record<VoiceState, number>>;
  byOutcome: Partial<Record<VoiceOutcome, number>>;
}

const of = (counts: BatchCounts, states: readonly VoiceState[]): number => states.reduce((sum, state) => sum + (counts.byState[state] ?? 0), 0);

/** How far a batch has come. The four add up to its calls. */
export interface BatchProgress {
  queued: number;
  onALine: number;
  /** Over, but not analysed yet, or left to a person. */
  open: number;
  /** At one of its ends. */
  settled: number;
}

export const progressOf = (counts: BatchCounts): BatchProgress => ({
  queued: of(counts, ['queued']),
  onALine: of(counts, ON_A_LINE),
  open: of(counts, ['ended', 'needs_attention']),
  settled: of(counts, VOICE_ENDS),
});

const STEP_MS = 15 * 60_000;
const LONGEST_FORECAST_MS = 60 * 86_400_000;

/**
 * When the last of some queued calls will be dialled, if things go on as they do.
 *
 * Walks through time in quarters of an hour, of which quiet ones bring nothing.
 * @param perSecond calls that are dialled in a second of time that is not quiet
 * @returns epoch ms; undefined where that is more than 60 days on, or nothing goes on
 */
export const forecastEnd = ({ nowMs, calls, perSecond, rules }: { nowMs: number; calls: number; perSecond: number; rules: Pick<CallingRules, 'quietHours' | 'timeZone'> }): number | undefined => {
  if (perSecond <= 0) return undefined;
  let left = calls;
  for (let ms = nowMs; ms < nowMs + LONGEST_FORECAST_MS; ) {
    const end = Math.floor(ms / STEP_MS) * STEP_MS + STEP_MS;
    if (!isQuiet(ms, rules.quietHours, rules.timeZone)) {
      const neededMs = (left / perSecond) * 1_000;
      if (ms + neededMs <= end) return Math.ceil(ms + neededMs);
      left -= ((end - ms) / 1_000) * perSecond;
    }
    ms = end;
  }
  return undefined;
};
