import { z } from 'zod';
import type { DayRow } from '../../db/completeness.ts';
import { CALL_STATES, RESULTS } from '../../domain/call.ts';
import { GAP_REASONS, type GapReason, REASONS } from '../../domain/completeness.ts';
import { AftercallError } from '../../domain/errors.ts';
import { isGivenSource } from '../../domain/given.ts';
import { boundsOfDay, isDayName } from '../../domain/local-time.ts';
import { fromTextCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Completeness';
const DAYS = '/v1/projects/:project/completeness';
const DAY = `${DAYS}/:source/:day`;
const EXAMPLES = 5;
/** What was handed in is known for 30 days. */
const RECEIPTS_MS = 29 * 86_400_000;

const day = z.string().refine(isDayName, 'must be a day, as in 2026-11-20');
const source = z.string().regex(/^[a-z0-9][a-z0-9_-]{0,39}$/, 'must be the name of a source');
const DayParams = z.strictObject({ project: z.string().max(40), source, day });
const Reason = z.enum(GAP_REASONS);
const time = z.iso.datetime();

const Count = z.partialRecord(Reason, z.number());
const DayShape = z.object({
  source: z.string(),
  day: z.string(),
  timeZone: z.string(),
  from: time,
  to: time,
  /** `failed`: it could not be compared; the counts are of the time before. */
  state: z.enum(['running', 'done', 'failed']),
  error: z.string().nullable(),
  /** Nothing of it is expected to change any more. */
  settled: z.boolean(),
  /** `listed` = `processed` + the sum of `gaps`. */
  listed: z.number(),
  ours: z.number(),
  processed: z.number(),
  states: z.partialRecord(z.enum(CALL_STATES), z.number()),
  gaps: Count,
  /** Calls that we have and the source does not list. */
  notListed: Count,
  unexplained: z.number(),
  /** Calls that no window and no webhook had brought. */
  takenIn: z.number(),
  checks: z.number(),
  checkedAt: time.nullable(),
  startedAt: time,
  askedBy: z.string().nullable(),
});
const DayListShape = z.object({ days: z.array(DayShape), next: z.string().nullable() });
const DayDetailShape = DayShape.extend({
  reasons: z.array(z.object({ reason: Reason, calls: z.number(), meaning: z.string(), advice: z.string(), settled: z.boolean(), examples: z.array(z.string()) })),
});
const GapListShape = z.object({
  calls: z.array(
    z.object({
      callId: z.string(),
      reason: Reason,
      detail: z.string().nullable(),
      /** Whether the source lists it; else it is ours only. */
      listed: z.boolean(),
      /** How it stands by now; null where we have no such call. */
      now: z.object({ state: z.enum(CALL_STATES), result: z.enum(RESULTS).nullable(), reason: z.string().nullable() }).nullable(),
    }),
  ),
  next: z.string().nullable(),
});

/** Whether every call that a source lists has been taken in and went its way, day by day. */
export const completenessRoutes = (route: RouteTable, { completeness, completenessClient, projects, adaptersOf }: ApiDependencies): void => {
  route.get(
    DAYS,
    {
      access: 'project_viewer',
      summary: 'Days of each source, newest first: what it lists, what we have, and why they differ',
      tag: TAG,
      params: ProjectParams,
      query: z.strictObject({
        source: source.optional(),
        from: day.optional(),
        to: day.optional(),
        /** any: days with gaps; open: with something still to come; unexplained: with calls that nothing explains, or not compared. */
        gaps: z.enum(['any', 'open', 'unexplained']).optional(),
        ...Paging,
      }),
      returns: DayListShape,
    },
    async ({ params: { project }, query: { source: only, from, to, gaps, limit, cursor } }) => {
      await projects.settings(project);
      const filter = { ...(only ? { source: only } : {}), ...(from ? { fromDay: from } : {}), ...(to ? { toDay: to } : {}), ...(gaps ? { gaps } : {}) };
      const rows = await completeness.list(project, filter, { limit: limit + 1, ...(cursor ? { after: positionOf(fromTextCursor(cursor)) } : {}) });
      const page = rows.slice(0, limit);
      return { days: page.map(viewOf), next: rows.length > limit ? toTextCursor(`${page.at(-1)!.day} ${page.at(-1)!.source}`) : null };
    },
  );

  route.get(DAY, { access: 'project_viewer', summary: 'One day of a source, with the reasons of its gaps and some calls of each', tag: TAG, params: DayParams, returns: DayDetailShape }, async ({ params }) => {
    const row = await completeness.get(params);
    const examples = await completeness.examples(params, EXAMPLES);
    const found = GAP_REASONS.filter((reason) => (row.gaps[reason] ?? 0) + (row.notListed[reason] ?? 0) > 0);
    return {
      ...viewOf(row),
      reasons: found.map((reason: GapReason) => ({ reason, calls: (row.gaps[reason] ?? 0) + (row.notListed[reason] ?? 0), ...REASONS[reason], examples: (examples.get(reason) ?? []).slice(0, EXAMPLES) })),
    };
  });

  route.get(
    `${DAY}/calls`,
    { access: 'project_viewer', summary: 'The calls behind its gaps, by their IDs, and how each stands by now', tag: TAG, params: DayParams, query: z.strictObject({ reason: Reason.optional(), ...Paging }), returns: GapListShape },
    async ({ params, query: { reason, limit, cursor } }) => {
      await completeness.get(params);
      const rows = await completeness.listGaps(params, { reason, limit: limit + 1, ...(cursor ? { after: fromTextCursor(cursor) } : {}) });
      const page = rows.slice(0, limit);
      return {
        calls: page.map(({ callId, side, reason: why, detail, standing }) => ({ callId, reason: why, detail, listed: side === 'listed', now: standing })),
        next: rows.length > limit ? toTextCursor(page.at(-1)!.callId) : null,
      };
    },
  );

  route.post(
    `${DAY}/reconcile`,
    {
      access: 'project_admin',
      audit: { action: 'completeness.reconcile', target: ({ params }) => `${params.source} ${params.day}` },
      summary: 'Compare a day now, and take in what is missing of it',
      tag: TAG,
      params: DayParams,
      // False: only compares.
      body: z.strictObject({ by: z.string().trim().min(1).max(200).optional(), takeIn: z.boolean().default(true) }),
      returns: z.object({ source: z.string(), day: z.string(), /** False: it is being compared just now. */ started: z.boolean() }),
      status: 202,
      action: true,
    },
    async ({ params, body, principal }) => {
      const { project, source: name, day: asked } = params;
      const { timeZone } = await projects.settings(project);
      const { fromMs } = boundsOfDay(asked, timeZone);
      if (fromMs > Date.now()) throw new HttpProblem(400, `${asked} has not begun in ${timeZone}.`);
      if (!isGivenSource(name) && !(await adaptersOf(project)).sources.find(name)) throw new AftercallError('NOT_FOUND', `Project ${project} has no source "${name}".`, { advice: 'Connect it first.', outcome: 'refused' });
      if (isGivenSource(name) && fromMs < Date.now() - RECEIPTS_MS) {
        throw new AftercallError('CONFLICT', `What was handed in on ${asked} cannot be compared any more: receipts are kept for 30 days.`, { advice: 'Look at what an earlier comparison found.', outcome: 'refused' });
      }
      const started = await completenessClient.reconcile({ project, source: name, day: asked, by: actorOf(principal, body.by), takeIn: body.takeIn });
      return { source: name, day: asked, started };
    },
  );
};

const positionOf = (cursor: string): { day: string; source: string } => {
  const [at = '', name = ''] = cursor.split(' ');
  if (!isDayName(at)) throw new HttpProblem(400, 'The cursor is none that this API gave.');
  return { day: at, source: name };
};

const viewOf = (row: DayRow) => ({
  source: row.source,
  day: row.day,
  timeZone: row.timeZone,
  from: row.fromAt.toISOString(),
  to: row.toAt.toISOString(),
  state: row.state,
  error: row.error,
  settled: row.settled,
  listed: row.listed,
  ours: row.ours,
  processed: row.processed,
  states: row.states,
  gaps: row.gaps,
  notListed: row.notListed,
  unexplained: row.unexplained,
  takenIn: row.takenIn,
  checks: row.checks,
  checkedAt: row.checkedAt?.toISOString() ?? null,
  startedAt: row.startedAt.toISOString(),
  askedBy: row.askedBy,
});
