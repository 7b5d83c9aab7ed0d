import { randomUUID } from 'node:crypto';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import express, { type Express } from 'express';
import helmet from 'helmet';
import { messageOf } from '../domain/errors.ts';
import { amoCrmWebhookRouter } from './amocrm-webhook.ts';
import { codecRouter } from './codec.ts';
import type { ApiDependencies } from './dependencies.ts';
import { docsRouter } from './docs.ts';
import { HttpProblem, problemHandler } from './problems.ts';
import { retellWebhookRouter } from './retell-webhook.ts';
import { reportRouter } from './report/router.ts';
import { createRouteTable } from './route.ts';
import { accountRoutes } from './routes/accounts.ts';
import { auditRoutes } from './routes/audit.ts';
import { bulkRoutes } from './routes/bulk.ts';
import { completenessRoutes } from './routes/completeness.ts';
import { connectorRoutes } from './routes/connectors.ts';
import { callRoutes } from './routes/calls.ts';
import { costRoutes } from './routes/costs.ts';
import { qualityRoutes } from './routes/quality.ts';
import { analyticsRoutes } from './routes/analytics.ts';
import { inboxRoutes } from './routes/inbox.ts';
import { messageRoutes } from './routes/messages.ts';
import { reviewRoutes } from './routes/reviews.ts';
import { erasureRoutes } from './routes/erasures.ts';
import { presetRoutes } from './routes/presets.ts';
import { rescoreRoutes } from './routes/rescores.ts';
import { runRoutes } from './routes/runs.ts';
import { warehouseRoutes } from './routes/warehouse.ts';
import { scheduleRoutes } from './routes/schedules.ts';
import { hookRoutes } from './routes/hooks.ts';
import { trackingRoutes } from './routes/tracking.ts';
import { settingsRoutes } from './routes/settings.ts';
import { shownPath } from './shown-path.ts';
import { voiceCallRoutes } from './routes/voice-calls.ts';
import { versionRoutes } from './routes/versions.ts';
import { voiceBatchRoutes } from './routes/voice-batches.ts';
import { hookRouter } from './hook-webhook.ts';
import { uploadRoutes } from './routes/uploads.ts';
import { isUnderWay } from './uploads/bodies.ts';
import { type WebhookDependencies, webhookRouter } from './webhooks.ts';

const BODY_LIMIT = '256kb';
/** For a body to come. Uploads may take as long as they go on; whoever may not upload is cut off by then. */
const BODY_MS = 60_000;
const LONGEST_UPLOAD_MS = 60 * 60_000;
/** A check that hangs is a check that failed. */
const CHECK_MS = 5_000;

