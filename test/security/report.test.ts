import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createReportLinks } from '../../src/accounts/report-links.ts';
import { startApi } from '../../src/api/start.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

type Api = Awaited<ReturnType<typeof startApi>>;

const CALL = SAMPLE_CALLS[0]!.taskId;
const KEYS = `k1:${Buffer.alloc(32, 7).toString('base64')}`;
const HOSTILE = `</p><script>alert(1)</script><img src=x onerror=alert(1)>"'&{{7*7}}\u202e`;

let server: DevServer;
let system: TestSystem;
let api: Api;
let admin: { email: string; password: string };
/** Signed in to the pages, as a browser keeps it. */
let viewerCookie: string;
let strangerCookie: string;
let keys = 0;

const ask = (path: string, { cookie, ...init }: RequestInit & { cookie?: string } = {}): Promise<Response> =>
  fetch(`${api.url}${path}`, { redirect: 'manual', ...init, headers: { ...(cookie ? { cookie } : {}), ...init.headers } });
const post = async (path: string, token: string, body: object): Promise<Record<string, string>> =>
  (await (await ask(path, { method: 'POST', headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json', 'idempotency-key': `report-key-${(keys += 1)}` }, body: JSON.stringify(body) })).json()) as Record<string, string>;
const signIn = (email: string, password: string, next: string, headers: Record<string, string> = {}): Promise<Response> =>
  ask('/calls/sign-in', { method: 'POST', headers: { 'content-type': 'application/x-www-form-urlencoded', ...headers }, body: new URLSearchParams({ email, password, next }).toString() });
const cookieOf = (response: Response): string => response.headers.getSetCookie()[0]!.split(';')[0]!;
const pathOf = (url: string): string => url.slice(url.indexOf('/calls/'));
const link = (callId = CALL, project = 'default', forMs?: number): string => pathOf(system.wiring.reportLinks.make({ project, callId }, forMs).url);

const REPORT = `/calls/default/${CALL}`;

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { API_PORT: '0', AFTERCALL_KEYS: KEYS } });
  await system.startCall(CALL);
  await system.until(CALL, 'completed');
  await system.stopWorkers();
  api = await startApi(system.wiring);
  admin = api.firstAdmin!;
  const { accessToken } = await post('/v1/auth/login', '', admin);
  await post('/v1/projects', accessToken!, { id: 'other', name: 'Other' });
  const member = async (email: string, project: string): Promise<string> => {
    const { password } = await post('/v1/users', accessToken!, { email, name: 'Somebody' });
    await post(`/v1/projects/${project}/members`, accessToken!, { email, role: 'project_viewer' });
    return cookieOf(await signIn(email, password!, REPORT));
  };
  viewerCookie = await member('viewer@example.org', 'default');
  strangerCookie = await member('stranger@example.org', 'other');
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await server?.stop();
});

