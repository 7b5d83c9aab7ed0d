import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createCompleteness } from '../../src/db/completeness.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { CATCH_UP_DAYS, daysDue } from '../../src/domain/days-due.ts';
import { addDays } from '../../src/domain/local-time.ts';
import { anyDatabase } from '../support/postgres.ts';

let db: Database;
beforeAll(async () => {
  db = await openDatabase(await anyDatabase());
  await migrate(db);
});
afterAll(() => db?.destroy());

it('drops days of more than a year ago with the IDs that were found of them, and none that somebody has just compared', async () => {
  const completeness = createCompleteness(db);
  const days = ['2020-01-01', '2020-01-02', new Date().toISOString().slice(0, 10)];
  for (const day of days) {
    const key = { project: 'default', source: 'webex', day };
    await completeness.open(key, { timeZone: 'UTC', fromMs: Date.parse(day), toMs: Date.parse(day) + 86_400_000, token: 't' });
    await completeness.noteListed(key, [{ callId: `../${day}`, status: 'left_out' }]);
    await completeness.judge(key, [{ callId: `../${day}`, verdict: 'left_out_id', detail: null }]);
    await completeness.conclude(key, 't');
  }
  await sql`update completeness_days set started_at = now() - interval '32 days' where day <> '2020-01-02'`.execute(db);
  await completeness.sweep();
  expect((await db.selectFrom('completeness_gaps').select('day').orderBy('day').execute()).map(({ day }) => day)).toEqual(days.slice(1));
  expect((await completeness.list('default', {}, { limit: 10 })).map(({ day }) => day)).toEqual(days.slice(1).toReversed());
});

it('makes up for the days of a pause that was longer than is made up for', async () => {
  const completeness = createCompleteness(db);
  const [project, source, last] = ['default', 'paused', '2026-11-20'];
  const compared = (day: string, by?: string) => completeness.open({ project, source, day }, { timeZone: 'UTC', fromMs: Date.parse(day), toMs: Date.parse(day) + 86_400_000, token: 't', by });
  const due = async (): Promise<string[]> => daysDue({ atMs: Date.parse(`${addDays(last, 1)}T04:00:00Z`), timeZone: 'UTC', ...(await completeness.daysSince(project, source, addDays(last, -CATCH_UP_DAYS))), watchedFromMs: 0, recheckDays: 7, hoursAfter: 3 });
  await compared('2026-01-01', 'ann');
  expect(await due()).toEqual([last]);

  await compared('2026-10-01');
  const days = await due();
  expect([days.length, days[0], days.at(-1)]).toEqual([CATCH_UP_DAYS, addDays(last, 1 - CATCH_UP_DAYS), last]);
});