/** The HTTP API. Open to all are health, readiness, the documentation, signing in, and webhooks with a signature or a secret address. */
export const createApi = (dependencies: ApiDependencies): Express => {
  const { accounts, audit, config, log, inbox, idempotency, metrics, codec, checks, kickRelay, senders } = dependencies;
  const app = express();
  app.disable('x-powered-by');
  app.set('query parser', 'simple');

  app.use((request, _response, next) => {
    const timer = setTimeout(() => request.complete || isUnderWay(request) || request.destroy(), BODY_MS);
    request.once('close', () => clearTimeout(timer));
    next();
  });
  app.use((request, response, next) => {
    const requestId = request.get('x-request-id')?.slice(0, 100) ?? randomUUID();
    response.set('x-request-id', requestId);
    const stop = metrics.requests.startTimer({ method: request.method });
    response.once('finish', () => {
      stop({ route: (request.route as { path?: string } | undefined)?.path ?? 'other', status: response.statusCode });
      log.debug({ requestId, method: request.method, path: shownPath(request.path), status: response.statusCode }, 'request');
    });
    next();
  });
  // The documentation's own styles are inline; scripts are not. Plain HTTP on one's own machine must not be upgraded.
  app.use(helmet({ contentSecurityPolicy: { directives: { 'script-src': ["'self'"], 'upgrade-insecure-requests': null } } }));

  app.get('/healthz', (_request, response) => void response.json({ status: 'ok' }));
  app.get('/readyz', async (_request, response) => {
    const results = await Promise.all(Object.entries(checks).map(async ([name, check]) => [name, await outcomeOf(check)] as const));
    const ready = results.every(([, outcome]) => outcome === 'ok');
    response.status(ready ? 200 : 503).json({ status: ready ? 'ok' : 'unavailable', checks: Object.fromEntries(results) });
  });

  const webhooks: WebhookDependencies = { inbox, kick: kickRelay, count: (outcome) => metrics.webhooks.inc({ outcome }) };
  app.use(webhookRouter({ ...webhooks, secretOf: senders.webex }));
  app.use(amoCrmWebhookRouter({ ...webhooks, hookOf: senders.amocrm }));
  app.use(retellWebhookRouter({ ...webhooks, keyOf: senders.retell }));
  app.use(hookRouter({ ...webhooks, hooks: dependencies.hooks }));

  const routes = createRouteTable({ authenticate: accounts.authenticate, idempotency, audit });
  const operator: express.RequestHandler = async (request, _response, next) => {
    await routes.authorise(request, 'operator');
    next();
  };
  app.use(codecRouter({ codec, uiOrigin: config.TEMPORAL_UI_URL && new URL(config.TEMPORAL_UI_URL).origin, authorise: operator }));
  app.get('/metrics', operator, async (_request, response) => {
    response.type(metrics.registry.contentType).send(await metrics.registry.metrics());
  });

  const readJson = express.json({ limit: BODY_LIMIT, strict: true });
  app.use((request, response, next) => (routes.streams(request.path) ? next() : readJson(request, response, next)));
  accountRoutes(routes, dependencies);
  auditRoutes(routes, dependencies);
  // Before the calls: else "bulk" would be one's ID.
  bulkRoutes(routes, dependencies);
  callRoutes(routes, dependencies);
  reviewRoutes(routes, dependencies);
  versionRoutes(routes, dependencies);
  erasureRoutes(routes, dependencies);
  presetRoutes(routes, dependencies);
  rescoreRoutes(routes, dependencies);
  voiceCallRoutes(routes, dependencies);
  voiceBatchRoutes(routes, dependencies);
  runRoutes(routes, dependencies);
  completenessRoutes(routes, dependencies);
  warehouseRoutes(routes, dependencies);
  messageRoutes(routes, dependencies);
  scheduleRoutes(routes, dependencies);
  connectorRoutes(routes, dependencies);
  hookRoutes(routes, dependencies);
  uploadRoutes(routes, dependencies);
  inboxRoutes(routes, dependencies);
  costRoutes(routes, dependencies);
  settingsRoutes(routes, dependencies);
  trackingRoutes(routes, dependencies);
  qualityRoutes(routes, dependencies);
  analyticsRoutes(routes, dependencies);
  app.use(reportRouter({ ...dependencies, secure: config.API_PUBLIC_URL?.startsWith('https:') ?? false }));
  app.use(docsRouter(routes.document));
  app.use(routes.router);
  app.use((request) => {
    throw routes.knows(request.path) ? new HttpProblem(405, `${request.method} is not possible here.`) : new HttpProblem(404, `There is nothing at ${request.path}. The API is described at /docs.`);
  });
  app.use(problemHandler(log));
  return app;
};

const outcomeOf = async (check: () => Promise<void>): Promise<string> => {
  const { promise: late, reject } = Promise.withResolvers<never>();
  const timer = setTimeout(() => reject(new Error(`no answer within ${CHECK_MS / 1_000} s`)), CHECK_MS);
  try {
    await Promise.race([check(), late]);
    return 'ok';
  } catch (error) {
    return messageOf(error);
  } finally {
    clearTimeout(timer);
  }
};

export interface RunningApi {
  url: string;
  close(): Promise<void>;
}

/** Listens. @throws when the address is taken */
export const listen = async (app: Express, { host, port }: { host: string; port: number }): Promise<RunningApi> => {
  const server: Server = createServer({ headersTimeout: 20_000, requestTimeout: LONGEST_UPLOAD_MS }, app);
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(port, host, resolve);
  });
  const { port: bound } = server.address() as AddressInfo;
  return {
    url: `http://${host}:${bound}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        // Requests under way may finish; idle connections need not be waited for.
        server.closeIdleConnections();
        setTimeout(() => server.closeAllConnections(), 5_000).unref();
      }),
  };
};
