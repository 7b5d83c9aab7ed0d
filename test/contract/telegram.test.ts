import { createServer } from 'node:http';
import { createServer as createTcpServer, type AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { parseHtml } from '../../sandbox/telegram/html.ts';
import { startTelegram, TELEGRAM_BOT } from '../../sandbox/telegram/server.ts';
import type { Message, Notifier } from '../../src/adapters/notify/notifier.ts';
import { createNotifiers } from '../../src/adapters/notify/registry.ts';
import { createTelegram, render } from '../../src/adapters/notify/telegram.ts';
import { loadConfig } from '../../src/config.ts';
import { complete } from '../support/config.ts';
import { addFaults, ledgerOf } from '../support/sandbox.ts';
import { failureOf, requestsOf } from '../support/salesforce.ts';

const { token, chats } = TELEGRAM_BOT;
const SEND = 'POST /bot*/sendMessage';
const never = new AbortController().signal;
const message: Message = {
  id: 'evt_1',
  event: 'call.completed',
  at: new Date('2026-11-20T10:00:00Z'),
  title: 'Call graded: 62 %',
  lines: ['Good Lead & Sons <Pte Ltd>', 'Said "yes" to a visit.'],
  link: { label: 'Open the call', url: 'https://aftercall.example/calls/1?a=1&b="2"' },
  facts: {},
};

let sandbox: SandboxServer;
let telegram: Notifier<'telegram'>;
const telegramAt = (url: string, timeoutMs = 1_000): Notifier<'telegram'> => createTelegram(loadConfig({ ...complete, TELEGRAM_BASE_URL: url }), { timeoutMs });
beforeEach(async () => {
  sandbox = await startTelegram();
  telegram = telegramAt(sandbox.url);
});
afterEach(() => sandbox.close());

const deliver = (chatId: string = chats.team, more: Partial<Message> = {}, by = telegram) => by.deliver({ ...message, ...more }, { botToken: token, chatId }, never);
const sent = () => ledgerOf(sandbox, 'message_sent');
const tries = async (): Promise<number> => (await requestsOf(sandbox)).length;

describe('a message to a Telegram chat', () => {
  it('arrives with its marks as text, and its link', async () => {
    expect(await deliver()).toEqual({ outcome: 'delivered', receipt: { messageId: 1, chatId: chats.team } });
    expect(await sent()).toMatchObject([{ chatId: chats.team, text: 'Call graded: 62 %\nGood Lead & Sons <Pte Ltd>\nSaid "yes" to a visit.\nOpen the call' }]);
    expect(render(message)).toContain('<a href="https://aftercall.example/calls/1?a=1&amp;b=&quot;2&quot;">Open the call</a>');
  });

  const SENT = { messageId: 1, chatId: chats.team };
  const correct = (more: Partial<Message>, receipt: Record<string, unknown> = SENT) => telegram.correct!({ ...message, ...more }, { botToken: token, chatId: chats.team }, receipt, never);

  it('is corrected where it stands, as often as that is tried', async () => {
    await deliver();
    expect(await correct({ title: 'Call graded: 80 %' })).toEqual({ outcome: 'delivered', receipt: SENT });
    expect(await correct({ title: 'Call graded: 80 %' })).toEqual({ outcome: 'delivered', receipt: SENT });
    expect((await ledgerOf(sandbox)).map(({ kind, text }) => [kind, String(text).split('\n')[0]])).toEqual([['message_sent', 'Call graded: 62 %'], ['message_edited', 'Call graded: 80 %']]);
  });

  it('is tried to be corrected again when the answer is lost, and not when the message is gone', async () => {
    await deliver();
    await addFaults(sandbox, { route: 'POST /bot*/editMessageText', effect: { kind: 'drop_after' } });
    expect(await failureOf(correct({ title: 'New' }))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', retryable: true });
    expect(await correct({ title: 'New' })).toMatchObject({ outcome: 'delivered' });
    expect(await failureOf(correct({ title: 'New' }, { ...SENT, messageId: 99 }))).toMatchObject({ code: 'UPSTREAM_REJECTED', retryable: false });
  });

  it('is of a class whose repeat cannot be told', () => {
    expect(createNotifiers(loadConfig(complete)).telegram.class).toBe('no_key');
  });

  it.each([
    ['of markup', '<script>alert(1)</script> &amp; </b> <x'],
    ['of escapes only', '&<>"'.repeat(2_000)],
    ['of emoji', '👩‍👩‍👧‍👦'.repeat(500)],
    ['of half a character', `a\ud800b${'c'.repeat(5_000)}\udc00`],
    ['of control characters', 'a\u0000b\u0007c\u2028d'],
    ['without a blank', 'x'.repeat(10_000)],
  ])('is taken when it is full %s', async (_title, text) => {
    expect(await deliver(chats.team, { title: text, lines: [text, text] })).toMatchObject({ outcome: 'delivered' });
  });

  it('is cut at a line where it is too long, and keeps its link', async () => {
    const lines = Array.from({ length: 200 }, (_each, index) => `Line ${index}: ${'word '.repeat(6).trim()}`);
    await deliver(chats.team, { lines });
    const text = String((await sent())[0]!['text']);
    expect(text.length).toBeGreaterThan(3_900);
    expect(text.length).toBeLessThanOrEqual(4_096);
    const shown = text.split('\n');
    expect(shown.slice(-2)).toEqual(['…', 'Open the call']);
    for (const line of shown.slice(1, -2)) expect(lines).toContain(line);
  });

  it('is cut after a word where a line is too long, and never within a character', async () => {
    await deliver(chats.team, { lines: ['wörter '.repeat(2_000)] });
    expect(String((await sent())[0]!['text'])).toMatch(/ wörter…\nOpen the call$/);
    await deliver(chats.team, { lines: ['👩‍👩‍👧‍👦'.repeat(600)] });
    expect(String((await sent())[1]!['text'])).toMatch(/👩‍👩‍👧‍👦…\nOpen the call$/u);
  });

  it('is as long as Telegram allows, whatever stands in it', () => {
    const text = fc.string({ unit: fc.oneof(fc.constantFrom('&', '<', '\n', '"', '👩‍👩‍👧‍👦', '\ud83d', 'é'), fc.string({ unit: 'binary', maxLength: 40 })), maxLength: 6_000, size: 'max' });
    fc.assert(
      fc.property(text, fc.array(text, { maxLength: 3 }), (title, lines) => {
        const read = parseHtml(render({ ...message, title, lines }));
        expect(read).toHaveProperty('text');
        const shown = (read as { text: string }).text;
        expect(shown.length).toBeLessThanOrEqual(4_096);
        expect(shown.isWellFormed()).toBe(true);
        expect(shown.endsWith('Open the call')).toBe(true);
      }),
      { numRuns: 100 },
    );
  });
});

describe('a message that Telegram refuses', () => {
  const refused: [string, string, { code: string; retryable: boolean }, RegExp][] = [
    ['by a person who blocked the bot', chats.blocked, { code: 'UPSTREAM_REJECTED', retryable: false }, /blocked.*Let it in again/],
    ['by a group that removed it', chats.removed, { code: 'UPSTREAM_REJECTED', retryable: false }, /kicked.*Let it in again/],
    ['as there is no such chat', '-999', { code: 'UPSTREAM_REJECTED', retryable: false }, /chat not found.*write to the bot first/],
  ];
  it.each(refused)('%s is final, and says what to do', async (_title, chatId, error, text) => {
    const failure = await failureOf(deliver(chatId));
    expect(failure).toMatchObject({ ...error, outcome: 'refused' });
    expect(`${failure.message} ${failure.advice}`).toMatch(text);
    expect([await sent(), await tries()]).toEqual([[], 1]);
  });

  it('for its token is final, and never shows it', async () => {
    const wrong = '200000002:hidden-token';
    const failure = await failureOf(telegram.deliver(message, { botToken: wrong, chatId: chats.team }, never));
    expect(failure).toMatchObject({ code: 'AUTH_FAILED', retryable: false });
    const malformed = await failureOf(telegram.deliver(message, { botToken: 'hidden/../token', chatId: chats.team }, never));
    expect(malformed).toMatchObject({ code: 'CONFIG_INVALID', retryable: false });
    expect(`${failure.stack} ${failure.advice} ${malformed.stack} ${malformed.advice}`).not.toContain('hidden');
  });

  it('for too many is tried again after the time that Telegram asks for', async () => {
    await addFaults(sandbox, { route: SEND, effect: { kind: 'too_many', retryAfter: 14 } });
    expect(await failureOf(deliver())).toMatchObject({ code: 'RATE_LIMITED', retryable: true, retryAfterMs: 14_000, outcome: 'refused' });
    await deliver();
    expect(await sent()).toHaveLength(1);
  });

  it('for too many, by a proxy, takes the wait from the header', async () => {
    await addFaults(sandbox, { route: SEND, effect: { kind: 'respond', status: 429, headers: { 'retry-after': '7' }, body: 'slow down' } });
    expect(await failureOf(deliver())).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 7_000, outcome: 'refused' });
  });

  it('as its server is in trouble, in its own words, is tried again', async () => {
    await addFaults(sandbox, { route: SEND, effect: { kind: 'respond', status: 500, body: { ok: false, error_code: 500, description: 'Internal Server Error: restart' } } });
    expect(await failureOf(deliver())).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' });
  });

  it('as the group became a supergroup goes there, once, and says so', async () => {
    expect(await deliver(chats.upgraded)).toEqual({ outcome: 'delivered', receipt: { messageId: 1, chatId: chats.upgradedTo, movedFrom: chats.upgraded } });
    expect([(await sent()).length, await tries()]).toEqual([1, 2]);
    const moved = { ok: false, error_code: 400, description: 'Bad Request: group chat was upgraded to a supergroup chat', parameters: { migrate_to_chat_id: Number(chats.upgraded) } };
    await addFaults(sandbox, { route: SEND, times: 2, effect: { kind: 'respond', status: 400, body: moved } });
    expect(await failureOf(deliver())).toMatchObject({ code: 'UPSTREAM_REJECTED' });
  });
});

