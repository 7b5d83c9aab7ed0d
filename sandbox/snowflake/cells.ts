import type { Binding, Cell, Kind, Table } from '../sql/duckdb.ts';

/** Columns and cells in the form of the SQL API's `jsonv2`: everything but NULL is text. */

const TYPES: Record<Kind, { type: string; scale?: number; precision?: number; length?: number }> = {
  integer: { type: 'fixed', precision: 38, scale: 0 },
  decimal: { type: 'fixed', precision: 38, scale: 6 },
  double: { type: 'real' },
  boolean: { type: 'boolean' },
  date: { type: 'date' },
  timestamp: { type: 'timestamp_ntz', scale: 9, precision: 0 },
  json: { type: 'variant' },
  text: { type: 'text', length: 16_777_216 },
};

export const rowTypeOf = ({ columns }: Table): object[] =>
  columns.map(({ name, kind }) => ({ name, database: '', schema: '', table: '', nullable: true, byteLength: null, collation: null, length: null, precision: null, scale: null, ...TYPES[kind] }));

/** Seconds since the epoch with nine decimals. */
const seconds = (micros: bigint): string => {
  const sign = micros < 0n ? '-' : '';
  const size = micros < 0n ? -micros : micros;
  return `${sign}${size / 1_000_000n}.${String(size % 1_000_000n).padStart(6, '0')}000`;
};

export const encode = (cell: Cell): string | null => {
  if (cell === null) return null;
  if (typeof cell !== 'object') return String(cell);
  return 'days' in cell ? String(cell.days) : seconds(cell.micros);
};

export interface GivenBinding {
  type?: string;
  value?: unknown;
}

/** @returns the value for DuckDB, or what is wrong */
export const decodeBinding = ({ type, value }: GivenBinding): { value: Binding } | { problem: string } => {
  if (value === null || value === undefined) return { value: null };
  if (typeof value !== 'string') return { problem: `a value of type ${type ?? 'none'} is not text` };
  switch (type?.toUpperCase()) {
    case 'TEXT':
      return { value };
    case 'FIXED':
      return /^-?\d+$/.test(value) ? { value: BigInt(value) } : { problem: `"${value}" is no FIXED` };
    case 'REAL':
      return Number.isFinite(Number(value)) && value.trim() !== '' ? { value: Number(value) } : { problem: `"${value}" is no REAL` };
    case 'BOOLEAN':
      return value === 'true' || value === 'false' ? { value: value === 'true' } : { problem: `"${value}" is no BOOLEAN` };
    default:
      return { problem: `this stand-in binds TEXT, FIXED, REAL and BOOLEAN, not ${type ?? 'nothing'}` };
  }
};
