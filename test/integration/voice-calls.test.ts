import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createErasures } from '../../src/db/erasures.ts';
import { append } from '../../src/db/tracking.ts';
import { createVoiceBatches } from '../../src/db/voice-batches.ts';
import { createVoiceCalls, type VoiceCalls, voiceCallIdOf } from '../../src/db/voice-calls.ts';
import type { Observation, ProviderCall, VoiceCallRequest } from '../../src/domain/voice.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

/** Of several who want the same of a call at once, one gets it, and the others learn how it stands. */

let postgres: TestPostgres;
let db: Database;
let voiceCalls: VoiceCalls;
let made = 0;

beforeAll(async () => {
  postgres = await startPostgres();
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
  await db.insertInto('projects').values([{ id: 'a', name: 'A', settings: '{}' }, { id: 'b', name: 'B', settings: '{}' }]).execute();
  voiceCalls = createVoiceCalls({ db, tracking: { append } });
});
afterAll(async () => {
  await db?.destroy();
  await postgres?.stop();
});

const REQUEST: VoiceCallRequest = { from: '+15550100', to: '+15550110', variables: {}, metadata: {}, priority: 3 };
/** Queued, and given its turn on a line. */
const aCall = async (request: Partial<VoiceCallRequest> = {}): Promise<{ project: string; voiceCallId: string }> => {
  made += 1;
  const key = { project: 'a', voiceCallId: voiceCallIdOf('a', [String(made)]) };
  await voiceCalls.enqueue({ ...key, request: { ...REQUEST, ...request }, requestedBy: 'ann' });
  await giveTurn(key, Date.now());
  return key;
};
const giveTurn = async ({ voiceCallId }: { voiceCallId: string }, atMs: number): Promise<void> => void (await db.updateTable('voice_calls').set({ lined_up_at: new Date(atMs), line_account: 'account' }).where('id', '=', voiceCallId).execute());
const seen = (call: Partial<ProviderCall> & { providerCallId: string }, by: Observation['by'] = 'lookup'): Observation => ({ by, atMs: Date.now(), call: { status: 'registered', direction: 'outbound', ...call } });
const eventsOf = async (subject: string): Promise<string[]> => (await db.selectFrom('tracking_events').select('name').where('subject', '=', subject).orderBy('seq').execute()).map(({ name }) => name);
const stateOf = async (key: { project: string; voiceCallId: string }): Promise<string> => (await voiceCalls.get(key.project, key.voiceCallId)).state;

describe('a request', () => {
  it('is written down once, however often it comes, and another one under its ID is told apart', async () => {
    const key = { project: 'a', voiceCallId: voiceCallIdOf('a', ['once']) };
    const place = (request: VoiceCallRequest) => voiceCalls.enqueue({ ...key, request, requestedBy: 'ann' });
    const all = await Promise.all(Array.from({ length: 8 }, () => place(REQUEST)));
    expect(all.map(({ state }) => state).toSorted()).toEqual([...Array<string>(7).fill('known'), 'new']);
    expect((await place({ ...REQUEST, to: '+15550111' })).state).toBe('request_differs');
    expect((await voiceCalls.get('a', key.voiceCallId)).request.to).toBe(REQUEST.to);
  });

  it('has an ID that nobody else’s has', () => {
    const ids = [voiceCallIdOf('a', ['x', 'y']), voiceCallIdOf('b', ['x', 'y']), voiceCallIdOf('a', ['x', 'z']), voiceCallIdOf('a', ['xy'])];
    expect([new Set(ids).size, ids.every((id) => /^vc_[A-Za-z0-9_-]{22}$/.test(id))]).toEqual([4, true]);
  });

  it('is not seen from another project', async () => {
    const { voiceCallId } = await aCall();
    await expect(voiceCalls.get('b', voiceCallId)).rejects.toMatchObject({ code: 'NOT_FOUND' });
    await expect(voiceCalls.cancel({ project: 'b', voiceCallId }, 'x')).rejects.toMatchObject({ code: 'NOT_FOUND' });
  });
});

