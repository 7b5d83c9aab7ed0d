/**
 * The one place that decides what may be retried.
 *
 * Adapters throw `AftercallError`; activities turn it into a Temporal failure of type `code`.
 */
export const ERROR_CODES = {
  CONFIG_INVALID: { retryable: false },
  NOT_FOUND: { retryable: false },
  CONFLICT: { retryable: true },
  QUERY_TOO_BROAD: { retryable: false },
  DATABASE_UNAVAILABLE: { retryable: true },

  UPSTREAM_UNAVAILABLE: { retryable: true },
  UPSTREAM_TIMEOUT: { retryable: true },
  /** The service answered, but not in the shape its contract gives. */
  UPSTREAM_NONSENSE: { retryable: true },
  UPSTREAM_REJECTED: { retryable: false },
  RATE_LIMITED: { retryable: true },
  /** Out of credit or over a spending limit: waiting does not help, a person does. */
  QUOTA_EXHAUSTED: { retryable: false },
  /** Our own limits. At the day's, a call waits and goes on by itself when there is room again; at its own, a person decides. */
  BUDGET_REACHED: { retryable: false },
  CALL_BUDGET_REACHED: { retryable: false },
  AUTH_FAILED: { retryable: false },
  /** The address came from outside and leads where nothing may be asked. */
  URL_REFUSED: { retryable: false },

  /** A page that comes again may be a glitch; one that stays is not read for ever. */
  SOURCE_PAGE_STUCK: { retryable: true },
  RECORDING_TRUNCATED: { retryable: true },
  RECORDING_LINK_EXPIRED: { retryable: true },
  RECORDING_UNUSABLE: { retryable: false },
  RECORDING_TOO_LARGE: { retryable: false },
  AUDIO_UNREADABLE: { retryable: false },

  MODEL_REFUSED: { retryable: false },
  MODEL_CUT_OFF: { retryable: false },
  MODEL_NONSENSE: { retryable: true },

  CRM_DUPLICATE: { retryable: false },
  CRM_LOCKED: { retryable: true },
  CRM_LIMIT_REACHED: { retryable: true },
  CRM_REJECTED: { retryable: false },

  STORAGE_UNAVAILABLE: { retryable: true },
  STORAGE_REJECTED: { retryable: false },
} as const satisfies Record<string, { retryable: boolean }>;

export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorOptions {
  /** What a person can do about it. */
  advice: string;
  /** The upstream's own wish, from `Retry-After` or the like. */
  retryAfterMs?: number | undefined;
  /** `refused`: the upstream said no, so it did nothing and bills nothing. Default `unknown`. */
  outcome?: 'refused' | 'unknown';
  cause?: unknown;
}

/** An error that says what was tried and what is wrong (`message`), and what to do (`advice`). */
export class AftercallError extends Error {
  override readonly name = 'AftercallError';
  readonly code: ErrorCode;
  readonly advice: string;
  readonly retryAfterMs: number | undefined;
  readonly outcome: 'refused' | 'unknown';

  constructor(code: ErrorCode, message: string, { advice, retryAfterMs, outcome = 'unknown', cause }: ErrorOptions) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.advice = advice;
    this.retryAfterMs = retryAfterMs;
    this.outcome = outcome;
  }

  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

/** By name and shape, not `instanceof`: errors may cross module realms. */
export const isAftercallError = (error: unknown): error is AftercallError =>
  error instanceof Error && error.name === 'AftercallError' && 'code' in error;

/** The text of anything that was thrown. */
export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
