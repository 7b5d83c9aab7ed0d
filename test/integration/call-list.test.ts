import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type CallFilter } from '../../src/db/call-list.ts';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { inProject } from '../../src/db/scope.ts';
import { CALL_STATES, type CallDetails, type CallState } from '../../src/domain/call.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const QUEUES = ['Business Sales', 'Support', 'Sales 100%', undefined];
const AGENTS = ['Agent 1', 'Agent 2', 'agent_3', undefined];
const pick = <T>(values: readonly T[], index: number): T => values[(index * 7 + Math.floor(index / 3)) % values.length]!;

const many: (CallDetails & { state: CallState })[] = Array.from({ length: 400 }, (_, index) => ({
  source: index % 5 === 0 ? 'amocrm' : 'webex',
  callId: `call-${String((index * 37) % 400).padStart(4, '0')}`,
  status: 'completed',
  direction: 'inbound',
  // Several start in the same moment.
  startedAtMs: 1_700_000_000_000 + Math.floor(index / 3) * 60_000,
  originPhone: `+999 ${1_000_000 + (index % 90)}`,
  destinationPhone: index % 3 === 0 ? '+65 6000 0100' : '',
  ...(pick(QUEUES, index) === undefined ? {} : { queueName: pick(QUEUES, index)! }),
  ...(pick(AGENTS, index + 1) === undefined ? {} : { agentName: pick(AGENTS, index + 1)! }),
  state: pick(CALL_STATES, index + 2),
}));

/** What a list has to show, found by looking at every call. */
const expected = ({ states, source, text, startedFrom, startedTo }: Partial<CallFilter>): string[] =>
  many
    .filter((call) => !states || states.includes(call.state))
    .filter((call) => !source || call.source === source)
    .filter((call) => !startedFrom || call.startedAtMs >= startedFrom.getTime())
    .filter((call) => !startedTo || call.startedAtMs < startedTo.getTime())
    .filter((call) => {
      if (!text) return true;
      const digits = text.replaceAll(/\D/g, '');
      const numbers = [call.originPhone ?? '', call.destinationPhone ?? ''].map((phone) => phone.replaceAll(/\D/g, ''));
      return (
        [call.queueName, call.agentName].some((name) => name?.toLowerCase().includes(text.toLowerCase())) ||
        (/^[\d\s+-]{4,}$/.test(text) && numbers.some((number) => number.startsWith(digits) || number.endsWith(digits))) ||
        (text.length >= 4 && many.filter(({ callId }) => callId.startsWith(text)).length <= 200 && call.callId.startsWith(text))
      );
    })
    .toSorted((a, b) => b.startedAtMs - a.startedAtMs || (a.callId < b.callId ? 1 : -1))
    .map(({ callId }) => callId);

