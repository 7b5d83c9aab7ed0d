import { z } from 'zod';
import type { SinkStatus } from '../../db/warehouse.ts';
import { MOST_COUNTED } from '../../db/warehouse.ts';
import { WAREHOUSE_SINKS } from '../../domain/warehouse.ts';
import { columnsOf, WAREHOUSE_TABLES } from '../../domain/warehouse-tables.ts';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Warehouse';
const WAREHOUSE = '/v1/projects/:project/warehouse';
const time = z.iso.datetime();

const SinkShape = z.object({
  sink: z.enum(WAREHOUSE_SINKS),
  state: z.enum(['up_to_date', 'waiting', 'loading', 'rebuilding', 'failing', 'not_connected']),
  /** Changes that are not loaded yet; `more`: at least so many. */
  backlog: z.object({ changes: z.number(), more: z.boolean(), oldestAt: time.nullable() }),
  /** Since when it has been told of nothing, being out of the configuration; it is built anew once it is back. */
  missedSince: time.nullable(),
  loadedAt: time.nullable(),
  compactedAt: time.nullable(),
  loads: z.number(),
  rows: z.number(),
  error: z.object({ code: z.string(), message: z.string(), advice: z.string(), at: time }).nullable(),
});
const FilesShape = z.object({ table: z.enum(WAREHOUSE_TABLES), form: z.enum(['json', 'parquet']), files: z.number(), partitions: z.number(), rows: z.number(), bytes: z.number() });
const StatusShape = z.object({ sinks: z.array(SinkShape), files: z.array(FilesShape), superseded: z.number(), nextLoad: time.nullable(), nextCompaction: time.nullable() });
const StartedShape = z.object({ workflowId: z.string() });
const ColumnShape = z.object({ name: z.string(), type: z.string(), nullable: z.boolean(), about: z.string() });
const ReloadBody = z.strictObject({ sinks: z.array(z.enum(WAREHOUSE_SINKS)).min(1).optional() });

/** The tables that calls are counted in: how far they are, and what is in them. */
export const warehouseRoutes = (route: RouteTable, { warehouse, projects }: ApiDependencies): void => {
  const audited = (what: string) => ({ action: `warehouse.${what}`, target: ({ params }: { params: { project: string } }) => params.project });

  route.get(WAREHOUSE, { access: 'project_viewer', summary: 'What is loaded up to when, what waits, and what went wrong last', tag: TAG, params: ProjectParams, returns: StatusShape }, async ({ params: { project } }) => {
    await projects.settings(project);
    const [sinks, { totals, superseded }, times] = await Promise.all([warehouse.books.status(project), warehouse.files.totals(project), warehouse.client.times(project)]);
    return { sinks: sinks.filter(({ sink, waiting, rows }) => warehouse.sinks.includes(sink) || waiting > 0 || rows > 0).map((status) => viewOf(status, warehouse.sinks.includes(status.sink))), files: totals, superseded, ...times };
  });

  route.get(`${WAREHOUSE}/tables`, { access: 'project_viewer', summary: 'The tables and their columns', tag: TAG, params: ProjectParams, returns: z.object({ tables: z.array(z.object({ name: z.enum(WAREHOUSE_TABLES), columns: z.array(ColumnShape) })) }) }, async ({ params: { project } }) => {
    await projects.settings(project);
    return { tables: WAREHOUSE_TABLES.map((name) => ({ name, columns: columnsOf(name).map(({ name: column, type, nullable, about }) => ({ name: column, type, nullable, about })) })) };
  });

  const act = { access: 'project_admin' as const, tag: TAG, params: ProjectParams, returns: StartedShape, action: true as const };
  route.post(`${WAREHOUSE}/load`, { ...act, audit: audited('load'), summary: 'Load what has changed now, beside the timetable', body: z.strictObject({}) }, async ({ params: { project } }) => {
    await projects.settings(project);
    return { workflowId: await warehouse.client.load(project) };
  });
  route.post(`${WAREHOUSE}/compact`, { ...act, audit: audited('compact'), summary: "Put each day's files together now", body: z.strictObject({}) }, async ({ params: { project } }) => {
    await projects.settings(project);
    return { workflowId: await warehouse.client.compact(project) };
  });
  route.post(`${WAREHOUSE}/reload`, { ...act, audit: audited('reload'), summary: 'Build everything anew from the database; what is there is shown until that is done', body: ReloadBody }, async ({ params: { project }, body: { sinks } }) => {
    await projects.settings(project);
    await warehouse.books.rebuild(project, (sinks ?? warehouse.sinks).filter((sink) => warehouse.sinks.includes(sink)));
    return { workflowId: await warehouse.client.load(project) };
  });
};

const stateOf = ({ failure, busy, rebuilding, waiting }: SinkStatus): z.output<typeof SinkShape>['state'] => {
  if (failure) return 'failing';
  if (rebuilding) return 'rebuilding';
  if (busy) return 'loading';
  return waiting > 0 ? 'waiting' : 'up_to_date';
};

const viewOf = (status: SinkStatus, isConnected: boolean): z.output<typeof SinkShape> => ({
  sink: status.sink,
  state: isConnected ? stateOf(status) : 'not_connected',
  backlog: { changes: status.waiting, more: status.waiting >= MOST_COUNTED, oldestAt: status.oldestWaitingAt?.toISOString() ?? null },
  missedSince: status.missedSince?.toISOString() ?? null,
  loadedAt: status.loadedAt?.toISOString() ?? null,
  compactedAt: status.compactedAt?.toISOString() ?? null,
  loads: status.loads,
  rows: status.rows,
  error: status.failure && { code: status.failure.code, message: status.failure.message, advice: status.failure.advice, at: status.failure.at.toISOString() },
});
