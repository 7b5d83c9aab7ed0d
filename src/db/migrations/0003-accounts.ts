import { type Kysely, sql } from 'kysely';

/** What belongs to a project, and how a row says to which. A run's ID begins with its project. */
const OF_PROJECT: [table: string, project: string][] = [
  ['projects', 'id'],
  ['calls', 'project'],
  ['call_versions', 'project'],
  ['runs', 'project'],
  ['run_tasks', "split_part(run_id, '.', 1)"],
  ['run_log', "split_part(run_id, '.', 1)"],
  ['effects', 'project'],
  ['costs', 'project'],
  ['memberships', 'project'],
  ['api_tokens', 'project'],
];

const STATEMENTS = [
  sql`create table users (
    id uuid primary key default gen_random_uuid(),
    email text not null check (email = lower(email)),
    name text not null,
    password_hash text not null,
    platform_admin boolean not null default false,
    created_at timestamptz not null default now(),
    disabled_at timestamptz
  )`,
  sql`create unique index users_by_email on users (email)`,

  sql`create table memberships (
    project text not null references projects (id),
    user_id uuid not null references users (id) on delete cascade,
    role text not null,
    created_at timestamptz not null default now(),
    primary key (project, user_id)
  )`,
  sql`create index memberships_by_user on memberships (user_id)`,

  sql`create table sessions (
    id uuid primary key default gen_random_uuid(),
    user_id uuid not null references users (id) on delete cascade,
    created_at timestamptz not null default now(),
    last_used_at timestamptz not null default now(),
    ended_at timestamptz,
    ended_why text
  )`,
  sql`create index sessions_by_user on sessions (user_id) where ended_at is null`,
  sql`create table refresh_tokens (
    hash text primary key,
    session_id uuid not null references sessions (id) on delete cascade,
    issued_at timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at timestamptz
  )`,
  sql`create index refresh_tokens_by_session on refresh_tokens (session_id)`,

  sql`create table api_tokens (
    id text primary key,
    project text not null references projects (id),
    name text not null,
    role text not null,
    hash text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
  )`,
  sql`create index api_tokens_by_project on api_tokens (project)`,
  sql`create unique index api_tokens_by_hash on api_tokens (hash)`,

  sql`create table sign_in_failures (
    key text not null,
    window_start timestamptz not null,
    failures integer not null,
    primary key (key, window_start)
  )`,

  // The role that queries run under. A superuser, as in the embedded database, would walk through every
  // policy. Where roles may not be made, the tables' owner is held to the policies itself (force, below).
  sql`do $$
  begin
    if not exists (select from pg_roles where rolname = 'aftercall_app') then
      create role aftercall_app nologin;
    end if;
    execute format('grant aftercall_app to %I', current_user);
    execute format('grant usage on schema %I to aftercall_app', current_schema());
    execute format('grant select, insert, update, delete on all tables in schema %I to aftercall_app', current_schema());
    execute format('grant usage on all sequences in schema %I to aftercall_app', current_schema());
    execute format('alter default privileges in schema %I grant select, insert, update, delete on tables to aftercall_app', current_schema());
    execute format('alter default privileges in schema %I grant usage on sequences to aftercall_app', current_schema());
  exception when insufficient_privilege or duplicate_object or unique_violation then
    raise notice 'the role aftercall_app cannot be made here';
  end $$`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const [table, project] of OF_PROJECT) {
    // `*` is the installation itself; no setting, or an empty one, sees nothing.
    const visible = `current_setting('app.project', true) = '*' or ${project} = current_setting('app.project', true)`;
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${visible}) with check (${visible})`).execute(db);
  }
};
