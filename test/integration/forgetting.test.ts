import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createErasures, type Erasures } from '../../src/db/erasures.ts';
import { createIdempotency } from '../../src/db/idempotency.ts';
import { createMessages } from '../../src/db/messages.ts';
import { asOwner } from '../../src/db/scope.ts';
import { append } from '../../src/db/tracking.ts';
import { createVoiceCalls } from '../../src/db/voice-calls.ts';
import { trackingEvent } from '../../src/domain/tracking.ts';
import type { Evidence } from '../../src/domain/analysis.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { aTrackedCall } from '../support/tracking.ts';
import { until } from '../support/until.ts';

const WORDS = 'the heron flies at dawn';
const quote: Evidence = { quote: WORDS, speaker: 'customer', turn: 0, startMs: 0, endMs: 1 };

let postgres: TestPostgres;
let db: Database;
let erasures: Erasures;
beforeAll(async () => {
  postgres = await startPostgres();
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
  erasures = createErasures(db);
});
afterAll(async () => {
  await db?.destroy();
  await postgres?.stop();
});

/** A call with words in every place that may hold some. */
const aCallWithWords = async (callId: string, { versions = 1, startedDaysAgo = 40 } = {}): Promise<void> => {
  const calls = createCalls(db);
  await calls.stage('default', [{ source: 'webex', callId, status: 'completed', direction: 'inbound', startedAtMs: Date.UTC(2026, 0, 1) }], 'staged');
  for (let version = 1; version <= versions; version += 1) {
    await calls.openVersion({ project: 'default', callId, version }, { from: 'recording', state: 'staged' });
    await calls.keepResult({ project: 'default', callId, version }, 'transcription', { key: `${callId}/t`, turns: 1, durationMs: 1, provider: 'p', model: 'm' });
    await calls.setState({ project: 'default', callId, version }, { state: 'completed', result: 'processed' });
  }
  await sql`update call_versions set started_at = now() - make_interval(days => ${startedDaysAgo}) where call_id = ${callId} and version = 1`.execute(db);
  const common = { project: 'default', call_id: callId, version: 1 };
  const acts = [
    { kind: 'correct', criterion: 'needs', verdict: 'yes', comment: WORDS, evidence: quote },
    { kind: 'override', scorePercent: 5, comment: WORDS },
    { kind: 'swap_speakers', speakers: { agent: 'customer' }, answers: [{ criterion: 'needs', verdict: 'yes', claimed: 'yes', reason: WORDS, evidence: [quote], rejected: [{ quote: WORDS, why: 'empty' }] }] },
  ];
  for (const [index, act] of acts.entries()) {
    await db.insertInto('reviews').values({ ...common, revision: index + 1, analysis_version: 1, kind: act.kind as never, act: JSON.stringify(act), undoes: null, stamps: '{}', by_name: 'x', by_kind: 'user' }).execute();
  }
  await db.insertInto('given_calls').values({ project: 'default', call_id: callId, transcript: JSON.stringify({ turns: [WORDS] }) }).execute();
  await db.insertInto('costs').values({ ...common, key: `cost-${callId}`, step: 'analysis', kind: 'llm', provider: 'p', model: 'm', state: 'settled', result: JSON.stringify({ said: WORDS }) }).execute();
};
/** Tables that hold the words, for one call. */
const holding = async (callId: string): Promise<string[]> => {
  const { rows } = await sql<{ name: string }>`select table_name as name from information_schema.columns where table_schema = current_schema() and column_name = 'call_id'`.execute(db);
  const found: string[] = [];
  for (const { name } of rows) {
    const { rows: hits } = await sql`select 1 from ${sql.table(name)} as t where call_id = ${callId} and t::text like ${`%${WORDS}%`}`.execute(db);
    if (hits.length > 0) found.push(name);
  }
  return found.toSorted();
};

