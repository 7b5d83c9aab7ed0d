import type { Payload, PayloadCodec } from '@temporalio/common';
import { json, type RequestHandler, Router } from 'express';
import { z } from 'zod';

/** Payloads as Temporal's UI and CLI send them: bytes as base64. */
const PayloadsSchema = z.object({ payloads: z.array(z.object({ metadata: z.record(z.string(), z.string()).optional(), data: z.string().optional() })).max(10_000) });

const fromWire = ({ metadata = {}, data }: z.infer<typeof PayloadsSchema>['payloads'][number]): Payload => ({
  metadata: Object.fromEntries(Object.entries(metadata).map(([key, value]) => [key, Buffer.from(value, 'base64')])),
  ...(data === undefined ? {} : { data: Buffer.from(data, 'base64') }),
});

const toWire = ({ metadata, data }: Payload): object => ({
  metadata: Object.fromEntries(Object.entries(metadata ?? {}).map(([key, value]) => [key, Buffer.from(value).toString('base64')])),
  ...(data ? { data: Buffer.from(data).toString('base64') } : {}),
});

/**
 * The codec endpoint: lets Temporal's UI show what is encrypted.
 *
 * It gives away everything, so it asks for the API token like any other route. The UI can send one
 * ("pass access token"); where it cannot, on one's own machine, a request from the UI's own origin to a
 * loopback address is let through: a browser sets `Origin` itself, and nothing else reaches loopback.
 */
export const codecRouter = ({ codec, uiOrigin, authorise }: { codec: PayloadCodec; uiOrigin: string | undefined; authorise: RequestHandler }): Router => {
  const router = Router();
  router.use('/codec', (request, response, next) => {
    const origin = request.get('origin');
    if (uiOrigin && origin === uiOrigin) {
      response.set({ 'access-control-allow-origin': origin, vary: 'Origin', 'access-control-allow-headers': 'authorization, content-type, x-namespace', 'access-control-allow-methods': 'POST', 'access-control-allow-credentials': 'true' });
      if (request.method === 'OPTIONS') return void response.status(204).end();
      if (isLoopback(request.socket.localAddress)) return next();
    }
    return authorise(request, response, next);
  });
  for (const direction of ['encode', 'decode'] as const) {
    router.post(`/codec/${direction}`, json({ limit: '8mb' }), async (request, response) => {
      const { payloads } = PayloadsSchema.parse(request.body);
      response.json({ payloads: (await codec[direction](payloads.map(fromWire))).map(toWire) });
    });
  }
  return router;
};

const isLoopback = (address: string | undefined): boolean => address === '::1' || (address ?? '').replace('::ffff:', '').startsWith('127.');
