import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { startAmoCrm } from '../../sandbox/amocrm/server.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { startSalesforce } from '../../sandbox/salesforce/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { SETTINGS_FOR } from '../../sandbox/settings.ts';
import { type AmoCrmSession, createAmoCrmSession } from '../../src/adapters/amocrm/session.ts';
import type { CallNotes } from '../../src/adapters/notes/notes.ts';
import { createAmoCrmNotes } from '../../src/adapters/notes/amocrm.ts';
import { createSalesforceNotes } from '../../src/adapters/notes/salesforce.ts';
import { type AmoCrmConfig, loadConfig, withSystem } from '../../src/config.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCredentials } from '../../src/db/credentials.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { addNotes, amoCrmConfigAt, notesOf, setLimits } from '../support/amocrm.ts';
import { complete } from '../support/config.ts';
import { addRecord, deleteRecord, failureOf, recordsOf } from '../support/salesforce.ts';
import { addFaults, ffmpegPath, ledgerOf } from '../support/sandbox.ts';
import { anyDatabase } from '../support/postgres.ts';

const KEYS = `k:${Buffer.alloc(32, 1).toString('base64')}`;
let folder: string;
let amocrm: SandboxServer;
let db: Database;
let servers = 0;

const signal = (): AbortSignal => AbortSignal.timeout(30_000);
const sessionOf = (config: Partial<AmoCrmConfig> = {}): AmoCrmSession => createAmoCrmSession({ config: amoCrmConfigAt(amocrm.url, config), credentials: createCredentials(db, createKeyRing(KEYS)) });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-notes-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));
/** Each case has an account of its own, and a database that knows no token yet. */
beforeEach(async () => {
  servers += 1;
  amocrm = await startAmoCrm({ calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, dataFolder: join(folder, String(servers)), ffmpegPath: ffmpegPath() });
  await setLimits(amocrm, { perSecond: 10_000 });
  db = await openDatabase(await anyDatabase());
  await migrate(db);
});
afterEach(async () => {
  await db.destroy();
  await amocrm.close();
});

