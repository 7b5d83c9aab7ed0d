import { createHmac } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';
import { z } from 'zod';
import { RETELL_ACCOUNT } from '../../sandbox/retell/server.ts';
import { RetellCallSchema, RetellConcurrencySchema } from '../../src/adapters/retell/retell.schema.ts';
import { addFaults, clearFaults, ledgerOf, startRetellSandbox } from '../support/sandbox.ts';
import { until } from '../support/until.ts';

/**
 * The stand-in, held against what Retell publishes: the field names, types and units of the phone call in the types of
 * its own SDK (`resources/call`, `resources/concurrency`), and the events and signature of its webhook documentation.
 */

const Words = z.array(z.strictObject({ word: z.string(), start: z.number(), end: z.number() }));
const Utterance = z.strictObject({ role: z.enum(['agent', 'user', 'transfer_target']), content: z.string(), words: Words });
const Outline = {
  call_type: z.literal('phone_call'),
  call_id: z.string(),
  agent_id: z.string(),
  agent_version: z.number(),
  agent_name: z.string().optional(),
  call_status: z.enum(['registered', 'not_connected', 'ongoing', 'ended', 'error']),
  direction: z.enum(['inbound', 'outbound']),
  from_number: z.string(),
  to_number: z.string(),
  data_storage_setting: z.enum(['everything', 'everything_except_pii', 'basic_attributes_only']).optional(),
  opt_in_signed_url: z.boolean().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  retell_llm_dynamic_variables: z.record(z.string(), z.string()).optional(),
  telephony_identifier: z.strictObject({ twilio_call_sid: z.string().optional() }).optional(),
  start_timestamp: z.number().int().min(1.6e12).optional(),
  end_timestamp: z.number().int().min(1.6e12).optional(),
  duration_ms: z.number().optional(),
  disconnection_reason: z.string().optional(),
  transfer_destination: z.string().optional(),
  public_log_url: z.url().optional(),
  latency: z.strictObject({ e2e: z.strictObject({ p50: z.number(), p90: z.number(), p95: z.number(), p99: z.number(), min: z.number(), max: z.number(), num: z.number(), values: z.array(z.number()) }) }).optional(),
  llm_token_usage: z.strictObject({ average: z.number(), num_requests: z.number(), values: z.array(z.number()) }).optional(),
  call_cost: z
    .strictObject({ combined_cost: z.number(), product_costs: z.array(z.strictObject({ product: z.string(), cost: z.number(), unit_price: z.number().optional() })), total_duration_seconds: z.number(), total_duration_unit_price: z.number() })
    .optional(),
  call_analysis: z
    .strictObject({ call_summary: z.string().optional(), in_voicemail: z.boolean().optional(), user_sentiment: z.enum(['Negative', 'Positive', 'Neutral', 'Unknown']).optional(), call_successful: z.boolean().optional(), custom_analysis_data: z.unknown() })
    .optional(),
};
/** Version 3 of the list leaves out what was said and the recordings. */
const ListedCall = z.strictObject(Outline);
const Call = z.strictObject({
  ...Outline,
  transcript: z.string().optional(),
  transcript_object: z.array(Utterance).optional(),
  transcript_with_tool_calls: z
    .array(
      z.union([
        Utterance,
        z.strictObject({ role: z.literal('tool_call_invocation'), tool_call_id: z.string(), name: z.string(), arguments: z.string() }),
        z.strictObject({ role: z.literal('tool_call_result'), tool_call_id: z.string(), content: z.string() }),
        z.strictObject({ role: z.literal('node_transition'), former_node_id: z.string(), former_node_name: z.string(), new_node_id: z.string(), new_node_name: z.string() }),
      ]),
    )
    .optional(),
  recording_url: z.url().optional(),
  recording_multi_channel_url: z.url().optional(),
});
type Call = z.output<typeof Call>;

interface Hooked {
  event: string;
  call: Call;
  signature: string;
  raw: string;
}

let folder: string;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let receiver: Server;
let own: string;
let hooked: Hooked[] = [];
let answerWith = 204;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-retell-'));
  receiver = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const raw = Buffer.concat(chunks).toString();
      hooked.push({ ...(JSON.parse(raw) as { event: string; call: Call }), signature: String(request.headers['x-retell-signature']), raw });
      response.writeHead(answerWith).end();
    });
  });
  await new Promise<void>((resolve) => receiver.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  receiver?.close();
  await rm(folder, { recursive: true, force: true });
});
beforeEach(async () => {
  hooked = [];
  answerWith = 204;
  own = await mkdtemp(join(folder, 'each-'));
  retell = await startRetellSandbox(own, { speed: { ringMs: 20, talkMs: 40, analysisMs: 20 }, webhookUrl: `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/` });
});
afterEach(() => retell.close());

