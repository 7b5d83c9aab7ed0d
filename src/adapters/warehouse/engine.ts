import type { Dialect } from '../../domain/analytics/dialect.ts';
import type { Span } from '../../domain/analytics/zone.ts';
import type { WarehouseTable } from '../../domain/warehouse-tables.ts';

export type { Dialect, Span };

/**
 * A cell of a result, the same from every engine: numbers of any kind as numbers, timestamps as ISO 8601 in UTC with
 * milliseconds (`2026-11-02T09:30:00.000Z`), dates as `YYYY-MM-DD`, absent values as null.
 */
export type QueryValue = string | number | boolean | null;

/**
 * A value bound to a `?`. Points in time are bound as text, `YYYY-MM-DD HH:MM:SS.mmm` in UTC, and cast in the SQL.
 * Athena takes a `?` only in a WHERE clause.
 */
export type QueryParameter = string | number | boolean;

export interface QueryOptions {
  signal: AbortSignal;
  /** Rows beyond are left off, and the result says so. */
  maxRows: number;
  /** Longer, and the query is cancelled at the engine and UPSTREAM_TIMEOUT thrown; ms. */
  timeoutMs: number;
}

export interface QueryResult {
  columns: string[];
  rows: QueryValue[][];
  /** There are more rows than were asked for. */
  truncated: boolean;
}

/** A SQL engine over the warehouse's tables. */
export interface QueryEngine {
  readonly dialect: Dialect;
  /**
   * Runs one SELECT.
   *
   * @param parameters bound to the `?` of the SQL in their order
   * @throws AftercallError UPSTREAM_TIMEOUT after `timeoutMs`; UPSTREAM_REJECTED when the engine refuses the SQL;
   *   RATE_LIMITED, UPSTREAM_UNAVAILABLE, AUTH_FAILED as they are. A query that nobody waits for is cancelled at the engine.
   */
  run(project: string, sql: string, parameters: readonly QueryParameter[], options: QueryOptions): Promise<QueryResult>;
  /**
   * What to read a table of a project from: SQL in parentheses that stands in a FROM, giving the documented columns of
   * the newest state of each key. A table that has no rows yet gives none, and is not an error.
   *
   * @param span rows whose partition cannot lie in it may be left out: it saves reading, and does not filter
   */
  tableRef(project: string, table: WarehouseTable, span?: Span): string;
}
