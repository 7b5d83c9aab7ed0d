import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createAudit } from '../../src/db/audit.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { asOwner } from '../../src/db/scope.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;

beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const entry = (target: string, project = 'default') => ({ project, actor: 'ann@example.org', actorKind: 'user' as const, action: 'calls.retry', target, details: { from: 'crm', zebra: 1, alpha: { two: 2, one: [1, { b: 2, a: 1 }] } }, requestId: 'r' });

describe.each(['PGlite', 'PostgreSQL'])('the audit log on %s', (kind) => {
  let db: Database;
  let audit: ReturnType<typeof createAudit>;
  beforeAll(async () => {
    db = await openDatabase(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    audit = createAudit(db);
  });
  afterAll(() => db?.destroy());

  it('is one chain for each project, however many write at once', async () => {
    await Promise.all(Array.from({ length: 60 }, (_, index) => audit.append(entry(`call-${index}`, index % 3 === 0 ? 'other' : 'default'))));
    expect(await audit.verify('default')).toMatchObject({ entries: 40, intact: true });
    expect(await audit.verify('other')).toMatchObject({ entries: 20, intact: true });
    expect(await audit.verify('nothing-yet')).toMatchObject({ entries: 0, intact: true });
    expect((await audit.list('default', { limit: 3 })).map(({ seq }) => seq)).toEqual([40, 39, 38]);
    expect((await audit.list('default', { limit: 3, before: 3 })).map(({ seq }) => seq)).toEqual([2, 1]);
    expect(await audit.list('default', { limit: 3, target: 'call-1' })).toEqual([expect.objectContaining({ target: 'call-1', details: entry('').details })]);
  });

  it.each(['update audit_log set actor = $$mallory$$', 'delete from audit_log where seq = 2', 'truncate audit_log'])('cannot be changed: %s', async (statement) => {
    await expect(sql.raw(statement).execute(db)).rejects.toThrow(/append-only|must be owner|permission denied/);
    await expect(asOwner(() => sql.raw(statement).execute(db))).rejects.toThrow(/append-only/);
  });

  const tampered = async (statement: string, then: () => Promise<void>): Promise<void> => {
    class Undo extends Error {}
    await asOwner(() =>
      db.transaction().execute(async (tx) => {
        await sql`alter table audit_log disable trigger append_only`.execute(tx);
        await sql.raw(statement).execute(tx);
        audit = createAudit(tx);
        await then();
        throw new Undo();
      }),
    ).catch((error: unknown) => {
      if (!(error instanceof Undo)) throw error;
    });
    audit = createAudit(db);
  };

  it.each([
    ["an actor", `update audit_log set actor = 'mallory' where project = 'default' and seq = 7`, { brokenAt: 7, why: 'it was changed' }],
    ['a detail', `update audit_log set details = details || '{"from":"recording"}' where project = 'default' and seq = 9`, { brokenAt: 9, why: 'it was changed' }],
    ['a time', `update audit_log set at = at + interval '1 second' where project = 'default' and seq = 1`, { brokenAt: 1, why: 'it was changed' }],
    ['an entry away', `delete from audit_log where project = 'default' and seq = 20`, { brokenAt: 20, why: 'entry 20 is missing' }],
    ['the last entries away', `delete from audit_log where project = 'default' and seq > 38`, { brokenAt: 39, why: 'entries are missing at the end' }],
  ])('shows when somebody past the trigger changed %s', async (_what, statement, found) => {
    await tampered(statement, async () => expect(await audit.verify('default')).toMatchObject({ intact: false, ...found }));
    expect(await audit.verify('default')).toMatchObject({ intact: true });
  });
});
