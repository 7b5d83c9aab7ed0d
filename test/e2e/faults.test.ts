import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { Fault } from '../../sandbox/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { CallRow } from '../../src/db/calls.ts';
import type { ErrorCode } from '../../src/domain/errors.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

let server: DevServer;
let system: TestSystem;
let made = 0;

beforeAll(async () => {
  server = await startTemporalProcess();
  // Waits that upstreams ask for are honoured; our own are short.
  system = await startSystem({ server, env: { RETRY_FIRST: '1s', RETRY_MAX: '1s', UPSTREAM_TIMEOUT: '5s', SPEECH_TIMEOUT: '5s', MODEL_TIMEOUT: '5s' } });
  // The stand-in learns its recordings at the first one it hears, which takes longer than any after it.
  await process(undefined, 'completed', 'needs_attention');
});
afterAll(async () => {
  await system?.stop();
  await server?.stop();
});
afterEach(async () => {
  for (const stand of [system.sandbox.webex, system.sandbox.openai, system.sandbox.salesforce]) await clearFaults(stand);
});

const sample = (title: string) => SAMPLE_CALLS.find((call) => call.title.includes(title))!;

/** A new call with the words of a sample. */
const aCall = async (title = 'qualified'): Promise<string> => {
  made += 1;
  const prefix = `f${String(made).padStart(7, '0')}`;
  const at = Date.now() - 3_600_000 - made * 1_000;
  await fetch(`${system.sandbox.webex.url}/_sandbox-bulk`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ count: 1, fromMs: at, toMs: at + 1, recordingOf: sample(title).taskId, prefix }),
  });
  return `${prefix}-0000-4000-8000-000000000000`;
};

const process = async (title: string | undefined, ...ends: CallRow['state'][]): Promise<CallRow> => {
  const callId = await aCall(title);
  await system.startCall(callId);
  return system.until(callId, ...ends);
};

const respond = (route: string, status: number, body: unknown, headers: Record<string, string> = {}): Fault => ({ route, effect: { kind: 'respond', status, body, headers } });
const openAIError = (code: string | null, message: string) => ({ error: { message, type: code ?? 'server_error', param: null, code } });

const RECORDING = 'GET /recordings/*';
const SPEECH = 'POST /v1/audio/transcriptions';
const MODEL = 'POST /v1/chat/completions';

/** What this call owes by our books, beside what the provider says it billed for it. */
const booksOf = async (call: CallRow, before: number) => {
  const ours = await system.wiring.costs.list(call.project, call.callId);
  const billed = (await ledgerOf(system.sandbox.openai)).slice(before);
  const settled = ours.filter((cost) => cost.state === 'settled');
  return {
    settledMicroUsd: settled.reduce((sum, cost) => sum + cost.microUsd, 0),
    unsettled: ours.length - settled.length,
    billedMicroUsd: billed.reduce((sum, entry) => sum + Number(entry['microUsd']), 0),
    billedRequests: billed.length,
    requests: ours.length,
  };
};

