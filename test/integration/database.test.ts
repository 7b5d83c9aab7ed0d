import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createEffects } from '../../src/db/effects.ts';
import { createIdempotency } from '../../src/db/idempotency.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createInbox } from '../../src/db/inbox.ts';
import { createProjects } from '../../src/db/projects.ts';
import { createRuns } from '../../src/db/runs.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import { AftercallError } from '../../src/domain/errors.ts';
import { buildReport } from '../../src/domain/report.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const aCall = (callId: string, minutes = 0): CallDetails => ({
  source: 'webex',
  callId,
  status: 'completed',
  direction: 'inbound',
  originPhone: '+15550100',
  queueName: 'Sales 100%',
  startedAtMs: Date.UTC(2026, 10, 20, 10, minutes),
});

describe.each(['PGlite', 'PostgreSQL'] as const)('the database on %s', (engine) => {
  let db: Database;
  let calls: ReturnType<typeof createCalls>;
  let runs: ReturnType<typeof createRuns>;
  let costs: ReturnType<typeof createCosts>;

  beforeAll(async () => {
    db = await openDatabase(engine === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    calls = createCalls(db);
    runs = createRuns(db);
    costs = createCosts(db);
  });
  afterAll(() => db?.destroy());

  const version = (callId: string, number = 1) => ({ project: 'default', callId, version: number });

  it('migrates twice without harm', async () => {
    await migrate(db);
    await expect(createProjects(db).settings('default')).resolves.toMatchObject({ minutesBack: 10_080 });
    await expect(createProjects(db).settings('nobody')).rejects.toThrow(/no project nobody/);
  });

  it('stages a call once and tells how it stands the second time', async () => {
    expect((await calls.stage('default', [aCall('s1'), aCall('s2')], 'staged')).get('s1')).toEqual({ state: 'staged', version: 0 });
    await expect(calls.openVersion(version('s1'), { runId: 'run-a', from: 'recording', state: 'staged' })).resolves.toBe('run-a');
    await calls.setState(version('s1'), { state: 'completed', result: 'processed' });
    const again = await calls.stage('default', [aCall('s1'), aCall('s3')], 'staged');
    expect(Object.fromEntries(again)).toEqual({ s1: { state: 'completed', version: 1 }, s3: { state: 'staged', version: 0 } });
  });

  it('remembers which run a version belongs to, however often it is opened', async () => {
    await calls.stage('default', [aCall('o1')], 'staged');
    await calls.openVersion(version('o1'), { runId: 'run-a', from: 'recording', state: 'staged' });
    await expect(calls.openVersion(version('o1'), { runId: 'run-b', from: 'recording', state: 'staged' })).resolves.toBe('run-a');
  });

  it('takes over the results before the step that a new version starts from, and no others', async () => {
    await calls.stage('default', [aCall('v1')], 'staged');
    await calls.openVersion(version('v1'), { from: 'recording', state: 'staged' });
    await calls.keepResult(version('v1'), 'recording', { key: 'k', bytes: 1, sha256: 's', format: 'wav', recordingId: 'r', fileName: 'f' });
    await calls.keepResult(version('v1'), 'transcription', { key: 't', turns: 3, durationMs: 9, provider: 'p', model: 'm' });
    await calls.keepResult(version('v1'), 'metadata', { key: 'm', registered: true });
    await calls.openVersion(version('v1', 2), { from: 'analysis', state: 'staged' });
    const second = await calls.getVersion(version('v1', 2));
    expect(second.recording?.key).toBe('k');
    expect(second.transcript?.key).toBe('t');
    expect(second.metadata).toBeNull();
    expect(await calls.get({ project: 'default', callId: 'v1' })).toMatchObject({ version: 2, state: 'staged' });
    expect(await calls.listVersions({ project: 'default', callId: 'v1' })).toHaveLength(2);
  });

  it('does not let an older version speak for the call', async () => {
    await calls.setState(version('v1', 1), { state: 'failed', reason: 'zombie' });
    expect(await calls.get({ project: 'default', callId: 'v1' })).toMatchObject({ version: 2, state: 'staged', reason: null });
  });

  it('does not let a step that is still under way bring an ended call back to life', async () => {
    await calls.stage('default', [aCall('z1')], 'staged');
    await calls.openVersion(version('z1'), { from: 'recording', state: 'staged' });
    await calls.setState(version('z1'), { state: 'cancelled', reason: 'by hand' });
    await calls.beginStep(version('z1'), 'recording');
    await calls.setState(version('z1'), { state: 'waiting_for_recording', step: 'recording' });
    expect(await calls.get({ project: 'default', callId: 'z1' })).toMatchObject({ state: 'cancelled', reason: 'by hand' });
    expect(await calls.getVersion(version('z1'))).toMatchObject({ state: 'cancelled' });
  });

  it('pages through calls without gap or repeat, and searches literally', async () => {
    await calls.stage('default', Array.from({ length: 25 }, (_, at) => aCall(`p${at}`, Math.floor(at / 5))), 'staged');
    const seen: string[] = [];
    for (let after: { startedAt: Date; callId: string } | undefined; ; ) {
      const page = await calls.list({ project: 'default', text: '0%' }, { limit: 4, after });
      seen.push(...page.map((call) => call.callId));
      if (page.length < 4) break;
      after = page.at(-1)!;
    }
    expect(seen.filter((id) => id.startsWith('p'))).toHaveLength(25);
    expect(new Set(seen).size).toBe(seen.length);
    expect(await calls.list({ project: 'default', text: '_ales' }, { limit: 4 })).toEqual([]);
  });

  it('pays for the same content once, again when the answer was of no use, and nothing for a refusal', async () => {
    await calls.stage('default', [aCall('c1')], 'staged');
    const request = { ...version('c1'), step: 'analysis' as const, kind: 'llm' as const, provider: 'p', model: 'm', estimateMicroUsd: 100, content: 'q' };
    let asked = 0;
    const pay = (usable: boolean) => async () => {
      asked += 1;
      return { result: { asked }, usable, provider: 'p', model: 'm-1', usage: { kind: 'llm' as const, inputTokens: 5, cachedInputTokens: 0, outputTokens: 1 }, microUsd: 7 };
    };
    await expect(
      costs.payOnce(request, async () => {
        throw new AftercallError('RATE_LIMITED', 'busy', { advice: 'wait', outcome: 'refused' });
      }),
    ).rejects.toThrow('busy');
    expect(await costs.list('default', 'c1')).toEqual([]);
    await costs.payOnce(request, pay(false));
    await costs.payOnce(request, pay(true));
    await expect(costs.payOnce(request, pay(true))).resolves.toEqual({ asked: 2 });
    expect(asked).toBe(2);
    expect(await costs.list('default', 'c1')).toEqual([expect.objectContaining({ state: 'settled', microUsd: 7 }), expect.objectContaining({ microUsd: 7 })]);
  });

  it('leaves a reservation when the answer to a paid request never came', async () => {
    const request = { ...version('c1'), step: 'crm' as const, kind: 'llm' as const, provider: 'p', model: 'm', estimateMicroUsd: 100, content: 'lost' };
    await expect(
      costs.payOnce(request, async () => {
        throw new AftercallError('UPSTREAM_TIMEOUT', 'no answer', { advice: 'wait' });
      }),
    ).rejects.toThrow('no answer');
    expect((await costs.list('default', 'c1')).at(-1)).toMatchObject({ state: 'reserved', microUsd: 0 });
  });

  it('keeps texts with characters that PostgreSQL has no place for', async () => {
    await calls.stage('default', [{ ...aCall('x1'), queueName: 'Sa\0les \ud83d', agentName: '\udc00' }], 'staged');
    expect((await calls.get({ project: 'default', callId: 'x1' })).details.queueName).toBe('Sa\ufffdles \ufffd');
    await calls.openVersion(version('x1'), { from: 'recording', state: 'staged' });
    await calls.setState(version('x1'), { state: 'given_up', reason: 'no\0 use' });
    expect(await calls.get({ project: 'default', callId: 'x1' })).toMatchObject({ state: 'given_up', reason: 'no\ufffd use' });
  });

  it('goes on asking when an earlier one of two tries under way was refused', async () => {
    const request = { ...version('c1'), step: 'crm' as const, kind: 'llm' as const, provider: 'p', model: 'm', estimateMicroUsd: 100, content: 'twice' };
    const first = Promise.withResolvers<never>();
    const refused = costs.payOnce(request, () => first.promise);
    while ((await costs.list('default', 'c1')).filter(({ step }) => step === 'crm').length < 2) await new Promise((resolve) => setTimeout(resolve, 10));
    await expect(
      costs.payOnce(request, async () => {
        throw new AftercallError('UPSTREAM_TIMEOUT', 'no answer', { advice: 'wait' });
      }),
    ).rejects.toThrow('no answer');
    first.reject(new AftercallError('RATE_LIMITED', 'busy', { advice: 'wait', outcome: 'refused' }));
    await expect(refused).rejects.toThrow('busy');
    const paid = { result: { said: 'yes' }, usable: true, provider: 'p', model: 'm', usage: { kind: 'llm' as const, inputTokens: 1, cachedInputTokens: 0, outputTokens: 1 }, microUsd: 1 };
    await expect(costs.payOnce(request, async () => paid)).resolves.toEqual({ said: 'yes' });
  });

  it('goes on with a job that was noted, under the row it was reserved by, until it is answered or refused', async () => {
    const request = { ...version('c1'), step: 'transcription' as const, kind: 'diarization' as const, provider: 'p', model: 'm', estimateMicroUsd: 100, content: 'job' };
    const rows = async () => (await costs.list('default', 'c1')).filter(({ kind }) => kind === 'diarization').map(({ state, requestId, microUsd }) => [state, requestId, microUsd]);
    const attempt = (outcome: 'refused' | 'unknown', noted?: string) =>
      costs.payOnce(request, async ({ known, note }) => {
        if (noted) await note(noted);
        throw new AftercallError('UPSTREAM_TIMEOUT', `known: ${known ?? 'nothing'}`, { advice: 'wait', outcome });
      });
    await expect(attempt('unknown', 'upload:1')).rejects.toThrow('known: nothing');
    await expect(attempt('unknown', 'job:1')).rejects.toThrow('known: upload:1');
    await expect(attempt('unknown')).rejects.toThrow('known: job:1');
    expect(await rows()).toEqual([['reserved', 'job:1', 0]]);
    // The job itself failed: nothing is owed, and the next try has nothing to go on with.
    await expect(attempt('refused')).rejects.toThrow('known: job:1');
    expect(await rows()).toEqual([]);
    await expect(attempt('unknown', 'job:2')).rejects.toThrow('known: nothing');
    const pay = async ({ known }: { known?: string }) => ({ result: { known }, usable: true, provider: 'p', model: 'm', usage: { kind: 'diarization' as const, seconds: 20 }, microUsd: 9, requestId: known });
    await expect(costs.payOnce(request, pay)).resolves.toEqual({ known: 'job:2' });
    await expect(costs.payOnce(request, () => Promise.reject(new Error('asked again')))).resolves.toEqual({ known: 'job:2' });
    expect(await rows()).toEqual([['settled', 'job:2', 9]]);
  });

  it('drops answers, events and sessions that nobody needs any more, and no others', async () => {
    const idempotency = createIdempotency(db);
    const inbox = createInbox(db, createKeyRing(`k1:${Buffer.alloc(32, 7).toString('base64')}`));
    for (const key of ['kept', 'old']) {
      await idempotency.claim(key, 'hash');
      await inbox.receive({ project: 'default', source: 'webex', eventId: key, type: 't', body: {} });
    }
    await inbox.receive({ project: 'default', source: 'webex', eventId: 'undelivered', type: 't', body: {} });
    for (const eventId of ['kept', 'old']) await inbox.delivered({ project: 'default', source: 'webex', eventId });
    await sql`update idempotency_keys set created_at = now() - interval '8 days' where key = 'old'`.execute(db);
    await sql`update inbox set delivered_at = now() - interval '31 days' where event_id = 'old'`.execute(db);
    await sql`update inbox set received_at = now() - interval '31 days' where event_id = 'undelivered'`.execute(db);
    await Promise.all([idempotency.sweep(), inbox.sweep()]);
    expect((await db.selectFrom('idempotency_keys').select('key').orderBy('key').execute()).map(({ key }) => key)).toEqual(['kept']);
    expect((await db.selectFrom('inbox').select('event_id').orderBy('event_id').execute()).map((row) => row.event_id)).toEqual(['kept', 'undelivered']);
    await sql`delete from inbox`.execute(db);
  });

  it('plans an effect once across versions and keeps its receipt', async () => {
    const effects = createEffects(db);
    const effect = { ...version('c1'), effect: 'create_lead', target: 'salesforce', class: 'upsert_by_key' as const };
    expect(await effects.plan(effect, { company: 'a' })).toMatchObject({ state: 'planned' });
    await effects.done(effect, { id: '00Q' });
    expect(await effects.plan({ ...effect, version: 2 }, { company: 'b' })).toMatchObject({ state: 'done', receipt: { id: '00Q' }, intent: { company: 'a' } });
  });

  it('holds an act that cannot be told from its repeat for unknown when it is planned again, and lets a person settle it', async () => {
    const effects = createEffects(db);
    const effect = { ...version('c1'), effect: 'track', target: 'beacon', class: 'no_key' as const };
    const { key, state } = await effects.plan(effect, {});
    expect(state).toBe('planned');
    expect(await effects.plan(effect, {})).toMatchObject({ state: 'unknown' });
    await effects.settle('default', 'c1', key, 'ann');
    expect(await effects.plan(effect, {})).toMatchObject({ state: 'done', receipt: { settledBy: 'ann' } });
    await expect(effects.settle('default', 'c1', key, 'bob')).rejects.toMatchObject({ code: 'CONFLICT' });
    await expect(effects.settle('other', 'c1', key, 'bob')).rejects.toMatchObject({ code: 'NOT_FOUND' });
    // What was carried out to its end is done, however often it is planned.
    const done = { ...effect, target: 'another beacon' };
    await effects.plan(done, {});
    await effects.done(done, {});
    expect(await effects.plan(done, {})).toMatchObject({ state: 'done' });
  });

  it('counts a run from its records, and the report adds up', async () => {
    await runs.open({ id: 'run-r', project: 'default', source: 'webex', windowFrom: new Date(0), windowTo: new Date(1) });
    await calls.stage('default', ['r1', 'r2', 'r3'].map((id) => aCall(id)), 'staged');
    for (const id of ['r1', 'r2', 'r3']) await calls.openVersion(version(id), { runId: 'run-r', from: 'recording', state: 'staged' });
    await runs.noteTasks('run-r', [{ callId: 'r1', disposition: 'new' }, { callId: 'r2', disposition: 'new' }, { callId: 'old', disposition: 'skipped' }], 1);
    // The page is read again after a crash: what was new stays new.
    await runs.noteTasks('run-r', [{ callId: 'r1', disposition: 'skipped' }, { callId: 'r3', disposition: 'new' }], 1);
    expect(await runs.countUnsettled('run-r')).toBe(3);
    await calls.setState(version('r1'), { state: 'completed', result: 'processed' });
    await calls.setState(version('r2'), { state: 'given_up', reason: 'x' });
    await calls.keepResult(version('r1'), 'crm', { scenario: 'good_lead', action: 'create_lead', reasons: [], records: {} });
    await calls.keepResult(version('r2'), 'crm', { scenario: 'consumer_redirect', action: 'none', reasons: [], records: {} });
    const report = buildReport(
      { runId: 'run-r', project: 'default', source: 'webex', windowFrom: '', windowTo: '', startedAt: '', finishedAt: new Date().toISOString() },
      await runs.count('run-r'),
      { unavailable: 'not asked' },
    );
    expect(report).toMatchObject({
      tasksFound: 4,
      newTasks: 3,
      skippedAlreadyProcessed: 1,
      processedSuccessfully: 1,
      failed: 1,
      inProgress: 1,
      crm: { leadsCreated: 1, crmSkipped: { consumer_redirect: 1 } },
    });
    await runs.log('run-r', 'info', 'hello', { a: 1 });
    expect(await runs.readLog('run-r', { limit: 5 })).toEqual([expect.objectContaining({ message: 'hello', fields: { a: 1 } })]);
    await runs.complete('run-r', { report, reportKey: 'k', logKey: 'l' });
    expect((await runs.get('default', 'run-r')).report).toEqual(report);
    expect((await runs.list('default', { limit: 5 })).map((run) => run.id)).toEqual(['run-r']);
  });
});

describe('a PostgreSQL that goes away', () => {
  it('fails what is under way, and nothing else', async () => {
    const own = await startPostgres({ own: true });
    const db = await openDatabase(own.url);
    const begun = Promise.withResolvers<void>();
    const stopped = Promise.withResolvers<void>();
    const work = db.transaction().execute(async (tx) => {
      await sql`select 1`.execute(tx);
      begun.resolve();
      await stopped.promise;
      // What the process does meanwhile, as a request to the source, ends after the connection did.
      await new Promise((resolve) => setTimeout(resolve, 200));
      await sql`select 1`.execute(tx);
    });
    const query = begun.promise.then(() => sql`select pg_sleep(60)`.execute(db));
    const failed = Promise.allSettled([work, query]);
    await begun.promise;
    await new Promise((resolve) => setTimeout(resolve, 300));
    await own.stop();
    stopped.resolve();
    expect((await failed).map(({ status }) => status)).toEqual(['rejected', 'rejected']);
    await db.destroy();
  });
});
