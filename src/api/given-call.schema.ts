import { z } from 'zod';
import type { CallDetails } from '../domain/call.ts';
import { clean } from '../domain/clean.ts';
import type { GivenCall, GivenSource } from '../domain/given.ts';
import { isSafeCallId } from '../domain/ids.ts';
import { readTime } from '../domain/local-time.ts';

/** A call as programs and people hand it in. Every field is bounded, and an unknown one is a mistake that is told. */

export const MOST_CALLS_IN_EVENT = 100;
const MOST_TURNS = 5_000;
const MOST_CHARACTERS = 500_000;
const LONGEST_CALL_S = 24 * 3_600;
/** Clocks of other machines go wrong. */
const AHEAD_MS = 24 * 3_600_000;
const FIRST_MS = Date.UTC(2000, 0, 1);

// A name that begins like a formula would be one in whatever table it is exported to.
const name = z
  .string()
  .max(200)
  .transform((text) => clean(text, 200))
  .refine((text) => !/^[=+\-@]/.test(text), 'begins like a formula of a spreadsheet; write it without the leading = + - or @');
const phone = z
  .string()
  .trim()
  .regex(/^(?=.*\d{2})\+?[0-9(][0-9 ().-]{1,30}$/, 'must be a phone number of digits, as in +6560000123');
const link = z
  .string()
  .max(2_000)
  .refine((text) => {
    const url = URL.parse(text);
    return url !== null && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '' && !/[\s\p{C}\\]/u.test(text);
  }, 'must be an http(s) address without a user name in it');
const seconds = z.number().min(0).max(LONGEST_CALL_S);

const TurnSchema = z
  .strictObject({ speaker: z.string().trim().min(1).max(60), start: seconds, end: seconds, text: z.string().min(1).max(5_000) })
  .refine(({ start, end }) => end >= start, { message: 'must not lie before start', path: ['end'] });

export const TranscriptSchema = z
  .strictObject({
    language: z
      .string()
      .regex(/^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8}){0,3}$/, 'must be a language code, as in en or en-SG')
      .optional(),
    turns: z.array(TurnSchema).min(1).max(MOST_TURNS),
  })
  .refine(({ turns }) => turns.reduce((sum, { text }) => sum + text.length, 0) <= MOST_CHARACTERS, { message: `must have at most ${MOST_CHARACTERS} characters in all`, path: ['turns'] });

/** @param timeZone of times that do not say how far they are from UTC */
export const givenCallSchema = (timeZone?: string) => {
  const time = z
    .string()
    .max(40)
    .transform((text, context): number => {
      const read = readTime(text.trim(), timeZone);
      if (typeof read === 'number' && read >= FIRST_MS && read <= Date.now() + AHEAD_MS) return read;
      context.addIssue({ code: 'custom', message: typeof read === 'number' ? 'must lie between the year 2000 and now' : read.problem });
      return z.NEVER;
    });
  return z
    .strictObject({
      id: z.string().refine(isSafeCallId, 'must be 1 to 200 letters, digits, ".", "_", "~" and "-", beginning with a letter or digit, without ".."'),
      direction: z.enum(['inbound', 'outbound']),
      startedAt: time,
      endedAt: time.optional(),
      status: z.enum(['completed', 'abandoned']).default('completed'),
      from: phone.optional(),
      to: phone.optional(),
      agent: name.optional(),
      queue: name.optional(),
      /** In a CRM that the project is connected to: the score is noted there. */
      card: z.strictObject({ kind: z.enum(['lead', 'contact', 'company']), id: z.string().regex(/^\d{1,15}$/, 'must be a number') }).optional(),
      recordingUrl: link.optional(),
      transcript: TranscriptSchema.optional(),
    })
    .refine(({ startedAt, endedAt }) => endedAt === undefined || (endedAt >= startedAt && endedAt - startedAt <= LONGEST_CALL_S * 1_000), { message: 'must lie behind startedAt, at most a day', path: ['endedAt'] });
};

export type ReadCall = z.output<ReturnType<typeof givenCallSchema>>;

/** The call as it is taken in. */
export const toGivenCall = (source: GivenSource, call: ReadCall): GivenCall => {
  const { id, startedAt, endedAt, from, to, agent, queue, card, recordingUrl, transcript } = call;
  const details: CallDetails = {
    source,
    callId: id,
    status: call.status,
    direction: call.direction,
    startedAtMs: startedAt,
    ...(endedAt === undefined ? {} : { updatedAtMs: endedAt, durationMs: endedAt - startedAt }),
    ...(from ? { originPhone: from } : {}),
    ...(to ? { destinationPhone: to } : {}),
    ...(agent ? { agentName: agent } : {}),
    ...(queue ? { queueName: queue } : {}),
    ...(card ? { card } : {}),
    ...(recordingUrl ? { captureRequested: true } : {}),
  };
  return {
    details,
    ...(recordingUrl ? { recordingUrl } : {}),
    ...(transcript
      ? {
          transcript: {
            ...(transcript.language ? { language: transcript.language } : {}),
            turns: transcript.turns.map(({ speaker, start, end, text }) => ({ speaker: clean(speaker, 60) || 'speaker', startMs: Math.round(start * 1_000), endMs: Math.round(end * 1_000), text: clean(text, 5_000) })),
          },
        }
      : {}),
  };
};
