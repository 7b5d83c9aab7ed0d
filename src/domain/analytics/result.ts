import { groupOf, type GroupName } from './groups.ts';
import type { AnalyticsQuery, Measured, ResultColumn } from './query.ts';

export type ResultValue = string | number | null;

/** All groups of a run: those that the query is always divided by, then those that were asked for. */
export const groupsOf = (query: AnalyticsQuery, asked: readonly GroupName[]): GroupName[] => [...query.by, ...asked];

const groupColumn = (name: GroupName): ResultColumn => {
  const { type, about } = groupOf(name);
  return { name, type, unit: null, about };
};

/** What a result's rows hold, in order. */
export const columnsOf = (query: AnalyticsQuery, groups: readonly GroupName[]): ResultColumn[] => [...groups.map(groupColumn), ...query.columns.map(({ name, type, unit, about }) => ({ name, type, unit, about }))];

/**
 * What is shown of an engine's rows.
 *
 * @param columns of the engine: the groups as `g1`, `g2`, …, then the measures
 */
export const rowsOf = (query: AnalyticsQuery, groups: readonly GroupName[], timeZone: string, { columns, rows }: { columns: readonly string[]; rows: readonly (readonly (string | number | boolean | null)[])[] }): ResultValue[][] =>
  rows.map((row) => {
    const shown = groups.map((name, index) => {
      const value = row[index];
      if (value === null || value === undefined || typeof value === 'boolean') return null;
      const { shown: show, type } = groupOf(name);
      return show ? show(value, timeZone) : type === 'integer' ? Number(value) : value;
    });
    const measured: Measured = Object.fromEntries(columns.slice(groups.length).map((name, index) => [name, toNumber(row[groups.length + index])]));
    return [...shown, ...query.columns.map(({ of }) => of(measured))];
  });

const toNumber = (value: string | number | boolean | null | undefined): number | null => (value === null || value === undefined ? null : Number(value));
