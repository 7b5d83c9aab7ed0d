import { setTimeout as sleep } from 'node:timers/promises';
import { AftercallError, isAftercallError } from '../domain/errors.ts';

interface Polling<T> {
  system: string;
  /** As in "Transcribing": stands in messages. */
  doing: string;
  /** Looks once. Undefined: not ready yet. */
  look: () => Promise<T | undefined>;
  /** For the whole wait. */
  timeoutMs: number;
  signal: AbortSignal;
}

/** One look answers at once or not at all. */
export const LOOK_TIMEOUT_MS = 30_000;
const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 10_000;
const GROWTH = 1.5;
/** Looks in a row that may fail: a job goes on while its server's front door has a bad moment. */
const BAD_LOOKS = 3;

/**
 * Waits for a job at a provider, looking less and less often.
 *
 * What a look throws never says `refused`: the job that was started goes on, and may be billed.
 */
export const poll = async <T>({ system, doing, look, timeoutMs, signal }: Polling<T>): Promise<T> => {
  const deadline = Date.now() + timeoutMs;
  let bad = 0;
  for (let waitMs = FIRST_WAIT_MS; ; waitMs = Math.min(waitMs * GROWTH, LONGEST_WAIT_MS)) {
    let askedMs = 0;
    try {
      const found = await look();
      if (found !== undefined) return found;
      bad = 0;
    } catch (error) {
      signal.throwIfAborted();
      if (!isAftercallError(error)) throw error;
      bad += 1;
      if (!error.retryable || bad >= BAD_LOOKS) throw stillRunning(error);
      askedMs = error.retryAfterMs ?? 0;
    }
    const pauseMs = Math.max(waitMs, askedMs);
    if (Date.now() + pauseMs > deadline) {
      throw new AftercallError('UPSTREAM_TIMEOUT', `${doing} failed: ${system} is not done after ${Math.round(timeoutMs / 1_000)} s.`, {
        advice: 'It is looked for again; what was started is not started twice.',
        ...(askedMs > 0 ? { retryAfterMs: askedMs } : {}),
      });
    }
    await sleep(pauseMs, undefined, { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      throw error;
    });
  }
};

/** A failure of the looking: that it was refused says nothing of the job, which goes on. */
export const stillRunning = (error: AftercallError): AftercallError => {
  if (error.outcome === 'unknown') return error;
  const { code, message, advice, retryAfterMs } = error;
  return new AftercallError(code, message, { advice, retryAfterMs, cause: error });
};

/** What a job's own failure means: it ended, nothing was delivered, and neither provider bills it. */
export const jobFailed = (code: 'UPSTREAM_UNAVAILABLE' | 'UPSTREAM_REJECTED', message: string): AftercallError =>
  new AftercallError(code, message, { outcome: 'refused', advice: code === 'UPSTREAM_REJECTED' ? 'Play the stored recording; trying again will not help.' : 'It is tried again with a new job.' });
