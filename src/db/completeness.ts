import { type RawBuilder, type Selectable, sql } from 'kysely';
import type { CallState } from '../domain/call.ts';
import type { DayCounts, DayKey, GapReason, OpenedDay, Standing, Tally, Verdict } from '../domain/completeness.ts';
import { isSettled } from '../domain/completeness.ts';
import type { KnownDay } from '../domain/days-due.ts';
import { AftercallError } from '../domain/errors.ts';
import { type GivenSource, isGivenSource } from '../domain/given.ts';
import { type Database, json, storable } from './database.ts';
import type { CompletenessDaysTable, CompletenessListedTable, Side } from './schema.ts';

export interface DayRow extends DayKey, DayCounts {
  timeZone: string;
  fromAt: Date;
  toAt: Date;
  state: 'running' | 'done' | 'failed';
  askedBy: string | null;
  startedAt: Date;
  checkedAt: Date | null;
  checks: number;
  error: string | null;
  settled: boolean;
}

export interface GapRow {
  callId: string;
  side: Side;
  reason: GapReason;
  detail: string | null;
  /** How the call stands now, which may be further than when the day was compared; null where we have none. */
  standing: (Standing & { state: CallState }) | null;
}

/** What a source lists of a call, as far as it is compared. */
export interface ListedCall {
  callId: string;
  status: Exclude<CompletenessListedTable['status'], 'erased'>;
  problem?: string | undefined;
}

/** A call that is compared, with how it stands here. */
export interface ComparedCall {
  callId: string;
  side: Side;
  status: CompletenessListedTable['status'];
  problem: string | null;
  ours: (Standing & { version: number; step: string | null; attention: { code: string; message: string } | null; updatedAt: Date }) | null;
}

/** Where a list of receipts goes on. To the microsecond: an upload brings thousands in one moment. */
export interface ReceiptPosition {
  received: string;
  eventId: string;
}

/** Of which days the list is asked for. */
export interface DayFilter {
  source?: string;
  fromDay?: string;
  toDay?: string;
  /** `any`: with any gap; `open`: not at its end; `unexplained`: with something that nobody can explain, or that could not be compared. */
  gaps?: 'any' | 'open' | 'unexplained';
}

const METRIC_DAYS = 31;
const CLASSIFIED_AT_ONCE = 1_000;

const hashOf = (callId: RawBuilder<unknown>): RawBuilder<string> => sql`encode(sha256(convert_to(project || '/' || ${callId}, 'UTF8')), 'hex')`;

