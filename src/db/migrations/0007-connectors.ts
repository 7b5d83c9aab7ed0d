import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

const STATEMENTS = [
  // Systems that a project has connected itself. Another revision is another connection.
  sql`create table connectors (
    project text not null references projects (id),
    kind text not null,
    settings jsonb not null,
    sealed text not null,
    webhook_hash text,
    revision uuid not null default gen_random_uuid(),
    updated_by text not null,
    updated_at timestamptz not null default now(),
    primary key (project, kind)
  )`,
  sql`create unique index connectors_by_webhook on connectors (kind, webhook_hash) where webhook_hash is not null`,

  // Addresses at which programs hand calls in.
  sql`create table hooks (
    id text primary key,
    project text not null references projects (id),
    name text not null,
    sealed text not null,
    created_by text not null,
    created_at timestamptz not null default now(),
    last_used_at timestamptz
  )`,
  sql`create index hooks_by_project on hooks (project)`,

  // What came with a call that was handed in: where its recording is, or what was said on it.
  sql`create table given_calls (
    project text not null,
    call_id text not null,
    recording_url text,
    audio jsonb,
    transcript jsonb,
    updated_at timestamptz not null default now(),
    primary key (project, call_id),
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,

  // What came in so far was for the only project there was.
  sql`alter table inbox add column project text not null default 'default'`,
  sql`alter table inbox alter column project drop default`,
  sql`alter table inbox drop constraint inbox_pkey`,
  sql`alter table inbox add primary key (project, source, event_id)`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['connectors', 'hooks', 'given_calls', 'inbox']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
