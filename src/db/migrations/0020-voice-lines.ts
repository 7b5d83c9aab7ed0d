import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** Who goes onto which line and when, and calls that were asked for by the batch. */
const STATEMENTS = [
  sql`alter table voice_calls
    add column held boolean not null default false,
    add column waits_for text,
    add column not_after timestamptz(3),
    add column lined_up_at timestamptz(3),
    add column line_account text`,
  // The queue in the order in which it is worked off, and nothing else: what is held, or has a line, is not in it.
  sql`drop index voice_calls_queued`,
  sql`create index voice_calls_queued on voice_calls (project, priority, not_before, requested_at, row, id) where state = 'queued' and lined_up_at is null and not held`,
  sql`create index voice_calls_expiring on voice_calls (project, not_after) where state = 'queued' and lined_up_at is null and not_after is not null`,
  sql`create index voice_calls_lined_up on voice_calls (line_account, project) where line_account is not null and state in ('queued', 'dialling', 'dialled', 'ongoing')`,
  // How the account's last dials went.
  sql`create index voice_calls_last_dials on voice_calls (line_account, dialling_at desc) where line_account is not null and dialling_at is not null`,
  sql`create index voice_calls_postponed on voice_calls (project, waits_for) where state = 'queued' and waits_for is not null`,
  sql`create index voice_calls_of_batch on voice_calls (project, batch_id, state, outcome) where batch_id is not null`,
  // An account is known by a fingerprint of its key, and may serve several projects: what they share is counted here.
  sql`create table voice_accounts (
    account text primary key,
    line_limit integer,
    others integer,
    read_at timestamptz(3),
    planned_until timestamptz(3)
  )`,
  sql`create table voice_lines (
    project text primary key references projects (id),
    account text,
    rules text,
    held_back jsonb,
    looked_at timestamptz(3) not null default now(),
    look_again_at timestamptz(3)
  )`,
  sql`create table voice_batches (
    project text not null references projects (id),
    id text not null,
    name text not null,
    state text not null,
    priority integer not null,
    rows integer not null,
    skipped integer not null default 0,
    sha256 text not null,
    variables jsonb not null default '[]',
    requested_by text not null,
    requested_at timestamptz(3) not null default now(),
    paused_at timestamptz(3),
    paused_by text,
    cancelled_at timestamptz(3),
    cancelled_by text,
    reason text,
    settled jsonb,
    updated_at timestamptz not null default now(),
    primary key (project, id)
  )`,
  sql`create index voice_batches_by_time on voice_batches (project, requested_at desc, id desc)`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['voice_lines', 'voice_batches']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
