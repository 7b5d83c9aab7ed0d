import { AftercallError } from '../../domain/errors.ts';
import type { Guard } from '../http/guard.ts';
import { retryAfterMs } from '../http/retry-after.ts';
import { postSigned, wordsOf } from '../http/signed-post.ts';
import type { TrackingSink } from './sink.ts';

/** For the whole of a try. Far below the time for which a relay holds an event. */
const LIMIT_MS = 10_000;

interface HttpSink {
  url: string;
  /** One or two `whsec_…` secrets. */
  secrets: readonly string[];
  guard: Guard;
  limitMs?: number;
}

/**
 * Events to an HTTP endpoint, signed as Standard Webhooks says.
 *
 * Class `upsert_by_key`: `webhook-id` and `Idempotency-Key` are the event's key at every try, so a receiver that
 * keeps the keys it has seen takes each event once. Only 2xx counts as delivered; 410 says that no more are wanted.
 */
export const createHttpSink = ({ url, secrets, guard, limitMs = LIMIT_MS }: HttpSink): TrackingSink => ({
  name: 'http',
  class: 'upsert_by_key',

  async send(event, signal) {
    const answer = await postSigned({ system: 'the tracking endpoint', doing: 'Delivering the event', url, guard, secrets, id: event.id, headers: { 'idempotency-key': event.id }, body: JSON.stringify(event), signal, limitMs });
    const { status, headers } = answer;
    if (status >= 200 && status < 300) return { outcome: 'delivered', receipt: { status } };
    const said = wordsOf(answer);
    const answered = `Delivering the event failed: the tracking endpoint answered ${status}${said ? ` (${said})` : ''}.`;
    if (status === 410) return { outcome: 'unwanted', reason: answered, advice: 'The endpoint is gone for good: give the connector a new address, then replay.' };
    const wait = retryAfterMs(headers.get('retry-after'), Date.now());
    const code = status === 429 ? 'RATE_LIMITED' : status >= 500 || status === 408 ? 'UPSTREAM_UNAVAILABLE' : status === 401 || status === 403 ? 'AUTH_FAILED' : 'UPSTREAM_REJECTED';
    throw new AftercallError(code, answered, {
      advice: code === 'UPSTREAM_REJECTED' ? 'See why the endpoint does not take this event. It is tried again, in case that is mended there.' : code === 'AUTH_FAILED' ? 'Check the secret that both sides sign with. It is tried again.' : 'It is tried again. The endpoint has to answer with 2xx; with 410 it says that it wants no more.',
      outcome: 'refused',
      ...(wait === undefined ? {} : { retryAfterMs: wait }),
    });
  },

  async check() {
    await guard.check(guard.parse(url));
    return 'The address may be reached. Whether events are taken there, the first one tells.';
  },
});