describe('words past their time', () => {
  it('are gone from every table, and what was decided stays', async () => {
    await aCallWithWords('spoken');
    expect(await holding('spoken')).toEqual(['costs', 'given_calls', 'reviews']);
    await erasures.forgetWords({ project: 'default', callId: 'spoken' }, 1, undefined);
    expect(await holding('spoken')).toEqual([]);
    const reviews = await db.selectFrom('reviews').select(['kind', 'act']).where('call_id', '=', 'spoken').orderBy('revision').execute();
    expect(reviews.map(({ act }) => act)).toMatchObject([{ kind: 'correct', verdict: 'yes' }, { kind: 'override', scorePercent: 5 }, { kind: 'swap_speakers', speakers: { agent: 'customer' }, answers: [{ verdict: 'yes' }] }]);
    // Nobody else may change one.
    await expect(db.updateTable('reviews').set({ by_name: 'y' }).where('call_id', '=', 'spoken').execute()).rejects.toThrow(/append-only/);
  });

  it('stay with a call that has a newer run, or one under way: its versions share what is stored', async () => {
    const before = new Date(Date.now() - 30 * 86_400_000);
    const due = async (): Promise<string[]> => (await erasures.versionsBefore('default', 'transcript', before, 10)).map(({ callId, version }) => `${callId} ${version}`);
    await aCallWithWords('old');
    await aCallWithWords('run-again', { versions: 2 });
    expect(await due()).toEqual(['old 1']);
    await sql`update call_versions set started_at = now() - interval '35 days' where call_id = 'run-again' and version = 2`.execute(db);
    expect((await due()).toSorted()).toEqual(['old 1', 'run-again 1', 'run-again 2']);
    await sql`update calls set ended_at = null, state = 'processing' where call_id = 'run-again'`.execute(db);
    expect(await due()).toEqual(['old 1']);
  });
});

describe('a number that a source has corrected', () => {
  it('is not kept when the erasure of its call has ended', async () => {
    const stage = (callId: string, originPhone: string) => createCalls(db).stage('default', [{ source: 'webex', callId, status: 'completed', direction: 'inbound', originPhone, startedAtMs: 0 }], 'staged');
    const numbers = async (): Promise<string[]> => (await db.selectFrom('call_terms').select('term').where('kind', '=', 'phone').orderBy('term').execute()).map(({ term }) => term);
    await stage('corrected', '+6560000001');
    await stage('corrected', '+6560000002');
    await stage('another', '+6560000003');
    expect(await numbers()).toEqual(['6560000001', '6560000002', '6560000003']);
    await erasures.open({ project: 'default', id: 'e', kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'x', callIds: ['corrected'] });
    await erasures.eraseRows({ project: 'default', callId: 'corrected' }, 'e', { erased: {}, left: {}, removedKeys: [] });
    await erasures.end('default', 'e');
    expect(await numbers()).toEqual(['6560000003']);
  });
});

describe('a message that is corrected', () => {
  const messages = () => createMessages(db);
  const add = (score: number) =>
    messages().add(
      { project: 'default', occasion: 'call.low_score/c/1', event: 'call.low_score', notifier: 'telegram', target: 't', targetKey: 't', class: 'no_key', content: { event: 'call.low_score', title: `Score ${score}`, lines: [], facts: {} } },
      { correctable: true },
    );

  it('goes out as it is now when it has not gone out yet, and again when it has', async () => {
    const { id } = await add(30);
    expect(await add(90)).toMatchObject({ id, state: 'pending', round: 1, message: { title: 'Score 90' } });
    await messages().begin('default', id);
    // What is on its way cannot be changed: whoever corrects it tries again.
    await expect(add(40)).rejects.toMatchObject({ code: 'CONFLICT', retryable: true });
    expect((await add(90)).state).toBe('sending');
    await messages().end('default', id, { state: 'delivered', outcome: 'delivered', receipt: { messageId: 1 } });
    expect(await add(40)).toMatchObject({ id, state: 'pending', round: 2, message: { title: 'Score 40' } });
  });
});

