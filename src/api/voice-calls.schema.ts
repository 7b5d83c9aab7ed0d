import { z } from 'zod';
import { isTimeZone } from '../domain/local-time.ts';
import { TRACKING_EVENTS, TRACKING_STATES } from '../domain/tracking.ts';
import { DEFAULT_PRIORITY, VOICE_OUTCOMES, VOICE_PRIORITIES, VOICE_STATES } from '../domain/voice.ts';
import { E164 } from './settings.schema.ts';
import { Paging } from './shapes.ts';

/** Of variables and of metadata, whichever way a call is asked for: they go into prompts, webhooks and lists of two systems, and are names and short texts, not documents. */
export const MOST_ENTRIES = 50;
export const LONGEST_VARIABLE = 2_000;
export const LONGEST_METADATA = 500;
export const MOST_BYTES = 16_384;
export const ENTRY_NAME = /^[A-Za-z_][A-Za-z0-9_]{0,63}$/;
export const RESERVED_NAME = /^aftercall_/i;
const AGENT_ID = /^[A-Za-z0-9_-]{1,100}$/;
const FAR_AHEAD_MS = 366 * 86_400_000;

export const isAgentId = (text: string): boolean => AGENT_ID.test(text);
/** Whether a time is near enough to be waited for. */
export const isWithinAYear = (ms: number): boolean => ms < Date.now() + FAR_AHEAD_MS;
export const bytesOf = (entries: object): number => Buffer.byteLength(JSON.stringify(entries));

export const AgentId = z.string().regex(AGENT_ID, 'must be the ID of an agent');
const VariableName = z.string().regex(ENTRY_NAME, 'must be letters, digits and "_", at most 64, and must not begin with a digit');
const isSmall = (entries: object): boolean => Object.keys(entries).length <= MOST_ENTRIES && bytesOf(entries) <= MOST_BYTES;
const TOO_LARGE = `must be at most ${MOST_ENTRIES} entries, and ${MOST_BYTES} bytes in JSON`;

export const VoiceVariables = z.record(VariableName, z.string().max(LONGEST_VARIABLE)).refine(isSmall, TOO_LARGE);
export const VoiceMetadata = z
  .record(VariableName, z.union([z.string().max(LONGEST_METADATA), z.number(), z.boolean()]))
  .refine(isSmall, TOO_LARGE)
  .refine((metadata) => !Object.keys(metadata).some((name) => RESERVED_NAME.test(name)), 'must have no names that begin with aftercall_: those are ours');

const withinAYear = z.iso.datetime({ offset: true }).refine((time) => isWithinAYear(Date.parse(time)), 'must be within a year');

export const PlaceVoiceCallBody = z
  .strictObject({
    from: E164,
    to: E164,
    agent: AgentId.optional(),
    variables: VoiceVariables.default({}),
    metadata: VoiceMetadata.default({}),
    priority: z.literal(VOICE_PRIORITIES).default(DEFAULT_PRIORITY),
    notBefore: withinAYear.optional(),
    notAfter: withinAYear.optional(),
    timeZone: z.string().max(60).refine(isTimeZone, 'must be the name of a time zone, as in Asia/Singapore').optional(),
  })
  .refine(({ from, to }) => from !== to, { message: 'must be another number than from', path: ['to'] })
  .refine(({ notBefore, notAfter }) => notBefore === undefined || notAfter === undefined || Date.parse(notBefore) < Date.parse(notAfter), { message: 'must be later than notBefore', path: ['notAfter'] });

export const VoiceCallParams = z.strictObject({ project: z.string().max(40), voiceCallId: z.string().max(40) });

const moment = z.iso.datetime({ offset: true });
export const VoiceCallFilter = {
  state: z.enum(VOICE_STATES).optional(),
  outcome: z.enum(VOICE_OUTCOMES).optional(),
  batch: z.string().max(64).optional(),
  /** The number that is called, in any notation. */
  number: z.string().max(40).optional(),
  requestedFrom: moment.optional(),
  requestedTo: moment.optional(),
};
export const VoiceCallListQuery = z.strictObject({ ...Paging, ...VoiceCallFilter });

const time = z.iso.datetime();
export const VOICE_ACTIONS = ['cancel', 'stop', 'resolve', 'hand_over'] as const;
export const RESOLUTIONS = ['dialled', 'dial_again', 'look_again', 'give_up'] as const;

