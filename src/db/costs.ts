import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import type { Charge, CostKind, JobNote, PaidFor, Usage } from '../domain/cost.ts';
import { isAftercallError } from '../domain/errors.ts';
import { type Database, json } from './database.ts';
import * as spending from './spending.ts';
import { voiceChargeKey } from './voice-charges.ts';

/** A request that costs money, before it is made. */
export interface PaidRequest extends CallVersion {
  step: PaidFor;
  /** The test or shadow run that it is made for: its own answers, and none of the call's own spending. */
  reference?: string | undefined;
  kind: CostKind;
  provider: string;
  model: string;
  /** At most what it will cost, as far as that can be told beforehand. Set aside until it is settled. */
  estimateMicroUsd: number;
  /** Everything that the answer depends on; requests with equal content are paid for once per version. */
  content: string;
}

export interface PaidAnswer<T extends object> {
  result: T;
  /** False: it was billed, but its answer is of no use; the next try pays anew. */
  usable: boolean;
  provider: string;
  model: string;
  usage: Usage;
  microUsd: number;
  requestId?: string | undefined;
}

export interface CostRow {
  step: PaidFor;
  kind: CostKind;
  version: number;
  provider: string;
  model: string;
  state: 'reserved' | 'settled';
  usage: Usage | null;
  microUsd: number;
  requestId: string | null;
  reservedAt: Date;
  settledAt: Date | null;
}

/** A sum of requests under one heading. */
export interface CostTotal {
  requests: number;
  unsettled: number;
  microUsd: number;
}

const utcDay = (): string => new Date().toISOString().slice(0, 10);

