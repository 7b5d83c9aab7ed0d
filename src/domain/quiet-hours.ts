import { clockChange, shownAt } from './local-time.ts';

/** When nobody is called. What the clock on the called person's wall shows decides, also on days on which clocks change. */

export const WEEKDAYS = ['mon', 'tue', 'wed', 'thu', 'fri', 'sat', 'sun'] as const;
export type Weekday = (typeof WEEKDAYS)[number];

export interface QuietWindow {
  /** `21:00`. */
  from: string;
  /** Not included, up to `24:00`; before `from`: on the day after. */
  to: string;
  /** Days on which it begins; absent: every day. */
  days?: Weekday[] | undefined;
}

const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;
const DAY_MINUTES = 1_440;
/** Windows that leave time in a week let somebody be called within it; one day more for changes of clocks. */
const LONGEST_LOOK_MS = 8 * DAY_MS;

const minutesOf = (time: string): number => {
  const [hours, minutes] = time.split(':').map(Number) as [number, number];
  return hours * 60 + minutes;
};

/** Of a day in ms since 1970, which was a Thursday. */
const weekdayOf = (day: number): Weekday => WEEKDAYS[(((day + 3) % 7) + 7) % 7]!;

/**
 * @param shown what clocks show, as if that were UTC
 * @returns what they show when the window ends that they are in; undefined: in none
 */
const endOf = ({ from, to, days }: QuietWindow, shown: number): number | undefined => {
  const day = Math.floor(shown / DAY_MS);
  const [start, length] = [minutesOf(from) * MINUTE_MS, ((minutesOf(to) - minutesOf(from) + DAY_MINUTES) % DAY_MINUTES || DAY_MINUTES) * MINUTE_MS];
  // One that began yesterday may still last.
  for (const begun of [day - 1, day]) {
    if (days && !days.includes(weekdayOf(begun))) continue;
    const beginning = begun * DAY_MS + start;
    if (shown >= beginning && shown < beginning + length) return beginning + length;
  }
  return undefined;
};

const endOfQuiet = (windows: readonly QuietWindow[], shown: number): number | undefined => {
  const ends = windows.flatMap((window) => endOf(window, shown) ?? []);
  return ends.length > 0 ? Math.max(...ends) : undefined;
};

export const isQuiet = (ms: number, windows: readonly QuietWindow[], timeZone: string): boolean => endOfQuiet(windows, shownAt(ms, timeZone)) !== undefined;

/**
 * The first time from now on at which somebody may be called.
 *
 * @param forMs how long it must not be quiet from then on, its end not included: a turn that is given now is taken later
 * @returns epoch ms: `nowMs` itself where it is not quiet. Of windows that leave no such time, eight days on
 */
export const nextAllowedMs = (nowMs: number, windows: readonly QuietWindow[], timeZone: string, forMs = 0): number => {
  if (windows.length === 0) return nowMs;
  let ms = nowMs;
  while (ms - nowMs < LONGEST_LOOK_MS) {
    const quietFrom = firstQuiet(ms, forMs, windows, timeZone);
    if (quietFrom === undefined) return ms;
    const shown = shownAt(quietFrom, timeZone);
    const ahead = quietFrom + (endOfQuiet(windows, shown)! - shown);
    // Clocks that are changed before then show something else there.
    ms = clockChange(quietFrom, ahead, timeZone) ?? ahead;
  }
  return ms;
};

/** Windows begin with a minute, and clocks are changed at one: within it, nothing changes. */
const firstQuiet = (fromMs: number, forMs: number, windows: readonly QuietWindow[], timeZone: string): number | undefined => {
  for (let ms = fromMs; ms === fromMs || ms < fromMs + forMs; ms = (Math.floor(ms / MINUTE_MS) + 1) * MINUTE_MS) if (isQuiet(ms, windows, timeZone)) return ms;
  return undefined;
};

/** Whether there is a time in the week that is not quiet for so long. */
export const leavesTime = (windows: readonly QuietWindow[], forMs: number): boolean => {
  let minutes = 0;
  // A day more than the week: its end is its beginning.
  for (let shown = 0; shown < 8 * DAY_MS; shown += MINUTE_MS) {
    minutes = endOfQuiet(windows, shown) === undefined ? minutes + 1 : 0;
    if (minutes * MINUTE_MS >= forMs) return true;
  }
  return false;
};
