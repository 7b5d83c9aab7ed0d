import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import pg from 'pg';
import { planOf, statementsOf } from '../../bench/reads.ts';
import { toEvent } from '../../src/api/given-events.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createInbox, type Inbox } from '../../src/db/inbox.ts';
import { resealAll } from '../../src/db/reseal.ts';
import { asInstallation, asOwner } from '../../src/db/scope.ts';
import { createUploads } from '../../src/db/uploads.ts';
import type { GivenSource } from '../../src/domain/given.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

const project = 'default';
const OLD = `old:${Buffer.alloc(32, 1).toString('base64')}`;
const NEW = `new:${Buffer.alloc(32, 2).toString('base64')}`;
const NUMBER = '+15550123';
const LINK = 'https://recordings.example.com/a-link-that-opens-it';
const AUDIO = `uploads/${project}/a.wav`;

let postgres: TestPostgres;
let url: string;
let db: Database;
let inbox: Inbox;

beforeAll(async () => {
  postgres = await startPostgres();
  url = await postgres.createDatabase();
  db = await openDatabase(url);
  await migrate(db);
  inbox = createInbox(db, createKeyRing(OLD));
});
afterAll(async () => {
  await db?.destroy();
  await postgres?.stop();
});
beforeEach(() => db.deleteFrom('inbox').execute());

const event = (callId: string, source: GivenSource = 'hook', audioKey?: string) =>
  toEvent(project, source, {
    details: { source, callId, status: 'completed', direction: 'inbound', startedAtMs: 0, originPhone: NUMBER },
    recordingUrl: LINK,
    ...(audioKey ? { audio: { key: audioKey, bytes: 4, sha256: callId, format: 'wav' as const } } : {}),
  });
const rows = () => db.selectFrom('inbox').selectAll().orderBy('event_id').execute();
const age = (days: number) => db.updateTable('inbox').set({ received_at: sql<never>`now() - make_interval(days => ${days})` }).execute();

describe('what was handed in and waits', () => {
  it('cannot be read in the database, and is delivered as it came', async () => {
    const [one, two] = [event('one'), event('two', 'upload', AUDIO)];
    await inbox.receiveAll([one]);
    await inbox.receive(two);
    expect(JSON.stringify(await rows())).not.toMatch(/555|recordings\.example/);
    expect((await rows()).map(({ audio_key }) => audio_key).filter(Boolean)).toEqual([AUDIO]);
    expect((await inbox.due(10)).map(({ body }) => body).toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)))).toEqual([one.body, two.body].toSorted((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b))));
    expect(await createUploads(db).isNamed({ project, key: AUDIO })).toBe(true);
    await inbox.delivered(...(await inbox.due(10)));
    expect((await rows()).map(({ sealed, audio_key, body }) => [sealed, audio_key, body])).toEqual([[null, null, {}], [null, null, {}]]);
  });

  it('can be read after its key was replaced, and without the key holds up nothing else', async () => {
    await inbox.receiveAll([event('sealed')]);
    const newInbox = createInbox(db, createKeyRing(NEW));
    await newInbox.receive({ project, source: 'webex', eventId: 'plain', type: 't', body: { taskId: 'x' } });
    expect((await newInbox.due(10)).map(({ eventId }) => eventId)).toEqual(['plain']);
    expect((await rows()).find(({ source }) => source === 'hook')).toMatchObject({ attempts: 1, error: expect.stringContaining('"old"') as unknown });
    await db.updateTable('inbox').set({ next_attempt_at: sql`now()` }).execute();
    expect(await resealAll(db, createKeyRing(`${NEW},${OLD}`))).toMatchObject({ 'calls that wait to be taken in': 1 });
    expect((await newInbox.due(10)).map(({ body }) => body)).toContainEqual(event('sealed').body);
  });

  it('is taken from another event of the same key by nobody', async () => {
    await inbox.receiveAll([event('one'), event('two')]);
    const [one] = await rows();
    await db.updateTable('inbox').set({ sealed: one!.sealed }).where('event_id', '<>', one!.event_id).execute();
    expect(await inbox.due(10)).toHaveLength(1);
  });
});

