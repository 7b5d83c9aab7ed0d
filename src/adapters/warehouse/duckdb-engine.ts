import { glob } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import type { DuckDBConnection, DuckDBResult } from '@duckdb/node-api';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import { dayOf } from '../../domain/warehouse-rows.ts';
import { newestSql, tablePrefix, WAREHOUSE_TABLES, type WarehouseForm, type WarehouseTable } from '../../domain/warehouse-tables.ts';
import { filesSql } from './duckdb-files.ts';
import { sqlText, withDuckDb } from './duckdb-instance.ts';
import type { QueryEngine, QueryParameter, QueryResult, QueryValue, Span } from './engine.ts';

/** A year of a busy project's calls is grouped in less; a query that needs more is refused rather than taking the process down. */
const MEMORY_MB = 512;
const THREADS = 2;
const INTERRUPT_EVERY_MS = 50;
/** Files may be put together while they are read; then the folder is looked at again. */
const TRIES = 3;

const FORMS = ['json', 'parquet'] as const satisfies readonly WarehouseForm[];
const viewOf = (table: WarehouseTable): string => `aftercall_all_${table}`;

/** Queries the warehouse's files in a folder, in process: one project's, and nothing else on the machine. */
export const createDuckDbEngine = (objectsFolder: string): QueryEngine => {
  const root = resolve(objectsFolder);
  const folderOf = (project: string, form: WarehouseForm, table: WarehouseTable): string => join(root, tablePrefix(project, form, table));

  /** Views over the files that there are now. */
  const openViews = async (connection: DuckDBConnection, project: string): Promise<void> => {
    for (const table of WAREHOUSE_TABLES) {
      // DuckDB takes a pattern without files for a mistake; a table without rows is none.
      const patterns = async (form: WarehouseForm): Promise<string[]> => {
        const pattern = join(folderOf(project, form, table), '*', `*.${form}`);
        return (await hasFiles(pattern)) ? [pattern] : [];
      };
      const [json, parquet] = await Promise.all(FORMS.map(patterns)) as [string[], string[]];
      await connection.run(`CREATE OR REPLACE VIEW ${viewOf(table)} AS ${filesSql(table, { json, parquet }, { partitioned: true })}`);
    }
  };

  const query = async (connection: DuckDBConnection, sql: string, parameters: readonly QueryParameter[], maxRows: number): Promise<QueryResult> => {
    const { DuckDBTypeId, StatementType } = await import('@duckdb/node-api');
    const prepared = await connection.prepare(sql);
    if (prepared.statementType !== StatementType.SELECT) throw new AftercallError('UPSTREAM_REJECTED', 'DuckDB was asked for something else than a SELECT.', { advice: 'This is a defect: queries only read.', outcome: 'refused' });
    for (const [index, value] of parameters.entries()) {
      if (typeof value === 'boolean') prepared.bindBoolean(index + 1, value);
      else if (typeof value === 'string') prepared.bindVarchar(index + 1, value);
      else if (Number.isSafeInteger(value)) prepared.bindBigInt(index + 1, BigInt(value));
      else prepared.bindDouble(index + 1, value);
    }
    const result: DuckDBResult = await prepared.stream();
    const isDate = result.columnTypes().map(({ typeId }) => typeId === DuckDBTypeId.DATE);
    const rows: QueryValue[][] = [];
    for await (const chunk of result.yieldRowsJs()) {
      for (const row of chunk) rows.push(row.map((cell, index) => valueOf(cell, isDate[index] ?? false)));
      if (rows.length > maxRows) break;
    }
    return { columns: result.columnNames(), rows: rows.slice(0, maxRows), truncated: rows.length > maxRows };
  };

  return {
    dialect: 'duckdb',

    async run(project, sql, parameters, { signal, maxRows, timeoutMs }) {
      signal.throwIfAborted();
      const late = AbortSignal.timeout(timeoutMs);
      const stop = AbortSignal.any([signal, late]);
      const folders = [...new Set(WAREHOUSE_TABLES.flatMap((table) => FORMS.map((form) => join(folderOf(project, form, table), '..'))))];
      return withDuckDb({ folders, memoryMb: MEMORY_MB, threads: THREADS }, async (connection) => {
        // Again and again: one that comes between two statements is lost, and the next would run to its end.
        let interrupting: NodeJS.Timeout | undefined;
        const interrupt = (): void => {
          connection.interrupt();
          interrupting = setInterval(() => connection.interrupt(), INTERRUPT_EVERY_MS);
        };
        stop.addEventListener('abort', interrupt, { once: true });
        try {
          // While DuckDB was opened; nobody is told of it any more.
          stop.throwIfAborted();
          for (let attempt = 1; ; attempt += 1) {
            try {
              await openViews(connection, project);
              return await query(connection, sql, parameters, maxRows);
            } catch (error) {
              if (attempt < TRIES && !stop.aborted && isGone(error)) continue;
              throw error;
            }
          }
        } catch (error) {
          signal.throwIfAborted();
          if (late.aborted) throw new AftercallError('UPSTREAM_TIMEOUT', `DuckDB did not answer the query within ${Math.round(timeoutMs / 1_000)} s.`, { advice: 'Ask for a shorter span, or for fewer rows.', cause: error });
          if (error instanceof AftercallError) throw error;
          throw explain(error);
        } finally {
          clearInterval(interrupting);
          stop.removeEventListener('abort', interrupt);
        }
      });
    },

    tableRef(_project, table, span) {
      // The views hold one project's rows only: `run` opens them for the project that it runs for.
      return `(${newestSql(table, span ? `(SELECT * FROM ${viewOf(table)} WHERE ${daysOf(span)}) AS some_days` : viewOf(table))})`;
    },
  };
};

/** A row lies under the day of its own time, so the days of a span are all that can hold its rows. */
const daysOf = ({ fromMs, toMs }: Span): string => `dt BETWEEN ${sqlText(dayOf(fromMs))} AND ${sqlText(dayOf(toMs))}`;

const hasFiles = async (pattern: string): Promise<boolean> => {
  for await (const _file of glob(pattern)) return true;
  return false;
};

/** Whether a file was removed between being listed and being read. */
const isGone = (error: unknown): boolean => /No such file|No files found|Cannot open file|IO Error/.test(messageOf(error));

const valueOf = (cell: unknown, isDate: boolean): QueryValue => {
  if (cell === null || cell === undefined) return null;
  if (typeof cell === 'bigint') return Number(cell);
  if (cell instanceof Date) return isDate ? cell.toISOString().slice(0, 10) : cell.toISOString();
  if (typeof cell === 'number' || typeof cell === 'string' || typeof cell === 'boolean') return cell;
  return String(cell);
};

const explain = (error: unknown): AftercallError => {
  const message = messageOf(error);
  if (/Out of Memory/i.test(message)) return new AftercallError('UPSTREAM_REJECTED', `DuckDB needs more than ${MEMORY_MB} MB for the query.`, { advice: 'Ask for a shorter span.', outcome: 'refused', cause: error });
  if (/^(Error: )?(IO|Invalid Input) Error/.test(message)) return new AftercallError('UPSTREAM_UNAVAILABLE', `DuckDB could not read the warehouse's files (${message.slice(0, 300)}).`, { advice: 'Try again; if it stays, have the warehouse built anew.', cause: error });
  return new AftercallError('UPSTREAM_REJECTED', `DuckDB refuses the query (${message.slice(0, 300)}).`, { advice: 'This is a defect of the query.', outcome: 'refused', cause: error });
};
