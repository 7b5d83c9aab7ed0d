import { createHmac } from 'node:crypto';
import { AftercallError } from '../../domain/errors.ts';
import type { Guard } from './guard.ts';
import { type Answer, ask } from './http.ts';

/** Of an answer, for the reason that may stand in it. */
const MAX_ANSWER_BYTES = 4 * 1024;
const MOST_SECRETS = 2;
const MIN_SECRET_BYTES = 24;

interface SignedPost {
  /** The system that is asked and what for: both stand in messages. */
  system: string;
  doing: string;
  url: string;
  guard: Guard;
  /** One or two `whsec_…` secrets: both sign while one replaces the other. */
  secrets: readonly string[];
  /** The same at every try. */
  id: string;
  /** JSON. */
  body: string;
  headers?: Record<string, string>;
  signal: AbortSignal;
  /** For the whole of a try. */
  limitMs: number;
}

/** Posts JSON to an address of somebody else's, signed as Standard Webhooks says. @returns the answer, whatever its status is */
export const postSigned = async ({ system, doing, secrets, id, body, headers = {}, limitMs, ...to }: SignedPost): Promise<Answer> => {
  const keys = keysOf(secrets, doing);
  const timestamp = Math.floor(Date.now() / 1_000);
  return ask({
    ...to,
    system,
    doing,
    method: 'POST',
    headers: {
      ...headers,
      'content-type': 'application/json',
      'webhook-id': id,
      'webhook-timestamp': String(timestamp),
      'webhook-signature': keys.map((key) => signatureOf({ key, id, timestamp, body })).join(' '),
    },
    body,
    timeoutMs: limitMs,
    maxBytes: MAX_ANSWER_BYTES,
    secretPath: true,
  });
};

/** What a receiver says beside its status, fit to be shown. */
export const wordsOf = ({ body }: Answer): string => body.replaceAll(/[\s\p{Cc}]+/gu, ' ').trim().slice(0, 200);

/** `v1,` and an HMAC-SHA256 over ID, time and body: none can be exchanged without the others. */
export const signatureOf = ({ key, id, timestamp, body }: { key: Buffer; id: string; timestamp: number; body: string }): string =>
  `v1,${createHmac('sha256', key).update(`${id}.${timestamp}.${body}`).digest('base64')}`;

/** The keys in the secrets. @throws CONFIG_INVALID, without showing them */
const keysOf = (secrets: readonly string[], doing: string): Buffer[] => {
  const keys = secrets.map((secret) => Buffer.from(secret.replace(/^whsec_/, ''), 'base64'));
  if (keys.length === 0 || keys.length > MOST_SECRETS || keys.some((key) => key.byteLength < MIN_SECRET_BYTES)) {
    throw new AftercallError('CONFIG_INVALID', `${doing} failed: there is no usable secret to sign it with.`, {
      advice: `Give it one or two, each whsec_ and at least ${MIN_SECRET_BYTES} random bytes in base64.`,
      outcome: 'refused',
    });
  }
  return keys;
};
