import { z } from 'zod';

/** What is read of Deepgram's answer for pre-recorded audio. Times are seconds. */

const word = z.object({
  word: z.string(),
  punctuated_word: z.string().nullish(),
  start: z.number(),
  end: z.number(),
  confidence: z.number().nullish(),
  speaker: z.number().int().nullish(),
});

export const DeepgramSchema = z.object({
  metadata: z.object({
    request_id: z.string(),
    duration: z.number(),
    /** Model version by its ID; `arch` is what was asked for. */
    model_info: z.record(z.string(), z.object({ arch: z.string().nullish() })).nullish(),
  }),
  results: z.object({
    channels: z
      .array(
        z.object({
          detected_language: z.string().nullish(),
          alternatives: z.array(z.object({ transcript: z.string(), confidence: z.number().nullish(), words: z.array(word).nullish() })),
        }),
      )
      .min(1),
    utterances: z
      .array(z.object({ start: z.number(), end: z.number(), confidence: z.number().nullish(), transcript: z.string(), speaker: z.number().int().nullish(), words: z.array(word).nullish() }))
      .nullish(),
  }),
});

export type DeepgramWord = z.output<typeof word>;
