import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { type CsvError, parse } from 'csv-parse';
import { isTimeZone, readTime } from '../../domain/local-time.ts';
import { VOICE_PRIORITIES, type VoiceCallRequest, type VoicePriority } from '../../domain/voice.ts';
import { MOST_BATCH_ROWS } from '../../domain/voice-batches.ts';
import { bytesOf, ENTRY_NAME, isAgentId, isWithinAYear, LONGEST_METADATA, LONGEST_VARIABLE, MOST_BYTES, MOST_ENTRIES, RESERVED_NAME } from '../voice-calls.schema.ts';
import { checkMagic, delimiterOf, HAS_NUL, NOT_TEXT, notCsv, UnreadableTable } from './table.ts';

/** A file of numbers to call, read as it comes in. */

const COLUMNS = ['to', 'from', 'agent', 'priority', 'timeZone', 'notBefore', 'notAfter'] as const;
type Column = (typeof COLUMNS)[number];
const METADATA = 'metadata.';
const MOST_COLUMNS = 60;
const LONGEST_HEADER = 64 * 1024;
const LONGEST_ROW = 20_000;
/** How many of the rows that something is wrong with are told. */
export const MOST_TOLD = 100;

export interface DialListDefaults {
  from?: string | undefined;
  agent?: string | undefined;
  priority: VoicePriority;
  /** Goes with every call that does not name its own. */
  timeZone?: string | undefined;
  /** Of times that say neither an offset nor a zone. */
  projectTimeZone: string;
  /** Numbers that the project may call from; none: any. */
  numbers?: readonly string[] | undefined;
}

/** What becomes of a number that is in the file more than once. */
export const REPEATS = ['refuse', 'skip', 'keep'] as const;
export type Repeats = (typeof REPEATS)[number];

export interface DialListProblem {
  /** Counted from 1, without the header. */
  row: number;
  /** Of the file, counted from 1. */
  line: number;
  field: string;
  problem: string;
}

export interface DialList {
  calls: { row: number; request: VoiceCallRequest }[];
  rows: number;
  /** Columns that become the agent's variables. */
  variables: string[];
  /** The first of them. */
  problems: DialListProblem[];
  problemCount: number;
  /** Rows with a number that an earlier one has: the first of them, and how many there are. */
  repeated: { row: number; firstRow: number }[];
  repeatedCount: number;
  sha256: string;
}

interface ReadOptions {
  charset: 'utf-8' | 'windows-1251';
  defaults: DialListDefaults;
  repeats: Repeats;
}

/**
 * Reads numbers to call, each with what goes with it, and checks every row: what a single call is held to holds for each.
 *
 * Row by row as the bytes come: other requests are answered in between, however long the file is.
 *
 * @throws UnreadableTable when it is no such file, or has more rows than are taken
 */
export const readDialList = async (bytes: AsyncIterable<Uint8Array>, { charset, defaults, repeats }: ReadOptions): Promise<DialList> => {
  const hash = createHash('sha256');
  const texts = textOf(bytes, { charset, hash });
  const head = await headOf(texts);
  const parser = parse({ delimiter: delimiterOf(/^[^\r\n]*/.exec(head)![0]), bom: true, info: true, skip_empty_lines: true, relax_column_count: true, max_record_size: LONGEST_ROW * 4 });
  // What goes wrong on the way in ends the parser with that error, and is seen there.
  const fed = pipeline(Readable.from(joined(head, texts)), parser).catch(() => {});

  const list: DialList = { calls: [], rows: 0, variables: [], problems: [], problemCount: 0, repeated: [], repeatedCount: 0, sha256: '' };
  const rowOf = new Map<string, number>();
  let columns: ColumnPlan | undefined;
  let line = 1;
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      const at = line;
      line = info.lines + 1;
      if (!columns) {
        columns = planOf(record);
        list.variables = columns.variables;
        continue;
      }
      list.rows += 1;
      if (list.rows > MOST_BATCH_ROWS) throw new UnreadableTable(`The file has more than ${MOST_BATCH_ROWS.toLocaleString('en')} rows, which is as many as a batch takes. Split it.`);
      const tell = (field: string, problem: string): void => {
        list.problemCount += 1;
        if (list.problems.length < MOST_TOLD) list.problems.push({ row: list.rows, line: at, field, problem });
      };
      const request = requestOf(record, { columns, defaults, tell });
      if (!request) continue;
      const firstRow = rowOf.get(request.to);
      if (firstRow === undefined) rowOf.set(request.to, list.rows);
      else {
        list.repeatedCount += 1;
        if (list.repeated.length < MOST_TOLD) list.repeated.push({ row: list.rows, firstRow });
        if (repeats === 'refuse') tell('to', `is the number of row ${firstRow}, too. Take one of them out, or say repeats=skip to call it once, repeats=keep to call it for each row.`);
        if (repeats !== 'keep') continue;
      }
      list.calls.push({ row: list.rows, request });
    }
  } catch (error) {
    throw String((error as Partial<CsvError>).code).startsWith('CSV_') ? new UnreadableTable(notCsv((error as CsvError).message)) : error;
  } finally {
    parser.destroy();
    await fed;
  }
  if (list.rows === 0) throw new UnreadableTable('The file has no rows to call, only its first line, or nothing at all.');
  return { ...list, sha256: hash.digest('hex') };
};

