import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createAudit } from '../../src/db/audit.ts';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { asNobody, asOwner, inProject } from '../../src/db/scope.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startPostgres({ own: true });
});
afterAll(() => postgres?.stop());

/** The database as a superuser of its own, and as an owner who may neither walk past policies nor make roles. */
const urlOf = async (kind: string): Promise<string> => {
  if (kind === 'PGlite') return 'pglite:';
  const url = new URL(await postgres.createDatabase());
  if (kind === 'PostgreSQL') return url.href;
  const admin = await openDatabase(url.href);
  await asOwner(() => sql`create role plain login password 'plain' nosuperuser nocreaterole`.execute(admin));
  await asOwner(() => sql.raw(`create database plain owner plain`).execute(admin));
  await admin.destroy();
  return Object.assign(url, { username: 'plain', password: 'plain', pathname: '/plain' }).href;
};

const details = (callId: string): CallDetails => ({ source: 'webex', callId, queueName: 'Sales', status: 'completed', direction: 'inbound', startedAtMs: 1_700_000_000_000 });

describe.each(['PGlite', 'PostgreSQL', 'PostgreSQL without special rights'])('one project’s rows on %s', (kind) => {
  let db: Database;
  beforeAll(async () => {
    db = await openDatabase(await urlOf(kind));
    await migrate(db);
    await db.insertInto('projects').values([{ id: 'a', name: 'A', settings: '{}' }, { id: 'b', name: 'B', settings: '{}' }]).execute();
    const calls = createCalls(db);
    const audit = createAudit(db);
    for (const project of ['a', 'b']) {
      await inProject(project, async () => {
        await audit.append({ project, actor: 'x', actorKind: 'user', action: 'a', target: 't', details: {}, requestId: 'r' });
        await calls.stage(project, [details(`call-of-${project}`)], 'staged');
        await calls.openVersion({ project, callId: `call-of-${project}`, version: 1 }, { from: 'recording', state: 'staged', runId: `${project}.webex.1` });
        await db.insertInto('runs').values({ id: `${project}.webex.1`, project, source: 'webex', window_from: new Date(0), window_to: new Date(1), state: 'reading' }).execute();
        await db.insertInto('run_tasks').values({ run_id: `${project}.webex.1`, call_id: `call-of-${project}`, disposition: 'new' }).execute();
        await db.insertInto('run_log').values({ run_id: `${project}.webex.1`, level: 'info', message: 'm', fields: '{}' }).execute();
        await db.insertInto('effects').values({ key: `effect-${project}`, project, call_id: `call-of-${project}`, version: 1, effect: 'e', target: 't', class: 'no_key', state: 'planned', intent: '{}' }).execute();
        await db.insertInto('messages').values({ id: `message-${project}`, project, event: 'e', notifier: 'webhook', target: 't', class: 'no_key', state: 'pending', message: '{}' }).execute();
        await db.insertInto('publications').values({ project, call_id: `call-of-${project}`, version: 1, low: true, drops: 1 }).execute();
        await db.insertInto('costs').values({ key: `cost-${project}`, project, call_id: `call-of-${project}`, version: 1, step: 'crm', kind: 'llm', provider: 'p', model: 'm', state: 'reserved' }).execute();
        await db.insertInto('bulk_rulings').values({ project, id: 'bulk', ruling: 'approve', gate: 'staging', by: 'x' }).execute();
        await db.insertInto('bulk_ruling_calls').values({ project, bulk_id: 'bulk', call_id: `call-of-${project}` }).execute();
        await db.insertInto('call_analysis').values({ project, call_id: `call-of-${project}`, version: 1, started_at: new Date(0), direction: 'inbound', sentiment: 'neutral', verdicts: '{}', patterns: [], rubric: 'r@1' }).execute();
        await db.insertInto('uploads').values({ project, key: 'k' }).execute();
        await db.insertInto('completeness_days').values({ project, source: 'webex', day: '2026-01-01', time_zone: 'UTC', from_at: new Date(0), to_at: new Date(1), state: 'running', token: 't' }).execute();
        await db.insertInto('completeness_listed').values({ project, source: 'webex', day: '2026-01-01', call_id: `call-of-${project}`, side: 'listed', status: 'completed' }).execute();
        await db.insertInto('completeness_gaps').values({ project, source: 'webex', day: '2026-01-01', call_id: `call-of-${project}`, side: 'listed', reason: 'parked' }).execute();
        await db.insertInto('presets').values({ project, id: 'p', name: 'P', version: 1, created_by: 'x' }).execute();
        await db.insertInto('preset_versions').values({ project, preset_id: 'p', version: 1, settings: '{}', created_by: 'x' }).execute();
        await db.insertInto('preset_tests').values({ project, id: '00000000-0000-4000-8000-000000000001', call_id: `call-of-${project}`, version: 1, preset_id: 'p', preset_version: 1, transcribe: false, state: 'running', created_by: 'x' }).execute();
        await db.insertInto('erasures').values({ project, id: 'erasure', kind: 'call', subject_key: 'k', subject_hash: 'h', requested_by: 'x', calls: 1 }).execute();
        await db.insertInto('erasure_calls').values({ project, erasure_id: 'erasure', call_id: 'c' }).execute();
        await db.insertInto('erased_calls').values({ project, call_hash: 'h' }).execute();
        await db.insertInto('rescores').values({ project, id: 'r', preset_id: 'p', preset_version: 1, facts: false, state: 'running', bindings: '{}', forecast: '{}', created_by: 'x' }).execute();
        await db.insertInto('rescore_calls').values({ project, rescore_id: 'r', seq: 1, call_id: `call-of-${project}`, version: 1, sampled: false, state: 'waiting' }).execute();
        await db.insertInto('spending').values({ project, day: '2026-01-01' }).execute();
        await db.insertInto('connectors').values({ project, kind: 'webex', settings: '{}', sealed: 'x', updated_by: 'x' }).execute();
        await db.insertInto('hooks').values({ id: `hook-${project}`, project, name: 'n', sealed: 'x', created_by: 'x' }).execute();
        await db.insertInto('given_calls').values({ project, call_id: `call-of-${project}` }).execute();
        await db.insertInto('inbox').values({ project, source: 'webex', event_id: 'e', type: 't', body: '{}' }).execute();
        await db.insertInto('reviews').values({ project, call_id: `call-of-${project}`, version: 1, revision: 1, analysis_version: 1, kind: 'undo', act: '{}', undoes: 1, stamps: '{}', by_name: 'x', by_kind: 'user' }).execute();
        await db.insertInto('question_standings').values({ project, rubric: 'r@1', criterion: 'c', agreement: '{}' }).execute();
        await db.insertInto('warehouse_sinks').values({ project, sink: 'files' }).execute();
        await db.insertInto('warehouse_files').values({ project, key: `warehouse/calls/dt=2026-01-01/${project}.json`, form: 'json', name: 'calls', dt: '2026-01-01', load_id: 1 }).execute();
        await db.insertInto('review_publications').values({ project, call_id: `call-of-${project}`, state: 'done' }).execute();
        await db.insertInto('tracking_events').values({ project, id: 'e', name: 'Call started', subject: 'vc_1', schema_version: 1, occurred_at: new Date(0), properties: '{}' }).execute();
        await db.insertInto('voice_calls').values({ project, id: 'vc', state: 'queued', priority: 3, from_number: '+15550100', to_number: '+15550101', request: '{}', requested_by: 'x' }).execute();
        await db.insertInto('voice_lines').values({ project }).execute();
        await db.insertInto('voice_batches').values({ project, id: 'vb', name: 'n', state: 'running', priority: 3, rows: 1, sha256: 'x', requested_by: 'x' }).execute();
        await db.insertInto('api_tokens').values({ id: `token-${project}`, project, name: 'n', role: 'project_viewer', hash: project, created_by: 'x' }).execute();
      });
    }
    const { id } = await db.insertInto('users').values({ email: 'u@example.org', name: 'U', password_hash: 'x' }).returning('id').executeTakeFirstOrThrow();
    await db.insertInto('memberships').values([{ project: 'a', user_id: id, role: 'project_viewer' }, { project: 'b', user_id: id, role: 'project_viewer' }]).execute();
  });
  afterAll(() => db?.destroy());

  /** Tables that hold what belongs to projects: those with such a column, and those that say it by a run. */
  const tables = async (): Promise<string[]> => {
    const { rows } = await sql<{ name: string }>`select table_name as name from information_schema.columns where table_schema = current_schema() and (column_name = 'project' or column_name = 'run_id') union select 'projects'`.execute(db);
    return rows.map(({ name }) => name).toSorted();
  };

  it('are guarded in every table that has any', async () => {
    const { rows } = await sql<{ name: string }>`select relname as name from pg_class where relkind = 'r' and relnamespace = current_schema()::regnamespace and relrowsecurity and relforcerowsecurity`.execute(db);
    expect(rows.map(({ name }) => name).toSorted()).toEqual(await tables());
  });

  it('are all that a query without a where sees', async () => {
    for (const table of await tables()) {
      const rowsIn = async (): Promise<string> => JSON.stringify((await sql.raw(`select * from ${table}`).execute(db)).rows);
      const [ofA, ofNobody, all] = [await inProject('a', rowsIn), await asNobody(rowsIn), await rowsIn()];
      expect([table, ofNobody]).toEqual([table, '[]']);
      expect([table, /"(id|project)":"a"|"a\.webex\.1"/.test(ofA), /"b"|"b\.webex\.1"|-of-b|-b"/.test(ofA)]).toEqual([table, true, false]);
      expect([table, /"b"|"b\.webex\.1"|-b"/.test(all)]).toEqual([table, true]);
    }
  });

  it('cannot be written or changed for another project', async () => {
    await expect(inProject('a', () => db.insertInto('runs').values({ id: 'b.webex.2', project: 'b', source: 'webex', window_from: new Date(0), window_to: new Date(1), state: 'reading' }).execute())).rejects.toThrow(/row-level security/);
    await expect(inProject('a', () => db.insertInto('run_tasks').values({ run_id: 'b.webex.1', call_id: 'x', disposition: 'new' }).execute())).rejects.toThrow(/row-level security/);
    const { numUpdatedRows } = await inProject('a', () => db.updateTable('calls').set({ state: 'failed' }).executeTakeFirst());
    expect(numUpdatedRows).toBe(1n);
    expect(await db.selectFrom('calls').select(['project', 'state']).orderBy('project').execute()).toEqual([{ project: 'a', state: 'failed' }, { project: 'b', state: 'staged' }]);
    const { numDeletedRows } = await inProject('a', () => db.deleteFrom('effects').executeTakeFirst());
    expect(numDeletedRows).toBe(1n);
    await expect(inProject('a', () => db.updateTable('calls').set({ project: 'b' }).execute())).rejects.toThrow(/row-level security/);
  });

  it('keep apart when requests of two projects share connections', async () => {
    const seen = await Promise.all(
      Array.from({ length: 60 }, (_, index) => {
        const project = index % 2 === 0 ? 'a' : 'b';
        return inProject(project, async () => {
          const inTransaction = index % 3 === 0;
          const read = (on: Database) => on.selectFrom('calls').select('project').execute();
          return [project, ...(inTransaction ? await db.transaction().execute((tx) => read(tx as never)) : await read(db)).map((row) => row.project)];
        });
      }),
    );
    for (const [asked, ...got] of seen) expect(got).toEqual([asked]);
  });

  it('are hidden from whoever forgets the project in SQL of their own', async () => {
    const { rows } = await inProject('a', () => sql<{ count: number }>`select count(*)::int as count from calls c join call_versions v on v.call_id = c.call_id`.execute(db));
    expect(rows).toEqual([{ count: 1 }]);
    // The role cannot be shaken off by a query that a repository would send.
    const { rows: who } = await inProject('a', () => sql<{ above: boolean }>`select rolsuper or rolbypassrls as above from pg_roles where rolname = current_user`.execute(db));
    expect(who).toEqual([{ above: false }]);
  });
});
