import { createHash } from 'node:crypto';
import type { z } from 'zod';
import type { BulkRulingRow } from '../../db/bulk-rulings.ts';
import { asInstallation } from '../../db/scope.ts';
import { type BulkOutcome, MOST_CALLS_AT_ONCE, type RulingKind } from '../../domain/bulk.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { actorOf, type Asked, type RouteTable } from '../route.ts';
import { BulkAcceptedShape, BulkApproveBody, BulkRejectBody, BulkRulingParams, BulkRulingShape, filterOf, ProjectParams } from '../shapes.ts';

const TAG = 'Calls';

type Body = z.output<typeof BulkApproveBody> & { reason?: string };

/**
 * Rulings on many calls at once.
 *
 * What is ruled on is settled when it is asked for: a call that comes in later, or that somebody else rules
 * on first, is not touched.
 */
export const bulkRoutes = (route: RouteTable, { calls, bulkRulings, bulkClient, projects, audit }: ApiDependencies): void => {
  const chosen = async (project: string, { ids, filter, at }: Body): Promise<{ callIds: string[]; waiting: number; more: boolean }> => {
    if (ids) {
      const callIds = [...new Set(ids)];
      return { callIds, waiting: (await calls.listWaiting(project, callIds, at)).length, more: false };
    }
    const found = await calls.list({ project, waitingAt: at, ...filterOf(filter ?? {}) }, { limit: MOST_CALLS_AT_ONCE + 1 });
    const callIds = found.slice(0, MOST_CALLS_AT_ONCE).map(({ callId }) => callId);
    return { callIds, waiting: callIds.length, more: found.length > callIds.length };
  };

  const rule = async (ruling: RulingKind, { params: { project }, body, principal, requestId }: Asked<{ project: string }, unknown, Body>): Promise<z.output<typeof BulkAcceptedShape>> => {
    await projects.settings(project);
    const { callIds, waiting, more } = await chosen(project, body);
    if (body.dryRun) return { bulkId: null, count: waiting, more, would: `This would ${ruling} ${waiting === 1 ? '1 call' : `${waiting} calls`}${more ? '; there are more, for another go' : ''}.` };
    // The same request has the same ID: sent again after a crash, it goes on with what it began.
    const bulkId = createHash('sha256').update(JSON.stringify([project, principal.id, requestId])).digest('hex').slice(0, 32);
    const by = actorOf(principal, body.by);
    const { text, ...filter } = body.filter ?? {};
    await asInstallation(() =>
      audit.append({
        project,
        actor: principal.name,
        actorKind: principal.kind,
        action: `calls.bulk_${ruling}`,
        target: bulkId,
        // What was searched for may be a phone number, and the log is for ever.
        details: { count: callIds.length, at: body.at, ...(body.filter ? { filter: { ...filter, ...(text ? { text: true } : {}) } } : { ids: true }), ...(body.by ? { onBehalfOf: body.by } : {}) },
        requestId,
      }),
    );
    await bulkClient.rule({ project, bulkId, ruling, at: body.at, by, callIds, ...(body.reason === undefined ? {} : { reason: body.reason }) });
    return { bulkId, count: callIds.length, more, would: null };
  };

  // Audited by the handler: the entry holds how many calls it was, and a dry run is none.
  const spec = { access: 'project_admin' as const, tag: TAG, params: ProjectParams, returns: BulkAcceptedShape, action: true as const, status: 202, audit: 'nothing' as const };
  route.post('/v1/projects/:project/calls/bulk/approve', { ...spec, summary: 'Let up to 1,000 waiting calls go on', body: BulkApproveBody }, async (asked) => rule('approve', asked));
  route.post('/v1/projects/:project/calls/bulk/reject', { ...spec, summary: 'Turn down up to 1,000 waiting calls', body: BulkRejectBody }, async (asked) => rule('reject', asked));
  route.get('/v1/projects/:project/bulk-rulings/:bulkId', { access: 'project_viewer', summary: 'How far a ruling on many calls has come', tag: TAG, params: BulkRulingParams, returns: BulkRulingShape }, async ({ params }) => viewOf(await bulkRulings.get(params.project, params.bulkId)));
};

const viewOf = ({ bulkId, ruling, at, by, reason, startedAt, endedAt, calls }: BulkRulingRow): z.output<typeof BulkRulingShape> => {
  const count = (wanted: BulkOutcome | null): number => calls.filter(({ outcome }) => outcome === wanted).length;
  return {
    bulkId,
    ruling,
    at,
    by,
    reason: reason ?? null,
    state: endedAt ? 'ended' : 'running',
    total: calls.length,
    done: count('done'),
    refused: count('refused'),
    failed: count('failed'),
    pending: count(null),
    notDone: calls.flatMap(({ callId, outcome, detail }) => (outcome === 'refused' || outcome === 'failed' ? { callId, outcome, detail } : [])),
    startedAt: startedAt.toISOString(),
    endedAt: endedAt?.toISOString() ?? null,
  };
};
