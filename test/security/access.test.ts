import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let api: Api;
let keys = 0;

const CALL = SAMPLE_CALLS[0]!.taskId;
const PASSWORD = 'correct horse battery';

const ask = (method: string, path: string, { token, body, headers = {} }: { token?: string | undefined; body?: unknown; headers?: Record<string, string> } = {}): Promise<Response> =>
  fetch(`${api.url}${path}`, {
    method,
    headers: { 'idempotency-key': `access-key-${(keys += 1)}`, ...(body === undefined ? {} : { 'content-type': 'application/json' }), ...(token ? { authorization: `Bearer ${token}` } : {}), ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
const json = async <T = Record<string, string>>(response: Response | Promise<Response>): Promise<T> => (await (await response).json()) as T;
const signIn = (email: string, password: string): Promise<{ accessToken: string; refreshToken: string }> => json(ask('POST', '/v1/auth/login', { body: { email, password } }));

/** One of each kind that may knock, by what they are in the project `default`. */
const tokens: Record<string, string | undefined> = {};
/** Somebody without any project, with a password that stays. */
let person: { id: string; email: string; password: string };
let admin: { email: string; password: string };

const makeUser = async (email: string): Promise<{ id: string; email: string; password: string }> => json(ask('POST', '/v1/users', { token: tokens['platform admin'], body: { email, name: 'Somebody' } }));
const makeMember = async (email: string, project: string, role: string): Promise<string> => {
  const { password } = await makeUser(email);
  expect((await ask('POST', `/v1/projects/${project}/members`, { token: tokens['platform admin'], body: { email, role } })).status).toBe(200);
  return (await signIn(email, password)).accessToken;
};
const makeToken = async (project: string, role: string): Promise<string> => (await json<{ token: string }>(ask('POST', `/v1/projects/${project}/tokens`, { token: tokens['platform admin'], body: { name: `a ${role}`, role } }))).token;

beforeAll(async () => {
  [server, postgres] = await Promise.all([startTemporalProcess(), startPostgres()]);
  system = await startSystem({ server, env: { API_PORT: '0', DATABASE_URL: await postgres.createDatabase() } });
  await system.startCall(CALL);
  await system.until(CALL, 'completed');
  // Its workflow ends a moment after its record, and would wait for a worker.
  await system.wiring.callsClient.result(system.key(CALL));
  await system.stopWorkers();
  api = await startApi(system.wiring);
  admin = api.firstAdmin!;
  tokens['platform admin'] = (await signIn(admin.email, admin.password)).accessToken;
  expect((await ask('POST', '/v1/projects', { token: tokens['platform admin'], body: { id: 'other', name: 'Other' } })).status).toBe(201);
  tokens['nobody'] = undefined;
  tokens['viewer'] = await makeMember('viewer@example.org', 'default', 'project_viewer');
  tokens['admin'] = await makeMember('admin@example.org', 'default', 'project_admin');
  tokens["other project's viewer"] = await makeMember('viewer2@example.org', 'other', 'project_viewer');
  tokens["other project's admin"] = await makeMember('admin2@example.org', 'other', 'project_admin');
  tokens['viewer token'] = await makeToken('default', 'project_viewer');
  tokens['admin token'] = await makeToken('default', 'project_admin');
  tokens["other project's admin token"] = await makeToken('other', 'project_admin');
  tokens['environment token'] = system.config.API_TOKEN;
  person = await makeUser('person@example.org');
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
});

/**
 * Every route with who may use it. Written down here, apart from the routes themselves, so that whoever
 * adds one or changes its access has to say so twice.
 */
const ACCESS: Record<string, 'public' | 'signed_in' | 'project_viewer' | 'project_admin' | 'operator' | 'platform_admin'> = {
  'get /healthz': 'public',
  'get /readyz': 'public',
  'get /docs': 'public',
  'get /openapi.json': 'public',
  'get /metrics': 'operator',
  'post /codec/decode': 'operator',
  'post /codec/encode': 'operator',

  'post /v1/auth/login': 'public',
  'post /v1/auth/refresh': 'public',
  'post /v1/auth/logout': 'signed_in',
  'post /v1/auth/password': 'signed_in',
  'get /v1/me': 'signed_in',
  'get /v1/users': 'platform_admin',
  'post /v1/users': 'platform_admin',
  'post /v1/users/:userId/reset-password': 'platform_admin',
  'post /v1/users/:userId/disable': 'platform_admin',
  'post /v1/users/:userId/enable': 'platform_admin',
  'get /v1/audit': 'platform_admin',
  'get /v1/audit/verify': 'platform_admin',
  'get /v1/projects/:project/audit': 'project_admin',
  'get /v1/projects/:project/audit/verify': 'project_admin',
  'get /v1/projects': 'signed_in',
  'post /v1/projects': 'platform_admin',
  'get /v1/projects/:project/members': 'project_viewer',
  'post /v1/projects/:project/members': 'project_admin',
  'delete /v1/projects/:project/members/:userId': 'project_admin',
  'get /v1/projects/:project/tokens': 'project_admin',
  'post /v1/projects/:project/tokens': 'project_admin',
  'delete /v1/projects/:project/tokens/:tokenId': 'project_admin',

  'get /v1/projects/:project/voice-lines': 'project_viewer',
  'post /v1/projects/:project/voice-batches': 'project_admin',
  'get /v1/projects/:project/voice-batches': 'project_viewer',
  'get /v1/projects/:project/voice-batches/:batchId': 'project_viewer',
  'get /v1/projects/:project/voice-batches/:batchId/rows': 'project_viewer',
  'get /v1/projects/:project/voice-batches/:batchId/results': 'project_viewer',
  'post /v1/projects/:project/voice-batches/:batchId/pause': 'project_admin',
  'post /v1/projects/:project/voice-batches/:batchId/resume': 'project_admin',
  'post /v1/projects/:project/voice-batches/:batchId/cancel': 'project_admin',
  'patch /v1/projects/:project/voice-batches/:batchId': 'project_admin',

  'get /v1/projects/:project/calls': 'project_viewer',
  'post /v1/projects/:project/calls/bulk/approve': 'project_admin',
  'post /v1/projects/:project/calls/bulk/reject': 'project_admin',
  'get /v1/projects/:project/bulk-rulings/:bulkId': 'project_viewer',
  'get /v1/projects/:project/calls/:callId': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/versions': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/versions/:version': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/compare': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/transcript': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/analysis': 'project_viewer',
  'get /v1/projects/:project/calls/:callId/recording': 'project_viewer',
  'post /v1/projects/:project/calls/:callId/approve': 'project_admin',
  'post /v1/projects/:project/calls/:callId/reject': 'project_admin',
  'post /v1/projects/:project/calls/:callId/retry': 'project_admin',
  'post /v1/projects/:project/calls/:callId/skip-step': 'project_admin',
  'post /v1/projects/:project/calls/:callId/give-up': 'project_admin',
  'post /v1/projects/:project/calls/:callId/reprocess': 'project_admin',
  'get /v1/projects/:project/calls/:callId/review': 'project_viewer',
  'post /v1/projects/:project/calls/:callId/review/corrections': 'project_admin',
  'post /v1/projects/:project/calls/:callId/review/confirm': 'project_admin',
  'post /v1/projects/:project/calls/:callId/review/override': 'project_admin',
  'post /v1/projects/:project/calls/:callId/review/swap-speakers': 'project_admin',
  'post /v1/projects/:project/calls/:callId/review/undo': 'project_admin',
  'post /v1/projects/:project/calls/:callId/review/publish': 'project_admin',
  'get /v1/projects/:project/reviews/queue': 'project_viewer',
  'get /v1/projects/:project/agreement': 'project_viewer',
  'post /v1/projects/:project/calls/:callId/report-link': 'project_viewer',
  'post /v1/projects/:project/calls/:callId/effects/:effectKey/settle': 'project_admin',
  'post /v1/projects/:project/voice-calls': 'project_admin',
  'post /v1/projects/:project/voice-calls/resolve': 'project_admin',
  'get /v1/projects/:project/voice-calls': 'project_viewer',
  'get /v1/projects/:project/voice-calls/:voiceCallId': 'project_viewer',
  'post /v1/projects/:project/voice-calls/:voiceCallId/cancel': 'project_admin',
  'post /v1/projects/:project/voice-calls/:voiceCallId/stop': 'project_admin',
  'post /v1/projects/:project/voice-calls/:voiceCallId/resolve': 'project_admin',
  'post /v1/projects/:project/voice-calls/:voiceCallId/hand-over': 'project_admin',
  'get /v1/projects/:project/messages': 'project_viewer',
  'get /v1/projects/:project/messages/:messageId': 'project_viewer',
  'post /v1/projects/:project/messages/:messageId/send-again': 'project_admin',
  'post /v1/projects/:project/messages/:messageId/settle': 'project_admin',
  'get /v1/projects/:project/inbox': 'project_viewer',
  'post /v1/projects/:project/inbox/retry': 'project_admin',
  'post /v1/projects/:project/inbox/discard': 'project_admin',
  'get /v1/projects/:project/tracking-events': 'project_viewer',
  'get /v1/projects/:project/tracking-events/summary': 'project_viewer',
  'get /v1/projects/:project/tracking-events/schema': 'project_viewer',
  'get /v1/projects/:project/tracking-events/:eventId': 'project_viewer',
  'post /v1/projects/:project/tracking-events/replay': 'project_admin',
  'post /v1/projects/:project/tracking-events/:eventId/replay': 'project_admin',
  'post /v1/projects/:project/tracking-events/:eventId/skip': 'project_admin',
  'post /v1/projects/:project/erasures': 'project_admin',
  'get /v1/projects/:project/erasures': 'project_admin',
  'get /v1/projects/:project/erasures/:erasureId': 'project_admin',
  'get /v1/projects/:project/starter-presets': 'project_viewer',
  'get /v1/projects/:project/presets': 'project_viewer',
  'post /v1/projects/:project/presets': 'project_admin',
  'get /v1/projects/:project/presets/:presetId': 'project_viewer',
  'delete /v1/projects/:project/presets/:presetId': 'project_admin',
  'get /v1/projects/:project/presets/:presetId/versions': 'project_viewer',
  'post /v1/projects/:project/presets/:presetId/versions': 'project_admin',
  'post /v1/projects/:project/preset-tests': 'project_admin',
  'get /v1/projects/:project/preset-tests/:testId': 'project_viewer',
  'post /v1/projects/:project/rescores/forecast': 'project_admin',
  'post /v1/projects/:project/rescores': 'project_admin',
  'get /v1/projects/:project/rescores': 'project_viewer',
  'get /v1/projects/:project/rescores/:rescoreId': 'project_viewer',
  'get /v1/projects/:project/rescores/:rescoreId/calls': 'project_viewer',
  'post /v1/projects/:project/rescores/:rescoreId/pause': 'project_admin',
  'post /v1/projects/:project/rescores/:rescoreId/resume': 'project_admin',
  'post /v1/projects/:project/rescores/:rescoreId/cancel': 'project_admin',
  'post /v1/projects/:project/rescores/:rescoreId/promote': 'project_admin',
  'get /v1/projects/:project/costs': 'project_viewer',
  'get /v1/projects/:project/analytics': 'project_viewer',
  'get /v1/projects/:project/analytics/volume': 'project_viewer',
  'get /v1/projects/:project/analytics/outcome': 'project_viewer',
  'get /v1/projects/:project/analytics/duration': 'project_viewer',
  'get /v1/projects/:project/analytics/score': 'project_viewer',
  'get /v1/projects/:project/analytics/criteria': 'project_viewer',
  'get /v1/projects/:project/analytics/objections': 'project_viewer',
  'get /v1/projects/:project/analytics/patterns': 'project_viewer',
  'get /v1/projects/:project/analytics/issues': 'project_viewer',
  'get /v1/projects/:project/analytics/funnel': 'project_viewer',
  'get /v1/projects/:project/analytics/cost': 'project_viewer',
  'get /v1/projects/:project/analytics/answer-rate': 'project_viewer',
  'get /v1/projects/:project/analytics/attempts': 'project_viewer',
  'get /v1/projects/:project/quality': 'project_viewer',
  'get /v1/projects/:project/quality/criteria': 'project_viewer',
  'get /v1/projects/:project/quality/patterns': 'project_viewer',
  'get /v1/projects/:project/settings': 'project_viewer',
  'patch /v1/projects/:project/settings': 'project_admin',
  'get /v1/projects/:project/runs': 'project_viewer',
  'get /v1/projects/:project/runs/:runId': 'project_viewer',
  'get /v1/projects/:project/runs/:runId/report': 'project_viewer',
  'get /v1/projects/:project/runs/:runId/log': 'project_viewer',
  'get /v1/projects/:project/completeness': 'project_viewer',
  'get /v1/projects/:project/completeness/:source/:day': 'project_viewer',
  'get /v1/projects/:project/completeness/:source/:day/calls': 'project_viewer',
  'post /v1/projects/:project/completeness/:source/:day/reconcile': 'project_admin',
  'get /v1/projects/:project/connectors': 'project_admin',
  'get /v1/projects/:project/connectors/:kind': 'project_admin',
  'put /v1/projects/:project/connectors/:kind': 'project_admin',
  'delete /v1/projects/:project/connectors/:kind': 'project_admin',
  'post /v1/projects/:project/connectors/:kind/check': 'project_admin',
  'get /v1/projects/:project/hooks': 'project_admin',
  'post /v1/projects/:project/hooks': 'project_admin',
  'delete /v1/projects/:project/hooks/:hookId': 'project_admin',
  'post /v1/projects/:project/calls/upload': 'project_admin',
  'post /v1/projects/:project/calls/upload-audio': 'project_admin',
  'get /v1/projects/:project/warehouse': 'project_viewer',
  'get /v1/projects/:project/warehouse/tables': 'project_viewer',
  'post /v1/projects/:project/warehouse/load': 'project_admin',
  'post /v1/projects/:project/warehouse/compact': 'project_admin',
  'post /v1/projects/:project/warehouse/reload': 'project_admin',
  'get /v1/projects/:project/schedules': 'project_viewer',
  'get /v1/projects/:project/schedules/:source': 'project_viewer',
  'post /v1/projects/:project/schedules/:source/apply': 'project_admin',
  'post /v1/projects/:project/schedules/:source/pause': 'project_admin',
  'post /v1/projects/:project/schedules/:source/resume': 'project_admin',
  'post /v1/projects/:project/schedules/:source/trigger': 'project_admin',
  'post /v1/projects/:project/schedules/:source/backfill': 'project_admin',
};

/** What each of them gets at a route of the project `default`: let in, or the status that turns them away. */
const VERDICTS: Record<(typeof ACCESS)[string], Record<string, 'in' | 401 | 403 | 404>> = {
  public: { nobody: 'in', viewer: 'in', admin: 'in', "other project's viewer": 'in', "other project's admin": 'in', 'viewer token': 'in', 'admin token': 'in', "other project's admin token": 'in', 'environment token': 'in', 'platform admin': 'in' },
  signed_in: { nobody: 401, viewer: 'in', admin: 'in', "other project's viewer": 'in', "other project's admin": 'in', 'viewer token': 'in', 'admin token': 'in', "other project's admin token": 'in', 'environment token': 'in', 'platform admin': 'in' },
  project_viewer: { nobody: 401, viewer: 'in', admin: 'in', "other project's viewer": 404, "other project's admin": 404, 'viewer token': 'in', 'admin token': 'in', "other project's admin token": 404, 'environment token': 'in', 'platform admin': 'in' },
  project_admin: { nobody: 401, viewer: 403, admin: 'in', "other project's viewer": 404, "other project's admin": 404, 'viewer token': 403, 'admin token': 'in', "other project's admin token": 404, 'environment token': 'in', 'platform admin': 'in' },
  operator: { nobody: 401, viewer: 403, admin: 403, "other project's viewer": 403, "other project's admin": 403, 'viewer token': 403, 'admin token': 403, "other project's admin token": 403, 'environment token': 'in', 'platform admin': 'in' },
  platform_admin: { nobody: 401, viewer: 403, admin: 403, "other project's viewer": 403, "other project's admin": 403, 'viewer token': 403, 'admin token': 403, "other project's admin token": 403, 'environment token': 403, 'platform admin': 'in' },
};

/** Somewhere that is not there: whoever is let in gets an error of the handler's, and nothing happens. */
const NOWHERE: Record<string, string> = { project: 'default', callId: 'no-such-call', runId: 'no-such-run', presetId: 'no-such-preset', testId: 'no-such-test', rescoreId: 'no-such-run', batchId: 'no-such-batch', messageId: 'no-such-message', effectKey: 'no-such-effect', userId: '00000000-0000-4000-8000-000000000000', tokenId: 'no-such-token', bulkId: 'none', erasureId: 'none', version: '1', hookId: 'no-such-hook', eventId: 'no-such-event', kind: 'webex', source: 'webex', day: '2026-01-01' };
const TURNED_AWAY = /This needs|There is no project default that you belong to/;

describe('who may use a route', () => {
  it('is written down for every route that there is', async () => {
    const { paths } = await json<{ paths: Record<string, Record<string, { 'x-access': string }>> }>(ask('GET', '/openapi.json'));
    const documented = Object.entries(paths).flatMap(([path, methods]) => Object.entries(methods).map(([method, route]) => [`${method} ${path.replaceAll(/\{(\w+)\}/g, ':$1')}`, route['x-access']] as const));
    expect(Object.fromEntries(documented)).toEqual(Object.fromEntries(Object.entries(ACCESS).filter(([route]) => route.includes('/v1/'))));
  });

  it.each(Object.entries(ACCESS))('%s: %s', async (route, access) => {
    const [method, path] = route.split(' ') as [string, string];
    const address = path.replaceAll(/:(\w+)/g, (_all, name: string) => NOWHERE[name]!);
    const got: Record<string, 'in' | number> = {};
    for (const [who, token] of Object.entries(tokens)) {
      // A body that no route takes, so that whoever is let in is turned away by its form.
      const response = await ask(method.toUpperCase(), address, { token, ...(method !== 'get' && method !== 'delete' ? { body: { nonsense: true } } : {}) });
      const body = await response.text();
      got[who] = TURNED_AWAY.test(body) ? response.status : 'in';
      // Nobody is told what is behind a door that stays shut.
      if (got[who] !== 'in') expect(body).not.toContain('no-such');
    }
    expect(got).toEqual(VERDICTS[access]);
  });

  it('holds for a call that is there: another project’s people see neither it nor that it is', async () => {
    const path = `/v1/projects/default/calls/${CALL}`;
    const seen = await Promise.all(["other project's admin", "other project's admin token"].map(async (who) => (await ask('GET', path, { token: tokens[who] })).status));
    expect(seen).toEqual([404, 404]);
    // Nor under the address of their own project.
    expect((await ask('GET', `/v1/projects/other/calls/${CALL}`, { token: tokens["other project's admin"] })).status).toBe(404);
    expect(await json(ask('GET', '/v1/projects/other/calls', { token: tokens["other project's admin"] }))).toMatchObject({ calls: [] });
    expect((await ask('GET', path, { token: tokens['viewer'] })).status).toBe(200);
  });

  it('shows each the projects that are theirs', async () => {
    const projectsOf = async (who: string) => (await json<{ projects: { id: string }[] }>(ask('GET', '/v1/projects', { token: tokens[who] }))).projects.map(({ id }) => id).toSorted();
    expect([await projectsOf('viewer'), await projectsOf("other project's admin"), await projectsOf('platform admin')]).toEqual([['default'], ['other'], ['default', 'other']]);
  });

  it('ends with the role, at once', async () => {
    const token = await makeMember('leaver@example.org', 'default', 'project_viewer');
    expect((await ask('GET', '/v1/projects/default/calls', { token })).status).toBe(200);
    const { members } = await json<{ members: { userId: string; email: string }[] }>(ask('GET', '/v1/projects/default/members', { token: tokens['admin'] }));
    const { userId } = members.find(({ email }) => email === 'leaver@example.org')!;
    expect((await ask('DELETE', `/v1/projects/default/members/${userId}`, { token: tokens['admin'] })).status).toBe(200);
    expect((await ask('GET', '/v1/projects/default/calls', { token })).status).toBe(404);
  });

  it('takes the same Idempotency-Key from two callers as two keys', async () => {
    const headers = { 'idempotency-key': 'a-shared-key' };
    const path = `/v1/projects/default/calls/${CALL}/retry`;
    expect((await ask('POST', path, { token: tokens['admin'], body: {}, headers })).headers.get('idempotent-replay')).toBeNull();
    expect((await ask('POST', path, { token: tokens['admin token'], body: { from: 'crm' }, headers })).status).toBe(409);
  });
});

describe('the audit log', () => {
  type Entries = { entries: { actor: string; actorKind: string; action: string; target: string; details: object }[]; next: string | null };

  it('names who did what to which call, refusals too, and no words of theirs', async () => {
    const call = `/v1/projects/default/calls/${CALL}`;
    await ask('POST', `${call}/give-up`, { token: tokens['admin'], body: { by: 'somebody else', reason: 'she-said-canary' } });
    await ask('POST', `${call}/retry`, { token: tokens['admin token'], body: { by: 'the night shift', from: 'crm' } });
    const { entries } = await json<Entries>(ask('GET', `/v1/projects/default/audit?target=${CALL}&limit=4`, { token: tokens['admin'] }));
    expect(entries.map(({ actor, actorKind, action, target }) => [actor, actorKind, action, target])).toEqual([
      ['a project_admin', 'token', 'calls.retry.failed', CALL],
      ['a project_admin', 'token', 'calls.retry', CALL],
      // A person is who signed in, whatever the request says.
      ['admin@example.org', 'user', 'calls.give_up.failed', CALL],
      ['admin@example.org', 'user', 'calls.give_up', CALL],
    ]);
    expect(entries[1]!.details).toEqual({ from: 'crm', onBehalfOf: 'the night shift' });
    expect(JSON.stringify(await system.wiring.db.selectFrom('audit_log').selectAll().execute())).not.toContain('canary');
  });

  it('names who made accounts, members and tokens, and holds no secret of theirs', async () => {
    const made = await makeUser('audited@example.org');
    const token = await makeToken('other', 'project_viewer');
    const { entries } = await json<Entries>(ask('GET', '/v1/audit?limit=1', { token: tokens['platform admin'] }));
    expect(entries).toEqual([expect.objectContaining({ actor: admin.email, action: 'users.create', target: 'audited@example.org' })]);
    const dump = JSON.stringify(await system.wiring.db.selectFrom('audit_log').selectAll().execute());
    expect([made.password, token, admin.password].filter((secret) => dump.includes(secret))).toEqual([]);
  });

  it('comes in pages, is intact, and shows nobody another project’s', async () => {
    const seen: unknown[] = [];
    for (let next: string | null = ''; next !== null; ) {
      const page: Entries = await json<Entries>(ask('GET', `/v1/projects/other/audit?limit=2${next ? `&cursor=${next}` : ''}`, { token: tokens["other project's admin"] }));
      seen.push(...page.entries);
      next = page.next;
    }
    expect(seen.length).toBeGreaterThan(3);
    expect(JSON.stringify(seen)).not.toContain(CALL);
    expect(await json(ask('GET', '/v1/projects/other/audit/verify', { token: tokens["other project's admin"] }))).toMatchObject({ intact: true, entries: seen.length });
    expect(await json(ask('GET', '/v1/audit/verify', { token: tokens['platform admin'] }))).toMatchObject({ intact: true });
  });
});

describe('signing in', () => {
  it('gives tokens that are good for minutes, and refreshes them, each once', async () => {
    const first = await signIn(person.email.toUpperCase(), person.password);
    expect(await json(ask('GET', '/v1/me', { token: first.accessToken }))).toMatchObject({ kind: 'user', name: 'person@example.org', platformAdmin: false, projects: [] });
    const { exp, iat } = JSON.parse(Buffer.from(first.accessToken.split('.')[1]!, 'base64url').toString()) as { exp: number; iat: number };
    expect(exp - iat).toBeLessThanOrEqual(900);
    const second = await json<typeof first>(ask('POST', '/v1/auth/refresh', { body: { refreshToken: first.refreshToken } }));
    expect((await ask('GET', '/v1/me', { token: second.accessToken })).status).toBe(200);
    // The first again: somebody has a copy. Everything that follows from this sign-in ends.
    expect((await ask('POST', '/v1/auth/refresh', { body: { refreshToken: first.refreshToken } })).status).toBe(401);
    expect((await ask('POST', '/v1/auth/refresh', { body: { refreshToken: second.refreshToken } })).status).toBe(401);
    expect((await ask('GET', '/v1/me', { token: second.accessToken })).status).toBe(401);
  });

  it('gives one of many who refresh at once a token at most, and trusts none of them', async () => {
    const { accessToken, refreshToken } = await signIn(admin.email, admin.password);
    const answers = await Promise.all(Array.from({ length: 5 }, () => ask('POST', '/v1/auth/refresh', { body: { refreshToken } })));
    const good = answers.filter(({ status }) => status === 200);
    // None, when the others were noticed before the first had its answer.
    expect(good.length).toBeLessThanOrEqual(1);
    const given = await Promise.all(good.map(async (answer) => (await json<{ accessToken: string }>(answer)).accessToken));
    for (const token of [accessToken, ...given]) expect((await ask('GET', '/v1/me', { token })).status).toBe(401);
  });

  it('ends with signing out, for that session alone', async () => {
    const [one, two] = [await signIn(person.email, person.password), await signIn(person.email, person.password)];
    expect((await ask('POST', '/v1/auth/logout', { token: one.accessToken, body: {} })).status).toBe(200);
    expect([(await ask('GET', '/v1/me', { token: one.accessToken })).status, (await ask('POST', '/v1/auth/refresh', { body: { refreshToken: one.refreshToken } })).status, (await ask('GET', '/v1/me', { token: two.accessToken })).status]).toEqual([401, 401, 200]);
  });

  it('ends everywhere else with a new password, which has to be long and the old one right', async () => {
    const [here, elsewhere] = [await signIn(person.email, person.password), await signIn(person.email, person.password)];
    const change = (body: object) => ask('POST', '/v1/auth/password', { token: here.accessToken, body });
    expect((await change({ current: 'wrong', next: PASSWORD })).status).toBe(409);
    expect((await change({ current: person.password, next: 'short' })).status).toBe(400);
    expect((await change({ current: person.password, next: PASSWORD })).status).toBe(200);
    expect([(await ask('GET', '/v1/me', { token: here.accessToken })).status, (await ask('GET', '/v1/me', { token: elsewhere.accessToken })).status]).toEqual([200, 401]);
    expect((await ask('POST', '/v1/auth/login', { body: { email: person.email, password: person.password } })).status).toBe(401);
    person.password = PASSWORD;
    expect((await signIn(person.email, PASSWORD)).accessToken).toBeDefined();
  });

  it('is over for an account that is disabled, until it is enabled again', async () => {
    const { accessToken } = await signIn(person.email, person.password);
    const act = (what: string) => ask('POST', `/v1/users/${person.id}/${what}`, { token: tokens['platform admin'], body: {} });
    expect((await act('disable')).status).toBe(200);
    expect([(await ask('GET', '/v1/me', { token: accessToken })).status, (await ask('POST', '/v1/auth/login', { body: { email: person.email, password: person.password } })).status]).toEqual([401, 401]);
    expect((await act('enable')).status).toBe(200);
    expect((await signIn(person.email, person.password)).accessToken).toBeDefined();
  });

  it.each([
    ['signed by somebody else', (token: string) => `${token.split('.').slice(0, 2).join('.')}.${'A'.repeat(43)}`],
    ['that asks for no signature', (token: string) => `${Buffer.from('{"alg":"none"}').toString('base64url')}.${token.split('.')[1]}.`],
    ['of another user', (token: string) => { const [head, , signature] = token.split('.'); return `${head}.${Buffer.from(JSON.stringify({ sub: 'x', sid: 'y', iss: 'aftercall', aud: 'aftercall-api', exp: 9_999_999_999 })).toString('base64url')}.${signature}`; }],
    ['under a key that is none', (token: string) => `${Buffer.from('{"alg":"HS256","kid":"nope"}').toString('base64url')}.${token.split('.').slice(1).join('.')}`],
    ['that is none', () => 'nonsense'],
  ])('takes no token %s', async (_what, forge) => {
    expect((await ask('GET', '/v1/me', { token: forge((await signIn(person.email, person.password)).accessToken) })).status).toBe(401);
  });

  it('says the same of an unknown account and a wrong password, and takes about as long', async () => {
    const tries = async (email: string, count: number) => {
      const started = process.hrtime.bigint();
      const answers = [];
      for (let time = 0; time < count; time += 1) answers.push(await ask('POST', '/v1/auth/login', { body: { email, password: 'wrong' } }));
      return { tookNs: process.hrtime.bigint() - started, answers: await Promise.all(answers.map(async (answer) => [answer.status, (await json<{ detail: string }>(answer)).detail])) };
    };
    const known = await tries(person.email, 4);
    const unknown = await tries('nobody@example.org', 4);
    expect(unknown.answers).toEqual(known.answers);
    // Side by side in one run; a lookup without hashing would be some fifty times faster.
    const ratio = Number(unknown.tookNs) / Number(known.tookNs);
    expect(ratio).toBeGreaterThan(0.2);
    expect(ratio).toBeLessThan(5);
  });

  it('is stopped after ten wrong passwords for one account, known or not, and others get in', async () => {
    for (const email of ['admin@example.org', 'ghost@example.org']) {
      const statuses = [];
      for (let time = 0; time < 12; time += 1) statuses.push((await ask('POST', '/v1/auth/login', { body: { email, password: 'wrong' } })).status);
      expect(statuses).toEqual([...Array<number>(10).fill(401), 429, 429]);
    }
    const stopped = await ask('POST', '/v1/auth/login', { body: { email: 'admin@example.org', password: 'wrong' } });
    expect(Number(stopped.headers.get('retry-after'))).toBeGreaterThan(0);
    expect((await ask('POST', '/v1/auth/login', { body: { email: person.email, password: person.password } })).status).toBe(200);
  });

  it('is stopped for an address that tries many accounts', async () => {
    const statuses = new Set<number>();
    for (let time = 0; time < 50; time += 1) statuses.add((await ask('POST', '/v1/auth/login', { body: { email: `guess-${time}@example.org`, password: 'wrong' } })).status);
    expect(statuses).toEqual(new Set([401, 429]));
  });
});

describe('a machine’s token', () => {
  it('is shown once, kept as a hash, and gone when it is revoked or has expired', async () => {
    const made = await json<{ id: string; token: string }>(ask('POST', '/v1/projects/default/tokens', { token: tokens['admin'], body: { name: 'crm', role: 'project_viewer' } }));
    expect((await ask('GET', '/v1/projects/default/calls', { token: made.token })).status).toBe(200);
    const listed = await (await ask('GET', '/v1/projects/default/tokens', { token: tokens['admin'] })).text();
    expect([listed.includes(made.id), listed.includes(made.token)]).toEqual([true, false]);
    const stored = JSON.stringify(await system.wiring.db.selectFrom('api_tokens').selectAll().execute());
    expect(stored).not.toContain(made.token);
    expect((await ask('DELETE', `/v1/projects/default/tokens/${made.id}`, { token: tokens['admin'] })).status).toBe(200);
    expect((await ask('GET', '/v1/projects/default/calls', { token: made.token })).status).toBe(401);

    const shortLived = await json<{ id: string; token: string }>(ask('POST', '/v1/projects/default/tokens', { token: tokens['admin'], body: { name: 'short', role: 'project_viewer', expiresAt: new Date(Date.now() + 60_000).toISOString() } }));
    expect((await ask('GET', '/v1/projects/default/calls', { token: shortLived.token })).status).toBe(200);
    await system.wiring.db.updateTable('api_tokens').set({ expires_at: new Date(Date.now() - 1) }).where('id', '=', shortLived.id).execute();
    expect((await ask('GET', '/v1/projects/default/calls', { token: shortLived.token })).status).toBe(401);
  });

  it('cannot be made for a project that is not one’s own', async () => {
    expect((await ask('POST', '/v1/projects/other/tokens', { token: tokens['admin'], body: { name: 'x', role: 'project_viewer' } })).status).toBe(404);
  });
});
