import { z } from 'zod';
import type { AnalyticsQuery } from '../../domain/analytics/query.ts';
import { type FilterName, type Filters, groupOf, type GroupName } from '../../domain/analytics/groups.ts';
import { addDays, dayIn, type Span, startOf } from '../../domain/analytics/zone.ts';
import { isDayName, isTimeZone, readTime } from '../../domain/local-time.ts';
import { HttpProblem } from '../problems.ts';

const MOST_DAYS = 366;
const DAY_MS = 86_400_000;
const DEFAULT_DAYS = 30;
/** Beside those that a query is always divided by. */
export const MOST_GROUPS = 2;
export const MOST_ROWS = 10_000;
export const DEFAULT_ROWS = 1_000;
const MOST_VALUES = 20;

const DAY = /^\d{4}-\d{2}-\d{2}$/;
const Value = z.string().max(200);
/** Given once or several times; an empty one stands for rows that have none. */
const Values = z.union([Value, z.array(Value).max(MOST_VALUES)]).optional();
const Point = z.string().max(40).optional();

export const Common = {
  /** A day, which begins at midnight in the time zone, or a point in time. `to` is excluded. */
  from: Point,
  to: Point,
  timeZone: z.string().max(60).refine(isTimeZone, 'must be the name of a time zone, e.g. Asia/Singapore').optional(),
  /** Comma-separated; `none` for one row. */
  groupBy: z.string().max(100).optional(),
  limit: z.coerce.number().int().min(1).max(MOST_ROWS).default(DEFAULT_ROWS),
  format: z.enum(['json', 'csv']).optional(),
} as const;

/** The parameters of one query; any other is refused by its name. */
export const questionShape = ({ filters }: AnalyticsQuery) => z.strictObject({ ...Common, ...(Object.fromEntries(filters.map((name) => [name, Values])) as Record<FilterName, typeof Values>) });

export type Parameters = z.output<ReturnType<typeof questionShape>>;

const invalid = (path: string, message: string): HttpProblem => new HttpProblem(400, 'The request does not have the form that is asked for.', { errors: [{ path, message }] });

const groupsIn = (text: string | undefined, { groups, defaultGroups }: AnalyticsQuery): GroupName[] => {
  if (text === undefined) return [...defaultGroups];
  if (text === 'none') return [];
  const names = text.split(',').map((name) => name.trim());
  const unknown = names.find((name) => !(groups as readonly string[]).includes(name));
  if (unknown !== undefined) throw invalid('groupBy', `"${unknown}" is none of ${groups.join(', ')}, and not "none"`);
  if (names.length > MOST_GROUPS) throw invalid('groupBy', `must be at most ${MOST_GROUPS}`);
  if (new Set(names).size < names.length) throw invalid('groupBy', 'names one of them twice');
  return names as GroupName[];
};

const pointIn = (path: 'from' | 'to', text: string, timeZone: string): number => {
  if (DAY.test(text)) {
    if (!isDayName(text)) throw invalid(path, 'is no day that there is');
    return startOf(text, timeZone);
  }
  const time = readTime(text, timeZone);
  if (typeof time !== 'number') throw invalid(path, `must be a day such as 2026-11-20, or: ${time.problem}`);
  return time;
};

/** Default: the last thirty days, today among them; with one end given, the thirty days before it or up to today. */
const spanIn = ({ from, to }: Pick<Parameters, 'from' | 'to'>, timeZone: string, nowMs: number): Span => {
  const toMs = to === undefined ? startOf(addDays(dayIn(nowMs, timeZone), 1), timeZone) : pointIn('to', to, timeZone);
  const fromMs = from === undefined ? startOf(addDays(dayIn(toMs, timeZone), -DEFAULT_DAYS), timeZone) : pointIn('from', from, timeZone);
  if (fromMs >= toMs) throw invalid('from', 'has to lie before to, which is excluded');
  // A year with its leap day, and an hour for a change of clocks.
  if (toMs - fromMs > MOST_DAYS * DAY_MS + 3_600_000) throw invalid('from', `may lie at most ${MOST_DAYS} days before to`);
  return { fromMs, toMs };
};

const filtersIn = (parameters: Parameters, { filters }: AnalyticsQuery): Filters =>
  Object.fromEntries(
    filters.flatMap((name): [string, (string | null)[]][] => {
      const given = parameters[name];
      if (given === undefined) return [];
      // In an order of their own, so that the same question is the same.
      return [[name, [...new Set([given].flat())].toSorted().map((value) => (value === '' ? null : value))]];
    }),
  );

/** What a request's parameters ask. @throws HttpProblem 400 naming the parameter */
export const readQuestion = (query: AnalyticsQuery, parameters: Parameters, { timeZone: own, nowMs }: { timeZone: string; nowMs: number }) => {
  const timeZone = parameters.timeZone ?? own;
  return { timeZone, span: spanIn(parameters, timeZone, nowMs), groupBy: groupsIn(parameters.groupBy, query), filters: filtersIn(parameters, query), limit: parameters.limit };
};

const GroupShape = z.object({ name: z.string(), about: z.string() });
export const describeGroup = (name: GroupName): z.output<typeof GroupShape> => ({ name, about: groupOf(name).about });

export const ColumnShape = z.object({ name: z.string(), type: z.string(), unit: z.string().nullable(), about: z.string() });
export const AnswerShape = z.object({
  query: z.string(),
  from: z.iso.datetime(),
  to: z.iso.datetime(),
  timeZone: z.string(),
  groupBy: z.array(z.string()),
  /** When the warehouse was last loaded; null: never. */
  asOf: z.iso.datetime().nullable(),
  columns: z.array(ColumnShape),
  /** By the columns' names. */
  rows: z.array(z.record(z.string(), z.union([z.string(), z.number(), z.null()]))),
  /** There are more rows than `limit`. */
  truncated: z.boolean(),
});
export const CatalogueShape = z.object({
  asOf: z.iso.datetime().nullable(),
  engine: z.string(),
  limits: z.object({ days: z.number(), rows: z.number(), groups: z.number(), seconds: z.number() }),
  queries: z.array(z.object({ name: z.string(), about: z.string(), alwaysBy: z.array(GroupShape), groups: z.array(GroupShape), defaultGroups: z.array(z.string()), filters: z.array(GroupShape), columns: z.array(ColumnShape), link: z.string() })),
});
export const LIMITS = { days: MOST_DAYS, rows: MOST_ROWS, groups: MOST_GROUPS };