describe('a link to a report', () => {
  it('opens the report and its recording, and nothing of the API', async () => {
    const page = await ask(link());
    expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
    const text = await page.text();
    expect(text).toContain('Scorecard');
    // What customers are counted by, with their own words.
    expect(text).toMatch(/What came up<\/h2><blockquote>[^<]+<span class="speaker">Purchase intent/);
    const source = /<audio[^>]* src="([^"]+)"/.exec(text)![1]!.replaceAll('&amp;', '&');
    const part = await ask(source, { headers: { range: 'bytes=0-99' } });
    expect([part.status, (await part.arrayBuffer()).byteLength]).toEqual([206, 100]);
    expect((await ask(`/v1/projects/default/calls/${CALL}${link().slice(link().indexOf('?'))}`)).status).toBe(401);
  });

  it('is bound to its call, its project and its end: what is changed is not valid', async () => {
    const good = link();
    const [, keyId, expires, signature] = /link=([^.]+)\.(\d+)\.(.+)$/.exec(good)!;
    const forged = [
      good.replace(CALL, SAMPLE_CALLS[1]!.taskId),
      good.replace('/default/', '/other/'),
      `${REPORT}?link=${keyId}.${Number(expires) + 1}.${signature}`,
      `${REPORT}?link=other.${expires}.${signature}`,
      `${REPORT}?link=${keyId}.${expires}.${signature!.slice(0, -2)}AA`,
      `${REPORT}?link=${keyId}.${expires}.`,
      `${REPORT}?link=x`,
      `${REPORT}?link=${'x'.repeat(5_000)}`,
      `${REPORT}?link=a&link=b`,
    ];
    for (const path of forged) {
      for (const address of [path, path.replace('?', '/recording?')]) {
        const answer = await ask(address);
        expect([address, answer.status]).toEqual([address, 403]);
        expect(await answer.text()).toContain('This link is not valid');
      }
    }
  });

  it('says that it has expired when it has, and offers to sign in', async () => {
    const answer = await ask(link(CALL, 'default', -2_000));
    const text = await answer.text();
    expect([answer.status, text.includes('This link has expired'), text.includes('<form')]).toEqual([403, true, true]);
    expect(text).not.toContain('Scorecard');
  });

  it('ends with the key that it was made under', () => {
    const made = createReportLinks({ keyRing: createKeyRing(`old:${Buffer.alloc(32, 1).toString('base64')}`), publicUrl: '', ttlMs: 60_000 }).make({ project: 'p', callId: 'c' }).url.split('link=')[1]!;
    const withOld = createReportLinks({ keyRing: createKeyRing(`new:${Buffer.alloc(32, 2).toString('base64')},old:${Buffer.alloc(32, 1).toString('base64')}`), publicUrl: '', ttlMs: 1 });
    const without = createReportLinks({ keyRing: createKeyRing(`new:${Buffer.alloc(32, 2).toString('base64')}`), publicUrl: '', ttlMs: 1 });
    expect([withOld.check({ project: 'p', callId: 'c' }, made), without.check({ project: 'p', callId: 'c' }, made)]).toEqual(['good', 'forged']);
  });

  it('to a call that is not there says so, and no more', async () => {
    const answer = await ask(link('no-such-call'));
    expect([answer.status, (await answer.text()).includes('There is no such call here')]).toEqual([404, true]);
  });

  it('is made by members of the project for their own calls, and audited', async () => {
    const { accessToken } = await post('/v1/auth/login', '', admin);
    const made = await post(`/v1/projects/default/calls/${CALL}/report-link`, accessToken!, { hours: 1 });
    expect((await ask(pathOf(made['url']!))).status).toBe(200);
    expect(Math.abs(Date.parse(made['expiresAt']!) - Date.now() - 3_600_000)).toBeLessThan(60_000);
    expect(await post('/v1/projects/other/calls/' + CALL + '/report-link', accessToken!, {})).toMatchObject({ status: 404 });
    const rows = await system.wiring.db.selectFrom('audit_log').select('action').where('target', '=', CALL).execute();
    expect(rows.map(({ action }) => action)).toContain('calls.share_report');
  });
});

