import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";
const TABLES = ['erasures', 'erasure_calls', 'erased_calls'];

const STATEMENTS = [
  // What was erased, without saying whose it was: the certificate.
  sql`create table erasures (
    project text not null references projects (id),
    id text not null,
    kind text not null,
    subject_key text not null,
    subject_hash text not null,
    requested_by text not null,
    requested_at timestamptz not null default now(),
    calls integer not null,
    counts jsonb not null default '{}',
    left_over jsonb not null default '{}',
    ended_at timestamptz,
    primary key (project, id)
  )`,
  sql`create index erasures_under_way on erasures (project) where ended_at is null`,
  // What is still to be done. Empty when it is.
  sql`create table erasure_calls (
    project text not null,
    erasure_id text not null,
    call_id text not null,
    primary key (project, erasure_id, call_id),
    foreign key (project, erasure_id) references erasures (project, id) on delete cascade
  )`,
  // By the hash of its ID: so that no later poll brings a call back.
  sql`create table erased_calls (
    project text not null,
    call_hash text not null,
    erased_at timestamptz not null default now(),
    primary key (project, call_hash)
  )`,
  sql`create index call_versions_with_audio on call_versions (project, started_at) where recording is not null`,
  sql`create index call_versions_with_text on call_versions (project, started_at) where transcript is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of TABLES) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