async function* textOf(bytes: AsyncIterable<Uint8Array>, { charset, hash }: { charset: string; hash: ReturnType<typeof createHash> }): AsyncGenerator<string> {
  const decoder = new TextDecoder(charset, { fatal: true });
  const decode = (chunk?: Uint8Array): string => {
    let text: string;
    try {
      text = chunk ? decoder.decode(chunk, { stream: true }) : decoder.decode();
    } catch {
      throw new UnreadableTable(NOT_TEXT);
    }
    if (text.includes('\0')) throw new UnreadableTable(HAS_NUL);
    return text;
  };
  let isFirst = true;
  for await (const chunk of bytes) {
    if (isFirst) checkMagic(chunk);
    isFirst = false;
    hash.update(chunk);
    yield decode(chunk);
  }
  yield decode();
}

/** As much of the text as holds its first line. */
const headOf = async (texts: AsyncGenerator<string>): Promise<string> => {
  let head = '';
  while (!/[\r\n]/.test(head)) {
    const next = await texts.next();
    if (next.done === true) return head;
    head += next.value;
    if (head.length > LONGEST_HEADER && !/[\r\n]/.test(head)) throw new UnreadableTable('The first line of the file is too long to name columns. Save the table as CSV.');
  }
  return head;
};

async function* joined(head: string, texts: AsyncGenerator<string>): AsyncGenerator<string> {
  yield head;
  yield* texts;
}

interface ColumnPlan {
  count: number;
  at: Partial<Record<Column, number>>;
  variables: string[];
  others: { index: number; name: string; metadata: boolean }[];
}

const plain = (name: string): string => name.toLowerCase().replaceAll(/[\s_-]/g, '');

const planOf = (header: readonly string[]): ColumnPlan => {
  const names = header.map((cell) => cell.trim());
  if (names.length > MOST_COLUMNS) throw new UnreadableTable(`The file has ${names.length} columns; there may be ${MOST_COLUMNS}.`);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined) throw new UnreadableTable(`The column ${JSON.stringify(twice.slice(0, 60))} is there twice.`);
  const plan: ColumnPlan = { count: names.length, at: {}, variables: [], others: [] };
  names.forEach((name, index) => {
    if ((COLUMNS as readonly string[]).includes(name)) {
      plan.at[name as Column] = index;
      return;
    }
    // Taken as a variable, it would do nothing, and nobody would notice.
    const meant = COLUMNS.find((column) => plain(column) === plain(name));
    if (meant) throw new UnreadableTable(`The column ${JSON.stringify(name)} has to be written ${meant}.`);
    const metadata = name.startsWith(METADATA);
    const bare = metadata ? name.slice(METADATA.length) : name;
    if (!ENTRY_NAME.test(bare) || RESERVED_NAME.test(bare)) {
      throw new UnreadableTable(`The column ${JSON.stringify(name.slice(0, 60))} can be no variable: its name has to be letters, digits and "_", at most 64, and must not begin with a digit or with "aftercall_". Columns that are none: ${COLUMNS.join(', ')}.`);
    }
    if (!metadata) plan.variables.push(bare);
    plan.others.push({ index, name: bare, metadata });
  });
  if (plan.at.to === undefined) throw new UnreadableTable('The first line has to name the columns, and one of them has to be "to": the number to call.');
  return plan;
};

const E164 = /^\+[1-9]\d{6,14}$/;

