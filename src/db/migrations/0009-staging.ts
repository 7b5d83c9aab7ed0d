import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** What holds two writers of one count apart: each database process adds to the row of its number. */
const SLOTS = 16;

const STAGING = [
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
  sql`create index calls_waiting on calls (project, step, started_at desc, call_id desc) where state = 'awaiting_approval'`,
];

/**
 * Lists of calls without reading the table.
 *
 * Under row-level security an index serves only operators that cannot leak (`=`, `<` and the like on plain
 * columns): not `ilike`, `->>` or `@>`. So what is searched for stands in columns of its own, and parts of
 * names are looked up among the names that there are.
 */
const LISTS = [
  sql`alter table calls
    add column queue_name text generated always as (left(details->>'queueName', 200)) stored,
    add column agent_name text generated always as (left(details->>'agentName', 200)) stored,
    add column origin_number text generated always as (left(nullif(regexp_replace(details->>'originPhone', '[^0-9]', '', 'g'), ''), 32)) stored,
    add column destination_number text generated always as (left(nullif(regexp_replace(details->>'destinationPhone', '[^0-9]', '', 'g'), ''), 32)) stored`,
  sql`create index calls_by_source on calls (project, source, state, started_at desc, call_id desc)`,
  sql`create index calls_by_queue on calls (project, queue_name, state, started_at desc, call_id desc) where queue_name is not null`,
  sql`create index calls_by_agent on calls (project, agent_name, state, started_at desc, call_id desc) where agent_name is not null`,
  sql`create index calls_by_origin on calls (project, origin_number, state, started_at desc, call_id desc) where origin_number is not null`,
  sql`create index calls_by_destination on calls (project, destination_number, state, started_at desc, call_id desc) where destination_number is not null`,
  sql`create index calls_by_id on calls (project, call_id collate "C")`,

  sql`create table call_terms (
    project text not null,
    kind text not null,
    term text not null collate "C",
    reversed text not null collate "C",
    primary key (project, kind, term)
  )`,
  sql`create index call_terms_by_end on call_terms (project, kind, reversed)`,
  sql`create table call_counts (
    project text not null,
    state text not null,
    slot integer not null,
    calls bigint not null,
    primary key (project, state, slot)
  )`,
  sql`create table cost_totals (
    project text not null,
    day date not null,
    step text not null,
    provider text not null,
    model text not null,
    slot integer not null,
    requests bigint not null,
    unsettled bigint not null,
    micro_usd bigint not null,
    primary key (project, day, step, provider, model, slot)
  )`,
  // For the dearest calls of some days, from the index alone.
  sql`create index costs_of_calls on costs (project, day) include (call_id, state, micro_usd, reserved_micro_usd)`,

  // Rows in order, so that two transactions never wait for each other.
  sql.raw(`create function note_calls() returns trigger language plpgsql as $$
  begin
    if tg_op = 'INSERT' then
      insert into call_counts as kept (project, state, slot, calls)
        select project, state, pg_backend_pid() % ${SLOTS}, count(*) from fresh group by 1, 2 order by 1, 2
        on conflict (project, state, slot) do update set calls = kept.calls + excluded.calls;
    elsif tg_op = 'UPDATE' then
      insert into call_counts as kept (project, state, slot, calls)
        select project, state, pg_backend_pid() % ${SLOTS}, sum(one) from (select project, state, 1 as one from fresh union all select project, state, -1 from stale) moved
        group by 1, 2 having sum(one) <> 0 order by 1, 2
        on conflict (project, state, slot) do update set calls = kept.calls + excluded.calls;
    else
      insert into call_counts as kept (project, state, slot, calls)
        select project, state, pg_backend_pid() % ${SLOTS}, -count(*) from stale group by 1, 2 order by 1, 2
        on conflict (project, state, slot) do update set calls = kept.calls + excluded.calls;
      return null;
    end if;
    insert into call_terms (project, kind, term, reversed)
      select distinct project, kind, term, reverse(term)
      from fresh, lateral (values ('queue', queue_name), ('agent', agent_name), ('phone', origin_number), ('phone', destination_number)) named (kind, term)
      where term is not null
      order by 1, 2, 3
      on conflict do nothing;
    return null;
  end $$`),
  sql`create trigger note_inserted after insert on calls referencing new table as fresh for each statement execute function note_calls()`,
  sql`create trigger note_updated after update on calls referencing old table as stale new table as fresh for each statement execute function note_calls()`,
  sql`create trigger note_deleted after delete on calls referencing old table as stale for each statement execute function note_calls()`,

  sql.raw(`create function note_costs() returns trigger language plpgsql as $$
  begin
    -- What was spent was spent, also on calls that are erased.
    if tg_op = 'DELETE' and current_setting('app.keep_totals', true) = 'on' then return null; end if;
    if tg_op = 'INSERT' then
      insert into cost_totals as kept
        select project, day, step, provider, model, pg_backend_pid() % ${SLOTS}, count(*), count(*) filter (where state = 'reserved'), sum(case when state = 'settled' then micro_usd else reserved_micro_usd end)
        from fresh group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
        on conflict (project, day, step, provider, model, slot) do update
          set requests = kept.requests + excluded.requests, unsettled = kept.unsettled + excluded.unsettled, micro_usd = kept.micro_usd + excluded.micro_usd;
    elsif tg_op = 'UPDATE' then
      insert into cost_totals as kept
        select project, day, step, provider, model, pg_backend_pid() % ${SLOTS}, sum(one), sum(case when state = 'reserved' then one else 0 end), sum(one * case when state = 'settled' then micro_usd else reserved_micro_usd end)
        from (select 1 as one, fresh.* from fresh union all select -1, stale.* from stale) moved group by 1, 2, 3, 4, 5
        having sum(one) <> 0 or sum(case when state = 'reserved' then one else 0 end) <> 0 or sum(one * case when state = 'settled' then micro_usd else reserved_micro_usd end) <> 0
        order by 1, 2, 3, 4, 5
        on conflict (project, day, step, provider, model, slot) do update
          set requests = kept.requests + excluded.requests, unsettled = kept.unsettled + excluded.unsettled, micro_usd = kept.micro_usd + excluded.micro_usd;
    else
      insert into cost_totals as kept
        select project, day, step, provider, model, pg_backend_pid() % ${SLOTS}, -count(*), -count(*) filter (where state = 'reserved'), -sum(case when state = 'settled' then micro_usd else reserved_micro_usd end)
        from stale group by 1, 2, 3, 4, 5 order by 1, 2, 3, 4, 5
        on conflict (project, day, step, provider, model, slot) do update
          set requests = kept.requests + excluded.requests, unsettled = kept.unsettled + excluded.unsettled, micro_usd = kept.micro_usd + excluded.micro_usd;
    end if;
    return null;
  end $$`),
  sql`create trigger note_inserted after insert on costs referencing new table as fresh for each statement execute function note_costs()`,
  sql`create trigger note_updated after update on costs referencing old table as stale new table as fresh for each statement execute function note_costs()`,
  sql`create trigger note_deleted after delete on costs referencing old table as stale for each statement execute function note_costs()`,

  // What was there before.
  sql`insert into call_counts select project, state, 0, count(*) from calls group by 1, 2`,
  sql`insert into call_terms
    select distinct project, kind, term, reverse(term)
    from calls, lateral (values ('queue', queue_name), ('agent', agent_name), ('phone', origin_number), ('phone', destination_number)) named (kind, term)
    where term is not null`,
  sql`insert into cost_totals
    select project, day, step, provider, model, 0, count(*), count(*) filter (where state = 'reserved'), sum(case when state = 'settled' then micro_usd else reserved_micro_usd end)
    from costs group by 1, 2, 3, 4, 5`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of [...STAGING, ...LISTS]) await statement.execute(db);
  for (const table of ['bulk_rulings', 'bulk_ruling_calls', 'call_terms', 'call_counts', 'cost_totals']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
