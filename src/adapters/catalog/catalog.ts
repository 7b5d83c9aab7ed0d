import type { Partition } from '../../domain/ids.ts';

/** Tells query engines where the call table's files lie. */
export interface Catalog {
  /** Creates database, table and partition unless they exist. Safe to repeat and to race. */
  ensurePartition(partition: Partition, options?: { signal?: AbortSignal }): Promise<void>;
}
