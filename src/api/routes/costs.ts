import { z } from 'zod';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const DAY_MS = 86_400_000;
const MOST_DAYS = 366;
/** Calls are added up request by request. */
const MOST_DAYS_OF_CALLS = 31;
const day = (ms: number): string => new Date(ms).toISOString().slice(0, 10);

const Query = z.strictObject({
  by: z.enum(['step', 'model', 'day', 'call']).default('day'),
  /** UTC days, both included. Default: the last thirty. */
  from: z.iso.date().optional(),
  to: z.iso.date().optional(),
  limit: z.coerce.number().int().min(1).max(1_000).default(400),
});

const TotalsShape = z.object({
  from: z.string(),
  to: z.string(),
  totals: z.array(z.object({ of: z.string(), requests: z.number(), unsettled: z.number(), microUsd: z.number() })),
  today: z.object({ spentMicroUsd: z.number(), budgetMicroUsd: z.number().nullable() }),
});

export const costRoutes = (route: RouteTable, { costs, projects }: ApiDependencies): void => {
  route.get(
    '/v1/projects/:project/costs',
    { access: 'project_viewer', summary: 'What was spent and set aside, by day, step, model or call, in millionths of a US dollar', tag: 'Costs', params: ProjectParams, query: Query, returns: TotalsShape },
    async ({ params: { project }, query }) => {
      const to = query.to ?? day(Date.now());
      const from = query.from ?? day(Date.parse(to) - 29 * DAY_MS);
      const days = (Date.parse(to) - Date.parse(from)) / DAY_MS + 1;
      const most = query.by === 'call' ? MOST_DAYS_OF_CALLS : MOST_DAYS;
      if (days < 1 || days > most) throw new HttpProblem(400, `from has to lie before to, at most ${most} days.`);
      const { dailyBudgetMicroUsd } = await projects.settings(project);
      return {
        from,
        to,
        totals: await costs.totals(project, { by: query.by, from, to, limit: query.limit }),
        today: { spentMicroUsd: await costs.spentOn(project), budgetMicroUsd: dailyBudgetMicroUsd || null },
      };
    },
  );
};
