import { createHmac } from 'node:crypto';
import { request as httpRequest } from 'node:http';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import express from 'express';
import { listen, type RunningApi } from '../../src/api/app.ts';
import { problemHandler } from '../../src/api/problems.ts';
import { retellWebhookRouter } from '../../src/api/retell-webhook.ts';
import { loadConfig } from '../../src/config.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createInbox, type Inbox } from '../../src/db/inbox.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { complete } from '../support/config.ts';
import { anyDatabase } from '../support/postgres.ts';

const KEY = 'key_5f0c9a1e3b7d42688f1a';
const OTHER_KEY = 'key_77777777777777777777';

let db: Database;
let inbox: Inbox;
let api: RunningApi;
let counts: Record<string, number>;
let kicks: number;

beforeAll(async () => {
  db = await openDatabase(await anyDatabase());
  await migrate(db);
  inbox = createInbox(db, createKeyRing(`k1:${Buffer.alloc(32, 7).toString('base64')}`));
  const app = express();
  const keys: Record<string, string> = { default: KEY, acme: OTHER_KEY };
  app.use(
    retellWebhookRouter({
      keyOf: async (project = 'default') => (keys[project] === undefined ? undefined : { project, key: keys[project] }),
      inbox,
      kick: () => void (kicks += 1),
      count: (outcome) => void (counts[outcome] = (counts[outcome] ?? 0) + 1),
    }),
  );
  app.use(problemHandler(createLog({ ...loadConfig(complete), LOG_LEVEL: 'error' }, 'test')));
  api = await listen(app, { host: '127.0.0.1', port: 0 });
});
afterAll(async () => {
  await api?.close();
  await db?.destroy();
});
beforeEach(async () => {
  counts = {};
  kicks = 0;
  await db.deleteFrom('inbox').execute();
});

/** As OpenSSL does it: `printf '%s%s' "$body" "$ms" | openssl dgst -sha256 -hmac "$key"`. */
const VECTOR = {
  body: '{"event":"call_started","call":{"call_id":"call_1","call_status":"ongoing"}}',
  ms: '1767225600000',
  mac: '17d989b2606e5bc01677743cff95da17c43861f04d0de441b1c11522497c94f1',
};

const signed = (body: string | Buffer, { key = KEY, atMs = Date.now() }: { key?: string; atMs?: number } = {}): string => `v=${atMs},d=${createHmac('sha256', key).update(body).update(String(atMs)).digest('hex')}`;

