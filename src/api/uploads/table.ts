import { type CsvError, parse } from 'csv-parse/sync';
import type { z } from 'zod';
import { givenCallSchema, type ReadCall } from '../given-call.schema.ts';

/** Files of calls, as people upload them: CSV, JSON, or JSON with one call a line. */

export const MOST_ROWS = 10_000;
const MOST_COLUMNS = 40;
const LONGEST_CELL = 1_000_000;
/** Of each report. Whoever has more than these begins with these. */
const MOST_PROBLEMS = 1_000;

export const FORMATS = ['csv', 'json', 'ndjson'] as const;
export type TableFormat = (typeof FORMATS)[number];

/** What is wrong at a line of the file (in JSON, at a call), counted from 1. */
export interface RowProblem {
  line: number;
  field: string;
  /** What is wrong, and what to do about it. */
  problem: string;
}

export interface ReadTable {
  calls: ReadCall[];
  rows: number;
  problems: RowProblem[];
  /** Problems beyond those that are listed. */
  more: number;
}

/** The file as a whole cannot be read. */
export class UnreadableTable extends Error {}

interface Row {
  line: number;
  values: unknown;
}

/**
 * Reads a file of calls and checks every row of it.
 *
 * @throws UnreadableTable when there are no rows to check: another kind of file, another encoding, too many rows
 */
export const readTable = (bytes: Uint8Array, { format, charset = 'utf-8', timeZone }: { format: TableFormat; charset?: 'utf-8' | 'windows-1251'; timeZone?: string | undefined }): ReadTable => {
  const text = textOf(bytes, charset);
  const { rows, problems } = format === 'csv' ? rowsOfCsv(text) : { rows: format === 'json' ? rowsOfJson(text) : rowsOfNdjson(text), problems: [] };
  if (rows.length === 0 && problems.length === 0) throw new UnreadableTable('The file has no calls in it.');
  if (rows.length > MOST_ROWS) throw new UnreadableTable(`The file has ${rows.length} calls; ${MOST_ROWS} are taken at once. Split it.`);

  const schema = givenCallSchema(timeZone);
  const calls: ReadCall[] = [];
  const lineOf = new Map<string, number>();
  for (const { line, values } of rows) {
    const read = schema.safeParse(values);
    if (!read.success) {
      problems.push(...read.error.issues.map((issue) => ({ line, ...told(issue, values) })));
      continue;
    }
    const before = lineOf.get(read.data.id);
    if (before !== undefined) problems.push({ line, field: 'id', problem: `is the same as at line ${before}: each call may be named once. Take one of them out.` });
    lineOf.set(read.data.id, before ?? line);
    calls.push(read.data);
  }
  return { calls, rows: rows.length, problems: problems.slice(0, MOST_PROBLEMS), more: Math.max(0, problems.length - MOST_PROBLEMS) };
};

const told = ({ path, code, message, ...issue }: z.core.$ZodIssue, values: unknown): Omit<RowProblem, 'line'> => {
  if (code === 'unrecognized_keys' && 'keys' in issue) {
    const where = path.length > 0 ? `${path.join('.')}.` : '';
    return { field: `${where}${issue.keys.join(', ')}`.slice(0, 200), problem: 'is no field of a call. Take it out, or see the documentation for the names.' };
  }
  const field = path.join('.').slice(0, 200) || 'the call';
  const isMissing = code === 'invalid_type' && path.reduce<unknown>((at, key) => (at as Record<PropertyKey, unknown> | undefined)?.[key], values) === undefined;
  return { field, problem: isMissing ? 'is missing. Fill it in.' : `${message}.` };
};

const MAGIC: [what: string, bytes: number[]][] = [
  ['a ZIP archive or an Excel workbook: upload the table itself, saved as CSV', [0x50, 0x4b]],
  ['compressed with gzip: upload it unpacked', [0x1f, 0x8b]],
  ['an old Excel workbook: save it as CSV', [0xd0, 0xcf, 0x11, 0xe0]],
  ['text in UTF-16: save it as UTF-8', [0xff, 0xfe]],
  ['text in UTF-16: save it as UTF-8', [0xfe, 0xff]],
  ['a PDF', [0x25, 0x50, 0x44, 0x46]],
];

/** @throws UnreadableTable for what begins like a file of another kind */
export const checkMagic = (bytes: Uint8Array): void => {
  const magic = MAGIC.find(([, start]) => start.every((byte, index) => bytes[index] === byte));
  if (magic) throw new UnreadableTable(`The file is ${magic[0]}.`);
};

export const NOT_TEXT = 'The file is not text in UTF-8. Save it as UTF-8; if it is in Windows-1251, say so: "Content-Type: text/csv; charset=windows-1251".';
export const HAS_NUL = 'The file has NUL characters in it: it is no text, or in UTF-16. Save it as UTF-8.';
export const notCsv = (message: string): string => `The file cannot be read as CSV: ${message.slice(0, 300)}. Put cells that hold quotes, delimiters or line ends into quotes, and double the quotes in them.`;
/** Where a comma is the decimal sign, spreadsheets put semicolons between cells. */
export const delimiterOf = (header: string): string => [',', ';', '\t'].toSorted((a, b) => header.split(b).length - header.split(a).length)[0]!;

