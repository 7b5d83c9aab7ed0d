import { randomBytes } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { KeyRing } from '../crypto/key-ring.ts';
import { AftercallError } from '../domain/errors.ts';
import type { Database } from './database.ts';
import type { HooksTable } from './schema.ts';
import { asInstallation } from './scope.ts';

/** An address at which a program hands calls in to a project. */
export interface Hook {
  id: string;
  project: string;
  name: string;
  createdBy: string;
  createdAt: Date;
  lastUsedAt: Date | null;
}

/** Ties a secret to its hook. */
export const hookContext = (id: string): string => `hook/${id}`;

/** A project needs one per program, not one per call. */
const MOST_HOOKS = 50;

export const createHooks = (db: Database, keyRing: KeyRing) => ({
  /** @returns the hook with its secret, which is not shown again */
  async create({ project, name, by }: { project: string; name: string; by: string }): Promise<Hook & { secret: string }> {
    const { count } = await db.selectFrom('hooks').select((each) => each.fn.countAll<number>().as('count')).where('project', '=', project).executeTakeFirstOrThrow();
    if (Number(count) >= MOST_HOOKS) throw new AftercallError('CONFLICT', `Project ${project} has ${count} hooks.`, { advice: 'Delete those that nobody uses.', outcome: 'refused' });
    const id = `hk_${randomBytes(18).toString('base64url')}`;
    const secret = `whsec_${randomBytes(32).toString('base64')}`;
    const row = await db.insertInto('hooks').values({ id, project, name, sealed: keyRing.sealText(secret, hookContext(id)), created_by: by }).returningAll().executeTakeFirstOrThrow();
    return { ...toHook(row), secret };
  },

  async list(project: string): Promise<Hook[]> {
    const rows = await db.selectFrom('hooks').selectAll().where('project', '=', project).orderBy('created_at').orderBy('id').execute();
    return rows.map(toHook);
  },

  async remove(project: string, id: string): Promise<void> {
    const gone = await db.deleteFrom('hooks').where('project', '=', project).where('id', '=', id).returning('id').executeTakeFirst();
    if (!gone) throw new AftercallError('NOT_FOUND', `There is no hook ${id} in project ${project}.`, { advice: 'List the hooks to see their IDs.', outcome: 'refused' });
  },

  /** A hook with its secret, whoever's it is: for events, which name nothing else. */
  async open(id: string): Promise<(Hook & { secret: string }) | undefined> {
    const row = await asInstallation(() => db.selectFrom('hooks').selectAll().where('id', '=', id).executeTakeFirst());
    return row && { ...toHook(row), secret: keyRing.openText(row.sealed, hookContext(id)) };
  },

  async used(id: string): Promise<void> {
    await asInstallation(() => db.updateTable('hooks').set({ last_used_at: sql`now()` }).where('id', '=', id).execute());
  },
});

export type Hooks = ReturnType<typeof createHooks>;

const toHook = (row: Selectable<HooksTable>): Hook => ({ id: row.id, project: row.project, name: row.name, createdBy: row.created_by, createdAt: row.created_at, lastUsedAt: row.last_used_at });
