import { type Allowed, allowedAt, type CallingRules, type Wait } from './daily-limit.ts';

/**
 * Which of the calls that wait go onto a line now.
 *
 * A line is one of the account's concurrent calls. Strictly by priority, and within it by time; a call that has to wait
 * for its hour or its number's next day keeps nobody behind it waiting.
 */

export interface WaitingCall {
  id: string;
  to: string;
  timeZone?: string | undefined;
  /** 1 goes first. */
  priority: number;
  /** Calls to the number on this day of its zone, and those that are about to be. */
  dialledToday: number;
}

export interface Lines {
  /** Most concurrent calls of the account that go out, what is kept for calls that come in taken off. */
  limit: number;
  /** In use by calls that we did not place. */
  others: number;
  /** Ours, of all projects: on a line, or about to be. */
  ours: number;
  /** Of these, the project's. */
  ofProject: number;
  /** The most that the project may use; 0: all. */
  most: number;
}

export interface DialRate {
  callsPerSecond: number;
  /** For when the account's last call was planned; epoch ms. */
  lastAtMs?: number | undefined;
  /** Nothing is planned further ahead than this: what happens meanwhile shall count. */
  aheadMs: number;
}

export interface LinePlan {
  /** In the order in which they go, each with the time at which it does. */
  start: { id: string; atMs: number }[];
  wait: { id: string; untilMs: number; waitsFor: Wait }[];
  /** What keeps those that are neither: undefined when there are none. */
  lacking: 'lines' | 'rate' | undefined;
  /** Where the rate keeps them: from when on the next one may be planned; epoch ms. */
  rateAllowsAtMs?: number;
}

export const freeLines = ({ limit, others, ours, ofProject, most }: Lines): number => Math.max(0, Math.min(limit - others - ours, most > 0 ? most - ofProject : Infinity));

/** @param waiting due calls in the order of their time */
export const planLines = ({ nowMs, waiting, rules, lines, rate }: { nowMs: number; waiting: readonly WaitingCall[]; rules: CallingRules; lines: Lines; rate: DialRate }): LinePlan => {
  const plan: LinePlan = { start: [], wait: [], lacking: undefined };
  const gapMs = 1_000 / rate.callsPerSecond;
  const planned = new Map<string, number>();
  let free = freeLines(lines);
  let nextMs = Math.max(nowMs, rate.lastAtMs === undefined ? nowMs : Math.ceil(rate.lastAtMs + gapMs));
  // Sorting keeps the order of equals.
  for (const call of waiting.toSorted((one, other) => one.priority - other.priority)) {
    const ofNumber = planned.get(call.to) ?? 0;
    const { atMs, waitsFor }: Allowed = allowedAt(nowMs, { timeZone: call.timeZone, dialledToday: call.dialledToday + ofNumber }, rules);
    if (waitsFor) {
      plan.wait.push({ id: call.id, untilMs: atMs, waitsFor });
      continue;
    }
    // Those behind are still looked at for what they have to wait for.
    if (plan.lacking) continue;
    if (free === 0) plan.lacking = 'lines';
    else if (nextMs > nowMs + rate.aheadMs) {
      plan.lacking = 'rate';
      plan.rateAllowsAtMs = nextMs - rate.aheadMs;
    } else {
      plan.start.push({ id: call.id, atMs: nextMs });
      planned.set(call.to, ofNumber + 1);
      free -= 1;
      nextMs = Math.ceil(nextMs + gapMs);
    }
  }
  return plan;
};
