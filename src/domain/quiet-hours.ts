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
 * @returns epoch ms: `nowMs` itself where it is not quiet. Of windows that leave no time, eight days on
 */
export const nextAllowedMs = (nowMs: number, windows: readonly QuietWindow[], timeZone: string): number => {
  let ms = nowMs;
  while (ms - nowMs < LONGEST_LOOK_MS) {
    const shown = shownAt(ms, timeZone);
    const end = endOfQuiet(windows, shown);
    if (end === undefined) return ms;
    const ahead = ms + (end - shown);
    // Clocks that are changed before then show something else there.
    ms = clockChange(ms, ahead, timeZone) ?? ahead;
  }
  return ms;
};

/** Whether there is a minute in the week that is not quiet. */
export const leavesTime = (windows: readonly QuietWindow[]): boolean => {
  for (let shown = 0; shown < 7 * DAY_MS; shown += MINUTE_MS) if (endOfQuiet(windows, shown) === undefined) return true;
  return false;
};
