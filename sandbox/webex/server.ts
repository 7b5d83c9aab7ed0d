import { once } from 'node:events';
import { createHmac, randomBytes, randomUUID } from 'node:crypto';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import express, { type Request, type Response } from 'express';
import type { SampleCall, TelephonyOptions } from '../calls/script.ts';
import { faultOf, type Sandbox, type SandboxServer, startSandboxServer } from '../server.ts';
import { createRecordings, generatedWav, type ServedFile } from './recordings.ts';
import { createTasks, type StoredTask } from './tasks.ts';

/** The credentials that this stand-in takes. */
export const WEBEX_CLIENT = { clientId: 'sandbox-webex-client', clientSecret: 'sandbox-webex-secret', refreshToken: 'sandbox-webex-refresh' };
const ORG_ID = '0c0ffee0-0000-4000-8000-000000000001';
const RECORDING_ID_PREFIX = 'rec-';

/**
 * A stand-in for Webex Contact Center: tasks, captures, pre-signed recordings, webhook subscriptions.
 *
 * Beside the common control routes:
 * - `POST /_sandbox-bulk {count, fromMs, toMs, status?, queue?, captureRequested?, recordingOf?, generateBytes?, prefix?}` adds many tasks; `DELETE /_sandbox-tasks/:id` deletes one
 * - `POST /_sandbox-webhooks {type, taskId, times?, tamper?, ageSeconds?, eventId?}` sends a signed webhook to each subscription
 *
 * Faults it acts out itself: on `GET /recordings/*` `truncated`, `html`, `zero_bytes`, `expired`, `slow_drip`, `stall`, `no_length`;
 * on `GET /v1/tasks` `repeated_page`.
 */
