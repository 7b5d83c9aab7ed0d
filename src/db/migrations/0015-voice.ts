import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** Outbound calls, from the request to their end: the queue, what is on a line, and what became of each. */
const STATEMENTS = [
  sql`create table voice_calls (
    project text not null references projects (id),
    id text not null,
    batch_id text,
    row integer,
    state text not null,
    priority integer not null,
    from_number text not null,
    to_number text not null,
    request jsonb not null,
    not_before timestamptz(3) not null default now(),
    provider_call_id text,
    observed jsonb,
    outcome text,
    call_id text,
    attention jsonb,
    reason text,
    dials integer not null default 0,
    requested_by text not null,
    requested_at timestamptz(3) not null default now(),
    dialling_at timestamptz(3),
    dialled_at timestamptz(3),
    started_at timestamptz(3),
    ended_at timestamptz(3),
    settled_at timestamptz(3),
    updated_at timestamptz not null default now(),
    primary key (project, id)
  )`,
  // The queue, in the order in which it is worked off.
  sql`create index voice_calls_queued on voice_calls (project, priority, not_before, requested_at, id) where state = 'queued'`,
  sql`create index voice_calls_on_a_line on voice_calls (project) where state in ('dialling', 'dialled', 'ongoing')`,
  sql`create index voice_calls_watched on voice_calls (updated_at) where state in ('dialling', 'dialled', 'ongoing', 'ended', 'needs_attention')`,
  sql`create index voice_calls_by_time on voice_calls (project, requested_at desc, id desc)`,
  sql`create index voice_calls_by_state on voice_calls (project, state, requested_at desc, id desc)`,
  sql`create index voice_calls_by_batch on voice_calls (project, batch_id, row) where batch_id is not null`,
  sql`create index voice_calls_by_number on voice_calls (project, to_number, dialling_at desc)`,
  // For what is asked by another name than its own: the number that calls, the call that it became, its age once it is over.
  sql`create index voice_calls_by_caller on voice_calls (project, from_number)`,
  sql`create index voice_calls_by_call on voice_calls (project, call_id) where call_id is not null`,
  sql`create index voice_calls_no_call on voice_calls (project, settled_at) where settled_at is not null and call_id is null`,
  sql`create unique index voice_calls_by_provider on voice_calls (project, provider_call_id) where provider_call_id is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  await sql.raw('alter table voice_calls enable row level security').execute(db);
  await sql.raw('alter table voice_calls force row level security').execute(db);
  await sql.raw(`create policy of_project on voice_calls using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
};
