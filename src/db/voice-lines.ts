import { type RawBuilder, sql, type Transaction } from 'kysely';
import { type CallingRules, turnFrom, type Wait } from '../domain/daily-limit.ts';
import { ACCOUNT_ENDS, type Brake, BRAKE_AFTER, BRAKE_LOOKS_BACK_MS, BRAKE_TRIES_EVERY_MS, BRAKE_WAITS_MS, brakeOf, DIAL_TAKES_MS, UNKNOWN, WENT_OUT } from '../domain/line-brake.ts';
import { type Lines, type LinePlan, freeLines, planLines, type WaitingCall } from '../domain/line-plan.ts';
import { startOfDay } from '../domain/local-time.ts';
import { ON_A_LINE, VOICE_PRIORITIES } from '../domain/voice.ts';
import { type Database, json } from './database.ts';
import type { HeldBack, Schema } from './schema.ts';
import { asInstallation } from './scope.ts';

/** Calls looked at beyond those that there are lines for: some may have to wait for their hour. */
const SPARE = 50;
const MOST_AT_ONCE = 500;
/** Of one look; what is left is for the next. */
const MOST_ROUNDS = 20;

export interface LineReading {
  /** Most concurrent calls of the account that go out. */
  limit: number;
  /** Of the account's calls now, those that we did not place. */
  others: number;
  readAt: Date;
}

export interface TakeLines {
  project: string;
  /** The provider's account, by its fingerprint. */
  account: string;
  nowMs: number;
  rules: CallingRules;
  /** Most lines that the project may use; 0: all. */
  most: number;
  callsPerSecond: number;
  /** How far ahead calls are given their turn. */
  aheadMs: number;
}

export interface TakenLines {
  /** In the order of their turns. */
  start: { id: string; atMs: number }[];
  lacking: LinePlan['lacking'];
  rateAllowsAtMs?: LinePlan['rateAllowsAtMs'];
  /** Not all that is due was looked at. */
  more: boolean;
  /** The account's calls do not go out: one at a time is tried. */
  braked?: Brake & { nextAtMs: number };
}

export interface QueueView {
  /** Waits for a line only. */
  due: number;
  /** At its callers' own wish. */
  later: number;
  waiting: Record<Wait, number>;
  paused: number;
  nextDueAt: Date | null;
  onALine: number;
}

interface Head {
  id: string;
  to_number: string;
  priority: number;
  zone: string | null;
}

const WAITING = sql`state = 'queued' and lined_up_at is null and not held`;
const isOnALine = sql`(state in (${sql.join([...ON_A_LINE])}) or (state = 'queued' and lined_up_at is not null))`;
/** Ended by the account's provider before anybody was rung. */
const endedForAccount = sql`(v.started_at is null and v.observed ->> 'disconnectionReason' in (${sql.join(Object.keys(ACCOUNT_ENDS))}))`;
const timeOf = (ms: number): RawBuilder<Date> => sql<Date>`${new Date(ms).toISOString()}::timestamptz`;

export type VoiceLines = ReturnType<typeof createVoiceLines>;

