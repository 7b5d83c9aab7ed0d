import type { ObjectStore } from '../adapters/objects/object-store.ts';
import { TOMBSTONE_MS, type WarehouseFiles } from '../db/warehouse-files.ts';
import { tablePrefix, WAREHOUSE_FORMS, WAREHOUSE_TABLES } from '../domain/warehouse-tables.ts';

/**
 * A file that no book knows is left for so long, by its load's number, which is a time.
 *
 * Half as long as a tombstone stays, with a sweep each day: it is gone before the tombstone of a row that it may hold.
 */
const LEFT_FOR_MS = TOMBSTONE_MS / 2;
/** The names that loads and compactions give; what others have laid there is theirs. */
const NAME = /^dt=\d{4}-\d{2}-\d{2}\/(\d+)(-\d+)?\.(json|parquet)$/;

/**
 * Files of the warehouse that are in no book: written after the state that a database was put back to, or by a process
 * that was taken for dead and went on. Whoever reads the folder or the bucket counts their rows, and nothing would ever
 * take one back.
 *
 * A file is written down before it is written, so that none of those found here is about to be.
 *
 * @param of.floor of what loads before it have written nothing counts
 * @returns their keys, some at a time
 */
export const strayFiles = async function* ({ project, floor, nowMs, objects, files, signal }: { project: string; floor: number; nowMs: number; objects: Pick<ObjectStore, 'list'>; files: Pick<WarehouseFiles, 'known'>; signal: AbortSignal }): AsyncGenerator<string[]> {
  for (const form of WAREHOUSE_FORMS) {
    for (const table of WAREHOUSE_TABLES) {
      const prefix = tablePrefix(project, form, table);
      for await (const keys of objects.list(prefix, { signal })) {
        const old = keys.filter((key) => {
          const load = NAME.exec(key.slice(prefix.length))?.[1];
          return load !== undefined && (Number(load) < floor || Number(load) < nowMs - LEFT_FOR_MS);
        });
        const known = await files.known(project, old);
        const strays = old.filter((key) => !known.has(key));
        if (strays.length > 0) yield strays;
      }
    }
  }
};
