import { type Kysely, sql } from 'kysely';

const STATEMENTS = [
  sql`create table projects (
    id text primary key check (id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    name text not null,
    settings jsonb not null default '{}',
    created_at timestamptz not null default now()
  )`,
  sql`insert into projects (id, name) values ('default', 'Default project')`,

  sql`create table calls (
    project text not null references projects (id),
    call_id text not null,
    source text not null,
    details jsonb not null,
    started_at timestamptz not null,
    state text not null,
    step text,
    attention jsonb,
    result text,
    reason text,
    version integer not null default 0,
    first_seen_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    ended_at timestamptz,
    primary key (project, call_id)
  )`,
  // The list's order, with the call ID as tie-breaker for keyset paging.
  sql`create index calls_by_start on calls (project, started_at desc, call_id desc)`,
  sql`create index calls_by_state on calls (project, state, started_at desc, call_id desc)`,

  sql`create table runs (
    id text primary key,
    project text not null references projects (id),
    source text not null,
    window_from timestamptz not null,
    window_to timestamptz not null,
    state text not null,
    pages integer not null default 0,
    error text,
    report jsonb,
    report_key text,
    log_key text,
    started_at timestamptz not null default now(),
    ended_at timestamptz
  )`,
  sql`create index runs_by_start on runs (project, started_at desc, id desc)`,

  sql`create table call_versions (
    project text not null,
    call_id text not null,
    version integer not null,
    run_id text,
    started_from text not null,
    recording jsonb,
    transcript jsonb,
    metadata jsonb,
    analysis jsonb,
    crm jsonb,
    delivery jsonb,
    state text not null,
    result text,
    reason text,
    started_at timestamptz not null default now(),
    ended_at timestamptz,
    primary key (project, call_id, version),
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index call_versions_by_run on call_versions (run_id, state) where run_id is not null`,

  sql`create table run_tasks (
    run_id text not null references runs (id) on delete cascade,
    call_id text not null,
    disposition text not null,
    primary key (run_id, call_id)
  )`,
  sql`create table run_log (
    id bigint generated always as identity primary key,
    run_id text not null,
    at timestamptz not null default now(),
    level text not null,
    message text not null,
    fields jsonb not null default '{}'
  )`,
  sql`create index run_log_by_run on run_log (run_id, id)`,

  sql`create table effects (
    key text primary key,
    project text not null,
    call_id text not null,
    version integer not null,
    effect text not null,
    target text not null,
    class text not null,
    state text not null,
    intent jsonb not null,
    receipt jsonb,
    planned_at timestamptz not null default now(),
    done_at timestamptz,
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index effects_by_call on effects (project, call_id)`,

  sql`create table costs (
    key text primary key,
    project text not null,
    call_id text not null,
    version integer not null,
    step text not null,
    kind text not null,
    provider text not null,
    model text not null,
    state text not null,
    usage jsonb,
    micro_usd bigint not null default 0,
    result jsonb,
    request_id text,
    reserved_at timestamptz not null default now(),
    settled_at timestamptz,
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index costs_by_call on costs (project, call_id, version)`,

  sql`create table credentials (
    name text primary key,
    sealed text not null,
    expires_at timestamptz,
    updated_at timestamptz not null default now()
  )`,
  sql`create table inbox (
    source text not null,
    event_id text not null,
    type text not null,
    body jsonb not null,
    received_at timestamptz not null default now(),
    attempts integer not null default 0,
    next_attempt_at timestamptz not null default now(),
    delivered_at timestamptz,
    error text,
    primary key (source, event_id)
  )`,
  sql`create index inbox_undelivered on inbox (next_attempt_at) where delivered_at is null`,
  sql`create table idempotency_keys (
    key text primary key,
    request_hash text not null,
    status integer,
    response jsonb,
    created_at timestamptz not null default now()
  )`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
};
