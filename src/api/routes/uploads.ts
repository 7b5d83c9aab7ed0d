import { z } from 'zod';
import { messageOf } from '../../domain/errors.ts';
import { isTimeZone } from '../../domain/local-time.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { givenCallSchema, type ReadCall, toGivenCall } from '../given-call.schema.ts';
import { toEvent } from '../given-events.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { ProjectParams } from '../shapes.ts';
import { readAudioForm } from '../uploads/audio.ts';
import { readBody, reading } from '../uploads/bodies.ts';
import { type Charset, contentTypeOf, readOrRefuse } from '../uploads/refusals.ts';
import { readTable, type TableFormat } from '../uploads/table.ts';

const TAG = 'Uploads';
const MOST_TABLE_BYTES = 16 * 1024 * 1024;

const Query = z.strictObject({
  /** IANA name, of times that do not say how far they are from UTC. */
  timeZone: z.string().max(60).refine(isTimeZone, 'must be the name of a time zone, as in Asia/Singapore').optional(),
  /** Checks every row and takes nothing in. */
  dryRun: z.enum(['true', 'false']).default('false'),
});

const ProblemsShape = z.array(z.object({ line: z.number(), field: z.string(), problem: z.string() }));
const ReportShape = z.object({
  rows: z.number(),
  /** Handed in now. */
  accepted: z.number(),
  /** Handed in before, just as they are here. */
  repeated: z.number(),
  dryRun: z.boolean(),
  problems: ProblemsShape,
  moreProblems: z.number(),
});

const FORMAT_OF: Record<string, TableFormat> = { 'text/csv': 'csv', 'application/json': 'json', 'application/x-ndjson': 'ndjson' };

/** Calls that people hand in: a table of them, or one with its recording. */
export const uploadRoutes = (route: RouteTable, { config, projects, inbox, objects, uploads, log, kickRelay }: ApiDependencies): void => {
  const mostAudioBytes = config.MAX_RECORDING_MB * 1024 * 1024;

  route.post(
    '/v1/projects/:project/calls/upload',
    {
      access: 'project_admin',
      audit: { action: 'calls.upload', target: ({ params }) => params.project },
      summary: 'Hand in a table of calls (CSV, JSON or NDJSON) with links to recordings or with transcripts: all of them, or none and what is wrong with each row',
      tag: TAG,
      params: ProjectParams,
      query: Query,
      streams: Object.keys(FORMAT_OF),
      returns: ReportShape,
      status: 202,
    },
    async ({ params: { project }, query, request, response }) => {
      await projects.settings(project);
      const { format, bytes } = await reading(request, async () => ({ format: formatOf(request.get('content-type')), bytes: await readBody(request, MOST_TABLE_BYTES) }));
      const dryRun = query.dryRun === 'true';
      const { calls, rows, problems, more } = await readOrRefuse(() => readTable(bytes, { ...format, timeZone: query.timeZone }));
      if (!dryRun && problems.length > 0) {
        throw new HttpProblem(422, `${problems.length + more} ${problems.length + more === 1 ? 'thing is' : 'things are'} wrong in the file. Nothing was taken in: mend them and upload it again.`, {
          errors: problems.map(({ line, field, problem }) => ({ path: `line ${line}: ${field}`, message: `${field} ${problem}` })),
        });
      }
      if (dryRun) return void response.status(200).json({ rows, accepted: 0, repeated: 0, dryRun, problems, moreProblems: more });
      const accepted = await inbox.receiveAll(calls.map((call) => toEvent(project, 'upload', toGivenCall('upload', call))));
      if (accepted > 0) kickRelay();
      return { rows, accepted, repeated: rows - accepted, dryRun, problems, moreProblems: more };
    },
  );

  route.post(
    '/v1/projects/:project/calls/upload-audio',
    {
      access: 'project_admin',
      audit: { action: 'calls.upload_audio', target: ({ params }) => params.project },
      summary: 'Hand in one call with its recording (WAV or MP3), as a form: a field "call" with JSON, then a file "audio"',
      tag: TAG,
      params: ProjectParams,
      query: Query.pick({ timeZone: true }),
      streams: ['multipart/form-data'],
      returns: z.object({ callId: z.string(), accepted: z.boolean(), recording: z.object({ bytes: z.number(), sha256: z.string(), format: z.enum(['wav', 'mp3']) }) }),
      status: 202,
    },
    async ({ params: { project }, query, request }) => {
      await projects.settings(project);
      let read: ReadCall | undefined;
      const checkCall = (text: string): void => {
        read = readCall(text, query.timeZone);
      };
      const { audio } = await reading(request, () => readAudioForm(request, { project, objects, mostBytes: mostAudioBytes, checkCall, begun: (key) => uploads.begin({ project, key }) }));
      const given = toGivenCall('upload', read!);
      // When this fails, nobody knows whether it was written down: the sweep looks a day later, and removes what no call has.
      const accepted = await inbox.receive(toEvent(project, 'upload', { ...given, details: { ...given.details, captureRequested: true }, audio }));
      if (accepted) kickRelay();
      // The same recording of the same call is there already, or on its way.
      else await objects.delete(audio.key);
      await uploads.end({ project, key: audio.key }).catch((error: unknown) => log.debug({ project, error: messageOf(error) }, 'an upload is not crossed off; the sweep does so'));
      return { callId: read!.id, accepted, recording: { bytes: audio.bytes, sha256: audio.sha256, format: audio.format } };
    },
  );
};

/** @throws HttpProblem 415 */
const formatOf = (contentType: string | undefined): { format: TableFormat; charset: Charset } => {
  const { type, charset } = contentTypeOf(contentType);
  const format = Object.hasOwn(FORMAT_OF, type) ? FORMAT_OF[type] : undefined;
  if (!format) throw new HttpProblem(415, `The body has to be ${Object.keys(FORMAT_OF).join(', ')}, and Content-Type has to say which.`, { headers: { connection: 'close' } });
  return { format, charset };
};

const readCall = (text: string, timeZone: string | undefined): ReadCall => {
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch {
    throw new HttpProblem(422, 'The field "call" is not JSON. Nothing was taken in.');
  }
  const read = givenCallSchema(timeZone).safeParse(values);
  if (read.success) return read.data;
  throw new HttpProblem(422, 'Something is wrong with the field "call". Nothing was taken in.', { errors: read.error.issues.slice(0, 100).map(({ path, message }) => ({ path: path.join('.'), message })) });
};
