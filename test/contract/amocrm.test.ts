import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { AMOCRM_CLIENT, startAmoCrm } from '../../sandbox/amocrm/server.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { type AmoCrmSession, createAmoCrmSession } from '../../src/adapters/amocrm/session.ts';
import { createGuard } from '../../src/adapters/http/guard.ts';
import { parseHostList } from '../../src/adapters/http/hosts.ts';
import { createAmoCrm } from '../../src/adapters/sources/amocrm.ts';
import { createAdaptersOf } from '../../src/adapters/connectors/of-project.ts';
import { createConnectors } from '../../src/db/connectors.ts';
import type { CallCursor, CallSource } from '../../src/adapters/sources/source.ts';
import { type AmoCrmConfig, loadConfig } from '../../src/config.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCredentials } from '../../src/db/credentials.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { asOwner } from '../../src/db/scope.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import { addNotes, amoCrmConfigAt, changeNote, deleteNote, setLimits } from '../support/amocrm.ts';
import { complete } from '../support/config.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { failureOf, requestsOf } from '../support/salesforce.ts';
import { addFaults, clearFaults, ffmpegPath, ledgerOf } from '../support/sandbox.ts';

const KEYS = `k:${Buffer.alloc(32, 1).toString('base64')}`;
const DAY_S = 86_400;
/** Of this file's made-up calls, far from the samples'. */
const AT_S = Math.floor(Date.UTC(2026, 0, 1) / 1_000);

let postgres: TestPostgres;
let folder: string;
let amocrm: SandboxServer;
let databaseUrl: string;
let db: Database;
let servers = 0;

const sessionOf = ({ database = db, blockedWaitMs, ...config }: Partial<AmoCrmConfig> & { database?: Database; blockedWaitMs?: number } = {}): AmoCrmSession =>
  createAmoCrmSession({ config: amoCrmConfigAt(amocrm.url, config), credentials: createCredentials(database, createKeyRing(KEYS)), ...(blockedWaitMs === undefined ? {} : { blockedWaitMs }) });
/** As `OUTBOUND_ALLOW` makes it. */
const guardFor = (...urls: string[]) => createGuard({ allow: parseHostList(urls.map((url) => new URL(url).host).join(',')) });
const sourceOf = (options: { pageSize?: number; overlapMs?: number } = {}, session = sessionOf({ AMOCRM_REQUESTS_PER_SECOND: 1_000 })) =>
  createAmoCrm({ session, guard: guardFor(amocrm.url), timeoutMs: 2_000, overlapMs: 0, ...options });
const signal = (): AbortSignal => AbortSignal.timeout(30_000);
const aSample = (title: string) => SAMPLE_CALLS.find((call) => call.title.includes(title))!;

beforeAll(async () => {
  postgres = await startPostgres();
  folder = await mkdtemp(join(tmpdir(), 'aftercall-amocrm-'));
});
afterAll(async () => {
  await postgres?.stop();
  await rm(folder, { recursive: true, force: true });
});
/** Each case has an account of its own, and a database that knows no token yet. */
beforeEach(async () => {
  servers += 1;
  amocrm = await startAmoCrm({ calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, dataFolder: join(folder, String(servers)), ffmpegPath: ffmpegPath() });
  await setLimits(amocrm, { perSecond: 10_000 });
  databaseUrl = await postgres.createDatabase();
  db = await openDatabase(databaseUrl);
  await migrate(db);
});
afterEach(async () => {
  await db.destroy();
  await amocrm.close();
});

const listAll = async (source: CallSource, fromS: number, toS: number, between: (page: number) => Promise<unknown> = async () => {}): Promise<CallDetails[]> => {
  const calls: CallDetails[] = [];
  let pages = 0;
  for (let cursor: CallCursor | undefined, more = true; more; more = cursor !== undefined) {
    const page = await source.listCalls({ fromMs: fromS * 1_000, toMs: toS * 1_000, signal: signal(), ...(cursor ? { cursor } : {}) });
    calls.push(...page.calls);
    cursor = page.next;
    pages += 1;
    if (cursor) await between(pages);
  }
  return calls;
};
const idsOf = (calls: CallDetails[]): string[] => calls.map(({ callId }) => callId);

