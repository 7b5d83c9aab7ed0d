/** Lets so many in at once, so many wait, and turns others away. */
export interface Gate {
  /** @returns undefined when too many wait already */
  pass<T>(key: string, signal: AbortSignal, work: () => Promise<T>): Promise<T> | undefined;
}

/** @param atOnce per key */
export const createGate = ({ atOnce, waiting }: { atOnce: number; waiting: number }): Gate => {
  const lines = new Map<string, { inside: number; next: (() => void)[] }>();

  const enter = async (line: { inside: number; next: (() => void)[] }, signal: AbortSignal): Promise<void> => {
    if (line.inside < atOnce) {
      line.inside += 1;
      return;
    }
    signal.throwIfAborted();
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const gone = (): void => {
      line.next = line.next.filter((each) => each !== resolve);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', gone, { once: true });
    line.next.push(resolve);
    await promise.finally(() => signal.removeEventListener('abort', gone));
  };

  return {
    pass(key, signal, work) {
      const line = lines.get(key) ?? { inside: 0, next: [] };
      if (line.inside >= atOnce && line.next.length >= waiting) return undefined;
      lines.set(key, line);
      return (async () => {
        await enter(line, signal);
        try {
          return await work();
        } finally {
          const next = line.next.shift();
          // Whoever comes next takes the place over.
          if (next) next();
          else line.inside -= 1;
          if (line.inside === 0) lines.delete(key);
        }
      })();
    },
  };
};