export const startWebex = async (options: TelephonyOptions): Promise<SandboxServer> => {
  await mkdir(options.dataFolder, { recursive: true });
  const epochMs = await epochOf(options.dataFolder);
  const tasks = createTasks();
  for (const sample of options.calls) {
    tasks.add({ id: sample.taskId, createdTime: epochMs - sample.task.minutesAgo * 60_000, call: sample.task, sample, emptyLooks: sample.recording?.emptyLooks ?? 0 });
  }
  const recordings = createRecordings(options);
  let address = '';

  const server = await startSandboxServer(
    'webex',
    (sandbox) => {
      const tokens = tokenRoutes(sandbox, options.tokenLifetimeSeconds ?? 3_600);
      const authorised = (request: Request, response: Response): boolean => {
        const [scheme, token] = (request.get('authorization') ?? '').split(' ');
        if (scheme !== 'Bearer' || !token) return refuse(response, 400, 'Missing or malformed Authorization header');
        if (!tokens.isGood(token)) return refuse(response, 401, 'Unauthorized');
        return true;
      };
      taskRoutes(sandbox, tasks, authorised);
      captureRoutes(sandbox, { tasks, authorised, addressOf: () => address, fileOf: (task) => fileOf(task, recordings) });
      subscriptionRoutes(sandbox, authorised);
      bulkRoute(sandbox, tasks, options.calls);
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return server;
};

/** When the sandbox first started with this folder: a restart shows the same calls at the same times. */
const epochOf = async (folder: string): Promise<number> => {
  const path = join(folder, 'webex-epoch');
  const stored = await readFile(path, 'utf8').catch(() => undefined);
  if (stored) return Number(stored);
  const now = Date.now();
  await writeFile(path, String(now));
  return now;
};

const fail = (response: Response, status: number, description: string): void => {
  response.status(status).json({ trackingId: `SANDBOX_${randomUUID()}`, error: { key: String(status), message: [{ description }] } });
};

const refuse = (response: Response, status: number, description: string): false => {
  fail(response, status, description);
  return false;
};

const tokenRoutes = ({ app, record }: Sandbox, lifetimeSeconds: number) => {
  const good = new Map<string, number>();
  app.post('/v1/access_token', express.urlencoded({ extended: false }), (request, response) => {
    const { grant_type, client_id, client_secret, refresh_token } = (request.body ?? {}) as Record<string, string>;
    if (client_id !== WEBEX_CLIENT.clientId || client_secret !== WEBEX_CLIENT.clientSecret) return fail(response, 401, 'Client authentication failed');
    if (grant_type !== 'refresh_token' || !refresh_token?.startsWith(WEBEX_CLIENT.refreshToken)) return fail(response, 400, 'The refresh token is invalid or expired');
    const accessToken = `${randomBytes(24).toString('base64url').replaceAll('_', '-')}_SBX_${ORG_ID}`;
    good.set(accessToken, Date.now() + lifetimeSeconds * 1_000);
    record('token_issued', {});
    response.json({
      access_token: accessToken,
      expires_in: lifetimeSeconds,
      refresh_token: `${WEBEX_CLIENT.refreshToken}-${randomBytes(6).toString('hex')}`,
      refresh_token_expires_in: 7_775_999,
      token_type: 'Bearer',
    });
  });
  return { isGood: (token: string): boolean => (good.get(token) ?? 0) > Date.now() };
};

type Authorised = (request: Request, response: Response) => boolean;

const CHANNELS = ['email', 'chat', 'telephony', 'social'];

const taskRoutes = ({ app }: Sandbox, tasks: ReturnType<typeof createTasks>, authorised: Authorised): void => {
  let previousPage: unknown;
  app.get('/v1/tasks', (request, response) => {
    if (!authorised(request, response)) return;
    const { from, to, pageSize = '100', channelTypes } = request.query as Record<string, string | undefined>;
    if (!from || !/^\d+$/.test(from)) return fail(response, 400, 'from is required and must be epoch milliseconds.');
    if (to !== undefined && !/^\d+$/.test(to)) return fail(response, 400, 'to must be epoch milliseconds.');
    const size = Number(pageSize);
    if (!Number.isInteger(size) || size < 1 || size > 1_000) return fail(response, 400, 'pageSize must be between 1 and 1000.');
    const channels = channelTypes?.split(',') ?? CHANNELS;
    if (channels.some((channel) => !CHANNELS.includes(channel))) return fail(response, 400, 'channelTypes holds an unknown channel.');
    if (faultOf(response)?.kind === 'repeated_page' && previousPage) return void response.json(previousPage);
    const page = channels.includes('telephony') ? tasks.page({ from: Number(from), to: to === undefined ? Date.now() : Number(to), pageSize: size }) : [];
    previousPage = { meta: { orgId: ORG_ID }, data: page.map(toTask) };
    response.json(previousPage);
  });
};

const toTask = ({ id, createdTime, call }: StoredTask): object => ({
  id,
  attributes: {
    // Left out where nobody took the call, as the live API does against its own specification.
    ...(call.agent && call.status !== 'abandoned' ? { owner: { id: uuidFor(call.agent), name: call.agent } } : {}),
    ...(call.queue ? { queue: { id: uuidFor(call.queue), name: call.queue } } : {}),
    channelType: 'telephony',
    status: call.status,
    createdTime,
    lastUpdatedTime: createdTime + 90_000,
    captureRequested: call.captureRequested,
    origin: call.origin,
    destination: call.destination,
    direction: call.direction,
  },
});

const uuidFor = (name: string): string => {
  const hex = Buffer.from(name.padEnd(6, '-')).toString('hex').padEnd(12, '0').slice(0, 12);
  return `00000000-0000-4000-8000-${hex}`;
};

const fileOf = async (task: StoredTask, recordings: ReturnType<typeof createRecordings>): Promise<ServedFile | undefined> => {
  if (task.generateBytes) return generatedWav(task.generateBytes);
  return task.sample?.recording ? recordings.open(task.sample.recording) : undefined;
};

interface CaptureContext {
  tasks: ReturnType<typeof createTasks>;
  authorised: Authorised;
  addressOf: () => string;
  fileOf: (task: StoredTask) => Promise<ServedFile | undefined>;
}

const captureRoutes = ({ app, record }: Sandbox, { tasks, authorised, addressOf, fileOf: open }: CaptureContext): void => {
  const secret = randomBytes(16);
  const signatureOf = (id: string, expires: string): string => createHmac('sha256', secret).update(`${id} ${expires}`).digest('hex');

  app.post('/v1/captures/query', express.json(), async (request, response) => {
    if (!authorised(request, response)) return;
    const query = (request.body as { query?: { taskIds?: unknown; urlExpiration?: number; includeSegments?: boolean } } | undefined)?.query;
    const taskIds = query?.taskIds;
    if (!Array.isArray(taskIds) || taskIds.length === 0 || taskIds.length > 10 || new Set(taskIds).size !== taskIds.length) {
      return fail(response, 400, 'taskIds must hold 1 to 10 unique IDs.');
    }
    const minutes = query?.urlExpiration ?? 60;
    if (minutes <= 0) return fail(response, 400, 'urlExpiration should be greater than 0.');
    if (minutes > 60) return fail(response, 400, 'urlExpiration should not be greater than 60.');
    record('captures_queried', { taskIds });
    const data = await Promise.all(
      (taskIds as string[]).map(async (taskId) => {
        const task = tasks.get(taskId);
        const ready = task && task.emptyLooks <= 0;
        if (task && !ready) task.emptyLooks -= 1;
        const file = ready ? await open(task) : undefined;
        if (!task || !file) return { taskId, recording: [], transcription: [] };
        const expires = String(Date.now() + minutes * 60_000);
        return {
          taskId,
          recording: [
            {
              id: `${RECORDING_ID_PREFIX}${taskId}`,
              segment: false,
              attributes: {
                fileName: file.fileName,
                filePath: `${addressOf()}/recordings/${taskId}?expires=${expires}&signature=${signatureOf(taskId, expires)}`,
                startTime: task.createdTime,
                stopTime: task.createdTime + 60_000,
                participants: [],
                channel1: task.sample?.recording?.agentFirst ? 'Agent' : 'Caller',
                channel2: task.sample?.recording?.agentFirst ? 'Caller' : 'Others',
                callType: 'main',
                sensitive: false,
              },
            },
          ],
          transcription: [],
        };
      }),
    );
    response.json({ meta: { orgId: ORG_ID, urlExpiration: minutes }, data });
  });

  app.get('/recordings/:taskId', async (request, response) => {
    const { taskId } = request.params;
    const { expires = '', signature } = request.query as Record<string, string>;
    // Two ways to authenticate are one too many for the store that really serves these.
    if (request.get('authorization')) return void response.status(400).type('xml').send('<Error><Code>InvalidArgument</Code><Message>Only one auth mechanism allowed</Message></Error>');
    const fault = faultOf(response)?.kind;
    if (signature !== signatureOf(taskId, expires) || Number(expires) < Date.now() || fault === 'expired') {
      return void response.status(403).type('xml').send('<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>');
    }
    const task = tasks.get(taskId);
    const file = task && (await open(task));
    if (!file) return void response.status(404).type('xml').send('<Error><Code>NoSuchKey</Code></Error>');
    if (fault === 'html') return void response.type('html').send('<!DOCTYPE html><html><body>Please sign in</body></html>');
    if (fault === 'zero_bytes') return void response.type(file.contentType).send(Buffer.alloc(0));

    const [, from] = /^bytes=(\d+)-$/.exec(request.get('range') ?? '') ?? [];
    const start = from ? Number(from) : 0;
    if (start >= file.bytes) return void response.status(416).set('content-range', `bytes */${file.bytes}`).end();
    response.status(from ? 206 : 200).set({ 'content-type': file.contentType, 'accept-ranges': 'bytes', etag: `"${taskId}-${file.bytes}"` });
    if (from) response.set('content-range', `bytes ${start}-${file.bytes - 1}/${file.bytes}`);
    if (fault !== 'no_length') response.set('content-length', String(file.bytes - start));
    const end = fault === 'truncated' || fault === 'stall' ? start + Math.floor((file.bytes - start) / 2) : file.bytes - 1;
    let sent = 0;
    for await (const chunk of file.read(start, end)) {
      if (response.destroyed) break;
      if (!response.write(chunk)) await Promise.race([new Promise((resolve) => response.once('drain', resolve)), new Promise((resolve) => response.once('close', resolve))]);
      sent += chunk.byteLength;
      if (fault === 'slow_drip') await sleep(50);
    }
    // Neither goes on nor ends, until the other side loses patience.
    if (fault === 'stall') await once(response, 'close');
    record('recording_served', { taskId, start, sent });
    if (fault === 'truncated') return void response.destroy();
    response.end();
  });
};

interface Subscription {
  id: string;
  name: string;
  eventTypes: string[];
  destinationUrl: string;
  secret: string;
}

const subscriptionRoutes = ({ app, record }: Sandbox, authorised: Authorised): void => {
  const subscriptions = new Map<string, Subscription>();
  const view = ({ secret: _secret, ...shown }: Subscription): object => ({ ...shown, status: 'active' });
  app.post('/v2/subscriptions', express.json(), (request, response) => {
    if (!authorised(request, response)) return;
    const { name, eventTypes, destinationUrl, secret } = request.body as Subscription;
    if (!name || !eventTypes?.length || !destinationUrl || !secret || secret.length < 32) return fail(response, 400, 'name, eventTypes, destinationUrl and a secret of 32 characters are required.');
    const subscription = { id: randomUUID(), name, eventTypes, destinationUrl, secret };
    subscriptions.set(subscription.id, subscription);
    response.status(201).json({ meta: { orgId: ORG_ID }, data: view(subscription) });
  });
  app.get('/v2/subscriptions', (request, response) => {
    if (!authorised(request, response)) return;
    response.json({ meta: { orgId: ORG_ID }, data: [...subscriptions.values()].map(view) });
  });

  app.post('/_sandbox-webhooks', express.json(), async (request, response) => {
    const { type, taskId, times = 1, tamper = false, ageSeconds = 0, eventId = randomUUID() } = request.body as {
      type: string;
      taskId: string;
      times?: number;
      tamper?: boolean;
      ageSeconds?: number;
      eventId?: string;
    };
    const statuses: number[] = [];
    for (const subscription of subscriptions.values()) {
      if (!subscription.eventTypes.includes(type)) continue;
      const timestamp = String(Date.now() - ageSeconds * 1_000);
      const body = JSON.stringify({
        id: eventId,
        specversion: '1.0',
        type,
        source: `/com/cisco/wxcc/${subscription.id}`,
        comciscoorgid: ORG_ID,
        comciscotimestamp: timestamp,
        datacontenttype: 'application/json',
        data: { taskId, createdTime: Number(timestamp) },
      });
      const signature = createHmac('sha256', tamper ? 'somebody else' : subscription.secret).update(body).digest('hex');
      for (let sent = 0; sent < times; sent += 1) {
        const answer = await fetch(subscription.destinationUrl, {
          method: 'POST',
          headers: { 'content-type': 'application/json', 'x-webexcc-signature': signature, 'x-webexcc-timestamp': timestamp, 'x-webexcc-webhook-version': '2' },
          body,
          redirect: 'manual',
        }).catch(() => undefined);
        statuses.push(answer?.status ?? 0);
      }
      record('webhook_sent', { type, taskId, statuses });
    }
    response.json({ statuses });
  });
};

const bulkRoute = ({ app }: Sandbox, tasks: ReturnType<typeof createTasks>, samples: readonly SampleCall[]): void => {
  app.post('/_sandbox-bulk', express.json(), (request, response) => {
    const { count, fromMs, toMs, status = 'completed', recordingOf, generateBytes, prefix = 'b0000000', emptyLooks = 0, queue = 'Bulk', captureRequested = true } = request.body as {
      count: number;
      fromMs: number;
      toMs: number;
      status?: SampleCall['task']['status'];
      /** The sample whose recording each of them has. */
      recordingOf?: string;
      generateBytes?: number;
      prefix?: string;
      emptyLooks?: number;
      queue?: string;
      captureRequested?: boolean | null;
    };
    const sample = recordingOf ? samples.find((candidate) => candidate.taskId === recordingOf) : undefined;
    for (let at = 0; at < count; at += 1) {
      tasks.add({
        id: `${prefix}-0000-4000-8000-${String(at).padStart(12, '0')}`,
        // Whole seconds: several share one creation time when there are more tasks than seconds.
        createdTime: Math.floor((fromMs + ((toMs - fromMs) * at) / count) / 1_000) * 1_000,
        call: { status, direction: 'inbound', origin: '+15550100', destination: '+6560000100', queue, agent: 'Priya', captureRequested, minutesAgo: 0 },
        ...(sample ? { sample } : {}),
        ...(generateBytes ? { generateBytes } : {}),
        emptyLooks,
      });
    }
    response.json({ added: count });
  });
  app.delete('/_sandbox-tasks/:id', (request, response) => {
    tasks.remove(request.params.id);
    response.status(204).end();
  });
};
