import { sql } from 'kysely';
import type { Database } from './database.ts';

const WINDOW_MS = 15 * 60_000;

/** Counts failed sign-ins in windows of a quarter of an hour, over all processes. */
export const createSignInFailures = (db: Database) => {
  const windowStart = (nowMs: number): Date => new Date(Math.floor(nowMs / WINDOW_MS) * WINDOW_MS);
  return {
    /**
     * Counts one more, ahead of the check: whoever tries many at once is counted too.
     *
     * @returns how many there have been in this window, and when it ends
     */
    async count(key: string): Promise<{ failures: number; retryAfterSeconds: number }> {
      const nowMs = Date.now();
      const start = windowStart(nowMs);
      const { failures } = await db
        .insertInto('sign_in_failures')
        .values({ key, window_start: start, failures: 1 })
        .onConflict((conflict) => conflict.columns(['key', 'window_start']).doUpdateSet({ failures: sql`sign_in_failures.failures + 1` }))
        .returning('failures')
        .executeTakeFirstOrThrow();
      return { failures, retryAfterSeconds: Math.ceil((start.getTime() + WINDOW_MS - nowMs) / 1_000) };
    },

    /** The sign-in was right after all. */
    async forget(key: string): Promise<void> {
      await db.updateTable('sign_in_failures').set({ failures: sql`greatest(failures - 1, 0)` }).where('key', '=', key).where('window_start', '=', windowStart(Date.now())).execute();
    },

    async sweep(): Promise<void> {
      await db.deleteFrom('sign_in_failures').where('window_start', '<', new Date(Date.now() - 2 * WINDOW_MS)).execute();
    },
  };
};

export type SignInFailures = ReturnType<typeof createSignInFailures>;
