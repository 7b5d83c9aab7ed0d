import { type Kysely, sql } from 'kysely';

const VISIBLE = "current_setting('app.project', true) = '*' or project = current_setting('app.project', true)";

const STATEMENTS = [
  sql`create table reviews (
    project text not null,
    call_id text not null,
    version integer not null,
    revision integer not null,
    analysis_version integer not null,
    kind text not null check (kind in ('correct', 'confirm', 'override', 'swap_speakers', 'undo')),
    act jsonb not null,
    undoes integer,
    verdicts jsonb,
    claimed jsonb,
    stamps jsonb not null,
    by_name text not null,
    by_kind text not null,
    at timestamptz not null default now(),
    primary key (project, call_id, version, revision),
    foreign key (project, call_id, version) references call_versions (project, call_id, version) on delete cascade
  )`,
  sql`create index reviews_by_rubric on reviews (project, (stamps ->> 'rubric'), at) where verdicts is not null`,
  // A call that is erased takes its reviews with it; nothing else removes or changes one.
  sql`create function refuse_review_change() returns trigger language plpgsql as $$
  begin
    -- When a call's words are forgotten, its reviews keep what was decided.
    if current_setting('app.forget_words', true) = 'on' then return new; end if;
    raise exception 'reviews are append-only: undo one instead';
  end $$`,
  sql`create trigger append_only before update on reviews for each row execute function refuse_review_change()`,

  sql`create table question_standings (
    project text not null references projects (id),
    rubric text not null,
    criterion text not null,
    agreement jsonb not null,
    advisory boolean not null default false,
    changed_at timestamptz not null default now(),
    primary key (project, rubric, criterion)
  )`,
  sql`create table review_publications (
    project text not null,
    call_id text not null,
    wanted integer not null default 1,
    attempted integer not null default 0,
    done integer not null default 0,
    state text not null default 'pending' check (state in ('pending', 'done', 'failed')),
    error jsonb,
    next_look_at timestamptz not null default now(),
    updated_at timestamptz not null default now(),
    primary key (project, call_id),
    foreign key (project, call_id) references calls (project, call_id) on delete cascade
  )`,
  sql`create index review_publications_pending on review_publications (next_look_at) where state = 'pending'`,

  sql`alter table call_versions add column advisory jsonb`,
  // The newest version's score as it stands, and where the call stands in the queue of those to be reviewed.
  sql`alter table calls add column score_percent smallint`,
  sql`alter table calls add column passed boolean`,
  sql`alter table calls add column doubts smallint`,
  sql`alter table calls add column lot integer`,
  sql`update calls set
      score_percent = (analysis #>> '{grading,total_score_percent}')::smallint,
      passed = (analysis #>> '{grading,pass}')::boolean,
      doubts = (select count(*) from jsonb_array_elements(analysis -> 'answers') answer where answer ->> 'verdict' = 'not_evidenced' or answer -> 'rejected' <> '[]'),
      lot = ('x' || substr(md5(calls.project || '/' || calls.call_id), 1, 7))::bit(28)::integer
    from call_versions newest
    where newest.project = calls.project and newest.call_id = calls.call_id and newest.version = calls.version and newest.analysis is not null`,
  sql`create index calls_in_doubt on calls (project, doubts desc, lot, call_id) where doubts is not null`,
  sql`create index calls_by_lot on calls (project, lot, call_id) where doubts is not null`,
];

export const up = async (db: Kysely<unknown>): Promise<void> => {
  for (const statement of STATEMENTS) await statement.execute(db);
  for (const table of ['reviews', 'question_standings', 'review_publications']) {
    await sql.raw(`alter table ${table} enable row level security`).execute(db);
    await sql.raw(`alter table ${table} force row level security`).execute(db);
    await sql.raw(`create policy of_project on ${table} using (${VISIBLE}) with check (${VISIBLE})`).execute(db);
  }
};
