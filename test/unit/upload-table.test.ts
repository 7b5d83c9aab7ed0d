import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { readTable, type TableFormat } from '../../src/api/uploads/table.ts';
import { readTime } from '../../src/domain/local-time.ts';

const read = (text: string | Uint8Array, options: { format?: TableFormat; charset?: 'utf-8' | 'windows-1251'; timeZone?: string } = {}) => readTable(typeof text === 'string' ? Buffer.from(text) : text, { format: 'csv', ...options });
const HEADER = 'id,direction,startedAt,from,agent,queue,recordingUrl';
const GOOD = 'c-1,inbound,2026-01-02T03:04:05+08:00,+6560000101,Priya,Sales,https://records.example.org/1.wav';
const problemsOf = (row: string, header = HEADER) => read(`${header}\n${row}`).problems.map(({ line, field, problem }) => `${line} ${field} ${problem}`);

describe('a table of calls', () => {
  it('is read with its cells in quotes, over lines and behind a byte order mark', () => {
    const { calls, problems } = read(`\uFEFF${HEADER}\r\n${GOOD}\r\n"c-2",outbound,2026-01-02T03:04:05Z,,"Marcus ""M."", nights","Sales\r\nEast",\r\n`);
    expect(problems).toEqual([]);
    expect(calls).toMatchObject([
      { id: 'c-1', startedAt: Date.parse('2026-01-01T19:04:05Z'), from: '+6560000101' },
      { id: 'c-2', agent: 'Marcus "M.", nights', queue: 'Sales East' },
    ]);
  });

  it.each([[';'], ['\t']])('is read with %j between its cells', (delimiter) => {
    expect(read(`${HEADER}\n${GOOD}`.replaceAll(',', delimiter)).calls).toMatchObject([{ id: 'c-1', agent: 'Priya' }]);
  });

  it('is read in Windows-1251 where that is said, and refused with what to do where it is not', () => {
    const cyrillic = Buffer.concat([Buffer.from(`${HEADER}\nc-1,inbound,2026-01-02T03:04:05Z,,`), Buffer.from([0xcf, 0xf0, 0xe8, 0xff]), Buffer.from(',,')]);
    expect(read(cyrillic, { charset: 'windows-1251' }).calls).toMatchObject([{ agent: 'Прия' }]);
    expect(() => read(cyrillic)).toThrow(/not text in UTF-8.*charset=windows-1251/);
  });

  it('is read as JSON and as JSON lines, with transcripts', () => {
    const call = { id: 'c-1', direction: 'inbound', startedAt: '2026-01-02T03:04:05Z', transcript: { turns: [{ speaker: 'agent', start: 0, end: 1.5, text: 'Hello' }] }, card: { kind: 'lead', id: '7' } };
    for (const [format, text] of [['json', JSON.stringify([call])], ['ndjson', `${JSON.stringify(call)}\n\n`]] as const) expect(read(text, { format }).calls).toMatchObject([call].map(({ startedAt, ...rest }) => ({ ...rest, startedAt: Date.parse(startedAt) })));
    const csv = read(`id,direction,startedAt,cardKind,cardId,transcript\nc-1,inbound,2026-01-02T03:04:05Z,lead,7,"${JSON.stringify(call.transcript).replaceAll('"', '""')}"`);
    expect(csv).toMatchObject({ problems: [], calls: [{ card: { kind: 'lead', id: '7' }, transcript: call.transcript }] });
  });

  const rows: [string, string, RegExp][] = [
    ['an ID that leads out of its folder', GOOD.replace('c-1', '../c'), /^2 id must be 1 to 200 letters/],
    ['no ID', GOOD.replace('c-1', ''), /^2 id is missing\. Fill it in\.$/],
    ['another direction', GOOD.replace('inbound', 'sideways'), /^2 direction /],
    ['a time without its offset', GOOD.replace('+08:00', ''), /^2 startedAt lacks its offset from UTC.*timeZone/],
    ['a day that is none', GOOD.replace('2026-01-02', '2026-02-30'), /^2 startedAt is no day/],
    ['a time to come', GOOD.replace('2026', '2096'), /^2 startedAt must lie between the year 2000 and now/],
    ['a phone that is none', GOOD.replace('+6560000101', 'call me'), /^2 from must be a phone number/],
    ['a phone that is a formula', GOOD.replace('+6560000101', '+1+cmd|calc'), /^2 from must be a phone number/],
    ['a formula', GOOD.replace('Priya', '=HYPERLINK("http://x";"y")').replace(/=HYP.*?\)/, (cell) => `"${cell.replaceAll('"', '""')}"`), /^2 agent begins like a formula/],
    ['a formula behind a plus', GOOD.replace('Priya', '+1+1'), /^2 agent begins like a formula/],
    ['a formula behind a minus', GOOD.replace('Sales', '-2+3'), /^2 queue begins like a formula/],
    ['a formula behind an at', GOOD.replace('Priya', '@SUM(A1)'), /^2 agent begins like a formula/],
    ['a formula behind a blank and a tab', GOOD.replace('Priya', '" \t=1"'), /^2 agent begins like a formula/],
    ['a link to a file', GOOD.replace('https://records.example.org/1.wav', 'file:///etc/passwd'), /^2 recordingUrl must be an http\(s\) address/],
    ['a link with a password', GOOD.replace('https://', 'https://user:secret@'), /^2 recordingUrl must be an http\(s\) address/],
    ['a cell too many', `${GOOD},x`, /^2 the row has 8 cells, the first line 7/],
    ['a name as long as a book', GOOD.replace('Priya', 'x'.repeat(5_000)), /^2 agent /],
  ];
  it.each(rows)('says at which line there is %s', (_what, row, problem) => {
    expect(problemsOf(row)).toEqual([expect.stringMatching(problem)]);
  });

  it('is told of every row, and of the same call twice', () => {
    const { problems, rows: count } = read([HEADER, GOOD, GOOD.replace('inbound', 'x').replace('c-1', 'c-2'), GOOD, '"a\nb",inbound,x,,,,', GOOD.replace('c-1', 'c-4').replace('inbound', '')].join('\n'));
    expect(count).toBe(5);
    expect(problems.map(({ line, field }) => `${line} ${field}`)).toEqual(['3 direction', '4 id', '5 id', '5 startedAt', '7 direction']);
  });

  it('lists a thousand problems, and counts the rest', () => {
    const { problems, more } = read([HEADER, ...Array.from({ length: 1_500 }, (_, index) => `c-${index},x,2026-01-02T03:04:05Z,,,,`)].join('\n'));
    expect([problems.length, more]).toEqual([1_000, 500]);
  });

  const files: [string, string | Uint8Array, TableFormat, RegExp][] = [
    ['nothing', '', 'csv', /has no calls in it/],
    ['a header alone', HEADER, 'csv', /has no calls in it/],
    ['a column that is none', `${HEADER},password\n${GOOD},x`, 'csv', /"password" is none\. There are: id, direction/],
    ['a column twice', `${HEADER},agent\n${GOOD},x`, 'csv', /The column agent is there twice/],
    ['more columns than there can be', `${Array.from({ length: 500 }, (_, index) => `x${index}`).join(',')}\n`, 'csv', /has 500 columns/],
    ['more rows than there may be', [HEADER, ...Array.from({ length: 10_001 }, (_, index) => `c-${index},inbound,2026-01-02T03:04:05Z,,,,`)].join('\n'), 'csv', /10000 are taken at once/],
    ['a quote that does not end', `${HEADER}\n"c-1,inbound`, 'csv', /cannot be read as CSV: Quote Not Closed/],
    ['a cell as large as the file', `${HEADER}\n"${'x'.repeat(1_200_000)}"`, 'csv', /cannot be read as CSV: Max Record Size/],
    ['a ZIP archive', Buffer.from('PK\u0003\u0004aaaa'), 'csv', /ZIP archive or an Excel workbook/],
    ['what gzip made of it', gzipSync(`${HEADER}\n${GOOD}`), 'csv', /compressed with gzip: upload it unpacked/],
    ['UTF-16', Buffer.from(`\uFEFF${HEADER}\n${GOOD}`, 'utf16le'), 'csv', /UTF-16: save it as UTF-8/],
    ['UTF-16 without a mark', Buffer.from(`${HEADER}\n${GOOD}`, 'utf16le'), 'csv', /NUL characters/],
    ['no JSON', '[{', 'json', /is not JSON/],
    ['an object', '{"id":"c-1"}', 'json', /has to be a list of calls/],
    ['a list that is deep', '['.repeat(200_000), 'json', /is not JSON/],
    ['a line that is no JSON', '{}\nnope', 'ndjson', /Line 2 is not JSON/],
  ];
  it.each(files)('that is %s is refused as a whole, with what to do', (_what, file, format, message) => {
    expect(() => read(file, { format })).toThrow(message);
  });

  it('has no fields that nobody knows, and nothing that reaches beyond it', () => {
    const base = { id: 'c-1', direction: 'inbound', startedAt: '2026-01-02T03:04:05Z' };
    const json = JSON.stringify([{ ...base, project: 'other' }, { ...base, id: 'c-2', card: { kind: 'lead', id: '7', owner: 'x' } }, { ...base, id: 'c-3', transcript: { turns: [] } }]);
    expect(read(json, { format: 'json' }).problems.map(({ line, field }) => `${line} ${field}`)).toEqual(['1 project', '2 card.owner', '3 transcript.turns']);
    const poisoned = `[{"__proto__":{"polluted":1},"constructor":1,${JSON.stringify(base).slice(1)}]`;
    expect(read(poisoned, { format: 'json' }).calls.every((call) => !('polluted' in call))).toBe(true);
    expect(({} as Record<string, unknown>)['polluted']).toBeUndefined();
  });
});

describe('a time', () => {
  it.each([
    ['2026-11-20T14:03:00+08:00', undefined, '2026-11-20T06:03:00.000Z'],
    ['2026-11-20 14:03', 'Asia/Singapore', '2026-11-20T06:03:00.000Z'],
    ['2026-07-01T12:00:00.5', 'Europe/Berlin', '2026-07-01T10:00:00.500Z'],
    // Shown twice by the clocks: the first.
    ['2026-10-25T02:30:00', 'Europe/Berlin', '2026-10-25T00:30:00.000Z'],
  ])('%s in %s is %s', (text, zone, iso) => {
    expect(new Date(readTime(text, zone) as number).toISOString()).toBe(iso);
  });
  it('that clocks skip is none', () => {
    expect(readTime('2026-03-29T02:30:00', 'Europe/Berlin')).toEqual({ problem: 'is a time that clocks in Europe/Berlin skipped' });
  });
});
