import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { RETELL_ACCOUNT } from '../../sandbox/retell/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import type { VoiceCallRow } from '../../src/db/voice-calls.ts';
import type { DayCounts } from '../../src/domain/completeness.ts';
import { dayAt } from '../../src/domain/local-time.ts';
import { METADATA_PROJECT, METADATA_VOICE_CALL } from '../../src/domain/voice.ts';
import { startRetellSandbox, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const PROJECT = 'default';
const ALL_EVENTS = ['call_started', 'call_ended', 'call_analyzed'];

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let day: string;
let made = 0;

/** Where it is about noon now: what happens during the test is of one day. */
const noonZone = (): string => {
  const ahead = 12 - new Date().getUTCHours();
  return ahead === 0 ? 'UTC' : `Etc/GMT${ahead > 0 ? '-' : '+'}${Math.abs(ahead)}`;
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-completeness-retell-'));
  [server, sandbox, retell] = await Promise.all([startTemporalProcess(), startTestSandbox(folder, []), startRetellSandbox(folder, { speed: { ringMs: 50, talkMs: 150, analysisMs: 50 } })]);
  system = await startSystem({
    server,
    sandbox,
    folder,
    // Nothing is looked up while this lasts: what no webhook tells, only the comparison finds.
    env: { ...retell.env, API_PORT: '0', RETELL_CALLS_PER_SECOND: '50', VOICE_LOOK_UP_FIRST: '1h', VOICE_LOOK_UP_MAX: '1h', RETRY_MAX: '1s', RUN_ANALYSIS: 'false', RUN_CRM_ACTIONS: 'false' },
  });
  const timeZone = noonZone();
  await system.wiring.projects.changeSettings(PROJECT, { timeZone });
  day = dayAt(Date.now(), timeZone);
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await retell?.close();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

interface Told {
  call_id: string;
  call_status: string;
  call_analysis?: object;
}
const get = async <T>(path: string): Promise<T> => (await (await fetch(`${retell.url}${path}`)).json()) as T;
const told = (callId: string): Promise<Told> => until(`Retell has ${callId}`, async () => (await get<Told[]>('/_sandbox/calls')).find(({ call_id: id }) => id === callId));
/** Until Retell is through with a call. */
const over = (callId: string): Promise<true> =>
  until(`${callId} is analysed`, async () => {
    const call = await told(callId);
    return call.call_status === 'not_connected' || call.call_analysis ? true : undefined;
  });
const webhooks = (mode: object): Promise<unknown> => retell.control('webhooks', { loseEvents: [], url: `${api.url}/webhooks/retell`, ...mode });

/** Places a call. @returns Retell's ID of it, which is ours of the call that follows */
const place = async (to: string): Promise<string> => {
  made += 1;
  const voiceCallId = `vc_${String(made).padStart(22, '0')}`;
  await system.wiring.voiceCalls.enqueue({ project: PROJECT, voiceCallId, request: { from: RETELL_ACCOUNT.numbers.callback, to, variables: {}, metadata: {}, priority: 3 }, requestedBy: 'a test' });
  await system.wiring.voiceLinesClient.wake(PROJECT);
  return until(`${voiceCallId} is placed`, async () => (await system.wiring.voiceCalls.get(PROJECT, voiceCallId)).providerCallId ?? undefined);
};
const rowOf = (providerCallId: string): Promise<VoiceCallRow> =>
  until(`the voice call of ${providerCallId}`, async () => (await system.wiring.voiceCalls.list(PROJECT, {}, { limit: 50 })).find((row) => row.providerCallId === providerCallId));
/** Somebody rings the agent. */
const incoming = async (more: object = {}): Promise<string> => ((await retell.control('calls', { dialogue: 'too-short', ...more })) as Told[])[0]!.call_id;
const found = async (callId: string): Promise<boolean> => (await system.wiring.calls.find(system.key(callId))) !== undefined;

const ask = async <T>(method: string, path: string): Promise<T & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/${PROJECT}/completeness/retell/${day}${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, ...(method === 'POST' ? { 'content-type': 'application/json', 'idempotency-key': `compare-${(made += 1)}-of-retell` } : {}) },
    ...(method === 'POST' ? { body: '{}' } : {}),
  });
  return { ...((await response.json()) as T), status: response.status };
};
type Day = DayCounts & { state: string; startedAt: string; settled: boolean; checks: number };
const compare = async (): Promise<Day> => {
  const before = await ask<Day>('GET', '');
  await until('it is begun', async () => ((await ask<{ started: boolean }>('POST', '/reconcile')).started ? true : undefined));
  return until('the comparison has ended', async () => {
    const now = await ask<Day>('GET', '');
    return now.status === 200 && now.startedAt !== before.startedAt && now.state !== 'running' ? now : undefined;
  });
};
const gapsFor = async (reason: string): Promise<{ callId: string; detail: string | null }[]> => (await ask<{ calls: { callId: string; detail: string | null }[] }>('GET', `/calls?reason=${reason}`)).calls;

