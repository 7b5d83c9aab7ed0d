import { z } from 'zod';

/** What is read of AssemblyAI's answers. Times are milliseconds, the whole duration is seconds. */

export const UploadSchema = z.object({ upload_url: z.url() });

const word = z.object({ text: z.string(), start: z.number(), end: z.number(), confidence: z.number().nullish(), speaker: z.string().max(100).nullish() });

export const TranscriptSchema = z.object({
  id: z.string().min(1),
  status: z.enum(['queued', 'processing', 'completed', 'error']),
  error: z.string().nullish(),
  text: z.string().nullish(),
  confidence: z.number().nullish(),
  language_code: z.string().nullish(),
  audio_duration: z.number().nullish(),
  /** Which of the models that were asked for did it. */
  speech_model_used: z.string().nullish(),
  words: z.array(word).nullish(),
  utterances: z.array(word.extend({ words: z.array(word).nullish() })).nullish(),
});

/** Newest first. */
export const TranscriptListSchema = z.object({ transcripts: z.array(z.object({ id: z.string().min(1), status: z.string(), audio_url: z.string() })) });
