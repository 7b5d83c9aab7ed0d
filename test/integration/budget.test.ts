import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts, type PaidAnswer } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import type { Budget } from '../../src/db/spending.ts';
import { AftercallError } from '../../src/domain/errors.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const ESTIMATE = 1_000;
const settle = (microUsd: number) => async (): Promise<PaidAnswer<object>> => ({ result: {}, usable: true, provider: 'p', model: 'm', usage: { kind: 'stt', seconds: 1 }, microUsd });
const refused = async (): Promise<never> => {
  throw new AftercallError('RATE_LIMITED', 'no', { advice: 'wait', outcome: 'refused' });
};
const lost = async (): Promise<never> => {
  throw new AftercallError('UPSTREAM_TIMEOUT', 'lost', { advice: 'wait' });
};

describe.each(['PGlite', 'PostgreSQL'])('a budget on %s', (kind) => {
  let db: Database;
  let budget: Budget;
  let costs: ReturnType<typeof createCosts>;
  beforeEach(async () => {
    db = await openDatabase(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    costs = createCosts(db, async () => budget);
    const calls = createCalls(db);
    await calls.stage('default', Array.from({ length: 100 }, (_, index) => ({ source: 'webex', callId: `c${index}`, status: 'completed' as const, direction: 'inbound' as const, startedAtMs: index })), 'staged');
  });
  afterEach(() => db.destroy());

  const pay = (call: number, how: () => Promise<PaidAnswer<object>>, content = 'q') =>
    costs.payOnce({ project: 'default', callId: `c${call}`, version: 1, step: 'analysis', kind: 'llm', provider: 'p', model: 'm', estimateMicroUsd: ESTIMATE, content }, how).then(() => 'paid', (error: { code: string }) => error.code);

  it('for the day is never overshot, though a hundred calls ask at once', async () => {
    budget = { dailyBudgetMicroUsd: 50 * ESTIMATE + 999, callBudgetMicroUsd: 0 };
    let under = 0;
    let most = 0;
    const answers = await Promise.all(
      Array.from({ length: 100 }, (_, call) =>
        pay(call, async () => {
          under += 1;
          most = Math.max(most, under);
          // Held until all that may be under way are: nobody settles early and makes room.
          while (under < 50) await new Promise((resolve) => setTimeout(resolve, 5));
          return settle(ESTIMATE)();
        }),
      ),
    );
    expect([answers.filter((answer) => answer === 'paid').length, answers.filter((answer) => answer === 'BUDGET_REACHED').length, most]).toEqual([50, 50, 50]);
    expect(await costs.spentOn('default')).toBe(50 * ESTIMATE);
  });

  it('counts what a voice provider charged once, by its last bill, and refuses it for no budget', async () => {
    budget = { dailyBudgetMicroUsd: 2 * ESTIMATE, callBudgetMicroUsd: ESTIMATE };
    const charge = (microUsd: number, version = 1) => costs.charge({ project: 'default', callId: 'c1', version }, { provider: 'retell', microUsd, seconds: 75, products: [{ product: 'voice', microUsd }] });
    await Promise.all([charge(90_000), charge(90_000), charge(90_000)]);
    expect(await costs.spentOn('default')).toBe(90_000);
    await charge(90_000, 2);
    await charge(95_000, 2);
    expect(await costs.spentOn('default')).toBe(95_000);
    expect(await costs.list('default', 'c1')).toMatchObject([{ step: 'voice', kind: 'voice', version: 1, state: 'settled', microUsd: 95_000, usage: { kind: 'voice', seconds: 75 } }]);
    const day = new Date().toISOString().slice(0, 10);
    expect(await costs.totals('default', { by: 'step', from: day, to: day, limit: 10 })).toEqual([{ of: 'voice', requests: 1, unsettled: 0, microUsd: 95_000 }]);
    // Of the day it is part; of what may be spent on working on the call it is not.
    expect(await pay(1, settle(1))).toBe('BUDGET_REACHED');
    budget = { dailyBudgetMicroUsd: 0, callBudgetMicroUsd: ESTIMATE };
    expect(await pay(1, settle(ESTIMATE))).toBe('paid');
  });

  it('gets back what was set aside and not used, and keeps what may have been billed', async () => {
    budget = { dailyBudgetMicroUsd: 2 * ESTIMATE, callBudgetMicroUsd: 0 };
    expect([await pay(1, settle(10)), await pay(2, refused), await costs.spentOn('default')]).toEqual(['paid', 'RATE_LIMITED', 10]);
    expect([await pay(3, lost), await costs.spentOn('default')]).toEqual(['UPSTREAM_TIMEOUT', 10 + ESTIMATE]);
    expect([await pay(4, settle(0)), await costs.spentOn('default')]).toEqual(['BUDGET_REACHED', 10 + ESTIMATE]);
    // The same question again is answered from what was paid, whatever the budget says.
    expect(await pay(1, refused)).toBe('paid');
    budget = { dailyBudgetMicroUsd: 3 * ESTIMATE, callBudgetMicroUsd: 0 };
    expect(await pay(4, settle(0))).toBe('paid');
  });

  it('for a call holds over all its requests, and for no other call', async () => {
    budget = { dailyBudgetMicroUsd: 0, callBudgetMicroUsd: 3 * ESTIMATE };
    const answers = await Promise.all(Array.from({ length: 6 }, (_, index) => pay(1, settle(ESTIMATE), `q${index}`)));
    expect(answers.toSorted()).toEqual(['CALL_BUDGET_REACHED', 'CALL_BUDGET_REACHED', 'CALL_BUDGET_REACHED', 'paid', 'paid', 'paid']);
    expect(await pay(2, settle(ESTIMATE))).toBe('paid');
  });

  it('adds up by step, model, day and call', async () => {
    budget = { dailyBudgetMicroUsd: 0, callBudgetMicroUsd: 0 };
    await pay(1, settle(300), 'a');
    await pay(1, settle(200), 'b');
    await pay(2, lost);
    const today = new Date().toISOString().slice(0, 10);
    const totals = (by: 'step' | 'model' | 'day' | 'call') => costs.totals('default', { by, from: today, to: today, limit: 10 });
    expect(await totals('call')).toEqual([{ of: 'c2', requests: 1, unsettled: 1, microUsd: ESTIMATE }, { of: 'c1', requests: 2, unsettled: 0, microUsd: 500 }]);
    for (const by of ['step', 'model', 'day'] as const) expect(await totals(by)).toEqual([{ of: { step: 'analysis', model: 'p/m', day: today }[by], requests: 3, unsettled: 1, microUsd: 500 + ESTIMATE }]);
    expect(await costs.totals('default', { by: 'day', from: '2020-01-01', to: '2020-01-02', limit: 10 })).toEqual([]);
  });
});
