import { randomUUID } from 'node:crypto';
import { openAsBlob } from 'node:fs';
import type { z } from 'zod';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { type HttpRequest, send, sendForJson } from '../http/http.ts';
import { jobFailed, LOOK_TIMEOUT_MS, poll } from '../poll.ts';
import type { Provider, ProviderConfig } from '../provider.ts';
import { toMs } from '../seconds.ts';
import type { DiarizationResult, DiarizeAudio, Diarizer } from './diarizer.ts';
import { JobCreatedSchema, JobSchema, MediaSchema } from './pyannoteai.schema.ts';

/** 1 GiB and 24 hours a recording. */
const LIMITS = { maxBytes: 2 ** 30, maxSeconds: 86_400 };
/** Shorter recordings are billed as this. */
const LEAST_BILLED_SECONDS = 20;
const SYSTEM = 'pyannoteAI';

/**
 * Diarisation by pyannoteAI: a place for the recording, the upload, a job, its segments.
 *
 * The job's ID is noted as soon as there is one; another try after a crash goes on with that job. Only a
 * crash between the job's acceptance and the note leaves it unfound, since jobs cannot be looked up by what
 * they were given. Results are kept for a day: a job that is gone is made, and paid, again.
 */
const createPyannoteDiarizer = ({ baseUrl, apiKey, model, timeoutMs, only, outside }: ProviderConfig): Diarizer => {
  const ask = async <S extends z.ZodType>(schema: S, path: string, { body, ...request }: Pick<HttpRequest, 'doing' | 'signal'> & { body?: object; timeoutMs?: number }): Promise<z.output<S>> => {
    const answer = await sendForJson({
      system: SYSTEM,
      url: new URL(`${baseUrl}${path}`),
      only,
      outside,
      timeoutMs,
      ...request,
      ...(body ? { method: 'POST', body: JSON.stringify(body) } : {}),
      headers: { authorization: `Bearer ${apiKey}`, ...(body ? { 'content-type': 'application/json' } : {}) },
      meaningOf: (status) => (status === 404 ? 'NOT_FOUND' : undefined),
    });
    const parsed = schema.safeParse(answer);
    if (parsed.success) return parsed.data;
    throw new AftercallError('UPSTREAM_NONSENSE', `${request.doing} failed: ${SYSTEM} answered in an unknown shape (${parsed.error.issues[0]?.path.join('.') ?? ''}).`, { advice: 'It is tried again. If it goes on, check DIARIZATION_BASE_URL.' });
  };

  const start = async ({ path, job, signal }: DiarizeAudio): Promise<string> => {
    // A place of its own for each upload: it is not readable without our key, and removed after two days.
    const media = `media://aftercall/${randomUUID()}`;
    const { url } = await ask(MediaSchema, '/v1/media/input', { doing: 'Asking where to upload a recording', body: { url: media }, signal });
    // The address is signed; the key stays here.
    const stored = await send({ system: SYSTEM, doing: 'Uploading a recording', url: new URL(url), only, outside, method: 'PUT', headers: { 'content-type': 'application/octet-stream' }, body: await openAsBlob(path), signal, timeoutMs });
    await stored.body?.cancel();
    const { jobId } = await ask(JobCreatedSchema, '/v1/diarize', { doing: 'Starting a diarisation', body: { url: media, model, exclusive: true }, signal });
    await job?.note(jobId);
    return jobId;
  };

  const awaitJob = (jobId: string, signal: AbortSignal): Promise<z.output<typeof JobSchema>> =>
    poll({
      system: SYSTEM,
      doing: 'Telling speakers apart',
      timeoutMs,
      signal,
      look: async () => {
        const job = await ask(JobSchema, `/v1/jobs/${encodeURIComponent(jobId)}`, { doing: 'Looking whether a diarisation is done', signal, timeoutMs: Math.min(timeoutMs, LOOK_TIMEOUT_MS) });
        return job.status === 'succeeded' || job.status === 'failed' || job.status === 'canceled' ? job : undefined;
      },
    });

  return {
    name: 'pyannoteai',
    model,
    limits: LIMITS,

    async diarize(request): Promise<DiarizationResult> {
      const { job: note, durationMs, signal } = request;
      const job = await (note?.known
        ? awaitJob(note.known, signal).catch(async (error: unknown) => {
            if (isAftercallError(error) && error.code === 'NOT_FOUND') return awaitJob(await start(request), signal);
            throw error;
          })
        : awaitJob(await start(request), signal));
      const { jobId, status, output } = job;
      if (status !== 'succeeded' || !output) throw jobFailed(status === 'canceled' ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_REJECTED', `Telling speakers apart failed: ${SYSTEM}'s job ${jobId} ${status} (${(output?.error ?? 'it does not say why').slice(0, 200)}).`);
      return {
        // Without overlaps where it gives that: what was said at any moment goes to one speaker.
        segments: (output.exclusiveDiarization ?? output.diarization ?? []).map(({ speaker, start: from, end }) => ({ speaker, startMs: toMs(from), endMs: toMs(end) })),
        provider: 'pyannoteai',
        model,
        usage: { seconds: Math.max(LEAST_BILLED_SECONDS, Math.ceil(durationMs / 1_000)) },
        requestId: jobId,
      };
    },
  };
};

export const pyannoteai: Provider<Diarizer> = { baseUrl: 'https://api.pyannote.ai', model: 'precision-2', create: createPyannoteDiarizer };
