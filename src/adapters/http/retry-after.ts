const LONGEST_MS = 24 * 3_600_000;

/**
 * The wait that a `Retry-After` header asks for (RFC 9110, 10.2.3): seconds or an HTTP date.
 *
 * @returns ms, never negative and at most a day; undefined when there is none or it cannot be read
 */
export const retryAfterMs = (header: string | null | undefined, nowMs: number): number | undefined => {
  const value = header?.trim();
  if (!value) return undefined;
  const waitMs = /^\d+(\.\d+)?$/.test(value) ? Number(value) * 1_000 : Date.parse(value) - nowMs;
  return Number.isFinite(waitMs) ? Math.min(Math.max(0, waitMs), LONGEST_MS) : undefined;
};
