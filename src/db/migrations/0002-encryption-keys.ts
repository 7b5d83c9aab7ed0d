import { type Kysely, sql } from 'kysely';

/** Which keys something may be encrypted under, so that a missing one is noticed before anything waits for it. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`create table encryption_keys (
    id text primary key,
    proof text not null,
    first_used_at timestamptz not null default now(),
    retired_at timestamptz
  )`.execute(db);
};