/** The queue of voice calls and the lines that they go onto. */
export const createVoiceLines = (db: Database) => ({
  /** What was last read of an account. */
  async reading(account: string): Promise<LineReading | undefined> {
    const row = await db.selectFrom('voice_accounts').select(['line_limit', 'others', 'read_at']).where('account', '=', account).executeTakeFirst();
    return row?.read_at && row.line_limit !== null && row.others !== null ? { limit: row.line_limit, others: row.others, readAt: row.read_at } : undefined;
  },

  /** Calls of ours that the account's provider knows to be going on, of all projects. */
  async knownToProvider(account: string): Promise<number> {
    const row = await asInstallation(() => db.selectFrom('voice_calls').select(sql<number>`count(*)`.as('calls')).where('line_account', '=', account).where('state', 'in', ['dialled', 'ongoing']).executeTakeFirstOrThrow());
    return Number(row.calls);
  },

  async noteReading(account: string, { limit, others, readAt }: LineReading): Promise<void> {
    const values = { line_limit: limit, others, read_at: readAt };
    await db
      .insertInto('voice_accounts')
      .values({ account, ...values })
      .onConflict((conflict) => conflict.column('account').doUpdateSet(values))
      .execute();
  },

  /**
   * Puts off due calls whose hour it is not, all of a zone at once: they are not looked at again before it comes.
   * When the rules have changed, those that were put off by the old ones are due again first.
   */
  async postpone({ project, nowMs, rules }: Pick<TakeLines, 'project' | 'nowMs' | 'rules'>): Promise<void> {
    const stamp = json(rules);
    await db.transaction().execute(async (tx) => {
      await tx.insertInto('voice_lines').values({ project, rules: stamp }).onConflict((conflict) => conflict.doNothing()).execute();
      const before = await tx.selectFrom('voice_lines').select('rules').where('project', '=', project).forUpdate().executeTakeFirstOrThrow();
      if (before.rules !== stamp) {
        await sql`update voice_calls set waits_for = null, not_before = greatest(requested_at, to_timestamp((request ->> 'notBeforeMs')::float8 / 1000))
          where project = ${project} and state = 'queued' and waits_for in ('quiet_hours', 'daily_limit')`.execute(tx);
        await tx.updateTable('voice_lines').set({ rules: stamp }).where('project', '=', project).execute();
      }
      await cancelLeftovers(tx, project);
      const zonesDone = new Set<string>();
      for (let rounds = 0; rounds < MOST_ROUNDS; rounds += 1) {
        const zones = [...new Set((await heads(tx, project, nowMs, SPARE)).map(({ zone }) => zone ?? rules.timeZone))];
        const quiet = zones.filter((zone) => !zonesDone.has(zone) && turnFrom(nowMs, rules, zone) > nowMs);
        if (quiet.length === 0) return;
        for (const zone of quiet) {
          zonesDone.add(zone);
          const isOfZone = zone === rules.timeZone ? sql`coalesce(request ->> 'timeZone', ${zone}) = ${zone}` : sql`request ->> 'timeZone' = ${zone}`;
          await sql`update voice_calls set not_before = ${timeOf(turnFrom(nowMs, rules, zone))}, waits_for = 'quiet_hours', updated_at = now()
            where project = ${project} and ${WAITING} and not_before <= ${timeOf(nowMs)} and ${isOfZone}`.execute(tx);
        }
      }
    });
  },

  /** Takes back what was to be dialled by now and was not, whatever it waited for; also of batches that are paused. @returns how many calls */
  async expire(project: string, nowMs: number): Promise<number> {
    const { numAffectedRows } = await sql`update voice_calls set state = 'cancelled', settled_at = now(), updated_at = now(),
        reason = 'It was to be dialled before ' || to_char(not_after at time zone 'UTC', 'YYYY-MM-DD HH24:MI') || ' UTC, and its turn had not come by then.'
      where project = ${project} and state = 'queued' and lined_up_at is null and not_after <= ${timeOf(nowMs)}`.execute(db);
    return Number(numAffectedRows ?? 0);
  },

  /**
   * Gives lines to calls whose turn it is.
   *
   * One at a time for an account, whichever project, process or attempt asks: what one has given, the next one counts.
   */
  async take({ project, account, nowMs, rules, most, callsPerSecond, aheadMs }: TakeLines): Promise<TakenLines> {
    // The account is shared: calls of all projects are counted. What is changed is the project's own.
    return asInstallation(() =>
      db.transaction().execute(async (tx) => {
        await tx.insertInto('voice_accounts').values({ account }).onConflict((conflict) => conflict.doNothing()).execute();
        const shared = await tx.selectFrom('voice_accounts').selectAll().where('account', '=', account).forUpdate().executeTakeFirstOrThrow();
        const counted = await sql<{ ours: number; of_project: number }>`select count(*)::int as ours, (count(*) filter (where project = ${project}))::int as of_project
          from voice_calls where line_account = ${account} and ${isOnALine}`.execute(tx);
        const { ours, of_project: ofProject } = counted.rows[0]!;
        const allLines: Lines = { limit: shared.line_limit ?? 0, others: shared.others ?? 0, ours, ofProject, most };
        const brake = await brakeAt(tx, { account, nowMs, lastAtMs: shared.planned_until?.getTime() });
        if (brake && brake.nextAtMs > nowMs) return { start: [], lacking: undefined, more: false, braked: brake };
        const lines: Lines = brake ? { limit: Math.min(1, freeLines(allLines)), others: 0, ours: 0, ofProject: 0, most: 0 } : allLines;
        const limit = Math.min(freeLines(lines), MOST_AT_ONCE) + SPARE;
        for (let rounds = 0; rounds < MOST_ROUNDS; rounds += 1) {
          const found = await heads(tx, project, nowMs, limit);
          const waiting = await withToday(tx, { project, nowMs, rules, found });
          const plan = planLines({ nowMs, waiting, rules, lines, rate: { callsPerSecond, lastAtMs: shared.planned_until?.getTime(), aheadMs } });
          if (plan.wait.length > 0) await putOff(tx, project, plan.wait);
          if (plan.start.length === 0 && plan.wait.length > 0) continue;
          const started = plan.start.length === 0 ? [] : await lineUp(tx, { project, account, start: plan.start });
          if (brake) return { start: started, lacking: plan.lacking, more: false, braked: { ...brake, nextAtMs: nowMs + BRAKE_TRIES_EVERY_MS } };
          return { start: started, lacking: plan.lacking, ...(plan.rateAllowsAtMs === undefined ? {} : { rateAllowsAtMs: plan.rateAllowsAtMs }), more: plan.lacking === undefined && found.length === limit };
        }
        return { start: [], lacking: undefined, more: true };
      }),
    );
  },

  /**
   * Takes calls off their lines whose turn came before a time, and that nobody has begun to dial: their start was lost.
   * They get another turn when the hour and the rate allow.
   */
  async takeBack(project: string, before: Date): Promise<string[]> {
    const rows = await db.updateTable('voice_calls').set({ lined_up_at: null, line_account: null, updated_at: sql`now()` }).where('project', '=', project).where('state', '=', 'queued').where('lined_up_at', '<=', before).returning('id').execute();
    return rows.map(({ id }) => id);
  },

  /** When the next call is due that has no line, when the next one's time is over, and whether any that has a line is still to be dialled. */
  async next(project: string): Promise<{ dueAt: Date | null; expiresAt: Date | null; undialled: boolean }> {
    const { rows } = await sql<{ due_at: Date | null; expires_at: Date | null; undialled: boolean }>`select
      (select min(earliest) from unnest(${sql.val([...VOICE_PRIORITIES])}::int[]) as lane (lane_priority) cross join lateral (
        select not_before as earliest from voice_calls where project = ${project} and priority = lane_priority and ${WAITING} order by not_before limit 1
      ) first) as due_at,
      (select min(not_after) from voice_calls where project = ${project} and state = 'queued' and lined_up_at is null and not_after is not null) as expires_at,
      exists (select from voice_calls where project = ${project} and state = 'queued' and lined_up_at is not null and line_account is not null) as undialled`.execute(db);
    return { dueAt: rows[0]!.due_at, expiresAt: rows[0]!.expires_at, undialled: rows[0]!.undialled };
  },

  /** Notes that a queue was looked at, and what keeps its calls, if anything does. */
  async looked(project: string, { account, heldBack, lookAgainAt }: { account?: string; heldBack?: HeldBack; lookAgainAt: Date | null }): Promise<void> {
    const values = { account: account ?? null, held_back: heldBack ? json(heldBack) : null, looked_at: sql<Date>`now()`, look_again_at: lookAgainAt };
    await db
      .insertInto('voice_lines')
      .values({ project, ...values })
      .onConflict((conflict) => conflict.column('project').doUpdateSet(values))
      .execute();
  },

  /** Projects with calls that are due, and that nobody has looked at though it was time, or since they were asked for: a wake-up was lost. */
  async neglected(patienceMs: number): Promise<string[]> {
    const since = sql`now() - make_interval(secs => ${patienceMs / 1_000})`;
    const { rows } = await sql<{ id: string }>`select p.id from projects p left join voice_lines l on l.project = p.id
      where ((l.looked_at is null or greatest(l.looked_at, coalesce(l.look_again_at, l.looked_at)) < ${since}) and exists (
        select from unnest(${sql.val([...VOICE_PRIORITIES])}::int[]) as lane (lane_priority) cross join lateral (
          select from voice_calls where project = p.id and priority = lane_priority and ${WAITING} and not_before < ${since} limit 1
        ) first
        union all select from voice_calls where project = p.id and state = 'queued' and line_account is not null and lined_up_at < ${since}
      )) or exists (
        select from voice_calls where project = p.id and requested_at > l.looked_at and ${WAITING} and not_before < ${since}
      ) order by 1`.execute(db);
    return rows.map(({ id }) => id);
  },

  /** How a project's queue stands. */
  async view(project: string): Promise<QueueView & { account: string | null; heldBack: HeldBack | null; lookedAt: Date | null; lookAgainAt: Date | null; reading: LineReading | null; accountInUse: number }> {
    const looked = await db.selectFrom('voice_lines').selectAll().where('project', '=', project).executeTakeFirst();
    const { rows } = await sql<{ waits_for: Wait | null; held: boolean; is_due: boolean; lined_up: boolean; calls: number; next_at: Date | null }>`
      select waits_for, held, not_before <= now() as is_due, lined_up_at is not null as lined_up, count(*)::int as calls, min(not_before) as next_at
      from voice_calls where project = ${project} and state = 'queued' group by 1, 2, 3, 4`.execute(db);
    const sum = (is: (row: (typeof rows)[number]) => boolean): number => rows.filter(is).reduce((total, row) => total + row.calls, 0);
    const free = rows.filter(({ held, lined_up }) => !held && !lined_up);
    const onLine = await db.selectFrom('voice_calls').select(sql<number>`count(*)`.as('calls')).where('project', '=', project).where('state', 'in', ON_A_LINE).executeTakeFirstOrThrow();
    const account = looked?.account ?? null;
    const inUse = account === null ? 0 : (await asInstallation(() => sql<{ calls: number }>`select count(*)::int as calls from voice_calls where line_account = ${account} and ${isOnALine}`.execute(db))).rows[0]!.calls;
    return {
      due: sum((row) => !row.held && !row.lined_up && row.is_due),
      later: sum((row) => !row.held && !row.lined_up && !row.is_due && row.waits_for === null),
      waiting: Object.fromEntries((['quiet_hours', 'daily_limit', 'provider'] as const).map((wait) => [wait, sum((row) => !row.held && !row.lined_up && !row.is_due && row.waits_for === wait)])) as Record<Wait, number>,
      paused: sum((row) => row.held && !row.lined_up),
      nextDueAt: free.reduce<Date | null>((first, { next_at: at }) => (at && (!first || at < first) ? at : first), null),
      onALine: Number(onLine.calls) + sum((row) => row.lined_up),
      account,
      heldBack: looked?.held_back ?? null,
      lookedAt: looked?.looked_at ?? null,
      lookAgainAt: looked?.look_again_at ?? null,
      reading: account === null ? null : ((await this.reading(account)) ?? null),
      accountInUse: inUse,
    };
  },
});

