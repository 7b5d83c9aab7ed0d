import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

/** Does what has to be done from time to time; several processes may do so at once. */
export const startHousekeeping = ({ sweeps, everyMs, log }: { sweeps: Record<string, () => Promise<unknown>>; everyMs: number; log: Log }): { stop: () => void } => {
  const sweep = async (): Promise<void> => {
    for (const [what, run] of Object.entries(sweeps)) {
      await run().catch((error: unknown) => log.warn({ what, error: messageOf(error) }, 'not swept, will be tried again'));
    }
  };
  const timer = setInterval(() => void sweep(), everyMs);
  // It must not keep a process alive.
  timer.unref();
  return { stop: () => clearInterval(timer) };
};
