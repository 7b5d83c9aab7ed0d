import { sql } from 'kysely';
import type { Database } from './database.ts';

export interface UploadKey {
  project: string;
  key: string;
}

/** Recordings that are being uploaded, or were, without anybody having said that their call has them. */
export const createUploads = (db: Database) => ({
  /** Before the first byte is stored. */
  async begin({ project, key }: UploadKey): Promise<void> {
    await db.insertInto('uploads').values({ project, key }).execute();
  },

  /** Its call has it, or it is removed. */
  async end({ project, key }: UploadKey): Promise<void> {
    await db.deleteFrom('uploads').where('project', '=', project).where('key', '=', key).execute();
  },

  async listBegunBefore(before: Date, limit: number): Promise<UploadKey[]> {
    return db.selectFrom('uploads').select(['project', 'key']).where('begun_at', '<', before).orderBy('begun_at').limit(limit).execute();
  },

  /** Whether a call has it, or waits with it to be taken in. */
  async isNamed({ project, key }: UploadKey): Promise<boolean> {
    const { rows } = await sql<{ named: boolean }>`select
      exists (select from inbox where project = ${project} and audio_key = ${key} and forgotten_at is null)
      or exists (select from given_calls where project = ${project} and audio ->> 'key' = ${key}) as named`.execute(db);
    return rows[0]!.named;
  },
});

export type Uploads = ReturnType<typeof createUploads>;