describe('dialling', () => {
  it('is done by one of many, and the others do not know whether it was', async () => {
    const key = await aCall();
    const verdicts = await Promise.all(Array.from({ length: 8 }, () => voiceCalls.beginDial(key)));
    expect(verdicts.map(({ verdict }) => verdict).toSorted()).toEqual(['dial', ...Array<string>(7).fill('unknown')]);
    expect((await voiceCalls.get('a', key.voiceCallId)).dials).toBe(1);
  });

  it('or taking it back: never both', async () => {
    for (let round = 0; round < 20; round += 1) {
      const key = await aCall();
      const [dial, cancelled] = await Promise.all([voiceCalls.beginDial(key), voiceCalls.cancel(key, 'no').then(() => true, () => false)]);
      expect([dial.verdict === 'dial', cancelled].filter(Boolean)).toHaveLength(1);
      expect(await stateOf(key)).toBe(cancelled ? 'cancelled' : 'dialling');
    }
  });

  it('is not begun again, put back or failed once a webhook has told that it was done', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    await voiceCalls.applyObservation(key, seen({ providerCallId: `call_${made}`, status: 'ongoing', startedAtMs: Date.now() }, 'call_started'));
    expect([await voiceCalls.requeue(key, { from: 'dialling', dials: 1, notBefore: new Date(), reason: 'late answer' }), await voiceCalls.fail(key, { dials: 1, reason: 'late answer' })]).toEqual([false, false]);
    expect([(await voiceCalls.beginDial(key)).verdict, await stateOf(key)]).toEqual(['passed', 'ongoing']);
  });

  it('is not undone by whoever was given up for dead and speaks of the dial before', async () => {
    const key = await aCall();
    const late = { notBefore: new Date(), reason: 'late' };
    await voiceCalls.beginDial(key);
    await voiceCalls.park(key, { code: 'DIAL_UNKNOWN', message: 'm', advice: 'a' });
    expect(await voiceCalls.requeue(key, { from: 'needs_attention', dials: 1, ...late })).toBe(true);
    // Another attempt at letting it be dialled again.
    expect([await voiceCalls.requeue(key, { from: 'needs_attention', dials: 1, ...late }), await stateOf(key)]).toEqual([false, 'queued']);
    await giveTurn(key, Date.now());
    expect((await voiceCalls.beginDial(key)).verdict).toBe('dial');
    // The provider's answer to the first dial, and the word of a person about it.
    expect([
      await voiceCalls.requeue(key, { from: 'dialling', dials: 1, ...late }),
      await voiceCalls.fail(key, { dials: 1, reason: 'late' }),
      await voiceCalls.requeue(key, { from: 'needs_attention', dials: 1, ...late }),
    ]).toEqual([false, false, false]);
    await voiceCalls.park(key, { code: 'DIAL_UNKNOWN', message: 'm', advice: 'a' });
    expect(await voiceCalls.requeue(key, { from: 'needs_attention', dials: 1, ...late })).toBe(false);
    expect(await stateOf(key)).toBe('needs_attention');
  });

  it('waits for another turn where there is none, or it was long ago', async () => {
    const key = await aCall();
    const line = () => db.selectFrom('voice_calls').select(['state', 'dials', 'lined_up_at', 'line_account']).where('id', '=', key.voiceCallId).executeTakeFirstOrThrow();
    await giveTurn(key, Date.now() - 5 * 60_000);
    const offItsLine = { state: 'queued', dials: 0, lined_up_at: null, line_account: null };
    for (let times = 0; times < 2; times += 1) expect([(await voiceCalls.beginDial(key)).verdict, await line()]).toEqual(['passed', offItsLine]);
    await giveTurn(key, Date.now() + 3_000);
    expect((await voiceCalls.beginDial(key)).verdict).toBe('dial');
  });

  it('goes back into the queue with when and why', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    const notBefore = new Date(Date.now() + 60_000);
    expect(await voiceCalls.requeue(key, { from: 'dialling', dials: 1, notBefore, reason: 'busy' })).toBe(true);
    expect(await voiceCalls.get('a', key.voiceCallId)).toMatchObject({ state: 'queued', notBefore, reason: 'busy', dials: 1, diallingAt: null });
  });
});

