import { createHash } from 'node:crypto';
import { z } from 'zod';
import { confirmationOf, ERASURE_KINDS, phoneDigits } from '../../domain/erasure.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Erasure';
const PATH = '/v1/projects/:project/erasures';
/** A number that more calls have than this is a line of one's own, not a person's. */
const MOST_CALLS = 10_000;

const Body = z
  .strictObject({
    callId: z.string().min(1).max(200).optional(),
    /** As people write it: with its country, of any form. */
    phone: z.string().min(5).max(40).regex(/^[+\d\s().-]+$/, 'must be a phone number').optional(),
    dryRun: z.boolean().default(false),
    /** What the dry run says has to be typed. */
    confirm: z.string().max(60).optional(),
  })
  .refine(({ callId, phone }) => (callId === undefined) !== (phone === undefined), { message: 'give either callId or phone', path: ['callId'] });
const Places = z.record(z.string(), z.number());
const PlanShape = z.object({
  /** Null of a dry run. */
  erasureId: z.string().nullable(),
  calls: z.number(),
  /** Rows in the database, by table. Objects, notes and histories come to it. */
  rows: Places,
  confirm: z.string(),
});
const CertificateShape = z.object({
  erasureId: z.string(),
  project: z.string(),
  kind: z.enum(ERASURE_KINDS),
  subject: z.object({ key: z.string(), hmacSha256: z.string() }),
  by: z.string(),
  requestedAt: z.iso.datetime(),
  endedAt: z.iso.datetime().nullable(),
  calls: z.number(),
  erased: Places,
  notErased: Places,
});

/** Erasing a call, or every call with a number, everywhere; and the certificates of it. */
export const erasureRoutes = (route: RouteTable, { calls, projects, erasures, erasuresClient }: ApiDependencies): void => {
  /** A call, or one that was placed and nobody answered. @throws NOT_FOUND */
  const named = async (project: string, callId: string): Promise<string> => {
    const key = { project, callId };
    if (!(await calls.find(key)) && (await erasures.voiceCallsOf(key)).length > 0) return callId;
    return (await calls.get(key)).callId;
  };

  route.post(
    PATH,
    {
      access: 'project_admin',
      summary: 'Erase a call or all calls with a phone number, everywhere and for good',
      tag: TAG,
      params: ProjectParams,
      body: Body,
      returns: PlanShape,
      action: true,
      status: 202,
      // Neither the number nor anything that could be guessed to be it: the log is for ever.
      audit: { action: 'calls.erase', target: ({ body }) => (body.callId === undefined ? 'a phone number' : 'a call'), details: ({ dryRun }) => ({ dryRun }) },
    },
    async ({ params: { project }, body, principal, requestId }) => {
      await projects.settings(project);
      const digits = body.phone === undefined ? '' : phoneDigits(body.phone);
      if (body.phone !== undefined && digits.length < 5) throw new HttpProblem(400, 'A phone number has at least five digits.');
      const callIds = await erasures.meant(project, body.callId === undefined ? await erasures.callsOf(project, digits, MOST_CALLS + 1) : [await named(project, body.callId)]);
      if (callIds.length === 0) throw new AftercallError('NOT_FOUND', 'There is no call with this number.', { advice: 'Write it with its country, as it stands in the calls.' });
      if (callIds.length > MOST_CALLS) throw new HttpProblem(400, `More than ${MOST_CALLS} calls have this number: it is a line of your own rather than a person's.`);
      const confirm = confirmationOf(callIds.length);
      if (body.dryRun) return { erasureId: null, calls: callIds.length, rows: await erasures.count(project, callIds), confirm };
      if (body.confirm !== confirm) throw new HttpProblem(400, `This cannot be undone. To go on, send "confirm": "${confirm}".`);
      const erasureId = createHash('sha256').update(JSON.stringify([project, principal.id, requestId])).digest('hex').slice(0, 32);
      await erasuresClient.erase({ project, id: erasureId, kind: body.callId === undefined ? 'phone' : 'call', subject: erasuresClient.subjectOf(project, body.callId ?? digits), by: principal.name, callIds });
      return { erasureId, calls: callIds.length, rows: {}, confirm };
    },
  );

  route.get(PATH, { access: 'project_admin', summary: 'What was erased, newest first, up to 200', tag: TAG, params: ProjectParams, returns: z.object({ erasures: z.array(CertificateShape) }) }, async ({ params: { project } }) => ({ erasures: await erasures.list(project, 200) }));

  route.get(`${PATH}/:erasureId`, { access: 'project_admin', summary: 'How far an erasure is, and its certificate', tag: TAG, params: z.strictObject({ project: z.string().max(40), erasureId: z.string().max(64) }), returns: CertificateShape }, async ({ params }) =>
    erasures.get(params.project, params.erasureId),
  );
};
