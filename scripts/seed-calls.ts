import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { sql } from 'kysely';
import { type Database, migrate, openDatabase } from '../src/db/database.ts';
import { asOwner } from '../src/db/scope.ts';
import { chainText, FIRST_HASH } from '../src/domain/audit.ts';
import { say } from './programs/index.ts';

/**
 * Fills a database with calls as they would be after two years, for measuring.
 *
 * Everything is computed from a call's number, so two runs of it make the same calls. Numbers begin with
 * +999, which no country has; agents are numbered.
 */
export interface Seed {
  calls: number;
  projects: number;
  /** How far back the oldest call lies. */
  days: number;
  auditEntries: number;
  onBatch?: (done: number) => void;
}

const BATCH = 20_000;
/** The first project has half of the calls, the next a quarter, and so on. */
const projectOf = (projects: number) => sql.raw(`case ${Array.from({ length: projects - 1 }, (_, index) => `when n % ${2 ** (index + 1)} = ${2 ** index - 1} then 'seed-${index + 1}'`).join(' ')} else 'seed-${projects}' end`);

const CRITERIA = ['greeting', 'needs', 'presentation', 'objections', 'closing', 'tone'];

export const seedCalls = async (db: Database, { calls, projects, days, auditEntries, onBatch }: Seed): Promise<string[]> => {
  const names = Array.from({ length: projects }, (_, index) => `seed-${index + 1}`);
  for (const id of names) await db.insertInto('projects').values({ id, name: `Seeded ${id}`, settings: '{}' }).onConflict((conflict) => conflict.doNothing()).execute();
  const start = Date.now() - days * 86_400_000;
  for (let from = 0; from < calls; from += BATCH) {
    const to = Math.min(calls, from + BATCH) - 1;
    await db.transaction().execute(async (tx) => {
      await sql`set local synchronous_commit = off`.execute(tx);
      await insertBatch(tx, { from, to, start, stepMs: (days * 86_400_000) / calls, projects, calls });
    });
    onBatch?.(to + 1);
  }
  await seedRuns(db, names, { start, days });
  for (const name of names) await seedAudit(db, name, { entries: Math.ceil(auditEntries / projects), start, days });
  return names;
};

interface Batch {
  from: number;
  to: number;
  start: number;
  stepMs: number;
  projects: number;
  calls: number;
}

