import { createHmac } from 'node:crypto';
import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { guardOf } from '../http/guard.ts';
import { ask } from '../http/http.ts';
import { retryAfterMs } from '../http/retry-after.ts';
import type { Message, Notifier } from './notifier.ts';

/** For the whole of a try. */
const LIMIT_MS = 10_000;
/** Of an answer, for the reason that may stand in it. */
const MAX_ANSWER_BYTES = 4 * 1024;
const MOST_SECRETS = 2;
const MIN_SECRET_BYTES = 24;

/**
 * Messages to an endpoint of somebody else's, signed as Standard Webhooks says.
 *
 * Class `upsert_by_key`: `webhook-id` is the event's ID at every try, so a receiver that keeps the IDs it has seen
 * takes each event once. Only 2xx counts as delivered, and 410 means that no more are wanted; anything else is tried
 * again, as a receiver's mistake of today may be mended tomorrow. Redirects are not followed: a body goes to the
 * address that was named.
 */
export const createWebhook = (config: Pick<Config, 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY'>, { limitMs = LIMIT_MS }: { limitMs?: number } = {}): Notifier<'webhook'> => {
  const guard = guardOf(config);
  return {
    name: 'webhook',
    class: 'upsert_by_key',

    async deliver(message, { url, secrets }, signal) {
      const keys = keysOf(secrets);
      const body = bodyOf(message);
      const timestamp = Math.floor(Date.now() / 1_000);
      const { status, headers, body: answer } = await ask({
        system: 'the webhook receiver',
        doing: 'Delivering the event',
        url,
        guard,
        method: 'POST',
        headers: {
          'content-type': 'application/json',
          'webhook-id': message.id,
          'webhook-timestamp': String(timestamp),
          'webhook-signature': keys.map((key) => signatureOf({ key, id: message.id, timestamp, body })).join(' '),
        },
        body,
        signal,
        timeoutMs: limitMs,
        maxBytes: MAX_ANSWER_BYTES,
        secretPath: true,
      });
      if (status >= 200 && status < 300) return { outcome: 'delivered', receipt: { status } };
      const said = answer.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim().slice(0, 200);
      const answered = `Delivering the event failed: the webhook receiver answered ${status}${said ? ` (${said})` : ''}.`;
      if (status === 410) return { outcome: 'unsubscribed', reason: answered, advice: 'The receiver is gone for good: remove the webhook, or give it a new address.' };
      const wait = retryAfterMs(headers.get('retry-after'), Date.now());
      throw new AftercallError(status === 429 ? 'RATE_LIMITED' : 'UPSTREAM_UNAVAILABLE', answered, {
        advice: 'It is tried again. The receiver has to answer with 2xx; with 410 it says that it wants no more.',
        outcome: 'refused',
        ...(wait === undefined ? {} : { retryAfterMs: wait }),
      });
    },
  };
};

/** What is sent: the same bytes at every try, but for the time in the headers. */
const bodyOf = ({ id, event, at, title, lines, link, facts }: Message): string =>
  JSON.stringify({ id, type: event, timestamp: at.toISOString(), data: { ...facts, title, text: lines.join('\n'), ...(link ? { url: link.url } : {}) } });

/** `v1,` and an HMAC-SHA256 over ID, time and body: none can be exchanged without the others. */
export const signatureOf = ({ key, id, timestamp, body }: { key: Buffer; id: string; timestamp: number; body: string }): string =>
  `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;

/** The keys in the secrets. @throws CONFIG_INVALID, without showing them */
const keysOf = (secrets: string[]): Buffer[] => {
  const keys = secrets.map((secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'));
  if (keys.length === 0 || keys.length > MOST_SECRETS || keys.some((key) => key.byteLength < MIN_SECRET_BYTES)) {
    throw new AftercallError('CONFIG_INVALID', 'Delivering the event failed: the webhook has no usable secret.', {
      advice: `Give it one or two, each whsec_ and at least ${MIN_SECRET_BYTES} random bytes in base64.`,
      outcome: 'refused',
    });
  }
  return keys;
};
