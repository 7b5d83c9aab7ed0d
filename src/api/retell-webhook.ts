import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { raw, Router } from 'express';
import { z } from 'zod';
import { RetellCallSchema } from '../adapters/retell/retell.schema.ts';
import { placedAs, toProviderCall } from '../adapters/voice/retell.ts';
import type { InboxEvent } from '../db/inbox.ts';
import type { ProviderCall } from '../domain/voice.ts';
import { HttpProblem } from './problems.ts';
import type { WebhookDependencies } from './webhooks.ts';

/**
 * Of a project's Retell account; of the installation's own where no project is named.
 *
 * @param options.anew what was remembered will not do
 */
export type RetellKeyOf = (project: string | undefined, options?: { anew?: boolean }) => Promise<Found | undefined>;

const WINDOW_MS = 5 * 60_000;
/** A body holds the transcript up to three times, with the time of each word: about 25 kB for a minute of talk. */
const MAX_BYTES = 8 * 1024 * 1024;
const SIGNATURE = /^v=(\d{10,16}),d=([0-9a-f]{64})$/i;

/** What tells us something. All others of a call are opted into at Retell for other systems. */
export const RETELL_EVENTS = ['call_started', 'call_ended', 'call_analyzed'] as const;
export type RetellEvent = (typeof RETELL_EVENTS)[number];

/** Words and links are not looked at: they are read from the API, by whoever needs them. */
const WebhookCallSchema = RetellCallSchema.omit({ transcript: true, transcript_object: true });
const EnvelopeSchema = z.object({ event: z.string().min(1).max(100), call: z.unknown().optional() });

/** What stands in the inbox of an event: what was observed, and when. */
export interface RetellEventBody extends Record<string, unknown> {
  atMs: number;
  call: ProviderCall;
}

/**
 * An event as it is kept. Without the words, without links, and without what the sender's own systems have put in.
 *
 * Retell repeats an event unchanged, and that is one row. The same event with other contents, as after an analysis
 * that was run again, is another one: what it adds is not lost.
 */
export const toRetellEvent = (project: string, event: RetellEvent, call: ProviderCall, atMs: number): Omit<InboxEvent, 'attempts'> => {
  const digest = createHash('sha256').update(JSON.stringify(call)).digest('base64url').slice(0, 16);
  const body: RetellEventBody = { atMs, call };
  return { project, source: 'retell', eventId: `${call.providerCallId}:${event}:${digest}`, type: event, body };
};

/**
 * `POST /webhooks/retell` for the installation's own account, `/webhooks/retell/:project` for a project's: checked,
 * written down, answered. Retell waits ten seconds and sends what is not taken three times more; it promises no order.
 *
 * The signature is HMAC-SHA256 over the raw bytes and the time in ms, under the account's key that has the webhook
 * badge. Source: `lib/webhook_auth` of `retell-sdk` 5.66.
 */
export const retellWebhookRouter = ({ keyOf, inbox, kick, count }: WebhookDependencies & { keyOf: RetellKeyOf }): Router => {
  const router = Router();
  const refuse = (status: number, why: string): never => {
    count('refused');
    throw new HttpProblem(status, why);
  };
  router.post(
    ['/webhooks/retell', '/webhooks/retell/:project'],
    async (request, response, next) => {
      // Before the body is read: it may be large, and whoever cannot have signed it need not send it.
      const named = typeof request.params['project'] === 'string' ? request.params['project'] : undefined;
      const [, time = '', mac = ''] = SIGNATURE.exec(request.get('x-retell-signature') ?? '') ?? [];
      if (time === '') return refuse(401, 'The header x-retell-signature has to be there, as v=<ms>,d=<hex>.');
      if (Math.abs(Date.now() - Number(time)) > WINDOW_MS) return refuse(401, 'The event is older than five minutes, or of a clock that goes wrong.');
      if (![undefined, 'identity'].includes(request.get('content-encoding'))) return refuse(415, 'A compressed body is not taken. Send the JSON itself.');
      const found = await keyOf(named);
      if (!found && named === undefined) return refuse(503, 'Webhooks of Retell are off: RETELL_API_KEY is not set.');
      response.locals['signed'] = { time, mac: Buffer.from(mac, 'hex'), named, found };
      next();
    },
    raw({ type: () => true, limit: MAX_BYTES, inflate: false }),
    async (request, response) => {
      const { time, mac, named, found } = response.locals['signed'] as { time: string; mac: Buffer; named: string | undefined; found: Found | undefined };
      const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
      // Whoever knocks for a project is not told whether it exists.
      const fits = (sender: Found | undefined): boolean => timingSafeEqual(mac, createHmac('sha256', sender?.key ?? randomBytes(32)).update(body).update(time).digest()) && sender !== undefined;
      const isSigned = fits(found);
      // The key may just have been replaced.
      if (!found || (!isSigned && !fits(await keyOf(named, { anew: true })))) return refuse(401, 'The signature does not fit the body.');

      const envelope = EnvelopeSchema.safeParse(parse(body));
      if (!envelope.success) return refuse(400, 'The body is no event of Retell.');
      const { event } = envelope.data;
      // Somebody rings, and Retell asks which agent is to answer: the one that it has for the number.
      if (event === 'call_inbound') {
        count('ignored');
        return void response.status(200).json({ call_inbound: {} });
      }
      if (!isOfUse(event)) {
        count('ignored');
        return void response.status(204).end();
      }
      const call = WebhookCallSchema.safeParse(envelope.data.call);
      if (!call.success) return refuse(400, 'The body has no call that can be read.');
      // One account may serve several projects, each by its own address.
      const placed = placedAs(call.data);
      if (placed && placed.project !== found.project) return refuse(403, 'The call was placed for another project.');

      const isNew = await inbox.receive(toRetellEvent(found.project, event, toProviderCall(call.data), Date.now()));
      count(isNew ? 'accepted' : 'duplicate');
      if (isNew) kick();
      response.status(204).end();
    },
  );
  return router;
};

interface Found {
  project: string;
  key: string;
}

const isOfUse = (event: string): event is RetellEvent => (RETELL_EVENTS as readonly string[]).includes(event);

const parse = (body: Buffer): unknown => {
  try {
    return JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(body)) as unknown;
  } catch {
    return undefined;
  }
};
