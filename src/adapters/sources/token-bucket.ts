import { setTimeout as sleep } from 'node:timers/promises';

/** Lets `perMinute` requests through a minute, evenly after a burst of a tenth of them. */
export const createTokenBucket = (perMinute: number) => {
  const capacity = Math.max(1, perMinute / 10);
  const perMs = perMinute / 60_000;
  let tokens = capacity;
  let filledAtMs = Date.now();
  return {
    /** Waits for its turn. Callers are let through in the order they came. */
    async take(signal: AbortSignal): Promise<void> {
      const nowMs = Date.now();
      tokens = Math.min(capacity, tokens + (nowMs - filledAtMs) * perMs);
      filledAtMs = nowMs;
      // Taken at once, so that whoever comes next waits behind.
      tokens -= 1;
      if (tokens < 0) await sleep(-tokens / perMs, undefined, { signal });
    },
  };
};
