import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { RETELL_ACCOUNT } from '../../sandbox/retell/server.ts';
import type { Fault } from '../../sandbox/server.ts';
import { createRetellClient } from '../../src/adapters/retell/client.ts';
import { createRetellVoice, toProviderCall } from '../../src/adapters/voice/retell.ts';
import type { VoiceProvider } from '../../src/adapters/voice/voice-provider.ts';
import { RetellCallSchema } from '../../src/adapters/retell/retell.schema.ts';
import type { AftercallError } from '../../src/domain/errors.ts';
import { addFaults, clearFaults, ledgerOf, startRetellSandbox } from '../support/sandbox.ts';

/** What Retell's API does to whoever places calls by it, and what is made of that. */

let folder: string;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let voice: VoiceProvider;
let made = 0;

const TIMEOUT_MS = 1_000;
const signal = (): AbortSignal => AbortSignal.timeout(20_000);
const voiceAt = (url: string, key = RETELL_ACCOUNT.key): VoiceProvider => createRetellVoice(createRetellClient({ config: { RETELL_API_KEY: key, RETELL_BASE_URL: url, RETELL_CHANNELS: undefined, UPSTREAM_TIMEOUT: TIMEOUT_MS, OUTBOUND_ALLOW: undefined, OUTBOUND_ONLY: undefined } }));
const aCall = (to = '+15550195') => {
  made += 1;
  return { key: { project: 'default', voiceCallId: `vc_${made}` }, from: RETELL_ACCOUNT.numbers.callback, to, variables: { first_name: 'Ann' }, metadata: { order: 'o-1' } };
};
const placed = async (voiceCallId: string): Promise<number> => (await ledgerOf(retell, 'call_placed')).filter(({ metadata }) => (metadata as Record<string, unknown>)['aftercall_voice_call'] === voiceCallId).length;
const failureOf = async (attempt: Promise<unknown>): Promise<AftercallError> => {
  const answer = await attempt.catch((error: unknown) => error);
  expect(answer).toMatchObject({ name: 'AftercallError' });
  return answer as AftercallError;
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-retell-'));
  retell = await startRetellSandbox(folder);
  voice = voiceAt(retell.url);
});
afterAll(async () => {
  await retell?.close();
  await rm(folder, { recursive: true, force: true });
});
afterEach(() => clearFaults(retell));

