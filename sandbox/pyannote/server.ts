import { randomUUID } from 'node:crypto';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { Heard } from '../openai/speech.ts';
import { faultOf, type SandboxServer, startSandboxServer } from '../server.ts';
import { bytesOf, speechOf, type SpeechServerOptions } from '../speech-server.ts';

/** The key that this stand-in takes. */
export const PYANNOTE_KEY = 'sandbox-pyannote-key';

const LEAST_BILLED_SECONDS = 20;
const MEDIA = /^media:\/\/[\w./-]+$/;

interface Job {
  id: string;
  exclusive: boolean;
  /** Looks that still find it at work. */
  looks: number;
  state: { status: 'created' | 'running' | 'canceled' } | { status: 'succeeded'; heard: Heard } | { status: 'failed'; error: string };
}

const refuse = (response: Response, status: number, message: string): void => void response.status(status).json({ requestId: randomUUID(), message });
const invalid = (response: Response, field: string, message: string): void => void response.status(400).json({ message: 'Invalid request', errors: [{ field, message }] });

/**
 * A stand-in for pyannoteAI: places for recordings, diarisation jobs, their segments.
 *
 * A job is done at the second look after it was heard. Acts out `failed`, `canceled` and `slow` (which takes
 * `looks` more looks) at a job's creation. What is forgotten (`DELETE /_sandbox-jobs`) is not found again.
 */
export const startPyannote = async (options: SpeechServerOptions): Promise<SandboxServer> => {
  const speech = speechOf(options);
  const media = new Map<string, Buffer>();
  /** Signed addresses, and what they stand for. */
  const places = new Map<string, string>();
  const jobs = new Map<string, Job>();
  let address = '';

  const server = await startSandboxServer(
    'pyannote',
    ({ app, record }) => {
      app.delete('/_sandbox-jobs', (_request, response) => {
        jobs.clear();
        response.status(204).end();
      });
      // Signed like S3's: whoever sends another credential beside the signature is refused.
      app.put('/upload/:place', async (request, response) => {
        const url = places.get(request.params.place);
        if (!url || request.get('authorization')) return void response.status(403).type('xml').send('<Error><Code>SignatureDoesNotMatch</Code></Error>');
        if (!request.get('content-length')) return void response.status(411).type('xml').send('<Error><Code>MissingContentLength</Code></Error>');
        media.set(url, await bytesOf(request));
        response.status(200).end();
      });

      app.use('/v1', (request, response, next) => {
        if (request.get('authorization') === `Bearer ${PYANNOTE_KEY}`) return next();
        refuse(response, 401, 'Unauthorized');
      });
      app.post('/v1/media/input', express.json(), (request, response) => {
        const { url } = (request.body ?? {}) as { url?: string };
        if (!url || url.length > 255 || !MEDIA.test(url)) return invalid(response, 'url', 'Invalid URL');
        const place = randomUUID();
        places.set(place, url);
        response.status(201).json({ url: `${address}/upload/${place}?X-Amz-Signature=${randomUUID()}` });
      });

      const hear = async (job: Job, audio: Buffer, model: string): Promise<void> => {
        job.state = { status: 'running' };
        const heard = await speech.hear(audio, {}).catch(() => undefined);
        if (!heard) {
          job.state = { status: 'failed', error: 'Could not load audio' };
          return;
        }
        const seconds = Math.max(LEAST_BILLED_SECONDS, Math.ceil(heard.durationMs / 1_000));
        record('diarization', { requestId: job.id, model, seconds });
        job.state = { status: 'succeeded', heard };
      };

      app.post('/v1/diarize', express.json(), (request, response) => {
        const { url, model = 'precision-2', exclusive = false } = (request.body ?? {}) as { url?: string; model?: string; exclusive?: boolean };
        if (!url || !/^(https?|media):\/\//.test(url)) return invalid(response, 'url', 'Invalid URL');
        if (!['precision-2', 'community-1'].includes(model)) return invalid(response, 'model', 'model must be one of: precision-2, community-1');
        const fault = faultOf(response) as { kind: string; looks?: number } | undefined;
        const job: Job = { id: randomUUID(), exclusive, looks: 1 + (fault?.looks ?? 0), state: { status: 'created' } };
        jobs.set(job.id, job);
        record('started', { requestId: job.id });
        const audio = media.get(url);
        if (fault?.kind === 'canceled') job.state = { status: 'canceled' };
        else if (fault?.kind === 'failed' || !audio) job.state = { status: 'failed', error: 'Could not load audio' };
        else void hear(job, audio, model);
        response.json({ jobId: job.id, status: 'created' });
      });
      app.get('/v1/jobs/:id', (request, response) => {
        const job = jobs.get(request.params.id);
        if (!job) return refuse(response, 404, 'Job not found');
        const answer = shown(job);
        if (job.state.status === 'succeeded' && job.looks > 0) job.looks -= 1;
        response.json(answer);
      });
      app.use('/v1', (_request, response) => refuse(response, 404, 'Not found'));
      app.use((_error: unknown, _request: Request, response: Response, _next: NextFunction) => refuse(response, 500, 'Internal server error'));
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return server;
};

const shown = ({ id, exclusive, looks, state }: Job): object => {
  if (state.status === 'failed') return { jobId: id, status: 'failed', output: { diarization: [], error: state.error } };
  if (state.status !== 'succeeded') return { jobId: id, status: state.status };
  if (looks > 0) return { jobId: id, status: 'running' };
  const { segments } = state.heard;
  const speakers = [...new Set(segments.map(({ speaker }) => speaker))];
  const said = segments.map(({ speaker, startMs, endMs }) => ({ speaker: `SPEAKER_${String(speakers.indexOf(speaker)).padStart(2, '0')}`, start: startMs / 1_000, end: endMs / 1_000 }));
  // What the other model hears over it: a breath of the next speaker under the end of each turn.
  const overlapping = said.flatMap((segment, index) => (said[index + 1] ? [segment, { ...said[index + 1]!, start: Math.max(segment.start, segment.end - 0.2), end: segment.end }] : [segment]));
  return { jobId: id, status: 'succeeded', output: { diarization: overlapping, ...(exclusive ? { exclusiveDiarization: said } : {}) } };
};
