import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { createCompleteness } from '../../src/db/completeness.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
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
