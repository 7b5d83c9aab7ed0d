import { z } from 'zod';
import { INBOX_STATES, type InboxRow } from '../../db/inbox.ts';
import { fromCursor, toCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Inbox';
const INBOX = '/v1/projects/:project/inbox';
const time = z.iso.datetime();

const which = { source: z.string().max(40).optional(), eventId: z.string().max(500).optional() };
const EventShape = z.object({
  source: z.string(),
  eventId: z.string(),
  type: z.string(),
  state: z.enum(INBOX_STATES),
  callId: z.string().nullable(),
  attempts: z.number(),
  error: z.string().nullable().describe('Why the last try failed.'),
  receivedAt: time,
  nextTryAt: time.nullable(),
});
const RetryBody = z.strictObject(which);
const DiscardBody = z.strictObject({ ...which, source: z.string().max(40), by: z.string().trim().min(1).max(200).optional() });

/** Webhooks and uploads that came in and are not delivered: what waits and why, and what a person decides of it. */
export const inboxRoutes = (route: RouteTable, { inbox, projects, kickRelay }: ApiDependencies): void => {
  const action = { access: 'project_admin' as const, action: true as const, tag: TAG, params: ProjectParams };

  route.get(
    INBOX,
    {
      access: 'project_viewer',
      summary: 'Webhooks and uploads that are not delivered, with why, the oldest first',
      tag: TAG,
      params: ProjectParams,
      query: z.strictObject({ ...Paging, source: which.source, state: z.enum(INBOX_STATES).optional() }),
      returns: z.object({ events: z.array(EventShape), next: z.string().nullable() }),
    },
    async ({ params: { project }, query: { limit, cursor, ...filter } }) => {
      await projects.settings(project);
      const rows = await inbox.list(project, filter, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
      const page = rows.slice(0, limit);
      const last = page.at(-1);
      return { events: page.map(viewOf), next: rows.length > limit && last ? toCursor({ startedAt: last.receivedAt, id: `${last.source}/${last.eventId}` }) : null };
    },
  );

  route.post(
    `${INBOX}/retry`,
    { ...action, summary: 'Try to deliver now: one event, those of a source, or all', body: RetryBody, returns: z.object({ retried: z.number() }), audit: { action: 'inbox.retry', target: ({ body: { eventId, source } }) => eventId ?? source ?? 'inbox' } },
    async ({ params: { project }, body: { source, eventId } }) => {
      if (eventId !== undefined && source === undefined) throw new HttpProblem(400, 'Say of which source the event is: the IDs of two sources may be the same.');
      await projects.settings(project);
      const retried = await inbox.retry(project, { source, eventId });
      kickRelay();
      return { retried };
    },
  );

  route.post(
    `${INBOX}/discard`,
    { ...action, summary: 'Give parked events up, one or all of a source: what they say is dropped', body: DiscardBody, returns: z.object({ discarded: z.number() }), audit: { action: 'inbox.discard', target: ({ body: { eventId, source } }) => eventId ?? source } },
    async ({ params: { project }, body: { source, eventId, by }, principal }) => {
      await projects.settings(project);
      const discarded = await inbox.discard(project, { source, eventId }, actorOf(principal, by));
      if (discarded === 0) throw new HttpProblem(409, `No event${eventId === undefined ? '' : ` ${eventId}`} of ${source} is parked: only what has failed for a week, and is not being tried just now, can be given up.`);
      return { discarded };
    },
  );
};

const viewOf = ({ receivedAt, nextTryAt, ...row }: InboxRow): z.output<typeof EventShape> => ({ ...row, receivedAt: receivedAt.toISOString(), nextTryAt: nextTryAt?.toISOString() ?? null });
