import { addDays, dayAt } from './local-time.ts';

/** A day that has been compared before. Times are epoch ms. */
export interface KnownDay {
  day: string;
  /** Compared to its end the last time. */
  done: boolean;
  settled: boolean;
  checkedAtMs: number;
  /** When the day ended. */
  toMs: number;
  timeZone: string;
}

export interface DaysDue {
  atMs: number;
  timeZone: string;
  /** Those of the last days; as many as are made up for are enough. */
  known: readonly KnownDay[];
  /** The first of all that was due by itself, however long ago; absent: none was yet. */
  firstDay?: string | undefined;
  /** From when on the source has been watched. */
  watchedFromMs: number;
  /** For so many days, a day is looked at again while calls of it are not at their end. */
  recheckDays: number;
  /** A day is compared when it has been over for so long: sources list calls late. */
  hoursAfter: number;
}

const HOUR_MS = 3_600_000;
/** Days that were missed longer ago are not made up for by themselves. */
export const CATCH_UP_DAYS = 31;
/** Once a day, however often it is asked what is due. */
const AGAIN_AFTER_MS = 20 * HOUR_MS;

/**
 * Days that have to be compared now, the oldest first: the last one that is over, those that were missed, and
 * those of which something is still to come.
 */
export const daysDue = ({ atMs, timeZone, known, firstDay, watchedFromMs, recheckDays, hoursAfter }: DaysDue): string[] => {
  const last = addDays(dayAt(atMs - hoursAfter * HOUR_MS, timeZone), -1);
  const watchedFrom = dayAt(watchedFromMs, timeZone);
  if (watchedFrom > last) return [];
  // The first time it begins with the last day: what was before was not to be watched.
  const begun = firstDay ?? last;
  const earliest = addDays(last, 1 - CATCH_UP_DAYS);
  const byDay = new Map(known.map((row) => [row.day, row]));
  const days: string[] = [];
  for (let day = [begun, watchedFrom, earliest].toSorted().at(-1)!; day <= last; day = addDays(day, 1)) {
    const row = byDay.get(day);
    if (!row || isDue(row, { atMs, timeZone, isRecent: day > addDays(last, -recheckDays) })) days.push(day);
  }
  return days;
};

const isDue = ({ done, settled, checkedAtMs, toMs, timeZone: comparedIn }: KnownDay, { atMs, timeZone, isRecent }: { atMs: number; timeZone: string; isRecent: boolean }): boolean => {
  if (!done || checkedAtMs < toMs) return true;
  // The project's days begin at another hour now.
  if (!isRecent || comparedIn !== timeZone) return isRecent;
  return !settled && checkedAtMs < atMs - AGAIN_AFTER_MS;
};
