import { fileRows, type UnitRows } from '../../../domain/warehouse-rows.ts';
import { type Column, COLUMNS, type ColumnType, fileColumns, WAREHOUSE_TABLES, type WarehouseRow, type WarehouseTable } from '../../../domain/warehouse-tables.ts';
import type { TableLoader } from '../table-loader.ts';
import { freshRequestId, type SnowflakeClient } from './client.ts';

/** Rows travel as one text of JSON, which may have 16 MB; smaller statements hold the table's lock for less long. */
const MOST_BYTES = 2_000_000;
const MOST_ROWS = 5_000;

/** How a value of a JSON object becomes one of a column. */
const CASTS: Record<ColumnType, (value: string) => string> = {
  string: (value) => `${value}::VARCHAR`,
  int: (value) => `${value}::INTEGER`,
  bigint: (value) => `${value}::BIGINT`,
  double: (value) => `${value}::DOUBLE`,
  boolean: (value) => `${value}::BOOLEAN`,
  timestamp: (value) => `TO_TIMESTAMP_NTZ(${value}::VARCHAR)`,
  date: (value) => `TO_DATE(${value}::VARCHAR)`,
};

const given = ({ name, type }: Column): string => `${CASTS[type](`value:${name}`)} AS ${name}`;
const FROM_JSON = 'FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?)))';
/** `dt` stands in the files' folders, and in a column here. */
const stored = (table: WarehouseTable): readonly Column[] => [...fileColumns(table), { name: 'dt', type: 'string', about: '', nullable: false }];

/**
 * Brings rows in: those that are there are replaced unless they are of a later load, the others added.
 *
 * A MERGE whose source names a row twice fails or does anything, so repetitions are removed first.
 * @returns SQL with one parameter, a JSON array of rows
 */
export const mergeSql = (table: WarehouseTable): string => {
  const columns = stored(table);
  const names = columns.map(({ name }) => name);
  const keys = ['project', 'unit_id', ...COLUMNS[table].filter(({ key }) => key).map(({ name }) => name)];
  return [
    `MERGE INTO ${table} AS t USING (`,
    `SELECT * FROM (SELECT ${columns.map(given).join(', ')} ${FROM_JSON}) AS loaded`,
    `QUALIFY ROW_NUMBER() OVER (PARTITION BY ${keys.join(', ')} ORDER BY load_id DESC) = 1`,
    `) AS s ON ${keys.map((name) => `t.${name} = s.${name}`).join(' AND ')}`,
    `WHEN MATCHED AND s.load_id >= t.load_id THEN UPDATE SET ${names.filter((name) => !keys.includes(name)).map((name) => `${name} = s.${name}`).join(', ')}`,
    `WHEN NOT MATCHED THEN INSERT (${names.join(', ')}) VALUES (${names.map((name) => `s.${name}`).join(', ')})`,
  ].join(' ');
};

/**
 * Removes what units had before a load and have no more: all rows of those that are gone.
 *
 * @returns SQL with three parameters: the project, the load and a JSON array of unit IDs
 */
export const pruneSql = (table: WarehouseTable): string => `DELETE FROM ${table} WHERE project = ? AND load_id < ? AND unit_id IN (SELECT value::VARCHAR ${FROM_JSON})`;

/** @returns SQL with two parameters: the project and the first load that counts */
export const dropBeforeSql = (table: WarehouseTable): string => `DELETE FROM ${table} WHERE project = ? AND load_id < ?`;

/** Units that are brought in by one statement. */
interface Chunk {
  unitIds: string[];
  /** Each one's JSON. */
  rows: string[];
  bytes: number;
}

/** Cuts a table's units so that no piece is too long. Each unit is in one piece as a whole: nobody sees half of it. */
const chunks = (units: Map<string, WarehouseRow[]>): Chunk[] => {
  const cut: Chunk[] = [];
  for (const [unitId, rows] of units) {
    const texts = rows.map((row) => JSON.stringify(row));
    const bytes = texts.reduce((sum, text) => sum + Buffer.byteLength(text) + 1, Buffer.byteLength(unitId));
    const last = cut.at(-1);
    if (last && last.unitIds.length + last.rows.length + rows.length < MOST_ROWS && last.bytes + bytes <= MOST_BYTES) {
      last.unitIds.push(unitId);
      last.rows.push(...texts);
      last.bytes += bytes;
    } else {
      cut.push({ unitIds: [unitId], rows: texts, bytes });
    }
  }
  return cut;
};

/** A call comes last: whoever sees it sees its answers. */
const IN_ORDER = WAREHOUSE_TABLES.toSorted((a, b) => Number(a === 'calls') - Number(b === 'calls'));

/**
 * Loads rows into Snowflake's tables, by MERGE in batches.
 *
 * Every statement may be run again: rows replace themselves, and what is removed is gone. So each attempt asks under
 * request IDs of its own: under those of one that failed or was cancelled, Snowflake would answer with that failure for
 * ever. Rows are merged before their units' older ones are removed.
 */
export const createSnowflakeLoader = (client: SnowflakeClient): TableLoader => {
  const execute = async (sql: string, bindings: (string | number)[], signal: AbortSignal): Promise<void> => {
    await client.execute(sql, bindings, { requestId: freshRequestId(), signal });
  };

  return {
    async load(project, { loadId, readAt, units }, signal) {
      let loaded = 0;
      for (const table of IN_ORDER) {
        const own = Map.groupBy(units.filter((unit) => unit.table === table), ({ unitId }) => unitId);
        const rowsOf = (unit: UnitRows): WarehouseRow[] => (unit.rows.length === 0 ? [] : fileRows(unit, { project, loadId, readAt }).map((row) => ({ ...row, dt: unit.dt })));
        for (const { unitIds, rows } of chunks(new Map([...own].map(([unitId, same]) => [unitId, same.flatMap(rowsOf)])))) {
          if (rows.length > 0) await execute(mergeSql(table), [`[${rows.join(',')}]`], signal);
          await execute(pruneSql(table), [project, loadId, JSON.stringify(unitIds)], signal);
          loaded += rows.length;
        }
      }
      return loaded;
    },

    async dropBefore(project, loadId, signal) {
      for (const table of WAREHOUSE_TABLES) await execute(dropBeforeSql(table), [project, loadId], signal);
    },
  };
};
