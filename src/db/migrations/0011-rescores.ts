import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";
const TABLES = ['rescores', 'rescore_calls'];

/** Shadow runs of a preset over stored calls. What they find stays here. */
const STATEMENTS = [
  sql`create table rescores (
    project text not null references projects (id),
    id text not null,
    preset_id text not null,
    preset_version integer not null,
    facts boolean not null,
    state text not null,
    reason text,
    bindings jsonb not null,
    forecast jsonb not null,
    created_at timestamptz not null default now(),
    created_by text not null,
    ended_at timestamptz,
    promoted_to jsonb,
    promoted_by text,
    promoted_at timestamptz,
    primary key (project, id)
  )`,
  sql`create index rescores_by_start on rescores (project, created_at desc, id desc)`,
  sql`create table rescore_calls (
    project text not null,
    rescore_id text not null,
    seq integer not null,
    call_id text not null,
    version integer not null,
    sampled boolean not null,
    state text not null,
    result jsonb,
    error jsonb,
    primary key (project, rescore_id, seq),
    foreign key (project, rescore_id) references rescores (project, id) on delete cascade,
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index rescore_calls_by_call on rescore_calls (project, call_id)`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of TABLES) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
