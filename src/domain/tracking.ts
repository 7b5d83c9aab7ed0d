import type { Direction } from './call.ts';
import type { ProviderCall, VoiceOutcome } from './voice.ts';

/**
 * Activity-based tracking (ABT): what became of voice calls, told to a system that follows customers' activities.
 *
 * Glossary: an *event* is one thing that happened to one call; its *subject* is that call; its *key* is the same
 * however often the event is written down or sent; a *sink* is what takes events.
 */

/** In the order in which they can happen to a call. */
export const TRACKING_EVENTS = ['Voice call initiated', 'Call started', 'Call completed'] as const;
export type TrackingEventName = (typeof TRACKING_EVENTS)[number];

/** Of the form below. Receivers may be strict, so any change to it counts up, a field more included. */
export const TRACKING_SCHEMA_VERSION = 1;

/**
 * - `pending`: goes out as soon as it is its turn; `failingSince` says whether it has been tried in vain
 * - `delivered`: the sink has confirmed it
 * - `failed`: tried in vain for too long; it keeps back the later events of its call until a person decides
 * - `skipped`: a person has let it be, or there was no sink to send it to
 */
export const TRACKING_STATES = ['pending', 'delivered', 'failed', 'skipped'] as const;
export type TrackingState = (typeof TRACKING_STATES)[number];

/** One try to deliver an event, as the view shows it. */
export interface TrackingTry {
  at: string;
  sink: string;
  /** `unknown`: sent, and the answer was lost. It is sent again under the same key. */
  outcome: 'delivered' | 'refused' | 'unknown';
  code?: string;
  reason?: string;
  advice?: string;
}

/** In every event. Numbers are E.164, times ISO 8601 in UTC with milliseconds; what is not known is null. */
export interface TrackedProperties {
  voiceCallId: string;
  /** The provider's own ID of the call. */
  providerCallId: string;
  direction: Direction;
  from: string | null;
  to: string | null;
  agentId: string | null;
  batchId: string | null;
  /** What whoever asked for the call gave along with it. */
  metadata: Record<string, string | number | boolean>;
}

export interface StartedProperties extends TrackedProperties {
  startedAt: string;
}

export interface CompletedProperties extends TrackedProperties {
  /** Whether anybody, or anybody's voicemail, answered. If not, there was no "Call started". */
  connected: boolean;
  outcome: VoiceOutcome;
  startedAt: string | null;
  endedAt: string | null;
  /** From the answer to the end, in ms; null where nobody answered. */
  durationMs: number | null;
  /** In the provider's words. */
  disconnectionReason: string | null;
  /** Whether the agent reached what it was to reach, as the provider's analysis sees it. */
  successful: boolean | null;
  sentiment: string | null;
  /** What the provider charged, in US cents, which may have fractions. */
  costCents: number | null;
}

export type TrackingProperties = TrackedProperties | StartedProperties | CompletedProperties;

interface Happened {
  project: string;
  /** The call it is about: events of one subject are delivered in the order in which they were written. */
  subject: string;
  /** When it happened, not when it was learned of; epoch ms. */
  occurredAtMs: number;
}

/** One thing that happened, written down in the same transaction as the state that it reports. */
export type TrackingEvent = Happened &
  (
    | { name: 'Voice call initiated'; properties: TrackedProperties }
    | { name: 'Call started'; properties: StartedProperties }
    | { name: 'Call completed'; properties: CompletedProperties }
  );

/** What is known of a voice call when something happened to it. */
export interface TrackedCall {
  project: string;
  voiceCallId: string;
  /** As asked for; absent on calls that we did not place, and then the provider's word counts. */
  request?: { from?: string; to?: string; agent?: string; metadata: Record<string, string | number | boolean> };
  batchId?: string | undefined;
  /** All observations, merged. */
  provider: ProviderCall;
  /** Needed for "Call completed". */
  outcome?: VoiceOutcome;
}

/** The event that tells a sink what happened to a call. Same call, same event: nothing of it is read from a clock. */
export const trackingEvent = (name: TrackingEventName, call: TrackedCall, occurredAtMs: number): TrackingEvent => {
  const { project, voiceCallId, request, batchId, provider, outcome = 'failed' } = call;
  const happened = { project, subject: voiceCallId, occurredAtMs };
  const properties: TrackedProperties = {
    voiceCallId,
    providerCallId: provider.providerCallId,
    direction: provider.direction,
    from: request?.from ?? provider.fromNumber ?? null,
    to: request?.to ?? provider.toNumber ?? null,
    agentId: provider.agentId ?? request?.agent ?? null,
    batchId: batchId ?? null,
    metadata: request?.metadata ?? {},
  };
  switch (name) {
    case 'Voice call initiated':
      return { ...happened, name, properties };
    case 'Call started':
      return { ...happened, name, properties: { ...properties, startedAt: iso(provider.startedAtMs ?? occurredAtMs) } };
    case 'Call completed': {
      const connected = outcome === 'connected' || outcome === 'voicemail';
      return {
        ...happened,
        name,
        properties: {
          ...properties,
          connected,
          outcome,
          startedAt: connected && provider.startedAtMs !== undefined ? iso(provider.startedAtMs) : null,
          endedAt: provider.endedAtMs === undefined ? null : iso(provider.endedAtMs),
          durationMs: connected ? (provider.durationMs ?? null) : null,
          disconnectionReason: provider.disconnectionReason ?? null,
          successful: provider.analysis?.successful ?? null,
          sentiment: provider.analysis?.sentiment ?? null,
          costCents: provider.costCents ?? null,
        },
      };
    }
  }
};

/** What a sink is given: the same at every try. */
export interface TrackingEnvelope {
  schemaVersion: number;
  /** The event's key, by which a repeat is told. */
  id: string;
  event: TrackingEventName;
  /** Where it stands among what can happen to a call, from 1: tells the order where the way there does not keep it. */
  sequence: number;
  project: string;
  subject: string;
  occurredAt: string;
  properties: TrackingProperties;
}

export const sequenceOf = (name: TrackingEventName): number => TRACKING_EVENTS.indexOf(name) + 1;

const iso = (ms: number): string => new Date(ms).toISOString();
