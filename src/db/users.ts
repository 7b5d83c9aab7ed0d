import type { Selectable } from 'kysely';
import type { Role } from '../domain/access.ts';
import { AftercallError } from '../domain/errors.ts';
import type { Database } from './database.ts';
import type { UsersTable } from './schema.ts';

export interface User {
  id: string;
  email: string;
  name: string;
  platformAdmin: boolean;
  createdAt: Date;
  disabledAt: Date | null;
}

export interface Member {
  userId: string;
  email: string;
  name: string;
  role: Role;
  since: Date;
}

/** Accounts and who belongs to which project. Over all projects: to be called as the installation. */
export const createUsers = (db: Database) => ({
  async create({ email, name, passwordHash, platformAdmin = false }: { email: string; name: string; passwordHash: string; platformAdmin?: boolean }): Promise<User> {
    const created = await db
      .insertInto('users')
      .values({ email: normal(email), name, password_hash: passwordHash, platform_admin: platformAdmin })
      .onConflict((conflict) => conflict.column('email').doNothing())
      .returningAll()
      .executeTakeFirst();
    if (!created) throw new AftercallError('CONFLICT', `There is an account for ${normal(email)} already.`, { advice: 'Add that person to the project instead.', outcome: 'refused' });
    return toUser(created);
  },

  /** Makes an account only if there is none at all: several processes may start at once. */
  async createFirst({ email, name, passwordHash }: { email: string; name: string; passwordHash: string }): Promise<User | undefined> {
    return db.transaction().execute(async (tx) => {
      // Held to the end of the transaction, so that two first starts make one administrator.
      await tx.selectFrom('projects').select('id').orderBy('id').limit(1).forUpdate().execute();
      if (await tx.selectFrom('users').select('id').limit(1).executeTakeFirst()) return undefined;
      return toUser(await tx.insertInto('users').values({ email: normal(email), name, password_hash: passwordHash, platform_admin: true }).returningAll().executeTakeFirstOrThrow());
    });
  },

  async find(id: string): Promise<User | undefined> {
    const row = await db.selectFrom('users').selectAll().where('id', '=', id).executeTakeFirst();
    return row && toUser(row);
  },

  /** With what is needed to check a password. */
  async findByEmail(email: string): Promise<(User & { passwordHash: string }) | undefined> {
    const row = await db.selectFrom('users').selectAll().where('email', '=', normal(email)).executeTakeFirst();
    return row && { ...toUser(row), passwordHash: row.password_hash };
  },

  async list({ limit, after }: { limit: number; after?: string }): Promise<User[]> {
    let query = db.selectFrom('users').selectAll().orderBy('email').limit(limit);
    if (after !== undefined) query = query.where('email', '>', after);
    return (await query.execute()).map(toUser);
  },

  async setPassword(id: string, passwordHash: string): Promise<void> {
    await db.updateTable('users').set({ password_hash: passwordHash }).where('id', '=', id).execute();
  },

  async setDisabled(id: string, disabled: boolean): Promise<User> {
    const row = await db.updateTable('users').set({ disabled_at: disabled ? new Date() : null }).where('id', '=', id).returningAll().executeTakeFirst();
    if (!row) throw new AftercallError('NOT_FOUND', `There is no account ${id}.`, { advice: 'List the accounts for their IDs.' });
    return toUser(row);
  },

  async rolesOf(userId: string): Promise<Map<string, Role>> {
    const rows = await db.selectFrom('memberships').select(['project', 'role']).where('user_id', '=', userId).execute();
    return new Map(rows.map(({ project, role }) => [project, role]));
  },

  async members(project: string): Promise<Member[]> {
    const rows = await db
      .selectFrom('memberships')
      .innerJoin('users', 'users.id', 'memberships.user_id')
      .select(['users.id', 'users.email', 'users.name', 'memberships.role', 'memberships.created_at'])
      .where('memberships.project', '=', project)
      .orderBy('users.email')
      .execute();
    return rows.map((row) => ({ userId: row.id, email: row.email, name: row.name, role: row.role, since: row.created_at }));
  },

  /** Adds somebody to a project, or gives another role. */
  async setMember(project: string, userId: string, role: Role): Promise<void> {
    await db
      .insertInto('memberships')
      .values({ project, user_id: userId, role })
      .onConflict((conflict) => conflict.columns(['project', 'user_id']).doUpdateSet({ role }))
      .execute();
  },

  async removeMember(project: string, userId: string): Promise<boolean> {
    const { numDeletedRows } = await db.deleteFrom('memberships').where('project', '=', project).where('user_id', '=', userId).executeTakeFirstOrThrow();
    return numDeletedRows > 0n;
  },
});

export type Users = ReturnType<typeof createUsers>;

const normal = (email: string): string => email.trim().toLowerCase();

const toUser = (row: Selectable<UsersTable>): User => ({
  id: row.id,
  email: row.email,
  name: row.name,
  platformAdmin: row.platform_admin,
  createdAt: row.created_at,
  disabledAt: row.disabled_at,
});
