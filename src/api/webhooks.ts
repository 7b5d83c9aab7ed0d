import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import { raw, Router } from 'express';
import { z } from 'zod';
import type { Inbox } from '../db/inbox.ts';
import { HttpProblem } from './problems.ts';

/** Webex Contact Center's envelope (CloudEvents), as far as it is used. */
const EventSchema = z.object({
  id: z.string().min(1).max(200),
  type: z.string().min(1).max(100),
  comciscotimestamp: z.union([z.string(), z.number()]).optional(),
  data: z.object({ taskId: z.string().max(200).optional() }).default({}),
});

const WINDOW_MS = 5 * 60_000;
const MAX_BYTES = '1mb';

export interface WebhookDependencies {
  inbox: Inbox;
  /** Called when there is something to deliver. */
  kick: () => void;
  /** `ignored`: understood, and of no use to us. */
  count: (outcome: 'accepted' | 'duplicate' | 'refused' | 'ignored') => void;
}

/** Of a project's subscription; of the installation's own where no project is named. */
export type WebexSecretOf = (project: string | undefined) => Promise<{ project: string; secret: string } | undefined>;

/**
 * `POST /webhooks/webex` for the installation's own subscription, `/webhooks/webex/:project` for a project's: checked, written down, answered. Webex waits five seconds and promises neither
 * order nor singleness, so nothing is done here beyond that; the relay delivers.
 */
export const webhookRouter = ({ secretOf, inbox, kick, count }: WebhookDependencies & { secretOf: WebexSecretOf }): Router => {
  const router = Router();
  router.post(['/webhooks/webex', '/webhooks/webex/:project'], raw({ type: () => true, limit: MAX_BYTES }), async (request, response) => {
    const refuse = (status: number, why: string): never => {
      count('refused');
      throw new HttpProblem(status, why);
    };
    const named = typeof request.params['project'] === 'string' ? request.params['project'] : undefined;
    const found = await secretOf(named);
    if (!found && named === undefined) return refuse(503, 'Webhooks are off: WEBEX_WEBHOOK_SECRET is not set.');
    const body = Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0);
    // Whoever knocks for a project is not told whether it exists.
    const expected = createHmac('sha256', found?.secret ?? randomBytes(32)).update(body).digest();
    const given = Buffer.from(request.get('x-webexcc-signature') ?? '', 'hex');
    if (!found || given.byteLength !== expected.byteLength || !timingSafeEqual(given, expected)) return refuse(401, 'The signature does not fit the body.');

    const event = EventSchema.safeParse(parse(body));
    if (!event.success) return refuse(400, 'The body is no Webex event.');
    const { id, type, data, comciscotimestamp } = event.data;
    const timestamp = request.get('x-webexcc-timestamp');
    // Older subscriptions send no timestamp; where there is one, an old event is a replayed one.
    if (timestamp !== undefined) {
      if (Math.abs(Date.now() - Number(timestamp)) > WINDOW_MS || Number.isNaN(Number(timestamp))) return refuse(401, 'The event is older than five minutes.');
      if (comciscotimestamp !== undefined && String(comciscotimestamp) !== timestamp) return refuse(401, 'The timestamps of header and body differ.');
    }
    const isNew = await inbox.receive({ project: found.project, source: 'webex', eventId: id, type, body: { taskId: data.taskId ?? null } });
    count(isNew ? 'accepted' : 'duplicate');
    if (isNew) kick();
    response.status(isNew ? 202 : 200).json({ received: true });
  });
  return router;
};

const parse = (body: Buffer): unknown => {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
};
