import { createServer, type IncomingMessage, type RequestListener, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { RECEIVER_SECRETS, startReceiver } from '../../sandbox/receiver/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import type { Message, Notifier } from '../../src/adapters/notify/notifier.ts';
import { signatureOf } from '../../src/adapters/http/signed-post.ts';
import { createWebhook } from '../../src/adapters/notify/webhook.ts';
import { loadConfig } from '../../src/config.ts';
import { complete } from '../support/config.ts';
import { addFaults, ledgerOf } from '../support/sandbox.ts';
import { failureOf, requestsOf } from '../support/salesforce.ts';

const [OLD, NEW] = RECEIVER_SECRETS;
const never = new AbortController().signal;
const message: Message = {
  id: 'evt_4f1c',
  event: 'call.completed',
  at: new Date('2026-11-20T10:00:00Z'),
  title: 'Call graded',
  lines: ['62 %', 'Zoë: “größer”'],
  link: { label: 'Open', url: 'https://aftercall.example/calls/1' },
  facts: { callId: 'c1', scorePercent: 62 },
};

let receiver: SandboxServer;
let custom: Server | undefined;
const webhook = createWebhook(loadConfig(complete));
beforeEach(async () => {
  receiver = await startReceiver();
});
afterEach(async () => {
  await receiver.close();
  custom?.closeAllConnections();
  await new Promise((resolve) => (custom ? custom.close(resolve) : resolve(undefined)));
  custom = undefined;
});

const deliver = ({ url = `${receiver.url}/hooks/crm-sync-hidden`, secrets = [OLD], by = webhook, signal = never }: { url?: string; secrets?: string[]; by?: Notifier<'webhook'>; signal?: AbortSignal } = {}) => by.deliver(message, { url, secrets }, signal);
const serve = async (listener: RequestListener): Promise<string> => {
  custom = createServer(listener);
  await new Promise<void>((resolve) => custom!.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(custom.address() as AddressInfo).port}/`;
};
const fault = (effect: Fault['effect'], times = 1): Promise<void> => addFaults(receiver, { route: 'POST /hooks/*', times, effect });

describe('an event that is sent to a webhook', () => {
  it('is signed so that the receiver can tell', async () => {
    expect(await deliver()).toEqual({ outcome: 'delivered', receipt: { status: 204 } });
    expect(await ledgerOf(receiver)).toMatchObject([
      { kind: 'event_received', id: 'evt_4f1c', event: { id: 'evt_4f1c', type: 'call.completed', timestamp: '2026-11-20T10:00:00.000Z', data: { callId: 'c1', scorePercent: 62, title: 'Call graded', text: '62 %\nZoë: “größer”', url: 'https://aftercall.example/calls/1' } } },
    ]);
  });

  it('carries the signature that Standard Webhooks gives as its example', () => {
    const key = Buffer.from('MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw', 'base64');
    expect(signatureOf({ key, id: 'msg_p5jXN8AQM9LWM0D4loKWxJek', timestamp: 1_614_265_330, body: '{"test": 2432232314}' })).toBe('v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=');
  });

  it('is signed with both secrets while one replaces the other', async () => {
    await receiver.close();
    receiver = await startReceiver({ secrets: [NEW] });
    expect(await failureOf(deliver({ secrets: [OLD] }))).toMatchObject({ retryable: true });
    expect(await deliver({ secrets: [OLD, NEW] })).toMatchObject({ outcome: 'delivered' });
    expect((await ledgerOf(receiver)).map(({ kind }) => kind)).toEqual(['event_refused', 'event_received']);
  });

  it.each([['none', []], ['three', [OLD, NEW, OLD]], ['a short one', ['whsec_c2hvcnQ=']]])('is not sent with secrets that are %s', async (_title, secrets) => {
    expect(await failureOf(deliver({ secrets }))).toMatchObject({ code: 'CONFIG_INVALID', retryable: false });
    expect(await requestsOf(receiver)).toEqual([]);
  });

  it('has the same ID and body at every try, and the time of the try', async () => {
    const seen: { headers: IncomingMessage['headers']; body: string }[] = [];
    const url = await serve((request, response) => {
      let body = '';
      request.on('data', (chunk: Buffer) => (body += chunk.toString()));
      request.on('end', () => {
        seen.push({ headers: request.headers, body });
        response.writeHead(seen.length < 3 ? 503 : 200).end();
      });
    });
    await failureOf(deliver({ url }));
    await new Promise((resolve) => setTimeout(resolve, 1_100));
    await failureOf(deliver({ url }));
    await deliver({ url });
    expect(new Set(seen.map(({ headers }) => headers['webhook-id']))).toEqual(new Set(['evt_4f1c']));
    expect(new Set(seen.map(({ body }) => body)).size).toBe(1);
    const [first, second] = seen.map(({ headers }) => Number(headers['webhook-timestamp']));
    expect(second! - first!).toBeGreaterThanOrEqual(1);
  });

  it('is told from its repeat by the receiver when the first answer was lost', async () => {
    await fault({ kind: 'drop_after' });
    expect(await failureOf(deliver())).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'unknown' });
    expect(await deliver()).toMatchObject({ outcome: 'delivered' });
    expect((await ledgerOf(receiver)).map(({ kind }) => kind)).toEqual(['event_received', 'event_repeated']);
  });
});

describe('a webhook receiver', () => {
  it.each([200, 201, 202, 204, 299])('that answers %d has it', async (status) => {
    await fault({ kind: 'respond', status });
    expect(await deliver()).toEqual({ outcome: 'delivered', receipt: { status } });
  });

  it('that answers 410 wants no more', async () => {
    await fault({ kind: 'respond', status: 410, body: { error: 'this hook was removed' } });
    expect(await deliver()).toMatchObject({ outcome: 'unsubscribed', reason: expect.stringContaining('this hook was removed') as unknown });
  });

  it.each([301, 302, 307, 400, 401, 403, 404, 408, 409, 422, 500, 502, 503])('that answers %d gets it again', async (status) => {
    await fault({ kind: 'respond', status, headers: { location: `${receiver.url}/hooks/elsewhere` }, body: { error: 'not today' } });
    const failure = await failureOf(deliver());
    expect(failure).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' });
    expect(failure.message).toContain('not today');
    expect(`${failure.stack} ${failure.advice}`).not.toMatch(/hidden|whsec|c2FuZGJveC/);
    expect(await requestsOf(receiver)).toHaveLength(1);
  });

  it('that answers 429 gets it again when it says', async () => {
    await fault({ kind: 'respond', status: 429, headers: { 'retry-after': '30' } });
    expect(await failureOf(deliver())).toMatchObject({ code: 'RATE_LIMITED', retryable: true, retryAfterMs: 30_000 });
  });

  it('that says nothing is given ten seconds', async () => {
    await fault({ kind: 'hang' });
    const startedMs = performance.now();
    const failure = await failureOf(deliver());
    expect(failure).toMatchObject({ code: 'UPSTREAM_TIMEOUT', retryable: true });
    expect(failure.message).not.toContain('hidden');
    const tookMs = performance.now() - startedMs;
    expect(tookMs).toBeGreaterThan(9_000);
    expect(tookMs).toBeLessThan(13_000);
  });

  it('that answers for ever, or drop by drop, is not listened to for longer', async () => {
    const by = createWebhook(loadConfig(complete), { limitMs: 1_000 });
    const dripping = await serve((_request, response) => {
      response.writeHead(500);
      const timer = setInterval(() => response.write('.'), 50);
      response.on('close', () => clearInterval(timer));
    });
    const startedMs = performance.now();
    expect(await failureOf(deliver({ url: dripping, by }))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'refused' });
    expect(performance.now() - startedMs).toBeLessThan(3_000);
  });

  it('that sends a flood is cut off', async () => {
    let written = 0;
    const flood = await serve((_request, response) => {
      response.writeHead(500);
      const more = (): void => {
        do written += 65_536;
        while (response.write('x'.repeat(65_536)));
        response.once('drain', more);
      };
      more();
    });
    const failure = await failureOf(deliver({ url: flood }));
    expect(failure.message.length).toBeLessThan(400);
    expect(written).toBeLessThan(16 * 1024 * 1024);
  });

  it.each(['https://127.0.0.2/hook', 'http://169.254.169.254/latest/', 'http://[::1]/', 'file:///etc/passwd', 'not a url'])('at %s is never asked', async (url) => {
    expect(await failureOf(deliver({ url }))).toMatchObject({ code: 'URL_REFUSED', retryable: false });
  });

  it('is not waited for when the worker is told to stop', async () => {
    await fault({ kind: 'hang' });
    await expect(deliver({ signal: AbortSignal.timeout(200) })).rejects.toThrow('timeout');
  });
});
