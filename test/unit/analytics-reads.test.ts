import { describe, expect, it } from '@jest/globals';
import { CATALOGUE } from '../../src/domain/analytics/catalogue.ts';
import { CALL_GROUPS, type Filters, type GroupName } from '../../src/domain/analytics/groups.ts';
import type { Span } from '../../src/domain/analytics/zone.ts';

const DAY_MS = 86_400_000;
const span: Span = { fromMs: Date.UTC(2026, 10, 1), toMs: Date.UTC(2026, 10, 8) };

/** The tables that a question about costs has read, and the days of each. */
const readFor = ({ groupBy = [], filters = {} }: { groupBy?: GroupName[]; filters?: Filters }): { table: string; days: Span | undefined }[] => {
  const read: { table: string; days: Span | undefined }[] = [];
  const tableRef = (table: string, days?: Span): string => {
    read.push({ table, days });
    return `(${table})`;
  };
  CATALOGUE.cost.select({ span, timeZone: 'UTC', groupBy, filters, maxRows: 10 }, { dialect: 'duckdb', tableRef });
  return read;
};
const tablesFor = (asked: Parameters<typeof readFor>[0]): string[] => readFor(asked).map(({ table }) => table);

describe('a question about costs', () => {
  it.each([[{}], [{ groupBy: ['day', 'step'] }], [{ groupBy: ['provider'], filters: { model: ['m'], kind: [null] } }]] as Parameters<typeof readFor>[])('reads no calls for %j', (asked) => {
    expect(tablesFor(asked)).toEqual(['costs']);
  });

  it.each(CALL_GROUPS)('reads calls for their %s, none that are later than what is asked for', (name) => {
    expect(tablesFor({ groupBy: [name] })).toEqual(['costs', 'calls']);
    expect(tablesFor({ groupBy: ['day'], filters: { [name]: [null] } })).toEqual(['costs', 'calls']);
    const days = readFor({ groupBy: [name] })[1]!.days!;
    expect(days.toMs).toBeLessThanOrEqual(span.toMs + 2 * DAY_MS);
    // One that was long ago may have been analysed anew.
    expect(days.fromMs).toBeLessThan(span.fromMs - 366 * DAY_MS);
  });
});
