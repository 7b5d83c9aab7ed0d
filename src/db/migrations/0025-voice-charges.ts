import { type Kysely, sql } from 'kysely';

/** What a voice provider charged is a cost from when it is known, and not only once the voice call has become one of `calls`. */
const STATEMENTS = [
  sql`alter table costs alter column call_id drop not null`,
  sql`alter table costs add column voice_call_id text`,
  sql`alter table costs add constraint costs_of_a_call check (call_id is not null or voice_call_id is not null)`,
  sql`alter table costs add constraint costs_of_a_voice_call foreign key (project, voice_call_id) references voice_calls (project, id) on delete cascade`,
  sql`create index costs_by_voice_call on costs (project, voice_call_id) where voice_call_id is not null`,
  sql`drop index costs_of_calls`,
  sql`create index costs_of_calls on costs (project, day) include (call_id, voice_call_id, state, micro_usd, reserved_micro_usd)`,

  // As before; and also when a cost goes over to the call that its voice call has become.
  sql.raw(`create or replace function warehouse_note_costs() returns trigger language plpgsql set enable_nestloop = off as $$
  begin
    if tg_op = 'INSERT' then
      insert into warehouse_changes (project, kind, unit, dt)
        select project, 'cost', key, day from fresh union all select distinct project, 'call', call_id, null::date from fresh where call_id is not null;
    elsif tg_op = 'DELETE' then
      insert into warehouse_changes (project, kind, unit, dt)
        select project, 'cost', key, day from stale union all select distinct project, 'call', call_id, null::date from stale where call_id is not null;
    else
      insert into warehouse_changes (project, kind, unit, dt)
        with moved as (
          select project, key, fresh.day as day, stale.day as was_day, fresh.call_id as call_id, stale.call_id as was_call_id
          from fresh join stale using (project, key)
          where (fresh.state, fresh.micro_usd, fresh.reserved_micro_usd, fresh.model, fresh.usage, fresh.day, fresh.call_id)
            is distinct from (stale.state, stale.micro_usd, stale.reserved_micro_usd, stale.model, stale.usage, stale.day, stale.call_id)
        )
        select project, 'cost', key, day from moved union select project, 'cost', key, was_day from moved
        union select project, 'call', call_id, null::date from moved where call_id is not null
        union select project, 'call', was_call_id, null::date from moved where was_call_id is not null;
    end if;
    return null;
  end $$`),

  // What was charged before, on the days on which it was.
  sql`with told as (
      insert into costs (key, project, call_id, voice_call_id, version, step, kind, provider, model, state, usage, micro_usd, day, settled_at)
      select 'voice:' || encode(sha256(convert_to('[' || to_json(project)::text || ',' || to_json(provider_call_id)::text || ',"retell"]', 'UTF8')), 'hex'), project,
        (select calls.call_id from calls where calls.project = voice_calls.project and calls.call_id = voice_calls.call_id), id, 1, 'voice', 'voice', 'retell', 'call', 'settled',
        jsonb_build_object('kind', 'voice', 'seconds', ceil(coalesce((observed ->> 'durationMs')::numeric, 0) / 1000), 'products', '[]'::jsonb),
        round((observed ->> 'costCents')::numeric * 10000), (coalesce(ended_at, requested_at) at time zone 'UTC')::date, now()
      from voice_calls where provider_call_id is not null and (observed ->> 'costCents')::numeric > 0
      on conflict do nothing returning project, day, micro_usd
    )
    insert into spending as kept (project, day, micro_usd) select project, day, sum(micro_usd) from told group by 1, 2
      on conflict (project, day) do update set micro_usd = kept.micro_usd + excluded.micro_usd`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
};
