import { dirname } from 'node:path';
import { COLUMNS, fileColumns, type WarehouseTable } from '../../domain/warehouse-tables.ts';
import { filesSql } from './duckdb-files.ts';
import { sqlText, withDuckDb } from './duckdb-instance.ts';

/** A partition of a million rows is put together in less; what does not fit is laid off in a folder of its own. */
const MEMORY_MB = 512;

/**
 * Puts the files of one partition together in one of Parquet: of each unit the rows of its newest load, each once.
 *
 * @param floor rows of earlier loads are left out
 * @param tombstonesFrom tombstones of earlier loads are left out: no file holds older rows of their units any more
 * @returns how many rows were written, tombstones among them; with none there is no file
 */
export const putTogether = async ({ table, json, parquet, to, floor, tombstonesFrom }: { table: WarehouseTable; json: readonly string[]; parquet: readonly string[]; to: string; floor: number; tombstonesFrom: number }): Promise<{ rows: number; tombstones: number }> =>
  withDuckDb({ folders: [dirname(to), ...new Set([...json, ...parquet].map(dirname))], memoryMb: MEMORY_MB, threads: 1 }, async (connection) => {
    const names = fileColumns(table).map(({ name }) => name);
    const keys = COLUMNS[table].filter(({ key }) => key).map(({ name }) => name);
    await connection.run(
      [
        `CREATE TABLE kept AS SELECT ${names.join(', ')} FROM (`,
        `SELECT *, MAX(load_id) OVER (PARTITION BY project, unit_id) AS newest_load, ROW_NUMBER() OVER (PARTITION BY project, unit_id, ${keys.join(', ')} ORDER BY load_id DESC, deleted DESC) AS repetition`,
        `FROM (${filesSql(table, { json, parquet }, { partitioned: false })}) WHERE load_id >= ${floor})`,
        `WHERE load_id = newest_load AND repetition = 1 AND (NOT deleted OR load_id >= ${tombstonesFrom}) ORDER BY unit_id`,
      ].join(' '),
    );
    const counted = await connection.runAndReadAll('SELECT count(*)::INTEGER AS rows, count(*) FILTER (WHERE deleted)::INTEGER AS tombstones FROM kept');
    const { rows, tombstones } = counted.getRowObjectsJS()[0] as { rows: number; tombstones: number };
    if (rows > 0) await connection.run(`COPY kept TO ${sqlText(to)} (FORMAT parquet, COMPRESSION zstd)`);
    return { rows, tombstones };
  });
