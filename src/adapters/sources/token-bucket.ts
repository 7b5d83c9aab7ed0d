import { setTimeout as sleep } from 'node:timers/promises';

/**
 * Lets `perMinute` requests through a minute, evenly after a burst.
 *
 * @param burst how many may go at once. Default a tenth of a minute's; 1 where each second is counted
 */
export const createTokenBucket = (perMinute: number, { burst = Math.max(1, perMinute / 10) }: { burst?: number } = {}) => {
  const perMs = perMinute / 60_000;
  let tokens = burst;
  let filledAtMs = Date.now();
  const fill = (): void => {
    const nowMs = Date.now();
    tokens = Math.min(burst, tokens + (nowMs - filledAtMs) * perMs);
    filledAtMs = nowMs;
  };
  return {
    /** Waits for its turn. Callers are let through in the order they came. */
    async take(signal: AbortSignal): Promise<void> {
      fill();
      // Taken at once, so that whoever comes next waits behind.
      tokens -= 1;
      if (tokens < 0) await sleep(-tokens / perMs, undefined, { signal });
    },
    /** Lets nobody who comes from now on through for so long. */
    pause(ms: number): void {
      fill();
      tokens = Math.min(tokens, 1 - ms * perMs);
    },
  };
};
