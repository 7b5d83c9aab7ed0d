import { glob } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { callTablePrefix } from '../../domain/ids.ts';
import { CALL_TABLE_COLUMNS } from '../../domain/metadata.ts';
import { countSql, toCounts } from './counts.ts';
import { withDuckDb } from './duckdb-instance.ts';
import type { Warehouse } from './warehouse.ts';

const DUCKDB_TYPE = { string: 'VARCHAR', int: 'INTEGER' } as const;

/** Counting keeps one ID for each call. */
const MEMORY_MB = 512;

/** Queries the call table's files in a folder, in process. */
export const createDuckDb = (objectsFolder: string): Warehouse => {
  const columns = CALL_TABLE_COLUMNS.map(({ name, type }) => `${name}: '${DUCKDB_TYPE[type]}'`).join(', ');
  const tableOf = (pattern: string): string => `read_json('${pattern.replaceAll("'", "''")}', format = 'newline_delimited', columns = {${columns}}, hive_partitioning = true)`;

  return {
    async countCalls(project) {
      const pattern = join(resolve(objectsFolder), callTablePrefix(project), '*', '*', '*.json');
      // DuckDB takes a pattern without files for a mistake; an empty table is none.
      if (!(await hasFiles(pattern))) return { totalRecords: 0, withRecording: 0, withTranscript: 0, withAnalysis: 0 };
      return withDuckDb({ folders: [join(resolve(objectsFolder), callTablePrefix(project))], memoryMb: MEMORY_MB, threads: 1 }, async (connection) => {
        const result = await connection.runAndReadAll(countSql(tableOf(pattern)));
        return toCounts(result.getRowObjectsJS()[0] ?? {});
      });
    },
  };
};

const hasFiles = async (pattern: string): Promise<boolean> => {
  for await (const _file of glob(pattern)) return true;
  return false;
};
