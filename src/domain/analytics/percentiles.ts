import { type Asked, groupColumns, ordered, type Statement } from './select.ts';

/**
 * Sum, median, ninth decile and maximum of a column.
 *
 * By nearest rank over numbered rows: the engines' own functions differ, and Athena's only come near.
 */
export const percentiles = (rows: Statement, column: string, asked: Asked): Statement => {
  const groups = groupColumns(asked);
  const partition = groups.length > 0 ? `PARTITION BY ${groups.join(', ')} ` : '';
  const within = groups.length > 0 ? `PARTITION BY ${groups.join(', ')}` : '';
  const selected = groups.map((group) => `${group}, `).join('');
  const ranked = `SELECT ${selected}${column} AS measured, ROW_NUMBER() OVER (${partition}ORDER BY ${column}) AS place, COUNT(*) OVER (${within}) AS places FROM (${rows.sql}) AS measured_rows`;
  const atMost = (part: number): string => `MIN(CASE WHEN place * 100 >= places * ${part} THEN measured END)`;
  return {
    sql: `SELECT ${selected}COUNT(*) AS calls, SUM(measured) AS total, ${atMost(50)} AS p50, ${atMost(90)} AS p90, MAX(measured) AS longest FROM (${ranked}) AS ranked${groups.length > 0 ? ` GROUP BY ${groups.join(', ')}` : ''}${ordered(asked, 'calls')}`,
    parameters: rows.parameters,
  };
};
