import { sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import type { Database } from './database.ts';

/** On which side of the threshold a call's published score stands. */
export interface Standing {
  low: boolean;
  /** How often it has fallen below the threshold: each fall is told once, whatever is run again. */
  drops: number;
}

export const createPublications = (db: Database) => ({
  /** Notes the score that is published. Repeating it changes nothing, so a crash behind it loses no fall. */
  async note({ project, callId, version }: CallVersion, { low, scorePercent }: { low: boolean; scorePercent: number | null }): Promise<Standing> {
    return db
      .insertInto('publications')
      .values({ project, call_id: callId, version, low, drops: low ? 1 : 0, score_percent: scorePercent })
      .onConflict((conflict) =>
        conflict.columns(['project', 'call_id']).doUpdateSet({
          low,
          drops: sql<number>`publications.drops + (${low}::boolean and not publications.low)::int`,
          score_percent: scorePercent,
          version,
          published_at: sql`now()`,
        }),
      )
      .returning(['low', 'drops'])
      .executeTakeFirstOrThrow();
  },
});

export type Publications = ReturnType<typeof createPublications>;
