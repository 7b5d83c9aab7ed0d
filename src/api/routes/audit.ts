import { z } from 'zod';
import { INSTALLATION } from '../../db/audit.ts';
import { asInstallation } from '../../db/scope.ts';
import { fromTextCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Audit';

const EntryShape = z.object({
  seq: z.number(),
  at: z.iso.datetime(),
  actor: z.string(),
  actorKind: z.enum(['user', 'token']),
  action: z.string(),
  target: z.string(),
  details: z.record(z.string(), z.unknown()),
  requestId: z.string(),
  hash: z.string(),
});
const ListShape = z.object({ entries: z.array(EntryShape), next: z.string().nullable() });
const VerificationShape = z.object({ entries: z.number(), intact: z.boolean(), brokenAt: z.number().optional(), why: z.string().optional(), lastHash: z.string() });
const Query = z.strictObject({ ...Paging, target: z.string().max(200).optional() });

export const auditRoutes = (route: RouteTable, { audit }: ApiDependencies): void => {
  const list = async (project: string, { limit, cursor, target }: z.output<typeof Query>) => {
    const before = cursor === undefined ? undefined : Number(fromTextCursor(cursor));
    if (before !== undefined && !Number.isSafeInteger(before)) throw new HttpProblem(400, 'The cursor is none that this API gave.');
    const found = await audit.list(project, { limit: limit + 1, ...(before === undefined ? {} : { before }), ...(target ? { target } : {}) });
    const page = found.slice(0, limit);
    return {
      entries: page.map(({ seq, at, actor, actorKind, action, target: what, details, requestId, hash }) => ({ seq, at, actor, actorKind, action, target: what, details, requestId, hash })),
      next: found.length > limit ? toTextCursor(String(page.at(-1)!.seq)) : null,
    };
  };

  route.get('/v1/projects/:project/audit', { access: 'project_admin', summary: 'Who did what in the project, newest first', tag: TAG, params: ProjectParams, query: Query, returns: ListShape }, async ({ params, query }) => list(params.project, query));
  route.get('/v1/projects/:project/audit/verify', { access: 'project_admin', summary: 'Whether the log is as it was written', tag: TAG, params: ProjectParams, returns: VerificationShape }, async ({ params }) => audit.verify(params.project));
  route.get('/v1/audit', { access: 'platform_admin', summary: 'Who did what to accounts and projects, newest first', tag: TAG, query: Query, returns: ListShape }, async ({ query }) => asInstallation(() => list(INSTALLATION, query)));
  route.get('/v1/audit/verify', { access: 'platform_admin', summary: 'Whether that log is as it was written', tag: TAG, returns: VerificationShape }, async () => asInstallation(() => audit.verify(INSTALLATION)));
};