describe('faults that mend themselves', () => {
  const cases: [string, 'webex' | 'openai' | 'salesforce', Fault[]][] = [
    ['a truncated recording', 'webex', [{ route: RECORDING, effect: { kind: 'truncated' } }]],
    ['an expired link', 'webex', [{ route: RECORDING, effect: { kind: 'expired' } }]],
    ['a recording without a length', 'webex', [{ route: RECORDING, effect: { kind: 'no_length' } }]],
    ['a dropped download', 'webex', [{ route: RECORDING, effect: { kind: 'drop_before' } }]],
    ['a download that falls silent', 'webex', [{ route: RECORDING, effect: { kind: 'stall' } }]],
    ['a download that never begins', 'webex', [{ route: RECORDING, effect: { kind: 'hang' } }]],
    ['captures that never come', 'webex', [{ route: 'POST /v1/captures/query', effect: { kind: 'hang' } }]],
    ['a rate-limited look for captures (seconds)', 'webex', [respond('POST /v1/captures/query', 429, {}, { 'retry-after': '1' })]],
    ['a rate-limited look for captures (date)', 'webex', [respond('POST /v1/captures/query', 429, {}, { 'retry-after': new Date(Date.now() + 1_000).toUTCString() })]],
    ['a revoked Webex token', 'webex', [respond('POST /v1/captures/query', 401, { trackingId: 'x', error: { key: 401, message: [{ description: 'Unauthorized' }] } })]],
    ['captures that are no JSON', 'webex', [respond('POST /v1/captures/query', 200, '<html>gateway</html>')]],
    ['speech: 429 by rate', 'openai', [respond(SPEECH, 429, openAIError('rate_limit_exceeded', 'slow down'), { 'retry-after': '1' })]],
    ['speech: 500', 'openai', [respond(SPEECH, 500, openAIError(null, 'oops'))]],
    ['speech: never answers', 'openai', [{ route: SPEECH, effect: { kind: 'hang' } }]],
    ['speech: an answer of another shape', 'openai', [respond(SPEECH, 200, { words: 7 })]],
    ['model: 429 by rate', 'openai', [respond(MODEL, 429, openAIError('rate_limit_exceeded', 'slow down'), { 'retry-after-ms': '200' })]],
    ['model: never answers', 'openai', [{ route: MODEL, effect: { kind: 'hang' } }]],
    ['model: 503', 'openai', [respond(MODEL, 503, openAIError(null, 'overloaded'))]],
    ['model: not JSON', 'openai', [{ route: MODEL, effect: { kind: 'nonsense' } }]],
    ['model: JSON of another shape', 'openai', [{ route: MODEL, effect: { kind: 'wrong_shape' } }]],
    ['model: cut off', 'openai', [{ route: MODEL, effect: { kind: 'cut_off' } }]],
    ['model: no usage', 'openai', [{ route: MODEL, effect: { kind: 'no_usage' }, times: 2 }]],
    ['Salesforce: expired session', 'salesforce', [respond('PATCH /services/data/*', 401, [{ message: 'expired', errorCode: 'INVALID_SESSION_ID' }])]],
    ['Salesforce: never answers', 'salesforce', [{ route: 'PATCH /services/data/*', effect: { kind: 'hang' } }]],
    ['Salesforce: a locked row', 'salesforce', [respond('PATCH /services/data/*', 400, [{ message: 'unable to obtain exclusive access', errorCode: 'UNABLE_TO_LOCK_ROW' }])]],
    ['Salesforce: unavailable', 'salesforce', [respond('PATCH /services/data/*', 503, [{ message: 'maintenance', errorCode: 'SERVER_UNAVAILABLE' }])]],
    ['Salesforce: the answer to the creation is lost', 'salesforce', [{ route: 'PATCH /services/data/*', effect: { kind: 'drop_after' } }]],
  ];

  it.each(cases)('%s: the call completes, with one lead and the right bill', async (_title, stand, faults) => {
    const billedBefore = (await ledgerOf(system.sandbox.openai)).length;
    await addFaults(system.sandbox[stand], ...faults);
    const call = await process(undefined, 'completed', 'needs_attention');
    expect(call).toMatchObject({ state: 'completed', result: 'processed', attention: null });
    const met = (await (await fetch(`${system.sandbox[stand].url}/_sandbox/faults`)).json()) as Fault[];
    expect(met.every(({ times }) => times === 0)).toBe(true);

    const { recording, crm } = await system.wiring.calls.getVersion(call);
    const stored = await readFile(join(system.folder, 'objects', recording!.key));
    expect({ bytes: stored.byteLength, sha256: createHash('sha256').update(stored).digest('hex') }).toEqual({ bytes: recording!.bytes, sha256: recording!.sha256 });

    const effects = await system.wiring.effects.list(call.project, call.callId);
    const created = (await ledgerOf(system.sandbox.salesforce, 'lead_created')).filter((entry) => entry['externalId'] === effects[0]!.key);
    expect(created.map(({ id }) => id)).toEqual([crm!.records.leadId]);

    const books = await booksOf(call, billedBefore);
    // A stand-in that was told to hide its usage cannot be held against our books.
    if (!_title.includes('no usage')) expect(books.settledMicroUsd).toBe(books.billedMicroUsd);
    // Whether a request that was never answered will be billed is not known: its reservation stays, for people to see.
    expect(books.unsettled).toBe(stand === 'openai' && (_title.startsWith('speech: an answer of another shape') || _title.includes('never answers')) ? 1 : 0);
  });

  it.each<[string, string, Partial<Fault> & Pick<Fault, 'effect'>]>([
    ['transcription', SPEECH, { effect: { kind: 'drop_after' } }],
    ['transcription', SPEECH, { effect: { kind: 'late', byMs: 6_000 } }],
    ['model', MODEL, { effect: { kind: 'drop_after' } }],
    ['model', MODEL, { effect: { kind: 'late', byMs: 6_000 } }],
  ])('keeps a reservation for a paid %s request whose answer was lost or came too late, and asks again', async (_kind, route, fault) => {
    const billedBefore = (await ledgerOf(system.sandbox.openai)).length;
    await addFaults(system.sandbox.openai, { route, ...fault });
    const call = await process(undefined, 'completed', 'needs_attention');
    expect(call.state).toBe('completed');
    const books = await booksOf(call, billedBefore);
    expect(books.unsettled).toBe(1);
    expect(books.requests).toBe(books.billedRequests);
  });

  it('notes the call on the lead that a duplicate rule names, and makes no second one', async () => {
    await addFaults(system.sandbox.salesforce, { route: 'PATCH /services/data/*/sobjects/Lead/*', effect: { kind: 'duplicates', matchId: '00Q5g00000KbA1XEAV' } });
    const before = (await ledgerOf(system.sandbox.salesforce, 'lead_created')).length;
    const call = await process(undefined, 'completed', 'needs_attention');
    expect((await system.wiring.calls.getVersion(call)).crm?.records).toMatchObject({ leadId: '00Q5g00000KbA1XEAV', taskId: expect.stringMatching(/^00T/) as unknown });
    expect((await ledgerOf(system.sandbox.salesforce, 'lead_created')).length).toBe(before);
  });

  it('converts once when the session expires on SOAP and the answer is lost', async () => {
    await addFaults(system.sandbox.salesforce, { route: 'POST /services/Soap/*', effect: { kind: 'soap_session_expired' } }, { route: 'POST /services/Soap/*', effect: { kind: 'drop_after' } });
    const call = await process('names a Lead ID', 'completed', 'needs_attention');
    expect(call.state).toBe('completed');
    const converted = await ledgerOf(system.sandbox.salesforce, 'lead_converted');
    expect(converted).toHaveLength(1);
    expect((await system.wiring.calls.getVersion(call)).crm?.records).toMatchObject({ leadId: converted[0]!['id'], opportunityId: expect.stringMatching(/^006/) as unknown });
  });

  it('earns no points with quotes that nobody said', async () => {
    await addFaults(system.sandbox.openai, { route: MODEL, effect: { kind: 'fabricated_quotes' } });
    const call = await process(undefined, 'completed', 'needs_attention');
    const { analysis } = await system.wiring.calls.getVersion(call);
    expect(analysis?.grading).toMatchObject({ total_score_percent: 0, pass: false });
    expect(analysis?.answers.filter(({ verdict }) => verdict === 'not_evidenced').length).toBeGreaterThan(3);
    expect(analysis?.answers.flatMap(({ rejected }) => rejected).every(({ why }) => why === 'not_in_transcript')).toBe(true);
  });

  it('does nothing outside the allowed acts for a caller who instructs an obedient model', async () => {
    await addFaults(system.sandbox.openai, { route: MODEL, effect: { kind: 'obey_transcript' }, times: 20 });
    const before = (await ledgerOf(system.sandbox.salesforce)).filter(({ kind }) => kind !== 'signed_in').length;
    const call = await process('tells the model', 'completed', 'needs_attention');
    // The form has no owner to fill in, so the model's answer does not fit it, twice.
    expect(call).toMatchObject({ state: 'needs_attention', attention: { step: 'crm', code: 'MODEL_NONSENSE' } });
    expect((await ledgerOf(system.sandbox.salesforce)).filter(({ kind }) => kind !== 'signed_in').length).toBe(before);
  });
});

