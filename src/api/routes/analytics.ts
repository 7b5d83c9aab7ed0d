import type { Request, Response } from 'express';
import { isAftercallError } from '../../domain/errors.ts';
import { QUERY_NAMES, type QueryName, queryOf } from '../../domain/analytics/catalogue.ts';
import { type Answer, createAnswers, type Question } from '../analytics/answers.ts';
import { AnswerShape, CatalogueShape, describeGroup, LIMITS, type Parameters, questionShape, readQuestion } from '../analytics/question.schema.ts';
import { csvLine } from '../csv.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Analytics';

type Format = 'json' | 'csv';

/** Named questions over the warehouse. What a caller gives are values; the SQL is ours. */
export const analyticsRoutes = (route: RouteTable, { analytics, projects, log }: ApiDependencies): void => {
  const answers = createAnswers(analytics);
  const common = { access: 'project_viewer', tag: TAG, params: ProjectParams } as const;

  route.get('/v1/projects/:project/analytics', { ...common, summary: 'The questions that can be asked of the warehouse, with their parameters and columns', returns: CatalogueShape }, async ({ params: { project } }) => {
    const { asOf } = await answers.watermarkOf(project);
    return {
      asOf: asOf?.toISOString() ?? null,
      engine: answers.dialect,
      limits: { ...LIMITS, seconds: analytics.timeoutMs / 1_000 },
      queries: QUERY_NAMES.map((name) => {
        const { about, by, groups, defaultGroups, filters, columns } = queryOf(name);
        return {
          name,
          about,
          alwaysBy: by.map(describeGroup),
          groups: groups.map(describeGroup),
          defaultGroups: [...defaultGroups],
          filters: filters.map(describeGroup),
          columns: columns.map(({ name: column, type, unit, about: says }) => ({ name: column, type, unit, about: says })),
          link: `/v1/projects/${project}/analytics/${name}`,
        };
      }),
    };
  });

  const answer = async (name: QueryName, project: string, parameters: Parameters, request: Request, response: Response): Promise<void> => {
    const { timeZone } = await projects.settings(project);
    const question: Question = { name, ...readQuestion(queryOf(name), parameters, { timeZone, nowMs: Date.now() }) };
    const format: Format = parameters.format ?? (request.accepts(['application/json', 'text/csv']) === 'text/csv' ? 'csv' : 'json');
    const watermark = await answers.watermarkOf(project);
    const etag = `"${answers.keyOf(project, question, watermark)}-${format}"`;
    response.set({ etag, 'cache-control': 'private, no-cache', vary: 'Accept, Authorization' });
    if (matches(request.get('if-none-match'), etag)) return void response.status(304).end();
    const gone = new AbortController();
    response.once('close', () => gone.abort(new Error('The caller has gone.')));
    let found: Answer;
    try {
      found = await answers.answer(project, question, watermark, gone.signal);
    } catch (error) {
      response.removeHeader('etag');
      if (gone.signal.aborted) return;
      throw told(error, analytics.timeoutMs);
    }
    send(response, format, name, question, found);
  };

  for (const name of QUERY_NAMES) {
    route.get(`/v1/projects/:project/analytics/${name}`, { ...common, summary: queryOf(name).about, query: questionShape(queryOf(name)), returns: AnswerShape, produces: ['text/csv'] }, ({ params: { project }, query, request, response }) => answer(name, project, query, request, response));
  }

  /** What the warehouse's failures are to whoever asked. What it refuses is a defect, or a matter of its settings. */
  const told = (error: unknown, timeoutMs: number): unknown => {
    if (!isAftercallError(error)) return error;
    switch (error.code) {
      case 'UPSTREAM_TIMEOUT':
        return new HttpProblem(504, `The warehouse did not answer within ${timeoutMs / 1_000} s, and the query was cancelled. Ask for a shorter span, or for fewer groups.`);
      case 'RATE_LIMITED':
      case 'CONFLICT':
      case 'UPSTREAM_UNAVAILABLE':
      case 'UPSTREAM_NONSENSE':
        log.warn({ err: error }, 'the warehouse could not be asked');
        return new HttpProblem(503, 'The warehouse cannot be asked at the moment.', { headers: { 'retry-after': String(Math.ceil((error.retryAfterMs ?? 5_000) / 1_000)) } });
      default:
        log.error({ err: error }, 'the warehouse refused a query');
        return new HttpProblem(502, 'The warehouse refused the query. The log says why.');
    }
  };
};

const matches = (header: string | undefined, etag: string): boolean => header !== undefined && header.split(',').some((each) => [etag, '*'].includes(each.trim().replace(/^W\//, '')));

const send = (response: Response, format: Format, name: QueryName, { span, timeZone, groupBy }: Question, { asOf, columns, rows, truncated }: Answer): void => {
  if (format === 'csv') {
    const days = [span.fromMs, span.toMs].map((ms) => new Date(ms).toISOString().slice(0, 10)).join('_');
    response
      .set({ 'content-type': 'text/csv; charset=utf-8; header=present', 'content-disposition': `attachment; filename="${name}_${days}.csv"`, 'x-truncated': String(truncated), ...(asOf ? { 'x-as-of': asOf } : {}) })
      .send([columns.map((column) => column.name), ...rows].map(csvLine).join(''));
    return;
  }
  response.json({
    query: name,
    from: new Date(span.fromMs).toISOString(),
    to: new Date(span.toMs).toISOString(),
    timeZone,
    groupBy,
    asOf,
    columns,
    rows: rows.map((row) => Object.fromEntries(columns.map((column, index) => [column.name, row[index] ?? null]))),
    truncated,
  });
};
