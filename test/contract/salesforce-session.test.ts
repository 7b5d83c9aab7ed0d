import { generateKeyPairSync } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { SALESFORCE_CLIENT, startSalesforce } from '../../sandbox/salesforce/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { addFaults, ledgerOf } from '../support/sandbox.ts';
import { failureOf, recordsOf, requestsOf, salesforceAt } from '../support/salesforce.ts';

const note = { subject: 'Enquiry by phone', text: 'Enquiry by phone, call c1.', date: '2026-11-20', direction: 'inbound' as const };
const aLead = { lastName: 'Daniel', company: 'Harbour Lights Logistics Pte Ltd', brn: '53912345K', note };
const KEY = 'a1b2c3';
const expired = { status: 401, body: [{ message: 'Session expired or invalid', errorCode: 'INVALID_SESSION_ID' }] };
const respond = (route: string, answer: { status: number; body?: unknown; headers?: Record<string, string> }, times = 1): Fault => ({ route, times, effect: { kind: 'respond', ...answer } });
const never = new AbortController().signal;

const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
const strangersKey = generateKeyPairSync('rsa', { modulusLength: 2_048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } }).privateKey;
const jwt = { SFDC_USERNAME: SALESFORCE_CLIENT.username, SFDC_PRIVATE_KEY: privateKey };

let sandbox: SandboxServer;
beforeEach(async () => {
  sandbox = await startSalesforce({ publicKey });
});
afterEach(() => sandbox.close());

const signIns = () => ledgerOf(sandbox, 'signed_in');

