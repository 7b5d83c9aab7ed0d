import type { Pace } from './messages.ts';

/** The work on a project's queue of voice calls. */

export interface VoiceLinesInput {
  project: string;
  pace: Pace;
}

/** Something has changed: calls were queued or let go on, or a line has become free. Carries nothing that could be stale. */
export const VOICE_LINES_SIGNAL = 'wake';

export interface LinesLook {
  started: number;
  /** When to look again at the latest; null: nothing waits. */
  lookAgainInMs: number | null;
  /** Why nobody is called, where that is so. */
  heldBack?: string;
}

export interface VoiceLinesActivities {
  /** Puts calls that are due onto free lines. */
  startDueCalls(input: { project: string }): Promise<LinesLook>;
}
