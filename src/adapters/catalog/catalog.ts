import type { Partition } from '../../domain/ids.ts';

/** Tells query engines where the files of a project's call table lie. */
export interface Catalog {
  /** Creates database, table and partition unless they exist. Safe to repeat and to race. */
  ensurePartition(project: string, partition: Partition, options?: { signal?: AbortSignal }): Promise<void>;
}
