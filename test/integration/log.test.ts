import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from '@jest/globals';
import { ApplicationFailure } from '@temporalio/common';
import { sql } from 'kysely';
import { createCalls } from '../../src/db/calls.ts';
import { migrate, openDatabase } from '../../src/db/database.ts';
import { asOwner } from '../../src/db/scope.ts';
import { createLog, temporalLogger } from '../../src/telemetry/log.ts';
import { anyDatabase } from '../support/postgres.ts';

it('says what failed in the database, and nothing of whose call it was', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-log-'));
  const db = await openDatabase(await anyDatabase());
  await migrate(db);
  await asOwner(() => sql`drop table calls cascade`.execute(db));
  const error: unknown = await createCalls(db)
    .stage('default', [{ source: 'webex', callId: 'a', status: 'completed', direction: 'inbound', originPhone: '+15550177', startedAtMs: 1 }], 'staged')
    .catch((thrown: unknown) => thrown);
  const log = createLog({ LOG_LEVEL: 'info' }, 'test', join(folder, 'log'));
  log.error({ err: error as Error }, 'request failed');
  temporalLogger(log).warn('Activity failed', { activityType: 'ingestPage', error: ApplicationFailure.create({ message: 'the page was not staged', cause: error as Error }) });
  const written = await readFile(join(folder, 'log'), 'utf8');
  expect(written).toContain('relation \\"calls\\" does not exist');
  expect(written).toContain('the page was not staged');
  expect(written).toContain('ingestPage');
  expect(written).not.toContain('15550177');
  await db.destroy();
  await rm(folder, { recursive: true });
});
