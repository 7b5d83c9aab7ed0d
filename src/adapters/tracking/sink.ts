import type { EffectClass } from '../../db/schema.ts';
import type { TrackingEnvelope } from '../../domain/tracking.ts';

export type { TrackingEnvelope } from '../../domain/tracking.ts';

export const SINKS = ['http', 'sqs', 'log'] as const;
export type SinkName = (typeof SINKS)[number];

/** How a try ended, where trying again is not the answer. Anything else is thrown. */
export type Sent =
  | { outcome: 'delivered'; receipt: Record<string, unknown> }
  /** The sink is gone for good, and says so: a person has to act. */
  | { outcome: 'unwanted'; reason: string; advice: string };

/** Something that takes tracking events. */
export interface TrackingSink {
  readonly name: SinkName;
  /** What is promised when an event may have been sent already. */
  readonly class: EffectClass;
  /** One try. @throws an error whose `outcome` says whether the event may have arrived all the same */
  send(event: TrackingEnvelope, signal: AbortSignal): Promise<Sent>;
  /** Looks whether events could be sent, and sends none. @returns what was looked at */
  check(signal: AbortSignal): Promise<string>;
}
