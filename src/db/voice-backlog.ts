import { sql } from 'kysely';
import { VOICE_ENDS, VOICE_PRIORITIES, type VoiceState } from '../domain/voice.ts';
import type { Database } from './database.ts';

export type VoiceBacklog = ReturnType<typeof createVoiceBacklog>;

/** How the queues of voice calls of all projects stand, for whoever watches the installation. */
export const createVoiceBacklog = (db: Database) => ({
  /** Calls that have not come to their end. */
  async open(): Promise<{ project: string; state: VoiceState; calls: number }[]> {
    return db.selectFrom('voice_calls').select(['project', 'state', sql<number>`count(*)::int`.as('calls')]).where('state', 'not in', VOICE_ENDS).groupBy(['project', 'state']).execute();
  },

  /** By how much the longest-waiting call is overdue that has no line. One walk per priority, as the queue is worked off: what waits is not read call by call. */
  async overdue(): Promise<{ project: string; seconds: number }[]> {
    const { rows } = await sql<{ project: string; seconds: number }>`select p.id as project, extract(epoch from now() - min(first.not_before))::float8 as seconds
      from projects p cross join unnest(${sql.val([...VOICE_PRIORITIES])}::int[]) as lane (lane_priority) cross join lateral (
        select not_before from voice_calls where project = p.id and priority = lane_priority and state = 'queued' and lined_up_at is null and not held and not_before <= now()
        order by not_before limit 1
      ) first group by p.id`.execute(db);
    return rows;
  },

  /** Queues that nobody works off, or with one call a minute only, and the code of why. */
  async heldBack(): Promise<{ project: string; code: string }[]> {
    const { rows } = await sql<{ project: string; code: string }>`select project, held_back ->> 'code' as code from voice_lines where held_back is not null`.execute(db);
    return rows;
  },
});
