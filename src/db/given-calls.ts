import type { KeyRing } from '../crypto/key-ring.ts';
import type { CallKey } from '../domain/call.ts';
import type { GivenAudio, GivenCall, GivenTranscript } from '../domain/given.ts';
import { sql } from 'kysely';
import { type Database, json } from './database.ts';

/** What came with a call that was handed in. */
export interface Given {
  recordingUrl?: string;
  audio?: GivenAudio;
  transcript?: GivenTranscript;
}

/** Ties a link to its call. */
export const givenContext = ({ project, callId }: CallKey): string => `given/${project}/${callId}`;

/** What came with calls that were handed in; links are sealed under the key ring, since whoever has one has the recording. */
export const createGivenCalls = (db: Database, keyRing: KeyRing) => ({
  async find(call: CallKey): Promise<Given | undefined> {
    const row = await db.selectFrom('given_calls').select(['recording_url', 'audio', 'transcript']).where('project', '=', call.project).where('call_id', '=', call.callId).executeTakeFirst();
    return (
      row && {
        ...(row.recording_url === null ? {} : { recordingUrl: keyRing.openText(row.recording_url, givenContext(call)) }),
        ...(row.audio === null ? {} : { audio: row.audio }),
        ...(row.transcript === null ? {} : { transcript: row.transcript }),
      }
    );
  },

  /** Keeps what came with a call. What an earlier event of the call brought and this one does not, stays. */
  async keep(call: CallKey, { recordingUrl, audio, transcript }: Omit<GivenCall, 'details'>): Promise<void> {
    const row = {
      ...(recordingUrl === undefined ? {} : { recording_url: keyRing.sealText(recordingUrl, givenContext(call)) }),
      ...(audio === undefined ? {} : { audio: json(audio) }),
      ...(transcript === undefined ? {} : { transcript: json(transcript) }),
      updated_at: sql<Date>`now()`,
    };
    await db
      .insertInto('given_calls')
      .values({ project: call.project, call_id: call.callId, ...row })
      .onConflict((conflict) => conflict.columns(['project', 'call_id']).doUpdateSet(row))
      .execute();
  },

  /** Where the recording lies now that it has been moved to its place. */
  async moved(call: CallKey, audio: GivenAudio): Promise<void> {
    await db.updateTable('given_calls').set({ audio: json(audio) }).where('project', '=', call.project).where('call_id', '=', call.callId).execute();
  },
});

export type GivenCalls = ReturnType<typeof createGivenCalls>;