describe('faults that need a person', () => {
  const cases: [string, 'webex' | 'openai' | 'salesforce', Fault[], string, ErrorCode][] = [
    ['a page instead of audio', 'webex', [{ route: RECORDING, effect: { kind: 'html' } }], 'recording', 'RECORDING_UNUSABLE'],
    ['an empty recording', 'webex', [{ route: RECORDING, effect: { kind: 'zero_bytes' } }], 'recording', 'RECORDING_UNUSABLE'],
    ['a source that is down for long', 'webex', [{ ...respond('POST /v1/captures/query', 503, {}), times: 3 }], 'recording', 'UPSTREAM_UNAVAILABLE'],
    ['speech: out of credit', 'openai', [respond(SPEECH, 429, openAIError('insufficient_quota', 'You exceeded your current quota'))], 'transcription', 'QUOTA_EXHAUSTED'],
    ['speech: a wrong key', 'openai', [respond(SPEECH, 401, openAIError('invalid_api_key', 'Incorrect API key'))], 'transcription', 'AUTH_FAILED'],
    ['model: a refusal', 'openai', [{ route: MODEL, effect: { kind: 'refusal' } }], 'analysis', 'MODEL_REFUSED'],
    ['model: the content filter', 'openai', [{ route: MODEL, effect: { kind: 'content_filter' } }], 'analysis', 'MODEL_REFUSED'],
    ['model: cut off twice', 'openai', [{ route: MODEL, effect: { kind: 'cut_off' }, times: 2 }], 'analysis', 'MODEL_CUT_OFF'],
    ['Salesforce: a duplicate rule that names nobody', 'salesforce', [{ route: 'PATCH /services/data/*/sobjects/Lead/*', effect: { kind: 'duplicates' } }], 'crm', 'CRM_DUPLICATE'],
    ['Salesforce: a validation rule', 'salesforce', [respond('PATCH /services/data/*', 400, [{ message: 'Phone must be national', errorCode: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }])], 'crm', 'CRM_REJECTED'],
  ];

  it.each(cases)('%s: the call parks with step, reason and advice, and completes after a retry', async (_title, stand, faults, step, code) => {
    await addFaults(system.sandbox[stand], ...faults);
    const parked = await process(undefined, 'needs_attention', 'completed');
    expect(parked).toMatchObject({ state: 'needs_attention', step, attention: { step, code } });
    expect(parked.attention!.message.length).toBeGreaterThan(20);
    expect(parked.attention!.advice.length).toBeGreaterThan(10);
    await system.wiring.callsClient.retry(parked, { by: 'test' }, `retry-${parked.callId}`);
    const call = await system.until(parked.callId, 'completed');
    expect(call).toMatchObject({ result: 'processed', attention: null });
    const effects = await system.wiring.effects.list(call.project, call.callId);
    expect((await ledgerOf(system.sandbox.salesforce, 'lead_created')).filter((entry) => entry['externalId'] === effects[0]!.key)).toHaveLength(1);
  });

  it('waits as long as Salesforce needs when its daily limit is used up', async () => {
    await addFaults(system.sandbox.salesforce, respond('PATCH /services/data/*', 403, [{ message: 'TotalRequests Limit exceeded.', errorCode: 'REQUEST_LIMIT_EXCEEDED' }]));
    const callId = await aCall();
    await system.startCall(callId);
    const handle = system.wiring.temporal.workflow.getHandle(`call/default/${callId}`);
    for (;;) {
      const { raw } = await handle.describe();
      const pending = raw.pendingActivities?.find((activity) => activity.activityType?.name === 'actOnCrm' && activity.lastFailure);
      if (pending) {
        // Not the usual seconds: a quarter of an hour.
        expect(Number(pending.scheduledTime?.seconds) - Date.now() / 1_000).toBeGreaterThan(600);
        break;
      }
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
    await handle.terminate('seen enough');
  });
});
