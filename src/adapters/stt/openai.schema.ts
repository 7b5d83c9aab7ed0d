import { z } from 'zod';

/** Transcriptions as OpenAI and the servers that speak its API answer them. */

const usage = z
  .union([
    z.object({ type: z.literal('duration'), seconds: z.number() }),
    z.object({ type: z.literal('tokens'), input_tokens: z.number(), output_tokens: z.number() }),
  ])
  .nullish();

const segment = z.object({
  start: z.coerce.number(),
  end: z.coerce.number(),
  text: z.string(),
  speaker: z.string().max(100).nullish(),
  avg_logprob: z.number().nullish(),
});

/** All formats in one: what a format lacks is absent. Some servers give the duration as text. */
export const TranscriptionSchema = z.object({
  text: z.string(),
  language: z.string().nullish(),
  duration: z.coerce.number().nullish(),
  segments: z.array(segment).nullish(),
  words: z.array(z.object({ word: z.string(), start: z.coerce.number(), end: z.coerce.number() })).nullish(),
  usage,
});
