import { createHash } from 'node:crypto';
import { raw, Router } from 'express';
import { callIdOf } from '../adapters/sources/amocrm.ts';
import type { InboxEvent } from '../db/inbox.ts';
import { HttpProblem } from './problems.ts';
import type { WebhookDependencies } from './webhooks.ts';

/** Whose webhooks come under an address, and from which account alone they may come. */
export interface AmoCrmHook {
  project: string;
  accountId: string | undefined;
  baseUrl: string | undefined;
}
export type AmoCrmHookOf = (secret: string) => Promise<AmoCrmHook | undefined>;

const MAX_BYTES = 256 * 1024;
const MAX_FIELDS = 5_000;
/** Events that one body may bring. What more there is, the next window finds. */
const MAX_EVENTS = 250;

/** `leads[note][0][note][id]` and its like. Nothing else of a body is looked at. */
const NOTE_FIELD = /^(leads|contacts|companies)\[note\]\[(\d{1,4})\]\[note\]\[(\w{1,30})\]$/;
/** Incoming and outgoing call. */
const CALL_TYPES = ['10', '11', 'call_in', 'call_out'];

interface Parsed {
  accountId: string | undefined;
  subdomain: string | undefined;
  events: Omit<InboxEvent, 'attempts' | 'project'>[];
}

/**
 * What a body names: its account, and the notes of calls.
 *
 * Keys are compared as text and never become objects, so no key can reach what is not there to be set.
 */
export const parseAmoCrmForm = (body: string): Parsed => {
  const account = new Map<string, string>();
  const notes = new Map<string, { list: 'leads' | 'contacts' | 'companies'; fields: Map<string, string> }>();
  let read = 0;
  for (const [key, value] of new URLSearchParams(body)) {
    read += 1;
    if (read > MAX_FIELDS) break;
    if (key === 'account[id]' || key === 'account[subdomain]') account.set(key, value);
    const [, list, index, field] = NOTE_FIELD.exec(key) ?? [];
    if (!field) continue;
    const at = `${list} ${index}`;
    const note = notes.get(at) ?? { list: list as 'leads' | 'contacts' | 'companies', fields: new Map<string, string>() };
    notes.set(at, note);
    note.fields.set(field, value);
  }
  const events = [...notes.values()]
    .filter(({ fields }) => CALL_TYPES.includes(fields.get('note_type') ?? '') && /^\d{1,15}$/.test(fields.get('id') ?? ''))
    .slice(0, MAX_EVENTS)
    .map(({ list, fields }) => ({
      source: 'amocrm',
      // The same note in another state is another event: a recording's link often comes later.
      eventId: createHash('sha256').update(JSON.stringify([list, [...fields].toSorted()])).digest('hex'),
      type: 'note',
      body: { callId: callIdOf(list, fields.get('id')!) },
    }));
  return { accountId: account.get('account[id]'), subdomain: account.get('account[subdomain]'), events };
};

/**
 * `POST /webhooks/amocrm/:secret`: checked, written down, answered.
 *
 * amoCRM does not sign what it sends, so the address is the secret, and says which project it is for. Whoever does not know it learns nothing:
 * a wrong one is answered as any address is at which there is nothing.
 */
export const amoCrmWebhookRouter = ({ hookOf, inbox, kick, count }: WebhookDependencies & { hookOf: AmoCrmHookOf }): Router => {
  const router = Router();
  const form = raw({ type: () => true, limit: MAX_BYTES });

  router.post(
    '/webhooks/amocrm/:secret',
    async (request, response, next) => {
      // Before the body is read.
      const hook = await hookOf(request.params.secret);
      response.locals['hook'] = hook;
      if (hook) return next();
      count('refused');
      throw new HttpProblem(404, 'There is nothing at this address.');
    },
    form,
    async (request, response) => {
      const { accountId, subdomain, events } = parseAmoCrmForm(Buffer.isBuffer(request.body) ? request.body.toString('utf8') : '');
      const hook = response.locals['hook'] as AmoCrmHook;
      if (accountId === undefined || accountId !== hook.accountId || (subdomain !== undefined && !isOurs(subdomain, hook.baseUrl))) {
        count('refused');
        throw new HttpProblem(403, 'The event is of another account.');
      }
      const fresh = await inbox.receiveAll(events.map((event) => ({ ...event, project: hook.project })));
      if (events.length > 0) count(fresh > 0 ? 'accepted' : 'duplicate');
      if (fresh > 0) kick();
      response.status(200).json({ received: true });
    },
  );
  return router;
};

/** Against the account's own host. An address that names no account, as of a proxy, cannot tell. */
const isOurs = (subdomain: string, baseUrl = ''): boolean => {
  const [, own] = /^([^.]+)\.(?:amocrm\.(?:ru|com)|kommo\.com)$/.exec(URL.parse(baseUrl)?.hostname ?? '') ?? [];
  return own === undefined || own === subdomain.toLowerCase();
};