describe('calls', () => {
  it('are the call notes of leads, contacts and companies, with who, when, how long and where', async () => {
    const now = Math.floor(Date.now() / 1_000);
    const calls = await listAll(sourceOf(), now - 7 * DAY_S, now);
    expect(calls).toHaveLength(SAMPLE_CALLS.filter(({ task }) => task.status !== 'assigned').length);
    const good = calls.find(({ callId }) => callId === 'amo-lead-9000001')!;
    expect(good).toMatchObject({ source: 'amocrm', status: 'completed', direction: 'inbound', originPhone: aSample('qualified').task.origin, agentName: 'Priya', captureRequested: true, card: { kind: 'lead', id: '7000001' } });
    expect(calls.find(({ direction }) => direction === 'outbound')).toMatchObject({ destinationPhone: '+15550199' });
    expect(new Set(calls.map(({ card }) => card?.kind))).toEqual(new Set(['lead', 'contact', 'company']));
    expect(calls.filter(({ status }) => status === 'abandoned')).toHaveLength(1);
    // No recording yet is not "was not recorded".
    expect(calls.find(({ callId }) => callId === `amo-company-${9_000_001 + SAMPLE_CALLS.indexOf(aSample('never comes'))}`)).not.toHaveProperty('captureRequested');
    expect(await sourceOf().findCall('amo-lead-9000001', signal())).toEqual(good);
  });

  it('that have no duration and no recording are left for later while they may still go on', async () => {
    const now = Math.floor(Date.now() / 1_000);
    const [fresh] = await addNotes(amocrm, { list: 'leads', params: { duration: 0 }, createdAt: now - 60 });
    const [old] = await addNotes(amocrm, { list: 'leads', params: { duration: 0 }, createdAt: now - 3_600 });
    const statusOf = async (id: number | undefined) => (await sourceOf().findCall(`amo-lead-${id}`, signal()))?.status;
    expect([await statusOf(fresh), await statusOf(old)]).toEqual(['open', 'abandoned']);
  });

  it('are read though a program wrote odd things into some, or the token may not list users', async () => {
    await addNotes(amocrm, { list: 'leads', createdAt: AT_S, params: { duration: 'long', phone: 79_001_112_233, link: null, call_responsible: 'Anna' } });
    await addNotes(amocrm, { list: 'leads', createdAt: AT_S + 1, params: { call_responsible: 502 } });
    const [odd, numbered] = await listAll(sourceOf(), AT_S, AT_S + 10);
    expect(odd).toMatchObject({ status: 'abandoned', originPhone: '79001112233', agentName: 'Anna' });
    expect(numbered).toMatchObject({ agentName: 'Marcus' });
    await addFaults(amocrm, { route: 'GET /api/v4/users', effect: { kind: 'respond', status: 403, body: { title: 'Forbidden', status: 403 } } });
    expect((await listAll(sourceOf(), AT_S, AT_S + 10)).map(({ agentName }) => agentName)).toEqual(['Anna', undefined]);
  });

  it('that were entered late under an earlier time are found by the overlap', async () => {
    await addNotes(amocrm, { list: 'contacts', createdAt: AT_S - 3_600 });
    expect(await listAll(sourceOf(), AT_S, AT_S + 60)).toEqual([]);
    expect(await listAll(createAmoCrm({ session: sessionOf(), guard: guardFor(amocrm.url), timeoutMs: 2_000 }), AT_S, AT_S + 60)).toHaveLength(1);
  });
});

