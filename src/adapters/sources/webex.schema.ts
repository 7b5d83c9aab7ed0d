import { z } from 'zod';
import { clean } from '../../domain/clean.ts';

/** What Webex Contact Center answers, as far as it is used. Unknown fields are let through: the API grows. */

/** Texts that are only shown: one that is too long or holds what no text should must not keep a whole page of calls out. */
const name = z.string().transform((text) => clean(text, 500));
const address = z.string().transform((text) => clean(text, 200));

export const TaskSchema = z.object({
  id: z.string().min(1).max(200),
  attributes: z.object({
    /** The specification says required; calls that no person took come without. */
    owner: z.object({ id: z.string().optional(), name: name.optional() }).nullish(),
    queue: z.object({ id: z.string().optional(), name: name.optional() }).nullish(),
    channelType: z.string(),
    status: z.string(),
    createdTime: z.number().int().nonnegative(),
    lastUpdatedTime: z.number().int().nonnegative().nullish(),
    captureRequested: z.boolean().nullish(),
    origin: address.nullish(),
    destination: address.nullish(),
    direction: z.string().nullish(),
  }),
});

export const TasksSchema = z.object({ data: z.array(TaskSchema) });
export type Task = z.infer<typeof TaskSchema>;

const RecordingSchema = z.object({
  id: z.string(),
  segment: z.boolean().nullish(),
  attributes: z.object({
    fileName: name,
    filePath: z.url(),
    startTime: z.number().nullish(),
    stopTime: z.number().nullish(),
    channel1: z.string().nullish(),
    channel2: z.string().nullish(),
    callType: z.string().nullish(),
  }),
});
export type Recording = z.infer<typeof RecordingSchema>;

export const CapturesSchema = z.object({ data: z.array(z.object({ taskId: z.string(), recording: z.array(RecordingSchema).nullish() })) });

export const TokenSchema = z.object({
  access_token: z.string().min(1),
  expires_in: z.number().positive(),
  /** Absent when the old one stays good. */
  refresh_token: z.string().min(1).optional(),
});
