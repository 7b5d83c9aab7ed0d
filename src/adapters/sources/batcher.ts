/**
 * Gathers single look-ups into requests for several.
 *
 * A look-up waits at most `windowMs` for company. Equal keys share a request. When a request fails, the
 * look-ups in it fail and no others; a caller who stops waiting does not stop the others.
 */
export const createBatcher = <T>({
  windowMs,
  maxKeys,
  load,
}: {
  windowMs: number;
  maxKeys: number;
  /** @returns what was found; keys without an entry were not */
  load: (keys: string[], signal: AbortSignal) => Promise<Map<string, T>>;
}) => {
  interface Batch {
    keys: Set<string>;
    waiting: number;
    abandoned: AbortController;
    found: Promise<Map<string, T>>;
    full: () => void;
  }
  let open: Batch | undefined;

  const start = (): Batch => {
    const { promise: gathered, resolve: full } = Promise.withResolvers<void>();
    const batch: Batch = { keys: new Set(), waiting: 0, abandoned: new AbortController(), full, found: undefined as never };
    const timer = setTimeout(full, windowMs);
    batch.found = gathered.then(() => {
      clearTimeout(timer);
      if (open === batch) open = undefined;
      return load([...batch.keys], batch.abandoned.signal);
    });
    // Every caller may have stopped waiting by then.
    batch.found.catch(() => {});
    return batch;
  };

  return async (key: string, signal: AbortSignal): Promise<T | undefined> => {
    signal.throwIfAborted();
    const batch = (open ??= start());
    batch.keys.add(key);
    batch.waiting += 1;
    if (batch.keys.size >= maxKeys) {
      open = undefined;
      batch.full();
    }
    const { promise: cancelled, reject } = Promise.withResolvers<never>();
    const leave = (): void => {
      batch.waiting -= 1;
      // The last one turns out the light.
      if (batch.waiting === 0) batch.abandoned.abort(signal.reason);
      reject(signal.reason as Error);
    };
    signal.addEventListener('abort', leave, { once: true });
    try {
      return (await Promise.race([batch.found, cancelled])).get(key);
    } finally {
      signal.removeEventListener('abort', leave);
    }
  };
};
