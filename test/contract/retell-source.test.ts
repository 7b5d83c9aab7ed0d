import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RETELL_ACCOUNT } from '../../sandbox/retell/server.ts';
import { createGuard } from '../../src/adapters/http/guard.ts';
import { parseHostList } from '../../src/adapters/http/hosts.ts';
import { createRetellClient } from '../../src/adapters/retell/client.ts';
import { createRetellSource, toGivenTurns } from '../../src/adapters/sources/retell.ts';
import type { CallCursor, CallPage } from '../../src/adapters/sources/source.ts';
import { METADATA_PROJECT, METADATA_VOICE_CALL } from '../../src/domain/voice.ts';
import { addFaults, clearFaults, startRetellSandbox } from '../support/sandbox.ts';
import { until } from '../support/until.ts';

let folder: string;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-retell-source-'));
  retell = await startRetellSandbox(folder, { speed: { ringMs: 10, talkMs: 20, analysisMs: 10 } });
});
afterAll(async () => {
  await retell?.close();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  await clearFaults(retell);
  await retell.control('recordings', { lifetimeMs: 86_400_000, none: false });
});

const signal = (): AbortSignal => AbortSignal.timeout(30_000);
const sourceOf = ({ pageSize, channels }: { pageSize?: number; channels?: ('agent' | 'customer')[] } = {}) =>
  createRetellSource({
    client: createRetellClient({ config: { RETELL_API_KEY: RETELL_ACCOUNT.key, RETELL_BASE_URL: retell.url, RETELL_CHANNELS: undefined, UPSTREAM_TIMEOUT: 10_000, OUTBOUND_ALLOW: parseHostList('127.0.0.1'), OUTBOUND_ONLY: undefined } }),
    project: 'acme',
    guard: createGuard({ allow: parseHostList('127.0.0.1') }),
    timeoutMs: 10_000,
    ...(pageSize ? { pageSize } : {}),
    ...(channels ? { channels } : {}),
  });

const api = async (method: string, path: string, body?: object): Promise<Record<string, unknown>> => {
  const answer = await fetch(`${retell.url}${path}`, { method, headers: { authorization: `Bearer ${RETELL_ACCOUNT.key}`, 'content-type': 'application/json' }, ...(body ? { body: JSON.stringify(body) } : {}) });
  const text = await answer.text();
  return text ? (JSON.parse(text) as Record<string, unknown>) : {};
};
/** A call that is over and analysed, or as far as its number lets it go. */
const aCall = async (to = '+15550110', isOver = (call: Record<string, unknown>): boolean => call['call_analysis'] !== undefined, metadata?: object): Promise<string> => {
  const placed = await api('POST', '/v2/create-phone-call', { from_number: '+15550100', to_number: to, ...(metadata ? { metadata } : {}) });
  const id = String(placed['call_id']);
  await until('the call is over', async () => isOver(await api('GET', `/v2/get-call/${id}`)), 10);
  return id;
};
const readAll = async (window: { fromMs: number; toMs: number }, pageSize: number): Promise<{ ids: string[]; pages: CallPage[] }> => {
  const source = sourceOf({ pageSize });
  const pages: CallPage[] = [];
  for (let cursor: CallCursor | undefined, more = true; more; more = cursor !== undefined) {
    const page = await source.listCalls({ ...window, ...(cursor ? { cursor } : {}), signal: signal() });
    pages.push(page);
    cursor = page.next;
  }
  return { ids: pages.flatMap(({ calls }) => calls.map(({ callId }) => callId)), pages };
};
/** Calls that are over, at times of their own in the past. */
const pastCalls = async (atMs: number, { count, everyMs, ...more }: { count: number; everyMs: number; metadata?: object }): Promise<string[]> =>
  ((await retell.control('calls', { startedAtMs: atMs, count, everyMs, ...more })) as { call_id: string }[]).map(({ call_id: id }) => id);

const HOUR = 3_600_000;

