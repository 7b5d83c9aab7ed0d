/** Adapters by name, each made once: they keep rate limits, sessions and tokens. */
export interface Made<T> {
  /** @throws the registry's own error for a name that there is nothing under */
  get(name: string): T;
}

/**
 * Makes every adapter of a registry that the settings ask for.
 *
 * @param makers by name; one gives undefined where the settings leave it out
 * @param missing the error for a name that nothing was made for, given those that something was
 */
export const makeAll = <D, T>(makers: Record<string, (dependencies: D) => T | undefined>, dependencies: D, missing: (name: string, made: string) => Error): Made<T> => {
  const made = new Map<string, T>();
  for (const [name, make] of Object.entries(makers)) {
    const adapter = make(dependencies);
    if (adapter !== undefined) made.set(name, adapter);
  }
  return {
    get(name) {
      const adapter = made.get(name);
      if (adapter === undefined) throw missing(name, [...made.keys()].join(', '));
      return adapter;
    },
  };
};
