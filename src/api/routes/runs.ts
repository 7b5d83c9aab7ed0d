import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import { AftercallError } from '../../domain/errors.ts';
import type { RunRow } from '../../db/runs.ts';
import { fromCursor, toCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { Paging, ProjectParams, RunListShape, RunParams, RunShape } from '../shapes.ts';

const TAG = 'Runs';

export const runRoutes = (route: RouteTable, { runs, objects, projects }: ApiDependencies): void => {
  route.get('/v1/projects/:project/runs', { access: 'project_viewer', summary: 'Executions of windows, newest first', tag: TAG, params: ProjectParams, query: z.strictObject(Paging), returns: RunListShape }, async ({ params: { project }, query: { limit, cursor } }) => {
    await projects.settings(project);
    const rows = await runs.list(project, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
    const page = rows.slice(0, limit);
    return { runs: page.map(viewOf), next: rows.length > limit ? toCursor(page.at(-1)!) : null };
  });

  route.get('/v1/projects/:project/runs/:runId', { access: 'project_viewer', summary: 'One execution', tag: TAG, params: RunParams, returns: RunShape }, async ({ params }) => viewOf(await runs.get(params.project, params.runId)));

  route.get('/v1/projects/:project/runs/:runId/report', { access: 'project_viewer', summary: 'The execution report', tag: TAG, params: RunParams, returns: z.record(z.string(), z.unknown()) }, async ({ params }) => {
    const { report } = await runs.get(params.project, params.runId);
    if (!report) throw new AftercallError('NOT_FOUND', `Run ${params.runId} has no report yet.`, { advice: 'It is written when the run has settled.' });
    return report;
  });

  route.get('/v1/projects/:project/runs/:runId/log', { access: 'project_viewer', summary: "The run's log, one JSON object a line", tag: TAG, params: RunParams, produces: ['application/x-ndjson'] }, async ({ params, response }) => {
    const { logKey } = await runs.get(params.project, params.runId);
    const log = logKey ? await objects.open(logKey) : undefined;
    if (!log) throw new AftercallError('NOT_FOUND', `Run ${params.runId} has no log file yet.`, { advice: 'It is written when the run has settled.' });
    response.type('application/x-ndjson');
    await pipeline(log.body, response);
  });
};

const viewOf = (run: RunRow) => ({
  runId: run.id,
  source: run.source,
  state: run.state,
  windowFrom: run.windowFrom.toISOString(),
  windowTo: run.windowTo.toISOString(),
  pages: run.pages,
  error: run.error,
  report: run.report && { ...run.report },
  startedAt: run.startedAt.toISOString(),
  endedAt: run.endedAt?.toISOString() ?? null,
});
