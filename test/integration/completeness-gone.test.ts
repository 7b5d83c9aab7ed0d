import { MockActivityEnvironment } from '@temporalio/testing';
import { DefaultLogger } from '@temporalio/worker';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createCompletenessActivities } from '../../src/activities/completeness.ts';
import type { CallPage, CallSource } from '../../src/adapters/sources/source.ts';
import { createCalls } from '../../src/db/calls.ts';
import { createCompleteness } from '../../src/db/completeness.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createProjects } from '../../src/db/projects.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { details } from '../support/warehouse.ts';

const DAY_MS = 86_400_000;
/** Yesterday: a source that keeps calls for a week still has it. */
const FROM = Math.floor(Date.now() / DAY_MS) * DAY_MS - DAY_MS;
const key = { project: 'default', source: 'webex', day: new Date(FROM).toISOString().slice(0, 10) };
const opened = { token: 't', fromMs: FROM, toMs: FROM + DAY_MS, listToMs: FROM + DAY_MS, watchedFromMs: 0 };

let postgres: TestPostgres;
let db: Database;
beforeAll(async () => {
  postgres = await startPostgres();
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
  await createCalls(db).stage(key.project, [details('ours', { source: 'webex', startedAtMs: FROM + 3_600_000 })], 'staged');
});
afterAll(async () => {
  await db?.destroy();
  await postgres?.stop();
});

/** What is made of a call of ours that a source has no more, which lists these pages of the week before. */
const verdictBy = async (pages: readonly CallPage['calls'][]): Promise<string | null> => {
  const source: Pick<CallSource, 'listCalls' | 'findCall'> = {
    findCall: async () => undefined,
    listCalls: async ({ fromMs, cursor }) => {
      const page = Number(cursor?.list ?? 0);
      return { calls: pages[page] ?? [], ...(page + 1 < pages.length ? { next: { fromMs, seen: [], list: String(page + 1) } } : {}) };
    },
  };
  const completeness = createCompleteness(db);
  const activities = createCompletenessActivities({ adaptersOf: async () => ({ sources: { get: () => source } }) as never, calls: createCalls(db), completeness, projects: createProjects(db), intake: {} as never, client: {} as never, publishing: {} as never, config: { COMPLETENESS_HOUR: 3, COMPLETENESS_DAYS: 3 } });
  await completeness.open(key, { timeZone: 'UTC', fromMs: opened.fromMs, toMs: opened.toMs, token: `${pages.length}-${pages.flat().length}` });
  await new MockActivityEnvironment(undefined, { logger: new DefaultLogger('ERROR') }).run(() => activities.lookForUnlisted({ ...key, opened }));
  const found = await db.selectFrom('completeness_listed').select('verdict').where('call_id', '=', 'ours').executeTakeFirstOrThrow();
  return found.verdict;
};

describe('a call that its source has no more', () => {
  const older = details('older', { source: 'webex', startedAtMs: FROM - 2 * DAY_MS });

  it.each([
    ['has calls of the week before', [[older]], 'deleted_there'],
    ['has them behind pages that hold none', [[], [], [older]], 'deleted_there'],
    ['has none of the week before on any page', [[], [], []], 'unexplained'],
  ])('whose source %s', async (_says, pages, verdict) => {
    expect(await verdictBy(pages)).toBe(verdict);
  });
});
