import { createHmac, randomBytes } from 'node:crypto';
import express, { type NextFunction, type Request, type Response } from 'express';
import { faultOf, type Sandbox, type SandboxServer, startSandboxServer } from '../server.ts';
import { createRecordings } from '../webex/recordings.ts';
import { type Links, scenarioFor, type StoredCall, toCallObject } from './call-object.ts';
import { FilterRefused, matchesAll } from './filters.ts';
import { FAST, type Lines, openLines, type Speed } from './lines.ts';
import { createWebhooks } from './webhooks.ts';

/** The account that this stand-in has: one key for the API and the webhooks' signatures. */
export const RETELL_ACCOUNT = {
  key: 'key_sandbox0retell0000000000000',
  agents: { callback: 'agent_sandbox_callback', reception: 'agent_sandbox_reception' },
  numbers: { callback: '+15550100', reception: '+6560000100' },
};
const E164 = /^\+[1-9]\d{1,14}$/;
/** The ranges that the account may call from; both are for fiction. */
const OWN_NUMBER = /^\+(15550|65600)\d+$/;
/** The limit of a new account. */
const CONCURRENCY = 20;
const DAY_MS = 86_400_000;
const MOST_PER_PAGE = 1_000;

export interface RetellOptions {
  port?: number;
  audioFolder: string;
  dataFolder: string;
  ffmpegPath: string;
  /** Where webhooks go. Default: nowhere, until one is set. */
  webhookUrl?: string;
  /** Default: a ring of 300 ms, a talk of 1 s, an analysis of 200 ms. */
  speed?: Partial<Speed>;
}

/**
 * A stand-in for Retell: places calls, which then go their way by themselves, and tells of them by webhooks.
 *
 * What becomes of a call is chosen by the last two digits of the customer's number, see `scenarios.ts`.
 *
 * Beside the common control routes:
 * - `POST /_sandbox/speed {ringMs?, talkMs?, analysisMs?}`
 * - `POST /_sandbox/limits {concurrency?, perSecond?}` calls above them are answered 429; no limit per second by default
 * - `GET /_sandbox/lines` the calls that are on a line, `mostAtOnce`, and how many were ever placed
 * - `POST /_sandbox/calls {from?, to?, dialogue?, agentId?, metadata?, startedAtMs?, count?, everyMs?}` a call that nobody placed by
 *   the API: somebody rings the agent. With `startedAtMs` it is over already, and no webhook tells of it. `GET` shows all calls
 * - `POST /_sandbox/calls/:id/end {reason?}` ends one; `POST /_sandbox/calls/:id/hold` lets one hang until then
 * - `POST /_sandbox/listing {lagMs?, registered?}` how long the list does not show a new call, and whether it shows one that still rings
 * - `POST /_sandbox/recordings {lifetimeMs?, none?}` how long links are good; whether there are any
 * - `POST /_sandbox/webhooks` see `webhooks.ts`
 *
 * Faults it acts out itself: on `POST /v2/create-phone-call` `no_funds` (402) and `throttled` (429);
 * on `GET /recordings/*` `expired`.
 */
