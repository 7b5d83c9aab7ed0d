import { z } from 'zod';
import { POLLED } from '../../adapters/connectors/registry.ts';
import { DEFAULT_PROJECT } from '../../domain/ids.ts';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams, ScheduleShape } from '../shapes.ts';

const TAG = 'Schedules';
const SCHEDULES = '/v1/projects/:project/schedules';
const SCHEDULE = `${SCHEDULES}/:source`;
const SourceParams = z.strictObject({ project: z.string().max(40), source: z.string().max(40) });
const DoneShape = z.object({ done: z.literal(true) });
const NoteBody = z.strictObject({ note: z.string().trim().min(1).max(500) });
const BackfillBody = z
  .strictObject({ from: z.iso.datetime({ offset: true }), to: z.iso.datetime({ offset: true }) })
  .refine(({ from, to }) => Date.parse(from) < Date.parse(to), { message: 'from has to lie before to', path: ['from'] });

/** Of each of a project's sources, when its windows are read. */
export const scheduleRoutes = (route: RouteTable, { scheduleOf, connectors, projects, installed }: ApiDependencies): void => {
  const done = { done: true as const };
  const action = { access: 'project_admin' as const, tag: TAG, params: SourceParams, returns: DoneShape, action: true as const };
  const audited = (what: string) => ({ action: `schedules.${what}`, target: ({ params }: { params: { source: string } }) => params.source });

  route.get(SCHEDULES, { access: 'project_viewer', summary: 'The sources whose windows can be read on a schedule', tag: TAG, params: ProjectParams, returns: z.object({ sources: z.array(z.string()) }) }, async ({ params: { project } }) => {
    await projects.settings(project);
    const connected = new Set<string>([...(await connectors.revisions(project)).keys(), ...(project === DEFAULT_PROJECT ? installed : [])]);
    return { sources: POLLED.filter((source) => connected.has(source)) };
  });
  route.get(SCHEDULE, { access: 'project_viewer', summary: 'A schedule, its next and its last runs', tag: TAG, params: SourceParams, returns: ScheduleShape }, async ({ params }) => (await scheduleOf(params.project, params.source)).describe());
  route.post(`${SCHEDULE}/apply`, { ...action, audit: audited('apply'), summary: 'Create it, or bring it in line with the settings', body: z.strictObject({}) }, async ({ params }) => {
    await (await scheduleOf(params.project, params.source)).apply();
    return done;
  });
  route.post(`${SCHEDULE}/pause`, { ...action, audit: audited('pause'), summary: 'Stop reading windows', body: NoteBody }, async ({ params, body }) => {
    await (await scheduleOf(params.project, params.source)).pause(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/resume`, { ...action, audit: audited('resume'), summary: 'Go on reading windows', body: NoteBody }, async ({ params, body }) => {
    await (await scheduleOf(params.project, params.source)).resume(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/trigger`, { ...action, audit: audited('trigger'), summary: 'Read a window now', body: z.strictObject({}) }, async ({ params }) => {
    await (await scheduleOf(params.project, params.source)).trigger();
    return done;
  });
  route.post(`${SCHEDULE}/backfill`, { ...action, audit: audited('backfill'), summary: 'Read every window that was due between two times', body: BackfillBody }, async ({ params, body: { from, to } }) => {
    await (await scheduleOf(params.project, params.source)).backfill(new Date(from), new Date(to));
    return done;
  });
};