describe('what keeps failing', () => {
  it('is parked after a week, tried when it is sent again, forgotten after a month, and taken in anew after that', async () => {
    const sent = event('failing', 'upload', AUDIO);
    await inbox.receive(sent);
    expect(await inbox.failed([sent], 'No')).toEqual([]);
    expect(await inbox.parked()).toEqual([]);
    await age(8);
    expect(await inbox.failed([sent], 'No')).toEqual([{ project, source: 'upload', eventId: sent.eventId }]);
    // Told once.
    expect(await inbox.failed([sent], 'No')).toEqual([]);
    expect(await inbox.parked()).toEqual([{ project, source: 'upload', state: 'parked', events: 1 }]);
    expect(await inbox.due(10)).toEqual([]);
    const { rows: waits } = await sql<{ hours: number }>`select round(extract(epoch from next_attempt_at - now()) / 3600)::int as hours from inbox`.execute(db);
    expect(waits).toEqual([{ hours: 6 }]);
    expect(await inbox.receive(sent)).toBe(false);
    expect((await inbox.due(10)).map(({ body }) => body)).toEqual([sent.body]);

    await inbox.failed([sent], 'No');
    await inbox.sweep();
    expect(await inbox.backlog()).toBe(1);
    await age(31);
    await inbox.sweep();
    expect([await inbox.backlog(), await inbox.parked()]).toEqual([0, [{ project, source: 'upload', state: 'forgotten', events: 1 }]]);
    expect(await rows()).toEqual([expect.objectContaining({ sealed: null, body: {}, about: 'failing', delivered_at: null, error: expect.stringContaining('given up') as unknown })]);
    // Its recording goes with the sweep of uploads.
    expect(await createUploads(db).isNamed({ project, key: AUDIO })).toBe(false);
    expect(await createUploads(db).listBegunBefore(new Date(Date.now() + 60_000), 10)).toEqual([{ project, key: AUDIO }]);

    expect(await inbox.receive(sent)).toBe(true);
    expect([await inbox.parked(), (await inbox.due(10)).map(({ body }) => body)]).toEqual([[], [sent.body]]);
    await db.updateTable('inbox').set({ forgotten_at: sql`now() - interval '31 days'` }).execute();
    await inbox.sweep();
    expect(await rows()).toEqual([]);
  });
});

