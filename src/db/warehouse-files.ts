import { sql } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import type { WarehouseForm, WarehouseTable } from '../domain/warehouse-tables.ts';
import type { Database } from './database.ts';

export interface WarehouseFile {
  key: string;
  form: WarehouseForm;
  loadId: number;
}

export interface PartitionKey {
  project: string;
  table: WarehouseTable;
  /** `YYYY-MM-DD`. */
  dt: string;
}

export interface FileTotals {
  table: WarehouseTable;
  form: WarehouseForm;
  files: number;
  rows: number;
  bytes: number;
  partitions: number;
}

/** How long a row stays that says of a unit that it is gone: longer than any file with its older rows, and any stray writer. */
export const TOMBSTONE_MS = 48 * 3_600_000;

/** The warehouse's files: which there are, which count, and which are to be removed. */
export const createWarehouseFiles = (db: Database) => ({
  /** Writes down that a file is about to be written. */
  async plan(project: string, { key, form, table, dt, loadId, rows, bytes, tombstones }: WarehouseFile & { table: WarehouseTable; dt: string; rows: number; bytes: number; tombstones: number }): Promise<void> {
    const values = { load_id: loadId, rows, bytes, tombstones, superseded_at: null };
    await db
      .insertInto('warehouse_files')
      .values({ project, key, form, name: table, dt, ...values })
      .onConflict((conflict) => conflict.columns(['project', 'key']).doUpdateSet({ ...values, written_at: sql`now()` }))
      .execute();
  },

  /**
   * Partitions whose files are to be put together: those with files as they were loaded, with tombstones past their
   * time, or with rows from before everything was built anew. The oldest days first.
   *
   * @param deletedOnly only those of which something was deleted since: a row that says so, or rows from before everything
   *   was built anew, with which what the database did not have any more goes unsaid
   */
  async toCompact(project: string, { floor, limit, nowMs, deletedOnly }: { floor: number; limit: number; nowMs: number; deletedOnly: boolean }): Promise<PartitionKey[]> {
    const { rows } = await sql<{ name: WarehouseTable; dt: string }>`
      select name, dt::text as dt from warehouse_files
      where project = ${project} and done and superseded_at is null
        and (form = 'json' and (tombstones > 0 or load_id < ${floor} or ${!deletedOnly}) or form = 'parquet' and floor_load < ${floor} or not ${deletedOnly} and (tombstones > 0 and load_id < ${nowMs - TOMBSTONE_MS}
          -- While another file may still hold the older rows, a tombstone stays.
          and not exists (select from warehouse_files o where o.project = warehouse_files.project and o.name = warehouse_files.name and o.dt = warehouse_files.dt and (o.superseded_at is not null or not o.done))))
      group by 1, 2 order by 2, 1 limit ${limit}`.execute(db);
    return rows.map(({ name, dt }) => ({ project, table: name, dt }));
  },

  /** The files that a partition consists of now, and whether others lie beside them that are to go. */
  async ofPartition({ project, table, dt }: PartitionKey): Promise<{ files: WarehouseFile[]; others: boolean }> {
    const { rows } = await sql<{ key: string; form: WarehouseForm; load_id: number; counts: boolean }>`
      select key, form, load_id, done and superseded_at is null as counts from warehouse_files
      where project = ${project} and name = ${table} and dt = ${dt}::date order by load_id, key`.execute(db);
    return { files: rows.filter(({ counts }) => counts).map(({ key, form, load_id }) => ({ key, form, loadId: Number(load_id) })), others: rows.some(({ counts }) => !counts) };
  },

  /** One file takes the place of others, at once. Without one, the partition is empty. */
  async replace(project: string, { by, files }: { by: { key: string; rows: number; bytes: number; tombstones: number; floor: number } | undefined; files: readonly string[] }): Promise<void> {
    await db.transaction().execute(async (tx) => {
      if (by) {
        const taken = await tx.updateTable('warehouse_files').set({ done: true, rows: by.rows, bytes: by.bytes, tombstones: by.tombstones, floor_load: by.floor }).where('project', '=', project).where('key', '=', by.key).executeTakeFirst();
        // Somebody who came after took it for left behind and removed it.
        if (taken.numUpdatedRows === 0n) throw new AftercallError('CONFLICT', `The file ${by.key} was given up before it could take the place of others.`, { advice: 'The files that it was made of stay; they are put together again.' });
      }
      await sql`update warehouse_files set superseded_at = clock_timestamp() where project = ${project} and key = any(${sql.val([...files])}::text[])`.execute(tx);
    });
  },

  /** Files to be removed: superseded so long ago, or left by a compaction that did not come to its end. */
  async toSweep(project: string, { olderThanMs, limit }: { olderThanMs: number; limit: number }): Promise<string[]> {
    const { rows } = await sql<{ key: string }>`
      select key from warehouse_files
      where project = ${project} and (superseded_at <= clock_timestamp() - ${olderThanMs} * interval '1 millisecond' or (form = 'parquet' and not done))
      order by load_id, key limit ${limit}`.execute(db);
    return rows.map(({ key }) => key);
  },

  /** Those of the keys that are written down. */
  async known(project: string, keys: readonly string[]): Promise<Set<string>> {
    if (keys.length === 0) return new Set();
    const { rows } = await sql<{ key: string }>`select key from warehouse_files where project = ${project} and key = any(${sql.val([...keys])}::text[])`.execute(db);
    return new Set(rows.map(({ key }) => key));
  },

  /**
   * Forgets files that are removed.
   *
   * What was asked before may have been answered with their rows: after building anew, those hold what the database does
   * not have, until they go.
   */
  async forget(project: string, keys: readonly string[]): Promise<void> {
    if (keys.length === 0) return;
    await db.transaction().execute(async (tx) => {
      await sql`update warehouse_sinks set edition = edition + 1 where project = ${project} and sink = 'files'`.execute(tx);
      await sql`delete from warehouse_files where project = ${project} and key = any(${sql.val([...keys])}::text[])`.execute(tx);
    });
  },

  async totals(project: string): Promise<{ totals: FileTotals[]; superseded: number }> {
    const { rows } = await sql<FileTotals>`
      select name as "table", form, count(*)::int as files, sum(rows)::int as rows, sum(bytes)::bigint as bytes, count(distinct dt)::int as partitions
      from warehouse_files where project = ${project} and done and superseded_at is null group by 1, 2 order by 1, 2`.execute(db);
    const { rows: old } = await sql<{ files: number }>`select count(*)::int as files from warehouse_files where project = ${project} and superseded_at is not null`.execute(db);
    return { totals: rows.map((row) => ({ ...row, bytes: Number(row.bytes) })), superseded: old[0]!.files };
  },
});

export type WarehouseFiles = ReturnType<typeof createWarehouseFiles>;