export const VoiceCallShape = z.object({
  voiceCallId: z.string(),
  url: z.string(),
  state: z.enum(VOICE_STATES),
  outcome: z.enum(VOICE_OUTCOMES).nullable(),
  from: z.string(),
  to: z.string(),
  agent: z.string().nullable(),
  priority: z.number(),
  batchId: z.string().nullable(),
  row: z.number().nullable(),
  /** Why it failed, was cancelled or waits. */
  reason: z.string().nullable(),
  attention: z.object({ code: z.string(), message: z.string(), advice: z.string(), since: time }).nullable(),
  notBefore: time,
  notAfter: time.nullable(),
  requestedAt: time,
  durationMs: z.number().nullable(),
  /** Under which the project's calls have its recording, transcript and score. */
  callId: z.string().nullable(),
});

export const VoiceCallDetailShape = VoiceCallShape.extend({
  actions: z.array(z.enum(VOICE_ACTIONS)),
  /** What a person can say of it while it waits for one. */
  resolutions: z.array(z.enum(RESOLUTIONS)),
  variables: z.record(z.string(), z.string()),
  metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
  timeZone: z.string().nullable(),
  requestedBy: z.string(),
  dials: z.number(),
  provider: z
    .object({
      callId: z.string(),
      status: z.string(),
      agent: z.string().nullable(),
      disconnectionReason: z.string().nullable(),
      successful: z.boolean().nullable(),
      voicemail: z.boolean().nullable(),
      sentiment: z.string().nullable(),
      costCents: z.number().nullable(),
    })
    .nullable(),
  /** In the order of time. */
  timeline: z.array(z.object({ at: time, what: z.enum(['requested', 'dialling', 'dialled', 'answered', 'ended', 'settled']) })),
  /** What was told of it to the tracking sink. */
  trackingEvents: z.array(z.object({ eventId: z.string(), name: z.enum(TRACKING_EVENTS), occurredAt: time, state: z.enum(TRACKING_STATES), deliveredAt: time.nullable() })),
  links: z.object({ call: z.string().nullable(), report: z.string().nullable(), temporal: z.string().nullable() }),
});

export const VoiceCallListShape = z.object({ voiceCalls: z.array(VoiceCallShape), next: z.string().nullable(), countByState: z.partialRecord(z.enum(VOICE_STATES), z.number()).nullable().describe('Of all that the filter names, in whatever state. Null behind the first page: it is counted once.') });
export const PlacedShape = z.object({ voiceCallId: z.string(), state: z.enum(VOICE_STATES), url: z.string() });

/** For whom a machine acts; a person is who signed in. */
const by = z.string().trim().min(1).max(200).optional();
const reason = z.string().trim().min(1).max(1_000);
export const ActBody = z.strictObject({ by, reason: reason.optional() });
export const StopBody = z.strictObject({ by });
export const HandOverBody = z.strictObject({ by });
export const ResolveBody = z.discriminatedUnion('as', [
  z.strictObject({ as: z.literal('dialled'), providerCallId: z.string().regex(/^[A-Za-z0-9_-]{1,100}$/, 'must be the ID that the provider gives the call'), by }),
  z.strictObject({ as: z.literal('dial_again'), by }),
  z.strictObject({ as: z.literal('look_again'), by }),
  z.strictObject({ as: z.literal('give_up'), reason, by }),
]);
const Parked = { batch: z.string().max(64).optional(), requestedFrom: moment.optional(), requestedTo: moment.optional(), code: z.enum(['DIAL_UNKNOWN', 'END_UNKNOWN']).optional(), cursor: z.string().max(500).optional(), by };
export const ResolveManyBody = z.discriminatedUnion('as', [
  z.strictObject({ as: z.literal('dial_again'), ...Parked }),
  z.strictObject({ as: z.literal('look_again'), ...Parked }),
  z.strictObject({ as: z.literal('give_up'), reason, ...Parked }),
]);
export const ResolvedManyShape = z.object({
  resolved: z.number().describe('Calls that wait for nobody any more.'),
  stillWaiting: z.number().describe('With look_again: calls of which the provider still knows nothing.'),
  refused: z.array(z.object({ why: z.string(), advice: z.string(), calls: z.number(), voiceCallIds: z.array(z.string()).describe('The first ten of them.') })),
  next: z.string().nullable().describe('For the `cursor` of the next request, while there are more; null: there are none.'),
});
export const StoppedShape = z.object({ voiceCallId: z.string(), stopped: z.boolean() });
