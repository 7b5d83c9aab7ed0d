import { type Selectable, sql } from 'kysely';
import type { CostKind } from '../domain/cost.ts';
import { AftercallError } from '../domain/errors.ts';
import type { CountedRun, ExecutionReport } from '../domain/report.ts';
import { type Database, json, storable } from './database.ts';
import type { RunsTable } from './schema.ts';

export interface RunRow {
  id: string;
  project: string;
  source: string;
  windowFrom: Date;
  windowTo: Date;
  state: 'reading' | 'settling' | 'completed' | 'failed';
  pages: number;
  error: string | null;
  report: ExecutionReport | null;
  reportKey: string | null;
  logKey: string | null;
  startedAt: Date;
  endedAt: Date | null;
}

export type Disposition = 'new' | 'skipped' | 'open';

export const createRuns = (db: Database) => ({
  /** Opens a run; repeating it changes nothing. */
  async open(run: { id: string; project: string; source: string; windowFrom: Date; windowTo: Date }): Promise<void> {
    await db
      .insertInto('runs')
      .values({ id: run.id, project: run.project, source: run.source, window_from: run.windowFrom, window_to: run.windowTo, state: 'reading' })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
  },

  /** Notes what a page held. A call that an earlier attempt started stays `new`, however often it is read again. */
  async noteTasks(runId: string, tasks: { callId: string; disposition: Disposition }[], pages: number): Promise<void> {
    if (tasks.length > 0) {
      await sql`insert into run_tasks (run_id, call_id, disposition)
        select ${runId}, call_id, disposition
        from jsonb_to_recordset(${json(tasks.map((task) => ({ call_id: task.callId, disposition: task.disposition })))}::jsonb)
          as page (call_id text, disposition text)
        on conflict (run_id, call_id) do update set disposition =
          case when run_tasks.disposition = 'new' then 'new' else excluded.disposition end`.execute(db);
    }
    await db.updateTable('runs').set({ pages }).where('id', '=', runId).execute();
  },

  async setState(id: string, change: { state: RunRow['state']; error?: string }): Promise<void> {
    await db
      .updateTable('runs')
      .set({ state: change.state, error: change.error === undefined ? null : storable(change.error), ...(change.state === 'failed' ? { ended_at: sql<Date>`now()` } : {}) })
      .where('id', '=', id)
      .execute();
  },

  /** Calls of the run that are neither ended nor waiting for a person. */
  async countUnsettled(id: string): Promise<number> {
    const row = await db
      .selectFrom('call_versions')
      .select((count) => count.fn.countAll<number>().as('calls'))
      .where('run_id', '=', id)
      .where('state', 'in', ['staged', 'processing', 'waiting_for_recording'])
      .executeTakeFirstOrThrow();
    return Number(row.calls);
  },

  async count(id: string): Promise<CountedRun> {
    // What another run has taken over since, because the call's workflow was ended in Temporal, is that one's.
    const tasks = (
      await sql<{ disposition: Disposition; calls: number }>`
        select case when task.disposition = 'new' and version.call_id is null then 'skipped' else task.disposition end as disposition, count(*) as calls
        from run_tasks task join runs run on run.id = task.run_id
        left join lateral (select call_id from call_versions where project = run.project and call_id = task.call_id and run_id = run.id limit 1) version on true
        where task.run_id = ${id} group by 1`.execute(db)
    ).rows;
    const calls = await db
      .selectFrom('call_versions')
      .select(['state', 'result', (count) => count.fn.countAll<number>().as('calls')])
      .where('run_id', '=', id)
      .groupBy(['state', 'result'])
      .execute();
    const artefacts = await db
      .selectFrom('call_versions')
      .select([(count) => count.fn.count<number>('transcript').as('transcripts'), (count) => count.fn.count<number>('analysis').as('analyses')])
      .where('run_id', '=', id)
      .executeTakeFirstOrThrow();
    // A run of a call again finds what its first run did; that is not done a second time, so it counts as left out.
    const crm = await sql<{ scenario: string; action: string; calls: number }>`
      select case when already then 'already_done' else crm->>'scenario' end as scenario, case when already then 'none' else crm->>'action' end as action, count(*) as calls
      from (
        select crm, exists (
          select from effects
          where effects.project = version.project and effects.call_id = version.call_id and effects.effect = version.crm->>'action'
            and effects.state = 'done' and effects.done_at < version.started_at
        ) as already
        from call_versions version where run_id = ${id} and crm is not null
      ) acted group by 1, 2`.execute(db);
    const cost = await sql<{ kind: CostKind; micro_usd: number; unsettled: number }>`
      select costs.kind, coalesce(sum(costs.micro_usd), 0)::bigint as micro_usd, count(*) filter (where costs.state = 'reserved') as unsettled
      from costs join call_versions using (project, call_id, version)
      where call_versions.run_id = ${id} group by costs.kind`.execute(db);
    const costOf = (kind: CostKind) => Number(cost.rows.find((row) => row.kind === kind)?.micro_usd ?? 0);
    const tasksOf = (disposition: Disposition) => Number(tasks.find((row) => row.disposition === disposition)?.calls ?? 0);
    return {
      tasks: { new: tasksOf('new'), skipped: tasksOf('skipped'), open: tasksOf('open') },
      calls: calls.map((row) => ({ state: row.state, result: row.result, calls: Number(row.calls) })),
      transcripts: Number(artefacts.transcripts),
      analyses: Number(artefacts.analyses),
      crm: crm.rows.map((row) => ({ ...row, calls: Number(row.calls) })),
      cost: {
        sttMicroUsd: costOf('stt'),
        diarizationMicroUsd: costOf('diarization'),
        llmMicroUsd: costOf('llm'),
        voiceMicroUsd: costOf('voice'),
        unsettledRequests: cost.rows.reduce((sum, row) => sum + Number(row.unsettled), 0),
      },
    };
  },

  /** Keeps the report and drops the run's worklist and log, which the report and the log file replace. */
  async complete(id: string, { report, reportKey, logKey }: { report: ExecutionReport; reportKey: string; logKey: string }): Promise<void> {
    await db.transaction().execute(async (tx) => {
      await tx
        .updateTable('runs')
        .set({ state: 'completed', report: json(report), report_key: reportKey, log_key: logKey, ended_at: report.finishedAt })
        .where('id', '=', id)
        .execute();
      await tx.deleteFrom('run_tasks').where('run_id', '=', id).execute();
      await tx.deleteFrom('run_log').where('run_id', '=', id).execute();
    });
  },

  async get(project: string, id: string): Promise<RunRow> {
    const row = await db.selectFrom('runs').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();
    if (!row) {
      throw new AftercallError('NOT_FOUND', `There is no run ${id} in project ${project}.`, { advice: 'List the runs to see their IDs.' });
    }
    return toRun(row);
  },

  /** Newest first; `after` is the last row of the page before. */
  async list(project: string, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<RunRow[]> {
    let query = db.selectFrom('runs').selectAll().where('project', '=', project);
    if (after) query = query.where(sql<boolean>`(started_at, id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
    const rows = await query.orderBy('started_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
    return rows.map(toRun);
  },

  /** Adds a line to the run's log. */
  async log(runId: string, level: 'info' | 'warn' | 'error', message: string, fields: Record<string, unknown> = {}): Promise<void> {
    await db.insertInto('run_log').values({ run_id: runId, level, message, fields: json(fields) }).execute();
  },

  /** The run's log in order, `limit` lines after the one with ID `after`. */
  async readLog(runId: string, { limit, after }: { limit: number; after?: number }): Promise<{ id: number; at: Date; level: string; message: string; fields: Record<string, unknown> }[]> {
    const rows = await db
      .selectFrom('run_log')
      .selectAll()
      .where('run_id', '=', runId)
      .where('id', '>', String(after ?? 0))
      .orderBy('id')
      .limit(limit)
      .execute();
    return rows.map((row) => ({ id: Number(row.id), at: row.at, level: row.level, message: row.message, fields: row.fields }));
  },
});

export type Runs = ReturnType<typeof createRuns>;

const toRun = (row: Selectable<RunsTable>): RunRow => ({
  id: row.id,
  project: row.project,
  source: row.source,
  windowFrom: row.window_from,
  windowTo: row.window_to,
  state: row.state,
  pages: row.pages,
  error: row.error,
  report: row.report,
  reportKey: row.report_key,
  logKey: row.log_key,
  startedAt: row.started_at,
  endedAt: row.ended_at,
});