describe.each(['PGlite', 'PostgreSQL'])('the list of calls on %s', (kind) => {
  let db: Database;
  let calls: ReturnType<typeof createCalls>;
  beforeAll(async () => {
    db = await openDatabase(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    calls = createCalls(db);
    await db.insertInto('projects').values({ id: 'other', name: 'Other', settings: '{}' }).execute();
    for (const project of ['default', 'other']) {
      await calls.stage(project, many.map(({ state: _state, ...details }) => details), 'staged');
      for (const call of project === 'default' ? many : []) await calls.setState({ project, callId: call.callId, version: 0 }, { state: call.state });
    }
  });
  afterAll(() => db?.destroy());

  it.each<[string, Partial<CallFilter>]>([
    ['all', {}],
    ['of a state', { states: ['completed'] }],
    ['of several states', { states: ['completed', 'needs_attention', 'completed'] }],
    ['of a source', { source: 'amocrm' }],
    ['of a source that is none', { source: 'nobody' }],
    ['of a source and states', { source: 'amocrm', states: ['failed', 'staged'] }],
    ['of a time', { startedFrom: new Date(1_700_000_600_000), startedTo: new Date(1_700_003_000_000) }],
    ['of a part of a name', { text: 'SALE' }],
    ['of a name with a sign that means something to a database', { text: '100%' }],
    ['of a name with another', { text: 't_3' }],
    ['of a name and states', { text: 'agent 1', states: ['completed', 'failed'] }],
    ['of a name, a source and a time', { text: 'support', source: 'webex', startedFrom: new Date(1_700_000_600_000) }],
    ['of the beginning of a number', { text: '+999 100004' }],
    ['of the end of a number', { text: '0042' }],
    ['of a number that many calls have', { text: '+6560000100' }],
    ['of an ID', { text: 'call-0123' }],
    ['of the beginning of an ID', { text: 'call-01' }],
    ['of nothing that there is', { text: 'zzzz' }],
    ['of a hostile text', { text: `'); drop table calls; --` }],
  ])('shows those %s, newest first and page by page', async (_what, filter) => {
    const wanted = expected(filter);
    for (const limit of [7, 500]) {
      const shown: string[] = [];
      for (let after: { startedAt: Date; callId: string } | undefined; ; ) {
        const page = await inProject('default', () => calls.list({ project: 'default', ...filter }, { limit, after }));
        shown.push(...page.map(({ callId }) => callId));
        if (page.length < limit) break;
        after = page.at(-1);
      }
      expect(shown).toEqual(wanted);
    }
  });

  it('says so when a text stands for too much', async () => {
    await expect(calls.list({ project: 'default', text: 'call-' }, { limit: 10 })).rejects.toMatchObject({ code: 'QUERY_TOO_BROAD' });
  });

  it('counts by state what is there, through every change', async () => {
    const counted = (project: string) => inProject(project, () => calls.countByState(project));
    const wanted = (state: CallState): number => many.filter((call) => call.state === state).length;
    expect(await counted('default')).toEqual(Object.fromEntries(CALL_STATES.map((state) => [state, wanted(state)])));
    expect(await counted('other')).toEqual({ staged: 400 });
    await Promise.all(many.slice(0, 100).map(({ callId }) => calls.setState({ project: 'other', callId, version: 0 }, { state: 'processing' })));
    expect(await counted('other')).toEqual({ staged: 300, processing: 100 });
    await db.deleteFrom('calls').where('project', '=', 'other').where('state', '=', 'staged').execute();
    expect(await counted('other')).toEqual({ processing: 100 });
  });

  it('finds a call by the names that it has got since', async () => {
    const { state: _state, ...details } = many[0]!;
    await calls.stage('default', [{ ...details, agentName: 'Somebody Else' }], 'staged');
    expect((await calls.list({ project: 'default', text: 'body els' }, { limit: 10 })).map(({ callId }) => callId)).toEqual([details.callId]);
    await calls.stage('default', [details], 'staged');
    expect(await calls.list({ project: 'default', text: 'body els' }, { limit: 10 })).toEqual([]);
  });

  it('adds up costs as they are reserved, settled and taken back', async () => {
    const costs = createCosts(db);
    const day = new Date().toISOString().slice(0, 10);
    const pay = (content: string, how: () => Promise<never> | Promise<{ result: object; usable: boolean; provider: string; model: string; usage: { kind: 'stt'; seconds: number }; microUsd: number }>) =>
      costs.payOnce({ project: 'default', callId: many[0]!.callId, version: 1, step: 'transcription', kind: 'stt', provider: 'p', model: 'm', estimateMicroUsd: 500, content }, how).catch(() => undefined);
    await pay('a', async () => ({ result: {}, usable: true, provider: 'p', model: 'm-2', usage: { kind: 'stt', seconds: 1 }, microUsd: 300 }));
    await pay('b', async () => Promise.reject(new Error('lost')));
    await pay('c', async () => Promise.reject(Object.assign(new Error('no'), { name: 'AftercallError', code: 'RATE_LIMITED', outcome: 'refused' })));
    for (const by of ['step', 'day', 'call'] as const) {
      expect(await costs.totals('default', { by, from: day, to: day, limit: 10 })).toEqual([{ of: { step: 'transcription', day, call: many[0]!.callId }[by], requests: 2, unsettled: 1, microUsd: 800 }]);
    }
    expect(await costs.totals('default', { by: 'model', from: day, to: day, limit: 10 })).toEqual([
      { of: 'p/m', requests: 1, unsettled: 1, microUsd: 500 },
      { of: 'p/m-2', requests: 1, unsettled: 0, microUsd: 300 },
    ]);
  });
});