describe('signing in to Salesforce', () => {
  it('takes the app’s own credentials', async () => {
    await salesforceAt(sandbox).check(never);
    expect(await signIns()).toEqual([expect.objectContaining({ grantType: 'client_credentials', sentSecret: true })]);
  });

  it('takes a signed assertion, and sends no secret then', async () => {
    await salesforceAt(sandbox, jwt).check(never);
    expect(await signIns()).toEqual([expect.objectContaining({ grantType: 'urn:ietf:params:oauth:grant-type:jwt-bearer', sentSecret: false })]);
  });

  const refused: [string, Record<string, string>, RegExp][] = [
    ['a wrong secret', { SFDC_CLIENT_SECRET: 'not-the-secret-at-all' }, /invalid client credentials/],
    ['an unknown app', { SFDC_CLIENT_ID: 'somebody' }, /client identifier invalid/],
    ['a key that the app does not know', { ...jwt, SFDC_PRIVATE_KEY: strangersKey }, /invalid assertion/],
    ['a user who has not approved the app', { ...jwt, SFDC_USERNAME: 'somebody@aftercall.example' }, /hasn't approved/],
    ['the audience of another cloud', { ...jwt, SFDC_AUDIENCE: 'https://login.example.com' }, /audience is invalid/],
  ];
  it.each(refused)('says what is wrong with %s, once and without the secret', async (_title, env, message) => {
    const failure = await failureOf(salesforceAt(sandbox, env).check(never));
    expect(failure).toMatchObject({ code: 'AUTH_FAILED', retryable: false, outcome: 'refused', message: expect.stringMatching(message) as unknown, advice: expect.stringContaining('SFDC_CLIENT_ID') as unknown });
    expect(`${failure.message} ${failure.advice} ${failure.stack}`).not.toMatch(/not-the-secret-at-all|BEGIN PRIVATE|eyJ/);
  });

  it('signs in anew after a sign-in that failed for a moment', async () => {
    await addFaults(sandbox, respond('POST /services/oauth2/token', { status: 503 }));
    const salesforce = salesforceAt(sandbox);
    expect(await failureOf(salesforce.check(never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
    await salesforce.check(never);
  });

  it('takes no page for a token', async () => {
    await addFaults(sandbox, respond('POST /services/oauth2/token', { status: 200, body: { hello: 'there' } }));
    expect(await failureOf(salesforceAt(sandbox).check(never))).toMatchObject({ code: 'UPSTREAM_NONSENSE', retryable: true });
  });

  it('signs in once for all who wait', async () => {
    const salesforce = salesforceAt(sandbox);
    await Promise.all(Array.from({ length: 8 }, () => salesforce.check(never)));
    expect(await signIns()).toHaveLength(1);
  });

  it('leaves the others their sign-in when one of those who wait is cancelled', async () => {
    await addFaults(sandbox, { route: 'POST /services/oauth2/token', delayMs: 150, effect: { kind: 'delay' } });
    const salesforce = salesforceAt(sandbox);
    const impatient = new AbortController();
    const cancelled = salesforce.check(impatient.signal).catch((error: unknown) => error);
    const patient = salesforce.check(never);
    const why = new Error('the step was cancelled');
    impatient.abort(why);
    expect(await cancelled).toBe(why);
    await patient;
    expect(await signIns()).toHaveLength(1);
  });
});

describe('a session that has expired', () => {
  it('is renewed once and the request repeated (REST)', async () => {
    const salesforce = salesforceAt(sandbox);
    await salesforce.check(never);
    await addFaults(sandbox, respond('PATCH /services/data/*', expired));
    const { leadId } = await salesforce.createLead(KEY, aLead, never);
    expect(await ledgerOf(sandbox, 'lead_created')).toEqual([expect.objectContaining({ id: leadId, externalId: KEY })]);
    expect(await signIns()).toHaveLength(2);
  });

  it('is renewed once and the request repeated (SOAP)', async () => {
    await addFaults(sandbox, { route: 'POST /services/Soap/*', effect: { kind: 'soap_session_expired' } });
    await salesforceAt(sandbox).convertLead({ leadId: '00Q5g00000KbA1XEAV' }, never);
    expect(await ledgerOf(sandbox, 'lead_converted')).toHaveLength(1);
    expect(await signIns()).toHaveLength(2);
  });

  it('is renewed once for all who meet it at the same time', async () => {
    const salesforce = salesforceAt(sandbox);
    await salesforce.check(never);
    // All are under way with the old session; some hear of its end when it has been renewed already.
    await addFaults(sandbox, ...[0, 0, 150, 300].map((delayMs) => ({ ...respond('GET /services/data/*', expired), delayMs })));
    await Promise.all(Array.from({ length: 4 }, () => salesforce.check(never)));
    expect(await signIns()).toHaveLength(2);
  });

  it('is given up when the new session is refused as well', async () => {
    await addFaults(sandbox, respond('GET /services/data/*', expired, 50));
    expect(await failureOf(salesforceAt(sandbox).check(never))).toMatchObject({ code: 'AUTH_FAILED', retryable: false });
    expect((await signIns()).length).toBeLessThanOrEqual(3);
  });

  it('says that the credentials no longer hold, not that Salesforce is down', async () => {
    const salesforce = salesforceAt(sandbox);
    await salesforce.check(never);
    await addFaults(sandbox, respond('GET /services/data/*', expired), respond('POST /services/oauth2/token', { status: 400, body: { error: 'invalid_grant', error_description: 'no client credentials user enabled' } }));
    expect(await failureOf(salesforce.check(never))).toMatchObject({ code: 'AUTH_FAILED', retryable: false, message: expect.stringContaining('no client credentials user enabled') as unknown });
  });
});

describe('requests to Salesforce', () => {
  it('know how much of the daily limit is used up', async () => {
    const salesforce = salesforceAt(sandbox);
    expect(salesforce.apiUsage?.()).toBeUndefined();
    await salesforce.check(never);
    await salesforce.check(never);
    expect(salesforce.apiUsage?.()).toEqual({ used: 2, limit: 15_000 });
  });

  it('are sent once: trying again is the step’s business', async () => {
    const salesforce = salesforceAt(sandbox);
    await salesforce.check(never);
    await addFaults(sandbox, respond('GET /services/data/*', { status: 503, body: [{ message: 'maintenance', errorCode: 'SERVER_UNAVAILABLE' }] }, 5));
    const before = (await requestsOf(sandbox)).length;
    await failureOf(salesforce.check(never));
    expect(await requestsOf(sandbox)).toHaveLength(before + 1);
  });

  it('time out', async () => {
    await addFaults(sandbox, { route: 'GET /services/data/*', effect: { kind: 'hang' } });
    expect(await failureOf(salesforceAt(sandbox, { UPSTREAM_TIMEOUT: '1s' }).check(never))).toMatchObject({ code: 'UPSTREAM_TIMEOUT', retryable: true, outcome: 'unknown' });
  });

  it('are not even sent when the step is cancelled already', async () => {
    const why = new Error('the step was cancelled');
    await expect(salesforceAt(sandbox).createLead(KEY, aLead, AbortSignal.abort(why))).rejects.toBe(why);
    expect(await requestsOf(sandbox)).toEqual([]);
  });

  it('fail plainly when nobody listens', async () => {
    await sandbox.close();
    expect(await failureOf(salesforceAt(sandbox).check(never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true, message: expect.stringContaining('cannot be reached') as unknown });
  });

  it('do not leave a lead twice when the answer to its creation is lost', async () => {
    await addFaults(sandbox, { route: 'PATCH /services/data/*', effect: { kind: 'drop_after' } });
    const salesforce = salesforceAt(sandbox);
    expect(await failureOf(salesforce.createLead(KEY, aLead, never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' });
    const { leadId } = await salesforce.createLead(KEY, aLead, never);
    expect((await recordsOf(sandbox, 'Lead')).filter((lead) => lead['Aftercall_Id__c'] === KEY).map(({ Id }) => Id)).toEqual([leadId]);
  });
});

describe('answers that are none', () => {
  const answer: [string, { status: number; body?: unknown; headers?: Record<string, string> }, object][] = [
    ['a login page', { status: 200, body: '<html>Log in</html>', headers: { 'content-type': 'text/html' } }, { code: 'UPSTREAM_NONSENSE' }],
    ['JSON that is cut off', { status: 200, body: '{"records":[', headers: { 'content-type': 'application/json' } }, { code: 'UPSTREAM_NONSENSE' }],
    ['a gateway’s error page', { status: 502, body: '<html>Bad gateway</html>', headers: { 'content-type': 'text/html' } }, { code: 'UPSTREAM_UNAVAILABLE' }],
    ['a gateway that asks to wait', { status: 429, body: 'slow down', headers: { 'content-type': 'text/plain', 'retry-after': '7' } }, { code: 'RATE_LIMITED', retryAfterMs: 7_000 }],
    ['maintenance with a time', { status: 503, body: [{ message: 'maintenance', errorCode: 'SERVER_UNAVAILABLE' }], headers: { 'retry-after': '30' } }, { code: 'UPSTREAM_UNAVAILABLE', retryAfterMs: 30_000 }],
    ['another address', { status: 302, headers: { location: 'https://elsewhere.example/' } }, { code: 'UPSTREAM_REJECTED', retryable: false }],
  ];
  it.each(answer)('%s', async (_title, given, expected) => {
    await addFaults(sandbox, respond('GET /services/data/*', given));
    expect(await failureOf(salesforceAt(sandbox).lookUp({ brn: '53912345K' }, never))).toMatchObject(expected);
  });
});

describe('a Salesforce that breaks off', () => {
  let server: Server;
  let onRequest: (request: IncomingMessage, response: ServerResponse) => void;
  let url: string;
  beforeEach(async () => {
    server = createServer((request, response) => {
      if (request.url?.endsWith('/token')) return void response.setHeader('content-type', 'application/json').end(JSON.stringify({ access_token: 'token', instance_url: url }));
      onRequest(request, response);
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterEach(
    () =>
      new Promise<void>((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  );

  it('in the middle of an answer fails that request, and nothing else', async () => {
    onRequest = (_request, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': '500' }).write('{"records":');
      setImmediate(() => response.destroy());
    };
    expect(await failureOf(salesforceAt({ url }).lookUp({ brn: '53912345K' }, never))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', retryable: true });
  });

  it('sees the request end when its step is cancelled', async () => {
    const arrived = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    onRequest = (request) => {
      request.socket.once('close', () => closed.resolve());
      arrived.resolve();
    };
    const step = new AbortController();
    const work = salesforceAt({ url }).createLead(KEY, aLead, step.signal).catch((error: unknown) => error);
    await arrived.promise;
    const why = new Error('the step was cancelled');
    step.abort(why);
    expect(await work).toBe(why);
    await closed.promise;
  });
});
