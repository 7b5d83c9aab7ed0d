import type { FilterName, GroupName } from './groups.ts';
import type { Asked, Engine, Statement } from './select.ts';

export const UNITS = ['calls', 'percent', 'seconds', 'microUsd', 'requests', 'answers', 'times', 'voiceCalls'] as const;
export type Unit = (typeof UNITS)[number];

/** A column of a result. */
export interface ResultColumn {
  name: string;
  type: 'text' | 'integer' | 'number' | 'date' | 'datetime';
  unit: Unit | null;
  about: string;
}

/** A row as the engine gives it: its measures, whole numbers, by name. */
export type Measured = Readonly<Record<string, number | null>>;

/** A column that is worked out from a row's measures. */
export interface Derived extends Omit<ResultColumn, 'type'> {
  type: 'integer' | 'number';
  /** How it is worked out, for telling one definition from another. */
  how: readonly (string | number)[];
  of(measured: Measured): number | null;
}

/** A question that the analytics API answers. */
export interface AnalyticsQuery {
  about: string;
  /** Always divided by; in front of what is asked for. */
  by: readonly GroupName[];
  /** What it may be divided by. */
  groups: readonly GroupName[];
  defaultGroups: readonly GroupName[];
  filters: readonly FilterName[];
  columns: readonly Derived[];
  /** `groupBy` of what is asked has `by` in front. Gives the groups as `g1`, `g2`, … and the measures. */
  select(asked: Asked, engine: Engine): Statement;
}

/** Rounded half away from zero, the same whichever engine counted. */
export const rounded = (value: number, digits: number): number => {
  const scale = 10 ** digits;
  return (Math.sign(value) * Math.round(Math.abs(value) * scale + Number.EPSILON * scale)) / scale;
};

const measure = (measured: Measured, name: string): number => measured[name] ?? 0;

export const count = (name: string, unit: Unit, about: string, from = name): Derived => ({ name, type: 'integer', unit, about, how: ['count', from], of: (measured) => measure(measured, from) });

/** Null where there is nothing that it could be a part of. */
export const percent = (name: string, about: string, part: string, whole: string): Derived => ({
  name,
  type: 'number',
  unit: 'percent',
  about,
  how: ['percent', part, whole],
  of: (measured) => (measure(measured, whole) === 0 ? null : rounded((measure(measured, part) / measure(measured, whole)) * 100, 2)),
});

export const mean = (name: string, unit: Unit, about: string, sum: string, number: string, { per = 1, digits = 2 } = {}): Derived => ({
  name,
  type: 'number',
  unit,
  about,
  how: ['mean', sum, number, per, digits],
  of: (measured) => (measure(measured, number) === 0 ? null : rounded(measure(measured, sum) / measure(measured, number) / per, digits)),
});

/** Of a measure in ms. */
export const seconds = (name: string, about: string, from: string): Derived => ({ name, type: 'number', unit: 'seconds', about, how: ['seconds', from], of: (measured) => (measured[from] == null ? null : rounded(measured[from] / 1_000, 1)) });

/** Of a measure as it is; null of a group without any. */
export const value = (name: string, unit: Unit, about: string, from = name): Derived => ({ name, type: 'integer', unit, about, how: ['value', from], of: (measured) => measured[from] ?? null });
