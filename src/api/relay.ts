import { asInstallation } from '../db/scope.ts';

const EVERY_MS = 5_000;

export interface Relay {
  /** Tells it that there is something to do; otherwise it looks by itself now and then. */
  kick(): void;
  /** Ends after the batch that is under way. */
  stop(): Promise<void>;
}

/**
 * Works off what stands in a table, one batch at a time and never two at once in this process.
 *
 * @param batch does some of it; true when there may be more. `stopped` says whether to begin anything new
 * @param failed told why a batch failed; it is tried again
 * @param everyMs how often it looks by itself, 5 s by default; more often costs a query each time
 */
export const startRelay = ({ batch, failed, everyMs = EVERY_MS }: { batch: (stopped: () => boolean) => Promise<boolean>; failed: (error: unknown) => void; everyMs?: number }): Relay => {
  let stopped = false;
  let running: Promise<void> | undefined;
  let again = false;

  const drain = async (): Promise<void> => {
    for (let more = true; more && !stopped; ) {
      again = false;
      more = (await batch(() => stopped)) || again;
    }
  };

  const kick = (): void => {
    again = true;
    // Whoever kicks may see one project only; what is to be done is everybody's.
    running ??= asInstallation(drain)
      .catch(failed)
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(kick, everyMs);
  timer.unref();
  kick();

  return {
    kick,
    stop: async () => {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
};