const post = (body: string | Buffer, { signature = signed(body), path = '/webhooks/retell', headers = {} }: { signature?: string | undefined; path?: string; headers?: Record<string, string> } = {}): Promise<Response> =>
  fetch(`${api.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json', ...(signature === '' ? {} : { 'x-retell-signature': signature }), ...headers }, body });

const event = (name: string, call: object = {}): string => JSON.stringify({ event: name, call: { call_id: 'call_1', call_type: 'phone_call', call_status: 'ongoing', direction: 'outbound', from_number: '+15550100', to_number: '+15550101', start_timestamp: 1_767_225_600_000, ...call } });
const rows = () => db.selectFrom('inbox').selectAll().orderBy('event_id').execute();

describe('the signature', () => {
  it('is HMAC-SHA256 over the raw bytes and the time, as another program makes it', async () => {
    expect(createHmac('sha256', KEY).update(VECTOR.body).update(VECTOR.ms).digest('hex')).toBe(VECTOR.mac);
    // Right, and too old by now.
    const answer = await post(VECTOR.body, { signature: `v=${VECTOR.ms},d=${VECTOR.mac}` });
    expect([answer.status, ((await answer.json()) as { detail: string }).detail]).toEqual([401, 'The event is older than five minutes, or of a clock that goes wrong.']);
  });

  it('is over the bytes as they came, whatever JSON makes of them', async () => {
    const body = Buffer.from('{ "event" : "call_started",\n  "call": {"call_id":"call_\\u00e9", "call_status":"ongoing", "agent_name":"Zoë 🎧", "start_timestamp": 1.7672256e12} }\n');
    expect((await post(body)).status).toBe(204);
    expect((await rows())[0]?.event_id).toMatch(/^call_é:call_started:/);
  });

  it.each([
    ['299 s ago', -299_000, 204],
    ['299 s ahead', 299_000, 204],
    ['301 s ago', -301_000, 401],
    ['301 s ahead', 301_000, 401],
    ['in seconds instead of ms', -Math.round(Date.now() * 0.999), 401],
  ])('counts for five minutes: %s', async (_when, offsetMs, status) => {
    const body = event('call_started');
    expect((await post(body, { signature: signed(body, { atMs: Date.now() + offsetMs }) })).status).toBe(status);
    expect(await rows()).toHaveLength(status === 204 ? 1 : 0);
  });

  const body = event('call_started');
  it.each<[string, () => string]>([
    ['of another key', () => signed(body, { key: OTHER_KEY })],
    ['of another body', () => signed(body.replace('ongoing', 'ongoinG'))],
    ['with another time', () => signed(body).replace(/^v=\d+/, `v=${Date.now() + 1}`)],
    ['with a changed digit', () => signed(body).replace(/.$/, (digit) => (digit === '0' ? '1' : '0'))],
    ['cut short', () => signed(body).slice(0, -2)],
    ['that is too long', () => `${signed(body)}00`],
    ['without a time', () => signed(body).replace(/^v=\d+,/, '')],
    ['of the time alone', () => `v=${Date.now()},d=`],
    ['that is not there', () => ''],
    ['in the way of others', () => `t=${Date.now()},v1=${'0'.repeat(64)}`],
  ])('is refused %s', async (_what, signature) => {
    expect((await post(body, { signature: signature() })).status).toBe(401);
    expect(await rows()).toEqual([]);
    expect(counts).toEqual({ refused: 1 });
    expect(kicks).toBe(0);
  });

  it("of one project's account is none of another's", async () => {
    expect((await post(body, { path: '/webhooks/retell/acme' })).status).toBe(401);
    expect((await post(body, { path: '/webhooks/retell/acme', signature: signed(body, { key: OTHER_KEY }) })).status).toBe(204);
    expect(await rows()).toMatchObject([{ project: 'acme' }]);
  });

  it('tells nobody whether a project exists', async () => {
    const [known, unknown] = await Promise.all(['acme', 'nowhere'].map(async (project) => post(body, { path: `/webhooks/retell/${project}` })));
    expect([known?.status, unknown?.status]).toEqual([401, 401]);
    const detail = async (answer: Response | undefined): Promise<string> => ((await answer?.json()) as { detail: string }).detail;
    expect(await detail(known)).toBe(await detail(unknown));
  });

  it('that is replayed within its time changes nothing', async () => {
    const signature = signed(body);
    expect((await post(body, { signature })).status).toBe(204);
    expect((await post(body, { signature })).status).toBe(204);
    expect(await rows()).toHaveLength(1);
    expect(counts).toEqual({ accepted: 1, duplicate: 1 });
    expect(kicks).toBe(1);
  });
});

describe('an event', () => {
  const whole = {
    call_status: 'ended',
    agent_id: 'agent_1',
    end_timestamp: 1_767_225_661_500,
    duration_ms: 61_500,
    disconnection_reason: 'user_hangup',
    transcript: 'Agent: Good morning, this is a secret\n',
    transcript_object: [{ role: 'agent', content: 'Good morning, this is a secret', words: [{ word: 'Good', start: 0.1, end: 0.3 }] }],
    transcript_with_tool_calls: [{ role: 'tool_call_invocation', arguments: '{"secret":true}' }],
    recording_url: 'https://recordings.example.com/secret.wav',
    public_log_url: 'https://logs.example.com/secret.txt',
    retell_llm_dynamic_variables: { account: 'secret' },
    metadata: { aftercall_project: 'default', aftercall_voice_call: 'vc_1', note: 'secret' },
    call_analysis: { call_summary: 'The secret was told.', in_voicemail: false, user_sentiment: 'Positive', call_successful: true, custom_analysis_data: { it: 'secret' } },
    call_cost: { combined_cost: 12.5, product_costs: [{ product: 'elevenlabs_tts', cost: 12.5 }], total_duration_seconds: 62, total_duration_unit_price: 0.2 },
  };

  it('is kept as what was observed, without words, links and variables', async () => {
    expect((await post(event('call_analyzed', whole))).status).toBe(204);
    const [row] = await rows();
    expect(row).toMatchObject({
      project: 'default',
      source: 'retell',
      type: 'call_analyzed',
      delivered_at: null,
      body: {
        atMs: expect.any(Number),
        call: {
          providerCallId: 'call_1',
          status: 'ended',
          direction: 'outbound',
          voiceCallId: 'vc_1',
          agentId: 'agent_1',
          fromNumber: '+15550100',
          toNumber: '+15550101',
          startedAtMs: 1_767_225_600_000,
          endedAtMs: 1_767_225_661_500,
          durationMs: 61_500,
          disconnectionReason: 'user_hangup',
          analysis: { successful: true, voicemail: false, sentiment: 'Positive' },
          costCents: 12.5,
        },
      },
    });
    expect(JSON.stringify(row)).not.toContain('secret');
  });

  it('that is repeated with other contents is kept beside the first', async () => {
    await post(event('call_analyzed', whole));
    await post(event('call_analyzed', { ...whole, call_analysis: { ...whole.call_analysis, call_successful: false } }));
    expect(await rows()).toHaveLength(2);
  });

  it.each(['transcript_updated', 'transfer_started', 'transfer_bridged', 'transfer_cancelled', 'transfer_ended', 'an_event_of_next_year'])('%s is acknowledged and not kept', async (name) => {
    expect((await post(event(name, whole))).status).toBe(204);
    expect(await rows()).toEqual([]);
    expect(counts).toEqual({ ignored: 1 });
  });

  it('that asks which agent is to answer leaves that to the number', async () => {
    const answer = await post(JSON.stringify({ event: 'call_inbound', call_inbound: { agent_id: 'agent_1', from_number: '+15550101', to_number: '+15550100' } }));
    expect([answer.status, await answer.json()]).toEqual([200, { call_inbound: {} }]);
    expect(await rows()).toEqual([]);
  });

  it('of a call that was placed for another project is refused', async () => {
    expect((await post(event('call_started', { metadata: { aftercall_project: 'acme', aftercall_voice_call: 'vc_1' } }))).status).toBe(403);
    expect(await rows()).toEqual([]);
  });

  it('of a call that we did not place is kept as such', async () => {
    await post(event('call_started', { direction: 'inbound', metadata: { theirs: 'x' } }));
    expect((await rows())[0]?.body).toMatchObject({ call: { direction: 'inbound' } });
    expect(JSON.stringify(await rows())).not.toMatch(/voiceCallId|theirs/);
  });

  it('whose less important fields cannot be read is taken all the same', async () => {
    expect((await post(event('call_ended', { agent_id: 7, duration_ms: 'long', disconnection_reason: null, call_cost: 'much', transcript_object: 'none', metadata: [] }))).status).toBe(204);
    expect((await rows())[0]?.body).toMatchObject({ call: { providerCallId: 'call_1', status: 'ongoing' } });
  });

  it.each<[string, string | Buffer]>([
    ['is not JSON', '{"event":'],
    ['is not UTF-8', Buffer.from([0x7b, 0xff, 0xfe, 0x7d])],
    ['is empty', ''],
    ['is a list', '[]'],
    ['has no event', '{"call":{"call_id":"c","call_status":"ended"}}'],
    ['has no call', '{"event":"call_ended"}'],
    ['has a call without an ID', '{"event":"call_ended","call":{"call_status":"ended"}}'],
    ['has a call in no known state', '{"event":"call_ended","call":{"call_id":"c","call_status":"asleep"}}'],
  ])('is refused when it %s', async (_what, body) => {
    expect((await post(body)).status).toBe(400);
    expect(await rows()).toEqual([]);
  });

  it('may bring the words of a call of hours', async () => {
    const words = Array.from({ length: 35_000 }, (_, at) => ({ word: 'word ', start: at * 0.4, end: at * 0.4 + 0.3 }));
    const body = event('call_ended', { ...whole, transcript_object: [{ role: 'agent', content: 'word '.repeat(35_000), words }], transcript_with_tool_calls: [{ role: 'agent', content: 'word '.repeat(35_000), words }] });
    expect(body.length).toBeGreaterThan(3_000_000);
    expect((await post(body)).status).toBe(204);
  });

  it('that is too large is refused', async () => {
    expect((await post(event('call_ended', { transcript: 'x'.repeat(8 * 1024 * 1024) }))).status).toBe(413);
  });

  it('is not read at all from somebody who has not signed it', async () => {
    const status = await new Promise<number>((resolve, reject) => {
      const request = httpRequest(`${api.url}/webhooks/retell`, { method: 'POST', headers: { 'content-length': '8000000' } }, (response) => {
        resolve(response.statusCode ?? 0);
        request.destroy();
      });
      request.on('error', reject);
      // Of the eight megabytes that it promises, none is ever sent.
      request.flushHeaders();
    });
    expect(status).toBe(401);
  });

  it('is not taken compressed', async () => {
    expect((await post(event('call_ended'), { headers: { 'content-encoding': 'gzip' } })).status).toBe(415);
  });
});

it('is not taken, and is to be sent again, while the database hangs and thousands wait for it already', async () => {
  const { promise: hanging, resolve: goOn } = Promise.withResolvers<void>();
  const { promise: hangs, resolve: hangsNow } = Promise.withResolvers<void>();
  // It is the only connection.
  const held = db.transaction().execute(async (tx) => {
    await tx.selectFrom('inbox').select('event_id').execute();
    hangsNow();
    await hanging;
  });
  await hangs;
  // Two are being written, as nobody waited when they came.
  const kept = Array.from({ length: 5_002 }, (_, index) => inbox.receive({ project: 'default', source: 'retell', eventId: `waits-${index}`, type: 'call_started', body: {} }));
  const refused = await post(event('call_started'));
  goOn();
  await held;
  expect([refused.status, refused.headers.get('retry-after'), counts, kicks]).toEqual([503, '5', {}, 0]);
  expect((await Promise.all(kept)).every(Boolean)).toBe(true);
  // Once those are written there is room again.
  expect((await post(event('call_started'))).status).toBe(204);
  expect(await rows()).toHaveLength(5_003);
});