describe('a note on a card', () => {
  const note = (text: string) => ({ subject: 'Call graded', text, date: '2026-11-20', direction: 'inbound' as const });
  const KEY = 'a'.repeat(64);
  const LEAD = { kind: 'lead' as const, id: '7000001' };
  const notes = (session = sessionOf()): CallNotes => createAmoCrmNotes(session);
  const written = () => notesOf(amocrm, 'common');

  it('is written once, edited on a re-run, and left alone when it says the same', async () => {
    const { noteId } = await notes().put(KEY, LEAD, note('Score 70 of 100'), signal());
    expect(await notes().put(KEY, LEAD, note('Score 80 of 100'), signal())).toEqual({ noteId });
    expect(await notes().put(KEY, LEAD, note('Score 80 of 100'), signal())).toEqual({ noteId });
    expect(await written()).toMatchObject([{ id: Number(noteId), entity_id: 7_000_001, params: { text: `Call graded\nScore 80 of 100\n[aftercall ${KEY}]` } }]);
    expect(await ledgerOf(amocrm, 'note_updated')).toHaveLength(1);
    await notes().put('b'.repeat(64), LEAD, note('Another call'), signal());
    await notes().put(KEY, { kind: 'company', id: '7000003' }, note('On its company'), signal());
    expect(await written()).toHaveLength(3);
  });

  const lost: [string, object][] = [
    ['the connection breaks', { kind: 'drop_after' }],
    ['the answer is late', { kind: 'late', byMs: 1_500 }],
  ];
  it.each(lost)('is found again at once when %s after it was written', async (_title, effect) => {
    await addFaults(amocrm, { route: 'POST /api/v4/leads/notes', effect: effect as { kind: string } });
    const { noteId } = await notes(sessionOf({ UPSTREAM_TIMEOUT: 500 })).put(KEY, LEAD, note('Score 70'), signal());
    expect((await written()).map(({ id }) => String(id))).toEqual([noteId]);
  });

  it('is found again by the next try when the look after the loss fails too', async () => {
    await addFaults(amocrm, { route: 'POST /api/v4/leads/notes', effect: { kind: 'drop_after' } }, { route: 'GET /api/v4/leads/7000001/notes', skip: 1, effect: { kind: 'drop_before' } });
    expect(await failureOf(notes().put(KEY, LEAD, note('Score 70'), signal()))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
    await notes().put(KEY, LEAD, note('Score 70'), signal());
    expect(await written()).toHaveLength(1);
  });

  it('is found below hundreds of others, and cut to what fits with its marker whole', async () => {
    const { noteId } = await notes().put(KEY, LEAD, note('x'.repeat(60_000)), signal());
    await addNotes(amocrm, { list: 'leads', entityId: 7_000_001, noteType: 'common', params: { text: 'by hand' }, count: 600 });
    expect(await notes().put(KEY, LEAD, note('short'), signal())).toEqual({ noteId });
    await notes().put(KEY, LEAD, note('y'.repeat(60_000)), signal());
    const [ours, ...more] = (await written()).filter(({ params }) => params.text?.includes('[aftercall'));
    expect([ours!.params.text!.length <= 10_000, ours!.params.text!.endsWith(`\n[aftercall ${KEY}]`), more.length]).toEqual([true, true, 0]);
  });

  it('on a card that is gone is refused with what to do', async () => {
    expect(await failureOf(notes().put(KEY, { kind: 'lead', id: '1' }, note('x'), signal()))).toMatchObject({ code: 'CRM_REJECTED', advice: expect.stringContaining('deleted or merged') as unknown });
    expect(await failureOf(notes().put(KEY, { kind: 'lead', id: '../users' }, note('x'), signal()))).toMatchObject({ code: 'CRM_REJECTED' });
    expect(await failureOf(notes().put('no key', LEAD, note('x'), signal()))).toMatchObject({ code: 'CRM_REJECTED' });
  });

  it('of Salesforce is a task that is upserted, lost answer or not', async () => {
    const salesforce = await startSalesforce({});
    try {
      const config = withSystem(loadConfig({ ...complete, ...SETTINGS_FOR.salesforce(salesforce.url) }), 'salesforce')!;
      const put = (target: { kind: 'lead' | 'company'; id: string }, text: string) => createSalesforceNotes(config).put(KEY, target, note(text), signal());
      const leadId = await addRecord(salesforce, 'Lead', { LastName: 'Tan', Company: 'Acme' });
      await addFaults(salesforce, { route: 'PATCH /services/data/*', effect: { kind: 'drop_after' } });
      await failureOf(put({ kind: 'lead', id: leadId }, 'Score 70'));
      const { noteId } = await put({ kind: 'lead', id: leadId }, 'Score 80');
      expect((await recordsOf(salesforce, 'Task')).filter(({ Subject }) => Subject === 'Call graded')).toMatchObject([{ Id: noteId, WhoId: leadId, Description: 'Score 80' }]);
    } finally {
      await salesforce.close();
    }
  });

  it('is emptied on amoCRM, again without a change, and nothing is written where there is none', async () => {
    await notes().put(KEY, LEAD, note('Anna Tan wants a loan'), signal());
    await notes().put('b'.repeat(64), LEAD, note('Another call'), signal());
    for (let time = 0; time < 2; time += 1) await notes().remove(KEY, LEAD, signal());
    const texts = (await written()).map(({ params }) => params.text);
    expect(texts.toSorted()).toEqual([`Call graded\nAnother call\n[aftercall ${'b'.repeat(64)}]`, `Erased\n[aftercall ${KEY}]`]);
    await notes().remove('c'.repeat(64), LEAD, signal());
    await notes().remove(KEY, { kind: 'company', id: '7000003' }, signal());
    expect(await written()).toHaveLength(2);
  });

  it('is emptied on Salesforce, and one that somebody deleted is not made anew', async () => {
    const salesforce = await startSalesforce({});
    try {
      const ours = createSalesforceNotes(withSystem(loadConfig({ ...complete, ...SETTINGS_FOR.salesforce(salesforce.url) }), 'salesforce')!);
      const target = { kind: 'lead' as const, id: await addRecord(salesforce, 'Lead', { LastName: 'Tan', Company: 'Acme' }) };
      const { noteId } = await ours.put(KEY, target, note('Anna Tan wants a loan'), signal());
      await ours.put('b'.repeat(64), target, note('Another call'), signal());
      const before = (await recordsOf(salesforce, 'Task')).length;
      for (let time = 0; time < 2; time += 1) await ours.remove(KEY, target, signal());
      const tasks = await recordsOf(salesforce, 'Task');
      expect(tasks.find(({ Id }) => Id === noteId)).toMatchObject({ Subject: 'Erased', Description: '' });
      expect(tasks.filter(({ Description }) => Description === 'Another call')).toHaveLength(1);

      await deleteRecord(salesforce, 'Task', noteId);
      await ours.remove(KEY, target, signal());
      expect(await recordsOf(salesforce, 'Task')).toHaveLength(before - 1);
      // Deleted between being found and being emptied.
      await ours.put(KEY, target, note('again'), signal());
      await addFaults(salesforce, { route: 'PATCH /services/data/*', effect: { kind: 'respond', status: 404, body: [{ errorCode: 'ENTITY_IS_DELETED', message: 'entity is deleted' }] } });
      await ours.remove(KEY, target, signal());
      expect(await failureOf(ours.remove("no' key", target, signal()))).toMatchObject({ code: 'CRM_REJECTED' });
    } finally {
      await salesforce.close();
    }
  });
});
