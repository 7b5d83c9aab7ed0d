import { say } from './programs/index.ts';

/** A child process of ours. */
export interface Child {
  pid: number;
  /** Settles when it has ended, for whatever reason. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

export interface KeptChild {
  stop(): Promise<void>;
  /** Rejects when it cannot be kept running. */
  lost: Promise<never>;
}

interface KeepRunning {
  name: string;
  child: Child;
  /** Starts another on the same addresses and files. */
  again: () => Promise<Child>;
  /** Told of each new one. */
  onStart?: (child: Child) => Promise<void>;
  /** This many ends within `withinMs` are no accident any more. */
  limit?: number;
  withinMs?: number;
}

/** Starts a child again when it ends unasked. What it served meanwhile is tried again by those who asked. */
export const keepRunning = ({ name, child, again, onStart, limit = 3, withinMs = 60_000 }: KeepRunning): KeptChild => {
  let current = child;
  let stopping = false;
  let starting: Promise<void> | undefined;
  const startAgain = async (): Promise<void> => {
    current = await again();
    await onStart?.(current);
  };
  const ends: number[] = [];
  const watch = async (): Promise<never> => {
    for (;;) {
      await current.ended;
      if (stopping) return new Promise(() => {});
      const now = Date.now();
      ends.push(now);
      if (ends.filter((at) => now - at < withinMs).length >= limit) throw new Error(`${name} ended ${limit} times within ${withinMs / 1_000} s.`);
      say(`${name} ended unexpectedly, starting it again`);
      await (starting = startAgain());
    }
  };
  const lost = watch();
  // Whoever waits for it sees the error; until then it is kept from being unhandled.
  lost.catch(() => {});
  return {
    lost,
    stop: async () => {
      stopping = true;
      // One that is on its way has to be there before it can be ended.
      await starting?.catch(() => {});
      await current.stop();
    },
  };
};
