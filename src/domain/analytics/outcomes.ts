import { type Asked, groupColumns, ordered, type Statement } from './select.ts';

/** Calls by the first group, and beside each the calls of all the other groups alike. */
export const outcomes = (rows: Statement, asked: Asked): Statement => {
  const groups = groupColumns(asked);
  const others = groups.slice(1);
  const counted = `SELECT ${groups.join(', ')}, COUNT(*) AS calls FROM (${rows.sql}) AS grouped GROUP BY ${groups.join(', ')}`;
  return {
    sql: `SELECT ${groups.join(', ')}, calls, SUM(calls) OVER (${others.length > 0 ? `PARTITION BY ${others.join(', ')}` : ''}) AS whole FROM (${counted}) AS counted${ordered(asked, 'calls')}`,
    parameters: rows.parameters,
  };
};
