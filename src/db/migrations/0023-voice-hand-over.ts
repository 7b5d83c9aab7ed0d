import { type Kysely, sql } from 'kysely';

/** Calls whose hand-over failed for good, found without reading those that went on. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`create index voice_calls_not_handed_over on voice_calls (updated_at) where state = 'completed' and started_at is not null and call_id is null`.execute(db);
};
