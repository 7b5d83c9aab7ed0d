import { z } from 'zod';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams, ScheduleShape } from '../shapes.ts';

const TAG = 'Schedule';
const SCHEDULE = '/v1/projects/:project/schedule';
const DoneShape = z.object({ done: z.literal(true) });
const NoteBody = z.strictObject({ note: z.string().trim().min(1).max(500) });
const BackfillBody = z
  .strictObject({ from: z.iso.datetime({ offset: true }), to: z.iso.datetime({ offset: true }) })
  .refine(({ from, to }) => Date.parse(from) < Date.parse(to), { message: 'from has to lie before to', path: ['from'] });

export const scheduleRoutes = (route: RouteTable, { scheduleOf }: ApiDependencies): void => {
  const done = { done: true as const };
  const action = { access: 'project_admin' as const, tag: TAG, params: ProjectParams, returns: DoneShape, action: true as const };
  const audited = (what: string) => ({ action: `schedule.${what}`, target: ({ params }: { params: { project: string } }) => params.project });
  route.get(SCHEDULE, { access: 'project_viewer', summary: 'The schedule, its next and its last runs', tag: TAG, params: ProjectParams, returns: ScheduleShape }, async ({ params }) => {
    return scheduleOf(params.project).describe();
  });
  route.post(`${SCHEDULE}/pause`, { ...action, audit: audited('pause'), summary: 'Stop reading windows', body: NoteBody }, async ({ params, body }) => {
    await scheduleOf(params.project).pause(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/resume`, { ...action, audit: audited('resume'), summary: 'Go on reading windows', body: NoteBody }, async ({ params, body }) => {
    await scheduleOf(params.project).resume(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/trigger`, { ...action, audit: audited('trigger'), summary: 'Read a window now', body: z.strictObject({}) }, async ({ params }) => {
    await scheduleOf(params.project).trigger();
    return done;
  });
  route.post(`${SCHEDULE}/backfill`, { ...action, audit: audited('backfill'), summary: 'Read every window that was due between two times', body: BackfillBody }, async ({ params, body: { from, to } }) => {
    await scheduleOf(params.project).backfill(new Date(from), new Date(to));
    return done;
  });
};