describe('an outbound call', () => {
  it('is not kept by the answers to what people did about it', async () => {
    const voiceCalls = createVoiceCalls({ db, tracking: { append } });
    const idempotency = createIdempotency(db);
    for (const voiceCallId of ['vc_gone', 'vc_stays']) {
      await voiceCalls.enqueue({ project: 'default', voiceCallId, request: { from: '+15550100', to: '+15550199', variables: { first_name: 'Ann' }, metadata: {}, priority: 3 }, requestedBy: 'a test' });
      // As cancelling, resolving, replaying and skipping answer.
      for (const body of [{ voiceCallId, to: '+15550199', variables: { first_name: 'Ann' }, callId: null }, { eventId: 'e', voiceCallId, properties: { to: '+15550199' } }]) {
        const key = `one:${voiceCallId}-${Object.keys(body).length}`;
        await idempotency.claim(key, key);
        await idempotency.answer(key, { status: 200, body });
      }
    }
    await erasures.open({ project: 'default', id: 'answers', kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'x', callIds: ['vc_gone'] });
    await erasures.eraseRows({ project: 'default', callId: 'vc_gone' }, 'answers', { erased: {}, left: {}, removedKeys: [] });
    const { rows } = await sql<{ of: string }>`select response ->> 'voiceCallId' as of from idempotency_keys where response::text like '%+15550199%' order by key`.execute(db);
    expect(rows.map(({ of }) => of)).toEqual(['vc_stays', 'vc_stays']);
    expect((await erasures.get('default', 'answers')).erased).toMatchObject({ voice_calls: 1, idempotency_keys: 2 });
  });

  describe('that somebody answered', () => {
    const key = { project: 'default' };
    const callsTable = () => createCalls(db);
    const stage = (callId: string) => callsTable().stage('default', [{ source: 'retell', callId, status: 'completed', direction: 'outbound', destinationPhone: '+15550142', startedAtMs: 0 }], 'staged');
    const answered = async (name: string): Promise<{ voiceCallId: string; providerCallId: string }> => {
      const [voiceCallId, providerCallId] = [`vc_${name}`, `call_${name}`];
      await voiceCallsTable().enqueue({ ...key, voiceCallId, request: { from: '+15550100', to: '+15550142', variables: {}, metadata: {}, priority: 3 }, requestedBy: 'a test' });
      await voiceCallsTable().applyObservation({ ...key, voiceCallId }, { by: 'dial', atMs: Date.now(), call: { providerCallId, status: 'ended', direction: 'outbound', startedAtMs: 1, endedAtMs: 2, disconnectionReason: 'user_hangup' } });
      return { voiceCallId, providerCallId };
    };
    const voiceCallsTable = () => createVoiceCalls({ db, tracking: { append } });
    const erase = (id: string, callIds: string[]) => erasures.open({ ...key, id, kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'x', callIds });
    const eraseRows = (id: string, callId: string) => erasures.eraseRows({ ...key, callId }, id, { erased: {}, left: {}, removedKeys: [] });
    const left = async (name: string): Promise<string[]> => {
      const { rows } = await sql<{ place: string }>`select 'voice_calls' as place from voice_calls where id = ${`vc_${name}`} union all select 'calls' from calls where call_id = ${`call_${name}`}
        union all select 'tracking_events' from tracking_events where subject = ${`vc_${name}`} order by 1`.execute(db);
      return [...new Set(rows.map(({ place }) => place))];
    };

    it('goes with the call that it was handed over as, by whichever name it is erased', async () => {
      for (const by of ['voiceCallId', 'providerCallId'] as const) {
        const name = `by_${by}`;
        const names = await answered(name);
        await stage(names.providerCallId);
        await voiceCallsTable().handOver({ ...key, voiceCallId: names.voiceCallId }, names.providerCallId);
        expect(await erasures.meant('default', [names[by]])).toEqual([names.providerCallId]);
        await erase(name, [names[by]]);
        expect(await erasures.pending('default', name, 10)).toEqual([names.providerCallId]);
        await eraseRows(name, names.providerCallId);
        expect([await left(name), await erasures.pending('default', name, 10), (await erasures.get('default', name)).calls]).toEqual([[], [], 1]);
        // Neither comes back.
        expect((await stage(names.providerCallId)).size).toBe(0);
        await expect(voiceCallsTable().enqueue({ ...key, voiceCallId: names.voiceCallId, request: { from: '+15550100', to: '+15550142', variables: {}, metadata: {}, priority: 3 }, requestedBy: 'a test' })).rejects.toMatchObject({ code: 'CONFLICT' });
      }
    });

    it('takes the call along that it is handed over as while it is being erased', async () => {
      const names = await answered('meanwhile');
      await erase('meanwhile', [names.voiceCallId]);
      expect(await erasures.pending('default', 'meanwhile', 10)).toEqual([names.voiceCallId]);
      // It was known under the provider's name: a hand-over finds it erased.
      expect((await stage(names.providerCallId)).size).toBe(0);

      const late = await answered('late');
      await db.updateTable('voice_calls').set({ provider_call_id: null }).where('id', '=', late.voiceCallId).execute();
      await erase('late', [late.voiceCallId]);
      await db.updateTable('voice_calls').set({ provider_call_id: late.providerCallId }).where('id', '=', late.voiceCallId).execute();
      expect((await stage(late.providerCallId)).size).toBe(1);
      await eraseRows('late', late.voiceCallId);
      expect([await left('late'), await erasures.pending('default', 'late', 10)]).toEqual([['calls'], [late.providerCallId]]);
      await eraseRows('late', late.providerCallId);
      expect([await left('late'), await erasures.pending('default', 'late', 10)]).toEqual([[], []]);
    });

    it('goes with a call that a window has taken in before it was handed over', async () => {
      const names = await answered('window');
      await stage(names.providerCallId);
      expect(await erasures.meant('default', [names.voiceCallId, names.providerCallId])).toEqual([names.providerCallId]);
      await erase('window', [names.providerCallId]);
      await eraseRows('window', names.providerCallId);
      expect(await left('window')).toEqual([]);
    });

    it('leaves no event behind that is written just then', async () => {
      const { voiceCallId } = await answered('told');
      const telling = await db.startTransaction().execute();
      await telling.selectFrom('voice_calls').select('id').where('id', '=', voiceCallId).forUpdate().execute();
      await erase('told', [voiceCallId]);
      const erasing = eraseRows('told', voiceCallId);
      await until('the erasure waits', async () => (await asOwner(() => sql<{ waits: number }>`select count(*)::int as waits from pg_stat_activity where wait_event_type = 'Lock' and query like '%voice_calls%for update%' and datname = current_database()`.execute(db))).rows[0]!.waits > 0);
      await append(telling, trackingEvent('Call completed', aTrackedCall(voiceCallId), Date.now()));
      await telling.commit().execute();
      await erasing;
      expect(await left('told')).toEqual([]);
    });
  });

  it('is found by number and by age without reading all the others', async () => {
    await sql`insert into voice_calls (project, id, state, priority, from_number, to_number, request, call_id, settled_at, requested_by)
      select 'default', 'vc_many_' || n, 'completed', 3, '+1666' || n, '+1777' || n, '{}', case when n % 5 > 0 then 'call-' || n end, timestamptz '2020-01-01' + n * interval '1 minute', 'a test' from generate_series(1, 20000) as n`.execute(db);
    await sql`analyze voice_calls`.execute(db);
    const found = (what: (erasures: Erasures) => Promise<string[]>): Promise<string[]> =>
      db.transaction().execute(async (tx) => {
        const calls = await what(createErasures(tx));
        const { rows } = await sql<{ touched: number }>`select (seq_tup_read + coalesce(idx_tup_fetch, 0))::int as touched from pg_stat_xact_user_tables where relname = 'voice_calls'`.execute(tx);
        expect(rows[0]!.touched).toBeGreaterThan(0);
        expect(rows[0]!.touched).toBeLessThanOrEqual(30);
        return calls;
      });
    expect(await found(({ callsOf }) => callsOf('default', '1666777', 10))).toEqual(['call-777']);
    expect(await found(({ voiceCallsOf }) => voiceCallsOf({ project: 'default', callId: 'call-778' }))).toEqual(['vc_many_778']);
    expect(await found(({ callsBefore }) => callsBefore('default', new Date('2020-01-01T00:12:00Z'), 10))).toEqual(['vc_many_5', 'vc_many_10']);
  });
});