/** Cancels what came back into the queue after its batch was cancelled: turned away by the provider, or by a person's word. */
export const cancelLeftovers = async (db: Database, project: string): Promise<void> => {
  await sql`update voice_calls set state = 'cancelled', reason = 'The batch was cancelled.', settled_at = now(), updated_at = now()
    where project = ${project} and state = 'queued' and held and batch_id in (select id from voice_batches where project = ${project} and state = 'cancelled' and settled is null)`.execute(db);
};

/** The first that are due, by priority and time. One walk per priority: those that are due later are not passed over one by one. */
const heads = async (tx: Transaction<Schema>, project: string, nowMs: number, limit: number): Promise<Head[]> => {
  const { rows } = await sql<Head>`select first.id, first.to_number, first.priority, first.zone
    from unnest(${sql.val([...VOICE_PRIORITIES])}::int[]) as lane (lane_priority) cross join lateral (
      select id, to_number, priority, request ->> 'timeZone' as zone, not_before, requested_at, row
      from voice_calls where project = ${project} and priority = lane_priority and ${WAITING} and not_before <= ${timeOf(nowMs)} and coalesce(not_after > ${timeOf(nowMs)}, true)
      order by not_before, requested_at, row, id limit ${limit}
    ) first order by first.priority, first.not_before, first.requested_at, first.row, first.id limit ${limit}`.execute(tx);
  return rows;
};

