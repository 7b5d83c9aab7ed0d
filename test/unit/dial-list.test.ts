import { describe, expect, it } from '@jest/globals';
import { csvLine } from '../../src/api/csv.ts';
import { type DialList, type DialListDefaults, readDialList, type Repeats } from '../../src/api/uploads/dial-list.ts';
import { PlaceVoiceCallBody } from '../../src/api/voice-calls.schema.ts';
import { forecastEnd, progressOf } from '../../src/domain/voice-batches.ts';

const defaults: DialListDefaults = { from: '+15550199', priority: 3, projectTimeZone: 'UTC' };

async function* inPieces(bytes: Uint8Array, size: number): AsyncGenerator<Uint8Array> {
  for (let from = 0; from < bytes.length; from += size) yield bytes.subarray(from, from + size);
}

const read = (text: string | Uint8Array, { some = {}, repeats = 'refuse', charset = 'utf-8', size = 7 }: { some?: Partial<DialListDefaults>; repeats?: Repeats; charset?: 'utf-8' | 'windows-1251'; size?: number } = {}): Promise<DialList> =>
  readDialList(inPieces(typeof text === 'string' ? new TextEncoder().encode(text) : text, size), { charset, repeats, defaults: { ...defaults, ...some } });

describe('a file of numbers to call', () => {
  it('gives each number with what goes with it', async () => {
    const list = await read('to,from,agent,priority,timeZone,notBefore,first_name,metadata.campaign\r\n+15550100,+15550198,agent_a,1,Asia/Singapore,2026-11-23T09:00,Ann,autumn\r\n+15550101,,,,,,"Bo, the second",\r\n', { some: { agent: 'agent_b', priority: 4, timeZone: 'Europe/Berlin' } });
    expect(list).toMatchObject({ rows: 2, variables: ['first_name'], problems: [], problemCount: 0, repeatedCount: 0 });
    expect(list.calls).toEqual([
      { row: 1, request: { from: '+15550198', to: '+15550100', agent: 'agent_a', variables: { first_name: 'Ann' }, metadata: { campaign: 'autumn' }, priority: 1, timeZone: 'Asia/Singapore', notBeforeMs: Date.parse('2026-11-23T01:00Z') } },
      { row: 2, request: { from: '+15550199', to: '+15550101', agent: 'agent_b', variables: { first_name: 'Bo, the second' }, metadata: {}, priority: 4, timeZone: 'Europe/Berlin' } },
    ]);
  });

  it.each<[what: string, text: string, to: string[]]>([
    ['semicolons', 'to;x\n+15550100;1\n', ['+15550100']],
    ['tabs', 'to\tx\n+15550100\t1\n', ['+15550100']],
    ['one column', 'to\n+15550100\n+15550101', ['+15550100', '+15550101']],
    ['a byte order mark', '\uFEFFto\n+15550100\n', ['+15550100']],
    ['empty lines', 'to\n\n+15550100\n\n', ['+15550100']],
    ['numbers as people write them', 'to\n+1 (555) 010-0\n0015550101\n"\'+15550102"\n+65 6000 0123\n', ['+15550100', '+15550101', '+15550102', '+6560000123']],
    ['line ends in cells', 'to,note\n+15550100,"one\ntwo"\n+15550101,x\n', ['+15550100', '+15550101']],
  ])('reads %s', async (_what, text, to) => {
    for (const size of [1, 7, 1_000]) expect((await read(text, { size })).calls.map(({ request }) => request.to)).toEqual(to);
  });

  it('reads Windows-1251 where it is told to, and UTF-8 cut in the middle of a letter', async () => {
    const bytes = Buffer.concat([Buffer.from('to,name\n+15550100,'), Buffer.from([0xc0, 0xed, 0xed, 0xe0]), Buffer.from('\n')]);
    expect((await read(bytes, { charset: 'windows-1251' })).calls[0]!.request.variables).toEqual({ name: 'Анна' });
    expect((await read('to,name\n+15550100,Анна\n', { size: 1 })).calls[0]!.request.variables).toEqual({ name: 'Анна' });
  });

  it.each<[what: string, row: string, field: string, problem: RegExp]>([
    ['no number', ',,,,,', 'to', /is missing/],
    ['a number of no country', '5550100,,,,,', 'to', /international/],
    ['a number of too many digits', '+1234567890123456,,,,,', 'to', /international/],
    ['letters for a number', '+1555HELLO,,,,,', 'to', /international/],
    ['a wrong caller', '+15550100,nobody,,,,', 'from', /international/],
    ['an agent with a space', '+15550100,,an agent,,,', 'agent', /no ID/],
    ['an agent with a dot', '+15550100,,agent.a,,,', 'agent', /no ID/],
    ['a number that would call itself', '+15550199,,,,,', 'to', /called from.*Name another caller/],
    ['a time too far ahead', `+15550100,,,,,${new Date().getUTCFullYear() + 2}-01-01T10:00`, 'notBefore', /within a year/],
    ['a priority of none', '+15550100,,,6,,', 'priority', /1, which goes first, to 5/],
    ['a priority in words', '+15550100,,,high,,', 'priority', /whole number/],
    ['a zone of nowhere', '+15550100,,,,Asia/Atlantis,', 'timeZone', /no time zone/],
    ['a time that clocks skip', '+15550100,,,,Europe/Berlin,2026-03-29T02:30', 'notBefore', /skipped/],
    ['a time of no day', '+15550100,,,,,2026-02-30T10:00', 'notBefore', /no day/],
    ['too few cells', '+15550100', 'the row', /1 cells, the first line 6/],
    ['too much of a variable', `+15550100,,,,,,${'x'.repeat(2_001)}`, 'the row', /7 cells/],
  ])('tells of %s', async (_what, row, field, problem) => {
    const list = await read(`to,from,agent,priority,timeZone,notBefore\n+15550111,,,,,\n${row}\n`, { size: 4_000 });
    expect(list.problems).toEqual([{ row: 2, line: 3, field, problem: expect.stringMatching(problem) }]);
    expect(list.calls).toHaveLength(1);
  });

  it('takes until when a call is worth dialling, and tells of an end before its beginning', async () => {
    const list = await read('to,timeZone,notBefore,notAfter\n+15550100,Asia/Singapore,2026-11-23T09:00,2026-11-23T18:00\n+15550101,,2026-11-23T10:00,2026-11-23T09:00\n');
    expect(list.calls).toEqual([expect.objectContaining({ request: expect.objectContaining({ notBeforeMs: Date.parse('2026-11-23T01:00Z'), notAfterMs: Date.parse('2026-11-23T10:00Z') }) })]);
    expect(list.problems).toEqual([{ row: 2, line: 3, field: 'notAfter', problem: 'must be later than notBefore.' }]);
  });

  it('tells of a caller that nothing names, of long cells, and of everything that is wrong with a row', async () => {
    expect((await read('to\n+15550100\n', { some: { from: undefined } })).problems[0]).toMatchObject({ field: 'from', problem: expect.stringContaining('for all rows') });
    expect((await read('to,from\n+15550100,\n+15550101,+15550198\n', { some: { numbers: ['+15550199'] } })).problems).toEqual([{ row: 2, line: 3, field: 'from', problem: expect.stringContaining('voiceNumbers') }]);
    expect((await read(`to,priority,note\nx,9,${'y'.repeat(2_001)}\n`, { size: 5_000 })).problems.map(({ field }) => field)).toEqual(['to', 'priority', 'note']);
  });

  describe('holds a row to what a single call is held to', () => {
    const many = (count: number, value: string): Record<string, string> => Object.fromEntries(Array.from({ length: count }, (_, index) => [`c${index}`, value]));
    it.each<[what: string, fields: { variables?: Record<string, string>; metadata?: Record<string, string>; agent?: string; from?: string }, field: string | undefined, problem: string]>([
      ['as many variables as there may be', { variables: many(50, 'x') }, undefined, ''],
      ['a variable too many', { variables: many(51, 'x') }, 'variables', 'are 51; 50 are taken. Take columns out'],
      ['as many metadata as there may be', { metadata: many(50, 'x') }, undefined, ''],
      ['metadata too many', { metadata: many(51, 'x') }, 'metadata', 'are 51; 50 are taken. Take columns out'],
      ['long variables', { variables: many(8, 'x'.repeat(2_000)) }, undefined, ''],
      ['too much in all variables together', { variables: many(9, 'x'.repeat(1_900)) }, 'variables', 'bytes together, as JSON; 16384 are taken. Shorten'],
      ['more bytes than letters', { variables: many(9, 'я'.repeat(950)) }, 'variables', 'bytes together'],
      ['a variable too long', { variables: { note: 'x'.repeat(2_001) } }, 'note', 'has 2001 characters; 2000 are taken. Shorten'],
      ['long metadata', { metadata: { note: 'x'.repeat(500) } }, undefined, ''],
      ['metadata too long', { metadata: { note: 'x'.repeat(501) } }, 'metadata.note', 'has 501 characters; 500 are taken. Shorten'],
      ['the longest ID of an agent', { agent: 'a'.repeat(100) }, undefined, ''],
      ['an agent of too many letters', { agent: 'a'.repeat(101) }, 'agent', 'is no ID'],
      ['a caller who is called', { from: '+15550100' }, 'to', 'called from'],
    ])('%s', async (_what, { variables = {}, metadata = {}, agent = 'agent_a', from = '+15550199' }, field, problem) => {
      const body = { to: '+15550100', from, agent, variables, metadata };
      const cells: [name: string, value: string][] = [['to', body.to], ['from', from], ['agent', agent], ...Object.entries(variables), ...Object.entries(metadata).map(([name, value]): [string, string] => [`metadata.${name}`, value])];
      const list = await read([csvLine(cells.map(([name]) => name)), csvLine(cells.map(([, value]) => value))].join(''), { size: 10_000 });
      expect(list.problems).toEqual(field === undefined ? [] : [{ row: 1, line: 2, field, problem: expect.stringContaining(problem) }]);
      expect(list.calls).toHaveLength(field === undefined ? 1 : 0);
      expect(PlaceVoiceCallBody.safeParse(body).success).toBe(field === undefined);
    });
  });

  it('tells of the first hundred, and counts them all', async () => {
    const list = await read(`to\n${'nonsense\n'.repeat(250)}`, { size: 500 });
    expect([list.problems.length, list.problemCount, list.problems.at(-1)]).toEqual([100, 250, expect.objectContaining({ row: 100, line: 101 })]);
  });

  it.each<[Repeats, rows: number[], problems: number]>([
    ['refuse', [1, 3], 2],
    ['skip', [1, 3], 0],
    ['keep', [1, 2, 3, 4], 0],
  ])('has repeats of a number: %s', async (repeats, rows, problems) => {
    const list = await read('to\n+15550100\n+1 555 0100\n+15550101\n+15550100\n', { repeats });
    expect([list.calls.map(({ row }) => row), list.problemCount, list.repeatedCount, list.repeated]).toEqual([rows, problems, 2, [{ row: 2, firstRow: 1 }, { row: 4, firstRow: 1 }]]);
  });

  it.each<[what: string, text: string | Uint8Array, why: RegExp]>([
    ['nothing', '', /no rows/],
    ['a first line only', 'to\n', /no rows/],
    ['no column for the number', 'number,name\n+15550100,Ann\n', /one of them has to be "to"/],
    ['a column in other letters', 'to,Priority\n+15550100,1\n', /written priority/],
    ['a column in other words', 'to,time_zone\n+15550100,UTC\n', /written timeZone/],
    ['a column twice', 'to,to\n+15550100,+15550101\n', /twice/],
    ['a name that is a formula', 'to,=1+1\n+15550100,x\n', /can be no variable/],
    ['a name of ours', 'to,metadata.aftercall_project\n+15550100,x\n', /can be no variable/],
    ['a name of ours in other letters', 'to,metadata.Aftercall_x\n+15550100,x\n', /can be no variable/],
    ['too many columns', `to,${Array.from({ length: 60 }, (_, index) => `c${index}`).join(',')}\n`, /61 columns/],
    ['no end of a first line', 'x'.repeat(70_000), /too long/],
    ['an open quote', 'to,x\n+15550100,"open\n', /cannot be read as CSV/],
    ['a workbook', new Uint8Array([0x50, 0x4b, 3, 4, 0, 0, 0, 0]), /Excel/],
    ['another encoding', new Uint8Array([...Buffer.from('to,x\n+15550100,'), 0xc0, 0xed, 10]), /UTF-8/],
    ['NUL', 'to\n+15550100\0\n', /NUL/],
    ['a row too many', `to\n${'+15550100\n'.repeat(50_001)}`, /more than 50,000 rows/],
  ])('is none: %s', async (_what, text, why) => {
    await expect(read(text, { size: 50_000, repeats: 'skip' })).rejects.toThrow(why);
  });

  it('may have 50,000 rows, and lets other work in while they are read', async () => {
    const text = `to,name\n${Array.from({ length: 50_000 }, (_, index) => `+1555${String(index).padStart(7, '0')},Name ${index}`).join('\n')}\n`;
    let turns = 0;
    let done = false;
    const count = (): void => {
      turns += 1;
      if (!done) setImmediate(count);
    };
    setImmediate(count);
    async function* asItComes(): AsyncGenerator<Uint8Array> {
      for await (const piece of inPieces(new TextEncoder().encode(text), 64 * 1024)) {
        await new Promise((resolve) => setImmediate(resolve));
        yield piece;
      }
    }
    const list = await readDialList(asItComes(), { charset: 'utf-8', repeats: 'refuse', defaults });
    done = true;
    expect([list.calls.length, list.problemCount, list.calls.at(-1)]).toEqual([50_000, 0, expect.objectContaining({ row: 50_000 })]);
    expect(turns).toBeGreaterThan(10);
  });
});

