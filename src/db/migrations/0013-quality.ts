import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

/** One row per call with what calls are compared by: scores and answers of the newest run, as corrected by people. */
const STATEMENTS = [
  sql`create table call_analysis (
    project text not null,
    call_id text not null,
    version integer not null,
    started_at timestamptz not null,
    agent text,
    queue text,
    category text,
    direction text not null,
    score_percent smallint,
    pass boolean,
    sentiment text not null,
    verdicts jsonb not null,
    patterns text[] not null,
    rubric text not null,
    updated_at timestamptz not null default now(),
    primary key (project, call_id),
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index call_analysis_by_time on call_analysis (project, started_at)`,
  sql`alter table call_analysis enable row level security`,
  sql`alter table call_analysis force row level security`,
  sql.raw(`create policy of_project on call_analysis using (${VISIBLE}) with check (${VISIBLE})`),
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
};
