import { type ColumnType, fileColumns, type WarehouseTable } from '../../domain/warehouse-tables.ts';
import { sqlText } from './duckdb-instance.ts';

/** The columns' types in DuckDB. */
export const DUCKDB_TYPES: Record<ColumnType, string> = { string: 'VARCHAR', int: 'INTEGER', bigint: 'BIGINT', double: 'DOUBLE', boolean: 'BOOLEAN', timestamp: 'TIMESTAMP', date: 'DATE' };

const list = (values: readonly string[]): string => `[${values.map(sqlText).join(', ')}]`;

/**
 * SQL that reads files of both forms as one relation, with the columns of the table and no others.
 *
 * Columns are matched by name, and those that a file of an older version does not have are null.
 * @param partitioned whether the files lie in folders `dt=…`, and `dt` is to be among the columns
 */
export const filesSql = (table: WarehouseTable, { json, parquet }: { json: readonly string[]; parquet: readonly string[] }, { partitioned }: { partitioned: boolean }): string => {
  const columns = fileColumns(table);
  const dt = partitioned ? ', dt' : '';
  const hive = partitioned ? ", hive_partitioning = true, hive_types = {'dt': 'VARCHAR'}" : '';
  const nothing = `SELECT ${[...columns, ...(partitioned ? [{ name: 'dt', type: 'string' as const }] : [])].map(({ name, type }) => `NULL::${DUCKDB_TYPES[type]} AS ${name}`).join(', ')} WHERE false`;
  const types = columns.map(({ name, type }) => `${name}: ${sqlText(DUCKDB_TYPES[type])}`).join(', ');
  const names = columns.map(({ name }) => name).join(', ');
  const sources = [nothing];
  if (json.length > 0) sources.push(`SELECT ${names}${dt} FROM read_json(${list(json)}, format = 'newline_delimited', columns = {${types}}, timestampformat = '%Y-%m-%d %H:%M:%S.%g'${hive})`);
  if (parquet.length > 0) sources.push(`SELECT * FROM read_parquet(${list(parquet)}, union_by_name = true${hive})`);
  return sources.join(' UNION ALL BY NAME ');
};