describe('a line of CSV', () => {
  it.each<[unknown[], string]>([
    [['a', 1, true, null, undefined, ''], 'a,1,true,,,\r\n'],
    [['a,b', 'a"b', 'a\nb', ' a'], '"a,b","a""b","a\nb"," a"\r\n'],
    [['=1+1', '@x', '-x', '+x', '\tx'], "'=1+1,'@x,'-x,'+x,\"'\tx\"\r\n"],
    [['+15550100', '-5', '+1.5', '+1+2'], "+15550100,-5,+1.5,'+1+2\r\n"],
  ])('%j', (values, line) => {
    expect(csvLine(values as string[])).toBe(line);
  });
});

describe('a batch', () => {
  it('adds up', () => {
    expect(progressOf({ byState: { queued: 1, dialling: 2, dialled: 3, ongoing: 4, ended: 5, needs_attention: 6, completed: 7, not_connected: 8, cancelled: 9, failed: 10 }, byOutcome: {} })).toEqual({ queued: 1, onALine: 9, open: 11, settled: 34 });
  });

  it.each<[what: string, calls: number, perSecond: number, end: string | undefined]>([
    ['at once', 0, 1, '2026-11-21T20:00:00.000Z'],
    ['before the night', 1_800, 1, '2026-11-21T20:30:00.000Z'],
    ['after the night', 7_200, 1, '2026-11-22T09:00:00.000Z'],
    ['after two nights', 3_600 * 15, 1, '2026-11-23T09:00:00.000Z'],
    ['never', 1, 0, undefined],
    ['in years', 1_000_000_000, 1, undefined],
  ])('will be through %s', (_what, calls, perSecond, end) => {
    const endMs = forecastEnd({ nowMs: Date.parse('2026-11-21T20:00:00Z'), calls, perSecond, rules: { timeZone: 'UTC', quietHours: [{ from: '21:00', to: '08:00' }] } });
    expect(endMs === undefined ? undefined : new Date(endMs).toISOString()).toBe(end);
  });
});
