import { sql, type Transaction } from 'kysely';
import type { CallKey } from '../domain/call.ts';
import { type Database, json } from './database.ts';
import type { ReviewPublicationsTable, Schema } from './schema.ts';

export interface Publication {
  state: ReviewPublicationsTable['state'];
  error: { message: string; advice: string } | null;
  updatedAt: Date;
}

/** A start that was lost is made good after this long. */
const LOOK_AGAIN = sql`interval '30 seconds'`;

/** Written with the change that is to be published, in one transaction, so that no change is forgotten. */
export const requestPublication = async (tx: Database | Transaction<Schema>, { project, callId }: CallKey): Promise<void> => {
  await tx
    .insertInto('review_publications')
    .values({ project, call_id: callId, state: 'pending' })
    .onConflict((conflict) =>
      conflict.columns(['project', 'call_id']).doUpdateSet({ wanted: sql`review_publications.wanted + 1`, state: 'pending', error: null, next_look_at: sql`now()`, updated_at: sql`now()` }),
    )
    .execute();
};

export const createReviewPublications = (db: Database) => ({
  request: (key: CallKey): Promise<void> => requestPublication(db, key),

  /** Takes what waits to be started, of all projects; what is not done by then is due again half a minute later. */
  async takeDue(limit: number): Promise<CallKey[]> {
    const { rows } = await sql<{ project: string; call_id: string }>`
      update review_publications set next_look_at = now() + ${LOOK_AGAIN}
      where (project, call_id) in (select project, call_id from review_publications where state = 'pending' and next_look_at <= now() order by next_look_at limit ${limit} for update skip locked)
      returning project, call_id`.execute(db);
    return rows.map((row) => ({ project: row.project, callId: row.call_id }));
  },

  async find({ project, callId }: CallKey): Promise<Publication | undefined> {
    const row = await db.selectFrom('review_publications').select(['state', 'error', 'updated_at']).where('project', '=', project).where('call_id', '=', callId).executeTakeFirst();
    return row && { state: row.state, error: row.error, updatedAt: row.updated_at };
  },

  /** To be called before what is published is read. @returns how often it has been asked for */
  async begin({ project, callId }: CallKey): Promise<number> {
    const row = await db.updateTable('review_publications').set({ attempted: sql`wanted` }).where('project', '=', project).where('call_id', '=', callId).returning('wanted').executeTakeFirst();
    return row?.wanted ?? 0;
  },

  /** Everything that was asked for until `wanted` was read is out. @returns whether more has been asked for since */
  async published({ project, callId }: CallKey, wanted: number): Promise<{ more: boolean }> {
    const row = await db
      .updateTable('review_publications')
      .set({ done: wanted, state: sql`case when wanted > ${wanted} then 'pending' else 'done' end`, error: null, updated_at: sql`now()` })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .returning('state')
      .executeTakeFirst();
    return { more: row?.state === 'pending' };
  },

  /** The last attempt has failed for good. What was asked for since it began is pending still. */
  async failed({ project, callId }: CallKey, error: { message: string; advice: string }): Promise<void> {
    await db
      .updateTable('review_publications')
      .set({ state: 'failed', error: json(error), updated_at: sql`now()` })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('wanted', '=', sql<number>`attempted`)
      .execute();
  },
});

export type ReviewPublications = ReturnType<typeof createReviewPublications>;
