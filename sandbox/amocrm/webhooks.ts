import express from 'express';
import type { Sandbox } from '../server.ts';
import type { List, StoredNote } from './notes.ts';

interface Mode {
  /** That many announcements are never sent. */
  lose: number;
  /** How often each is sent. */
  times: number;
  /** Held back until so many have gathered, then sent in reverse. 1 sends at once. */
  reverse: number;
}

const TYPE_NUMBER: Record<string, string> = { call_in: '10', call_out: '11', common: '4' };
const ELEMENT_TYPE: Record<List, string> = { contacts: '1', leads: '2', companies: '3' };
const SINGULAR: Record<List, string> = { contacts: 'contact', leads: 'lead', companies: 'company' };

/**
 * The account's webhooks, as amoCRM sends them: form-encoded, unsigned, in no promised order or number.
 *
 * - `POST /_sandbox-webhooks {lose?, times?, reverse?}` says how the next ones are sent
 * - `GET /_sandbox-webhooks` what was sent, with the statuses that came back
 */
export const createAnnouncements = ({ app, record }: Sandbox, { accountId, subdomain }: { accountId: string; subdomain: string }) => {
  const subscriptions: { destination: string; settings: string[] }[] = [];
  const mode: Mode = { lose: 0, times: 1, reverse: 1 };
  const sent: { body: string; status: number }[] = [];
  let held: StoredNote[] = [];

  const send = async (destination: string, body: string): Promise<void> => {
    const answer = await fetch(destination, { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded' }, body, redirect: 'manual', signal: AbortSignal.timeout(10_000) }).catch(() => undefined);
    sent.push({ body, status: answer?.status ?? 0 });
    record('webhook_sent', { status: answer?.status ?? 0 });
  };
  const sendAll = async (notes: StoredNote[]): Promise<void> => {
    for (const note of notes) {
      for (const { destination, settings } of subscriptions) {
        if (!settings.includes(`note_${SINGULAR[note.list]}`)) continue;
        for (let time = 0; time < mode.times; time += 1) await send(destination, formOf(note, { accountId, subdomain }));
      }
    }
  };

  app.post('/_sandbox-webhooks', express.json(), (request, response) => {
    Object.assign(mode, request.body);
    response.status(204).end();
  });
  app.get('/_sandbox-webhooks', (_request, response) => void response.json(sent));

  return {
    /** Tells the subscribers that a note was added. */
    noted(note: StoredNote): void {
      if (mode.lose > 0) {
        mode.lose -= 1;
        return;
      }
      held.push(note);
      if (held.length < mode.reverse) return;
      const notes = held.reverse();
      held = [];
      void sendAll(notes);
    },
    routes(api: express.Router): void {
      api.post('/webhooks', (request, response) => {
        const { destination, settings } = request.body as { destination: string; settings: string[] };
        subscriptions.push({ destination, settings });
        response.status(201).json({ id: subscriptions.length, destination, settings, account_id: Number(accountId), disabled: false });
      });
      api.get('/webhooks', (_request, response) => void response.json({ _total_items: subscriptions.length, _embedded: { webhooks: subscriptions } }));
    },
  };
};

const formOf = (note: StoredNote, { accountId, subdomain }: { accountId: string; subdomain: string }): string => {
  const at = new Date(note.createdAt * 1_000).toISOString().slice(0, 19).replace('T', ' ');
  const { uniq, link, phone, duration, source, text } = note.params as Record<string, string | number | undefined>;
  const fields: Record<string, string> = {
    id: String(note.id),
    note_type: TYPE_NUMBER[note.noteType] ?? '4',
    element_type: ELEMENT_TYPE[note.list],
    element_id: String(note.entityId),
    date_create: at,
    timestamp_x: at,
    created_by: '0',
    main_user_id: String(note.responsibleUserId),
    text: note.noteType === 'common' ? String(text ?? '') : JSON.stringify({ UNIQ: uniq, LINK: link, PHONE: phone, DURATION: duration, SRC: source }),
  };
  return new URLSearchParams([
    ['account[id]', accountId],
    ['account[subdomain]', subdomain],
    ...Object.entries(fields).map(([name, value]): [string, string] => [`${note.list}[note][0][note][${name}]`, value]),
  ]).toString();
};
