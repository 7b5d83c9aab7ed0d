import { sql } from 'kysely';
import type { BulkOutcome, BulkRuling } from '../domain/bulk.ts';
import { AftercallError } from '../domain/errors.ts';
import { type Database, storable } from './database.ts';

export interface BulkRulingRow extends BulkRuling {
  startedAt: Date;
  endedAt: Date | null;
  /** One for each call; outcome null: still to be ruled on. */
  calls: { callId: string; outcome: BulkOutcome | null; detail: string | null }[];
}

/** Rulings on many calls at once, and what each of the calls came to. */
export const createBulkRulings = (db: Database) => ({
  /** Writes a ruling down before its first call. Repeating it changes nothing. */
  async open({ project, bulkId, ruling, at, by, reason, callIds }: BulkRuling & { callIds: readonly string[] }): Promise<void> {
    await db.transaction().execute(async (tx) => {
      const opened = await tx
        .insertInto('bulk_rulings')
        .values({ project, id: bulkId, ruling, gate: at, by: storable(by), reason: reason === undefined ? null : storable(reason) })
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst();
      if (!opened || callIds.length === 0) return;
      await sql`insert into bulk_ruling_calls (project, bulk_id, call_id) select ${project}, ${bulkId}, call_id from jsonb_array_elements_text(${JSON.stringify(callIds)}::jsonb) as asked (call_id)`.execute(tx);
    });
  },

  /** Calls that are still to be ruled on. */
  async pending(project: string, bulkId: string): Promise<string[]> {
    const rows = await db.selectFrom('bulk_ruling_calls').select('call_id').where('project', '=', project).where('bulk_id', '=', bulkId).where('outcome', 'is', null).orderBy('call_id').execute();
    return rows.map((row) => row.call_id);
  },

  /** What a call came to; the first word stands. */
  async settle(project: string, bulkId: string, callId: string, { outcome, detail }: { outcome: BulkOutcome; detail?: string }): Promise<void> {
    await db
      .updateTable('bulk_ruling_calls')
      .set({ outcome, detail: detail === undefined ? null : storable(detail) })
      .where('project', '=', project)
      .where('bulk_id', '=', bulkId)
      .where('call_id', '=', callId)
      .where('outcome', 'is', null)
      .execute();
  },

  /** Ends it; what was not ruled on has failed with `error`. */
  async end(project: string, bulkId: string, error?: string): Promise<void> {
    await db.transaction().execute(async (tx) => {
      if (error !== undefined) {
        await tx.updateTable('bulk_ruling_calls').set({ outcome: 'failed', detail: storable(error) }).where('project', '=', project).where('bulk_id', '=', bulkId).where('outcome', 'is', null).execute();
      }
      await tx.updateTable('bulk_rulings').set({ ended_at: sql`now()` }).where('project', '=', project).where('id', '=', bulkId).where('ended_at', 'is', null).execute();
    });
  },

  async get(project: string, bulkId: string): Promise<BulkRulingRow> {
    const row = await db.selectFrom('bulk_rulings').selectAll().where('project', '=', project).where('id', '=', bulkId).executeTakeFirst();
    if (!row) throw new AftercallError('NOT_FOUND', `There is no bulk ruling ${bulkId} in project ${project}.`, { advice: 'Its ID is in the answer to the request that began it.' });
    const calls = await db.selectFrom('bulk_ruling_calls').select(['call_id', 'outcome', 'detail']).where('project', '=', project).where('bulk_id', '=', bulkId).orderBy('call_id').execute();
    return {
      project,
      bulkId,
      ruling: row.ruling,
      at: row.gate,
      by: row.by,
      ...(row.reason === null ? {} : { reason: row.reason }),
      startedAt: row.started_at,
      endedAt: row.ended_at,
      calls: calls.map(({ call_id: callId, outcome, detail }) => ({ callId, outcome, detail })),
    };
  },
});

export type BulkRulings = ReturnType<typeof createBulkRulings>;
