import { z } from 'zod';
import type { EffectRow } from '../../db/effects.ts';
import type { MessageRow } from '../../db/messages.ts';
import { MESSAGE_STATES } from '../../db/schema.ts';
import { fromCursor, toCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { CallParams, Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Messages';
const MESSAGE = '/v1/projects/:project/messages/:messageId';

const MessageParams = z.strictObject({ project: z.string().max(40), messageId: z.string().max(64) });
const EffectParams = CallParams.extend({ effectKey: z.string().max(64) });
const time = z.iso.datetime();

const TryShape = z.object({ at: time, outcome: z.string(), code: z.string().optional(), reason: z.string().optional(), advice: z.string().optional() });
const MessageShape = z.object({
  messageId: z.string(),
  event: z.string(),
  callId: z.string().nullable(),
  version: z.number().nullable(),
  runId: z.string().nullable(),
  notifier: z.string(),
  target: z.string(),
  class: z.string(),
  state: z.enum(MESSAGE_STATES),
  title: z.string(),
  attempts: z.number(),
  tries: z.array(TryShape),
  receipt: z.record(z.string(), z.unknown()).nullable(),
  settledBy: z.string().nullable(),
  createdAt: time,
  updatedAt: time,
});
const ListQuery = z.strictObject({ ...Paging, state: z.enum(MESSAGE_STATES).optional(), notifier: z.enum(['telegram', 'webhook']).optional(), callId: z.string().max(200).optional() });
const by = z.string().trim().min(1).max(200).optional();
const Act = z.strictObject({ by });

const LinkBody = z.strictObject({ hours: z.number().int().min(1).max(8_760).optional() });

/** Messages and their delivery log, what a person decides about those that nobody can be sure of, and links to reports. */
export const messageRoutes = (route: RouteTable, { messages, messagesClient, effects, calls, projects, reportLinks }: ApiDependencies): void => {
  route.get('/v1/projects/:project/messages', { access: 'project_viewer', summary: 'Messages to chats and webhooks with how they were delivered, newest first', tag: TAG, params: ProjectParams, query: ListQuery, returns: z.object({ messages: z.array(MessageShape), next: z.string().nullable() }) }, async ({ params: { project }, query: { limit, cursor, state, notifier, callId } }) => {
    await projects.settings(project);
    const filter = { ...(state ? { state } : {}), ...(notifier ? { notifier } : {}), ...(callId ? { callId } : {}) };
    const rows = await messages.list(project, filter, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return { messages: page.map(viewOf), next: rows.length > limit && last ? toCursor({ startedAt: last.createdAt, id: last.id }) : null };
  });

  route.get(MESSAGE, { access: 'project_viewer', summary: 'One message, with every try', tag: TAG, params: MessageParams, returns: MessageShape }, async ({ params }) => viewOf(await messages.get(params.project, params.messageId)));

  const action = { access: 'project_admin' as const, tag: TAG, params: MessageParams, body: Act, returns: MessageShape, action: true as const };
  const audited = (what: string) => ({ action: `messages.${what}`, target: ({ params }: { params: { messageId: string } }) => params.messageId, details: ({ by: person }: { by?: string | undefined }) => (person ? { onBehalfOf: person } : {}) });
  route.post(`${MESSAGE}/send-again`, { ...action, audit: audited('send_again'), summary: 'Send a message once more, under the same ID' }, async ({ params }) => {
    const row = await messages.again(params.project, params.messageId);
    await messagesClient.send(row);
    return viewOf(row);
  });
  route.post(`${MESSAGE}/settle`, { ...action, audit: audited('settle'), summary: 'Say that nothing more is to be done about a message that is unknown or failed' }, async ({ params, body, principal }) => viewOf(await messages.settle(params.project, params.messageId, actorOf(principal, body.by))));

  route.post(
    '/v1/projects/:project/calls/:callId/effects/:effectKey/settle',
    {
      access: 'project_admin',
      action: true,
      tag: TAG,
      params: EffectParams,
      body: Act,
      audit: { action: 'effects.settle', target: ({ params }) => params.callId, details: ({ by: person }) => (person ? { onBehalfOf: person } : {}) },
      summary: 'Say that an act of a call is done or needs not be: no retry carries it out',
      returns: z.object({ effectKey: z.string(), settled: z.literal(true) }),
    },
    async ({ params, body, principal }) => {
      await effects.settle(params.project, params.callId, params.effectKey, actorOf(principal, body.by));
      return { effectKey: params.effectKey, settled: true as const };
    },
  );

  route.post(
    '/v1/projects/:project/calls/:callId/report-link',
    {
      access: 'project_viewer',
      tag: TAG,
      params: CallParams,
      body: LinkBody,
      audit: { action: 'calls.share_report', target: ({ params }) => params.callId, details: ({ hours }) => (hours ? { hours } : {}) },
      summary: "A link that shows the call's report, recording and transcript to whoever holds it, until it expires",
      returns: z.object({ url: z.string(), expiresAt: time }),
    },
    async ({ params, body }) => {
      await calls.get(params);
      const { url, expiresAt } = reportLinks.make(params, body.hours === undefined ? undefined : body.hours * 3_600_000);
      return { url, expiresAt: expiresAt.toISOString() };
    },
  );
};

const viewOf = (row: MessageRow) => ({
  messageId: row.id,
  event: row.event,
  callId: row.callId ?? null,
  version: row.version ?? null,
  runId: row.runId ?? null,
  notifier: row.notifier,
  target: row.target,
  class: row.class,
  state: row.state,
  title: row.message.title,
  attempts: row.attempts,
  tries: row.tries,
  receipt: row.receipt,
  settledBy: row.settledBy,
  createdAt: row.createdAt.toISOString(),
  updatedAt: row.updatedAt.toISOString(),
});

/** A call's acts and the messages about it, in one list and by one set of words. */
export const effectViews = (effects: readonly EffectRow[], messages: readonly MessageRow[]) =>
  [
    ...effects.map(({ key, effect, target, class: kind, state, plannedAt, doneAt, receipt }) => ({ key, effect, target, class: kind, state: state, plannedAt: plannedAt.toISOString(), doneAt: doneAt?.toISOString() ?? null, receipt })),
    ...messages.map(({ id, event, notifier, class: kind, state, createdAt, updatedAt, receipt }) => ({ key: id, effect: event, target: notifier, class: kind, state: state, plannedAt: createdAt.toISOString(), doneAt: state === 'delivered' ? updatedAt.toISOString() : null, receipt })),
  ].toSorted((a, b) => a.plannedAt.localeCompare(b.plannedAt));