const insertBatch = async (tx: Database, { from, to, start, stepMs, projects, calls }: Batch): Promise<void> => {
  // `h` is as good as chance; of each hundred calls some stand in every state, the newest more often than the old.
  await sql`create temporary table seeded on commit drop as
    select n, h, ${projectOf(projects)} as project,
      substr(md5(n::text), 1, 8) || '-' || substr(md5(n::text), 9, 4) || '-4' || substr(md5(n::text), 14, 3) || '-8' || substr(md5(n::text), 18, 3) || '-' || substr(md5(n::text), 21, 12) as call_id,
      to_timestamp((${start}::float8 + n * ${stepMs}::float8) / 1000) as started_at,
      case when h % 100 < 88 or (n < ${calls}::int * 0.98 and h % 100 < 97) then 'completed'
        when h % 100 < 91 then 'rejected' when h % 100 < 93 then 'given_up' when h % 100 < 95 then 'failed'
        when h % 100 = 95 then 'cancelled' when h % 100 = 96 then 'needs_attention' when h % 100 = 97 then 'awaiting_approval'
        when h % 100 = 98 then (array['waiting_for_recording', 'processing', 'needs_attention'])[1 + (h / 100) % 3] else 'staged' end as state
    from (select n, ('x' || substr(md5(n::text), 1, 7))::bit(28)::int as h from generate_series(${from}::int, ${to}::int) as n) numbered`.execute(tx);
  await sql`analyze seeded`.execute(tx);
  await sql`insert into calls (project, call_id, source, details, started_at, state, step, attention, result, reason, version, first_seen_at, updated_at, ended_at)
    select project, call_id, case when h % 1000 < 3 then 'upload' when h % 10 < 3 then 'amocrm' else 'webex' end,
      jsonb_build_object('source', case when h % 1000 < 3 then 'upload' when h % 10 < 3 then 'amocrm' else 'webex' end, 'callId', call_id, 'status', 'completed',
        'direction', case when h % 3 = 0 then 'outbound' else 'inbound' end,
        'originPhone', '+999' || lpad((h % 4000037)::text, 8, '0'), 'destinationPhone', '+9991000' || lpad((h % 40)::text, 4, '0'),
        'queueName', (array['Business Sales','Consumer Support','Renewals','Complaints','Enterprise Desk','Billing','Retention','Night Line'])[1 + h % 8] || ' ' || (1 + h % 3),
        'agentName', 'Agent ' || lpad((h % 300)::text, 3, '0'), 'startedAtMs', (extract(epoch from started_at) * 1000)::bigint, 'durationMs', 30000 + h % 900000),
      started_at, state,
      case when state = 'needs_attention' then (array['transcription','analysis','crm'])[1 + h % 3] when state = 'processing' then 'transcription' when state = 'awaiting_approval' and (h / 100) % 10 = 5 then 'crm' end,
      case when state = 'needs_attention' then jsonb_build_object('step', 'crm', 'code', (array['CRM_REJECTED','BUDGET_REACHED','QUOTA_EXHAUSTED'])[1 + h % 3], 'message', 'as seeded', 'advice', 'none', 'attempts', 5, 'sinceMs', 0) end,
      case when state = 'completed' then (array['processed','processed','processed','processed','processed','processed','too_short','no_recording','abandoned','processed'])[1 + h % 10] end,
      case when state in ('rejected', 'given_up') then 'as seeded' end, 1, started_at + interval '10 minutes', started_at + interval '20 minutes',
      case when state in ('completed', 'rejected', 'given_up', 'failed', 'cancelled') then started_at + interval '20 minutes' end
    from seeded`.execute(tx);
  await sql`insert into call_versions (project, call_id, version, run_id, started_from, recording, transcript, metadata, analysis, crm, delivery, state, result, reason, started_at, ended_at)
    select c.project, c.call_id, 1, c.project || '.webex.' || to_char(c.started_at, 'YYYY-MM-DD"T"HH24:00:00"Z"'), 'recording',
      jsonb_build_object('key', 'call-detail/' || c.call_id || '/recording.wav', 'bytes', 1000000 + s.h % 9000000, 'sha256', md5(c.call_id) || md5(c.call_id), 'format', 'wav', 'recordingId', c.call_id, 'fileName', 'recording.wav'),
      jsonb_build_object('key', 'call-detail/' || c.call_id || '/transcript.json', 'turns', 10 + s.h % 60, 'durationMs', 30000 + s.h % 900000, 'provider', 'openai', 'model', 'gpt-4o-transcribe-diarize'),
      jsonb_build_object('key', 'call-data/' || c.call_id || '.json', 'registered', true),
      case when c.result = 'processed' then jsonb_build_object('call_id', c.call_id, 'summary', 'A seeded call, ' || md5(s.n::text), 'sentiment', 'neutral',
        'grading', jsonb_build_object('total_score_percent', s.h % 101, 'pass', s.h % 101 >= 70, 'categories', '{}'::jsonb), 'issues_detected', '[]'::jsonb, 'recommendations', '[]'::jsonb,
        'answers', (select jsonb_agg(jsonb_build_object('criterion', criterion, 'verdict', 'yes', 'claimed', 'yes', 'reason', md5(criterion || s.n), 'evidence', jsonb_build_array(jsonb_build_object('quote', md5(s.n || criterion), 'speaker', 'agent', 'turn', 1, 'startMs', 0, 'endMs', 1)), 'rejected', '[]'::jsonb)) from unnest(${sql.val(CRITERIA)}::text[]) as criterion),
        'versions', jsonb_build_object('prompt', '1', 'rubric', 'sales@1', 'model', 'gpt-5-mini', 'provider', 'openai'), 'usage', jsonb_build_object('kind', 'llm'), 'cost_micro_usd', 2000) end,
      case when c.result = 'processed' then jsonb_build_object('scenario', 'good_lead', 'action', 'create_lead', 'reasons', '[]'::jsonb, 'records', '{}'::jsonb) end,
      case when c.state = 'completed' then '{"deliveredAtMs": 0}'::jsonb end, c.state, c.result, c.reason, c.started_at, c.ended_at
    from seeded s join calls c using (project, call_id)`.execute(tx);
  await sql`insert into costs (key, project, call_id, version, step, kind, provider, model, state, usage, micro_usd, reserved_micro_usd, day, request_id, reserved_at, settled_at)
    select md5(s.call_id || part) || ':1', s.project, s.call_id, 1, step, kind, 'openai', model, case when s.h % 5000 = 1 then 'reserved' else 'settled' end, jsonb_build_object('kind', kind), price + s.h % 3000, price + 3000, (s.started_at at time zone 'utc')::date, 'req-' || substr(md5(s.call_id || part), 1, 12), s.started_at, s.started_at + interval '1 minute'
    from seeded s cross join (values ('a', 'transcription', 'stt', 'gpt-4o-transcribe-diarize', 6000), ('b', 'analysis', 'llm', 'gpt-5-mini', 2000), ('c', 'crm', 'llm', 'gpt-5-mini', 1500)) as paid (part, step, kind, model, price)
    where s.state = 'completed'`.execute(tx);
  await sql`insert into effects (key, project, call_id, version, effect, target, class, state, intent, receipt, planned_at, done_at)
    select md5(call_id || 'effect'), project, call_id, 1, 'create_lead', 'salesforce', 'upsert_by_key', 'done', '{}', '{"leadId": "00Q000000000000"}', started_at, started_at from seeded where state = 'completed' and h % 3 = 0`.execute(tx);
  await sql`insert into spending (project, day, micro_usd) select project, day, sum(micro_usd) from costs where (project, call_id) in (select project, call_id from seeded) group by 1, 2 on conflict (project, day) do update set micro_usd = spending.micro_usd + excluded.micro_usd`.execute(tx);
};

