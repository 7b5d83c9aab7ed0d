import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";
const TABLES = ['completeness_days', 'completeness_listed', 'completeness_gaps'];

/** What sources list, day by day, held against what we have. */
const STATEMENTS = [
  sql`create table completeness_days (
    project text not null references projects (id),
    source text not null,
    day text not null check (day ~ '^[0-9]{4}-[0-9]{2}-[0-9]{2}$'),
    time_zone text not null,
    from_at timestamptz(3) not null,
    to_at timestamptz(3) not null,
    state text not null,
    token text not null,
    asked_by text,
    by_timetable boolean not null default false,
    started_at timestamptz(3) not null default now(),
    checked_at timestamptz(3),
    checks integer not null default 0,
    error text,
    settled boolean not null default false,
    listed integer not null default 0,
    ours integer not null default 0,
    processed integer not null default 0,
    states jsonb not null default '{}',
    gaps jsonb not null default '{}',
    not_listed jsonb not null default '{}',
    unexplained integer not null default 0,
    taken_in integer not null default 0,
    primary key (project, source, day)
  )`,
  sql`create index completeness_days_by_day on completeness_days (project, day desc, source desc)`,
  // What is read of a day while it is being compared; empty when it has been.
  sql`create table completeness_listed (
    project text not null,
    source text not null,
    day text not null,
    call_id text not null,
    side text not null,
    status text not null,
    missing boolean not null default false,
    problem text,
    verdict text,
    detail text,
    primary key (project, source, day, call_id),
    foreign key (project, source, day) references completeness_days (project, source, day) on delete cascade
  )`,
  sql`create table completeness_gaps (
    project text not null,
    source text not null,
    day text not null,
    call_id text not null,
    side text not null,
    reason text not null,
    detail text,
    primary key (project, source, day, call_id),
    foreign key (project, source, day) references completeness_days (project, source, day) on delete cascade
  )`,
  sql`create index completeness_gaps_by_reason on completeness_gaps (project, source, day, reason, call_id)`,

  // Of which call a receipt is, where it is of one: its body is forgotten once it is delivered.
  sql`alter table inbox add column about text`,
  sql`update inbox set about = body #>> '{given,details,callId}' where body #>> '{given,details,callId}' is not null`,
  sql`create index inbox_receipts on inbox (project, source, received_at, event_id)`,
  sql`create index inbox_about on inbox (project, about) where about is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of TABLES) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
