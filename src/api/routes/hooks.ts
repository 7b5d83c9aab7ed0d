import { z } from 'zod';
import type { Hook } from '../../db/hooks.ts';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Connectors';
const HOOKS = '/v1/projects/:project/hooks';
const time = z.iso.datetime();
const HookShape = z.object({ id: z.string(), name: z.string(), path: z.string(), createdBy: z.string(), createdAt: time, lastUsedAt: time.nullable() });

/** Addresses at which programs hand calls in, signed. */
export const hookRoutes = (route: RouteTable, { hooks }: ApiDependencies): void => {
  route.get(HOOKS, { access: 'project_admin', summary: 'Addresses at which programs hand calls in', tag: TAG, params: ProjectParams, returns: z.object({ hooks: z.array(HookShape) }) }, async ({ params }) => ({ hooks: (await hooks.list(params.project)).map(viewOf) }));
  route.post(
    HOOKS,
    { access: 'project_admin', audit: { action: 'hooks.create', target: ({ body }) => body.name }, summary: 'Make one; the secret that signs is shown once', tag: TAG, params: ProjectParams, body: z.strictObject({ name: z.string().trim().min(1).max(100) }), returns: HookShape.extend({ secret: z.string() }), status: 201 },
    async ({ params: { project }, body: { name }, principal }) => {
      const made = await hooks.create({ project, name, by: principal.name });
      return { ...viewOf(made), secret: made.secret };
    },
  );
  route.delete(
    `${HOOKS}/:hookId`,
    { access: 'project_admin', audit: { action: 'hooks.remove', target: ({ params }) => params.hookId }, summary: 'Close one', tag: TAG, params: z.strictObject({ project: z.string().max(40), hookId: z.string().max(60) }), returns: z.object({ done: z.literal(true) }) },
    async ({ params: { project, hookId } }) => {
      await hooks.remove(project, hookId);
      return { done: true as const };
    },
  );
};

const viewOf = ({ id, name, createdBy, createdAt, lastUsedAt }: Hook) => ({ id, name, path: `/webhooks/calls/${id}`, createdBy, createdAt: createdAt.toISOString(), lastUsedAt: lastUsedAt?.toISOString() ?? null });