/** A window an hour. */
const seedRuns = async (db: Database, projects: string[], { start, days }: { start: number; days: number }): Promise<void> => {
  for (const project of projects) {
    await sql`insert into runs (id, project, source, window_from, window_to, state, pages, report, report_key, log_key, started_at, ended_at)
      select ${project} || '.webex.' || to_char(at, 'YYYY-MM-DD"T"HH24:00:00"Z"'), ${project}, 'webex', at - interval '7 days', at, 'completed', 3, '{}', 'reports/seeded.json', 'logs/seeded.ndjson', at, at + interval '5 minutes'
      from generate_series(date_trunc('hour', to_timestamp(${start / 1_000})), date_trunc('hour', to_timestamp(${start / 1_000})) + ${`${days} days`}::interval, interval '1 hour') as at
      on conflict do nothing`.execute(db);
  }
};

/** A chain as `createAudit` would have written it. */
const seedAudit = async (db: Database, project: string, { entries, start, days }: { entries: number; start: number; days: number }): Promise<void> => {
  let previous = FIRST_HASH;
  for (let from = 1; from <= entries; from += BATCH) {
    const rows = Array.from({ length: Math.min(BATCH, entries - from + 1) }, (_, index) => {
      const seq = from + index;
      const at = new Date(start + (seq / entries) * days * 86_400_000).toISOString();
      const entry = { project, seq, at, actor: 'lead@example.org', actorKind: 'user' as const, action: 'calls.retry', target: `call-${seq % 5_000}`, details: {}, requestId: `seed-${seq}` };
      const hash = createHash('sha256').update(chainText(entry, previous)).digest('hex');
      const row = { ...entry, actor_kind: 'user', request_id: entry.requestId, previous_hash: previous, hash };
      previous = hash;
      return row;
    });
    await sql`insert into audit_log (project, seq, at, actor, actor_kind, action, target, details, request_id, previous_hash, hash)
      select project, seq, at, actor, actor_kind, action, target, details, request_id, previous_hash, hash
      from jsonb_to_recordset(${JSON.stringify(rows)}::jsonb) as row (project text, seq bigint, at timestamptz, actor text, actor_kind text, action text, target text, details jsonb, request_id text, previous_hash text, hash text)`.execute(db);
  }
  await db.insertInto('audit_heads').values({ project, seq: entries, hash: previous }).execute();
};

const main = async (): Promise<void> => {
  const { values } = parseArgs({ options: { calls: { type: 'string', default: '1000000' }, projects: { type: 'string', default: '4' }, days: { type: 'string', default: '730' } } });
  const url = process.env['DATABASE_URL'];
  if (!url?.startsWith('postgres')) throw new Error('Set DATABASE_URL to the PostgreSQL database that is to be filled: an empty one, made for this.');
  const db = await openDatabase(url);
  try {
    await migrate(db);
    const calls = Number(values.calls);
    const began = Date.now();
    await seedCalls(db, { calls, projects: Number(values.projects), days: Number(values.days), auditEntries: 100_000, onBatch: (done) => say(`${done.toLocaleString('en')} of ${calls.toLocaleString('en')} calls, ${Math.round((Date.now() - began) / 1_000)} s`) });
    // As a database in use would have been.
    await asOwner(() => sql`vacuum analyze`.execute(db));
    say(`Seeded in ${Math.round((Date.now() - began) / 1_000)} s.`);
  } finally {
    await db.destroy();
  }
};

if (import.meta.main) await main();