describe('placing a call', () => {
  it('sends our metadata along, beside the caller’s own, and gives what Retell made of it', async () => {
    const dial = aCall();
    const call = await voice.createCall({ ...dial, agent: RETELL_ACCOUNT.agents.reception }, signal());
    expect(call).toEqual({ providerCallId: expect.any(String) as unknown, status: 'registered', direction: 'outbound', voiceCallId: dial.key.voiceCallId, agentId: RETELL_ACCOUNT.agents.reception, fromNumber: dial.from, toNumber: dial.to });
    const [entry] = (await ledgerOf(retell, 'call_placed')).filter(({ callId }) => callId === call.providerCallId);
    expect(entry).toMatchObject({ metadata: { order: 'o-1', aftercall_project: 'default', aftercall_voice_call: dial.key.voiceCallId } });
    await voice.stopCall(call.providerCallId, signal());
  });

  /** In each of these cases somebody may be on the phone. */
  const unknown: [string, Fault['effect'], number][] = [
    ['the connection is closed when the call is made', { kind: 'drop_after' }, 1],
    ['the connection is closed before', { kind: 'drop_before' }, 0],
    ['the answer comes too late', { kind: 'late', byMs: 5_000 }, 1],
    ['the answer breaks off', { kind: 'cut' }, 1],
    ['half of the answer comes, and no end', { kind: 'half' }, 1],
    ['there is no answer at all', { kind: 'hang' }, 0],
    ['Retell answers 500', { kind: 'respond', status: 500, body: { status: 'error', message: 'Server error' } }, 0],
    ['something in between answers 502', { kind: 'respond', status: 502, body: '<html>' }, 0],
    ['something in between answers 504', { kind: 'respond', status: 504, body: '' }, 0],
    ['Retell answers 408', { kind: 'respond', status: 408, body: {} }, 0],
    ['Retell answers 409', { kind: 'respond', status: 409, body: {} }, 0],
    ['something in between redirects', { kind: 'respond', status: 307, headers: { location: '/v2/create-phone-call' }, body: '' }, 0],
    ['the answer is no JSON', { kind: 'respond', status: 200, body: 'ok' }, 0],
    ['the answer is no call', { kind: 'respond', status: 201, body: { call_status: 'registered' } }, 0],
  ];
  it.each(unknown)('is of unknown outcome, and not repeated, when %s', async (_title, effect, calls) => {
    const dial = aCall();
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect });
    const error = await failureOf(voice.createCall(dial, signal()));
    expect([error.name, error.outcome]).toEqual(['AftercallError', 'unknown']);
    const requests = ((await (await fetch(`${retell.url}/_sandbox/requests`)).json()) as { path: string; fault?: string }[]).filter(({ path, fault }) => path === '/v2/create-phone-call' && fault === effect.kind);
    expect([requests.length >= 1, await placed(dial.key.voiceCallId)]).toEqual([true, calls]);
  });

  /** In each of these nobody was called for certain. */
  const refused: [string, Fault['effect'], string, Partial<AftercallError>][] = [
    ['the account is throttled', { kind: 'throttled' }, 'RATE_LIMITED', {}],
    ['it says when to come again', { kind: 'respond', status: 429, headers: { 'retry-after': '7' }, body: {} }, 'RATE_LIMITED', { retryAfterMs: 7_000 }],
    ['the account is out of funds', { kind: 'no_funds' }, 'QUOTA_EXHAUSTED', {}],
    ['the request is not taken', { kind: 'respond', status: 422, body: { status: 'error', message: 'no agent' } }, 'UPSTREAM_REJECTED', {}],
    ['something of it is not found', { kind: 'respond', status: 404, body: { status: 'error', message: 'agent not found' } }, 'UPSTREAM_REJECTED', {}],
    ['the key may not do it', { kind: 'respond', status: 403, body: {} }, 'AUTH_FAILED', {}],
  ];
  it.each(refused)('is refused when %s', async (_title, effect, code, more) => {
    const dial = aCall();
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect });
    expect(await failureOf(voice.createCall(dial, signal()))).toMatchObject({ code, outcome: 'refused', ...more });
    expect(await placed(dial.key.voiceCallId)).toBe(0);
  });

  it('is refused for a wrong key, for a number that is none, and where nobody listens', async () => {
    expect(await failureOf(voiceAt(retell.url, 'another key').createCall(aCall(), signal()))).toMatchObject({ code: 'AUTH_FAILED', outcome: 'refused' });
    expect(await failureOf(voice.createCall({ ...aCall(), to: '12' }, signal()))).toMatchObject({ code: 'UPSTREAM_REJECTED', outcome: 'refused' });
    const closed = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => closed.once('listening', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    expect(await failureOf(voiceAt(`http://127.0.0.1:${port}`).createCall(aCall(), signal()))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'refused' });
  });

  it('never shows the key', async () => {
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'respond', status: 500, body: {} } });
    const error = await failureOf(voice.createCall(aCall(), signal()));
    expect(JSON.stringify([error.message, error.advice, String(error.cause)])).not.toContain(RETELL_ACCOUNT.key);
  });
});

describe('finding a call', () => {
  it('finds the one that was placed under a key, and no other', async () => {
    const [one, other] = [aCall(), aCall()];
    const call = await voice.createCall(one, signal());
    await voice.createCall({ ...other, key: { project: 'other', voiceCallId: one.key.voiceCallId } }, signal());
    expect((await voice.findByMetadata(one.key, signal())).map(({ providerCallId }) => providerCallId)).toEqual([call.providerCallId]);
    expect(await voice.findByMetadata({ project: 'default', voiceCallId: 'vc_nobody' }, signal())).toEqual([]);
  });

  it('does not see one that the list does not show yet, and does later', async () => {
    await retell.control('listing', { lagMs: 60_000 });
    const dial = aCall();
    const call = await voice.createCall(dial, signal());
    expect(await voice.findByMetadata(dial.key, signal())).toEqual([]);
    await retell.control('listing', { lagMs: 0 });
    expect(await voice.findByMetadata(dial.key, signal())).toMatchObject([{ providerCallId: call.providerCallId }]);
  });

  it('takes nobody else’s call where a server does not filter', async () => {
    const items = [{ call_id: 'call_a', call_status: 'ended', metadata: { aftercall_project: 'default', aftercall_voice_call: 'vc_of_another' } }];
    await addFaults(retell, { route: 'POST /v3/list-calls', effect: { kind: 'respond', status: 200, body: { items, has_more: false } } });
    expect(await voice.findByMetadata(aCall().key, signal())).toEqual([]);
  });

  it('says so when there is one that cannot be read', async () => {
    await addFaults(retell, { route: 'POST /v3/list-calls', effect: { kind: 'respond', status: 200, body: { items: [{ call_id: 'call_a' }], has_more: false } } });
    expect(await failureOf(voice.findByMetadata(aCall().key, signal()))).toMatchObject({ code: 'UPSTREAM_NONSENSE' });
  });

  it('tells of a call that is gone', async () => {
    expect(await failureOf(voice.getCall('call_nobody', signal()))).toMatchObject({ code: 'NOT_FOUND', outcome: 'refused' });
  });
});

