import { z } from 'zod';

/** What is read of pyannoteAI's answers. Times are seconds. */

export const MediaSchema = z.object({ url: z.url() });

export const JobCreatedSchema = z.object({ jobId: z.string().min(1) });

const segments = z.array(z.object({ speaker: z.string().min(1).max(100), start: z.number(), end: z.number() }));

export const JobSchema = z.object({
  jobId: z.string().min(1),
  status: z.enum(['pending', 'created', 'running', 'succeeded', 'failed', 'canceled']),
  /** Of a succeeded job. */
  output: z.object({ diarization: segments.nullish(), exclusiveDiarization: segments.nullish(), error: z.string().nullish() }).nullish(),
});
