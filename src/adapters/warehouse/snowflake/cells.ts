import type { QueryValue } from '../engine.ts';

/** A column of a result, as the SQL API describes it. */
export interface RowType {
  name: string;
  /** `fixed`, `real`, `text`, `boolean`, `date`, `time`, `timestamp_ntz`, `timestamp_ltz`, `timestamp_tz`, `variant`, … */
  type: string;
  scale?: number | null | undefined;
}

const DAY_MS = 86_400_000;

/** Seconds since the epoch with up to nine decimals, as ms. Read as text: a double has too few digits. */
const secondsToMs = (text: string): number => {
  const negative = text.startsWith('-');
  const [whole = '0', fraction = ''] = text.replace('-', '').split('.');
  const ms = Number(whole) * 1_000 + Number(fraction.padEnd(3, '0').slice(0, 3));
  return negative ? -ms : ms;
};

/**
 * A cell of format `jsonv2`, in which everything but NULL is text.
 *
 * Dates are days since the epoch, timestamps seconds since the epoch, those with a zone followed by its offset in minutes
 * plus 1440. Whole numbers beyond what a double holds stay text.
 */
export const decodeCell = (cell: string | null, { type }: RowType): QueryValue => {
  if (cell === null) return null;
  switch (type.toLowerCase()) {
    case 'fixed': {
      const number = Number(cell);
      return Number.isInteger(number) && !Number.isSafeInteger(number) ? cell : number;
    }
    case 'real':
      return Number(cell);
    case 'boolean':
      return cell === 'true' || cell === '1';
    case 'date':
      return new Date(Number(cell) * DAY_MS).toISOString().slice(0, 10);
    case 'timestamp_ntz':
    case 'timestamp_ltz':
    case 'timestamp_tz':
      return new Date(secondsToMs(cell.split(' ')[0]!)).toISOString();
    default:
      return cell;
  }
};

export type SnowflakeValue = string | number | boolean | null;

/** How a value is bound. Everything travels as text beside its type. */
export const bindingOf = (value: SnowflakeValue): { type: string; value: string | null } => {
  switch (typeof value) {
    case 'number':
      return { type: Number.isInteger(value) ? 'FIXED' : 'REAL', value: String(value) };
    case 'boolean':
      return { type: 'BOOLEAN', value: String(value) };
    default:
      return { type: 'TEXT', value };
  }
};
