import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** Where recordings are being put that somebody uploads: known before their call is, so that none is left lying. */
const STATEMENTS = [
  sql`create table uploads (
    project text not null references projects (id),
    key text not null,
    begun_at timestamptz not null default now(),
    primary key (project, key)
  )`,
  sql`create index uploads_by_time on uploads (begun_at)`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  await sql.raw('alter table uploads enable row level security').execute(db);
  await sql.raw('alter table uploads force row level security').execute(db);
  await sql.raw(`create policy of_project on uploads using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
};
