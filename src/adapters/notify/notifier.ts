import type { EffectClass } from '../../db/schema.ts';
import type { Message } from '../../domain/announcements.ts';

export type { Message } from '../../domain/announcements.ts';

/** Where messages can go, by the notifier that takes them there. Secrets in it are never shown. */
export interface Targets {
  telegram: { botToken: string; chatId: string };
  webhook: {
    url: string;
    /** One or two `whsec_…` secrets: both sign while one replaces the other. */
    secrets: string[];
  };
}

export type NotifierName = keyof Targets;

/**
 * How a message ended, where trying again is not the answer. What may be tried again, or what a person has to mend
 * first, is thrown.
 */
export type Delivery =
  | { outcome: 'delivered'; receipt: Record<string, unknown> }
  /** Sent, but nobody can say whether it arrived. Never sent again by itself: a person decides. */
  | { outcome: 'unknown'; reason: string; advice: string }
  /** The target wants no more messages: take it off the list. */
  | { outcome: 'unsubscribed'; reason: string; advice: string };

/** Something that carries messages out. */
export interface Notifier<Name extends NotifierName = NotifierName> {
  readonly name: Name;
  /** What is promised when a message may have been sent already. */
  readonly class: EffectClass;
  /** One try. @throws an error whose `retryable` says whether to try the same message again */
  deliver(message: Message, target: Targets[Name], signal: AbortSignal): Promise<Delivery>;
  /** Changes a message that was delivered into what it says now; may be repeated. Absent where that cannot be done: it is delivered anew. */
  correct?(message: Message, target: Targets[Name], receipt: Record<string, unknown>, signal: AbortSignal): Promise<Delivery>;
}
