import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { KeyRing } from '../crypto/key-ring.ts';
import type { Database } from './database.ts';

/** A token as it is stored, sealed under the key ring. */
export interface StoredToken {
  accessToken: string;
  refreshToken: string;
  expiresAtMs: number;
  /** Which setting it came from; another setting replaces it. */
  origin: string;
}

/** Tells one configured secret from the next without keeping it. */
export const originOf = (secret: string): string => createHash('sha256').update(secret).digest('hex');

export const createCredentials = (db: Database, keyRing: KeyRing) => ({
  async find(name: string): Promise<StoredToken | undefined> {
    const row = await db.selectFrom('credentials').select('sealed').where('name', '=', name).executeTakeFirst();
    return row?.sealed ? (JSON.parse(keyRing.openText(row.sealed, name)) as StoredToken) : undefined;
  },

  /** Drops a token, because what it belonged to is gone. */
  async forget(name: string): Promise<void> {
    await db.deleteFrom('credentials').where('name', '=', name).execute();
  },

  /**
   * Replaces a token by exactly one holder at a time, over all processes.
   *
   * `renew` runs under a row lock and sees the token as it stands then: perhaps renewed by another
   * process in the meantime, and to be returned as it is.
   */
  async renew(name: string, renew: (current: StoredToken | undefined) => Promise<StoredToken>): Promise<StoredToken> {
    // The row must be there to be locked.
    await db.insertInto('credentials').values({ name, sealed: '' }).onConflict((conflict) => conflict.doNothing()).execute();
    return db.transaction().execute(async (tx) => {
      const row = await tx.selectFrom('credentials').select('sealed').where('name', '=', name).forUpdate().executeTakeFirstOrThrow();
      const current = row.sealed ? (JSON.parse(keyRing.openText(row.sealed, name)) as StoredToken) : undefined;
      const next = await renew(current);
      if (next !== current) {
        await tx
          .updateTable('credentials')
          .set({ sealed: keyRing.sealText(JSON.stringify(next), name), expires_at: new Date(next.expiresAtMs), updated_at: sql`now()` })
          .where('name', '=', name)
          .execute();
      }
      return next;
    });
  },
});

export type Credentials = ReturnType<typeof createCredentials>;