describe('what is observed', () => {
  it('is written with its events in one go, also by many at once', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    const providerCallId = `call_${made}`;
    const startedAtMs = Date.now();
    const call = { providerCallId, status: 'ended' as const, startedAtMs, endedAtMs: startedAtMs + 1_000, durationMs: 1_000, disconnectionReason: 'user_hangup', analysis: { successful: true } };
    const observations = [seen({ providerCallId }, 'dial'), seen({ providerCallId, status: 'ongoing', startedAtMs }, 'call_started'), seen({ ...call, analysis: undefined } as never, 'call_ended'), seen(call, 'call_analyzed'), seen(call)];
    await Promise.all([...observations, ...observations].map((observation) => voiceCalls.applyObservation(key, observation)));
    expect(await voiceCalls.get('a', key.voiceCallId)).toMatchObject({ state: 'completed', outcome: 'connected', providerCallId });
    expect(await eventsOf(key.voiceCallId)).toEqual(['Voice call initiated', 'Call started', 'Call completed']);
  });

  it('settles what waited for a person', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    expect(await voiceCalls.park(key, { code: 'DIAL_UNKNOWN', message: 'm', advice: 'a' })).toBe(true);
    await voiceCalls.applyObservation(key, seen({ providerCallId: `call_${made}` }));
    expect(await voiceCalls.get('a', key.voiceCallId)).toMatchObject({ state: 'dialled', attention: null });
    await expect(voiceCalls.close(key, { state: 'cancelled', reason: 'r' })).rejects.toMatchObject({ code: 'CONFLICT' });
  });

  it('is not overwritten by the word that nobody knows', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    const doubt = (code: 'DIAL_UNKNOWN' | 'END_UNKNOWN') => voiceCalls.park(key, { code, message: 'm', advice: 'a' });
    expect(await doubt('END_UNKNOWN')).toBe(false);
    await voiceCalls.applyObservation(key, seen({ providerCallId: `call_${made}`, status: 'ongoing', startedAtMs: Date.now() }, 'call_started'));
    expect([await doubt('DIAL_UNKNOWN'), await voiceCalls.get('a', key.voiceCallId)]).toEqual([false, expect.objectContaining({ state: 'ongoing', attention: null })]);
    expect([await doubt('END_UNKNOWN'), await stateOf(key)]).toEqual([true, 'needs_attention']);
  });

  it('of a second call shows on the first, and changes nothing else', async () => {
    const key = await aCall();
    await voiceCalls.beginDial(key);
    await voiceCalls.applyObservation(key, seen({ providerCallId: `call_${made}` }, 'dial'));
    expect(await voiceCalls.applyObservation(key, seen({ providerCallId: 'call_second', status: 'ongoing' }))).toMatchObject({ kind: 'another_call', providerCallId: 'call_second' });
    expect(await voiceCalls.get('a', key.voiceCallId)).toMatchObject({ state: 'dialled', providerCallId: `call_${made}`, reason: expect.stringContaining('call_second') as unknown });
  });

  it('cannot be claimed by two', async () => {
    const [one, other] = [await aCall(), await aCall()];
    await voiceCalls.applyObservation(one, seen({ providerCallId: 'call_shared' }));
    await expect(voiceCalls.applyObservation(other, seen({ providerCallId: 'call_shared' }))).rejects.toMatchObject({ code: 'CONFLICT' });
    expect([await stateOf(other), await eventsOf(other.voiceCallId)]).toEqual(['queued', []]);
  });

  it('is of no voice call where there is none', async () => {
    expect(await voiceCalls.applyObservation({ project: 'a', voiceCallId: 'vc_nobody' }, seen({ providerCallId: 'call_x' }))).toEqual({ kind: 'no_such_voice_call' });
  });
});

describe('a call that was erased', () => {
  const erase = async (callId: string): Promise<void> => {
    const erasures = createErasures(db);
    const id = `erasure-of-${callId}`;
    await erasures.open({ project: 'a', id, kind: 'call', subject: { key: 'k', hmacSha256: 'h' }, by: 'ann', callIds: [callId] });
    await erasures.eraseRows({ project: 'a', callId }, id, { erased: {}, left: {}, removedKeys: [] });
  };
  const again = (key: { project: string; voiceCallId: string }) => voiceCalls.enqueue({ ...key, request: REQUEST, requestedBy: 'ann' });

  it('is not placed again by a repeat of its request, whether it was answered or not', async () => {
    const [unanswered, answered] = [await aCall(), await aCall()];
    await db.insertInto('idempotency_keys').values({ key: 'of the request', request_hash: 'f', status: 202, response: JSON.stringify({ voiceCallId: answered.voiceCallId }) as never }).execute();
    await voiceCalls.applyObservation(answered, seen({ providerCallId: 'call_erased', status: 'ended', startedAtMs: Date.now() }));
    await voiceCalls.handOver(answered, 'call_erased');
    await erase(unanswered.voiceCallId);
    await erase('call_erased');
    for (const key of [unanswered, answered]) {
      await expect(again(key)).rejects.toMatchObject({ code: 'CONFLICT', message: expect.stringContaining('has been erased') as unknown });
      expect(await voiceCalls.find('a', key.voiceCallId)).toBeUndefined();
    }
    // The answer that was kept for the request does not say that the call is queued, either.
    expect(await db.selectFrom('idempotency_keys').select('key').where('key', '=', 'of the request').execute()).toEqual([]);
  });

  it('is not placed again by one that comes while it is being erased', async () => {
    for (let round = 0; round < 10; round += 1) {
      const key = await aCall();
      await voiceCalls.handOver(key, `call_raced_${round}`);
      const [, ...repeats] = await Promise.all([erase(`call_raced_${round}`), ...Array.from({ length: 6 }, () => again(key).then(({ state }) => state, () => 'refused'))]);
      expect(repeats).not.toContain('new');
      expect(await voiceCalls.find('a', key.voiceCallId)).toBeUndefined();
    }
  });

  it('is left out of its batch when that is sent again, and counted', async () => {
    const batches = createVoiceBatches(db);
    const send = () => batches.create({ project: 'a', id: 'sent-again', name: 'n', priority: 3, skipped: 1, sha256: 's', variables: [], requestedBy: 'ann', calls: [1, 2, 3].map((row) => ({ row, request: REQUEST })) });
    expect(await send()).toBe(true);
    await erase(voiceCallIdOf('a', ['batch', 'sent-again', '2']));
    // As where its first copy is gone altogether.
    await db.deleteFrom('voice_calls').where('batch_id', '=', 'sent-again').execute();
    await db.deleteFrom('voice_batches').where('id', '=', 'sent-again').execute();
    expect(await send()).toBe(true);
    expect(await batches.get('a', 'sent-again')).toMatchObject({ rows: 2, skipped: 2 });
    expect((await batches.calls('a', 'sent-again', {}, { limit: 10, after: 0 })).map(({ row }) => row)).toEqual([1, 3]);
  });
});

