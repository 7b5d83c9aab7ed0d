import type { ErrorCode } from './errors.ts';

/**
 * When an account is given no more calls, but one now and then to see whether it takes them again.
 *
 * A provider whose other answers are fine may take no calls, or take them and end each at once: without a brake the
 * whole queue would be fed to it, and come back as work for people or as calls that reached nobody.
 */

/** So many of the account's last calls in a row, and none behind them that went out. */
export const BRAKE_AFTER = 5;
/** Longer ago says nothing of now. */
export const BRAKE_LOOKS_BACK_MS = 15 * 60_000;
/** The next one is tried so long after the last. */
export const BRAKE_TRIES_EVERY_MS = 60_000;
/** A dial that has had no answer for so long may have had none at all; a call that was taken, and still is one after it, has gone out. */
export const DIAL_TAKES_MS = 15_000;
/** Where it is not known so long after its dial whether a call was dialled, nobody waits for that any more. */
export const BRAKE_WAITS_MS = 5 * 60_000;

type Cause = Extract<ErrorCode, 'RATE_LIMITED' | 'QUOTA_EXHAUSTED' | 'UPSTREAM_UNAVAILABLE'>;

/** Why the provider ends calls that it has taken, where that lies with the account and not with who is called; and what can be done. */
export const ACCOUNT_ENDS: Readonly<Record<string, { code: Cause; advice: string }>> = {
  concurrency_limit_reached: { code: 'RATE_LIMITED', advice: 'More calls run on the account than it has lines: see who else uses it, or buy lines.' },
  no_concurrency_fallback: { code: 'RATE_LIMITED', advice: 'More calls run on the account than it has lines: see who else uses it, or buy lines.' },
  no_valid_payment: { code: 'QUOTA_EXHAUSTED', advice: 'The account is out of credit, or its payment failed. Settle that with the provider.' },
  telephony_provider_unavailable: { code: 'UPSTREAM_UNAVAILABLE', advice: 'Look at the status of the carrier behind the number that calls.' },
  telephony_provider_permission_denied: { code: 'UPSTREAM_UNAVAILABLE', advice: 'See whether the carrier lets the number call there.' },
  sip_routing_error: { code: 'UPSTREAM_UNAVAILABLE', advice: 'See how the number that calls is connected to its carrier.' },
};

/** How a dial went: `out`, `unknown` where nobody knows whether it did, or why the account's provider ended it. */
export type DialFate = string;
export const WENT_OUT = 'out';
export const UNKNOWN = 'unknown';

export interface Brake {
  code: ErrorCode;
  message: string;
  advice: string;
}

/** @param fates of the account's last dials whose fate is decided, newest first, at most `BRAKE_AFTER` */
export const brakeOf = (fates: readonly DialFate[]): Brake | undefined => {
  const [last] = fates;
  if (last === undefined || fates.length < BRAKE_AFTER || fates.includes(WENT_OUT)) return undefined;
  const then = 'One call a minute is tried until one goes out: then all go on by themselves.';
  const end = ACCOUNT_ENDS[last];
  if (!end) return { code: 'UPSTREAM_UNAVAILABLE', message: `The queue is braked: of the last ${BRAKE_AFTER} calls it is not known whether the provider has taken them.`, advice: `Look at the status of the provider. ${then} Calls that need attention stay to be resolved.` };
  return { code: end.code, message: `The queue is braked: the last ${BRAKE_AFTER} calls did not go out, the latest for ${last}.`, advice: `${end.advice} ${then}` };
};
