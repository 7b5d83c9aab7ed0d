import { randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import express, { type NextFunction, type Request, type Response } from 'express';
import type { SampleCall, TelephonyOptions } from '../calls/script.ts';
import { faultOf, type Sandbox, type SandboxServer, startSandboxServer } from '../server.ts';
import { createRecordings } from '../webex/recordings.ts';
import { type Account, type List, LISTS, openAccount, type State, type StoredNote } from './notes.ts';
import { createAnnouncements } from './webhooks.ts';

/** The credentials that this stand-in takes. The refresh token is the first one: it is good for once. */
export const AMOCRM_CLIENT = {
  clientId: 'sandbox-amocrm-client',
  clientSecret: 'sandbox-amocrm-secret',
  refreshToken: 'sandbox-amocrm-refresh',
  redirectUri: 'https://aftercall.example/amocrm',
  accountId: '31415926',
  subdomain: 'aftercall',
};
const USERS = [
  { id: 501, name: 'Priya' },
  { id: 502, name: 'Marcus' },
];
/** The API's own. */
const MOST_PER_PAGE = 250;
const LONGEST_TEXT = 20_000;

/**
 * A stand-in for amoCRM: OAuth with refresh tokens that are good for once, call notes on leads, contacts
 * and companies, users, text notes, `POST /api/v4/calls`, webhooks, and recordings as a telephone system
 * beside it would serve them.
 *
 * Seven requests in a second are let through. More are answered 429, and whoever goes on after ten of
 * those within ten seconds is blocked with 403. Recordings do not count, they are not amoCRM's.
 *
 * Beside the common control routes:
 * - `POST /_sandbox-limits {perSecond?, blockAfter?, blockMs?}`
 * - `POST /_sandbox-notes {list, entityId?, noteType?, params?, createdAt?, updatedAt?, count?, recordingOf?, emptyLooks?, announce?}`
 *   adds notes as a telephone system would; `PATCH /_sandbox-notes/:id` changes one; `DELETE` deletes it; `GET` shows all
 * - `POST /_sandbox-authorise` gives a new refresh token, as a person does who connects the integration anew
 * - `POST /_sandbox-webhooks` see `webhooks.ts`
 *
 * Faults it acts out itself: on `GET /recordings/*` `redirect` (with `to`) and `not_there`.
 */
export const startAmoCrm = async ({ accountId = AMOCRM_CLIENT.accountId, ...options }: TelephonyOptions & { accountId?: string }): Promise<SandboxServer> => {
  await mkdir(options.dataFolder, { recursive: true });
  const account = openAccount(options.dataFolder, (state) => fill(state, options.calls), { refreshToken: AMOCRM_CLIENT.refreshToken });
  const recordings = createRecordings(options);
  let address = '';
  const server = await startSandboxServer(
    'amocrm',
    (sandbox) => {
      const limits = createLimits(sandbox);
      const tokens = tokenRoutes(sandbox, account, options.tokenLifetimeSeconds ?? 86_400);
      const announcements = createAnnouncements(sandbox, { accountId, subdomain: AMOCRM_CLIENT.subdomain });
      const api = express.Router();
      api.use(limits, express.json({ limit: '5mb' }), (request: Request, response: Response, next: NextFunction) => {
        const [scheme, token] = (request.get('authorization') ?? '').split(' ');
        if (scheme === 'Bearer' && token && tokens.isGood(token)) return next();
        refuse(response, 401, 'Unauthorized');
      });
      const shown = (note: StoredNote): object => show(note, address);
      noteRoutes(api, sandbox, { account, shown, announce: announcements.noted });
      callRoutes(api, sandbox, { account, announce: announcements.noted });
      api.get('/users', (request, response) => sendPage(request, response, { name: 'users', items: USERS.map((user) => ({ ...user, email: `${user.name.toLowerCase()}@aftercall.example` })), address }));
      api.get('/account', (_request, response) => void response.json({ id: Number(accountId), name: 'Sandbox', subdomain: AMOCRM_CLIENT.subdomain }));
      announcements.routes(api);
      sandbox.app.use('/api/v4', api);
      recordingRoute(sandbox, options.calls, recordings);
      controlRoutes(sandbox, { account, shown, announce: announcements.noted });
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return server;
};

const refuse = (response: Response, status: number, detail: string, errors?: object[]): void =>
  void response
    .status(status)
    .type('application/problem+json')
    .send(JSON.stringify({ title: { 400: 'Bad Request', 401: 'Unauthorized', 404: 'Not found', 429: 'Too many requests' }[status] ?? 'Error', type: 'https://httpstatus.es/' + status, status, detail, ...(errors ? { 'validation-errors': [{ request_id: '0', errors }] } : {}) }));

/** Each sample call as a note, on the three kinds of cards in turn. Those of an unfinished call are not written yet. */
const fill = (state: State, calls: readonly SampleCall[]): void => {
  for (const [index, { task, recording, script }] of calls.entries()) {
    if (task.status === 'assigned') continue;
    const at = Math.floor(state.epochMs / 1_000) - task.minutesAgo * 60;
    const list = LISTS[index % LISTS.length]!;
    const card = { list, id: 7_000_001 + index, phone: task.direction === 'inbound' ? task.origin : task.destination };
    state.cards.push(card);
    state.notes.push({
      id: 9_000_001 + index,
      list,
      entityId: card.id,
      noteType: task.direction === 'inbound' ? 'call_in' : 'call_out',
      params: {
        uniq: calls[index]!.taskId,
        duration: task.status === 'abandoned' ? 0 : Math.round((script?.at(-1)?.endMs ?? 60_000) / 1_000),
        source: 'asterisk',
        phone: card.phone,
        ...(recording ? { link: `/recordings/${calls[index]!.taskId}` } : {}),
      },
      createdAt: at,
      updatedAt: at,
      responsibleUserId: task.agent === 'Marcus' ? 502 : 501,
      emptyLooks: recording?.emptyLooks ?? 0,
    });
  }
};

const show = (note: StoredNote, address: string): object => {
  const { link, ...rest } = note.params;
  const isThere = link !== undefined && note.emptyLooks <= 0;
  if (link !== undefined && note.emptyLooks > 0) note.emptyLooks -= 1;
  return {
    id: note.id,
    entity_id: note.entityId,
    created_by: 0,
    updated_by: 0,
    created_at: note.createdAt,
    updated_at: note.updatedAt,
    responsible_user_id: note.responsibleUserId,
    group_id: 0,
    note_type: note.noteType,
    params: { ...rest, ...(isThere ? { link: String(link).startsWith('/') ? `${address}${String(link)}` : link } : {}) },
    account_id: Number(AMOCRM_CLIENT.accountId),
    _links: { self: { href: `${address}/api/v4/${note.list}/${note.entityId}/notes/${note.id}` } },
  };
};

/** Counts each second, as amoCRM does. */
const createLimits = ({ app, record }: Sandbox) => {
  const limits = { perSecond: 7, blockAfter: 10, blockMs: 3_000 };
  let passed: number[] = [];
  let refused: number[] = [];
  let blockedUntilMs = 0;
  app.post('/_sandbox-limits', express.json(), (request, response) => {
    Object.assign(limits, request.body);
    blockedUntilMs = 0;
    refused = [];
    response.status(204).end();
  });
  return (_request: Request, response: Response, next: NextFunction): void => {
    const now = Date.now();
    if (now < blockedUntilMs) {
      record('refused_blocked', {});
      return void response.status(403).type('html').send('<html><head><title>403 Forbidden</title></head><body><h1>403 Forbidden</h1></body></html>');
    }
    passed = passed.filter((at) => at > now - 1_000);
    if (passed.length < limits.perSecond) {
      passed.push(now);
      return next();
    }
    record('refused_too_many', {});
    refused = [...refused.filter((at) => at > now - 10_000), now];
    if (refused.length >= limits.blockAfter) {
      blockedUntilMs = now + limits.blockMs;
      record('blocked', {});
    }
    refuse(response, 429, 'Too many requests');
  };
};

const tokenRoutes = ({ app, record }: Sandbox, account: Account, lifetimeSeconds: number) => {
  const good = new Map<string, number>();
  app.post('/oauth2/access_token', express.json(), (request, response) => {
    const { client_id, client_secret, grant_type, refresh_token, redirect_uri } = (request.body ?? {}) as Record<string, string>;
    if (client_id !== AMOCRM_CLIENT.clientId || client_secret !== AMOCRM_CLIENT.clientSecret) return refuse(response, 401, 'Check the client_id and client_secret');
    if (redirect_uri !== AMOCRM_CLIENT.redirectUri) return refuse(response, 400, 'Redirect URI is not associated with client');
    if (grant_type !== 'refresh_token' || refresh_token !== account.state.refreshToken) {
      record('refresh_token_refused', { wasGood: false });
      return refuse(response, 400, 'Token has been revoked');
    }
    // The old one dies here, whether the answer arrives or not.
    account.state.refreshToken = `sandbox-refresh-${randomBytes(12).toString('hex')}`;
    account.save();
    const accessToken = `sandbox-access-${randomBytes(24).toString('hex')}`;
    good.set(accessToken, Date.now() + lifetimeSeconds * 1_000);
    record('token_issued', {});
    response.json({ token_type: 'Bearer', expires_in: lifetimeSeconds, access_token: accessToken, refresh_token: account.state.refreshToken, server_time: Math.floor(Date.now() / 1_000) });
  });
  app.post('/_sandbox-authorise', (_request, response) => {
    account.state.refreshToken = `sandbox-refresh-${randomBytes(12).toString('hex')}`;
    account.save();
    good.clear();
    response.json({ refreshToken: account.state.refreshToken });
  });
  return { isGood: (token: string): boolean => (good.get(token) ?? 0) > Date.now() };
};

/** A page of a list with its links; an empty one is no content at all. */
const sendPage = (request: Request, response: Response, { name, items, address }: { name: string; items: object[]; address: string }): void => {
  const size = Number(request.query['limit'] ?? 50);
  const page = Number(request.query['page'] ?? 1);
  if (!Number.isInteger(size) || size < 1 || size > MOST_PER_PAGE || !Number.isInteger(page) || page < 1) {
    return refuse(response, 400, 'Request validation failed', [{ code: 'InvalidValue', path: 'limit', detail: 'limit is 1 to 250, page counts from 1' }]);
  }
  const shown = items.slice((page - 1) * size, page * size);
  if (shown.length === 0) return void response.status(204).end();
  const href = (of: number): { href: string } => ({ href: `${address}${request.baseUrl}${request.path}?page=${of}&limit=${size}` });
  response.type('application/hal+json').send(
    JSON.stringify({
      _page: page,
      // A full page has a next one, though there may be nothing on it.
      _links: { self: href(page), ...(shown.length === size ? { next: href(page + 1) } : {}) },
      _embedded: { [name]: shown },
    }),
  );
};

interface NoteContext {
  account: Account;
  shown: (note: StoredNote) => object;
  announce: (note: StoredNote) => void;
}

const listOf = (request: Request): List | undefined => LISTS.find((list) => list === request.params['list']);

const noteRoutes = (api: express.Router, { record }: Sandbox, { account, shown, announce }: NoteContext): void => {
  const { state } = account;
  const listed = (request: Request, notes: StoredNote[]): StoredNote[] => {
    const filter = (request.query['filter'] ?? {}) as { id?: string | string[]; note_type?: string | string[]; updated_at?: { from?: string; to?: string } };
    const order = (request.query['order'] ?? {}) as { id?: string; updated_at?: string };
    const ids = filter.id === undefined ? undefined : [filter.id].flat().map(Number);
    const types = filter.note_type === undefined ? undefined : [filter.note_type].flat();
    const matching = notes.filter(
      (note) =>
        (!ids || ids.includes(note.id)) &&
        (!types || types.includes(note.noteType)) &&
        note.updatedAt >= Number(filter.updated_at?.from ?? 0) &&
        note.updatedAt <= Number(filter.updated_at?.to ?? Number.MAX_SAFE_INTEGER),
    );
    const sign = (direction: string | undefined): number => (direction === 'desc' ? -1 : 1);
    matching.sort((a, b) => (order.updated_at ? (a.updatedAt - b.updatedAt) * sign(order.updated_at) : 0) || (a.id - b.id) * sign(order.id));
    return matching;
  };
  // Written out by and by: only what is on the page is looked at.
  const sendNotes = (request: Request, response: Response, notes: StoredNote[]): void =>
    sendPage(request, response, { name: 'notes', items: listed(request, notes).map((note) => ({ toJSON: () => shown(note) })), address: '' });

  api.get('/:list/notes', (request, response, next) => {
    const list = listOf(request);
    if (!list) return next();
    sendNotes(request, response, state.notes.filter((note) => note.list === list));
  });
  api.get('/:list/:entityId/notes', (request, response, next) => {
    const list = listOf(request);
    if (!list) return next();
    const entityId = Number(request.params.entityId);
    if (!state.cards.some((card) => card.list === list && card.id === entityId)) return refuse(response, 404, 'Entity not found');
    sendNotes(request, response, state.notes.filter((note) => note.list === list && note.entityId === entityId));
  });
  api.get('/:list/notes/:id', (request, response, next) => {
    const note = state.notes.find(({ id, list }) => id === Number(request.params.id) && list === request.params.list);
    if (!listOf(request)) return next();
    if (!note) return void response.status(204).end();
    response.type('application/hal+json').send(JSON.stringify(shown(note)));
  });

  api.post('/:list/notes', (request, response, next) => {
    const list = listOf(request);
    if (!list) return next();
    const wanted = request.body as { entity_id?: number; note_type?: string; params?: { text?: string }; request_id?: string }[];
    if (!Array.isArray(wanted)) return refuse(response, 400, 'Request validation failed', [{ code: 'InvalidType', path: '', detail: 'This value should be of type array.' }]);
    for (const [index, { entity_id, note_type, params }] of wanted.entries()) {
      if (!state.cards.some((card) => card.list === list && card.id === entity_id)) return refuse(response, 400, 'Request validation failed', [{ code: 'NotFound', path: `${index}.entity_id`, detail: 'Entity not found' }]);
      if (note_type === 'common' && !params?.text) return refuse(response, 400, 'Request validation failed', [{ code: 'FieldMissing', path: `${index}.params.text`, detail: 'This field is missing.' }]);
      if ((params?.text ?? '').length > LONGEST_TEXT) return refuse(response, 400, 'Request validation failed', [{ code: 'TooLong', path: `${index}.params.text`, detail: 'This value is too long.' }]);
    }
    const made = wanted.map(({ entity_id, note_type, params, request_id }) => {
      const now = Math.floor(Date.now() / 1_000);
      const note: StoredNote = { id: account.nextId(), list, entityId: entity_id!, noteType: note_type ?? 'common', params: params ?? {}, createdAt: now, updatedAt: now, responsibleUserId: 501, emptyLooks: 0 };
      state.notes.push(note);
      record('note_created', { id: note.id, list, entityId: note.entityId, noteType: note.noteType });
      announce(note);
      return { id: note.id, entity_id: note.entityId, request_id: request_id ?? '0' };
    });
    account.save();
    response.type('application/hal+json').send(JSON.stringify({ _embedded: { notes: made } }));
  });
  api.patch('/:list/notes/:id', (request, response, next) => {
    if (!listOf(request)) return next();
    const note = state.notes.find(({ id, list }) => id === Number(request.params.id) && list === request.params.list);
    if (!note) return refuse(response, 404, 'Note not found');
    const { params } = request.body as { params?: Record<string, unknown> };
    note.params = { ...note.params, ...params };
    note.updatedAt = Math.floor(Date.now() / 1_000);
    account.save();
    record('note_updated', { id: note.id });
    response.type('application/hal+json').send(JSON.stringify({ id: note.id, entity_id: note.entityId, updated_at: note.updatedAt }));
  });
};

/** What telephone systems use: the call finds its card by the last ten digits of the number. */
const callRoutes = (api: express.Router, { record }: Sandbox, { account, announce }: Pick<NoteContext, 'account' | 'announce'>): void => {
  api.post('/calls', (request, response) => {
    const wanted = request.body as { direction: string; duration: number; phone: string; source: string; uniq?: string; link?: string; created_at?: number; request_id?: string }[];
    const errors: object[] = [];
    const calls: object[] = [];
    for (const { direction, phone, created_at, request_id = '0', ...rest } of wanted) {
      const last10 = (text = ''): string => text.replaceAll(/\D/g, '').slice(-10);
      const card = account.state.cards.find((candidate) => last10(candidate.phone) === last10(phone));
      if (!card) {
        errors.push({ title: 'Entity not found', status: 263, detail: 'Entity not found', request_id });
        continue;
      }
      const now = Math.floor(Date.now() / 1_000);
      const note: StoredNote = {
        id: account.nextId(),
        list: card.list,
        entityId: card.id,
        noteType: direction === 'inbound' ? 'call_in' : 'call_out',
        params: { uniq: rest.uniq, duration: rest.duration, source: rest.source, phone, ...(rest.link ? { link: rest.link } : {}) },
        createdAt: created_at ?? now,
        updatedAt: now,
        responsibleUserId: 501,
        emptyLooks: 0,
      };
      account.state.notes.push(note);
      record('call_added', { id: note.id });
      announce(note);
      calls.push({ id: note.id, entity_id: card.id, entity_type: card.list.replace(/ies$/, 'y').replace(/s$/, ''), account_id: Number(AMOCRM_CLIENT.accountId), request_id, _embedded: { entity: { id: card.id } } });
    }
    account.save();
    response.status(calls.length === 0 && errors.length > 0 ? 400 : 200).json({ _total_items: calls.length, errors, _embedded: { calls } });
  });
};

const recordingRoute = ({ app, record }: Sandbox, samples: readonly SampleCall[], recordings: ReturnType<typeof createRecordings>): void => {
  app.get('/recordings/:taskId', async (request, response) => {
    record('recording_asked', { taskId: request.params.taskId, authorization: request.get('authorization') !== undefined });
    const fault = faultOf(response);
    if (fault?.kind === 'redirect') return void response.redirect(302, String((fault as { to?: string }).to));
    const recording = samples.find(({ taskId }) => taskId === request.params.taskId)?.recording;
    if (!recording || fault?.kind === 'not_there') return void response.status(404).type('html').send('<html><body>Not found</body></html>');
    const file = await recordings.open(recording);
    const [, from] = /^bytes=(\d+)-$/.exec(request.get('range') ?? '') ?? [];
    const start = from ? Number(from) : 0;
    if (start >= file.bytes) return void response.status(416).set('content-range', `bytes */${file.bytes}`).end();
    response.status(from ? 206 : 200).set({ 'content-type': file.contentType, 'content-length': String(file.bytes - start) });
    if (from) response.set('content-range', `bytes ${start}-${file.bytes - 1}/${file.bytes}`);
    for await (const chunk of file.read(start, file.bytes - 1)) response.write(chunk);
    record('recording_served', { taskId: request.params.taskId, start });
    response.end();
  });
};

const controlRoutes = ({ app }: Sandbox, { account, shown, announce }: NoteContext): void => {
  const { state } = account;
  app.post('/_sandbox-notes', express.json(), async (request, response) => {
    const { list, entityId = 7_900_001, noteType = 'call_in', params = {}, createdAt, updatedAt, count = 1, recordingOf, emptyLooks = 0, announce: told = false } = request.body as Partial<StoredNote> & {
      list: List;
      count?: number;
      recordingOf?: string;
      announce?: boolean;
    };
    const now = Math.floor(Date.now() / 1_000);
    if (!state.cards.some((card) => card.list === list && card.id === entityId)) state.cards.push({ list, id: entityId });
    const ids: number[] = [];
    for (let made = 0; made < count; made += 1) {
      const note: StoredNote = {
        id: account.nextId(),
        list,
        entityId,
        noteType,
        params: { duration: 60, phone: '+15550100', source: 'asterisk', ...(recordingOf ? { link: `/recordings/${recordingOf}` } : {}), ...params },
        createdAt: createdAt ?? now,
        updatedAt: updatedAt ?? createdAt ?? now,
        responsibleUserId: 501,
        emptyLooks,
      };
      state.notes.push(note);
      ids.push(note.id);
      if (told) announce(note);
    }
    account.save();
    // Announcements are on their way when this answers.
    await sleep(0);
    response.json({ ids });
  });
  app.patch('/_sandbox-notes/:id', express.json(), (request, response) => {
    const note = state.notes.find(({ id }) => id === Number(request.params.id));
    if (!note) return void response.status(404).end();
    const { params, ...rest } = request.body as Partial<StoredNote>;
    Object.assign(note, rest, params ? { params: { ...note.params, ...params } } : {});
    account.save();
    response.status(204).end();
  });
  app.delete('/_sandbox-notes/:id', (request, response) => {
    state.notes.splice(state.notes.findIndex(({ id }) => id === Number(request.params.id)), 1);
    account.save();
    response.status(204).end();
  });
  app.get('/_sandbox-notes', (_request, response) => void response.json(state.notes.map(shown)));
};