/**
 * Whether the account's calls do not go out, and when the next one may be tried. Dials whose fate is open, and clear
 * refusals of one call, say nothing either way.
 */
const brakeAt = async (tx: Transaction<Schema>, { account, nowMs, lastAtMs }: { account: string; nowMs: number; lastAtMs: number | undefined }): Promise<(Brake & { nextAtMs: number }) | undefined> => {
  const decidedBy = timeOf(nowMs - DIAL_TAKES_MS);
  const { rows } = await sql<{ fate: string }>`select fate from (
      select v.dialling_at, case
        when v.provider_call_id is null and v.state in ('needs_attention', 'cancelled') then ${UNKNOWN}
        when v.provider_call_id is null and v.state = 'dialling' and (v.reason is not null or v.dialling_at < ${decidedBy}) then ${UNKNOWN}
        when ${endedForAccount} then v.observed ->> 'disconnectionReason'
        when v.provider_call_id is not null and (v.state <> 'dialled' or v.dialled_at < ${decidedBy}) then ${WENT_OUT}
      end as fate
      from voice_calls v where v.line_account = ${account} and v.dialling_at > ${timeOf(nowMs - BRAKE_LOOKS_BACK_MS)}
    ) dials where fate is not null order by dialling_at desc limit ${BRAKE_AFTER}`.execute(tx);
  const brake = brakeOf(rows.map(({ fate }) => fate));
  if (!brake) return undefined;
  const last = await sql<{ open: boolean }>`select exists (
      select from voice_calls where line_account = ${account} and ((state = 'queued' and lined_up_at is not null) or (state = 'dialling' and dialling_at > ${timeOf(nowMs - BRAKE_WAITS_MS)}))
    ) as open`.execute(tx);
  const nextAtMs = (lastAtMs ?? 0) + BRAKE_TRIES_EVERY_MS;
  // One at a time: the next one waits until it is known what became of the last.
  return { ...brake, nextAtMs: last.rows[0]!.open ? Math.max(nextAtMs, nowMs + DIAL_TAKES_MS) : nextAtMs };
};

