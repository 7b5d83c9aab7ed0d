import { createHmac, timingSafeEqual } from 'node:crypto';
import express, { type Request } from 'express';
import { type SandboxServer, startSandboxServer } from '../server.ts';

/** The secrets that this receiver takes: the second while the first is being replaced. */
export const RECEIVER_SECRETS = ['whsec_c2FuZGJveC1yZWNlaXZlci1zZWNyZXQtbnVtYmVyLTE=', 'whsec_c2FuZGJveC1yZWNlaXZlci1zZWNyZXQtbnVtYmVyLTI='] as const;

const WINDOW_SECONDS = 300;

/**
 * A receiver of webhooks as somebody else would write it: any `POST` to `/hooks/*`.
 *
 * It checks the signature as Standard Webhooks says and keeps a ledger: `event_received` with the event, `event_repeated`
 * when the ID has come before, `event_refused` with the reason.
 */
export const startReceiver = ({ port = 0, dataFolder, secrets = RECEIVER_SECRETS }: { port?: number; dataFolder?: string; secrets?: readonly string[] } = {}): Promise<SandboxServer> =>
  startSandboxServer(
    'receiver',
    ({ app, record, ledger }) => {
      app.post('/hooks/*path', express.raw({ type: () => true, limit: '1mb' }), (request, response) => {
        const id = request.get('webhook-id') ?? '';
        const wrong = faultIn(request, secrets);
        if (wrong) {
          record('event_refused', { id, reason: wrong });
          return void response.status(401).json({ error: wrong });
        }
        const before = ledger().some((entry) => entry.kind === 'event_received' && entry['id'] === id);
        record(before ? 'event_repeated' : 'event_received', { id, path: request.path, timestamp: Number(request.get('webhook-timestamp')), event: JSON.parse((request.body as Buffer).toString()) as unknown });
        response.status(204).end();
      });
    },
    { port, dataFolder },
  );

const faultIn = (request: Request, secrets: readonly string[]): string | undefined => {
  const [id, timestamp, signatures] = ['webhook-id', 'webhook-timestamp', 'webhook-signature'].map((name) => request.get(name));
  if (!id || !timestamp || !signatures) return 'a header is missing';
  if (!/^\d+$/.test(timestamp) || Math.abs(Date.now() / 1_000 - Number(timestamp)) > WINDOW_SECONDS) return 'the time is out of the window';
  const signed = Buffer.concat([Buffer.from(`${id}.${timestamp}.`), Buffer.isBuffer(request.body) ? request.body : Buffer.alloc(0)]);
  const expected = secrets.map((secret) => createHmac('sha256', Buffer.from(secret.slice('whsec_'.length), 'base64')).update(signed).digest());
  const given = signatures.split(' ').filter((signature) => signature.startsWith('v1,')).map((signature) => Buffer.from(signature.slice(3), 'base64'));
  return given.some((each) => expected.some((good) => each.length === good.length && timingSafeEqual(each, good))) ? undefined : 'no signature matches';
};
