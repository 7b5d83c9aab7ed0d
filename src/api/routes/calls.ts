import { z } from 'zod';
import { reportPath } from '../../accounts/report-links.ts';
import { loadTranscript } from '../../adapters/objects/transcripts.ts';
import { AftercallError } from '../../domain/errors.ts';
import { type CallKey, hasEnded } from '../../domain/call.ts';
import { toSrt, toWebVtt } from '../../domain/captions.ts';
import { callWorkflowId } from '../../domain/ids.ts';
import { parseBinding, presetStamp } from '../../domain/preset.ts';
import type { Step } from '../../domain/steps.ts';
import { withSpeakers } from '../../domain/review.ts';
import type { CallRow, VersionRow } from '../../db/calls.ts';
import type { Publication } from '../../db/review-publications.ts';
import { fromCursor, toCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { sendRecording } from '../recording-response.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { effectViews } from './messages.ts';
import {
  AcceptedShape,
  type ACTIONS,
  ApproveBody,
  CallDetailShape,
  CallFilterFields,
  filterOf,
  CallListShape,
  CallParams,
  GiveUpBody,
  Paging,
  ProjectParams,
  RejectBody,
  ReprocessBody,
  ReprocessedShape,
  RetryBody,
  SkipBody,
  StateShape,
} from '../shapes.ts';

const TAG = 'Calls';
const CALL = '/v1/projects/:project/calls/:callId';

/** Of a call that was run again and again, the newest. */
const MOST_MESSAGES = 100;

const ListQuery = z.strictObject({ ...Paging, state: z.union([StateShape, z.array(StateShape).max(10)]).optional(), ...CallFilterFields });

export const callRoutes = (route: RouteTable, { calls, effects, messages, costs, reviewPublications, objects, presets, projects, voiceCalls, callsClient, config }: ApiDependencies): void => {
  route.get('/v1/projects/:project/calls', { access: 'project_viewer', summary: 'Calls, newest first', tag: TAG, params: ProjectParams, query: ListQuery, returns: CallListShape }, async ({ params: { project }, query }) => {
    await projects.settings(project);
    const rows = await calls.list(
      {
        project,
        ...(query.state ? { states: [query.state].flat() } : {}),
        ...filterOf(query),
      },
      // One more than asked tells whether there is another page.
      { limit: query.limit + 1, ...(query.cursor ? { after: after(query.cursor) } : {}) },
    );
    const page = rows.slice(0, query.limit);
    const last = page.at(-1);
    return { calls: page.map(viewOf), next: rows.length > query.limit && last ? toCursor({ startedAt: last.startedAt, id: last.callId }) : null, countByState: await calls.countByState(project) };
  });

  route.get(CALL, { access: 'project_viewer', summary: 'A call: where it stands, what came of it, what can be done', tag: TAG, params: CallParams, returns: CallDetailShape }, async ({ params }) => {
    const call = await calls.get(params);
    const versions = await calls.listVersions(params);
    const newest = versions[0];
    // A call goes on under the ID that the provider gave it.
    const voiceCall = await voiceCalls.findByProvider(params.project, params.callId);
    const base = `/v1/projects/${params.project}/calls/${encodeURIComponent(params.callId)}`;
    return {
      ...viewOf(call),
      actions: actionsFor(call),
      versions: versions.map(versionView),
      effects: effectViews(await effects.list(params.project, params.callId), await messages.list(params.project, { callId: params.callId }, { limit: MOST_MESSAGES })),
      costs: (await costs.list(params.project, params.callId)).map(({ version, step, kind, provider, model, state, microUsd, reservedAt }) => ({ version, step, kind, provider, model, state, microUsd, at: reservedAt.toISOString() })),
      voiceCall: voiceCall ? { voiceCallId: voiceCall.voiceCallId, url: `/v1/projects/${params.project}/voice-calls/${voiceCall.voiceCallId}`, outcome: voiceCall.outcome, batchId: voiceCall.batchId } : null,
      publication: publicationView(await reviewPublications.find(params)),
      links: {
        transcript: newest?.transcript ? `${base}/transcript` : null,
        report: reportPath(params),
        analysis: newest?.analysis ? `${base}/analysis` : null,
        recording: newest?.recording ? `${base}/recording` : null,
        temporal: config.TEMPORAL_UI_URL ? `${config.TEMPORAL_UI_URL}/namespaces/${config.TEMPORAL_NAMESPACE}/workflows/${encodeURIComponent(callWorkflowId(params))}` : null,
      },
    };
  });

  const newestOf = async (key: CallKey): Promise<VersionRow> => {
    const { version } = await calls.get(key);
    return calls.getVersion({ ...key, version });
  };

  route.get(
    `${CALL}/transcript`,
    { access: 'project_viewer', summary: 'The transcript as JSON, WebVTT or SRT, with its speakers as reviewed or as made', tag: TAG, params: CallParams, query: z.strictObject({ format: z.enum(['json', 'vtt', 'srt']).default('json'), as: z.enum(['reviewed', 'made']).default('reviewed') }), produces: ['application/json', 'text/vtt', 'application/x-subrip'] },
    async ({ params, query, response }) => {
      const { transcript, effective } = await newestOf(params);
      const made = await loadTranscript(objects, transcript);
      if (!made) throw missing(params, 'transcript');
      const stored = query.as === 'made' ? made : withSpeakers(made, effective?.review?.speakers ?? {});
      if (query.format === 'json') return void response.json(stored);
      response.attachment(`${params.callId}.${query.format}`).type(query.format === 'vtt' ? 'text/vtt' : 'application/x-subrip').send(query.format === 'vtt' ? toWebVtt(stored) : toSrt(stored));
    },
  );

  route.get(`${CALL}/analysis`, { access: 'project_viewer', summary: 'The analysis with its evidence, as reviews leave it', tag: TAG, params: CallParams, returns: z.record(z.string(), z.unknown()) }, async ({ params }) => {
    const { effective } = await newestOf(params);
    if (!effective) throw missing(params, 'analysis');
    return effective;
  });

  route.get(`${CALL}/recording`, { access: 'project_viewer', summary: 'The recording; takes byte ranges', tag: TAG, params: CallParams, produces: ['audio/wav', 'audio/mpeg'] }, async ({ params, request, response }) => {
    const { recording } = await newestOf(params);
    if (!recording || !(await sendRecording(objects, { recording, callId: params.callId, request, response }))) throw missing(params, 'recording');
  });

  const accepted = (key: CallKey) => ({ callId: key.callId, accepted: true as const });
  const action = { access: 'project_admin' as const, tag: TAG, params: CallParams, returns: AcceptedShape, action: true as const };
  /** Reasons and notes are people's own words, perhaps about people: the call keeps them, the audit log does not. */
  const audited = (what: string) => ({
    action: `calls.${what}`,
    target: ({ params }: { params: CallKey }) => params.callId,
    details: ({ from, step, by, preset }: { from?: Step | undefined; step?: Step | undefined; by?: string | undefined; preset?: string | undefined }) => ({ ...(preset ? { preset } : {}), ...(from ? { from } : {}), ...(step ? { step } : {}), ...(by ? { onBehalfOf: by } : {}) }),
  });
  route.post(`${CALL}/approve`, { ...action, audit: audited('approve'), summary: 'Let a call go on that waits for approval', body: ApproveBody }, async ({ params, body: { by, note }, principal, requestId }) => {
    await callsClient.approve(params, { by: actorOf(principal, by), ...(note ? { note } : {}) }, requestId);
    return accepted(params);
  });
  route.post(`${CALL}/reject`, { ...action, audit: audited('reject'), summary: 'Turn down what waits for approval', body: RejectBody }, async ({ params, body, principal, requestId }) => {
    await callsClient.reject(params, { ...body, by: actorOf(principal, body.by) }, requestId);
    return accepted(params);
  });
  route.post(`${CALL}/retry`, { ...action, audit: audited('retry'), summary: 'Try failed steps again, or all from an earlier one', body: RetryBody }, async ({ params, body: { by, from }, principal, requestId }) => {
    await callsClient.retry(params, { by: actorOf(principal, by), ...(from ? { from } : {}) }, requestId);
    return accepted(params);
  });
  route.post(`${CALL}/skip-step`, { ...action, audit: audited('skip_step'), summary: 'Go on without a failed step', body: SkipBody }, async ({ params, body, principal, requestId }) => {
    await callsClient.skipStep(params, { ...body, by: actorOf(principal, body.by) }, requestId);
    return accepted(params);
  });
  route.post(`${CALL}/give-up`, { ...action, audit: audited('give_up'), summary: 'End a call that waits', body: GiveUpBody }, async ({ params, body, principal, requestId }) => {
    await callsClient.giveUp(params, { ...body, by: actorOf(principal, body.by) }, requestId);
    return accepted(params);
  });
  route.post(`${CALL}/reprocess`, { ...action, audit: audited('reprocess'), summary: 'Run an ended call again as a new version, from a step on', body: ReprocessBody, returns: ReprocessedShape, status: 202 }, async ({ params, body, principal }) => ({
    callId: params.callId,
    ...(await callsClient.reprocess(params, { from: body.from, by: actorOf(principal, body.by), preset: body.preset === undefined ? undefined : await presets.choose(params.project, parseBinding(body.preset)!) })),
  }));
};

const after = (cursor: string): { startedAt: Date; callId: string } => {
  const { startedAt, id } = fromCursor(cursor);
  return { startedAt, callId: id };
};

const missing = ({ callId }: CallKey, what: string): AftercallError =>
  new AftercallError('NOT_FOUND', `Call ${callId} has no ${what}.`, { advice: 'The call itself says how far it has come.' });

const viewOf = (call: CallRow) => ({
  callId: call.callId,
  source: call.source,
  state: call.state,
  step: call.step,
  result: call.result,
  reason: call.reason,
  attention: call.attention,
  version: call.version,
  direction: call.details.direction,
  originPhone: call.details.originPhone ?? null,
  destinationPhone: call.details.destinationPhone ?? null,
  queueName: call.details.queueName ?? null,
  agentName: call.details.agentName ?? null,
  scorePercent: call.scorePercent,
  passed: call.passed,
  startedAt: call.startedAt.toISOString(),
  updatedAt: call.updatedAt.toISOString(),
  endedAt: call.endedAt?.toISOString() ?? null,
});

export const publicationView = (publication: Publication | undefined) => publication ? { state: publication.state, error: publication.error, updatedAt: publication.updatedAt.toISOString() } : null;

export const versionView = (version: VersionRow) => ({
  version: version.version,
  runId: version.runId,
  startedFrom: version.startedFrom,
  preset: version.preset && presetStamp(version.preset),
  state: version.state,
  result: version.result,
  reason: version.reason,
  recording: version.recording && { bytes: version.recording.bytes, sha256: version.recording.sha256, format: version.recording.format },
  transcript: version.transcript && {
    turns: version.transcript.turns,
    durationMs: version.transcript.durationMs,
    provider: version.transcript.provider,
    model: version.transcript.model,
    language: version.transcript.language ?? null,
  },
  scorePercent: version.effective?.grading.total_score_percent ?? null,
  aiScorePercent: version.analysis?.grading.total_score_percent ?? null,
  reviewed: version.effective?.review !== undefined,
  crm: version.crm && { ...version.crm, records: { ...version.crm.records } },
  startedAt: version.startedAt.toISOString(),
  endedAt: version.endedAt?.toISOString() ?? null,
});

/** What a person can press now. The workflow's validators have the last word. */
const actionsFor = ({ state }: CallRow): (typeof ACTIONS)[number][] => {
  if (hasEnded(state)) return ['reprocess'];
  if (state === 'awaiting_approval') return ['approve', 'reject'];
  if (state === 'needs_attention') return ['retry', 'skip-step', 'give-up'];
  if (state === 'waiting_for_recording') return ['retry', 'give-up'];
  return [];
};