export const createCompleteness = (db: Database) => ({
  /** Begins a comparison, and drops what an older one has left. Repeating it with the same token changes nothing. */
  async open({ project, source, day }: DayKey, { timeZone, fromMs, toMs, token, by }: { timeZone: string; fromMs: number; toMs: number; token: string; by?: string | undefined }): Promise<void> {
    const begun = { time_zone: timeZone, from_at: new Date(fromMs), to_at: new Date(toMs), state: 'running' as const, token, asked_by: by ?? null, started_at: sql<Date>`now()`, error: null };
    const byTimetable = by === undefined;
    await db.transaction().execute(async (tx) => {
      const opened = await tx
        .insertInto('completeness_days')
        .values({ project, source, day, ...begun, by_timetable: byTimetable })
        .onConflict((conflict) => conflict.columns(['project', 'source', 'day']).doUpdateSet({ ...begun, by_timetable: sql<boolean>`completeness_days.by_timetable or ${byTimetable}` }).where('completeness_days.token', '<>', token))
        .returning('day')
        .executeTakeFirst();
      if (opened) await tx.deleteFrom('completeness_listed').where('project', '=', project).where('source', '=', source).where('day', '=', day).execute();
    });
  },

  /** From when on a source has been watched: calls from before were never asked for. Undefined when nothing has come of it yet. */
  async watchedFrom(project: string, source: string): Promise<Date | undefined> {
    const { rows } = await sql<{ at: Date | null }>`
      select least(
        (select min(window_from) from runs where project = ${project} and source = ${source}),
        (select min(first_seen_at) from calls where project = ${project} and source = ${source}),
        (select min(received_at) from inbox where project = ${project} and source = ${source} and about is not null),
        -- What we placed we asked for, also where nothing has come back of the first of them.
        (select min(requested_at) from voice_calls where project = ${project} and ${source} = 'retell')
      ) as at`.execute(db);
    return rows[0]?.at ?? undefined;
  },

  /** What there is of a source's days, from a day on, in their order, and the first of all that was not only asked for by a person. */
  async daysSince(project: string, source: string, day: string): Promise<{ known: KnownDay[]; firstDay: string | undefined }> {
    const first = await db.selectFrom('completeness_days').select(sql<string | null>`min(day)`.as('day')).where('project', '=', project).where('source', '=', source).where('by_timetable', '=', true).executeTakeFirst();
    const rows = await db.selectFrom('completeness_days').select(['day', 'state', 'settled', 'checked_at', 'to_at', 'time_zone']).where('project', '=', project).where('source', '=', source).where('day', '>=', day).orderBy('day').execute();
    return { known: rows.map((row) => ({ day: row.day, done: row.state === 'done', settled: row.settled, checkedAtMs: row.checked_at?.getTime() ?? 0, toMs: row.to_at.getTime(), timeZone: row.time_zone })), firstDay: first?.day ?? undefined };
  },

  /**
   * Writes down what a source lists. A call that comes twice is one.
   *
   * @returns those that we do not have and could take in, or have without anybody having begun them
   */
  async noteListed({ project, source, day }: DayKey, listed: readonly ListedCall[]): Promise<string[]> {
    const calls = [...new Map(listed.map((call) => [storable(call.callId), call])).entries()].map(([call_id, { status, problem }]) => ({ call_id, status, problem: problem ?? null }));
    if (calls.length === 0) return [];
    const { rows } = await sql<{ call_id: string; missing: boolean; status: string; state: string | null; stale: boolean | null }>`
      with page as (
        select ${project}::text as project, call_id, status, problem
        from jsonb_to_recordset(${json(calls)}::jsonb) as page (call_id text, status text, problem text)
      ), seen as (
        select page.*, exists (select from erased_calls gone where gone.project = page.project and gone.call_hash = ${hashOf(sql`call_id`)}) as erased
        from page
      ), noted as (
        insert into completeness_listed (project, source, day, call_id, side, status, problem, missing)
        select project, ${source}, ${day},
          -- What was erased is not written down again, only that there was something.
          case when erased then ${hashOf(sql`call_id`)} else call_id end, 'listed', case when erased then 'erased' else status end, problem,
          not erased and not exists (select from calls where calls.project = seen.project and calls.call_id = seen.call_id)
        from seen
        on conflict (project, source, day, call_id) do update set
          side = 'listed', status = excluded.status, problem = excluded.problem, verdict = null, detail = null,
          missing = completeness_listed.missing or excluded.missing
        returning call_id, missing, status
      )
      select noted.call_id, noted.missing, noted.status, calls.state, calls.updated_at < now() - interval '5 minutes' as stale
      from noted left join calls on calls.project = ${project} and calls.call_id = noted.call_id`.execute(db);
    return rows.filter(({ status, state, stale }) => (status === 'completed' || status === 'abandoned') && (state === null || (state === 'staged' && stale))).map((row) => row.call_id);
  },

  /** Writes down that calls could have been taken in, and were not to be. */
  async noteOnlyCompared({ project, source, day }: DayKey, callIds: readonly string[]): Promise<void> {
    if (callIds.length === 0) return;
    await db.updateTable('completeness_listed').set({ status: 'only_compared' }).where('project', '=', project).where('source', '=', source).where('day', '=', day).where('call_id', 'in', callIds).execute();
  },

  /** Writes down why calls could not be taken in. */
  async noteProblem({ project, source, day }: DayKey, callIds: readonly string[], problem: string): Promise<void> {
    if (callIds.length === 0) return;
    await db.updateTable('completeness_listed').set({ problem: storable(problem) }).where('project', '=', project).where('source', '=', source).where('day', '=', day).where('call_id', 'in', callIds).execute();
  },

  /** Receipts of calls that were handed in on a day, in the order in which they came. */
  async receipts({ project, source }: { project: string; source: GivenSource }, { fromMs, toMs, after, limit }: { fromMs: number; toMs: number; after?: ReceiptPosition | undefined; limit: number }): Promise<(ReceiptPosition & { about: string | null; delivered: boolean; error: string | null })[]> {
    const { rows } = await sql<{ event_id: string; received: string; about: string | null; delivered: boolean; error: string | null }>`
      select event_id, received_at::text as received, about, delivered_at is not null as delivered, error from inbox
      where project = ${project} and source = ${source}
        and received_at >= ${new Date(fromMs).toISOString()}::timestamptz and received_at < ${new Date(toMs).toISOString()}::timestamptz
        ${after === undefined ? sql`` : sql`and (received_at, event_id) > (${after.received}::timestamptz, ${after.eventId})`}
      order by received_at, event_id limit ${limit}`.execute(db);
    return rows.map(({ event_id: eventId, ...row }) => ({ eventId, ...row }));
  },

  /** Drops what was found of days of more than a year ago, and with it the IDs that stand nowhere else. One that somebody has had compared lately stays for a month. */
  async sweep(): Promise<void> {
    await sql`delete from completeness_days where day < to_char(now() - interval '1 year', 'YYYY-MM-DD') and started_at < now() - interval '31 days'`.execute(db);
  },

  /** Some calls of ours of that day that the source did not list and nobody has looked for yet, in the order of their start. */
  async unlisted({ project, source, day }: DayKey, { fromMs, toMs }: Pick<OpenedDay, 'fromMs' | 'toMs'>, limit: number): Promise<{ callId: string; startedAtMs: number }[]> {
    const at = isGivenSource(source) ? sql.ref('first_seen_at') : sql.ref('started_at');
    const { rows } = await sql<{ call_id: string; started_at: Date }>`
      select call_id, started_at from calls
      where project = ${project} and source = ${source} and ${at} >= ${new Date(fromMs).toISOString()}::timestamptz and ${at} < ${new Date(toMs).toISOString()}::timestamptz
        and not exists (select from completeness_listed seen where seen.project = ${project} and seen.source = ${source} and seen.day = ${day} and seen.call_id = calls.call_id)
        -- One that is about to be erased stands there by its hash.
        and not exists (select from erased_calls gone where gone.project = ${project} and gone.call_hash = ${hashOf(sql`calls.call_id`)})
      order by started_at, call_id limit ${limit}`.execute(db);
    return rows.map((row) => ({ callId: row.call_id, startedAtMs: row.started_at.getTime() }));
  },

  /** Whether the source has listed anything of the day. */
  async anyListed({ project, source, day }: DayKey): Promise<boolean> {
    return (await db.selectFrom('completeness_listed').select('call_id').where('project', '=', project).where('source', '=', source).where('day', '=', day).where('side', '=', 'listed').limit(1).executeTakeFirst()) !== undefined;
  },

  /** Which of these calls there are receipts of. */
  async received(project: string, source: string, callIds: readonly string[]): Promise<Set<string>> {
    if (callIds.length === 0) return new Set();
    const rows = await db.selectFrom('inbox').select('about').distinct().where('project', '=', project).where('source', '=', source).where('about', 'in', callIds).execute();
    return new Set(rows.map(({ about }) => about!));
  },

  /** Writes down what became of calls of ours that the source did not list. */
  async noteUnlisted({ project, source, day }: DayKey, calls: readonly { callId: string; verdict: GapReason; detail?: string | undefined }[]): Promise<void> {
    if (calls.length === 0) return;
    await db
      .insertInto('completeness_listed')
      .values(calls.map(({ callId, verdict, detail }) => ({ project, source, day, call_id: callId, side: 'ours' as const, status: 'completed' as const, verdict, detail: detail === undefined ? null : storable(detail) })))
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  },

  /** Some calls that have no verdict yet. */
  async unjudged({ project, source, day }: DayKey): Promise<ComparedCall[]> {
    const { rows } = await sql<Pick<CompletenessListedTable, 'call_id' | 'side' | 'status' | 'problem'> & { state: CallState | null; result: Standing['result']; reason: string | null; version: number; step: string | null; attention: { code: string; message: string } | null; updated_at: Date }>`
      select seen.call_id, seen.side, seen.status, seen.problem, calls.state, calls.result, calls.reason, calls.version, calls.step, calls.attention, calls.updated_at
      from completeness_listed seen left join calls on calls.project = seen.project and calls.call_id = seen.call_id
      where seen.project = ${project} and seen.source = ${source} and seen.day = ${day} and seen.verdict is null
      order by seen.call_id limit ${CLASSIFIED_AT_ONCE}`.execute(db);
    return rows.map((row) => ({
      callId: row.call_id,
      side: row.side,
      status: row.status,
      problem: row.problem,
      ours: row.state === null ? null : { state: row.state, result: row.result, reason: row.reason, version: row.version, step: row.step, attention: row.attention, updatedAt: row.updated_at },
    }));
  },

  async judge({ project, source, day }: DayKey, verdicts: readonly { callId: string; verdict: Verdict; detail: string | null }[]): Promise<void> {
    if (verdicts.length === 0) return;
    await sql`update completeness_listed seen set verdict = ruled.verdict, detail = ruled.detail
      from jsonb_to_recordset(${json(verdicts.map(({ callId, ...ruled }) => ({ call_id: callId, ...ruled })))}::jsonb) as ruled (call_id text, verdict text, detail text)
      where seen.project = ${project} and seen.source = ${source} and seen.day = ${day} and seen.call_id = ruled.call_id`.execute(db);
  },

  /**
   * Ends a comparison: counts, and puts its gaps in the place of those that the last one found, all at once.
   *
   * @returns the counts; those that stand when it has ended already. Undefined when another comparison of the day has begun
   */
  async conclude({ project, source, day }: DayKey, token: string): Promise<DayCounts | undefined> {
    return db.transaction().execute(async (tx) => {
      const open = await tx.selectFrom('completeness_days').selectAll().where('project', '=', project).where('source', '=', source).where('day', '=', day).forUpdate().executeTakeFirst();
      if (open?.token !== token) return undefined;
      if (open.state === 'done') return toCounts(open);
      const { rows: groups } = await sql<{ side: Side; verdict: Verdict; state: CallState | null; calls: number; taken_in: number }>`
        select seen.side, coalesce(seen.verdict, 'unexplained') as verdict, calls.state, count(*)::int as calls, count(*) filter (where seen.missing and calls.call_id is not null)::int as taken_in
        from completeness_listed seen left join calls on calls.project = seen.project and calls.call_id = seen.call_id
        where seen.project = ${project} and seen.source = ${source} and seen.day = ${day}
        group by 1, 2, 3`.execute(tx);
      const sum = (fits: (group: (typeof groups)[number]) => boolean, of: 'calls' | 'taken_in' = 'calls'): number => groups.filter(fits).reduce((total, group) => total + group[of], 0);
      const tallyOf = <K extends string>(keyOf: (group: (typeof groups)[number]) => K | undefined): Tally<K> => {
        const tally: Partial<Record<K, number>> = {};
        for (const group of groups) {
          const key = keyOf(group);
          if (key !== undefined) tally[key] = (tally[key] ?? 0) + group.calls;
        }
        return tally;
      };
      const gaps = tallyOf<GapReason>(({ side, verdict }) => (side === 'listed' && verdict !== 'processed' ? verdict : undefined));
      const notListed = tallyOf<GapReason>(({ side, verdict }) => (side === 'ours' && verdict !== 'processed' ? verdict : undefined));
      const counts: DayCounts = {
        listed: sum(({ side }) => side === 'listed'),
        ours: sum(({ state }) => state !== null),
        processed: sum(({ side, verdict }) => side === 'listed' && verdict === 'processed'),
        states: tallyOf<CallState>(({ state }) => state ?? undefined),
        gaps,
        notListed,
        unexplained: (gaps.unexplained ?? 0) + (notListed.unexplained ?? 0),
        takenIn: open.taken_in + sum(() => true, 'taken_in'),
      };
      const whose = sql`project = ${project} and source = ${source} and day = ${day}`;
      await sql`delete from completeness_gaps where ${whose}`.execute(tx);
      await sql`insert into completeness_gaps (project, source, day, call_id, side, reason, detail)
        select project, source, day, call_id, side, coalesce(verdict, 'unexplained'), detail from completeness_listed
        -- Of what was erased, that is all that is told.
        where ${whose} and verdict is distinct from 'processed' and status <> 'erased'`.execute(tx);
      await sql`delete from completeness_listed where ${whose}`.execute(tx);
      await tx
        .updateTable('completeness_days')
        .set({
          state: 'done',
          checked_at: sql`now()`,
          checks: sql`checks + 1`,
          error: null,
          settled: isSettled(counts),
          listed: counts.listed,
          ours: counts.ours,
          processed: counts.processed,
          states: json(counts.states),
          gaps: json(counts.gaps),
          not_listed: json(counts.notListed),
          unexplained: counts.unexplained,
          taken_in: counts.takenIn,
        })
        .where('project', '=', project)
        .where('source', '=', source)
        .where('day', '=', day)
        .execute();
      return counts;
    });
  },

  /** A comparison that did not come to its end. What the last one found stands. */
  async fail({ project, source, day }: DayKey, token: string, error: string): Promise<void> {
    await db.updateTable('completeness_days').set({ state: 'failed', error: storable(error) }).where('project', '=', project).where('source', '=', source).where('day', '=', day).where('token', '=', token).where('state', '=', 'running').execute();
  },

  async find({ project, source, day }: DayKey): Promise<DayRow | undefined> {
    const row = await db.selectFrom('completeness_days').selectAll().where('project', '=', project).where('source', '=', source).where('day', '=', day).executeTakeFirst();
    return row && toDayRow(row);
  },

  async get(key: DayKey): Promise<DayRow> {
    const row = await this.find(key);
    if (!row) {
      throw new AftercallError('NOT_FOUND', `The calls of ${key.source} of ${key.day} have not been compared in project ${key.project}.`, { advice: 'Days are compared some hours after they end; any day can be, by POST …/reconcile.', outcome: 'refused' });
    }
    return row;
  },

  /** Newest day first; `after` is the last row of the page before. */
  async list(project: string, { source, fromDay, toDay, gaps }: DayFilter, { limit, after }: { limit: number; after?: Pick<DayKey, 'day' | 'source'> | undefined }): Promise<DayRow[]> {
    let query = db.selectFrom('completeness_days').selectAll().where('project', '=', project);
    if (source) query = query.where('source', '=', source);
    if (fromDay) query = query.where('day', '>=', fromDay);
    if (toDay) query = query.where('day', '<=', toDay);
    if (gaps === 'any') query = query.where(sql<boolean>`(gaps <> '{}' or not_listed <> '{}' or state = 'failed')`);
    if (gaps === 'open') query = query.where(sql<boolean>`(not settled or state <> 'done')`);
    if (gaps === 'unexplained') query = query.where(sql<boolean>`(unexplained > 0 or state = 'failed')`);
    if (after) query = query.where(sql<boolean>`(day, source) < (${after.day}, ${after.source})`);
    return (await query.orderBy('day', 'desc').orderBy('source', 'desc').limit(limit).execute()).map(toDayRow);
  },

  /** The calls behind a day's gaps, by their IDs. */
  async listGaps({ project, source, day }: DayKey, { reason, limit, after }: { reason?: GapReason | undefined; limit: number; after?: string | undefined }): Promise<GapRow[]> {
    const { rows } = await sql<{ call_id: string; side: Side; reason: GapReason; detail: string | null; state: CallState | null; result: Standing['result']; why: string | null }>`
      select gap.call_id, gap.side, gap.reason, gap.detail, calls.state, calls.result, calls.reason as why
      from completeness_gaps gap left join calls on calls.project = gap.project and calls.call_id = gap.call_id
      where gap.project = ${project} and gap.source = ${source} and gap.day = ${day}
        ${reason === undefined ? sql`` : sql`and gap.reason = ${reason}`} ${after === undefined ? sql`` : sql`and gap.call_id > ${after}`}
      order by gap.call_id limit ${limit}`.execute(db);
    return rows.map((row) => ({ callId: row.call_id, side: row.side, reason: row.reason, detail: row.detail, standing: row.state && { state: row.state, result: row.result, reason: row.why } }));
  },

  /** A few IDs for each reason of a day. */
  async examples({ project, source, day }: DayKey, most: number): Promise<Map<GapReason, string[]>> {
    const { rows } = await sql<{ reason: GapReason; call_ids: string[] }>`
      select reason, array_agg(call_id order by call_id) as call_ids from (
        select reason, call_id, row_number() over (partition by side, reason order by call_id) as turn
        from completeness_gaps where project = ${project} and source = ${source} and day = ${day}
      ) numbered where turn <= ${most} group by reason`.execute(db);
    return new Map(rows.map((row) => [row.reason, row.call_ids]));
  },

  /** For alarms: of the last month, by project and source, calls that nobody can explain and days that could not be compared. */
  async alarms(): Promise<{ project: string; source: string; unexplained: number; notTakenIn: number; failedDays: number }[]> {
    const { rows } = await sql<{ project: string; source: string; unexplained: number; not_taken_in: number; failed_days: number }>`
      select project, source, sum(unexplained)::int as unexplained, sum(coalesce((gaps ->> 'not_taken_in')::int, 0))::int as not_taken_in, (count(*) filter (where state = 'failed'))::int as failed_days
      from completeness_days where day >= to_char(now() - make_interval(days => ${METRIC_DAYS}), 'YYYY-MM-DD') group by 1, 2`.execute(db);
    return rows.map((row) => ({ project: row.project, source: row.source, unexplained: row.unexplained, notTakenIn: row.not_taken_in, failedDays: row.failed_days }));
  },

  /** What calls were handed in lately, for which no schedule is kept. */
  async givenSources(): Promise<{ project: string; source: GivenSource }[]> {
    const { rows } = await sql<{ project: string; source: GivenSource }>`select distinct project, source from inbox where about is not null and source in ('hook', 'upload')`.execute(db);
    return rows;
  },
});

export type Completeness = ReturnType<typeof createCompleteness>;

const toCounts = (row: Selectable<CompletenessDaysTable>): DayCounts => ({
  listed: row.listed,
  ours: row.ours,
  processed: row.processed,
  states: row.states,
  gaps: row.gaps,
  notListed: row.not_listed,
  unexplained: row.unexplained,
  takenIn: row.taken_in,
});

const toDayRow = (row: Selectable<CompletenessDaysTable>): DayRow => ({
  project: row.project,
  source: row.source,
  day: row.day,
  ...toCounts(row),
  timeZone: row.time_zone,
  fromAt: row.from_at,
  toAt: row.to_at,
  state: row.state,
  askedBy: row.asked_by,
  startedAt: row.started_at,
  checkedAt: row.checked_at,
  checks: row.checks,
  error: row.error,
  settled: row.settled,
});
