import type { z } from 'zod';
import { reportPath } from '../../accounts/report-links.ts';
import { isTemporalDown } from '../../client/temporal.ts';
import { type VoiceCallRow, voiceCallIdOf } from '../../db/voice-calls.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { voiceCallWorkflowId } from '../../domain/ids.ts';
import { TRACKING_EVENTS } from '../../domain/tracking.ts';
import { ON_A_LINE, type VoiceCallRequest, type VoiceState } from '../../domain/voice.ts';
import { HAND_OVER_FAILED } from '../../domain/voice-work.ts';
import { fromCursor, toCursor } from '../cursor.ts';
import { MOST_RESOLVED, resolveMany } from '../resolve-many.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';
import { ActBody, HandOverBody, PlacedShape, PlaceVoiceCallBody, ResolveBody, ResolvedManyShape, ResolveManyBody, StopBody, StoppedShape, type VOICE_ACTIONS, VoiceCallDetailShape, VoiceCallListQuery, VoiceCallListShape, VoiceCallParams } from '../voice-calls.schema.ts';

const TAG = 'Voice calls';
const ALL = '/v1/projects/:project/voice-calls';
const ONE = `${ALL}/:voiceCallId`;

const addressOf = ({ project, voiceCallId }: Pick<VoiceCallRow, 'project' | 'voiceCallId'>): string => `/v1/projects/${project}/voice-calls/${voiceCallId}`;
/** Whoever asks for a hand-over waits for it; it asks the provider, and starts a workflow. */
const HAND_OVER_MS = 30_000;

const isOneOf = (states: readonly VoiceState[], state: VoiceState): boolean => states.includes(state);

