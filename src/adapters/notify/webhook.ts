import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { guardOf } from '../http/guard.ts';
import { retryAfterMs } from '../http/retry-after.ts';
import { postSigned, wordsOf } from '../http/signed-post.ts';
import type { Message, Notifier } from './notifier.ts';

/** For the whole of a try. */
const LIMIT_MS = 10_000;

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
      const answer = await postSigned({ system: 'the webhook receiver', doing: 'Delivering the event', url, guard, secrets, id: message.id, body: bodyOf(message), signal, limitMs });
      const { status, headers } = answer;
      if (status >= 200 && status < 300) return { outcome: 'delivered', receipt: { status } };
      const said = wordsOf(answer);
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
