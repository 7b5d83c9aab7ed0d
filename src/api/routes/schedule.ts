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

export const scheduleRoutes = (route: RouteTable, { schedules, projects }: ApiDependencies): void => {
  const done = { done: true as const };
  const action = { tag: TAG, params: ProjectParams, returns: DoneShape, action: true as const };
  route.get(SCHEDULE, { summary: 'The schedule, its next and its last runs', tag: TAG, params: ProjectParams, returns: ScheduleShape }, async ({ params }) => {
    await projects.settings(params.project);
    return schedules.describe();
  });
  route.post(`${SCHEDULE}/pause`, { ...action, summary: 'Stop reading windows', body: NoteBody }, async ({ body }) => {
    await schedules.pause(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/resume`, { ...action, summary: 'Go on reading windows', body: NoteBody }, async ({ body }) => {
    await schedules.resume(body.note);
    return done;
  });
  route.post(`${SCHEDULE}/trigger`, { ...action, summary: 'Read a window now', body: z.strictObject({}) }, async () => {
    await schedules.trigger();
    return done;
  });
  route.post(`${SCHEDULE}/backfill`, { ...action, summary: 'Read every window that was due between two times', body: BackfillBody }, async ({ body: { from, to } }) => {
    await schedules.backfill(new Date(from), new Date(to));
    return done;
  });
};