it('gives out calls that were not handed over, each once in a while, and none that settled too long ago', async () => {
  const aDay = 86_400_000;
  const over = async (): Promise<{ project: string; voiceCallId: string }> => {
    const key = await aCall();
    const startedAtMs = Date.now();
    await voiceCalls.applyObservation(key, seen({ providerCallId: `call_${made}`, status: 'ended', startedAtMs, endedAtMs: startedAtMs + 1_000, disconnectionReason: 'user_hangup', analysis: { successful: true } }, 'call_analyzed'));
    await voiceCalls.note(key, 'Its recording was not taken over: Retell is not connected.');
    await db.updateTable('voice_calls').set({ updated_at: new Date(Date.now() - 2 * aDay) }).where('id', '=', key.voiceCallId).execute();
    return key;
  };
  const failed = async () => voiceCalls.notHandedOver({ before: new Date(Date.now() - aDay), settledSince: new Date(Date.now() - 7 * aDay) }, 10);
  const [waiting, done, old] = [await over(), await over(), await over()];
  await voiceCalls.handOver(done, 'call_of_done');
  expect(await voiceCalls.get('a', done.voiceCallId)).toMatchObject({ callId: 'call_of_done', reason: null });
  await db.updateTable('voice_calls').set({ updated_at: new Date(0) }).where('id', '=', done.voiceCallId).execute();
  await db.updateTable('voice_calls').set({ settled_at: new Date(Date.now() - 8 * aDay) }).where('id', '=', old.voiceCallId).execute();
  expect((await Promise.all([failed(), failed()])).flat()).toEqual([waiting]);
  expect(await failed()).toEqual([]);
});

it('gives out calls that nobody watches, each once in a while', async () => {
  const key = await aCall();
  await voiceCalls.beginDial(key);
  await db.updateTable('voice_calls').set({ updated_at: new Date(0) }).where('id', '=', key.voiceCallId).execute();
  const unwatched = () => voiceCalls.unwatched({ since: new Date(1), parkedSince: new Date(1) }, 10);
  const [one, other] = await Promise.all([unwatched(), unwatched()]);
  expect([...one, ...other]).toEqual([key]);
  expect(await unwatched()).toEqual([]);
});

it('gives out calls that wait for a person less often than those on a line, page by page', async () => {
  const [ringing, parked, alsoParked] = [await aCall(), await aCall(), await aCall()];
  for (const key of [ringing, parked, alsoParked]) await voiceCalls.beginDial(key);
  for (const key of [parked, alsoParked]) await voiceCalls.park(key, { code: 'DIAL_UNKNOWN', message: 'm', advice: 'a' });
  await db.updateTable('voice_calls').set({ updated_at: new Date(100) }).where('id', 'in', [ringing, parked, alsoParked].map(({ voiceCallId }) => voiceCallId)).execute();
  expect(await voiceCalls.unwatched({ since: new Date(200), parkedSince: new Date(50) }, 10)).toEqual([ringing]);
  const pages = [];
  for (let rounds = 0; rounds < 3; rounds += 1) pages.push(await voiceCalls.unwatched({ since: new Date(200), parkedSince: new Date(200) }, 1));
  expect(pages.map((page) => page.length)).toEqual([1, 1, 0]);
  expect(pages.flat().map(({ voiceCallId }) => voiceCallId).toSorted()).toEqual([parked.voiceCallId, alsoParked.voiceCallId].toSorted());
});
