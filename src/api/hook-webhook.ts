import { createHmac, timingSafeEqual } from 'node:crypto';
import { raw, Router } from 'express';
import { z } from 'zod';
import type { Hook, Hooks } from '../db/hooks.ts';
import { givenCallSchema, MOST_CALLS_IN_EVENT, toGivenCall } from './given-call.schema.ts';
import { toEvent } from './given-events.ts';
import { HttpProblem } from './problems.ts';
import type { WebhookDependencies } from './webhooks.ts';

const WINDOW_S = 5 * 60;
const MAX_BYTES = 8 * 1024 * 1024;

/**
 * `POST /webhooks/calls/:hookId`: one call, or up to a hundred, signed as the Standard Webhooks do it: HMAC-SHA256
 * over `id.timestamp.body`, base64, in `webhook-signature` behind `v1,`.
 *
 * All calls of an event are taken or none. The same call, sent again, is written down once.
 */
export const hookRouter = ({ hooks, inbox, kick, count }: WebhookDependencies & { hooks: Pick<Hooks, 'open' | 'used'> }): Router => {
  const router = Router();
  const refuse = (status: number, why: string, errors?: { path: string; message: string }[]): never => {
    count('refused');
    throw new HttpProblem(status, why, errors ? { errors } : {});
  };
  router.post(
    '/webhooks/calls/:hookId',
    async (request, response, next) => {
      // Before the body is read.
      const hook = /^hk_[\w-]{24}$/.test(request.params.hookId) ? await hooks.open(request.params.hookId) : undefined;
      if (!hook) return refuse(404, 'There is nothing at this address.');
      if (![undefined, 'identity'].includes(request.get('content-encoding'))) return refuse(415, 'A compressed body is not taken. Send the JSON itself.');
      response.locals['hook'] = hook;
      next();
    },
    raw({ type: () => true, limit: MAX_BYTES, inflate: false }),
    async (request, response) => {
      const hook = response.locals['hook'] as Hook & { secret: string };
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => request.get(name) ?? '') as [string, string, string];
      if (id === '' || id.length > 200 || !/^\d{1,12}$/.test(timestamp)) return refuse(401, 'The headers webhook-id, webhook-timestamp (Unix seconds) and webhook-signature have to be there.');
      if (!isSigned({ secret: hook.secret, id, timestamp, body, signatures })) return refuse(401, 'The signature does not fit webhook-id, webhook-timestamp and the body.');
      if (Math.abs(Date.now() / 1_000 - Number(timestamp)) > WINDOW_S) return refuse(401, 'The event is older than five minutes, or of a clock that goes wrong.');

      const sent = parse(body);
      if (sent === undefined) return refuse(400, 'The body is not JSON.');
      const one = givenCallSchema();
      const calls = Array.isArray(sent) ? z.array(one).min(1).max(MOST_CALLS_IN_EVENT).safeParse(sent) : one.transform((call) => [call]).safeParse(sent);
      if (!calls.success) return refuse(400, 'No call was taken in: something is wrong with the event.', calls.error.issues.slice(0, 100).map(({ path, message }) => ({ path: path.join('.'), message })));
      const ids = calls.data.map((call) => call.id);
      if (new Set(ids).size < ids.length) return refuse(400, 'No call was taken in: the event names a call twice.');

      const fresh = await inbox.receiveAll(calls.data.map((call) => toEvent(hook.project, 'hook', toGivenCall('hook', call))));
      await hooks.used(hook.id);
      count(fresh > 0 ? 'accepted' : 'duplicate');
      if (fresh > 0) kick();
      response.status(fresh > 0 ? 202 : 200).json({ received: calls.data.length, new: fresh });
    },
  );
  return router;
};

const isSigned = ({ secret, id, timestamp, body, signatures }: { secret: string; id: string; timestamp: string; body: Buffer; signatures: string }): boolean => {
  const key = Buffer.from(secret.replace(/^whsec_/, ''), 'base64');
  const expected = createHmac('sha256', key).update(`${id}.${timestamp}.`).update(body).digest();
  // Several may be given while a sender changes its secret.
  return signatures
    .split(' ', 10)
    .filter((each) => each.startsWith('v1,'))
    .some((each) => {
      const given = Buffer.from(each.slice(3), 'base64');
      return given.byteLength === expected.byteLength && timingSafeEqual(given, expected);
    });
};

const parse = (body: Buffer): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch {
    return undefined;
  }
};
