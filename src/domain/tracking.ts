/** Activity-based tracking (ABT): what became of voice calls, told to a system that follows customers' activities. */

export const TRACKING_EVENTS = ['Voice call initiated', 'Call started', 'Call completed'] as const;
export type TrackingEventName = (typeof TRACKING_EVENTS)[number];

/** One thing that happened, written down in the same transaction as the state that it reports. */
export interface TrackingEvent {
  project: string;
  name: TrackingEventName;
  /** The call it is about: events of one subject are delivered in the order in which they were written. */
  subject: string;
  /** When it happened, not when it was learned of; epoch ms. */
  occurredAtMs: number;
  /** Plain values only; `schema` in `adapters/tracking` says which belong to which event. */
  properties: Record<string, string | number | boolean | null>;
}
