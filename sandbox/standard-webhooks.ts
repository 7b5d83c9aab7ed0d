import { createHmac, timingSafeEqual } from 'node:crypto';
import type { Request } from 'express';

const WINDOW_SECONDS = 300;

/** What is wrong with a request that is to be signed as Standard Webhooks says. Its body has been read as it came. */
export const faultIn = (request: Request, secrets: readonly string[]): string | undefined => {
  const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => request.get(name));
  if (!id || !timestamp || !signatures) return 'a header is missing';
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1_000 - Number(timestamp)) > WINDOW_SECONDS) return 'the time is out of the window';
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)]);
  const expected = secrets.map((secret) => createHmac('sha256', Buffer.from(secret.slice('whsec_'.length), 'base64')).update(signed).digest());
  const given = signatures.split(' ').filter((signature) => signature.startsWith('v1,')).map((signature) => Buffer.from(signature.slice(3), 'base64'));
  return given.some((each) => expected.some((good) => each.length === good.length && timingSafeEqual(each, good))) ? undefined : 'no signature matches';
};
