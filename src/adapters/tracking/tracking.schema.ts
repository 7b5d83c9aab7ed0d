import { z } from 'zod';
import { TRACKING_SCHEMA_VERSION } from '../../domain/tracking.ts';
import { VOICE_OUTCOMES } from '../../domain/voice.ts';

/** The form of tracking events as sinks get them. Strict: what is not described here is not sent. */

const time = z.iso.datetime({ precision: 3 });
const number = z.string().min(1).nullable();

const Tracked = {
  voiceCallId: z.string().min(1).describe('The call. The same as subject.'),
  providerCallId: z.string().min(1).describe("The provider's own ID of the call."),
  direction: z.enum(['inbound', 'outbound']).describe('outbound: placed for us.'),
  from: number.describe('Who calls: E.164, or what the provider has in its place. Personal.'),
  to: number.describe('Who is called, in the same way. Personal.'),
  agentId: z.string().nullable().describe("The provider's ID of the agent that speaks."),
  batchId: z.string().nullable().describe('The batch that brought the call.'),
  metadata: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])).describe('What whoever asked for the call gave along with it, unchanged.'),
};

const eventOf = <Name extends string, P extends z.ZodRawShape>(name: Name, sequence: number, occurred: string, properties: P) =>
  z.strictObject({
    schemaVersion: z.literal(TRACKING_SCHEMA_VERSION).describe('Of this form. Any change to it counts up, a field more included.'),
    id: z.string().regex(/^[0-9a-f]{64}$/).describe('The key: the same however often the event is sent.'),
    event: z.literal(name),
    sequence: z.literal(sequence).describe('Where it stands among the events of a call.'),
    project: z.string().min(1),
    subject: z.string().min(1).describe('The call. Its events arrive in order.'),
    occurredAt: time.describe(occurred),
    properties: z.strictObject(properties),
  });

export const TrackingEnvelopeSchema = z
  .discriminatedUnion('event', [
    eventOf('Voice call initiated', 1, 'When the call was asked for at the provider.', Tracked).meta({ title: 'Voice call initiated', description: 'The provider has taken the call and dials.' }),
    eventOf('Call started', 2, 'When somebody, or a voicemail, answered.', { ...Tracked, startedAt: time.describe('The same.') }).meta({ title: 'Call started', description: 'Somebody, or a voicemail, has answered. Never of calls that nobody answered.' }),
    eventOf('Call completed', 3, 'When the call ended.', {
      ...Tracked,
      connected: z.boolean().describe('Whether anybody, or a voicemail, answered.'),
      outcome: z.enum(VOICE_OUTCOMES).describe('connected, voicemail, busy, no_answer, or failed for anything else.'),
      startedAt: time.nullable().describe('When it was answered; null where nobody did.'),
      endedAt: time.nullable().describe('When it was over; null where the provider does not say.'),
      durationMs: z.number().nonnegative().nullable().describe('From the answer to the end, in milliseconds.'),
      disconnectionReason: z.string().nullable().describe("In the provider's words; there will be new ones."),
      successful: z.boolean().nullable().describe("Whether the agent reached what it was to, as the provider's analysis sees it."),
      sentiment: z.string().nullable().describe("The customer's, in the provider's words."),
      costCents: z.number().nonnegative().nullable().describe('What the provider charged, in US cents, which may have fractions.'),
    }).meta({ title: 'Call completed', description: 'The call is over and its analysis is in the database. Also of calls that nobody answered.' }),
  ])
  .meta({ title: 'Aftercall tracking event' });

/** The same as JSON Schema (2020-12), for whoever receives them. */
export const trackingJsonSchema = (): object => z.toJSONSchema(TrackingEnvelopeSchema);