/** @param budgetOf what a project may spend */
export const createCosts = (db: Database, budgetOf: (project: string) => Promise<spending.Budget> = async () => ({ dailyBudgetMicroUsd: 0, callBudgetMicroUsd: 0 })) => ({
  /**
   * Pays for an answer once.
   *
   * A row is reserved before the request and settled with its answer after. A later attempt that asks
   * for the same content gets the stored answer and sends nothing. A row that stays reserved tells that
   * a request was sent whose answer never came: it may have been billed, so what was set aside for it
   * goes on counting. If `pay` noted the job that it started, the next attempt goes on under that row,
   * with what was noted.
   *
   * @throws BUDGET_REACHED, CALL_BUDGET_REACHED before anything is sent, when what is spent, set aside and
   *   now needed is more than the project's limit for the day or for the call
   */
  async payOnce<T extends object>(request: PaidRequest, pay: (job: JobNote) => Promise<PaidAnswer<T>>): Promise<T> {
    const { project, callId, version, step, kind, reference } = request;
    const contentKey = createHash('sha256').update(JSON.stringify([project, callId, version, step, request.provider, request.model, request.content, ...(reference === undefined ? [] : [reference])])).digest('hex');
    const tries = await db.selectFrom('costs').select(['key', 'result', 'state', 'request_id', 'reserved_micro_usd', sql<string>`to_char(day, 'YYYY-MM-DD')`.as('day')]).where('project', '=', project)
      .where('call_id', '=', callId)
      // By the call first: under row-level security no index serves `like`.
      .where('key', 'like', `${contentKey}:%`).execute();
    const paid = tries.find((row) => row.result !== null);
    if (paid) return paid.result as T;

    // One more than the highest, not than their number: a refused try leaves a gap.
    const begun = tries.find((row) => row.state === 'reserved' && row.request_id !== null);
    const key = begun?.key ?? `${contentKey}:${1 + Math.max(0, ...tries.map((row) => Number(row.key.split(':')[1])))}`;
    // A job that is taken up has its place in the budget already.
    const day = begun?.day ?? utcDay();
    const estimateMicroUsd = begun ? Number(begun.reserved_micro_usd) : request.estimateMicroUsd;
    if (!begun) {
      const { dailyBudgetMicroUsd, callBudgetMicroUsd } = await budgetOf(project);
      // A look at another preset is the project's expense: it must not keep the call from being processed.
      const budget = { dailyBudgetMicroUsd, callBudgetMicroUsd: reference === undefined ? callBudgetMicroUsd : 0 };
      await db.transaction().execute(async (tx) => {
        await spending.setAside(tx, { project, callId, day, estimateMicroUsd, budget });
        await tx
          .insertInto('costs')
          .values({ key, project, call_id: callId, version, step, kind, provider: request.provider, model: request.model, state: 'reserved', reference: reference ?? null, reserved_micro_usd: estimateMicroUsd, day: sql`${day}::date` })
          .execute();
      });
    }
    const job: JobNote = {
      ...(begun ? { known: begun.request_id! } : {}),
      note: async (reference) => void (await db.updateTable('costs').set({ request_id: reference }).where('key', '=', key).execute()),
    };
    const answer = await pay(job).catch(async (error: unknown) => {
      // Refused before it was served: nothing is owed, so nothing stays reserved.
      if (isAftercallError(error) && error.outcome === 'refused') {
        await db.transaction().execute(async (tx) => {
          const { numDeletedRows } = await tx.deleteFrom('costs').where('key', '=', key).executeTakeFirstOrThrow();
          if (numDeletedRows > 0n) await spending.adjust(tx, { project, day, byMicroUsd: -estimateMicroUsd });
        });
      }
      throw error;
    });
    await db.transaction().execute(async (tx) => {
      await spending.adjust(tx, { project, day, byMicroUsd: answer.microUsd - estimateMicroUsd });
      await tx
        .updateTable('costs')
        .set({
          state: 'settled',
          provider: answer.provider,
          model: answer.model,
          usage: json(answer.usage),
          micro_usd: answer.microUsd,
          result: answer.usable ? json(answer.result) : null,
          request_id: answer.requestId ?? null,
          settled_at: sql`now()`,
        })
        .where('key', '=', key)
        .execute();
    });
    return answer.result;
  },

  /**
   * Writes down what a provider has charged for holding a call, once per call however often it is told of it. A bill
   * that was corrected since is corrected here, on the day on which it was first known.
   *
   * It is spent already: it counts in what the day has cost, and no budget refuses it.
   */
  async charge({ project, callId, version }: CallVersion, { provider, microUsd, seconds, products }: Charge & { provider: string }): Promise<void> {
    const key = voiceChargeKey({ project, callId, provider });
    const usage: Usage = { kind: 'voice', seconds, products };
    await db.transaction().execute(async (tx) => {
      const day = utcDay();
      const first = await tx
        .insertInto('costs')
        .values({ key, project, call_id: callId, version, step: 'voice', kind: 'voice', provider, model: 'call', state: 'settled', usage: json(usage), micro_usd: microUsd, day: sql`${day}::date`, settled_at: sql`now()` })
        .onConflict((conflict) => conflict.doNothing())
        .returning('key')
        .executeTakeFirst();
      if (first) return spending.add(tx, { project, day, microUsd });
      const known = await tx.selectFrom('costs').select(['micro_usd', sql<string>`to_char(day, 'YYYY-MM-DD')`.as('day')]).where('key', '=', key).where('project', '=', project).forUpdate().executeTakeFirstOrThrow();
      const byMicroUsd = microUsd - Number(known.micro_usd);
      // Also where the sum is the same: a call that was seen to cost it has neither a call nor a list of products before.
      await tx.updateTable('costs').set({ micro_usd: microUsd, usage: json(usage), call_id: callId }).where('key', '=', key).where('project', '=', project).execute();
      if (byMicroUsd !== 0) await spending.adjust(tx, { project, day: known.day, byMicroUsd });
    });
  },

  /** Spent and set aside on a UTC day. */
  spentOn: (project: string, day = utcDay()): Promise<number> => spending.spentOn(db, { project, day }),

  /**
   * Totals of a project between two UTC days, both included, by step, model, day or call.
   *
   * @returns the largest first; days in order
   */
  async totals(project: string, { by, from, to, limit }: { by: 'step' | 'model' | 'day' | 'call'; from: string; to: string; limit: number }): Promise<(CostTotal & { of: string })[]> {
    // The sums are kept up to date by day; what calls cost is added up from the requests themselves.
    if (by !== 'call') {
      const of = { step: sql<string>`step`, model: sql<string>`provider || '/' || model`, day: sql<string>`to_char(day, 'YYYY-MM-DD')` }[by];
      const sums = await db
        .selectFrom('cost_totals')
        .select([of.as('of'), sql<number>`sum(requests)::int`.as('requests'), sql<number>`sum(unsettled)::int`.as('unsettled'), sql<number>`sum(micro_usd)::bigint`.as('microUsd')])
        .where('project', '=', project)
        .where('day', '>=', sql<Date>`${from}::date`)
        .where('day', '<=', sql<Date>`${to}::date`)
        .groupBy(of)
        .having(sql<boolean>`sum(requests) <> 0`)
        .orderBy(by === 'day' ? sql`1` : sql`4 desc, 1`)
        .limit(limit)
        .execute();
      return sums.map((row) => ({ ...row, microUsd: Number(row.microUsd) }));
    }
    // What a voice call cost that became no call is found by its own ID.
    const of = sql<string>`coalesce(call_id, voice_call_id)`;
    const rows = await db
      .selectFrom('costs')
      .select([
        of.as('of'),
        sql<number>`count(*)::int`.as('requests'),
        sql<number>`(count(*) filter (where state = 'reserved'))::int`.as('unsettled'),
        sql<number>`sum(case when state = 'settled' then micro_usd else reserved_micro_usd end)::bigint`.as('microUsd'),
      ])
      .where('project', '=', project)
      .where('day', '>=', sql<Date>`${from}::date`)
      .where('day', '<=', sql<Date>`${to}::date`)
      .groupBy(of)
      .orderBy(sql`4 desc, 1`)
      .limit(limit)
      .execute();
    return rows.map((row) => ({ ...row, microUsd: Number(row.microUsd) }));
  },

  async list(project: string, callId: string): Promise<CostRow[]> {
    const rows = await db.selectFrom('costs').selectAll().where('project', '=', project).where('call_id', '=', callId).orderBy('reserved_at').execute();
    return rows.map((row) => ({
      step: row.step,
      kind: row.kind,
      version: row.version,
      provider: row.provider,
      model: row.model,
      state: row.state,
      usage: row.usage,
      microUsd: Number(row.micro_usd),
      requestId: row.request_id,
      reservedAt: row.reserved_at,
      settledAt: row.settled_at,
    }));
  },

  /** Answers of an ended call are kept in its artefacts; the copies that guarded against paying twice can go. */
  async forgetAnswers({ project, callId, version }: CallVersion): Promise<void> {
    await db.updateTable('costs').set({ result: null }).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).where('reference', 'is', null).execute();
  },

  /** The same for a test or a shadow run, once its result is kept. */
  async forgetAnswersFor(project: string, reference: string, callId?: string): Promise<void> {
    let query = db.updateTable('costs').set({ result: null }).where('project', '=', project).where('reference', '=', reference);
    if (callId !== undefined) query = query.where('call_id', '=', callId);
    await query.execute();
  },

  /** What a test or a shadow run has cost so far; what was never settled counts with what was set aside for it. */
  async spentFor(project: string, reference: string): Promise<CostTotal> {
    const row = await db
      .selectFrom('costs')
      .select([
        sql<number>`count(*)::int`.as('requests'),
        sql<number>`(count(*) filter (where state = 'reserved'))::int`.as('unsettled'),
        sql<number>`coalesce(sum(case when state = 'settled' then micro_usd else reserved_micro_usd end), 0)::bigint`.as('microUsd'),
      ])
      .where('project', '=', project)
      .where('reference', '=', reference)
      .executeTakeFirstOrThrow();
    return { ...row, microUsd: Number(row.microUsd) };
  },
});

export type Costs = ReturnType<typeof createCosts>;
