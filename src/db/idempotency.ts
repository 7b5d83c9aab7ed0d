import { sql } from 'kysely';
import { type Database, json } from './database.ts';

export interface StoredAnswer {
  status: number;
  body: object | null;
}

/** `new`: go on; `answered`: give this again; `in_progress` and `other_request`: refuse. */
export type Claim = { state: 'new' } | { state: 'answered'; answer: StoredAnswer } | { state: 'in_progress' } | { state: 'other_request' };

/** A request that was claimed and never answered, because its process died, may be sent again after this long. */
const ABANDONED = sql<Date>`now() - interval '1 minute'`;

/** Answers to requests by their Idempotency-Key. */
export const createIdempotency = (db: Database) => ({
  async claim(key: string, requestHash: string): Promise<Claim> {
    const claimed = await db
      .insertInto('idempotency_keys')
      .values({ key, request_hash: requestHash })
      .onConflict((conflict) => conflict.doNothing())
      .returning('key')
      .executeTakeFirst();
    if (claimed) return { state: 'new' };
    const row = await db.selectFrom('idempotency_keys').selectAll().where('key', '=', key).executeTakeFirst();
    // Released between our two statements.
    if (!row) return this.claim(key, requestHash);
    if (row.request_hash !== requestHash) return { state: 'other_request' };
    if (row.status !== null) return { state: 'answered', answer: { status: row.status, body: row.response } };
    const taken = await db.deleteFrom('idempotency_keys').where('key', '=', key).where('status', 'is', null).where('created_at', '<', ABANDONED).returning('key').executeTakeFirst();
    return taken ? this.claim(key, requestHash) : { state: 'in_progress' };
  },

  async answer(key: string, { status, body }: StoredAnswer): Promise<void> {
    await db.updateTable('idempotency_keys').set({ status, response: body === null ? null : json(body) }).where('key', '=', key).execute();
  },

  /** Lets the key be used again: the request failed in a way that says nothing about the next try. */
  async release(key: string): Promise<void> {
    await db.deleteFrom('idempotency_keys').where('key', '=', key).where('status', 'is', null).execute();
  },

  /** Forgets answers that nobody will ask for again: a week is longer than any client repeats itself. */
  async sweep(): Promise<void> {
    await db.deleteFrom('idempotency_keys').where('created_at', '<', sql<Date>`now() - interval '7 days'`).execute();
  },
});

export type Idempotency = ReturnType<typeof createIdempotency>;
