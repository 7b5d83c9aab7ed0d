import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

const TABLES = [
  // What the warehouse has not been told of yet. Rows are taken by their own key, never by a mark up to which all is
  // read: a transaction that commits late has its rows here when it does, whatever was loaded meanwhile.
  sql`create table warehouse_changes (
    id bigint generated always as identity primary key,
    project text not null,
    sink text not null default 'files',
    kind text not null,
    unit text not null,
    dt date,
    load_id bigint,
    at timestamptz not null default now()
  )`,
  // Of all, not only of those that wait: those that a load is under way with are few, and count as waiting too.
  sql`create index warehouse_changes_waiting on warehouse_changes (project, sink, id)`,
  sql`create index warehouse_changes_taken on warehouse_changes (project, sink, load_id) where load_id is not null`,
  sql`create table warehouse_sinks (
    project text not null references projects (id),
    sink text not null,
    last_load bigint not null default 0,
    loads bigint not null default 0,
    edition bigint not null default 0,
    rows bigint not null default 0,
    loaded_at timestamptz,
    lease text,
    lease_until timestamptz,
    error jsonb,
    failed_at timestamptz,
    compacted_at timestamptz,
    rebuild_load bigint,
    rebuild_until bigint,
    floor_load bigint not null default 0,
    missed_since timestamptz,
    primary key (project, sink)
  )`,
  // Written before the file is, so that none lies there that nobody knows of.
  sql`create table warehouse_files (
    project text not null references projects (id),
    key text not null,
    form text not null,
    name text not null,
    dt date not null,
    load_id bigint not null,
    rows integer not null default 0,
    bytes bigint not null default 0,
    tombstones integer not null default 0,
    floor_load bigint not null default 0,
    done boolean not null default false,
    written_at timestamptz not null default now(),
    superseded_at timestamptz,
    primary key (project, key)
  )`,
  sql`create index warehouse_files_by_partition on warehouse_files (project, name, dt) where superseded_at is null`,
  sql`create index warehouse_files_superseded on warehouse_files (project, superseded_at) where superseded_at is not null`,
];

/**
 * Notes what changed, once per statement and unit: one small insert, which waits for nobody.
 *
 * A unit's day goes with it where the row says it, so that what was deleted or moved can be found in its partition.
 *
 * Without nested loops: a session keeps the plan that it made for its first statement, which mostly changed one row,
 * and would go through fifty thousand rows as often for a batch that is taken back.
 */
const notes = (table: string, { when = '', of }: { when?: string; of: (rows: string) => string }): string[] => [
  `create function warehouse_note_${table}() returns trigger language plpgsql set enable_nestloop = off as $$
  begin
    if tg_op = 'INSERT' then
      insert into warehouse_changes (project, kind, unit, dt) ${of('fresh')};
    elsif tg_op = 'DELETE' then
      insert into warehouse_changes (project, kind, unit, dt) ${of('stale')};
    else
      insert into warehouse_changes (project, kind, unit, dt)
        select * from (${of(when ? `(select fresh.* from fresh join stale using (${when.split('|')[0]}) where ${when.split('|')[1]})` : 'fresh')}) as now_so
        union select * from (${of(when ? `(select stale.* from stale join fresh using (${when.split('|')[0]}) where ${when.split('|')[1]})` : 'stale')}) as was_so;
    end if;
    return null;
  end $$`,
  `create trigger warehouse_inserted after insert on ${table} referencing new table as fresh for each statement execute function warehouse_note_${table}()`,
  `create trigger warehouse_updated after update on ${table} referencing old table as stale new table as fresh for each statement execute function warehouse_note_${table}()`,
  `create trigger warehouse_deleted after delete on ${table} referencing old table as stale for each statement execute function warehouse_note_${table}()`,
];

const day = (time: string): string => `(${time} at time zone 'UTC')::date`;
/** Columns of which one has to differ for a change to count; a step that begins is none. */
const differ = (key: string, ...columns: string[]): string => `${key}|(${columns.map((column) => `fresh.${column}`).join(', ')}) is distinct from (${columns.map((column) => `stale.${column}`).join(', ')})`;

const ofCall = (rows: string): string => `select distinct project, 'call', call_id, null::date from ${rows} as r`;

const CAPTURE = [
  ...notes('calls', {
    when: differ('project, call_id', 'source', 'details', 'started_at', 'state', 'result', 'version', 'score_percent', 'passed', 'ended_at'),
    of: (rows) => `select project, 'call', call_id, ${day('started_at')} from ${rows} as r`,
  }),
  ...notes('call_versions', {
    when: differ('project, call_id, version', 'recording', 'transcript', 'analysis', 'crm', 'advisory'),
    of: ofCall,
  }),
  ...notes('call_analysis', { of: ofCall }),
  ...notes('reviews', { of: ofCall }),
  ...notes('costs', {
    when: differ('key', 'state', 'micro_usd', 'reserved_micro_usd', 'model', 'usage', 'day'),
    of: (rows) => `select project, 'cost', key, day from ${rows} as r union all ${ofCall(rows)}`,
  }),
  ...notes('effects', { of: (rows) => `select project, 'effect', key, ${day('planned_at')} from ${rows} as r` }),
  ...notes('voice_calls', {
    when: differ('project, id', 'state', 'outcome', 'observed', 'call_id', 'batch_id', 'requested_at', 'dialled_at', 'started_at', 'ended_at'),
    of: (rows) => `select project, 'voice', id, ${day('coalesce(started_at, requested_at)')} from ${rows} as r union all select distinct project, 'call', call_id, null::date from ${rows} as r where call_id is not null`,
  }),
  ...notes('tracking_events', {
    when: differ('project, id', 'state', 'occurred_at', 'delivered_at'),
    of: (rows) => `select project, 'tracking', id, ${day('occurred_at')} from ${rows} as r`,
  }),
];

/** What was there before. */
const BEFORE = [
  `insert into warehouse_changes (project, kind, unit, dt) select project, 'call', call_id, ${day('started_at')} from calls order by started_at`,
  `insert into warehouse_changes (project, kind, unit, dt) select project, 'cost', key, day from costs order by day`,
  `insert into warehouse_changes (project, kind, unit, dt) select project, 'effect', key, ${day('planned_at')} from effects order by planned_at`,
  `insert into warehouse_changes (project, kind, unit, dt) select project, 'voice', id, ${day('coalesce(started_at, requested_at)')} from voice_calls order by requested_at`,
  `insert into warehouse_changes (project, kind, unit, dt) select project, 'tracking', id, ${day('occurred_at')} from tracking_events order by seq`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of TABLES) await statement.execute(db);
  for (const statement of [...CAPTURE, ...BEFORE]) await sql.raw(statement).execute(db);
  for (const table of ['warehouse_changes', 'warehouse_sinks', 'warehouse_files']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
