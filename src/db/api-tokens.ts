import { sql, type Selectable } from 'kysely';
import type { Role } from '../domain/access.ts';
import type { Database } from './database.ts';
import type { ApiTokensTable } from './schema.ts';

export interface ApiToken {
  id: string;
  project: string;
  name: string;
  role: Role;
  createdBy: string;
  createdAt: Date;
  expiresAt: Date | null;
  lastUsedAt: Date | null;
  revokedAt: Date | null;
}

/** The token that the environment gives (API_TOKEN); it has the place of any other. */
export const ENVIRONMENT_TOKEN = 'environment';

/** Machines' tokens, each for one project. */
export const createApiTokens = (db: Database) => ({
  async create(token: { id: string; project: string; name: string; role: Role; hash: string; createdBy: string; expiresAt?: Date }): Promise<ApiToken> {
    const row = await db
      .insertInto('api_tokens')
      .values({ id: token.id, project: token.project, name: token.name, role: token.role, hash: token.hash, created_by: token.createdBy, expires_at: token.expiresAt ?? null })
      .returningAll()
      .executeTakeFirstOrThrow();
    return toToken(row);
  },

  /** Brings the environment's token in line with the setting; without one it is revoked. */
  async keepEnvironmentToken(project: string, hash: string | undefined): Promise<void> {
    if (hash === undefined) {
      await db.deleteFrom('api_tokens').where('id', '=', ENVIRONMENT_TOKEN).execute();
      return;
    }
    await db
      .insertInto('api_tokens')
      .values({ id: ENVIRONMENT_TOKEN, project, name: 'API_TOKEN', role: 'project_admin', hash, created_by: 'environment' })
      .onConflict((conflict) => conflict.column('id').doUpdateSet({ hash, revoked_at: null }))
      .execute();
  },

  /** A token that may be used, by its hash. */
  async findUsable(hash: string): Promise<ApiToken | undefined> {
    const row = await db
      .updateTable('api_tokens')
      .set({ last_used_at: sql`now()` })
      .where('hash', '=', hash)
      .where('revoked_at', 'is', null)
      .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', new Date())]))
      // When it was last used is told to the minute: not every request has to write.
      .where((eb) => eb.or([eb('last_used_at', 'is', null), eb('last_used_at', '<', sql<Date>`now() - interval '1 minute'`)]))
      .returningAll()
      .executeTakeFirst();
    if (row) return toToken(row);
    const recent = await db
      .selectFrom('api_tokens')
      .selectAll()
      .where('hash', '=', hash)
      .where('revoked_at', 'is', null)
      .where((eb) => eb.or([eb('expires_at', 'is', null), eb('expires_at', '>', new Date())]))
      .executeTakeFirst();
    return recent && toToken(recent);
  },

  async list(project: string): Promise<ApiToken[]> {
    return (await db.selectFrom('api_tokens').selectAll().where('project', '=', project).orderBy('created_at').execute()).map(toToken);
  },

  async revoke(project: string, id: string): Promise<boolean> {
    const { numUpdatedRows } = await db.updateTable('api_tokens').set({ revoked_at: sql`now()` }).where('project', '=', project).where('id', '=', id).where('revoked_at', 'is', null).executeTakeFirstOrThrow();
    return numUpdatedRows > 0n;
  },
});

export type ApiTokens = ReturnType<typeof createApiTokens>;

const toToken = (row: Selectable<ApiTokensTable>): ApiToken => ({
  id: row.id,
  project: row.project,
  name: row.name,
  role: row.role,
  createdBy: row.created_by,
  createdAt: row.created_at,
  expiresAt: row.expires_at,
  lastUsedAt: row.last_used_at,
  revokedAt: row.revoked_at,
});