describe('paging', () => {
  it('reads every call of all lists once, at any page size', async () => {
    for (let at = 0; at < 40; at += 1) await addNotes(amocrm, { list: 'leads', createdAt: AT_S + Math.floor(at / 3), count: 1 });
    await addNotes(amocrm, { list: 'companies', createdAt: AT_S + 5, count: 20 });
    // A list whose last page is full, so that its link leads to an empty one.
    await addNotes(amocrm, { list: 'contacts', createdAt: AT_S + 5, count: 10 });
    for (const pageSize of [3, 10, 20, 40, 250]) {
      const ids = idsOf(await listAll(sourceOf({ pageSize }), AT_S, AT_S + 100));
      expect([pageSize, ids.length, new Set(ids).size]).toEqual([pageSize, 70, 70]);
    }
  });

  it('misses none of those that stay, though notes are edited, deleted and added between two pages', async () => {
    const ids: number[] = [];
    for (let at = 0; at < 60; at += 1) ids.push(...(await addNotes(amocrm, { list: 'leads', createdAt: AT_S + at })));
    const gone = new Set<number>();
    const calls = await listAll(sourceOf({ pageSize: 7 }), AT_S, AT_S + 1_000, async (page) => {
      // Of what has been read: by page numbers, everything behind would move up and be jumped over.
      await changeNote(amocrm, ids[page * 2]!, { updatedAt: AT_S + 200 + page });
      await deleteNote(amocrm, ids[page * 2 + 1]!);
      gone.add(ids[page * 2 + 1]!);
      if (page === 3) ids.push(...(await addNotes(amocrm, { list: 'leads', createdAt: AT_S + 100 })));
    });
    const found = new Set(idsOf(calls));
    expect(ids.filter((id) => !gone.has(id) && !found.has(`amo-lead-${id}`))).toEqual([]);
  });

  it('reads a second that fills many pages, though notes leave it meanwhile', async () => {
    const ids = await addNotes(amocrm, { list: 'leads', createdAt: AT_S, count: 95 });
    const later = await addNotes(amocrm, { list: 'leads', createdAt: AT_S + 1, count: 25 });
    const source = sourceOf({ pageSize: 10 });
    await source.findCall('amo-lead-1', signal());
    await addFaults(amocrm, { route: 'GET /api/v4/leads/notes', skip: 2, delayMs: 300, effect: { kind: 'delay' } });
    const reading = listAll(source, AT_S, AT_S + 100);
    await sleep(150);
    for (const id of ids.slice(0, 5)) await changeNote(amocrm, id, { updatedAt: AT_S + 50 });
    const found = new Set(idsOf(await reading));
    expect([...ids, ...later].filter((id) => !found.has(`amo-lead-${id}`))).toEqual([]);
  });

  it('stops loudly when a page comes again and again', async () => {
    await addNotes(amocrm, { list: 'leads', createdAt: AT_S, count: 10 });
    const page = await (async () => {
      const { access_token: token } = (await (
        await fetch(`${amocrm.url}/oauth2/access_token`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: JSON.stringify({ client_id: AMOCRM_CLIENT.clientId, client_secret: AMOCRM_CLIENT.clientSecret, grant_type: 'refresh_token', refresh_token: AMOCRM_CLIENT.refreshToken, redirect_uri: AMOCRM_CLIENT.redirectUri }),
        })
      ).json()) as { access_token: string };
      return (await fetch(`${amocrm.url}/api/v4/leads/notes?limit=5&filter[updated_at][from]=${AT_S}&filter[updated_at][to]=${AT_S}`, { headers: { authorization: `Bearer ${token}` } })).json();
    })();
    const { refreshToken } = (await (await fetch(`${amocrm.url}/_sandbox-authorise`, { method: 'POST' })).json()) as { refreshToken: string };
    await addFaults(amocrm, { route: 'GET /api/v4/leads/notes', times: 100, effect: { kind: 'respond', status: 200, body: page } });
    const source = sourceOf({ pageSize: 5 }, sessionOf({ AMOCRM_REFRESH_TOKEN: refreshToken, AMOCRM_REQUESTS_PER_SECOND: 1_000 }));
    await expect(listAll(source, AT_S, AT_S + 10)).rejects.toMatchObject({ code: 'SOURCE_PAGE_STUCK' });
  });
});

