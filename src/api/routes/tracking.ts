import { z } from 'zod';
import { SINKS } from '../../adapters/tracking/sink.ts';
import { trackingJsonSchema } from '../../adapters/tracking/tracking.schema.ts';
import type { TrackingRow } from '../../db/tracking.ts';
import { sequenceOf, TRACKING_EVENTS, TRACKING_STATES } from '../../domain/tracking.ts';
import { fromCursor, fromTextCursor, toCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const TAG = 'Tracking';
const EVENTS = '/v1/projects/:project/tracking-events';
const EVENT = `${EVENTS}/:eventId`;

const MOST_REPLAYED = 10_000;

const EventParams = z.strictObject({ project: z.string().max(40), eventId: z.string().max(64) });
const time = z.iso.datetime();
const given = z.iso.datetime({ offset: true }).transform((text) => new Date(text));

const TryShape = z.object({ at: time, sink: z.string(), outcome: z.enum(['delivered', 'refused', 'unknown']), code: z.string().optional(), reason: z.string().optional(), advice: z.string().optional() });
const EventShape = z.object({
  eventId: z.string().describe('The key that the sink gets.'),
  name: z.enum(TRACKING_EVENTS),
  sequence: z.number(),
  voiceCallId: z.string(),
  occurredAt: time,
  state: z.enum(TRACKING_STATES),
  isBeingSent: z.boolean(),
  attempts: z.number().describe('Since it was written, or replayed last.'),
  failingSince: time.nullable(),
  nextTryAt: time.nullable(),
  keptBackBy: z.string().nullable().describe('The earlier event of the same call that has to be delivered or skipped first.'),
  round: z.number(),
  sink: z.string().nullable(),
  deliveredAt: time.nullable(),
  receipt: z.record(z.string(), z.unknown()).nullable(),
  settledBy: z.string().nullable(),
  createdAt: time,
});
const OneShape = EventShape.extend({ schemaVersion: z.number(), properties: z.record(z.string(), z.unknown()), tries: z.array(TryShape) });
const SummaryShape = z.object({ sink: z.enum(SINKS).nullable(), counts: z.record(z.enum(TRACKING_STATES), z.number()), failing: z.number(), oldestPendingAt: time.nullable() });

const range = { name: z.enum(TRACKING_EVENTS).optional(), from: given.optional(), to: given.optional() };
const ListQuery = z.strictObject({ ...Paging, ...range, state: z.enum(TRACKING_STATES).optional(), voiceCallId: z.string().max(200).optional(), failing: z.enum(['true']).optional() });
const ReplayBody = z.strictObject({
  ...range,
  state: z.enum(['failed', 'skipped', 'delivered']).optional(),
  limit: z.number().int().min(1).max(MOST_REPLAYED).default(1_000),
  cursor: z.string().max(500).optional(),
});
const Act = z.strictObject({ by: z.string().trim().min(1).max(200).optional() });

/** Tracking events with how they were delivered, and what a person decides about those that are stuck. */
export const trackingRoutes = (route: RouteTable, { tracking, projects, adaptersOf, kickTracking }: ApiDependencies): void => {
  const audited = (what: string) => ({ action: `tracking.${what}`, target: ({ params }: { params: { eventId: string } }) => params.eventId, details: ({ by }: { by?: string | undefined }) => (by ? { onBehalfOf: by } : {}) });
  const action = { access: 'project_admin' as const, tag: TAG, action: true as const, params: EventParams, body: Act, returns: OneShape };

  route.get(EVENTS, { access: 'project_viewer', summary: 'Tracking events with how they were delivered, newest first', tag: TAG, params: ProjectParams, query: ListQuery, returns: z.object({ events: z.array(EventShape), next: z.string().nullable() }) }, async ({ params: { project }, query: { limit, cursor, voiceCallId, failing, state, name, from, to } }) => {
    await projects.settings(project);
    const filter = { ...(state ? { state } : {}), ...(name ? { name } : {}), ...(from ? { from } : {}), ...(to ? { to } : {}), ...(voiceCallId ? { subject: voiceCallId } : {}), ...(failing ? { failing: true } : {}) };
    const rows = await tracking.list(project, filter, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return { events: page.map(viewOf), next: rows.length > limit && last ? toCursor({ startedAt: last.createdAt, id: last.id }) : null };
  });

  route.get(`${EVENTS}/summary`, { access: 'project_viewer', summary: 'How many tracking events stand where, and what takes them', tag: TAG, params: ProjectParams, returns: SummaryShape }, async ({ params: { project } }) => {
    await projects.settings(project);
    const { oldestPendingAt, ...rest } = await tracking.summary(project);
    const { tracking: sink } = await adaptersOf(project);
    return { sink: sink?.name ?? null, ...rest, oldestPendingAt: oldestPendingAt?.toISOString() ?? null };
  });

  route.get(`${EVENTS}/schema`, { access: 'project_viewer', summary: 'The form of tracking events, as JSON Schema', tag: TAG, params: ProjectParams, returns: z.record(z.string(), z.unknown()) }, () => Promise.resolve(trackingJsonSchema()));

  route.get(EVENT, { access: 'project_viewer', summary: 'One tracking event, with what it says and every try', tag: TAG, params: EventParams, returns: OneShape }, async ({ params }) => oneOf(await tracking.get(params.project, params.eventId)));

  route.post(
    `${EVENTS}/replay`,
    {
      access: 'project_admin',
      action: true,
      tag: TAG,
      params: ProjectParams,
      body: ReplayBody,
      audit: { action: 'tracking.replay_many', target: () => 'tracking-events', details: ({ state, name, from, to, limit }) => ({ state, name, from: from?.toISOString(), to: to?.toISOString(), limit }) },
      summary: 'Send many events (again), each under its key: by state, time or both, the oldest first',
      returns: z.object({ replayed: z.number(), next: z.string().nullable().describe('Give it as cursor to go on; null when there are no more.') }),
    },
    async ({ params: { project }, body: { state, name, from, to, limit, cursor } }) => {
      if (!state && !from && !to) throw new HttpProblem(400, 'Say which events to replay: by state, or by the time since (from) or until (to) which they were written.');
      await projects.settings(project);
      const after = cursor === undefined ? 0 : Number(fromTextCursor(cursor));
      if (!Number.isSafeInteger(after)) throw new HttpProblem(400, 'The cursor is none that this API gave.');
      const { replayed, last } = await tracking.replayMany(project, { ...(state ? { state } : {}), ...(name ? { name } : {}), ...(from ? { from } : {}), ...(to ? { to } : {}) }, { limit, after });
      kickTracking();
      return { replayed, next: last === null ? null : toTextCursor(String(last)) };
    },
  );

  route.post(`${EVENT}/replay`, { ...action, audit: audited('replay'), summary: 'Send an event (again) under the same key' }, async ({ params }) => {
    const row = await tracking.replay(params.project, params.eventId);
    kickTracking();
    return oneOf(row);
  });

  route.post(`${EVENT}/skip`, { ...action, audit: audited('skip'), summary: 'Let an event be: the later ones of its call go out' }, async ({ params, body, principal }) => {
    const row = await tracking.skip(params.project, params.eventId, actorOf(principal, body.by));
    kickTracking();
    return oneOf(row);
  });
};

const viewOf = (row: TrackingRow) => ({
  eventId: row.id,
  name: row.name,
  sequence: sequenceOf(row.name),
  voiceCallId: row.subject,
  occurredAt: row.occurredAt.toISOString(),
  state: row.state,
  isBeingSent: row.isBeingSent,
  attempts: row.attempts,
  failingSince: row.failingSince?.toISOString() ?? null,
  nextTryAt: row.nextTryAt?.toISOString() ?? null,
  keptBackBy: row.keptBackBy,
  round: row.round,
  sink: row.sink,
  deliveredAt: row.deliveredAt?.toISOString() ?? null,
  receipt: row.receipt,
  settledBy: row.settledBy,
  createdAt: row.createdAt.toISOString(),
});

const oneOf = (row: TrackingRow) => ({ ...viewOf(row), schemaVersion: row.schemaVersion, properties: row.properties, tries: row.tries });
