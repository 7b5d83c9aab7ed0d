import { setTimeout as sleep } from 'node:timers/promises';

/** Long on a busy machine, and never reached by what works. */
const PATIENCE_MS = 180_000;

/**
 * Waits until something is found.
 *
 * @param what in words; a function, to say how far it came
 * @param find what it looks for; undefined or false: not yet
 * @throws Error naming what never came
 */
export const until = async <T>(what: string | (() => string), find: () => T | undefined | false | Promise<T | undefined | false>, everyMs = 100): Promise<T> => {
  for (let leftMs = PATIENCE_MS; leftMs > 0; leftMs -= everyMs) {
    const found = await find();
    if (found !== undefined && found !== false) return found;
    await sleep(everyMs);
  }
  throw new Error(`Never: ${typeof what === 'string' ? what : what()}`);
};