describe('seven requests a second', () => {
  it('are kept to, however many ask at once', async () => {
    await setLimits(amocrm, { perSecond: 7 });
    // With room for a machine that halts for a moment: what was due meanwhile leaves at once then.
    const session = sessionOf({ AMOCRM_REQUESTS_PER_SECOND: 4 });
    await Promise.all(Array.from({ length: 16 }, () => session.ask({ doing: 'Listing users', path: '/api/v4/users', signal: signal() })));
    expect(await ledgerOf(amocrm, 'refused_too_many')).toEqual([]);
  });

  it('are many look-ups, as those of a moment share one', async () => {
    const source = sourceOf();
    const now = Math.floor(Date.now() / 1_000);
    const calls = await listAll(source, now - 7 * DAY_S, now);
    const before = (await requestsOf(amocrm)).length;
    await Promise.all(calls.map(({ callId }) => source.findRecording(callId, signal())));
    expect((await requestsOf(amocrm)).length - before).toBe(3);
  });

  it('exceeded, have everybody wait; gone on with, lead to a block that is not asked against', async () => {
    await setLimits(amocrm, { perSecond: 1, blockAfter: 3, blockMs: 1_000 });
    const session = sessionOf({ AMOCRM_REQUESTS_PER_SECOND: 1_000, blockedWaitMs: 1_200 });
    const ask = () => session.ask({ doing: 'Listing users', path: '/api/v4/users', signal: signal() });
    await ask();
    expect(await failureOf(ask())).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 1_000, retryable: true });
    const began = Date.now();
    await ask();
    expect(Date.now() - began).toBeGreaterThan(900);

    // Others use the same integration, and do not stop.
    await Promise.all(Array.from({ length: 6 }, () => fetch(`${amocrm.url}/api/v4/users`)));
    expect(await ledgerOf(amocrm, 'blocked')).toHaveLength(1);
    expect(await failureOf(ask())).toMatchObject({ code: 'RATE_LIMITED', advice: expect.stringContaining('AMOCRM_REQUESTS_PER_SECOND') as unknown });
    const before = (await requestsOf(amocrm)).length;
    const silent = await failureOf(ask());
    expect(silent).toMatchObject({ code: 'RATE_LIMITED' });
    expect(silent.retryAfterMs).toBeGreaterThan(500);
    expect((await requestsOf(amocrm)).length).toBe(before);
    await sleep(1_300);
    await ask();
  });
});

