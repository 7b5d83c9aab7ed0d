import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

const STATEMENTS = [
  sql`create table bulk_rulings (
    project text not null references projects (id),
    id text not null,
    ruling text not null,
    gate text not null,
    by text not null,
    reason text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    primary key (project, id)
  )`,
  sql`create table bulk_ruling_calls (
    project text not null,
    bulk_id text not null,
    call_id text not null,
    outcome text,
    detail text,
    primary key (project, bulk_id, call_id),
    foreign key (project, bulk_id) references bulk_rulings (project, id) on delete cascade
  )`,
  // By how long they have waited, for those that expire.
  sql`create index calls_staged on calls (project, updated_at) where state = 'awaiting_approval' and step is null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['bulk_rulings', 'bulk_ruling_calls']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
