import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { z } from 'zod';
import type { VoiceBatchRow } from '../../db/voice-batches.ts';
import type { VoiceCallRow } from '../../db/voice-calls.ts';
import { AftercallError } from '../../domain/errors.ts';
import { isQuiet } from '../../domain/quiet-hours.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { csvLine } from '../csv.ts';
import { fromCursor, fromTextCursor, toCursor, toTextCursor } from '../cursor.ts';
import { HttpProblem } from '../problems.ts';
import { actorOf, type RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';
import { bodyChunks, reading } from '../uploads/bodies.ts';
import { type DialList, readDialList } from '../uploads/dial-list.ts';
import { csvCharsetOf, readOrRefuse } from '../uploads/refusals.ts';
import { BatchAcceptedShape, BatchAct, BatchCancel, BatchChange, BatchDetailShape, BatchListQuery, BatchParams, BatchQuery, BatchRowShape, BatchRowsQuery, BatchShape, batchView, forecastOf, LinesShape, queueView } from '../voice-batches.schema.ts';

const TAG = 'Voice batches';
const BATCHES = '/v1/projects/:project/voice-batches';
const BATCH = `${BATCHES}/:batchId`;
const MOST_BYTES = 32 * 1024 * 1024;
const ROWS_PER_READ = 1_000;
const RESULT_COLUMNS = ['row', 'to', 'from', 'agent', 'priority', 'state', 'outcome', 'reason', 'dials', 'voiceCallId', 'providerCallId', 'callId', 'requestedAt', 'dialledAt', 'startedAt', 'endedAt', 'durationSeconds'];

type Dependencies = Pick<ApiDependencies, 'projects' | 'adaptersOf' | 'voiceBatches' | 'voiceLines' | 'kickVoiceLines'>;

/** Numbers to call by the batch, and the lines that they go onto. */
export const voiceBatchRoutes = (route: RouteTable, { projects, adaptersOf, voiceBatches, voiceLines, kickVoiceLines }: Dependencies): void => {
  const viewOf = async (batch: VoiceBatchRow): Promise<z.input<typeof BatchShape>> => batchView(batch, (await voiceBatches.counts(batch.project, [batch.id])).get(batch.id) ?? { byState: {}, byOutcome: {} });

  const detailOf = async (batch: VoiceBatchRow): Promise<z.input<typeof BatchDetailShape>> => {
    const counts = (await voiceBatches.counts(batch.project, [batch.id])).get(batch.id) ?? { byState: {}, byOutcome: {} };
    const [pace, settings, { voice }, { reading: read }] = await Promise.all([voiceBatches.pace(batch), projects.settings(batch.project), adaptersOf(batch.project), voiceLines.view(batch.project)]);
    const free = read ? Math.max(0, read.limit - read.others) : undefined;
    const lines = free === undefined ? undefined : settings.voiceLines > 0 ? Math.min(free, settings.voiceLines) : free;
    return {
      ...batchView(batch, counts),
      rate: { dialledInLast15Minutes: pace.dialledLately, perMinute: Math.round((pace.dialledLately / 15) * 10) / 10 },
      forecast: forecastOf(batch, counts, { nowMs: Date.now(), pace, lines, callsPerSecond: voice?.callsPerSecond, rules: settings }),
    };
  };

  async function* resultLines(project: string, batchId: string, variables: readonly string[]): AsyncGenerator<string> {
    yield csvLine([...RESULT_COLUMNS, ...variables]);
    for (let after = 0, more = true; more; ) {
      const calls = await voiceBatches.calls(project, batchId, {}, { limit: ROWS_PER_READ, after });
      yield calls.map((call) => resultLine(call, variables)).join('');
      more = calls.length === ROWS_PER_READ;
      after = calls.at(-1)?.row ?? 0;
    }
  }

  route.post(
    BATCHES,
    {
      access: 'project_admin',
      keyed: true,
      audit: { action: 'voice_batches.create', target: ({ params }) => params.project },
      summary: 'Call up to 50,000 numbers from a CSV file with a column "to", and perhaps from, agent, priority, timeZone, notBefore, notAfter, metadata.* and variables: all of them, or none and what is wrong with which row',
      tag: TAG,
      params: ProjectParams,
      query: BatchQuery,
      streams: ['text/csv'],
      returns: BatchAcceptedShape,
      status: 202,
    },
    async ({ params: { project }, query, principal, requestId, request, response }) => {
      const { timeZone: projectTimeZone, voiceNumbers: numbers } = await projects.settings(project);
      const { from, agent, priority, timeZone, repeats } = query;
      const dryRun = query.dryRun === 'true';
      const list = await reading(request, () => {
        const charset = csvCharsetOf(request.get('content-type'));
        return readOrRefuse(() => readDialList(bodyChunks(request, MOST_BYTES), { charset, repeats, defaults: { from, agent, priority, timeZone, projectTimeZone, numbers } }));
      });
      const skipped = list.rows - list.calls.length;
      const report = { rows: list.rows, calls: list.calls.length, skipped, repeated: list.repeated, repeatedCount: list.repeatedCount, variables: list.variables, dryRun, problems: list.problems, problemCount: list.problemCount };
      if (dryRun) return void response.status(200).json({ batchId: null, address: null, state: null, ...report, skipped: list.problemCount > 0 ? 0 : skipped });
      refuseProblems(list);
      if (!(await adaptersOf(project)).voice) throw new AftercallError('CONFLICT', `Nobody places calls for project ${project}: Retell is not connected.`, { advice: 'Connect it, and send the batch again.', outcome: 'refused' });

      const name = query.name ?? `${list.calls.length} calls`;
      // Of what was sent: the same key with another file, or with other defaults, is another request.
      const sha256 = createHash('sha256').update(JSON.stringify([list.sha256, { ...query, dryRun: undefined }])).digest('hex');
      const id = `vb_${createHash('sha256').update(JSON.stringify([project, requestId])).digest().subarray(0, 16).toString('base64url')}`;
      if (!(await voiceBatches.create({ project, id, name, priority, skipped, sha256, variables: list.variables, requestedBy: principal.name, paused: query.paused === 'true', calls: list.calls }))) {
        if ((await voiceBatches.known(project, id, sha256)) === 'other') throw new HttpProblem(422, 'This Idempotency-Key was used for another batch. Nothing was taken in.');
        response.set('idempotent-replay', 'true');
      }
      kickVoiceLines(project);
      const { state, ...taken } = await voiceBatches.get(project, id);
      const address = `/v1/projects/${project}/voice-batches/${id}`;
      response.set('location', address);
      // Rows of it that were erased since it was first sent are left out, too.
      return { batchId: id, address, state, ...report, calls: taken.rows, skipped: taken.skipped };
    },
  );

  route.get(BATCHES, { access: 'project_viewer', summary: 'Batches with how far they have come, newest first', tag: TAG, params: ProjectParams, query: BatchListQuery, returns: z.object({ batches: z.array(BatchShape), next: z.string().nullable() }) }, async ({ params: { project }, query: { limit, cursor, state } }) => {
    await projects.settings(project);
    const rows = await voiceBatches.list(project, { state }, { limit: limit + 1, ...(cursor ? { after: fromCursor(cursor) } : {}) });
    const page = rows.slice(0, limit);
    const counts = await voiceBatches.counts(project, page.map(({ id }) => id));
    const last = page.at(-1);
    return { batches: page.map((batch) => batchView(batch, counts.get(batch.id) ?? { byState: {}, byOutcome: {} })), next: rows.length > limit && last ? toCursor({ startedAt: last.requestedAt, id: last.id }) : null };
  });

  route.get(BATCH, { access: 'project_viewer', summary: 'One batch: how far it has come, how fast it goes, and when it will be through', tag: TAG, params: BatchParams, returns: BatchDetailShape }, async ({ params }) => detailOf(await voiceBatches.get(params.project, params.batchId)));

  route.get(`${BATCH}/rows`, { access: 'project_viewer', summary: 'The rows of a batch, in the order of its file', tag: TAG, params: BatchParams, query: BatchRowsQuery, returns: z.object({ rows: z.array(BatchRowShape), next: z.string().nullable() }) }, async ({ params: { project, batchId }, query: { limit, cursor, state, outcome } }) => {
    await voiceBatches.get(project, batchId);
    const after = cursor === undefined ? 0 : Number(fromTextCursor(cursor));
    if (!Number.isSafeInteger(after) || after > 2 ** 31 - 1) throw new HttpProblem(400, 'The cursor is none that this API gave.');
    const rows = await voiceBatches.calls(project, batchId, { states: state ? [state] : [], outcome }, { limit: limit + 1, after });
    const page = rows.slice(0, limit).map((call) => ({
      row: call.row!,
      voiceCallId: call.voiceCallId,
      to: call.request.to,
      from: call.request.from,
      agent: call.request.agent ?? null,
      priority: call.request.priority,
      state: call.state,
      outcome: call.outcome,
      reason: call.reason,
      waitsFor: call.state !== 'queued' ? null : call.held ? 'paused' : call.waitsFor,
      notBefore: call.notBefore.toISOString(),
      notAfter: call.request.notAfterMs === undefined ? null : new Date(call.request.notAfterMs).toISOString(),
      callId: call.callId,
      dialledAt: call.dialledAt?.toISOString() ?? null,
      startedAt: call.startedAt?.toISOString() ?? null,
      endedAt: call.endedAt?.toISOString() ?? null,
    }));
    return { rows: page, next: rows.length > limit ? toTextCursor(String(page.at(-1)!.row)) : null };
  });

  route.get(`${BATCH}/results`, { access: 'project_viewer', summary: 'What became of every row, as CSV', tag: TAG, params: BatchParams, produces: ['text/csv'] }, async ({ params: { project, batchId }, response }) => {
    const { variables } = await voiceBatches.get(project, batchId);
    response.set({ 'content-type': 'text/csv; charset=utf-8', 'content-disposition': `attachment; filename="${batchId}.csv"`, 'cache-control': 'no-store' });
    await pipeline(Readable.from(resultLines(project, batchId, variables)), response).catch((error: unknown) => {
      // Nobody reads on.
      if ((error as { code?: string }).code !== 'ERR_STREAM_PREMATURE_CLOSE') throw error;
    });
  });

  const audited = (what: string) => ({ action: `voice_batches.${what}`, target: ({ params }: { params: { batchId: string } }) => params.batchId });
  const onBehalf = ({ by: person }: { by?: string | undefined }): Record<string, unknown> => (person ? { onBehalfOf: person } : {});
  const act = { access: 'project_admin' as const, action: true as const, tag: TAG, params: BatchParams };

  route.post(`${BATCH}/pause`, { ...act, body: BatchAct, returns: BatchShape, audit: { ...audited('pause'), details: onBehalf }, summary: 'Dial no more of a batch for now; calls on a line go on' }, async ({ params, body, principal }) => viewOf(await voiceBatches.pause(params.project, params.batchId, actorOf(principal, body.by))));
  route.post(`${BATCH}/resume`, { ...act, body: BatchAct, returns: BatchShape, audit: { ...audited('resume'), details: onBehalf }, summary: 'Go on with a paused batch' }, async ({ params, body: _body }) => {
    const batch = await voiceBatches.resume(params.project, params.batchId);
    kickVoiceLines(params.project);
    return viewOf(batch);
  });
  route.post(
    `${BATCH}/cancel`,
    { ...act, body: BatchCancel, returns: z.object({ batch: BatchShape, cancelled: z.number(), onALine: z.number() }), audit: { ...audited('cancel'), details: onBehalf }, summary: 'Take back what is still queued of a batch; calls on a line go on, and are stopped one by one' },
    async ({ params, body, principal }) => {
      const { batch, cancelled, onALine } = await voiceBatches.cancel(params.project, params.batchId, { by: actorOf(principal, body.by), reason: body.reason ?? null });
      return { batch: await viewOf(batch), cancelled, onALine };
    },
  );
  route.patch(BATCH, { access: 'project_admin', tag: TAG, params: BatchParams, body: BatchChange, returns: BatchShape, audit: { ...audited('change'), details: ({ priority }) => (priority === undefined ? {} : { priority }) }, summary: 'Rename a batch, or let what is queued of it go earlier or later than other calls' }, async ({ params, body }) => viewOf(await voiceBatches.change(params.project, params.batchId, body)));

  route.get('/v1/projects/:project/voice-lines', { access: 'project_viewer', summary: "The account's lines, the queue in front of them, and what it waits for", tag: TAG, params: ProjectParams, returns: LinesShape }, async ({ params: { project } }) => {
    const [settings, { voice }, view] = await Promise.all([projects.settings(project), adaptersOf(project), voiceLines.view(project)]);
    const { reading: read, accountInUse } = view;
    return {
      connected: voice !== undefined,
      account: read && { limit: read.limit, inUseByUs: accountInUse, inUseByOthers: read.others, free: Math.max(0, read.limit - read.others - accountInUse), readAt: read.readAt.toISOString() },
      callsPerSecond: voice?.callsPerSecond ?? null,
      project: { onALine: view.onALine, mostLines: settings.voiceLines, quietNow: isQuiet(Date.now(), settings.quietHours, settings.timeZone) },
      queue: queueView(view),
      heldBack: view.heldBack,
      lookedAt: view.lookedAt?.toISOString() ?? null,
      looksAgainAt: view.lookAgainAt?.toISOString() ?? null,
    };
  });
};

const refuseProblems = ({ problems, problemCount }: DialList): void => {
  if (problemCount === 0) return;
  const more = problemCount > problems.length ? ` The first ${problems.length} are listed.` : '';
  throw new HttpProblem(422, `${problemCount} ${problemCount === 1 ? 'thing is' : 'things are'} wrong in the file.${more} Nothing was taken in: mend them and send it again.`, {
    errors: problems.map(({ row, line, field, problem }) => ({ path: `row ${row} (line ${line}): ${field}`, message: `${field} ${problem}` })),
  });
};

const resultLine = ({ row, request, ...call }: VoiceCallRow, variables: readonly string[]): string =>
  csvLine([
    row,
    request.to,
    request.from,
    request.agent,
    request.priority,
    call.state,
    call.outcome,
    call.reason,
    call.dials,
    call.voiceCallId,
    call.providerCallId,
    call.callId,
    ...[call.requestedAt, call.dialledAt, call.startedAt, call.endedAt].map((at) => at?.toISOString()),
    durationOf(call),
    ...variables.map((name) => request.variables[name]),
  ]);

const durationOf = ({ startedAt, endedAt }: { startedAt: Date | null; endedAt: Date | null }): number | null => (startedAt && endedAt ? Math.round((endedAt.getTime() - startedAt.getTime()) / 1_000) : null);
