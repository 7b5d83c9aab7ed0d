import { sql } from 'kysely';
import type { Database } from './database.ts';
import type { SessionsTable } from './schema.ts';

export type EndReason = NonNullable<SessionsTable['ended_why']>;

/** What became of a refresh token. */
export type Rotation =
  | { state: 'rotated'; sessionId: string; userId: string }
  /** Used before: somebody else has it. The whole session has been ended. */
  | { state: 'reused'; sessionId: string; userId: string }
  | { state: 'unknown' };

/** Sessions and their refresh tokens, each good for one use. */
export const createSessions = (db: Database) => {
  const end = (sessionId: string, why: EndReason) => db.updateTable('sessions').set({ ended_at: sql`now()`, ended_why: why }).where('id', '=', sessionId).where('ended_at', 'is', null);

  return {
    async open(userId: string, { tokenHash, expiresAt }: { tokenHash: string; expiresAt: Date }): Promise<string> {
      return db.transaction().execute(async (tx) => {
        const { id } = await tx.insertInto('sessions').values({ user_id: userId }).returning('id').executeTakeFirstOrThrow();
        await tx.insertInto('refresh_tokens').values({ hash: tokenHash, session_id: id, expires_at: expiresAt }).execute();
        return id;
      });
    },

    /** Takes a refresh token for another one. Of two who try at once, one is a thief: both lose the session. */
    async rotate(tokenHash: string, next: { tokenHash: string; expiresAt: Date }): Promise<Rotation> {
      return db.transaction().execute(async (tx) => {
        const token = await tx
          .selectFrom('refresh_tokens')
          .innerJoin('sessions', 'sessions.id', 'refresh_tokens.session_id')
          .select(['refresh_tokens.session_id', 'refresh_tokens.used_at', 'refresh_tokens.expires_at', 'sessions.user_id', 'sessions.ended_at'])
          .where('refresh_tokens.hash', '=', tokenHash)
          .forUpdate()
          .executeTakeFirst();
        if (!token || token.ended_at || token.expires_at < new Date()) return { state: 'unknown' as const };
        const { session_id: sessionId, user_id: userId } = token;
        if (token.used_at) {
          await tx.updateTable('sessions').set({ ended_at: sql`now()`, ended_why: 'token_reused' }).where('id', '=', sessionId).execute();
          return { state: 'reused' as const, sessionId, userId };
        }
        await tx.updateTable('refresh_tokens').set({ used_at: sql`now()` }).where('hash', '=', tokenHash).execute();
        await tx.insertInto('refresh_tokens').values({ hash: next.tokenHash, session_id: sessionId, expires_at: next.expiresAt }).execute();
        await tx.updateTable('sessions').set({ last_used_at: sql`now()` }).where('id', '=', sessionId).execute();
        return { state: 'rotated' as const, sessionId, userId };
      });
    },

    /** Whether a session of an account that is not disabled goes on. */
    async isOpen(sessionId: string, userId: string): Promise<boolean> {
      const row = await db
        .selectFrom('sessions')
        .innerJoin('users', 'users.id', 'sessions.user_id')
        .select('sessions.id')
        .where('sessions.id', '=', sessionId)
        .where('sessions.user_id', '=', userId)
        .where('sessions.ended_at', 'is', null)
        .where('users.disabled_at', 'is', null)
        .executeTakeFirst();
      return row !== undefined;
    },

    async end(sessionId: string, why: EndReason): Promise<void> {
      await end(sessionId, why).execute();
    },

    async endAllOf(userId: string, why: EndReason, { except }: { except?: string } = {}): Promise<void> {
      let query = db.updateTable('sessions').set({ ended_at: sql`now()`, ended_why: why }).where('user_id', '=', userId).where('ended_at', 'is', null);
      if (except) query = query.where('id', '<>', except);
      await query.execute();
    },

    /** Drops what nobody can use any more. */
    async sweep(): Promise<void> {
      await db.deleteFrom('refresh_tokens').where('expires_at', '<', new Date()).execute();
      await db.deleteFrom('sessions').where((eb) => eb.not(eb.exists(eb.selectFrom('refresh_tokens').select('hash').whereRef('refresh_tokens.session_id', '=', 'sessions.id')))).execute();
    },
  };
};

export type Sessions = ReturnType<typeof createSessions>;
