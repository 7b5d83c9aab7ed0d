import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** What became of voice calls, written with the state that it reports and delivered from here, in order per call. */
const STATEMENTS = [
  sql`create table tracking_events (
    project text not null references projects (id),
    id text not null,
    seq bigint generated always as identity,
    name text not null,
    subject text not null,
    schema_version integer not null,
    occurred_at timestamptz(3) not null,
    properties jsonb not null,
    state text not null default 'pending',
    round integer not null default 1,
    attempts integer not null default 0,
    failing_since timestamptz(3),
    next_attempt_at timestamptz not null default now(),
    claimed_by text,
    claimed_until timestamptz,
    tries jsonb not null default '[]',
    sink text,
    receipt jsonb,
    settled_by text,
    delivered_at timestamptz(3),
    -- Stripped down to what the warehouse is built of: it is not shown, counted or replayed any more.
    dropped_at timestamptz,
    created_at timestamptz(3) not null default now(),
    updated_at timestamptz not null default now(),
    primary key (project, id)
  )`,
  // What is still to go out, in the order of each call: few rows, however many have gone.
  sql`create index tracking_events_open on tracking_events (project, subject, seq) where state in ('pending', 'failed')`,
  sql`create index tracking_events_due on tracking_events (project, next_attempt_at) where state = 'pending'`,
  sql`create index tracking_events_of_subject on tracking_events (project, subject, seq)`,
  sql`create index tracking_events_by_time on tracking_events (project, created_at desc, id desc) where dropped_at is null`,
  sql`create index tracking_events_by_state on tracking_events (project, state, created_at desc, id desc) where dropped_at is null`,
  sql`create index tracking_events_done on tracking_events (updated_at) where state in ('delivered', 'skipped') and dropped_at is null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  await sql.raw('alter table tracking_events enable row level security').execute(db);
  await sql.raw('alter table tracking_events force row level security').execute(db);
  await sql.raw(`create policy of_project on tracking_events using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
};
