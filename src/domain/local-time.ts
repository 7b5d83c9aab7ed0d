/** Times as people's exports write them: of a place, without saying how far it is from UTC. */

const LOCAL = /^(\d{4})-(\d{2})-(\d{2})[T ](\d{2}):(\d{2})(?::(\d{2})(?:\.(\d{1,3}))?)?$/;
const WITH_OFFSET = /^\d{4}-\d{2}-\d{2}[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,3})?)?(?:Z|[+-]\d{2}:\d{2})$/;

export const isTimeZone = (name: string): boolean => {
  try {
    return Boolean(new Intl.DateTimeFormat('en', { timeZone: name }));
  } catch {
    return false;
  }
};

/** Making one takes longer than using it a hundred times. */
const formatters = new Map<string, Intl.DateTimeFormat>();
const MOST_FORMATTERS = 500;

const formatterOf = (timeZone: string): Intl.DateTimeFormat => {
  let formatter = formatters.get(timeZone);
  if (!formatter) {
    formatter = new Intl.DateTimeFormat('en', { timeZone, hourCycle: 'h23', year: 'numeric', month: '2-digit', day: '2-digit', hour: '2-digit', minute: '2-digit', second: '2-digit' });
    if (formatters.size >= MOST_FORMATTERS) formatters.clear();
    formatters.set(timeZone, formatter);
  }
  return formatter;
};

/** What the clocks of a zone show at a time, as if that were UTC. */
export const shownAt = (ms: number, timeZone: string): number => {
  const parts = formatterOf(timeZone).formatToParts(ms);
  const part = (type: string): number => Number(parts.find((each) => each.type === type)!.value);
  return Date.UTC(part('year'), part('month') - 1, part('day'), part('hour'), part('minute'), part('second')) + (((ms % 1_000) + 1_000) % 1_000);
};

const DAY_MS = 86_400_000;

/** When the clocks of a zone show a time, given as if it were UTC: never in an hour that they skip, twice in one that they repeat. */
export const timesOf = (shown: number, timeZone: string): number[] => {
  // Offsets are at most 14 hours; around a change of clocks two are tried.
  const offsets = new Set([shown - DAY_MS, shown + DAY_MS].map((near) => shownAt(near, timeZone) - near));
  return [...offsets].map((offset) => shown - offset).filter((at) => shownAt(at, timeZone) === shown).toSorted((a, b) => a - b);
};

/** The first ms after `from`, `to` at the latest, at which the clocks of a zone are another distance from UTC than at `from`; undefined: they stay. */
export const clockChange = (from: number, to: number, timeZone: string): number | undefined => {
  const offset = shownAt(from, timeZone) - from;
  const isAsBefore = (ms: number): boolean => shownAt(ms, timeZone) - ms === offset;
  if (isAsBefore(to)) return undefined;
  let [before, after] = [from, to];
  while (after - before > 1) {
    const middle = Math.floor((before + after) / 2);
    if (isAsBefore(middle)) before = middle;
    else after = middle;
  }
  return after;
};

/** When the day begins, in a zone, that its clocks show some days from a time. Where they skip midnight: when they do. */
export const startOfDay = (ms: number, timeZone: string, daysFrom = 0): number => {
  const shown = shownAt(ms, timeZone);
  const midnight = shown - (((shown % DAY_MS) + DAY_MS) % DAY_MS) + daysFrom * DAY_MS;
  const near = midnight - (shown - ms);
  return timesOf(midnight, timeZone)[0] ?? clockChange(near - DAY_MS / 2, near + DAY_MS / 2, timeZone) ?? near;
};

/**
 * Reads a time.
 *
 * @param timeZone IANA name that times without an offset are of
 * @returns epoch ms, or what is wrong, to be read behind the field's name. Of an hour that clocks show twice, the first.
 */
export const readTime = (text: string, timeZone?: string): number | { problem: string } => {
  if (WITH_OFFSET.test(text)) {
    const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})/.exec(text)!.map(Number) as [number, number, number, number];
    const ms = Date.parse(text.replace(' ', 'T'));
    return Number.isNaN(ms) || !isDay(year, month, day) ? { problem: 'is no day or time that there is' } : ms;
  }
  const parts = LOCAL.exec(text);
  if (!parts) return { problem: 'must look like 2026-11-20T14:03:00+08:00, or without the offset where timeZone is given' };
  if (timeZone === undefined) return { problem: 'lacks its offset from UTC, as in 2026-11-20T14:03:00+08:00; or say timeZone' };
  const [year, month, day, hour, minute, second, ms] = [1, 2, 3, 4, 5, 6, 7].map((index) => Number((parts[index] ?? '0').padEnd(index === 7 ? 3 : 0, '0'))) as [number, number, number, number, number, number, number];
  if (!isDay(year, month, day) || hour > 23 || minute > 59 || second > 59) return { problem: 'is no day or time that there is' };
  const wanted = Date.UTC(year, month - 1, day, hour, minute, second, ms);
  return timesOf(wanted, timeZone)[0] ?? { problem: `is a time that clocks in ${timeZone} skipped` };
};

/** The day that a zone's calendar shows at a time, as in 2026-11-20. */
export const dayAt = (ms: number, timeZone: string): string => new Date(shownAt(ms, timeZone)).toISOString().slice(0, 10);

/** The day that many days later. */
export const addDays = (day: string, days: number): string => new Date(Date.parse(day) + days * DAY_MS).toISOString().slice(0, 10);

/** A zone's day, epoch ms; `fromMs` inclusive, `toMs` exclusive. 23 to 25 hours long where clocks change. */
export const boundsOfDay = (day: string, timeZone: string): { fromMs: number; toMs: number } => {
  const noon = Date.parse(day) + DAY_MS / 2;
  const inside = timesOf(noon, timeZone)[0] ?? noon;
  return { fromMs: startOfDay(inside, timeZone), toMs: startOfDay(inside, timeZone, 1) };
};

const isDay = (year: number, month: number, day: number): boolean => {
  const date = new Date(Date.UTC(year, month - 1, day));
  return date.getUTCFullYear() === year && date.getUTCMonth() === month - 1 && date.getUTCDate() === day;
};

/** Whether a text names a day that there is, as in 2026-02-28. */
export const isDayName = (text: string): boolean => {
  const [, year, month, day] = /^(\d{4})-(\d{2})-(\d{2})$/.exec(text)?.map(Number) ?? [];
  return year !== undefined && year >= 1970 && isDay(year, month!, day!);
};
