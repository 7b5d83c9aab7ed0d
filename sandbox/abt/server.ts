import { readFileSync } from 'node:fs';
import { Ajv2020 } from 'ajv/dist/2020.js';
import express from 'express';
import { type SandboxServer, startSandboxServer } from '../server.ts';
import { faultIn } from '../standard-webhooks.ts';

/** The secrets that this receiver takes: the second while the first is being replaced. */
export const ABT_SECRETS = ['whsec_c2FuZGJveC10cmFja2luZy1zZWNyZXQtbnVtYmVyLTE=', 'whsec_c2FuZGJveC10cmFja2luZy1zZWNyZXQtbnVtYmVyLTI='] as const;

/** What receivers are given to go by. */
const SCHEMA_FILE = new URL('../../docs/tracking.schema.json', import.meta.url);

interface Event {
  id: string;
  event: string;
  subject: string;
  sequence: number;
}

/**
 * A receiver of tracking events as somebody else would write it by the published schema: `POST /events`.
 *
 * It checks the signature (401) and the form (422), and keeps a ledger:
 * - `event_received` an event that is new, with `inOrder` false when a later one of its call had come before
 * - `event_repeated` one whose key has come before: counted once
 * - `event_refused` with the reason
 *
 * `GET /events` shows what it counts: each key once, in the order of arrival.
 */
export const startAbt = ({ port = 0, dataFolder, secrets = ABT_SECRETS }: { port?: number; dataFolder?: string; secrets?: readonly string[] } = {}): Promise<SandboxServer> => {
  const fits = new Ajv2020({ strict: false, validateFormats: false, discriminator: false }).compile(JSON.parse(readFileSync(SCHEMA_FILE, 'utf8')) as object);
  return startSandboxServer(
    'abt',
    ({ app, record, ledger }) => {
      const received = () => ledger().filter(({ kind }) => kind === 'event_received').map((entry) => entry['event'] as Event);
      app.post('/events', express.raw({ type: () => true, limit: '256kb' }), (request, response) => {
        const refuse = (status: number, reason: string): void => {
          record('event_refused', { id: request.get('webhook-id') ?? '', status, reason });
          response.status(status).json({ error: reason });
        };
        const wrong = faultIn(request, secrets);
        if (wrong) return refuse(401, wrong);
        const event = parsed(request.body as Buffer) as Event | undefined;
        if (!fits(event)) return refuse(422, `not of the form: ${fits.errors?.map(({ instancePath, message }) => `${instancePath} ${message ?? ''}`).slice(0, 3).join('; ') ?? ''}`);
        const { id, subject, sequence } = event as Event;
        if (id !== request.get('webhook-id') || id !== request.get('idempotency-key')) return refuse(422, 'the keys of headers and body differ');
        const before = received();
        if (before.some((each) => each.id === id)) record('event_repeated', { id });
        else record('event_received', { id, event, inOrder: !before.some((each) => each.subject === subject && each.sequence > sequence) });
        response.status(204).end();
      });
      app.get('/events', (_request, response) => void response.json(received()));
    },
    { port, dataFolder },
  );
};

const parsed = (body: Buffer): unknown => {
  try {
    return JSON.parse(body.toString('utf8'));
  } catch {
    return undefined;
  }
};
