import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** What a request may cost is set aside before it is made, and counted under the day on which that was. */
const STATEMENTS = [
  sql`alter table costs add column reserved_micro_usd bigint not null default 0`,
  sql`alter table costs add column day date not null default (now() at time zone 'utc')::date`,
  sql`create index costs_by_day on costs (project, day)`,
  sql`create table spending (
    project text not null references projects (id),
    day date not null,
    micro_usd bigint not null default 0,
    primary key (project, day)
  )`,
  sql`insert into spending (project, day, micro_usd)
    select project, (reserved_at at time zone 'utc')::date, sum(micro_usd) from costs group by 1, 2`,
  sql`update costs set day = (reserved_at at time zone 'utc')::date`,
  sql`alter table spending enable row level security`,
  sql`alter table spending force row level security`,
  sql.raw(`create policy of_project on spending using (${VISIBLE}) with check (${VISIBLE})`),
  sql`create index calls_by_attention on calls (project, (attention ->> 'code')) where attention is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
};
