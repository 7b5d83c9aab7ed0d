import type { ObjectStore } from '../../src/adapters/objects/object-store.ts';

/** Breaks off one of the writes, reads or removals to come: before it is done, or when it is done and nobody hears of it. */
export interface Interruption {
  /** Counted from 1 over what is asked of the store from now on. */
  at: number;
  when: 'before' | 'after';
}

/** An object store whose process dies, as far as anybody can see, at a chosen request. */
export const interruptible = (store: ObjectStore): ObjectStore & { interrupt(interruption: Interruption | undefined): void; asked(): number } => {
  let interruption: Interruption | undefined;
  let asked = 0;
  const around = async <T>(work: () => Promise<T>): Promise<T> => {
    asked += 1;
    const isIt = asked === interruption?.at;
    if (isIt && interruption?.when === 'before') throw new Error('The process has ended.');
    const done = await work();
    if (isIt) throw new Error('The process has ended.');
    return done;
  };
  return {
    ...store,
    put: (...given) => around(() => store.put(...given)),
    open: (...given) => around(() => store.open(...given)),
    delete: (...given) => around(() => store.delete(...given)),
    interrupt(next) {
      interruption = next;
      asked = 0;
    },
    asked: () => asked,
  };
};