describe('a message whose answer is lost', () => {
  const lost: [string, Fault['effect'], number][] = [
    ['the connection ends after it was sent', { kind: 'drop_after' }, 1],
    ['the connection ends before Telegram did anything, which nobody can see', { kind: 'drop_before' }, 0],
    ['nobody answers', { kind: 'hang' }, 0],
    ['the answer comes too late', { kind: 'late', byMs: 3_000 }, 1],
    ['a gateway answers instead', { kind: 'respond', status: 502, body: '<html>Bad gateway</html>' }, 0],
    ['the answer is no answer', { kind: 'respond', status: 200, body: 'OK' }, 0],
  ];
  it.each(lost)('as %s is unknown, and is not sent again', async (_title, effect, arrived) => {
    await addFaults(sandbox, { route: SEND, effect });
    const delivery = await deliver();
    expect(delivery).toMatchObject({ outcome: 'unknown', advice: expect.stringContaining('Look into the chat') as unknown });
    expect(JSON.stringify(delivery)).not.toContain(token);
    expect([(await sent()).length, await tries()]).toEqual([arrived, 1]);
  });

  it('as the worker is told to stop in the middle is unknown; before it, nothing is sent', async () => {
    await addFaults(sandbox, { route: SEND, effect: { kind: 'hang' } });
    const stopping = new AbortController();
    const delivery = telegramAt(sandbox.url, 30_000).deliver(message, { botToken: token, chatId: chats.team }, stopping.signal);
    while ((await tries()) === 0) await new Promise((resolve) => setTimeout(resolve, 10));
    stopping.abort(new Error('shutting down'));
    expect(await delivery).toMatchObject({ outcome: 'unknown' });
    await expect(telegram.deliver(message, { botToken: token, chatId: chats.team }, stopping.signal)).rejects.toThrow('shutting down');
    expect(await tries()).toBe(1);
  });

  it('is only known not to be sent when there was no connection', async () => {
    const closed = createTcpServer();
    await new Promise<void>((resolve) => closed.listen(0, '127.0.0.1', resolve));
    const { port } = closed.address() as AddressInfo;
    await new Promise((resolve) => closed.close(resolve));
    const failure = await failureOf(deliver(chats.team, {}, telegramAt(`http://127.0.0.1:${port}`)));
    expect(failure).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' });
    expect(failure.message).not.toContain(token);
  });

  it('is unknown too when the answer never ends, and takes no more memory than an answer may', async () => {
    let written = 0;
    const endless = createServer((_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json' });
      const more = (): void => {
        while (response.write(' '.repeat(65_536))) written += 65_536;
        written += 65_536;
        response.once('drain', more);
      };
      more();
    });
    await new Promise<void>((resolve) => endless.listen(0, '127.0.0.1', resolve));
    expect(await deliver(chats.team, {}, telegramAt(`http://127.0.0.1:${(endless.address() as AddressInfo).port}`))).toMatchObject({ outcome: 'unknown' });
    expect(written).toBeLessThan(16 * 1024 * 1024);
    endless.closeAllConnections();
    await new Promise((resolve) => endless.close(resolve));
  });
});

describe('a Telegram server of one’s own', () => {
  it('has to be named in OUTBOUND_ALLOW, and in OUTBOUND_ONLY on premise', async () => {
    const { OUTBOUND_ALLOW: _none, ...unlisted } = complete;
    const refused = createTelegram(loadConfig({ ...unlisted, TELEGRAM_BASE_URL: sandbox.url }));
    expect(await failureOf(deliver(chats.team, {}, refused))).toMatchObject({ code: 'URL_REFUSED', outcome: 'refused' });
    const onPremise = createTelegram(loadConfig({ ...complete, OUTBOUND_ONLY: '127.0.0.1' }));
    expect(await failureOf(deliver(chats.team, {}, onPremise))).toMatchObject({ code: 'URL_REFUSED', message: expect.stringMatching(/api\.telegram\.org.*OUTBOUND_ONLY/) as unknown });
    expect(await tries()).toBe(0);
  });
});
