import { z } from 'zod';
import { loadTranscript } from '../../adapters/objects/transcripts.ts';
import type { CallKey, CallVersion } from '../../domain/call.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { Transcript } from '../../domain/transcript.ts';
import type { Review } from '../../db/reviews.ts';
import { fromTextCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import { confirm, correct, override, swapSpeakers, undo } from '../review-acts.ts';
import type { RouteTable } from '../route.ts';
import { AcceptedShape, CallParams, Paging, ProjectParams, PublicationShape } from '../shapes.ts';
import { publicationView } from './calls.ts';

const TAG = 'Reviews';
const REVIEW = '/v1/projects/:project/calls/:callId/review';

/** What the person had before them: others' work since then is not written over. */
const Basis = { version: z.number().int().min(1).max(1_000_000), expectedRevision: z.number().int().min(0).max(1_000_000) };
const criterion = z.string().min(1).max(100);
const comment = z.string().trim().min(1).max(2_000);

const CorrectionBody = z.strictObject({
  ...Basis,
  criterion,
  verdict: z.enum(['yes', 'no', 'not_applicable']),
  comment,
  quote: z.string().trim().min(1).max(1_000).optional(),
  turn: z.number().int().min(0).max(100_000).optional(),
});
const ConfirmBody = z.strictObject({ ...Basis, criterion: criterion.optional() });
const OverrideBody = z.strictObject({ ...Basis, scorePercent: z.number().int().min(0).max(100), comment });
const label = z.string().min(1).max(100);
const SwapBody = z.strictObject({ ...Basis, speakers: z.record(label, label).refine((speakers) => Object.keys(speakers).length > 0 && Object.keys(speakers).length <= 50, 'Name 1 to 50 speakers.') });
const UndoBody = z.strictObject({ ...Basis, revision: z.number().int().min(1).max(1_000_000) });

const GradingShape = z.object({ total_score_percent: z.number().nullable(), pass: z.boolean().nullable(), categories: z.record(z.string(), z.object({ score_percent: z.number().nullable(), points: z.number(), out_of: z.number() })) });
const ChangedShape = z.object({ callId: z.string(), version: z.number(), revision: z.number(), grading: GradingShape });
const EntryShape = z.looseObject({ revision: z.number(), kind: z.enum(['correct', 'confirm', 'override', 'swap_speakers', 'undo']), by: z.string(), at: z.iso.datetime() });
const ReviewShape = z.object({
  callId: z.string(),
  version: z.number(),
  /** To be sent back as `expectedRevision`. */
  revision: z.number(),
  /** As it stands, and as the model made it. */
  analysis: z.record(z.string(), z.unknown()),
  ai: z.record(z.string(), z.unknown()),
  entries: z.array(EntryShape),
  publication: PublicationShape.nullable(),
});
const QueueShape = z.object({
  calls: z.array(z.object({ callId: z.string(), version: z.number(), startedAt: z.iso.datetime(), scorePercent: z.number().nullable(), doubts: z.number() })),
  next: z.string().nullable(),
});
const QueueQuery = z.strictObject({ ...Paging, order: z.enum(['doubtful', 'random']).default('doubtful') });

const MeasureShape = z.object({ value: z.number(), interval: z.tuple([z.number(), z.number()]).nullable() }).nullable();
const AgreementShape = z.object({
  floor: z.object({ measure: z.string(), value: z.number(), minN: z.number() }).nullable(),
  questions: z.array(
    z.object({
      rubric: z.string(),
      criterion: z.string(),
      n: z.number(),
      raw: MeasureShape,
      kappa: MeasureShape,
      ac1: MeasureShape,
      confusion: z.record(z.string(), z.record(z.string(), z.number())),
      advisory: z.boolean(),
    }),
  ),
});
const AgreementQuery = z.strictObject({
  rubric: z.string().max(200).optional(),
  model: z.string().max(200).optional(),
  preset: z.string().max(200).optional(),
  from: z.iso.datetime({ offset: true }).optional(),
  to: z.iso.datetime({ offset: true }).optional(),
});

export const reviewRoutes = (route: RouteTable, { calls, reviews, agreement, reviewPublications, projects, objects, kickPublications }: ApiDependencies): void => {
  route.get(
    REVIEW,
    { access: 'project_viewer', summary: "What people have said of a call's analysis, and what stands", tag: TAG, params: CallParams, query: z.strictObject({ version: z.coerce.number().int().min(1).max(1_000_000).optional() }), returns: ReviewShape },
    async ({ params, query }) => {
      const version = query.version ?? (await calls.get(params)).version;
      const { analysis, effective, reviews: entries } = await calls.getVersion({ ...params, version });
      if (!analysis || !effective) throw new AftercallError('NOT_FOUND', `Version ${version} of call ${params.callId} has no analysis.`, { advice: 'The call itself says how far it has come.' });
      return { callId: params.callId, version, revision: entries.at(-1)?.revision ?? 0, analysis: effective, ai: analysis, entries, publication: publicationView(await reviewPublications.find(params)) };
    },
  );

  const review = { access: 'project_admin' as const, tag: TAG, params: CallParams, returns: ChangedShape, action: true as const };
  /** Comments are people's own words, perhaps about people: the review keeps them, the audit log does not. */
  const audited = <B extends z.output<typeof ConfirmBody>>(what: string, more: (body: B) => Record<string, unknown> = () => ({})) => ({
    action: `reviews.${what}`,
    target: ({ params }: { params: CallKey }) => params.callId,
    details: (body: B) => ({ version: body.version, ...more(body) }),
  });
  const append = async (params: CallKey, { version, expectedRevision }: { version: number; expectedRevision: number }, principal: { name: string; kind: 'user' | 'token' }, act: Review['act']) => {
    const { revision, effective } = await reviews.append({ call: { ...params, version }, expectedRevision, by: { name: principal.name, kind: principal.kind }, act });
    kickPublications();
    return { callId: params.callId, version, revision, grading: effective.grading };
  };
  const transcriptOf = async (call: CallVersion): Promise<Transcript | undefined> => loadTranscript(objects, (await calls.getVersion(call)).transcript);

  route.post(
    `${REVIEW}/corrections`,
    { ...review, audit: audited<z.output<typeof CorrectionBody>>('correct', ({ criterion: id, verdict }) => ({ criterion: id, verdict })), summary: 'Correct an answer', body: CorrectionBody },
    async ({ params, body, principal }) => append(params, body, principal, correct(body, await transcriptOf({ ...params, version: body.version }))),
  );
  route.post(`${REVIEW}/confirm`, { ...review, audit: audited('confirm', ({ criterion: id }) => (id ? { criterion: id } : {})), summary: 'Confirm an answer, or all that nobody has corrected', body: ConfirmBody }, async ({ params, body, principal }) =>
    append(params, body, principal, confirm(body.criterion)),
  );
  route.post(
    `${REVIEW}/override`,
    { ...review, audit: audited<z.output<typeof OverrideBody>>('override', ({ scorePercent }) => ({ scorePercent })), summary: 'Set the total, whatever the answers add up to', body: OverrideBody },
    async ({ params, body, principal }) => append(params, body, principal, override(body)),
  );
  route.post(`${REVIEW}/swap-speakers`, { ...review, audit: audited('swap_speakers'), summary: 'Say who the speakers of the transcript are; the evidence is checked again', body: SwapBody }, async ({ params, body, principal }) =>
    append(params, body, principal, swapSpeakers(body.speakers, await transcriptOf({ ...params, version: body.version }))),
  );
  route.post(`${REVIEW}/undo`, { ...review, audit: audited<z.output<typeof UndoBody>>('undo', ({ revision }) => ({ revision })), summary: 'Undo an entry of the review', body: UndoBody }, async ({ params, body, principal }) =>
    append(params, body, principal, undo(body.revision)),
  );
  route.post(
    `${REVIEW}/publish`,
    { ...review, returns: AcceptedShape, audit: { action: 'reviews.publish', target: ({ params }) => params.callId }, summary: 'Store and push what stands once more, after that has failed', body: z.strictObject({}), status: 202 },
    async ({ params }) => {
      await calls.get(params);
      await reviewPublications.request(params);
      kickPublications();
      return { callId: params.callId, accepted: true as const };
    },
  );

  route.get('/v1/projects/:project/reviews/queue', { access: 'project_viewer', summary: 'Calls that nobody has reviewed: the most doubtful first, or drawn by lot', tag: TAG, params: ProjectParams, query: QueueQuery, returns: QueueShape }, async ({ params, query }) => {
    const found = await reviews.queue(params.project, query.order, { limit: query.limit + 1, ...(query.cursor ? { after: positionOf(query.cursor) } : {}) });
    const page = found.slice(0, query.limit);
    const last = page.at(-1);
    return {
      calls: page.map(({ callId, version, startedAt, scorePercent, doubts }) => ({ callId, version, startedAt: startedAt.toISOString(), scorePercent, doubts })),
      next: found.length > query.limit && last ? toTextCursor(JSON.stringify([last.doubts, last.lot, last.callId])) : null,
    };
  });

  route.get('/v1/projects/:project/agreement', { access: 'project_viewer', summary: 'How far people and the model agree, per question', tag: TAG, params: ProjectParams, query: AgreementQuery, returns: AgreementShape }, async ({ params, query }) => {
    const { agreementFloor } = await projects.settings(params.project);
    const questions = await agreement.list({
      project: params.project,
      ...(query.rubric ? { rubric: query.rubric } : {}),
      ...(query.model ? { model: query.model } : {}),
      ...(query.preset ? { preset: query.preset } : {}),
      ...(query.from ? { from: new Date(query.from) } : {}),
      ...(query.to ? { to: new Date(query.to) } : {}),
    });
    const advisory = await agreement.setAside(params.project);
    return {
      floor: agreementFloor ?? null,
      questions: questions.map(({ rubric, criterion: id, agreement: measured }) => ({ rubric, criterion: id, ...measured, advisory: advisory.has(JSON.stringify([rubric, id])) })),
    };
  });
};

const positionOf = (cursor: string): { doubts: number; lot: number; callId: string } => {
  try {
    const [doubts, lot, callId] = JSON.parse(fromTextCursor(cursor)) as [unknown, unknown, unknown];
    if (isCount(doubts) && isCount(lot) && typeof callId === 'string') return { doubts, lot, callId };
  } catch {
    // Said below.
  }
  throw new HttpProblem(400, 'The cursor is none that this API gave.');
};
const isCount = (value: unknown): value is number => Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;
