import { startOfDay } from './local-time.ts';
import { leavesTime, nextAllowedMs, type QuietWindow } from './quiet-hours.ts';

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

/** A turn that was given longer ago is none any more: the hour, or the rate, may have changed since. Far above the time that a start takes. */
export const TURN_MS = 60_000;
/** Calls are given their turn this far ahead: long enough for a steady rate, short enough that a pause takes effect. */
export const TURN_AHEAD_MS = 3_000;

/** From which time on a turn may be given: it is outside quiet hours until its last moment. */
export const turnFrom = (ms: number, { quietHours }: Pick<CallingRules, 'quietHours'>, zone: string): number => nextAllowedMs(ms, quietHours, zone, TURN_AHEAD_MS + TURN_MS);

/** Whether quiet hours leave time for a turn in the week. */
export const leavesTurns = (quietHours: readonly QuietWindow[]): boolean => leavesTime(quietHours, TURN_AHEAD_MS + TURN_MS);

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
  const atMs = turnFrom(fromMs, rules, zone);
  if (isOver) return { atMs, waitsFor: 'daily_limit' };
  return atMs > nowMs ? { atMs, waitsFor: 'quiet_hours' } : { atMs };
};
