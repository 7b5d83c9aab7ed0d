import type { WarehouseTable } from '../warehouse-tables.ts';
import { type Dialect, FUNCTIONS, type Functions } from './dialect.ts';
import { type FilterName, type Filters, FILTERS, groupOf, type GroupName } from './groups.ts';
import { offsetsIn, type Span } from './zone.ts';

/**
 * Builds the SELECTs of the named queries.
 *
 * What a caller gives is bound to a `?` and stands only in WHERE clauses, where all engines take it. Everything else in the SQL
 * is from this folder's own tables, or a number. Measures are whole numbers: averages and shares are worked out behind the
 * engines, so that they are the same from each.
 */

/** What one run asks for. */
export interface Asked {
  span: Span;
  /** IANA name. */
  timeZone: string;
  groupBy: readonly GroupName[];
  filters: Filters;
  /** One row more is asked for, to tell whether there are more. */
  maxRows: number;
}

export interface Engine {
  dialect: Dialect;
  /** SQL for a table's newest rows; without a span all of them. */
  tableRef(table: WarehouseTable, span?: Span): string;
}

export interface Statement {
  sql: string;
  parameters: string[];
}

/** Rows of a table with the point in time that they are counted by. */
export interface Rows {
  table: WarehouseTable;
  /** The column that `from` and `to` mean. */
  at: string;
  /** Whether partitions go by that column, so that others need not be read. */
  partitioned: boolean;
  /** Only these rows; SQL of our own. */
  where?: string;
  /**
   * Groups by the call that rows of another table belong to, which do not have these columns themselves. Calls are read
   * only for a question that names one of them.
   */
  withCall?: readonly (GroupName & FilterName)[];
}

/** SQL by name; each gives a whole number for a group of rows. */
export type Measures = Readonly<Record<string, (functions: Functions) => string>>;

const DAY_MS = 86_400_000;

/** As text that all engines read as a timestamp. */
const timestampText = (ms: number): string => new Date(ms).toISOString().slice(0, 23).replace('T', ' ');

const offsetSql = ({ timestamp }: Functions, at: string, { span, timeZone }: Asked): string => {
  const offsets = offsetsIn(span, timeZone);
  const last = offsets.at(-1)!;
  const changes = offsets.slice(1).map(({ fromMs }, index) => `WHEN ${at} < ${timestamp(`'${timestampText(fromMs)}'`)} THEN ${offsets[index]!.seconds}`);
  return changes.length === 0 ? String(last.seconds) : `CASE ${changes.join(' ')} ELSE ${last.seconds} END`;
};

const filterSql = (name: FilterName, values: readonly (string | null)[], prefix: string): Statement => {
  const column = `${prefix}${groupOf(name).sql(FUNCTIONS.duckdb)}`;
  const texts = values.filter((value) => value !== null);
  const some = texts.length > 0 ? `${column} IN (${texts.map(() => '?').join(', ')})` : undefined;
  const none = values.includes(null) ? `${column} IS NULL` : undefined;
  return { sql: some && none ? `(${some} OR ${none})` : (some ?? none ?? 'FALSE'), parameters: texts };
};

/** The rows that are asked for, with `at_utc`, `utc_offset`, `at_local` and the groups as `g1`, `g2`, … */
export const placedRows = ({ table, at, partitioned, where, withCall = [] }: Rows, asked: Asked, { dialect, tableRef }: Engine): Statement => {
  const functions = FUNCTIONS[dialect];
  // Partitions are of UTC days; those of costs go by the day that they count under, which may be the one before or after.
  const around = { fromMs: asked.span.fromMs - 2 * DAY_MS, toMs: asked.span.toMs + 2 * DAY_MS };
  const column = `t.${at}`;
  const ofCall = withCall.filter((name) => asked.groupBy.includes(name) || asked.filters[name] !== undefined);
  // A call may be paid for long after it was (a new analysis of old calls), never long before.
  const calls = { fromMs: 0, toMs: around.toMs };
  const from = `${tableRef(table, partitioned ? around : undefined)} AS t${ofCall.length > 0 ? ` LEFT JOIN ${tableRef('calls', calls)} AS c ON c.call_id = t.call_id` : ''}`;
  const chosen = FILTERS.flatMap((name) => {
    const values = asked.filters[name];
    return values ? [filterSql(name, values, ofCall.includes(name) ? 'c.' : 't.')] : [];
  });
  const conditions = [`${column} >= ${functions.timestamp('?')}`, `${column} < ${functions.timestamp('?')}`, ...(where ? [`(${where})`] : []), ...chosen.map(({ sql }) => sql)];
  const placed = `SELECT t.*, ${ofCall.map((name) => `c.${groupOf(name).sql(functions)}, `).join('')}${column} AS at_utc, ${offsetSql(functions, column, asked)} AS utc_offset FROM ${from} WHERE ${conditions.join(' AND ')}`;
  const local = `SELECT placed.*, ${functions.addSeconds('at_utc', 'utc_offset')} AS at_local FROM (${placed}) AS placed`;
  return {
    sql: `SELECT local_rows.*${asked.groupBy.map((name, index) => `, ${groupOf(name).sql(functions)} AS g${index + 1}`).join('')} FROM (${local}) AS local_rows`,
    parameters: [timestampText(asked.span.fromMs), timestampText(asked.span.toMs), ...chosen.flatMap(({ parameters }) => parameters)],
  };
};

export const groupColumns = ({ groupBy }: Pick<Asked, 'groupBy'>): string[] => groupBy.map((_name, index) => `g${index + 1}`);

/** What follows a SELECT: time in its order, everything else the largest first, and no two rows in an order of chance. */
export const ordered = ({ groupBy, maxRows }: Asked, size: string): string => {
  const columns = groupColumns({ groupBy });
  const inTime = columns.filter((_column, index) => groupOf(groupBy[index]!).ordered);
  const others = columns.filter((column) => !inTime.includes(column));
  const terms = [...inTime.map((column) => `${column} ASC NULLS LAST`), `${size} DESC`, ...others.map((column) => `${column} ASC NULLS LAST`)];
  return ` ORDER BY ${terms.join(', ')} LIMIT ${maxRows + 1}`;
};

/** Groups and their measures, the first measure being the size. */
export const aggregate = (rows: Statement, measures: Measures, asked: Asked, { dialect }: Engine): Statement => {
  const columns = groupColumns(asked);
  const measured = Object.entries(measures).map(([name, sql]) => `${sql(FUNCTIONS[dialect])} AS ${name}`);
  const [size] = Object.keys(measures);
  return {
    sql: `SELECT ${[...columns, ...measured].join(', ')} FROM (${rows.sql}) AS grouped${columns.length > 0 ? ` GROUP BY ${columns.join(', ')}` : ''}${ordered(asked, size!)}`,
    parameters: rows.parameters,
  };
};
