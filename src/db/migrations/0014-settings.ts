import { type Kysely, sql } from 'kysely';

/** The environment's settings of the default project are read at each start and not stored any more. */
export const up = async (db: Kysely<unknown>): Promise<void> => {
  await sql`update projects set settings = '{}' where id = 'default'`.execute(db);
};