/** Placing outbound calls, seeing what became of them, and what a person can do about one. */
export const voiceCallRoutes = (route: RouteTable, { config, adaptersOf, projects, tracking, voiceCalls, voiceCallsClient, handOverVoiceCall, kickVoiceLines }: ApiDependencies): void => {
  route.post(
    ALL,
    {
      access: 'project_admin',
      action: true,
      status: 202,
      location: (answer) => (answer as z.output<typeof PlacedShape>).url,
      summary: 'Place an outbound call. It is written down and dialled when there is a line for it',
      tag: TAG,
      params: ProjectParams,
      body: PlaceVoiceCallBody,
      returns: PlacedShape,
      // Whom it calls is personal: that stands with the call, and goes with it.
      audit: { action: 'voice_calls.place', target: ({ body }) => body.agent ?? 'the agent of the number', details: ({ priority, notBefore, notAfter }) => ({ priority, ...(notBefore ? { notBefore } : {}), ...(notAfter ? { notAfter } : {}) }) },
    },
    async ({ params: { project }, body: { notBefore, notAfter, agent, timeZone, ...body }, principal, requestId }) => {
      const { voiceNumbers } = await projects.settings(project);
      if (voiceNumbers.length > 0 && !voiceNumbers.includes(body.from)) {
        throw new HttpProblem(422, 'The project does not call from this number.', { errors: [{ path: 'from', message: 'must be one of the numbers of the setting voiceNumbers' }] });
      }
      if (!(await adaptersOf(project)).voice) throw new AftercallError('CONFLICT', `Nobody places calls for project ${project}: Retell is not connected.`, { advice: 'Connect it with PUT on the connector "retell", or set RETELL_API_KEY for the project of the installation.', outcome: 'refused' });
      const request: VoiceCallRequest = { ...body, ...(agent === undefined ? {} : { agent }), ...(timeZone === undefined ? {} : { timeZone }), ...(notBefore === undefined ? {} : { notBeforeMs: Date.parse(notBefore) }), ...(notAfter === undefined ? {} : { notAfterMs: Date.parse(notAfter) }) };
      // Answers to keys are forgotten after a week, and are each token's own; the call is neither: the same key never places another, also with the token that has replaced the first.
      const { state, voiceCall } = await voiceCalls.enqueue({ project, voiceCallId: voiceCallIdOf(project, ['request', requestId]), request, requestedBy: principal.name });
      if (state === 'request_differs') throw new HttpProblem(422, 'This Idempotency-Key was used for another request.');
      if (voiceCall.state === 'queued') kickVoiceLines(project);
      return { voiceCallId: voiceCall.voiceCallId, state: voiceCall.state, url: addressOf(voiceCall) };
    },
  );

  route.get(ALL, { access: 'project_viewer', summary: 'Outbound calls, newest first; the first page with how many there are in each state', tag: TAG, params: ProjectParams, query: VoiceCallListQuery, returns: VoiceCallListShape }, async ({ params: { project }, query: { limit, cursor, state, outcome, batch, number, requestedFrom, requestedTo } }) => {
    await projects.settings(project);
    const filter = {
      ...(state ? { states: [state] } : {}),
      ...(outcome ? { outcome } : {}),
      ...(batch ? { batchId: batch } : {}),
      ...(number ? { number } : {}),
      ...(requestedFrom ? { requestedFrom: new Date(requestedFrom) } : {}),
      ...(requestedTo ? { requestedTo: new Date(requestedTo) } : {}),
    };
    const [rows, countByState] = await Promise.all([voiceCalls.list(project, filter, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) }), cursor ? null : voiceCalls.countByState(project, filter)]);
    const page = rows.slice(0, limit);
    const last = page.at(-1);
    return { voiceCalls: page.map(viewOf), next: rows.length > limit && last ? toCursor({ startedAt: last.requestedAt, id: last.voiceCallId }) : null, countByState };
  });

  const onBehalf = ({ by }: { by?: string | undefined }): Record<string, unknown> => (by ? { onBehalfOf: by } : {});

  const detailOf = async (row: VoiceCallRow) => ({
    ...viewOf(row),
    actions: actionsOf(row),
    resolutions: resolutionsOf(row),
    variables: row.request.variables,
    metadata: row.request.metadata,
    timeZone: row.request.timeZone ?? null,
    requestedBy: row.requestedBy,
    dials: row.dials,
    provider: providerView(row),
    timeline: timelineOf(row),
    trackingEvents: (await tracking.list(row.project, { subject: row.voiceCallId }, { limit: TRACKING_EVENTS.length }))
      .toSorted((one, other) => TRACKING_EVENTS.indexOf(one.name) - TRACKING_EVENTS.indexOf(other.name))
      .map(({ id, name, occurredAt, state, deliveredAt }) => ({ eventId: id, name, occurredAt: occurredAt.toISOString(), state, deliveredAt: deliveredAt?.toISOString() ?? null })),
    links: {
      call: row.callId === null ? null : `/v1/projects/${row.project}/calls/${row.callId}`,
      report: row.callId === null ? null : reportPath({ project: row.project, callId: row.callId }),
      temporal: config.TEMPORAL_UI_URL ? `${config.TEMPORAL_UI_URL}/namespaces/${config.TEMPORAL_NAMESPACE}/workflows/${encodeURIComponent(voiceCallWorkflowId(row))}` : null,
    },
  });

  route.get(ONE, { access: 'project_viewer', summary: 'One outbound call: how it stands, what became of it, and what can be done', tag: TAG, params: VoiceCallParams, returns: VoiceCallDetailShape }, async ({ params }) => detailOf(await voiceCalls.get(params.project, params.voiceCallId)));

  const act = { access: 'project_admin' as const, tag: TAG, params: VoiceCallParams, action: true as const };
  const audited = (what: string) => ({ action: `voice_calls.${what}`, target: ({ params }: { params: { voiceCallId: string } }) => params.voiceCallId });

  route.post(
    `${ALL}/resolve`,
    {
      access: 'project_admin',
      action: true,
      summary: `Say the same of up to ${MOST_RESOLVED} calls that wait for somebody`,
      tag: TAG,
      params: ProjectParams,
      body: ResolveManyBody,
      returns: ResolvedManyShape,
      audit: { action: 'voice_calls.resolve_many', target: ({ body }) => body.batch ?? 'all', details: ({ as, requestedFrom, requestedTo, code, by }) => ({ as, ...(requestedFrom ? { requestedFrom } : {}), ...(requestedTo ? { requestedTo } : {}), ...(code ? { code } : {}), ...onBehalf({ by }) }) },
    },
    async ({ params: { project }, body: { batch, requestedFrom, requestedTo, code, cursor, by: someone, ...said }, principal, requestId }) => {
      await projects.settings(project);
      const filter = { states: ['needs_attention' as const], ...(batch ? { batchId: batch } : {}), ...(requestedFrom ? { requestedFrom: new Date(requestedFrom) } : {}), ...(requestedTo ? { requestedTo: new Date(requestedTo) } : {}), ...(code ? { attention: code } : {}) };
      const found = await voiceCalls.list(project, filter, { limit: MOST_RESOLVED + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
      const by = actorOf(principal, someone);
      const { tried, ...outcome } = await resolveMany(found.slice(0, MOST_RESOLVED), async (row) => {
        if (!(resolutionsOf(row) as string[]).includes(said.as)) throw new AftercallError('CONFLICT', `It cannot be resolved as ${said.as}: the provider has it.`, { advice: `It can be resolved as ${resolutionsOf(row).join(', ')}.`, outcome: 'refused' });
        await voiceCallsClient.resolve(row, { ...said, by }, requestId);
        return said.as === 'look_again' && (await voiceCalls.get(project, row.voiceCallId)).state === 'needs_attention' ? 'still_waiting' : 'resolved';
      });
      const last = found[tried - 1];
      return { ...outcome, next: tried < found.length && last ? toCursor({ startedAt: last.requestedAt, id: last.voiceCallId }) : null };
    },
  );

  route.post(`${ONE}/cancel`, { ...act, summary: 'Take back a call that is not being dialled yet', body: ActBody, returns: VoiceCallDetailShape, audit: { ...audited('cancel'), details: onBehalf } }, async ({ params, body, principal }) => {
    const by = actorOf(principal, body.by);
    return detailOf(await voiceCalls.cancel(params, body.reason ? `${body.reason} (${by})` : `Cancelled by ${by}.`));
  });

  route.post(`${ONE}/stop`, { ...act, summary: 'Hang up', body: StopBody, returns: StoppedShape, audit: { ...audited('stop'), details: onBehalf } }, async ({ params, body, principal, requestId }) => {
    const row = await voiceCalls.get(params.project, params.voiceCallId);
    if (!isOneOf(ON_A_LINE, row.state) && !(row.state === 'needs_attention' && row.providerCallId !== null)) {
      throw new AftercallError('CONFLICT', `This voice call is ${said(row)}: there is nothing to hang up.`, { advice: row.state === 'queued' ? 'Cancel it instead.' : row.state === 'needs_attention' ? 'Resolve it instead.' : 'Nothing is left to be done.', outcome: 'refused' });
    }
    const outcome = await voiceCallsClient.stop(params, { by: actorOf(principal, body.by) }, requestId);
    // Not stopped yet: it is, as soon as the provider says under which ID it has it.
    return { voiceCallId: row.voiceCallId, stopped: outcome === 'stopped' };
  });

  route.post(`${ONE}/resolve`, { ...act, summary: 'Say what became of a call that waits for somebody', body: ResolveBody, returns: VoiceCallDetailShape, audit: { ...audited('resolve'), details: (body) => ({ as: body.as, ...onBehalf(body) }) } }, async ({ params, body, principal, requestId }) => {
    const row = await voiceCalls.get(params.project, params.voiceCallId);
    if (!(resolutionsOf(row) as string[]).includes(body.as)) {
      const open = resolutionsOf(row);
      throw new AftercallError('CONFLICT', open.length === 0 ? `This voice call is ${said(row)}: it does not wait for anybody.` : `This voice call cannot be resolved as ${body.as}: the provider has it.`, { advice: open.length === 0 ? 'Read it again.' : `It can be resolved as ${open.join(', ')}.`, outcome: 'refused' });
    }
    const by = actorOf(principal, body.by);
    await voiceCallsClient.resolve(params, { ...body, by }, requestId);
    return detailOf(await voiceCalls.get(params.project, params.voiceCallId));
  });

  route.post(`${ONE}/hand-over`, { ...act, summary: 'Have a call that is over processed, where that failed for good', body: HandOverBody, returns: VoiceCallDetailShape, audit: { ...audited('hand_over'), details: onBehalf } }, async ({ params, body: _body }) => {
    const row = await voiceCalls.get(params.project, params.voiceCallId);
    if (!actionsOf(row).includes('hand_over')) {
      const [why, advice] =
        row.callId !== null
          ? [`it is processed as the call ${row.callId}`, 'Reprocess that call to run it again.']
          : [`it is ${said(row)}`, isOneOf(['completed', 'not_connected'], row.state) ? 'Nobody was reached: there is nothing to process.' : 'It is handed over by itself when it has ended and somebody was reached.'];
      throw new AftercallError('CONFLICT', `This voice call cannot be handed over: ${why}.`, { advice, outcome: 'refused' });
    }
    // Safe to repeat, also while the call's workflow does the same.
    const handedOver = await handOverVoiceCall(params, AbortSignal.timeout(HAND_OVER_MS)).catch((error: unknown) => {
      throw notHandedOver(error);
    });
    if (!handedOver.handedOver) throw new AftercallError('CONFLICT', 'This voice call cannot be handed over: the call has been erased.', { advice: 'Nothing is left to be done.', outcome: 'refused' });
    return detailOf(await voiceCalls.get(params.project, params.voiceCallId));
  });
};

/** Why a hand-over failed, in words for whoever asked for it. */
const notHandedOver = (error: unknown): unknown => {
  if (isTemporalDown(error)) return new AftercallError('UPSTREAM_UNAVAILABLE', 'The voice call was not handed over: Temporal cannot be reached.', { advice: 'Try again in a moment.', cause: error });
  if (!isAftercallError(error)) return error;
  return new AftercallError(error.retryable ? 'UPSTREAM_UNAVAILABLE' : 'CONFLICT', `${HAND_OVER_FAILED}${error.message}`, { advice: error.advice, outcome: 'refused', cause: error });
};

const said = ({ state }: VoiceCallRow): string => state.replaceAll('_', ' ');

const actionsOf = ({ state, providerCallId, outcome, callId }: VoiceCallRow): (typeof VOICE_ACTIONS)[number][] => {
  if (state === 'queued') return ['cancel'];
  if (isOneOf(ON_A_LINE, state)) return ['stop'];
  if (state === 'needs_attention') return providerCallId === null ? ['resolve'] : ['resolve', 'stop'];
  if ((state === 'ended' || state === 'completed') && (outcome === 'connected' || outcome === 'voicemail') && callId === null) return ['hand_over'];
  return [];
};

const resolutionsOf = ({ state, providerCallId }: VoiceCallRow): ('dialled' | 'dial_again' | 'look_again' | 'give_up')[] => {
  if (state !== 'needs_attention') return [];
  return providerCallId === null ? ['dialled', 'dial_again', 'look_again', 'give_up'] : ['look_again', 'give_up'];
};

const viewOf = (row: VoiceCallRow) => ({
  voiceCallId: row.voiceCallId,
  url: addressOf(row),
  state: row.state,
  outcome: row.outcome,
  from: row.request.from,
  to: row.request.to,
  agent: row.request.agent ?? null,
  priority: row.request.priority,
  batchId: row.batchId,
  row: row.row,
  reason: row.reason,
  attention: row.attention && { code: row.attention.code, message: row.attention.message, advice: row.attention.advice, since: new Date(row.attention.sinceMs).toISOString() },
  notBefore: row.notBefore.toISOString(),
  notAfter: row.request.notAfterMs === undefined ? null : new Date(row.request.notAfterMs).toISOString(),
  requestedAt: row.requestedAt.toISOString(),
  durationMs: row.observed?.durationMs ?? null,
  callId: row.callId,
});

const providerView = ({ observed }: VoiceCallRow) =>
  observed && {
    callId: observed.providerCallId,
    status: observed.status,
    agent: observed.agentId ?? null,
    disconnectionReason: observed.disconnectionReason ?? null,
    successful: observed.analysis?.successful ?? null,
    voicemail: observed.analysis?.voicemail ?? null,
    sentiment: observed.analysis?.sentiment ?? null,
    costCents: observed.costCents ?? null,
  };

const timelineOf = (row: VoiceCallRow) => {
  const moments = [
    ['requested', row.requestedAt],
    ['dialling', row.diallingAt],
    ['dialled', row.dialledAt],
    ['answered', row.startedAt],
    ['ended', row.endedAt],
    ['settled', row.settledAt],
  ] as const;
  return moments.flatMap(([what, at]) => (at ? [{ at: at.toISOString(), what }] : [])).toSorted((one, other) => one.at.localeCompare(other.at));
};