describe('Retell as a source of calls', () => {
  it('reads each call of a window once, oldest first, though several begin at once at the border of a page', async () => {
    const at = Date.now() - 50 * HOUR;
    const made = [...(await pastCalls(at, { count: 4, everyMs: 0 })), ...(await pastCalls(at + 1, { count: 5, everyMs: 1 }))];
    const { ids, pages } = await readAll({ fromMs: at, toMs: at + HOUR }, 5);
    expect(ids.toSorted()).toEqual(made.toSorted());
    expect(new Set(ids).size).toBe(9);
    expect(pages.length).toBeGreaterThan(1);
    const times = pages.flatMap(({ calls }) => calls.map(({ startedAtMs }) => startedAtMs));
    expect(times).toEqual(times.toSorted((one, other) => one - other));
  });

  it('takes the beginning of a window in and leaves its end out', async () => {
    const at = Date.now() - 60 * HOUR;
    const [first, second, third] = await pastCalls(at, { count: 3, everyMs: 1_000 });
    expect((await readAll({ fromMs: at, toMs: at + 2_000 }, 100)).ids).toEqual([first, second]);
    expect((await readAll({ fromMs: at + 2_000, toMs: at + 3_000 }, 100)).ids).toEqual([third]);
  });

  it('finds a call in a later window that the list showed too late for the first', async () => {
    await retell.control('listing', { lagMs: 600_000 });
    const fromMs = Date.now() - 1_000;
    const id = await aCall();
    const listed = async (): Promise<boolean> => (await sourceOf().listCalls({ fromMs, toMs: Date.now() + 60_000, signal: signal() })).calls.some(({ callId }) => callId === id);
    expect(await listed()).toBe(false);
    await retell.control('listing', { lagMs: 0 });
    expect(await listed()).toBe(true);
  });

  it('says that it cannot go on when more calls begin in one millisecond than fit on a page', async () => {
    const at = Date.now() - 70 * HOUR;
    await pastCalls(at, { count: 5, everyMs: 0 });
    await expect(readAll({ fromMs: at, toMs: at + HOUR }, 2)).rejects.toMatchObject({ code: 'SOURCE_PAGE_STUCK' });
  });

  it('refuses a page with a call that cannot be read, instead of losing it', async () => {
    await addFaults(retell, { route: 'POST /v3/list-calls', effect: { kind: 'respond', status: 200, body: { items: [{ call_id: 'call_x', call_status: 'dancing' }], has_more: false } } });
    await expect(readAll({ fromMs: 0, toMs: HOUR }, 100)).rejects.toMatchObject({ code: 'UPSTREAM_NONSENSE' });
  });

  it('tells calls apart that this project placed, that another placed, and that nobody here placed', async () => {
    const at = Date.now() - 80 * HOUR;
    const [own] = await pastCalls(at, { count: 1, everyMs: 0, metadata: { [METADATA_PROJECT]: 'acme', [METADATA_VOICE_CALL]: 'vc_1' } });
    const [foreign] = await pastCalls(at + 1, { count: 1, everyMs: 0, metadata: { [METADATA_PROJECT]: 'globex', [METADATA_VOICE_CALL]: 'vc_2' } });
    const [unplaced] = await pastCalls(at + 2, { count: 1, everyMs: 0 });
    const { ids, pages } = await readAll({ fromMs: at, toMs: at + HOUR }, 100);
    expect(ids).toEqual([own, unplaced]);
    expect(pages[0]!.unplaced).toEqual([unplaced]);
    expect(await sourceOf().findCall(foreign!, signal())).toBeUndefined();
  });

  it.each(['+15550188', '+15550190'])('leaves out a call to %s that we placed and nobody took, whatever times it carries', async (to) => {
    const fromMs = Date.now() - 1_000;
    const listed = async (): Promise<CallPage> => sourceOf().listCalls({ fromMs, toMs: Date.now() + 1_000, signal: signal() });
    const metadata = { [METADATA_PROJECT]: 'acme', [METADATA_VOICE_CALL]: 'vc_declined' };
    const declined = await aCall(to, undefined, metadata);
    const taken = await aCall('+15550110', undefined, metadata);
    const { calls, unplaced = [] } = await listed();
    expect(calls.map(({ callId }) => callId)).toContain(taken);
    expect([...calls.map(({ callId }) => callId), ...unplaced]).not.toContain(declined);
  });

  it('has one that somebody else placed, and nobody took, as abandoned', async () => {
    const declined = await aCall('+15550188');
    expect(await api('GET', `/v2/get-call/${declined}`)).toMatchObject({ call_status: 'ended', start_timestamp: expect.any(Number), duration_ms: 0, disconnection_reason: 'user_declined' });
    expect(await sourceOf().findCall(declined, signal())).toMatchObject({ callId: declined, status: 'abandoned' });
  });

  it('leaves a call open until it is over and analysed', async () => {
    await retell.control('speed', { ringMs: 0 });
    const fromMs = Date.now() - 1_000;
    const id = await aCall('+15550194', ({ call_status: status }) => status === 'ended');
    const source = sourceOf();
    const seen = async (): Promise<string | undefined> => (await source.listCalls({ fromMs, toMs: Date.now() + 1_000, signal: signal() })).calls.find(({ callId }) => callId === id)?.status;
    expect(await seen()).toBe('open');
    expect((await source.findCall(id, signal()))?.status).toBe('open');
    expect((await source.findCall(await aCall('+15550110'), signal()))?.status).toBe('completed');
  });

  it('describes a call in our words', async () => {
    const id = await aCall('+15550110');
    const call = await sourceOf().findCall(id, signal());
    expect(call).toMatchObject({ source: 'retell', callId: id, status: 'completed', direction: 'outbound', originPhone: '+15550100', destinationPhone: '+15550110', agentName: 'Marcus' });
    expect(call!.durationMs).toBeGreaterThan(30_000);
    expect(await sourceOf().findCall('call_gone', signal())).toBeUndefined();
  });

  it('takes the recording with both on one channel, unless it is told who is on which of two', async () => {
    const id = await aCall();
    const mixed = (await sourceOf().findRecording(id, signal()))!;
    expect([new URL(mixed.url).pathname.endsWith('/recording.wav'), mixed.channels]).toEqual([true, undefined]);
    const apart = (await sourceOf({ channels: ['customer', 'agent'] }).findRecording(id, signal()))!;
    expect([new URL(apart.url).pathname.endsWith('/recording_multichannel.wav'), apart.channels]).toEqual([true, ['customer', 'agent']]);
    let bytes = 0;
    const stream = await sourceOf().openRecording(mixed, { offset: 0, signal: signal() });
    for await (const chunk of stream.body) bytes += chunk.byteLength;
    expect(bytes).toBe(stream.totalBytes);
  });

  it('has an expired link asked for again', async () => {
    const id = await aCall();
    await retell.control('recordings', { lifetimeMs: 0 });
    const link = (await sourceOf().findRecording(id, signal()))!;
    await expect(sourceOf().openRecording(link, { offset: 0, signal: signal() })).rejects.toMatchObject({ code: 'RECORDING_LINK_EXPIRED' });
    await retell.control('recordings', { lifetimeMs: 60_000 });
    const fresh = (await sourceOf().findRecording(id, signal()))!;
    const stream = await sourceOf().openRecording(fresh, { offset: 10, signal: signal() });
    expect(stream.offset).toBe(10);
    for await (const _chunk of stream.body) break;
  });

  it('goes through the guard to where a recording lies', async () => {
    const id = await aCall();
    const link = (await sourceOf().findRecording(id, signal()))!;
    const guarded = createRetellSource({
      client: createRetellClient({ config: { RETELL_API_KEY: RETELL_ACCOUNT.key, RETELL_BASE_URL: retell.url, RETELL_CHANNELS: undefined, UPSTREAM_TIMEOUT: 10_000, OUTBOUND_ALLOW: parseHostList(''), OUTBOUND_ONLY: undefined } }),
      project: 'acme',
      guard: createGuard({ allow: parseHostList('') }),
      timeoutMs: 10_000,
    });
    await expect(guarded.openRecording(link, { offset: 0, signal: signal() })).rejects.toMatchObject({ code: 'URL_REFUSED' });
  });

  it('finds nothing to take where the storage setting kept nothing, and says that nothing will come', async () => {
    const id = await aCall();
    await api('PATCH', `/v2/update-call/${id}`, { data_storage_setting: 'basic_attributes_only' });
    expect(await sourceOf().findRecording(id, signal())).toBeUndefined();
    expect(await sourceOf().findCall(id, signal())).toMatchObject({ captureRequested: false });
    const record = (await sourceOf().findRecord(id, signal()))!;
    expect([record.transcript, record.charge !== undefined]).toEqual([undefined, true]);
    expect(await sourceOf().findRecord('call_gone', signal())).toBeUndefined();
  });

  it('takes what was stripped of personal data where nothing else was kept', async () => {
    await addFaults(retell, {
      route: 'GET /v2/get-call/*',
      times: 2,
      effect: {
        kind: 'respond',
        status: 200,
        body: {
          call_id: 'call_s', call_status: 'ended', call_type: 'phone_call', direction: 'outbound', start_timestamp: 1_700_000_000_000, scrubbed_recording_url: 'https://recordings.example.com/s.wav',
          scrubbed_transcript_with_tool_calls: [{ role: 'node_transition', new_node_name: 'Talk' }, { role: 'user', content: 'My name is [name].', words: [{ word: 'My', start: 1.25, end: 1.5 }, { word: 'name', start: 1.5, end: 2.0004 }] }],
        },
      },
    });
    expect(await sourceOf().findRecording('call_s', signal())).toMatchObject({ url: 'https://recordings.example.com/s.wav' });
    expect((await sourceOf().findRecord('call_s', signal()))!.transcript).toEqual({ by: 'retell', turns: [{ speaker: 'customer', startMs: 1_250, endMs: 2_000, text: 'My name is [name].' }] });
  });

  it('copies words with their times, and the cost in millionths of a dollar', async () => {
    const id = await aCall('+15550198');
    const told = await api('GET', `/v2/get-call/${id}`);
    const record = (await sourceOf().findRecord(id, signal()))!;
    const { turns } = record.transcript!;
    expect(turns[0]).toMatchObject({ speaker: 'agent', startMs: 400 });
    expect(new Set(turns.map(({ speaker }) => speaker))).toEqual(new Set(['agent', 'customer', 'transfer_target']));
    const cost = told['call_cost'] as { combined_cost: number; product_costs: { product: string; cost: number }[] };
    expect(record.charge!.microUsd).toBe(Math.round(cost.combined_cost * 10_000));
    expect(record.charge!.products).toEqual(cost.product_costs.map(({ product, cost: cents }) => ({ product, microUsd: Math.round(cents * 10_000) })));
  });
});

