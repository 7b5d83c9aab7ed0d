import { type Kysely, sql } from 'kysely';

/** `*` is the installation's own chain. */
const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

const STATEMENTS = [
  sql`create table audit_log (
    project text not null,
    seq bigint not null,
    at timestamptz not null,
    actor text not null,
    actor_kind text not null,
    action text not null,
    target text not null,
    details jsonb not null,
    request_id text not null,
    previous_hash text not null,
    hash text not null,
    primary key (project, seq)
  )`,
  sql`create index audit_log_by_target on audit_log (project, target, seq)`,
  sql`create table audit_heads (
    project text primary key,
    seq bigint not null,
    hash text not null
  )`,
  sql`create function refuse_change() returns trigger language plpgsql as $$
  begin
    raise exception 'the audit log is append-only';
  end $$`,
  sql`create trigger append_only before update or delete or truncate on audit_log execute function refuse_change()`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['audit_log', 'audit_heads']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
