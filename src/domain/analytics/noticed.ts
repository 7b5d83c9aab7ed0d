import { type Asked, type Engine, groupColumns, ordered, placedRows, type Rows, type Statement } from './select.ts';

/**
 * How often something was noticed, and in how many of the analysed calls.
 *
 * What was noticed and the analysed calls are put under each other and counted together: a join by groups that may be null is
 * not the same everywhere.
 */
export const noticed = (what: Rows, calls: Rows, asked: Asked, engine: Engine): Statement => {
  const [, ...others] = asked.groupBy;
  const events = placedRows(what, asked, engine);
  const analysed = placedRows(calls, { ...asked, groupBy: others }, engine);
  const groups = groupColumns(asked);
  const shared = groups.slice(1);
  const list = (columns: readonly string[]): string => columns.map((column) => `, ${column}`).join('');
  const callGroups = shared.map((column, index) => `, g${index + 1} AS ${column}`).join('');
  const both = `SELECT g1${list(shared)}, call_id AS noticed_in, 0 AS is_call FROM (${events.sql}) AS noticed_rows UNION ALL SELECT CAST(NULL AS VARCHAR) AS g1${callGroups}, CAST(NULL AS VARCHAR) AS noticed_in, 1 AS is_call FROM (${analysed.sql}) AS analysed_rows`;
  const counted = `SELECT ${groups.join(', ')}, COUNT(DISTINCT noticed_in) AS calls, COUNT(noticed_in) AS times, SUM(is_call) AS is_calls FROM (${both}) AS together GROUP BY ${groups.join(', ')}`;
  const shares = `SELECT ${groups.join(', ')}, calls, times, SUM(is_calls) OVER (${shared.length > 0 ? `PARTITION BY ${shared.join(', ')}` : ''}) AS analysed FROM (${counted}) AS counted`;
  return {
    sql: `SELECT ${groups.join(', ')}, calls, times, analysed FROM (${shares}) AS shares WHERE g1 IS NOT NULL${ordered(asked, 'calls')}`,
    parameters: [...events.parameters, ...analysed.parameters],
  };
};
