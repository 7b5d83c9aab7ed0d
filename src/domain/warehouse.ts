import type { Pace } from './messages.ts';

/** Where rows are loaded to: files, always, and Snowflake where there is one. Each goes on while the other is down. */
export const WAREHOUSE_SINKS = ['files', 'snowflake'] as const;
export type WarehouseSink = (typeof WAREHOUSE_SINKS)[number];

/** What changes as a whole in the database. */
export type UnitKind = 'call' | 'cost' | 'effect' | 'voice' | 'tracking';

/** What a batch came to. */
export interface LoadedBatch {
  /** Units that were loaded; 0: nothing had changed. */
  units: number;
  rows: number;
  /** There is more, or may be. */
  more: boolean;
  /** Everything has just been built anew, and what was there before counts for nothing. */
  rebuilt: boolean;
}

export interface CompactedPartitions {
  partitions: number;
  more: boolean;
}

export interface LoadWarehouseInput {
  project: string;
  pace: Pace;
  /** In this order; in workflows from before each had one of its own, all of them. */
  sinks: WarehouseSink[];
  /** Told of what was loaded, and loaded next, each by a workflow of its own. */
  next?: WarehouseSink[];
  graceMs: number;
  /** Set by the workflow itself when it continues as new. */
  summary?: WarehouseSummary;
}

export interface WarehouseSummary {
  batches: number;
  units: number;
  rows: number;
  /** Sinks that could not be loaded to the end. */
  failed: WarehouseSink[];
}

/** Has a load or a compaction that is under way look once more for what there is to do before it ends. */
export const AGAIN_SIGNAL = 'again';

export interface CompactWarehouseInput {
  project: string;
  pace: Pace;
  /** Files whose rows lie in another one now are kept this long, for queries that read them. */
  graceMs: number;
  /** Set by the workflow itself when it continues as new. */
  partitions?: number;
}

export interface WarehouseActivities {
  /**
   * Loads what has changed, some of it.
   *
   * A batch that an attempt before has left behind is finished first, under its number and with its files' names.
   */
  loadBatch(input: { project: string; sink: WarehouseSink }): Promise<LoadedBatch>;
  /** Puts together the files of some partitions. */
  compactSome(input: { project: string; /** Only where something was deleted since. */ deletedOnly?: boolean }): Promise<CompactedPartitions>;
  /** Removes files that were superseded so long ago. @returns how many */
  sweepFiles(input: { project: string; olderThanMs: number }): Promise<number>;
}
