import { type Kysely, sql } from 'kysely';

/** What came in and waits: without anything that is readable in it, told of when it waits for too long, and found without reading all of it. */
const STATEMENTS = [
  // Instead of `body`, for what holds links and numbers: under the key ring.
  sql`alter table inbox add column sealed text`,
  // Where an upload lies, which is no secret: for whoever removes what nobody has any more.
  sql`alter table inbox add column audio_key text`,
  sql`update inbox set audio_key = body #>> '{given,audio,key}' where body #>> '{given,audio,key}' is not null`,
  sql`alter table inbox add column parked_at timestamptz`,
  sql`alter table inbox add column forgotten_at timestamptz`,
  sql`drop index inbox_undelivered`,
  sql`create index inbox_waiting on inbox (project, source, next_attempt_at, event_id) where delivered_at is null and forgotten_at is null`,
  sql`create index inbox_parked on inbox (project, source) where parked_at is not null and delivered_at is null`,
  // For a person's look at what is not delivered: what is, is most of it.
  sql`create index inbox_undelivered_by_age on inbox (project, received_at) where delivered_at is null`,
  sql`create index inbox_audio on inbox (project, audio_key) where audio_key is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
};
