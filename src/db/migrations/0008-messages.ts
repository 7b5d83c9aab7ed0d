import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** What people and programs outside are told, each message on its way to one target; and on which side of the threshold a call stands. */
const STATEMENTS = [
  sql`create table messages (
    id text primary key,
    project text not null references projects (id),
    event text not null,
    call_id text,
    version integer,
    run_id text,
    notifier text not null,
    target text not null,
    class text not null,
    state text not null,
    round integer not null default 1,
    message jsonb not null,
    attempts integer not null default 0,
    tries jsonb not null default '[]',
    receipt jsonb,
    settled_by text,
    created_at timestamptz(3) not null default now(),
    updated_at timestamptz not null default now()
  )`,
  sql`create index messages_by_project on messages (project, created_at desc, id desc)`,
  sql`create index messages_by_state on messages (project, state, created_at desc, id desc)`,
  sql`create index messages_by_call on messages (project, call_id) where call_id is not null`,
  sql`create table publications (
    project text not null,
    call_id text not null,
    low boolean not null,
    drops integer not null,
    score_percent integer,
    version integer not null,
    published_at timestamptz not null default now(),
    primary key (project, call_id),
    foreign key (project, call_id) references calls (project, call_id)
  )`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['messages', 'publications']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
