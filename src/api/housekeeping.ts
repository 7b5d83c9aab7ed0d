import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

const EVERY_MS = 3_600_000;

/** Drops what nobody needs any more, every hour; several processes may do so at once. */
export const startHousekeeping = ({ sweeps, log }: { sweeps: Record<string, () => Promise<unknown>>; log: Log }): { stop: () => void } => {
  const sweep = async (): Promise<void> => {
    for (const [what, run] of Object.entries(sweeps)) {
      await run().catch((error: unknown) => log.warn({ what, error: messageOf(error) }, 'not swept, will be tried again'));
    }
  };
  const timer = setInterval(() => void sweep(), EVERY_MS);
  // It must not keep a process alive.
  timer.unref();
  return { stop: () => clearInterval(timer) };
};