const ask = async (method: string, path: string, body?: object, key = RETELL_ACCOUNT.key): Promise<{ status: number; body: Record<string, unknown> }> => {
  const answer = await fetch(`${retell.url}${path}`, { method, headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' }, ...(body ? { body: JSON.stringify(body) } : {}) });
  const text = await answer.text();
  return { status: answer.status, body: text ? (JSON.parse(text) as Record<string, unknown>) : {} };
};
const place = async (to = '+15550110', more: object = {}): Promise<Call> => Call.parse((await ask('POST', '/v2/create-phone-call', { from_number: '+15550100', to_number: to, ...more })).body);
const get = async (id: string): Promise<Call> => Call.parse((await ask('GET', `/v2/get-call/${id}`)).body);
const analysed = async (id: string): Promise<Call> => {
  await until(`${id} is analysed`, async () => (await get(id)).call_analysis !== undefined);
  return get(id);
};
const eventsOf = (id: string): string[] => hooked.filter(({ call }) => call.call_id === id).map(({ event }) => event);

describe('the stand-in for Retell', () => {
  it('shows a call, at each point of its life, with the fields and units of the published types', async () => {
    const placed = await place('+15550180', { metadata: { order: '7' }, retell_llm_dynamic_variables: { first_name: 'Leila' } });
    expect(placed).toMatchObject({ call_status: 'registered', direction: 'outbound', metadata: { order: '7' }, retell_llm_dynamic_variables: { first_name: 'Leila' } });
    expect([placed.start_timestamp, placed.transcript_object, placed.call_cost]).toEqual([undefined, undefined, undefined]);
    const over = await analysed(placed.call_id);
    expect(over).toMatchObject({ call_status: 'ended', disconnection_reason: 'user_hangup', call_analysis: { call_successful: true } });
    // Seconds in words, milliseconds in the call, cents in its cost.
    const lastWord = over.transcript_object!.at(-1)!.words.at(-1)!;
    expect(lastWord.end * 1_000).toBeLessThanOrEqual(over.duration_ms!);
    expect(lastWord.end * 1_000).toBeGreaterThan(over.duration_ms! - 2_000);
    expect(over.call_cost!.combined_cost).toBeCloseTo(over.call_cost!.product_costs.reduce((sum, { cost }) => sum + cost, 0), 6);
    expect(over.call_cost!.combined_cost).toBeGreaterThan(1);
    expect(RetellCallSchema.parse(over)).toMatchObject({ call_id: placed.call_id });
  });

  it.each([
    ['+15550110', 'ended', 'agent_hangup', ['call_started', 'call_ended', 'call_analyzed']],
    ['+15550190', 'not_connected', 'dial_busy', ['call_ended', 'call_analyzed']],
    ['+15550191', 'not_connected', 'dial_no_answer', ['call_ended', 'call_analyzed']],
    ['+15550193', 'not_connected', 'dial_failed', ['call_ended', 'call_analyzed']],
    ['+15550192', 'ended', 'voicemail_reached', ['call_started', 'call_ended', 'call_analyzed']],
    ['+15550199', 'error', 'error_llm_websocket_lost_connection', ['call_started', 'call_ended', 'call_analyzed']],
  ])('has %s end as %s by %s, and tells of it by %j', async (to, status, reason, events) => {
    const { call_id: id } = await place(to);
    await analysed(id);
    await until('all webhooks are there', () => eventsOf(id).length === events.length);
    // They do not wait for each other, so one may overtake another.
    expect(eventsOf(id).toSorted()).toEqual(events.toSorted());
    expect(await get(id)).toMatchObject({ call_status: status, disconnection_reason: reason });
    // Only the last one has the analysis.
    for (const { event, call } of hooked.filter(({ call }) => call.call_id === id)) expect(call.call_analysis !== undefined).toBe(event === 'call_analyzed');
  });

  it('never analyses a number that ends with 94, and lets one that ends with 95 talk until it is stopped', async () => {
    const [never, long] = [await place('+15550194'), await place('+15550195')];
    await until('the first has ended', async () => (await get(never.call_id)).call_status === 'ended');
    await until('the second talks', async () => (await get(long.call_id)).call_status === 'ongoing');
    expect(await ask('POST', `/v2/stop-call/${long.call_id}`)).toMatchObject({ status: 204 });
    expect(await analysed(long.call_id)).toMatchObject({ disconnection_reason: 'manual_stopped' });
    expect((await get(never.call_id)).call_analysis).toBeUndefined();
    expect(eventsOf(never.call_id)).not.toContain('call_analyzed');
    expect((await ask('POST', `/v2/stop-call/${long.call_id}`)).status).toBe(400);
  });

  it('signs the raw bytes with the time, as Retell documents it', async () => {
    const { call_id: id } = await place();
    await analysed(id);
    await until('a webhook is there', () => hooked.length > 0);
    const [, ms, digest] = /^v=(\d+),d=([0-9a-f]{64})$/.exec(hooked[0]!.signature)!;
    expect(createHmac('sha256', RETELL_ACCOUNT.key).update(hooked[0]!.raw + ms!).digest('hex')).toBe(digest);
    expect(Math.abs(Date.now() - Number(ms))).toBeLessThan(60_000);
    const before = hooked.length;
    await retell.control('webhooks/send', { event: 'call_ended', callId: id, tamper: true });
    expect(hooked).toHaveLength(before + 1);
    const [, badMs, badDigest] = /^v=(\d+),d=([0-9a-f]{64})$/.exec(hooked.at(-1)!.signature)!;
    expect(createHmac('sha256', RETELL_ACCOUNT.key).update(hooked.at(-1)!.raw + badMs!).digest('hex')).not.toBe(badDigest);
  });

  it('loses, repeats and reorders webhooks when it is told to', async () => {
    await retell.control('webhooks', { loseEvents: ['call_started'], times: 2, reverse: 2 });
    const { call_id: id } = await place();
    await analysed(id);
    await until('all are there', () => eventsOf(id).length === 4);
    expect(eventsOf(id).toSorted()).toEqual(['call_analyzed', 'call_analyzed', 'call_ended', 'call_ended']);
    expect(await ledgerOf(retell, 'webhook_lost')).toMatchObject([{ event: 'call_started', callId: id }]);
  });

  it('sends one that is not taken three times more, and then no more', async () => {
    answerWith = 503;
    await retell.control('webhooks', { loseEvents: ['call_ended', 'call_analyzed'], retryMs: 5 });
    const { call_id: id } = await place();
    await until('it gives up', async () => (await ledgerOf(retell, 'webhook_given_up')).length === 1);
    expect(eventsOf(id)).toEqual(['call_started', 'call_started', 'call_started', 'call_started']);
  });

  it.each([
    ['no key', 401, {}, 'nobody'],
    ['a number that is not E.164', 400, { to_number: '5550110' }, undefined],
    ['no number', 400, { to_number: undefined }, undefined],
    ['variables that are no texts', 400, { retell_llm_dynamic_variables: { age: 7 } }, undefined],
    ["a number that is not the account's", 422, { from_number: '+4930000000' }, undefined],
    ['an agent that is not there', 422, { override_agent_id: 'agent_gone' }, undefined],
  ])('refuses %s with %i, and calls nobody', async (_what, status, change, key) => {
    const answer = await ask('POST', '/v2/create-phone-call', { from_number: '+15550100', to_number: '+15550110', ...change }, key);
    expect(answer.status).toBe(status);
    expect(answer.body).toMatchObject({ status: 'error', message: expect.any(String) });
    expect(await ledgerOf(retell, 'call_placed')).toEqual([]);
  });

  it('answers 402 and 429 by fault, and 429 above its limits', async () => {
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'no_funds' } }, { route: 'POST /v2/create-phone-call', effect: { kind: 'throttled' } });
    const create = () => ask('POST', '/v2/create-phone-call', { from_number: '+15550100', to_number: '+15550195' });
    expect([(await create()).status, (await create()).status]).toEqual([402, 429]);
    await clearFaults(retell);
    await retell.control('limits', { concurrency: 2 });
    expect([(await create()).status, (await create()).status, (await create()).status]).toEqual([201, 201, 429]);
    const limits = RetellConcurrencySchema.parse((await ask('GET', '/get-concurrency')).body);
    expect(limits).toMatchObject({ current_concurrency: 2, concurrency_limit: 2 });
    expect(await (await fetch(`${retell.url}/_sandbox/lines`)).json()).toMatchObject({ mostAtOnce: 2 });
    await retell.control('limits', { concurrency: 20, perSecond: 1 });
    // Two were begun in this second already, or one is now.
    const statuses = [(await create()).status, (await create()).status];
    expect(statuses).toContain(429);
  });

  it('places the call and drops the connection', async () => {
    await addFaults(retell, { route: 'POST /v2/create-phone-call', effect: { kind: 'drop_after' } });
    await expect(place('+15550110', { metadata: { key: 'lost' } })).rejects.toThrow();
    const found = await ask('POST', '/v3/list-calls', { filter_criteria: { metadata: [{ type: 'string', op: 'eq', key: 'key', value: 'lost' }] } });
    expect(found.body['items']).toHaveLength(1);
  });

  it('lists by filters, in pages, without what was said, and as late as it is told to', async () => {
    const at = Date.now() - 3_600_000;
    await retell.control('calls', { count: 5, startedAtMs: at, everyMs: 1_000, metadata: { batch: 'b' } });
    const criteria = { metadata: [{ type: 'string', op: 'eq', key: 'batch', value: 'b' }], start_timestamp: { type: 'range', op: 'bt', value: [at, at + 3_999] }, call_status: { type: 'enum', op: 'in', value: ['ended'] } };
    const pages: string[][] = [];
    for (let key: unknown, more = true; more; ) {
      const { body } = await ask('POST', '/v3/list-calls', { filter_criteria: criteria, limit: 3, sort_order: 'ascending', include_total: true, ...(key ? { pagination_key: key } : {}) });
      pages.push((body['items'] as unknown[]).map((item) => String(ListedCall.parse(item).start_timestamp! - at)));
      expect(body['total']).toBe(4);
      key = body['pagination_key'];
      more = body['has_more'] === true;
      expect(key !== undefined).toBe(more);
    }
    expect(pages).toEqual([['0', '1000', '2000'], ['3000']]);

    await retell.control('listing', { lagMs: 600_000 });
    const { call_id: id } = await place('+15550195', { metadata: { batch: 'late' } });
    const found = async (): Promise<number> => ((await ask('POST', '/v3/list-calls', { filter_criteria: { call_id: { type: 'string', op: 'eq', value: id } } })).body['items'] as unknown[]).length;
    expect(await found()).toBe(0);
    await retell.control('listing', { lagMs: 0 });
    expect(await found()).toBe(1);
    expect((await ask('POST', '/v3/list-calls', { filter_criteria: { colour: { type: 'string', op: 'eq', value: 'red' } } })).status).toBe(400);
    expect((await ask('POST', '/v3/list-calls', { pagination_key: 'elsewhere' })).status).toBe(400);
  });

  it('serves recordings by links that expire, and none where the storage setting keeps none', async () => {
    const { call_id: id } = await place('+15550185');
    const over = await analysed(id);
    const [mixed, apart] = await Promise.all([fetch(over.recording_url!), fetch(over.recording_multi_channel_url!)]);
    expect([mixed.status, apart.status]).toEqual([200, 200]);
    // Two channels of the same length.
    const [one, two] = [(await mixed.arrayBuffer()).byteLength, (await apart.arrayBuffer()).byteLength];
    expect(two / one).toBeCloseTo(2, 1);
    const rest = await fetch(over.recording_url!, { headers: { range: `bytes=${one - 10}-` } });
    expect([rest.status, (await rest.arrayBuffer()).byteLength, rest.headers.get('content-range')]).toEqual([206, 10, `bytes ${one - 10}-${one - 1}/${one}`]);

    await retell.control('recordings', { lifetimeMs: 0 });
    expect((await fetch((await get(id)).recording_url!)).status).toBe(403);
    expect((await fetch(over.recording_url!.replace(/signature=.*/, 'signature=0'))).status).toBe(403);

    await ask('PATCH', `/v2/update-call/${id}`, { data_storage_setting: 'basic_attributes_only' });
    const stripped = await get(id);
    expect([stripped.recording_url, stripped.transcript_object, stripped.call_analysis?.call_summary]).toEqual([undefined, undefined, undefined]);
    expect((await ask('DELETE', `/v2/delete-call/${id}`)).status).toBe(204);
    expect((await ask('GET', `/v2/get-call/${id}`)).status).toBe(404);
  });

  it('has somebody ring the agent, holds a call, and keeps its calls over a restart', async () => {
    const [inbound] = (await retell.control('calls', { from: '+15550150' })) as Call[];
    expect(await analysed(inbound!.call_id)).toMatchObject({ direction: 'inbound', from_number: '+15550150', call_status: 'ended' });
    expect(inbound!.metadata).toBeUndefined();
    const held = await place('+15550111');
    await retell.control(`calls/${held.call_id}/hold`, {});
    await retell.close();
    retell = await startRetellSandbox(own, {});
    expect(await get(inbound!.call_id)).toMatchObject({ call_status: 'ended' });
    // Nobody is left at the other end.
    expect(await analysed(held.call_id)).toMatchObject({ call_status: 'not_connected', disconnection_reason: 'error_retell' });
    expect(await (await fetch(`${retell.url}/_sandbox/lines`)).json()).toMatchObject({ onALine: [] });
  });
});