describe('what is not delivered', () => {
  const shown = async (filter = {}, page: Parameters<Inbox['list']>[2] = { limit: 10 }) => (await inbox.list(project, filter, page)).map(({ callId, state, attempts, error }) => [callId, state, attempts, error]);

  it('is listed with why and without what it says, the oldest first, page by page', async () => {
    const [parked, waits, done] = [event('parked', 'upload', AUDIO), event('waits'), event('done')];
    await inbox.receiveAll([parked, done]);
    await inbox.delivered(done);
    await age(8);
    await inbox.failed([parked], 'No room');
    await inbox.receiveAll([waits, event('new', 'upload')]);
    await inbox.failed([waits], 'Not yet');
    expect(await shown()).toEqual([['parked', 'parked', 1, 'No room'], ['waits', 'waiting', 1, 'Not yet'], ['new', 'waiting', 0, null]]);
    expect([await shown({ state: 'parked' }), await shown({ source: 'upload', state: 'waiting' })]).toEqual([[['parked', 'parked', 1, 'No room']], [['new', 'waiting', 0, null]]]);
    // Events of one statement have come at the same time.
    const paged: unknown[] = [];
    let after: { startedAt: Date; id: string } | undefined;
    for (;;) {
      const [row] = await inbox.list(project, {}, { limit: 1, after });
      if (!row) break;
      paged.push(row.callId);
      after = { startedAt: row.receivedAt, id: `${row.source}/${row.eventId}` };
    }
    expect(paged).toEqual(['parked', 'waits', 'new']);
    expect(JSON.stringify(await inbox.list(project, {}, { limit: 10 }))).not.toMatch(new RegExp(`${LINK}|${NUMBER.slice(1)}`));
    expect(await inbox.list('another', {}, { limit: 10 })).toEqual([]);
  });

  it('is tried at once when somebody wants it, and given up only while it is parked and not being tried', async () => {
    const [parked, waits] = [event('parked', 'upload', AUDIO), event('waits')];
    await inbox.receiveAll([parked]);
    await age(8);
    await inbox.failed([parked], 'No room');
    await inbox.receiveAll([waits]);
    await inbox.failed([waits], 'Not yet');
    expect(await inbox.due(10)).toEqual([]);
    expect([await inbox.retry(project, { source: 'hook', eventId: waits.eventId }), (await inbox.due(10)).map(({ eventId }) => eventId)]).toEqual([1, [waits.eventId]]);
    expect([await inbox.retry(project, {}), await inbox.discard(project, { source: 'upload' }, 'ann'), await inbox.discard(project, { source: 'hook' }, 'ann')]).toEqual([2, 0, 0]);
    await inbox.failed([parked], 'No room');
    expect(await inbox.discard(project, { source: 'upload', eventId: parked.eventId }, 'ann')).toBe(1);
    expect(await shown({ state: 'given_up' })).toEqual([['parked', 'given_up', 2, 'No room ann gave it up, and what it said was dropped.']]);
    expect(await rows()).toContainEqual(expect.objectContaining({ event_id: parked.eventId, sealed: null, body: {} }));
    expect(await createUploads(db).listBegunBefore(new Date(Date.now() + 60_000), 10)).toContainEqual({ project, key: AUDIO });
    // Sent again, it is as good as new.
    expect([await inbox.receive(parked), await shown({ source: 'upload' })]).toEqual([true, [['parked', 'waiting', 0, null]]]);
  });
});

describe('with 100,000 events that wait', () => {
  it('reads as many as it delivers, and none that is not due', async () => {
    await asOwner(async () => {
      await sql`insert into projects (id, name) select 'p' || n, 'P' from generate_series(1, 5) n on conflict do nothing`.execute(db);
      // Most have failed and are due later; one project's uploads are all due.
      await sql`insert into inbox (project, source, event_id, type, body, next_attempt_at)
        select 'p' || (1 + n % 5), case when n % 2 = 0 then 'webex' else 'amocrm' end, 'e' || n, 't', '{}', now() + interval '1 hour' from generate_series(1, 70000) n`.execute(db);
      await sql`insert into inbox (project, source, event_id, type, body) select 'p1', 'webex', 'due' || n, 't', '{}' from generate_series(1, 30000) n`.execute(db);
      await sql`insert into inbox (project, source, event_id, type, body) values ('p5', 'webex', 'alone', 't', '{}')`.execute(db);
      await sql`vacuum analyze inbox`.execute(db);
    });
    let due: Awaited<ReturnType<Inbox['due']>> = [];
    const [statement] = (await statementsOf(async () => {
      due = await asInstallation(() => inbox.due(200));
    })).filter(({ text }) => text.includes('recursive'));
    expect(due).toHaveLength(200);
    // However many the others have.
    expect(due.slice(0, 2).map(({ eventId }) => eventId)).toContain('alone');

    const client = new pg.Client({ connectionString: url });
    await client.connect();
    try {
      const { scanned, text } = await planOf(client, '*', statement!);
      expect([scanned, text]).toEqual([[], expect.stringContaining('inbox_waiting')]);
      // No step has looked at what is not due.
      expect(text.match(/Rows Removed by Filter: \d{3,}/g)).toBeNull();
      const read = [...text.matchAll(/actual rows=(\d+)/g)].map(([, count]) => Number(count));
      expect(Math.max(...read)).toBeLessThan(2_000);
    } finally {
      await client.end();
    }
  });
});