describe('a report without a link', () => {
  it('asks to sign in, then shows itself', async () => {
    const asked = await ask(REPORT);
    expect([asked.status, (await asked.text()).includes('name="password"')]).toEqual([401, true]);
    expect((await ask(REPORT, { cookie: viewerCookie })).status).toBe(200);
    expect((await ask(`${REPORT}/recording`, { cookie: viewerCookie })).status).toBe(200);
    expect((await ask(REPORT, { headers: { authorization: `Bearer ${system.config.API_TOKEN}` } })).status).toBe(200);
  });

  it('is hidden from members of other projects, there or not', async () => {
    const answers = await Promise.all([REPORT, '/calls/default/no-such-call', '/calls/no-such-project/x', `/calls/other/${CALL}`].map(async (path) => {
      const answer = await ask(path, { cookie: strangerCookie });
      return [answer.status, await answer.text()];
    }));
    expect(new Set(answers.map(String)).size).toBe(1);
    expect(answers[0]![0]).toBe(404);
  });

  it('keeps its sign-in in a cookie that scripts, other sites and the API do not get', async () => {
    const answer = await signIn(admin.email, admin.password, REPORT);
    expect([answer.status, answer.headers.get('location')]).toEqual([303, REPORT]);
    expect(answer.headers.getSetCookie()[0]).toMatch(/; Path=\/calls; .*HttpOnly; SameSite=Lax$/);
    expect((await ask('/v1/me', { cookie: cookieOf(answer) })).status).toBe(401);
    expect((await ask('/v1/me', { headers: { authorization: `Bearer ${cookieOf(answer).split('=')[1]}` } })).status).toBe(401);
    // Nor is the API's own token one for the pages.
    const { accessToken } = await post('/v1/auth/login', '', admin);
    expect((await ask(REPORT, { cookie: `aftercall_pages=${accessToken}` })).status).toBe(401);
  });

  it('leads nowhere else after signing in, and takes no form of another site', async () => {
    for (const next of ['https://evil.example/', '//evil.example/calls/a/b', '/calls/a/b/../../..', '/calls/%2e%2e/%2fevil', '/calls/a/%', 'javascript:alert(1)', '']) {
      const location = (await signIn(admin.email, admin.password, next)).headers.get('location')!;
      expect([next, /^(\/docs|\/calls\/[^/]+\/[^/]+)$/.test(location)]).toEqual([next, true]);
      expect(new URL(location, 'https://ours.example').origin).toBe('https://ours.example');
    }
    expect((await signIn(admin.email, admin.password, REPORT, { 'sec-fetch-site': 'cross-site' })).status).toBe(403);
  });

  it('answers a wrong password and an unknown account alike, and slows guessing down', async () => {
    const texts = await Promise.all(['viewer@example.org', 'nobody@example.org'].map(async (email) => (await signIn(email, 'wrong password', REPORT)).text()));
    expect(texts[0]).toBe(texts[1]);
    const tried: number[] = [];
    for (let left = 12; left > 0; left -= 1) tried.push((await signIn('guessed@example.org', 'wrong password', REPORT)).status);
    expect([tried[0], tried.at(-1)]).toEqual([401, 429]);
  });

  it('ends when its reader signs out', async () => {
    const cookie = cookieOf(await signIn(admin.email, admin.password, REPORT));
    expect((await ask(REPORT, { cookie })).status).toBe(200);
    await ask('/calls/sign-out', { method: 'POST', cookie });
    expect((await ask(REPORT, { cookie })).status).toBe(401);
  });
});

it('names reviewers to members, not to whoever holds a link', async () => {
  const { accessToken } = await post('/v1/auth/login', '', admin);
  await post(`/v1/projects/default/calls/${CALL}/review/override`, accessToken!, { version: 1, expectedRevision: 0, scorePercent: 55, comment: 'Heard it myself.' });
  const [byLink, byMember] = await Promise.all([ask(link()), ask(REPORT, { cookie: viewerCookie })].map(async (answer) => (await answer).text()));
  expect([byLink, byMember].map((text) => [text!.includes('Heard it myself.'), text!.includes(`Set by ${admin.email}`)])).toEqual([[true, false], [true, true]]);
});

it('shows what was said as text, whatever was said, under a policy that runs nothing of it', async () => {
  const { calls, objects } = system.wiring;
  const call = await calls.get(system.key(CALL));
  const version = await calls.getVersion(call);
  const before = await objects.getText(version.transcript!.key);
  const transcript = JSON.parse(before!) as Transcript;
  await objects.put(version.transcript!.key, JSON.stringify({ ...transcript, turns: transcript.turns.map((turn) => ({ ...turn, speaker: HOSTILE, text: HOSTILE })) }), { contentType: 'application/json' });
  const analysis = version.analysis!;
  await calls.keepResult(call, 'analysis', { ...analysis, summary: HOSTILE, issues_detected: [HOSTILE], recommendations: [HOSTILE], answers: analysis.answers.map((answer) => ({ ...answer, criterion: HOSTILE, reason: HOSTILE, evidence: answer.evidence.map((each) => ({ ...each, quote: HOSTILE, speaker: HOSTILE })) })) });
  const page = await ask(link());
  const text = await page.text();
  expect(page.headers.get('content-security-policy')).toBe("default-src 'none';style-src 'self';script-src 'self';media-src 'self';img-src data:;form-action 'self';base-uri 'none';frame-ancestors 'none'");
  expect(page.headers.get('cache-control')).toBe('no-store');
  expect(page.headers.get('referrer-policy')).toBe('no-referrer');
  expect(text.match(/<script/g)).toHaveLength(1);
  expect(text).not.toMatch(/<img|<script>|style=|\son\w+=["']/);
  expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;');
});
