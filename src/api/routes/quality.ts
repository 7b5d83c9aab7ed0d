import { z } from 'zod';
import { QUALITY_BY, type QualityFilter } from '../../db/quality.ts';
import { PATTERN_KINDS } from '../../domain/patterns.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { CategoryName } from '../settings.schema.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Quality';
const DAY_MS = 86_400_000;
const MOST_DAYS = 366;

const timeZone = z.string().max(60).refine((name) => {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    // Offsets such as +03:00 mean the opposite to PostgreSQL.
    return !/^[+-]/.test(name);
  } catch {
    return false;
  }
}, 'must be the name of a time zone, e.g. Asia/Singapore');

const Query = {
  /** When the calls began. Default: the last thirty days. `to` is excluded. */
  from: z.iso.datetime({ offset: true }).optional(),
  to: z.iso.datetime({ offset: true }).optional(),
  agent: z.string().min(1).max(200).optional(),
  queue: z.string().min(1).max(200).optional(),
  category: CategoryName.optional(),
};
const limit = z.coerce.number().int().min(1).max(1_000).default(400);
const percent = z.number().nullable();
const Period = { from: z.iso.datetime(), to: z.iso.datetime() };

const filterOf = (project: string, { from, to, ...names }: z.output<z.ZodObject<typeof Query>>): QualityFilter => {
  const until = to ? new Date(to) : new Date();
  const since = from ? new Date(from) : new Date(until.getTime() - 30 * DAY_MS);
  if (until <= since || until.getTime() - since.getTime() > MOST_DAYS * DAY_MS) throw new HttpProblem(400, `from has to lie before to, at most ${MOST_DAYS} days.`);
  return { project, from: since, to: until, ...names };
};
const period = ({ from, to }: QualityFilter) => ({ from: from.toISOString(), to: to.toISOString() });

export const qualityRoutes = (route: RouteTable, { quality }: ApiDependencies): void => {
  const common = { access: 'project_viewer', tag: TAG, params: ProjectParams } as const;
  route.get(
    '/v1/projects/:project/quality',
    {
      ...common,
      summary: 'Scores of graded calls by day, agent, queue, category, direction or rubric',
      query: z.strictObject({ ...Query, by: z.enum(QUALITY_BY).default('day'), timeZone: timeZone.default('UTC'), limit }),
      returns: z.object({ ...Period, totals: z.array(z.object({ of: z.string().nullable(), calls: z.number(), averageScorePercent: percent, passPercent: percent, negativePercent: z.number() })) }),
    },
    async ({ params: { project }, query: { by, timeZone: zone, limit: most, ...rest } }) => {
      const filter = filterOf(project, rest);
      return { ...period(filter), totals: await quality.totals(filter, { by, timeZone: zone, limit: most }) };
    },
  );
  route.get(
    '/v1/projects/:project/quality/criteria',
    {
      ...common,
      summary: 'How each question was answered, the worst first',
      query: z.strictObject({ ...Query, limit }),
      returns: z.object({ ...Period, criteria: z.array(z.object({ of: z.string(), answers: z.object({ yes: z.number(), no: z.number(), not_applicable: z.number(), not_evidenced: z.number() }), yesPercent: percent })) }),
    },
    async ({ params: { project }, query: { limit: most, ...rest } }) => {
      const filter = filterOf(project, rest);
      return { ...period(filter), criteria: await quality.criteria(filter, most) };
    },
  );
  route.get(
    '/v1/projects/:project/quality/patterns',
    {
      ...common,
      summary: 'What customers said: objections, complaints, wishes, the most frequent first',
      query: z.strictObject(Query),
      returns: z.object({ ...Period, patterns: z.array(z.object({ of: z.enum(PATTERN_KINDS), calls: z.number(), sharePercent: z.number() })) }),
    },
    async ({ params: { project }, query }) => {
      const filter = filterOf(project, query);
      return { ...period(filter), patterns: await quality.patterns(filter) };
    },
  );
};
