import { startOfDay } from './local-time.ts';
import { nextAllowedMs, type QuietWindow } from './quiet-hours.ts';

/** When one number may be called: by the hour, and by how often it was called that day. */

/** What keeps a call from being dialled though it is due. */
export const WAITS = ['quiet_hours', 'daily_limit', 'provider'] as const;
export type Wait = (typeof WAITS)[number];

export interface CallingRules {
  /** The project's; a call may name its own. */
  timeZone: string;
  quietHours: readonly QuietWindow[];
  /** 0: no limit. */
  voiceCallsPerNumberPerDay: number;
}

export interface Allowed {
  /** Epoch ms; not after now: at once. */
  atMs: number;
  /** Absent: nothing. */
  waitsFor?: Wait;
}

/**
 * When a due call may be dialled.
 *
 * @param dialledToday calls to the number on this day of its zone, and those that are about to be
 */
export const allowedAt = (nowMs: number, { timeZone, dialledToday }: { timeZone?: string | undefined; dialledToday: number }, rules: CallingRules): Allowed => {
  const zone = timeZone ?? rules.timeZone;
  const isOver = rules.voiceCallsPerNumberPerDay > 0 && dialledToday >= rules.voiceCallsPerNumberPerDay;
  const fromMs = isOver ? startOfDay(nowMs, zone, 1) : nowMs;
  const atMs = nextAllowedMs(fromMs, rules.quietHours, zone);
  if (isOver) return { atMs, waitsFor: 'daily_limit' };
  return atMs > nowMs ? { atMs, waitsFor: 'quiet_hours' } : { atMs };
};
