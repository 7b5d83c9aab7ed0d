import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import type { Usage } from '../domain/cost.ts';
import { isAftercallError } from '../domain/errors.ts';
import type { Step } from '../domain/steps.ts';
import { type Database, json } from './database.ts';

/** A request that costs money, before it is made. */
export interface PaidRequest extends CallVersion {
  step: Step;
  kind: 'stt' | 'llm';
  provider: string;
  model: string;
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
  step: Step;
  kind: 'stt' | 'llm';
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

export const createCosts = (db: Database) => ({
  /**
   * Pays for an answer once.
   *
   * A row is reserved before the request and settled with its answer after. A later attempt that asks
   * for the same content gets the stored answer and sends nothing. A row that stays reserved tells that
   * a request was sent whose answer never came: it may have been billed.
   */
  async payOnce<T extends object>(request: PaidRequest, pay: () => Promise<PaidAnswer<T>>): Promise<T> {
    const { project, callId, version, step, kind } = request;
    const contentKey = createHash('sha256').update(JSON.stringify([project, callId, version, step, request.provider, request.model, request.content])).digest('hex');
    const tries = await db.selectFrom('costs').select(['key', 'result']).where('key', 'like', `${contentKey}:%`).execute();
    const paid = tries.find((row) => row.result !== null);
    if (paid) return paid.result as T;

    const key = `${contentKey}:${tries.length + 1}`;
    await db
      .insertInto('costs')
      .values({ key, project, call_id: callId, version, step, kind, provider: request.provider, model: request.model, state: 'reserved' })
      .execute();
    const answer = await pay().catch(async (error: unknown) => {
      // Refused before it was served: nothing is owed, so nothing stays reserved.
      if (isAftercallError(error) && error.outcome === 'refused') await db.deleteFrom('costs').where('key', '=', key).execute();
      throw error;
    });
    await db
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
    return answer.result;
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
    await db.updateTable('costs').set({ result: null }).where('project', '=', project).where('call_id', '=', callId).where('version', '=', version).execute();
  },
});

export type Costs = ReturnType<typeof createCosts>;
