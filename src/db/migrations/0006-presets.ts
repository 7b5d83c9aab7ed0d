import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";
const TABLES = ['presets', 'preset_versions', 'preset_tests'];

const STATEMENTS = [
  sql`create table presets (
    project text not null references projects (id),
    id text not null,
    name text not null,
    version integer not null,
    draft boolean not null default false,
    created_at timestamptz not null default now(),
    created_by text not null,
    archived_at timestamptz,
    primary key (project, id)
  )`,
  sql`create table preset_versions (
    project text not null,
    preset_id text not null,
    version integer not null,
    settings jsonb not null,
    speech_key text,
    diarization_key text,
    model_key text,
    created_at timestamptz not null default now(),
    created_by text not null,
    primary key (project, preset_id, version),
    foreign key (project, preset_id) references presets (project, id) on delete cascade
  )`,
  // No foreign key: a result keeps the name of what made it.
  sql`alter table call_versions add column preset_id text, add column preset_version integer`,
  // What a request was paid for besides its call: a test of a preset, a shadow run.
  sql`alter table costs add column reference text`,
  sql`create index costs_by_reference on costs (project, reference) where reference is not null`,
  sql`create table preset_tests (
    project text not null,
    id text not null,
    call_id text not null,
    version integer not null,
    preset_id text not null,
    preset_version integer not null,
    transcribe boolean not null,
    state text not null,
    result jsonb,
    error jsonb,
    created_at timestamptz not null default now(),
    created_by text not null,
    ended_at timestamptz,
    primary key (project, id),
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index preset_tests_by_call on preset_tests (project, call_id)`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of TABLES) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