describe('hanging up', () => {
  it('ends a call, once more does no harm, and a call that nobody has is told of', async () => {
    const { providerCallId } = await voice.createCall(aCall(), signal());
    await voice.stopCall(providerCallId, signal());
    await voice.stopCall(providerCallId, signal());
    expect(await voice.getCall(providerCallId, signal())).toMatchObject({ disconnectionReason: 'manual_stopped' });
    expect(await failureOf(voice.stopCall('call_nobody', signal()))).toMatchObject({ code: 'NOT_FOUND' });
  });

  it('tells when it was refused for a call that goes on', async () => {
    const { providerCallId } = await voice.createCall(aCall(), signal());
    await addFaults(retell, { route: 'POST /v2/stop-call/*', effect: { kind: 'respond', status: 400, body: { status: 'error', message: 'not now' } } });
    expect(await failureOf(voice.stopCall(providerCallId, signal()))).toMatchObject({ code: 'UPSTREAM_REJECTED' });
    await voice.stopCall(providerCallId, signal());
  });
});

describe('the lines of the account', () => {
  it.each<[string, object, { current: number; limit: number }]>([
    ['as they are', { current_concurrency: 3, concurrency_limit: 20 }, { current: 3, limit: 20 }],
    ['without those kept for calls that come in', { current_concurrency: 3, concurrency_limit: 20, reserved_inbound_concurrency: 5 }, { current: 3, limit: 15 }],
    ['with a burst that is switched on', { current_concurrency: 30, concurrency_limit: 20, concurrency_burst_enabled: true, concurrency_burst_limit: 60 }, { current: 30, limit: 60 }],
    ['without one that is not', { current_concurrency: 0, concurrency_limit: 20, concurrency_burst_enabled: false, concurrency_burst_limit: 0 }, { current: 0, limit: 20 }],
    ['never below none', { current_concurrency: 0, concurrency_limit: 2, reserved_inbound_concurrency: 5 }, { current: 0, limit: 0 }],
  ])('are read %s', async (_title, body, expected) => {
    await addFaults(retell, { route: 'GET /get-concurrency', effect: { kind: 'respond', status: 200, body } });
    expect(await voice.concurrency(signal())).toEqual(expected);
  });

  it('are counted by the account', async () => {
    const before = (await voice.concurrency(signal())).current;
    const { providerCallId } = await voice.createCall(aCall(), signal());
    expect((await voice.concurrency(signal())).current).toBe(before + 1);
    await voice.stopCall(providerCallId, signal());
  });
});

describe('a call as Retell tells it', () => {
  it('is read although words in it are new, and fields odd', () => {
    const call = RetellCallSchema.parse({
      call_id: 'call_1',
      call_status: 'ended',
      direction: 'outbound',
      disconnection_reason: 'something_new',
      transcript_object: [{ role: 'new_role', content: 'hello' }],
      start_timestamp: 'yesterday',
      call_cost: { combined_cost: 'free' },
      call_analysis: { in_voicemail: 'maybe', user_sentiment: 'Delighted', custom_analysis_data: { any: ['thing'] } },
      metadata: { aftercall_project: 'p', aftercall_voice_call: 'vc_1' },
      invented_later: { a: 1 },
    });
    expect(toProviderCall(call)).toEqual({ providerCallId: 'call_1', status: 'ended', direction: 'outbound', voiceCallId: 'vc_1', disconnectionReason: 'something_new', analysis: { sentiment: 'Delighted' } });
    expect(call).toMatchObject({ invented_later: { a: 1 }, transcript_object: [{ role: 'new_role' }] });
  });
});