/** As people and spreadsheets write numbers: with spaces, brackets and dashes, with 00 for the plus sign, with an apostrophe in front. */
const numberOf = (cell: string): string | undefined => {
  const number = cell.replace(/^'/, '').replaceAll(/[\s().\-\u00A0\u2010-\u2015/]/g, '').replace(/^00/, '+');
  return E164.test(number) ? number : undefined;
};

const requestOf = (record: readonly string[], { columns, defaults, tell }: { columns: ColumnPlan; defaults: DialListDefaults; tell: (field: string, problem: string) => void }): VoiceCallRequest | undefined => {
  if (record.length !== columns.count) {
    tell('the row', `has ${record.length} cells, the first line ${columns.count}. Check its delimiters and quotes.`);
    return undefined;
  }
  let good = true;
  const wrong = (field: string, problem: string): undefined => {
    good = false;
    tell(field, problem);
  };
  const cell = (column: Column): string => (columns.at[column] === undefined ? '' : record[columns.at[column]]!.trim());
  const toNumber = (column: 'to' | 'from', fallback?: string): string => {
    const text = cell(column);
    if (text === '' && fallback !== undefined) return fallback;
    if (text === '') wrong(column, column === 'to' ? 'is missing. Fill it in.' : 'is missing. Fill it in, or say from in the address for all rows.');
    const number = numberOf(text);
    if (text !== '' && number === undefined) wrong(column, 'is no number in international notation, such as +15550100123.');
    return number ?? '';
  };

  const to = toNumber('to');
  const from = toNumber('from', defaults.from);
  if (from !== '' && defaults.numbers && defaults.numbers.length > 0 && !defaults.numbers.includes(from)) wrong('from', 'is none of the numbers that the project calls from: see the setting voiceNumbers.');
  const agent = cell('agent') || defaults.agent;
  if (to !== '' && to === from) wrong('to', 'is the number that it would be called from. Name another caller in from, or take the row out.');
  if (agent !== undefined && !isAgentId(agent)) wrong('agent', 'is no ID of an agent: letters, digits, "_" and "-", at most 100. Copy it from Retell.');
  const priority = cell('priority') === '' ? defaults.priority : VOICE_PRIORITIES.find((each) => String(each) === cell('priority'));
  if (priority === undefined) wrong('priority', 'must be a whole number from 1, which goes first, to 5.');
  const timeZone = cell('timeZone') || defaults.timeZone;
  const hasZone = timeZone === undefined || isKnownZone(timeZone);
  if (!hasZone) wrong('timeZone', 'is the name of no time zone, as Asia/Singapore is.');
  const timeIn = (column: 'notBefore' | 'notAfter'): number | undefined => {
    if (cell(column) === '' || !hasZone) return undefined;
    const time = readTime(cell(column), timeZone ?? defaults.projectTimeZone);
    if (typeof time !== 'number') return wrong(column, `${time.problem}.`);
    return isWithinAYear(time) ? time : wrong(column, 'must be within a year.');
  };
  const [notBefore, notAfter] = [timeIn('notBefore'), timeIn('notAfter')];
  if (notBefore !== undefined && notAfter !== undefined && notAfter <= notBefore) wrong('notAfter', 'must be later than notBefore.');

  const variables: Record<string, string> = {};
  const metadata: Record<string, string> = {};
  for (const { index, name, metadata: isMetadata } of columns.others) {
    const value = record[index]!.trim();
    if (value === '') continue;
    const longest = isMetadata ? LONGEST_METADATA : LONGEST_VARIABLE;
    if (value.length > longest) wrong(isMetadata ? `${METADATA}${name}` : name, `has ${value.length} characters; ${longest} are taken. Shorten it.`);
    (isMetadata ? metadata : variables)[name] = value;
  }
  for (const [field, entries] of Object.entries({ variables, metadata })) {
    const [count, bytes] = [Object.keys(entries).length, bytesOf(entries)];
    if (count > MOST_ENTRIES) wrong(field, `are ${count}; ${MOST_ENTRIES} are taken. Take columns out that are not needed, or empty their cells.`);
    if (bytes > MOST_BYTES) wrong(field, `have ${bytes} bytes together, as JSON; ${MOST_BYTES} are taken. Shorten them.`);
  }
  if (!good || priority === undefined) return undefined;
  return { from, to, ...(agent === undefined ? {} : { agent }), variables, metadata, priority, ...(notBefore === undefined ? {} : { notBeforeMs: notBefore }), ...(notAfter === undefined ? {} : { notAfterMs: notAfter }), ...(timeZone === undefined ? {} : { timeZone }) };
};

/** A file has the same few zones in all its rows. */
const zones = new Map<string, boolean>();
const MOST_ZONES = 1_000;
const isKnownZone = (name: string): boolean => {
  const known = zones.get(name);
  if (known !== undefined) return known;
  if (zones.size >= MOST_ZONES) zones.clear();
  const is = name.length <= 60 && isTimeZone(name);
  zones.set(name, is);
  return is;
};
