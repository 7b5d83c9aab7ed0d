import { clockChange, shownAt, startOfDay } from '../local-time.ts';

/**
 * Days and hours of a time zone.
 *
 * The engines need not know time zones: their tables of them differ in age and in what they are called by. What a zone's
 * clocks are ahead of UTC, and when that changes, is looked up here and stands in the query as numbers.
 */

const DAY_MS = 86_400_000;

/** Half open; epoch ms. */
export interface Span {
  fromMs: number;
  toMs: number;
}

/** From a point in time on, clocks are so many seconds ahead of UTC. */
export interface Offset {
  fromMs: number;
  seconds: number;
}

const offsetAt = (ms: number, timeZone: string): number => (shownAt(ms, timeZone) - ms) / 1_000;

/** The offsets that hold in a span, in order; the first one from its start on. */
export const offsetsIn = ({ fromMs, toMs }: Span, timeZone: string): Offset[] => {
  const offsets: Offset[] = [{ fromMs, seconds: offsetAt(fromMs, timeZone) }];
  // No zone changes twice within a day.
  for (let from = fromMs; from < toMs; from += DAY_MS) {
    const change = clockChange(from, Math.min(from + DAY_MS, toMs), timeZone);
    if (change !== undefined) offsets.push({ fromMs: change, seconds: offsetAt(change, timeZone) });
  }
  return offsets;
};

/** When a day begins in a zone: at midnight, or as soon as it is that day where clocks skip midnight. */
export const startOf = (day: string, timeZone: string): number => {
  const noon = Date.parse(`${day}T12:00:00.000Z`);
  return startOfDay(noon - offsetAt(noon, timeZone) * 1_000, timeZone);
};

/** The day that it is in a zone, `YYYY-MM-DD`. */
export const dayIn = (ms: number, timeZone: string): string => new Date(shownAt(ms, timeZone)).toISOString().slice(0, 10);

export const addDays = (day: string, days: number): string => new Date(Date.parse(`${day}T00:00:00.000Z`) + days * DAY_MS).toISOString().slice(0, 10);

/** A point in time as a zone's clocks show it, with how far they are from UTC: `2026-11-01T01:00:00-04:00`. */
export const shownWithOffset = (ms: number, timeZone: string): string => {
  const shown = shownAt(ms, timeZone);
  const minutes = Math.round((shown - ms) / 60_000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const size = Math.abs(minutes);
  return `${new Date(shown).toISOString().slice(0, 19)}${minutes < 0 ? '-' : '+'}${two(Math.floor(size / 60))}:${two(size % 60)}`;
};
