import { createWriteStream } from 'node:fs';
import { mkdtemp, readFile, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import pLimit from 'p-limit';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import { putTogether } from '../adapters/warehouse/put-together.ts';
import type { TableLoader } from '../adapters/warehouse/table-loader.ts';
import type { Projects } from '../db/projects.ts';
import type { Batch, Lease, WarehouseBooks } from '../db/warehouse.ts';
import { type PartitionKey, TOMBSTONE_MS, type WarehouseFile, type WarehouseFiles } from '../db/warehouse-files.ts';
import { AftercallError, isAftercallError, messageOf } from '../domain/errors.ts';
import type { LoadedBatch, WarehouseActivities, WarehouseSink } from '../domain/warehouse.ts';
import { fileRows, rowLines, type UnitRows } from '../domain/warehouse-rows.ts';
import { tablePrefix, WAREHOUSE_TABLES, type WarehouseTable } from '../domain/warehouse-tables.ts';
import { signal } from './context.ts';
import { strayFiles } from './warehouse-strays.ts';

interface Dependencies {
  books: WarehouseBooks;
  files: WarehouseFiles;
  objects: ObjectStore;
  projects: Pick<Projects, 'settings'>;
  /** Absent: rows go to files only. */
  snowflake?: TableLoader | undefined;
  /** Longer than a pause of the process that does not end it; renewed three times as often. */
  leaseMs: number;
  /** Makes a table of files known to whoever queries them; nothing to do for a folder. */
  register(project: string, table: WarehouseTable, signal: AbortSignal): Promise<void>;
}

const LOOK_AGAIN_MS = 5_000;
const WRITES_AT_ONCE = 4;
const PARTITIONS_AT_ONCE = 10;
/** Of all tables, the days of a lifetime. */
const MOST_PARTITIONS = 1_000_000;
const SWEPT_AT_ONCE = 500;
const JSON_LINES = 'application/x-ndjson';

export const createWarehouseActivities = ({ books, files, objects, projects, snowflake, leaseMs, register }: Dependencies): WarehouseActivities => {
  /** Does something that only one may do at a time, and stops when somebody else has been given the right to. */
  const alone = async <T>(project: string, sink: WarehouseSink, work: (lease: Lease, stop: AbortSignal) => Promise<T>): Promise<T> => {
    const lease = await books.lease(project, sink, leaseMs);
    if (!lease) throw new AftercallError('CONFLICT', `Project ${project} is being loaded to ${sink} already.`, { advice: 'It is tried again in a moment.', retryAfterMs: LOOK_AGAIN_MS });
    const lost = new AbortController();
    const renewing = setInterval(() => void books.renew(lease, leaseMs).catch((error: unknown) => lost.abort(error)), leaseMs / 3);
    try {
      return await work(lease, AbortSignal.any([signal(), lost.signal]));
    } finally {
      clearInterval(renewing);
      // What cannot be given back now runs out.
      await books.release(lease).catch(() => {});
    }
  };

  /** Writes a batch as files: one for each table and day, under names that another attempt gives them again. */
  const writeFiles = async (project: string, { loadId }: Batch, units: readonly UnitRows[], readAt: Date, stop: AbortSignal): Promise<{ rows: number; keys: string[] }> => {
    const partitions = [...Map.groupBy(units, ({ table, dt }) => `${table}/${dt}`).values()].map((own) => {
      const { table, dt } = own[0]!;
      const rows = own.flatMap((unit) => fileRows(unit, { project, loadId, readAt }));
      return { table, dt, rows: rows.length, tombstones: rows.filter(({ deleted }) => deleted).length, body: rowLines(rows), key: `${tablePrefix(project, 'json', table)}dt=${dt}/${loadId}.json` };
    });
    for (const { body, ...file } of partitions) await files.plan(project, { ...file, form: 'json', loadId, bytes: Buffer.byteLength(body) });
    const lane = pLimit(WRITES_AT_ONCE);
    await Promise.all(
      partitions.map(({ key, body }) =>
        lane(() => {
          stop.throwIfAborted();
          return objects.put(key, body, { contentType: JSON_LINES, signal: stop });
        }),
      ),
    );
    return { rows: partitions.reduce((sum, { rows }) => sum + rows, 0), keys: partitions.map(({ key }) => key) };
  };

  const loaderOf = (sink: Exclude<WarehouseSink, 'files'>): TableLoader => {
    if (!snowflake) throw new AftercallError('CONFIG_INVALID', `Rows are to be loaded to ${sink}, which is not configured.`, { advice: 'Set WAREHOUSE and the settings of Snowflake where the workers run.' });
    return snowflake;
  };

  /** Fetches a file of the warehouse to a folder of this machine. */
  const fetchTo = async (folder: string, { key }: WarehouseFile, index: number, stop: AbortSignal): Promise<string> => {
    const found = await objects.open(key, { signal: stop });
    if (!found) {
      throw new AftercallError('STORAGE_REJECTED', `The warehouse's file ${key} is gone.`, { advice: 'Somebody has removed it. Have the warehouse built anew: POST …/warehouse/reload.' });
    }
    const path = join(folder, `${index}.${key.endsWith('.parquet') ? 'parquet' : 'json'}`);
    await pipeline(found.body, createWriteStream(path), { signal: stop });
    return path;
  };

  /**
   * Puts a partition's files together.
   *
   * The new file is there before the old ones stop counting, and they stay until no query can be reading them. Whoever
   * sees both counts nothing twice: of each unit the newest load counts, each row once.
   *
   * Files from before everything was built anew are not read, as nothing in them counts: they may be gone.
   */
  const compact = async (partition: PartitionKey, floor: number, stop: AbortSignal): Promise<void> => {
    const { project, table, dt } = partition;
    const { files: own, others } = await files.ofPartition(partition);
    if (own.length === 0) return;
    const replaced = own.map(({ key }) => key);
    const counting = own.filter(({ loadId }) => loadId >= floor);
    if (counting.length === 0) {
      await files.replace(project, { by: undefined, files: replaced });
      return;
    }
    const folder = await mkdtemp(join(tmpdir(), 'aftercall-warehouse-'));
    try {
      const paths: Record<'json' | 'parquet', string[]> = { json: [], parquet: [] };
      for (const [index, file] of counting.entries()) paths[file.form].push(await fetchTo(folder, file, index, stop));
      const to = join(folder, 'together.parquet');
      const now = Date.now();
      // Beside files that are still to go, every tombstone stays: one of them may hold what it is for.
      const { rows, tombstones } = await putTogether({ table, ...paths, to, floor, tombstonesFrom: others ? 0 : now - TOMBSTONE_MS });
      if (rows === 0) {
        await files.replace(project, { by: undefined, files: replaced });
        return;
      }
      const loadId = counting.at(-1)!.loadId;
      const key = `${tablePrefix(project, 'parquet', table)}dt=${dt}/${loadId}-${now}.parquet`;
      const { size } = await stat(to);
      await register(project, table, stop);
      await files.plan(project, { key, form: 'parquet', table, dt, loadId, rows, bytes: size, tombstones });
      stop.throwIfAborted();
      await objects.put(key, await readFile(to), { contentType: 'application/vnd.apache.parquet', signal: stop });
      stop.throwIfAborted();
      await files.replace(project, { by: { key, rows, bytes: size, tombstones, floor }, files: replaced });
    } finally {
      await rm(folder, { recursive: true, force: true });
    }
  };

  /**
   * Puts partitions together, one after the other. One that cannot be put together as it is keeps none of the others
   * from it; where trying again may help, none is tried any further.
   *
   * @returns what went wrong first, if anything did
   */
  const compactEach = async (partitions: readonly PartitionKey[], floor: number, stop: AbortSignal): Promise<{ error: unknown } | undefined> => {
    let failure: { error: unknown } | undefined;
    for (const partition of partitions) {
      try {
        await compact(partition, floor, stop);
      } catch (error) {
        if (stop.aborted || (isAftercallError(error) && error.retryable)) throw error;
        failure ??= { error };
      }
    }
    return failure;
  };

  /** Keeps for people what went wrong last. */
  const noted = async <T>(project: string, sink: WarehouseSink, work: Promise<T>): Promise<T> =>
    work.catch(async (error: unknown) => {
      const isOthers = isAftercallError(error) && error.code === 'CONFLICT';
      if (!isOthers && !signal().aborted) {
        const failure = isAftercallError(error) ? { code: error.code, message: error.message, advice: error.advice } : { code: 'DEFECT', message: messageOf(error), advice: 'This is a defect. Look at the workflow in Temporal.' };
        await books.fail(project, sink, failure).catch(() => {});
      }
      throw error;
    });

  const loadSome = async (project: string, sink: WarehouseSink): Promise<LoadedBatch> => {
    // Before the right to load is taken: whoever cannot load is not to have everything noted anew.
    const loader = sink === 'files' ? undefined : loaderOf(sink);
    return alone(project, sink, async (lease, stop) => {
      // All of them: a query may ask for one that has no rows yet.
      if (!loader) for (const table of WAREHOUSE_TABLES) await register(project, table, stop);
      const batch = await books.take(lease);
      const readAt = new Date();
      const units = batch ? await books.read(project, batch.changed, await projects.settings(project)) : [];
      if (batch && !loader) {
        const { rows, keys } = await writeFiles(project, batch, units, readAt, stop);
        return { units: units.length, rows, ...(await books.finish(lease, batch, { rows, files: keys, passOn: snowflake && 'snowflake' })) };
      }
      const rows = batch && loader ? await loader.load(project, { loadId: batch.loadId, readAt, units }, stop) : 0;
      // Before the last batch of building anew is crossed off, or its end where there was nothing: an attempt that dies here does both again.
      const floor = await books.floorAfter(lease, batch);
      if (floor !== undefined) await loader?.dropBefore(project, floor, stop);
      if (batch) return { units: units.length, rows, ...(await books.finish(lease, batch, { rows })) };
      return { units: 0, rows: 0, more: false, rebuilt: floor !== undefined && (await books.endRebuild(lease)) };
    });
  };

  return {
    loadBatch: ({ project, sink }) => noted(project, sink, loadSome(project, sink)),

    compactSome: ({ project, deletedOnly = false }) =>
      noted(
        project,
        'files',
        alone(project, 'files', async (_lease, stop) => {
          const floor = await books.floorOf(project, 'files');
          const find = (limit: number): Promise<PartitionKey[]> => files.toCompact(project, { floor, limit, nowMs: Date.now(), deletedOnly });
          const partitions = await find(PARTITIONS_AT_ONCE + 1);
          const failure = await compactEach(partitions.slice(0, PARTITIONS_AT_ONCE), floor, stop);
          // The next attempt would meet the same ones first. So the others are put together now, however many there are.
          if (failure) {
            await compactEach(await find(MOST_PARTITIONS), floor, stop);
            throw failure.error;
          }
          const more = partitions.length > PARTITIONS_AT_ONCE;
          if (!more && !deletedOnly) await books.compacted(project);
          return { partitions: Math.min(partitions.length, PARTITIONS_AT_ONCE), more };
        }),
      ),

    sweepFiles: ({ project, olderThanMs }) =>
      noted(
        project,
        'files',
        alone(project, 'files', async (_lease, stop) => {
          const remove = async (keys: readonly string[]): Promise<number> => {
            for (const key of keys) {
              stop.throwIfAborted();
              await objects.delete(key, { signal: stop });
            }
            await files.forget(project, keys);
            return keys.length;
          };
          let swept = 0;
          for (let more = true; more; ) {
            const removed = await remove(await files.toSweep(project, { olderThanMs, limit: SWEPT_AT_ONCE }));
            swept += removed;
            more = removed === SWEPT_AT_ONCE;
          }
          const floor = await books.floorOf(project, 'files');
          for await (const strays of strayFiles({ project, floor, nowMs: Date.now(), objects, files, signal: stop })) swept += await remove(strays);
          return swept;
        }),
      ),
  };
};