describe('a day of Retell', () => {
  let lost: string;
  let heard: string;
  let talking: string;
  let cameIn: string;

  it('of which webhooks were lost has each call that we placed taken in, and a reason for every other', async () => {
    await webhooks({ loseEvents: ALL_EVENTS });
    // The first of all, of which nothing ever came back: it was asked for all the same.
    lost = await place('+15550185');
    await over(lost);
    await webhooks({});
    heard = await place('+15550180');
    await until('it is handed over', async () => ((await found(heard)) ? true : undefined));
    const busy = await place('+15550190');
    // Told as one that has ended and began, with a reason that says that nobody took it.
    const declined = await place('+15550188');
    talking = await place('+15550195');
    cameIn = await incoming();
    const theirs = await incoming({ startedAtMs: Date.now() - 1_000, metadata: { [METADATA_PROJECT]: 'another', [METADATA_VOICE_CALL]: 'vc_another' } });
    await Promise.all([busy, declined, cameIn, theirs].map(over));
    await until('somebody is talking', async () => ((await told(talking)).call_status === 'ongoing' ? true : undefined));
    await system.until(heard, 'completed');
    expect(await found(lost)).toBe(false);

    expect(await compare()).toMatchObject({ state: 'done', listed: 4, ours: 2, takenIn: 1, unexplained: 0, notListed: {} });
    await system.until(lost, 'completed');
    expect(await compare()).toMatchObject({ listed: 4, ours: 2, processed: 1, gaps: { too_short: 1, open_at_source: 1, filtered: 1 }, takenIn: 1, unexplained: 0, settled: false });
    expect(await gapsFor('filtered')).toEqual([expect.objectContaining({ callId: cameIn, detail: expect.stringContaining('takeUnplacedCalls') as unknown })]);
    expect(await gapsFor('open_at_source')).toEqual([expect.objectContaining({ callId: talking })]);
    expect(await rowOf(declined)).toMatchObject({ outcome: 'failed', callId: null });
    for (const callId of [busy, declined, cameIn, theirs]) expect(await found(callId)).toBe(false);
  });

  it('has a call once that webhooks tell of after all', async () => {
    for (const event of ALL_EVENTS) await retell.control('webhooks/send', { event, callId: lost });
    const row = await until('its end is known', async () => {
      const voiceCall = await rowOf(lost);
      return voiceCall.callId === null ? undefined : voiceCall;
    });
    expect([row.state, row.callId]).toEqual(['completed', lost]);
    expect(await system.wiring.calls.listVersions(system.key(lost))).toHaveLength(1);
    expect(await compare()).toMatchObject({ listed: 4, ours: 2, takenIn: 1 });
  });

  it('has what came in taken in where the project says so, by webhook or by the comparison, once', async () => {
    await system.wiring.projects.changeSettings(PROJECT, { takeUnplacedCalls: true });
    const byWebhook = await incoming();
    await until('it is taken in', async () => ((await found(byWebhook)) ? true : undefined));
    await webhooks({ loseEvents: ALL_EVENTS });
    await retell.control(`calls/${talking}/end`, {});
    await over(talking);

    // The one that was left out before, and the one that has ended unheard.
    expect(await compare()).toMatchObject({ listed: 5, ours: 5, takenIn: 3, unexplained: 0 });
    for (const callId of [byWebhook, cameIn, talking]) await system.until(callId, 'completed');
    const last = await compare();
    expect(last).toMatchObject({ listed: 5, ours: 5, takenIn: 3, unexplained: 0, settled: true, notListed: {} });
    expect(last.processed + Object.values(last.gaps).reduce((sum, calls) => sum + calls, 0)).toBe(5);
    for (const callId of [byWebhook, cameIn, talking]) expect(await system.wiring.calls.listVersions(system.key(callId))).toHaveLength(1);
  });

  it('says so when Retell has deleted one', async () => {
    await fetch(`${retell.url}/v2/delete-call/${heard}`, { method: 'DELETE', headers: { authorization: `Bearer ${RETELL_ACCOUNT.key}` } });
    expect(await compare()).toMatchObject({ listed: 4, ours: 5, notListed: { deleted_there: 1 }, takenIn: 3, settled: true });
    expect(await gapsFor('deleted_there')).toEqual([expect.objectContaining({ callId: heard })]);
  });
});