const textOf = (bytes: Uint8Array, charset: string): string => {
  checkMagic(bytes);
  let text: string;
  try {
    // A byte order mark is left out by the decoder.
    text = new TextDecoder(charset, { fatal: true }).decode(bytes);
  } catch {
    throw new UnreadableTable(NOT_TEXT);
  }
  if (text.includes('\0')) throw new UnreadableTable(HAS_NUL);
  return text;
};

/** Columns of a CSV file that are not a call's fields by name. */
const COLUMNS = ['id', 'direction', 'startedAt', 'endedAt', 'status', 'from', 'to', 'agent', 'queue', 'cardKind', 'cardId', 'recordingUrl', 'transcript'];

const rowsOfCsv = (text: string): { rows: Row[]; problems: RowProblem[] } => {
  const header = /^[^\r\n]*/.exec(text)![0];
  const delimiter = delimiterOf(header);
  let records: { record: string[]; info: { lines: number } }[];
  try {
    records = parse(text, { delimiter, bom: true, info: true, skip_empty_lines: true, relax_column_count: true, max_record_size: LONGEST_CELL + 10_000, to: MOST_ROWS + 2 }) as unknown as typeof records;
  } catch (error) {
    throw new UnreadableTable(notCsv((error as CsvError).message));
  }
  const [first, ...rest] = records;
  const names = (first?.record ?? []).map((cell) => cell.trim());
  if (names.length > MOST_COLUMNS) throw new UnreadableTable(`The file has ${names.length} columns; a call has at most ${COLUMNS.length}: ${COLUMNS.join(', ')}.`);
  const unknown = names.filter((name) => !COLUMNS.includes(name));
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (unknown.length > 0) throw new UnreadableTable(`The first line has to name the columns, and ${unknown.map((name) => JSON.stringify(name.slice(0, 60))).join(', ')} is none. There are: ${COLUMNS.join(', ')}.`);
  if (twice !== undefined) throw new UnreadableTable(`The column ${twice} is there twice.`);

  const problems: RowProblem[] = [];
  const rows: Row[] = [];
  let line = (first?.info.lines ?? 0) + 1;
  for (const { record, info } of rest) {
    const at = line;
    line = info.lines + 1;
    if (record.length !== names.length) {
      problems.push({ line: at, field: 'the row', problem: `has ${record.length} cells, the first line ${names.length}. Check its delimiters and quotes.` });
      continue;
    }
    const cells = new Map(names.map((name, index) => [name, record[index]!.trim()] as const).filter(([, cell]) => cell !== ''));
    const value = valueOf(cells);
    if ('problem' in value) problems.push({ line: at, ...value });
    else rows.push({ line: at, values: value.call });
  }
  return { rows, problems };
};

/** A row as a call: its card in two cells, its transcript as JSON in one. */
const valueOf = (cells: Map<string, string>): { call: Record<string, unknown> } | { field: string; problem: string } => {
  const { cardKind, cardId, transcript, ...call } = Object.fromEntries(cells);
  if (transcript === undefined) return { call: withCard(call, cardKind, cardId) };
  try {
    return { call: { ...withCard(call, cardKind, cardId), transcript: JSON.parse(transcript) as unknown } };
  } catch {
    return { field: 'transcript', problem: 'is not JSON. It has to look like {"turns":[{"speaker":"agent","start":0,"end":2.5,"text":"…"}]}.' };
  }
};

const withCard = (call: Record<string, unknown>, kind: string | undefined, id: string | undefined): Record<string, unknown> => (kind === undefined && id === undefined ? call : { ...call, card: { kind, id } });

const rowsOfJson = (text: string): Row[] => {
  let read: unknown;
  try {
    read = JSON.parse(text);
  } catch (error) {
    throw new UnreadableTable(`The file is not JSON: ${(error as Error).message.slice(0, 200)}.`);
  }
  if (!Array.isArray(read)) throw new UnreadableTable('The file has to be a list of calls: [ … ].');
  return read.slice(0, MOST_ROWS + 1).map((values: unknown, index) => ({ line: index + 1, values }));
};

const rowsOfNdjson = (text: string): Row[] =>
  text
    .split('\n')
    .map((line, index) => ({ line: index + 1, text: line.trim() }))
    .filter((row) => row.text !== '')
    .slice(0, MOST_ROWS + 1)
    .map((row) => {
      try {
        return { line: row.line, values: JSON.parse(row.text) as unknown };
      } catch {
        throw new UnreadableTable(`Line ${row.line} is not JSON. Each line has to be one call.`);
      }
    });