export const startRetell = async (options: RetellOptions): Promise<SandboxServer> => {
  const state: State = { limits: { concurrency: CONCURRENCY, perSecond: undefined }, listing: { lagMs: 0, registered: true }, links: { lifetimeMs: DAY_MS, none: false } };
  const secret = randomBytes(16);
  let address = '';
  const signed = (path: string): string => {
    const expires = String(Date.now() + state.links.lifetimeMs);
    return `${address}${path}?expires=${expires}&signature=${signatureOf(secret, path, expires)}`;
  };
  const linksOf = (call: StoredCall): Links => ({ recording: signed(`/recordings/${call.id}/recording.wav`), multiChannel: signed(`/recordings/${call.id}/recording_multichannel.wav`), log: signed(`/recordings/${call.id}/public.log`) });
  const show = (call: StoredCall, how: { withAnalysis?: boolean; listed?: boolean } = {}): Record<string, unknown> => {
    const shown = toCallObject(call, linksOf(call), how);
    if (state.links.none) for (const name of ['recording_url', 'recording_multi_channel_url']) delete shown[name];
    return shown;
  };

  let stop = (): void => {};
  const server = await startSandboxServer(
    'retell',
    (sandbox) => {
      const webhooks = createWebhooks(sandbox, {
        key: RETELL_ACCOUNT.key,
        url: options.webhookUrl,
        callOf: (callId, event) => {
          const call = lines.get(callId);
          return call && show(call, { withAnalysis: event === 'call_analyzed' });
        },
      });
      const lines = openLines({ dataFolder: options.dataFolder, speed: { ...FAST, ...options.speed }, tell: webhooks.trigger });
      lines.settleLeftovers();
      stop = () => {
        lines.stop();
        webhooks.stop();
      };
      recordingRoutes(sandbox, { lines, recordings: createRecordings(options), secret });
      controlRoutes(sandbox, { lines, state, show });
      sandbox.app.use((request: Request, response: Response, next: NextFunction) => {
        if (request.get('authorization') === `Bearer ${RETELL_ACCOUNT.key}`) return next();
        fail(response, 401, 'Invalid API Key');
      });
      callRoutes(sandbox, { lines, state, show });
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return {
    ...server,
    close: () => {
      stop();
      return server.close();
    },
  };
};

interface State {
  limits: { concurrency: number; perSecond: number | undefined };
  listing: { lagMs: number; registered: boolean };
  links: { lifetimeMs: number; none: boolean };
}

interface Context {
  lines: Lines;
  state: State;
  show: (call: StoredCall, how?: { withAnalysis?: boolean; listed?: boolean }) => Record<string, unknown>;
}

const fail = (response: Response, status: number, message: string): void => void response.status(status).json({ status: 'error', message });

const callRoutes = ({ app, record }: Sandbox, { lines, state, show }: Context): void => {
  app.use(express.json({ limit: '1mb' }));
  const found = (request: Request, response: Response): StoredCall | undefined => {
    const call = lines.get(String(request.params['id']));
    if (!call) fail(response, 404, 'The requested call was not found.');
    return call;
  };

  let placedAtMs: number[] = [];
  app.post('/v2/create-phone-call', (request, response) => {
    const fault = faultOf(response)?.kind;
    if (fault === 'no_funds') return fail(response, 402, 'Trial has ended, please add payment method.');
    if (fault === 'throttled') return fail(response, 429, 'Account rate limited, please throttle your requests.');
    const wrong = faultIn(request.body as CreateBody);
    if (wrong) return fail(response, wrong.status, wrong.message);
    const { from_number: from, to_number: to, override_agent_id: agentId = RETELL_ACCOUNT.agents.callback, metadata, retell_llm_dynamic_variables: variables } = request.body as Required<CreateBody>;
    if (lines.onALine().length >= state.limits.concurrency) return fail(response, 429, 'Concurrency limit reached.');
    placedAtMs = placedAtMs.filter((atMs) => atMs > Date.now() - 1_000);
    if (state.limits.perSecond !== undefined && placedAtMs.length >= state.limits.perSecond) return fail(response, 429, 'Too many calls per second.');
    placedAtMs.push(Date.now());
    const call = lines.place({ direction: 'outbound', from, to, agentId, storage: 'everything', ...(metadata ? { metadata } : {}), ...(variables ? { variables } : {}) });
    record('call_placed', { callId: call.id, from, to, agentId, metadata });
    response.status(201).json(show(call));
  });

  app.get('/v2/get-call/:id', (request, response) => {
    const call = found(request, response);
    if (call) response.json(show(call));
  });

  app.patch('/v2/update-call/:id', (request, response) => {
    const call = found(request, response);
    if (!call) return;
    const { metadata, data_storage_setting: storage } = request.body as { metadata?: Record<string, unknown>; data_storage_setting?: StoredCall['storage'] };
    lines.update(call, { ...(metadata ? { metadata } : {}), ...(storage ? { storage } : {}) });
    response.json(show(call));
  });

  app.post('/v2/stop-call/:id', (request, response) => {
    const call = found(request, response);
    if (!call) return;
    if (call.status !== 'registered' && call.status !== 'ongoing') return fail(response, 400, 'The call is not ongoing.');
    lines.end(call, 'manual_stopped');
    record('call_stopped', { callId: call.id });
    response.status(204).end();
  });

  app.delete('/v2/delete-call/:id', (request, response) => {
    const call = found(request, response);
    if (!call) return;
    lines.delete(call);
    record('call_deleted', { callId: call.id });
    response.status(204).end();
  });

  app.post('/v3/list-calls', (request, response) => {
    const { filter_criteria: criteria = {}, limit = 50, skip = 0, sort_order: order = 'descending', pagination_key: key, include_total: withTotal = false } = (request.body ?? {}) as ListBody;
    if (!Number.isInteger(limit) || limit < 1 || limit > MOST_PER_PAGE) return fail(response, 400, `limit must be between 1 and ${MOST_PER_PAGE}`);
    if (order !== 'ascending' && order !== 'descending') return fail(response, 400, 'sort_order must be ascending or descending');
    try {
      const sign = order === 'ascending' ? 1 : -1;
      const listed = lines
        .all()
        .filter((call) => call.createdAtMs <= Date.now() - state.listing.lagMs && (state.listing.registered || call.status !== 'registered'))
        .filter((call) => matchesAll(toCallObject(call, NO_LINKS, { listed: true }), criteria))
        .sort((a, b) => sign * (placeOf(a) - placeOf(b) || (a.id < b.id ? -1 : 1)));
      const [afterMs, afterId] = key === undefined ? [] : (JSON.parse(Buffer.from(key, 'base64url').toString()) as [number, string]);
      const rest = afterId === undefined ? listed : listed.filter((call) => sign * (placeOf(call) - afterMs!) > 0 || (placeOf(call) === afterMs && sign * (call.id < afterId ? -1 : 1) > 0 && call.id !== afterId));
      const page = rest.slice(skip, skip + limit);
      const last = page.at(-1);
      const hasMore = rest.length > skip + limit;
      response.json({
        items: page.map((call) => show(call, { listed: true })),
        has_more: hasMore,
        ...(hasMore && last ? { pagination_key: Buffer.from(JSON.stringify([placeOf(last), last.id])).toString('base64url') } : {}),
        ...(withTotal ? { total: listed.length } : {}),
      });
    } catch (error) {
      fail(response, 400, error instanceof FilterRefused ? error.message : 'pagination_key is not one of ours');
    }
  });

  app.get('/get-concurrency', (_request, response) => {
    const { concurrency } = state.limits;
    response.json({
      current_concurrency: lines.onALine().length,
      concurrency_limit: concurrency,
      base_concurrency: CONCURRENCY,
      purchased_concurrency: Math.max(0, concurrency - CONCURRENCY),
      concurrency_purchase_limit: 100,
      remaining_purchase_limit: 100,
      concurrency_burst_enabled: false,
      concurrency_burst_limit: 0,
      reserved_inbound_concurrency: 0,
    });
  });
};

const NO_LINKS: Links = { recording: '', multiChannel: '', log: '' };

/** Where a call stands in the list; one that was not answered has no start and goes by when it was asked for. */
const placeOf = (call: StoredCall): number => call.startedAtMs ?? call.createdAtMs;

interface CreateBody {
  from_number?: string;
  to_number?: string;
  override_agent_id?: string;
  metadata?: Record<string, unknown>;
  retell_llm_dynamic_variables?: Record<string, string>;
  ignore_e164_validation?: boolean;
}

interface ListBody {
  filter_criteria?: Record<string, unknown>;
  limit?: number;
  skip?: number;
  sort_order?: string;
  pagination_key?: string;
  include_total?: boolean;
}

const faultIn = ({ from_number: from, to_number: to, override_agent_id: agentId, metadata, retell_llm_dynamic_variables: variables, ignore_e164_validation: anyNumber }: CreateBody): { status: number; message: string } | undefined => {
  if (!from || !to) return { status: 400, message: 'request/body must have required properties from_number and to_number' };
  if (!anyNumber && ![from, to].every((number) => E164.test(number))) return { status: 400, message: 'from_number and to_number must be in E.164 format' };
  if (metadata !== undefined && (typeof metadata !== 'object' || Array.isArray(metadata))) return { status: 400, message: 'metadata must be object' };
  if (Object.values(variables ?? {}).some((value) => typeof value !== 'string')) return { status: 400, message: 'retell_llm_dynamic_variables must hold strings' };
  if (!OWN_NUMBER.test(from)) return { status: 422, message: 'Cannot find requested asset under given api key: from_number' };
  if (agentId && !Object.values(RETELL_ACCOUNT.agents).includes(agentId)) return { status: 422, message: 'Cannot find requested asset under given api key: agent' };
  return undefined;
};

const signatureOf = (secret: Buffer, path: string, expires: string): string => createHmac('sha256', secret).update(`${path} ${expires}`).digest('hex');

const recordingRoutes = ({ app, record }: Sandbox, { lines, recordings, secret }: { lines: Lines; recordings: ReturnType<typeof createRecordings>; secret: Buffer }): void => {
  app.get('/recordings/:id/:file', async (request, response) => {
    const { expires = '', signature } = request.query as Record<string, string>;
    const { id, file } = request.params;
    if (signature !== signatureOf(secret, request.path, expires) || Number(expires) <= Date.now() || faultOf(response)?.kind === 'expired') {
      return void response.status(403).type('xml').send('<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>');
    }
    const call = lines.get(id);
    if (!call || !file.endsWith('.wav')) return void response.status(404).type('xml').send('<Error><Code>NoSuchKey</Code></Error>');
    const served = await recordings.open({ file: `${scenarioFor(call).dialogue}.ogg`, servedAs: 'wav', ...(file === 'recording.wav' ? { mixed: true } : {}) });
    const [, from] = /^bytes=(\d+)-$/.exec(request.get('range') ?? '') ?? [];
    const start = from ? Number(from) : 0;
    if (start >= served.bytes) return void response.status(416).set('content-range', `bytes */${served.bytes}`).end();
    response.status(from ? 206 : 200).set({ 'content-type': served.contentType, 'accept-ranges': 'bytes', 'content-length': String(served.bytes - start) });
    if (from) response.set('content-range', `bytes ${start}-${served.bytes - 1}/${served.bytes}`);
    for await (const chunk of served.read(start, served.bytes - 1)) response.write(chunk);
    record('recording_served', { callId: id, file, start });
    response.end();
  });
};

const controlRoutes = ({ app, record }: Sandbox, { lines, state, show }: Context): void => {
  const json = express.json({ limit: '1mb' });
  const change = (path: string, target: object): void =>
    void app.post(path, json, (request, response) => void response.json(Object.assign(target, request.body)));
  change('/_sandbox/speed', lines.speed);
  change('/_sandbox/limits', state.limits);
  change('/_sandbox/listing', state.listing);
  change('/_sandbox/recordings', state.links);

  app.get('/_sandbox/lines', (_request, response) => void response.json({ onALine: lines.onALine().map((call) => show(call)), mostAtOnce: lines.mostAtOnce(), limit: state.limits.concurrency }));

  app.get('/_sandbox/calls', (_request, response) => void response.json(lines.all().map((call) => show(call))));
  app.post('/_sandbox/calls', json, (request, response) => {
    const {
      from = '+15550150',
      to = RETELL_ACCOUNT.numbers.reception,
      dialogue,
      agentId = RETELL_ACCOUNT.agents.reception,
      metadata,
      startedAtMs,
      count = 1,
      everyMs = 0,
    } = request.body as { from?: string; to?: string; dialogue?: string; agentId?: string; metadata?: Record<string, unknown>; startedAtMs?: number; count?: number; everyMs?: number };
    const made = Array.from({ length: count }, (_each, at) => {
      const call = { direction: 'inbound' as const, from, to, agentId, storage: 'everything' as const, ...(dialogue ? { dialogue } : {}), ...(metadata ? { metadata } : {}) };
      return startedAtMs === undefined ? lines.place(call) : lines.remember({ ...call, id: `call_${randomBytes(14).toString('hex')}`, startedAtMs: startedAtMs + at * everyMs });
    });
    for (const { id } of made) record('call_came_in', { callId: id, from, to });
    response.status(201).json(made.map((call) => show(call)));
  });
  app.post('/_sandbox/calls/:id/:act', json, (request, response) => {
    const call = lines.get(String(request.params['id']));
    if (!call) return fail(response, 404, 'No such call');
    switch (request.params['act']) {
      case 'end':
        lines.end(call, (request.body as { reason?: string } | undefined)?.reason ?? 'user_hangup');
        break;
      case 'hold':
        lines.hold(call);
        break;
      default:
        return fail(response, 404, 'end or hold');
    }
    response.json(show(call));
  });
};