/** With how often each number was called on this day of its zone. A call that the provider refused, or ended for want of its own, was none. */
const withToday = async (tx: Transaction<Schema>, { project, nowMs, rules, found }: { project: string; nowMs: number; rules: CallingRules; found: Head[] }): Promise<WaitingCall[]> => {
  const calls = found.map(({ id, to_number: to, priority, zone }) => ({ id, to, priority, ...(zone === null ? {} : { timeZone: zone }), dialledToday: 0 }));
  if (rules.voiceCallsPerNumberPerDay === 0 || calls.length === 0) return calls;
  const begins = new Map<string, string>();
  const dayOf = (zone: string): string => {
    if (!begins.has(zone)) begins.set(zone, new Date(startOfDay(nowMs, zone)).toISOString());
    return begins.get(zone)!;
  };
  const asked = calls.map(({ id, to, timeZone }) => ({ id, to_number: to, day: dayOf(timeZone ?? rules.timeZone) }));
  const { rows } = await sql<{ id: string; calls: number }>`select asked.id, count(*)::int as calls
    from jsonb_to_recordset(${json(asked)}::jsonb) as asked (id text, to_number text, day timestamptz)
    join voice_calls v on v.project = ${project} and v.to_number = asked.to_number and (v.dialling_at >= asked.day or (v.state = 'queued' and v.lined_up_at is not null)) and not (v.state = 'failed' and v.observed is null) and not coalesce(${endedForAccount}, false)
    group by 1`.execute(tx);
  const counts = new Map(rows.map((row) => [row.id, row.calls]));
  return calls.map((call) => ({ ...call, dialledToday: counts.get(call.id) ?? 0 }));
};

const putOff = async (tx: Transaction<Schema>, project: string, wait: LinePlan['wait']): Promise<void> => {
  const rows = wait.map(({ id, untilMs, waitsFor }) => ({ id, until: new Date(untilMs).toISOString(), waits_for: waitsFor }));
  await sql`update voice_calls v set not_before = w.until, waits_for = w.waits_for, updated_at = now()
    from jsonb_to_recordset(${json(rows)}::jsonb) as w (id text, until timestamptz, waits_for text) where v.project = ${project} and v.id = w.id and ${WAITING}`.execute(tx);
};

/** Gives each its turn. One that was paused or taken back meanwhile gets none. */
const lineUp = async (tx: Transaction<Schema>, { project, account, start }: { project: string; account: string; start: LinePlan['start'] }): Promise<LinePlan['start']> => {
  const rows = start.map(({ id, atMs }) => ({ id, at: new Date(atMs).toISOString() }));
  const { rows: taken } = await sql<{ id: string }>`update voice_calls v set lined_up_at = s.at, line_account = ${account}, waits_for = null, updated_at = now()
    from jsonb_to_recordset(${json(rows)}::jsonb) as s (id text, at timestamptz) where v.project = ${project} and v.id = s.id and ${WAITING} returning v.id`.execute(tx);
  const given = new Set(taken.map(({ id }) => id));
  const started = start.filter(({ id }) => given.has(id));
  const last = started.at(-1);
  if (last) await tx.updateTable('voice_accounts').set({ planned_until: new Date(last.atMs) }).where('account', '=', account).execute();
  return started;
};
