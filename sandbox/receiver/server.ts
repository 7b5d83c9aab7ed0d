import express from 'express';
import { type SandboxServer, startSandboxServer } from '../server.ts';
import { faultIn } from '../standard-webhooks.ts';

/** The secrets that this receiver takes: the second while the first is being replaced. */
export const RECEIVER_SECRETS = ['whsec_c2FuZGJveC1yZWNlaXZlci1zZWNyZXQtbnVtYmVyLTE=', 'whsec_c2FuZGJveC1yZWNlaXZlci1zZWNyZXQtbnVtYmVyLTI='] as const;

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