describe('the token', () => {
  const issued = async (): Promise<number> => (await ledgerOf(amocrm, 'token_issued')).length;
  const ask = (session: AmoCrmSession) => session.ask({ doing: 'Listing users', path: '/api/v4/users', signal: signal() });

  it('is renewed by one of two processes that race, each time, with a refresh token that is good for once', async () => {
    const program = fileURLToPath(new URL('../support/amocrm-process.ts', import.meta.url));
    const race = () => Promise.all([1, 2].map(() => promisify(execFile)(process.execPath, [program, amocrm.url, databaseUrl, KEYS, '3'])));
    expect((await race()).map(({ stdout }) => stdout)).toEqual(['done', 'done']);
    expect(await issued()).toBe(1);
    // As if a day had passed.
    const credentials = createCredentials(db, createKeyRing(KEYS));
    await credentials.renew('amocrm', async (token) => ({ ...token!, expiresAtMs: 0 }));
    expect((await race()).map(({ stdout }) => stdout)).toEqual(['done', 'done']);
    expect([await issued(), await ledgerOf(amocrm, 'refresh_token_refused')]).toEqual([2, []]);
    const { sealed } = await db.selectFrom('credentials').selectAll().executeTakeFirstOrThrow();
    expect(sealed).toMatch(/^v1\.k\./);
    expect(sealed).not.toContain('sandbox');
  });

  it('is renewed once when it is refused, and a second refusal is final', async () => {
    const session = sessionOf();
    const refused = { route: 'GET /api/v4/users', effect: { kind: 'respond', status: 401, body: { title: 'Unauthorized', status: 401 } } };
    await addFaults(amocrm, refused);
    await ask(session);
    expect(await issued()).toBe(2);
    await addFaults(amocrm, { ...refused, times: 2 });
    expect(await failureOf(ask(session))).toMatchObject({ code: 'AUTH_FAILED' });
    await clearFaults(amocrm);
  });

  it('is not lost when the database fails after the answer has come', async () => {
    const session = sessionOf();
    await asOwner(() => sql`create function refuse() returns trigger language plpgsql as $$ begin raise exception 'disk full'; end $$`.execute(db));
    await asOwner(() => sql`create trigger refuse before update on credentials for each row execute function refuse()`.execute(db));
    await expect(ask(session)).rejects.toThrow('disk full');
    await asOwner(() => sql`drop trigger refuse on credentials`.execute(db));
    await ask(session);
    expect(await issued()).toBe(1);
    // And is there for the next process.
    await ask(sessionOf());
    expect(await issued()).toBe(1);
  });

  it('is renewed to the end though whoever asked first has gone', async () => {
    const session = sessionOf();
    await addFaults(amocrm, { route: 'POST /oauth2/access_token', effect: { kind: 'late', byMs: 300 } });
    const leaving = new AbortController();
    const left = session.ask({ doing: 'Listing users', path: '/api/v4/users', signal: leaving.signal });
    const stays = ask(session);
    setTimeout(() => leaving.abort(new Error('cancelled')), 100);
    await expect(left).rejects.toThrow('cancelled');
    await stays;
    expect(await issued()).toBe(1);
  });

  it('whose last answer was lost asks a person to connect anew, and takes the new one', async () => {
    await addFaults(amocrm, { route: 'POST /oauth2/access_token', effect: { kind: 'drop_after' } });
    const session = sessionOf();
    expect(await failureOf(ask(session))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' });
    expect(await failureOf(ask(session))).toMatchObject({ code: 'AUTH_FAILED', advice: expect.stringContaining('connect the integration anew') as unknown });
    const { refreshToken } = (await (await fetch(`${amocrm.url}/_sandbox-authorise`, { method: 'POST' })).json()) as { refreshToken: string };
    await ask(sessionOf({ AMOCRM_REFRESH_TOKEN: refreshToken }));
  });
});

describe('errors', () => {
  const cases: [number, object | string, Record<string, string>, string, boolean][] = [
    [400, { title: 'Bad Request', status: 400, detail: 'Request validation failed' }, {}, 'UPSTREAM_REJECTED', false],
    [402, 'Payment Required', {}, 'QUOTA_EXHAUSTED', false],
    [403, { title: 'Forbidden', status: 403 }, {}, 'AUTH_FAILED', false],
    [403, '<html>blocked</html>', { 'content-type': 'text/html' }, 'RATE_LIMITED', true],
    [404, { title: 'Not found', status: 404 }, {}, 'NOT_FOUND', false],
    [429, { title: 'Too many requests', status: 429 }, {}, 'RATE_LIMITED', true],
    [500, 'oops', {}, 'UPSTREAM_UNAVAILABLE', true],
    [200, '<html>Please sign in</html>', {}, 'UPSTREAM_NONSENSE', true],
    [200, { _embedded: { notes: [{ id: 'x' }] } }, {}, 'UPSTREAM_NONSENSE', true],
  ];
  it.each(cases)('%i %j %j is %s', async (status, body, headers, code, retryable) => {
    await addFaults(amocrm, { route: 'GET /api/v4/leads/notes', effect: { kind: 'respond', status, body, headers } });
    expect(await failureOf(sourceOf().listCalls({ fromMs: 0, toMs: 1_000, signal: signal() }))).toMatchObject({ code, retryable, advice: expect.any(String) as unknown });
  });
  it('of a source that is not in the settings name those that are', async () => {
    const keyRing = createKeyRing(KEYS);
    const adaptersOf = createAdaptersOf({ config: loadConfig(complete), connectors: createConnectors(db, keyRing), credentials: createCredentials(db, keyRing), givenSource: () => undefined as never, writeEvent: () => {} });
    const { sources, callNotes } = await adaptersOf('default');
    expect(() => sources.get('amocrm')).toThrow('There is no call source "amocrm" in the settings of project default.');
    expect(() => callNotes.get('amocrm')).toThrow('There is no CRM for notes "amocrm" in the settings of project default.');
  });
});

describe('a recording', () => {
  const open = async (options: { offset?: number; source?: CallSource } = {}) => {
    const source = options.source ?? sourceOf();
    return source.openRecording((await source.findRecording('amo-lead-9000001', signal()))!, { offset: options.offset ?? 0, signal: signal() });
  };
  const bytesOf = async (body: AsyncIterable<Uint8Array>): Promise<number> => {
    let bytes = 0;
    for await (const chunk of body) bytes += chunk.byteLength;
    return bytes;
  };

  it('is fetched without our token, from where it stopped', async () => {
    const part = await open({ offset: 1_000 });
    expect([part.offset, (await bytesOf(part.body)) + 1_000]).toEqual([1_000, part.totalBytes]);
    expect((await ledgerOf(amocrm, 'recording_asked')).map(({ authorization }) => authorization)).toEqual([false]);
  });

  it('is followed to where its link leads, a few times, each time past the guard', async () => {
    const asked: (string | undefined)[] = [];
    const store = createServer((request, response) => {
      asked.push(request.url);
      response.end('RIFF');
    });
    await new Promise<void>((resolve) => store.listen(0, '127.0.0.1', resolve));
    const to = `http://127.0.0.1:${(store.address() as AddressInfo).port}/file.wav?signature=x`;
    const redirected = async (to: string): Promise<void> => {
      await clearFaults(amocrm);
      await addFaults(amocrm, { route: 'GET /recordings/*', times: 5, effect: { kind: 'redirect', to } });
    };
    const recordingAsked = async (): Promise<number> => (await requestsOf(amocrm)).filter(({ path }) => path.startsWith('/recordings/')).length;
    await redirected(to);
    const source = createAmoCrm({ session: sessionOf(), guard: guardFor(amocrm.url, to), timeoutMs: 2_000 });
    expect(await bytesOf((await open({ source })).body)).toBe(4);
    expect(asked).toEqual(['/file.wav?signature=x']);
    expect(await failureOf(open())).toMatchObject({ code: 'URL_REFUSED', message: expect.stringContaining('loopback') as unknown });
    expect(asked).toHaveLength(1);
    await redirected(`${amocrm.url}/recordings/${SAMPLE_CALLS[0]!.taskId}`);
    const before = await recordingAsked();
    expect(await failureOf(open())).toMatchObject({ code: 'URL_REFUSED', message: expect.stringContaining('3 redirects') as unknown });
    expect((await recordingAsked()) - before).toBe(4);
    await redirected('file:///etc/passwd');
    expect(await failureOf(open())).toMatchObject({ code: 'URL_REFUSED' });
    store.close();
  });

  it.each(['http://169.254.169.254/latest/meta-data/', 'https://10.0.0.1/1.mp3', 'http://[::1]:9/1.mp3'])('is not asked for where a note leads into the network of the installation: %s', async (link) => {
    const source = sourceOf();
    const [id] = await addNotes(amocrm, { list: 'leads', params: { link } });
    const found = (await source.findRecording(`amo-lead-${id}`, signal()))!;
    expect(await failureOf(source.openRecording(found, { offset: 0, signal: signal() }))).toMatchObject({ code: 'URL_REFUSED', retryable: false, outcome: 'refused' });
  });

  it('that is not there yet is tried again; a link that is none is not', async () => {
    await addFaults(amocrm, { route: 'GET /recordings/*', effect: { kind: 'not_there' } });
    expect(await failureOf(open())).toMatchObject({ code: 'RECORDING_LINK_EXPIRED', retryable: true });
    const source = sourceOf();
    for (const link of ['javascript:alert(1)', 'ftp://files.example/1.mp3', 'https://user:secret@pbx.example/1.mp3', 'rec 1.mp3']) {
      const [id] = await addNotes(amocrm, { list: 'leads', params: { link } });
      const error = await failureOf(source.findRecording(`amo-lead-${id}`, signal()));
      expect(error).toMatchObject({ code: 'RECORDING_UNUSABLE' });
      expect(error.message).not.toContain('secret');
    }
  });

  it('comes with its link, late or never', async () => {
    const source = sourceOf();
    const [late] = await addNotes(amocrm, { list: 'contacts', recordingOf: SAMPLE_CALLS[0]!.taskId, emptyLooks: 1 });
    const look = () => source.findRecording(`amo-contact-${late}`, signal());
    expect(await look()).toBeUndefined();
    expect(await look()).toMatchObject({ recordingId: `amo-contact-${late}`, fileName: SAMPLE_CALLS[0]!.taskId });
    expect(await source.findRecording('amo-lead-1', signal())).toBeUndefined();
    expect(await source.findCall('5a3d1c00-0000-4000-8000-000000000001', signal())).toBeUndefined();
  });
});
