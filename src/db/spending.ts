import { sql } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import type { Database } from './database.ts';

/** A project's limits in millionths of a US dollar; 0 is none. */
export interface Budget {
  dailyBudgetMicroUsd: number;
  callBudgetMicroUsd: number;
}

/** What a project has spent and set aside on a UTC day, `YYYY-MM-DD`. */
interface OnDay {
  project: string;
  day: string;
}

/**
 * Sets aside what a request may cost. To be called in the transaction that writes the reservation down.
 *
 * @throws BUDGET_REACHED, CALL_BUDGET_REACHED when that is more than is left
 */
export const setAside = async (tx: Database, { project, callId, day, estimateMicroUsd, budget }: OnDay & { callId: string; estimateMicroUsd: number; budget: Budget }): Promise<void> => {
  if (budget.callBudgetMicroUsd > 0) {
    // One request of a call after the other: two tracks at once must not both take the last cent.
    await tx.selectFrom('calls').select('call_id').where('project', '=', project).where('call_id', '=', callId).forUpdate().execute();
    const spent = await spentOnCall(tx, project, callId);
    if (spent + estimateMicroUsd > budget.callBudgetMicroUsd) {
      throw overBudget('CALL_BUDGET_REACHED', 'This call', spent, estimateMicroUsd, budget.callBudgetMicroUsd, 'Raise CALL_BUDGET and retry, or give the call up.');
    }
  }
  await tx.insertInto('spending').values({ project, day }).onConflict((conflict) => conflict.doNothing()).execute();
  // Reads, compares and adds in one statement, so that a hundred at once are as careful as one.
  const reserved = await tx
    .updateTable('spending')
    .set({ micro_usd: sql`micro_usd + ${estimateMicroUsd}::bigint` })
    .where('project', '=', project)
    .where('day', '=', asDate(day))
    .$if(budget.dailyBudgetMicroUsd > 0, (query) => query.where(sql<boolean>`micro_usd + ${estimateMicroUsd}::bigint <= ${budget.dailyBudgetMicroUsd}::bigint`))
    .returning('micro_usd')
    .executeTakeFirst();
  if (!reserved) {
    throw overBudget('BUDGET_REACHED', 'Today', await spentOn(tx, { project, day }), estimateMicroUsd, budget.dailyBudgetMicroUsd, 'It goes on by itself after midnight UTC, or once DAILY_BUDGET is raised.');
  }
};

/** Adds what is spent already, whatever the budget says. */
export const add = async (tx: Database, { project, day, microUsd }: OnDay & { microUsd: number }): Promise<void> => {
  await tx.insertInto('spending').values({ project, day }).onConflict((conflict) => conflict.doNothing()).execute();
  await adjust(tx, { project, day, byMicroUsd: microUsd });
};

/** Brings a day in line with what a request really cost. */
export const adjust = async (tx: Database, { project, day, byMicroUsd }: OnDay & { byMicroUsd: number }): Promise<void> => {
  await tx.updateTable('spending').set({ micro_usd: sql`micro_usd + ${byMicroUsd}::bigint` }).where('project', '=', project).where('day', '=', asDate(day)).execute();
};

export const spentOn = async (db: Database, { project, day }: OnDay): Promise<number> => {
  const row = await db.selectFrom('spending').select('micro_usd').where('project', '=', project).where('day', '=', asDate(day)).executeTakeFirst();
  return Number(row?.micro_usd ?? 0);
};

/** Over all its versions, without looks at other presets, and without what was charged for holding it: that is no work on it; what was never settled counts with what was set aside for it. */
const spentOnCall = async (db: Database, project: string, callId: string): Promise<number> => {
  const { spent } = await db
    .selectFrom('costs')
    .select(sql<number>`coalesce(sum(case when state = 'settled' then micro_usd else reserved_micro_usd end), 0)::bigint`.as('spent'))
    .where('project', '=', project)
    .where('call_id', '=', callId)
    .where('reference', 'is', null)
    .where('kind', '<>', 'voice')
    .executeTakeFirstOrThrow();
  return Number(spent);
};

const asDate = (day: string) => sql<Date>`${day}::date`;
const dollars = (microUsd: number): string => `$${(microUsd / 1e6).toFixed(microUsd < 10_000 ? 6 : 4)}`;

const overBudget = (code: 'BUDGET_REACHED' | 'CALL_BUDGET_REACHED', whose: string, spentMicroUsd: number, neededMicroUsd: number, limitMicroUsd: number, advice: string): AftercallError =>
  new AftercallError(code, `${whose} has ${dollars(spentMicroUsd)} of ${dollars(limitMicroUsd)} spent or set aside, and the next request needs up to ${dollars(neededMicroUsd)}.`, { advice, outcome: 'refused' });