describe("Retell's utterances", () => {
  const said = (role: string, content: string, ...times: [number, number][]) => ({ role, content, words: times.map(([start, end]) => ({ word: 'x', start, end })) });

  it.each([
    ['words in seconds', [said('agent', 'Hi', [0.7, 1.3])], [{ speaker: 'agent', startMs: 700, endMs: 1_300, text: 'Hi' }]],
    ['words out of order', [said('user', 'a b', [2, 3], [1, 1.5])], [{ speaker: 'customer', startMs: 1_000, endMs: 3_000, text: 'a b' }]],
    ['no times', [said('agent', 'Hi', [0, 2]), { role: 'user', content: 'Yes', words: [] }, { role: 'user', content: 'No' }], [{ speaker: 'agent', startMs: 0, endMs: 2_000, text: 'Hi' }, { speaker: 'customer', startMs: 2_000, endMs: 2_000, text: 'Yes' }, { speaker: 'customer', startMs: 2_000, endMs: 2_000, text: 'No' }]],
    ['times that run backwards or below zero', [said('user', 'a', [-1, -2])], [{ speaker: 'customer', startMs: 0, endMs: 0, text: 'a' }]],
    ['what is no speech', [{ role: 'tool_call_result', content: 'found' }, { role: 'dtmf', content: '' }, said('injected', 'note', [1, 2])], []],
    ['a role that is new, with words', [said('supervisor', 'Hello', [1, 2])], [{ speaker: 'supervisor', startMs: 1_000, endMs: 2_000, text: 'Hello' }]],
    ['a role that is new, without', [{ role: 'thought', content: 'hm' }], []],
    ['nothing said', [said('user', '  ', [1, 2])], []],
  ])('with %s', (_what, utterances, turns) => {
    expect(toGivenTurns(utterances)).toEqual(turns);
  });
});
