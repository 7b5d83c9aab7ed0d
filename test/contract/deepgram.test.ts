import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { DEEPGRAM_KEY, startDeepgram } from '../../sandbox/deepgram/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { transcribers } from '../../src/adapters/stt/registry.ts';
import type { TranscribeAudio } from '../../src/adapters/stt/transcriber.ts';
import { costMicroUsd } from '../../src/domain/cost.ts';
import { loadPrices } from '../../src/prices.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { abortOnce, expectScript, expectWords, failureOf, prepareSample, requestsTo, respond, SAMPLE_MS, type SampleAudio, SPEECH_FILES } from '../support/speech.ts';

/** Our adapter against the stand-in for Deepgram: what it makes of answers, refusals and faults. */
let server: SandboxServer;
let audio: SampleAudio;
const { signal } = new AbortController();

beforeAll(async () => {
  server = await startDeepgram(SPEECH_FILES);
  audio = await prepareSample();
});
afterEach(() => clearFaults(server));
afterAll(async () => {
  await server?.close();
  await audio?.remove();
});

const adapter = (more: { apiKey?: string; model?: string; language?: string; timeoutMs?: number } = {}) => transcribers.create({ provider: 'deepgram', apiKey: DEEPGRAM_KEY, baseUrl: server.url, timeoutMs: 60_000, only: undefined, ...more });
const transcribe = (request: Partial<TranscribeAudio> = {}, more: Parameters<typeof adapter>[0] = {}) => adapter(more).transcribe({ path: audio.short.path, durationMs: audio.short.durationMs, signal, ...request });
const whole = () => ({ path: audio.path, durationMs: audio.durationMs });
const LISTEN = 'POST /v1/listen';
const refusal = (err_code: string, err_msg: string) => ({ err_code, err_msg, request_id: 'r' });

describe('a transcription by Deepgram', () => {
  it('has speakers, words and times, the language, who did it, and what was billed', async () => {
    const result = await transcribe(whole());
    expectScript(result.segments);
    expectWords(result.segments);
    expect(result).toMatchObject({ provider: 'deepgram', model: 'nova-3', language: 'en' });
    expect(Math.abs(result.durationMs - SAMPLE_MS)).toBeLessThan(200);
    expect(result.segments[0]).toMatchObject({ confidence: 0.98, words: expect.arrayContaining([expect.objectContaining({ confidence: 0.98 })]) as unknown });

    const [billed, ...more] = await ledgerOf(server, 'transcription');
    expect(more).toEqual([]);
    expect(billed).toMatchObject({ requestId: result.requestId, model: 'nova-3', seconds: result.usage.seconds });
    expect(costMicroUsd(loadPrices(undefined), result.model, { kind: 'stt', seconds: result.usage.seconds! }, '2026-11-21')).toBe(billed!['microUsd']);
  });

  it('has the same speakers and words where the answer has no utterances', async () => {
    await addFaults(server, { route: LISTEN, effect: { kind: 'no_utterances' } });
    const { segments } = await transcribe(whole());
    const all = await transcribe(whole());
    const said = (of: typeof segments) => of.flatMap(({ speaker, words }) => words!.map(({ text }) => [speaker, text]));
    expect(said(segments)).toEqual(said(all.segments));
    expectWords(segments);
  });

  it('asks for speakers and for the language that is known, else has it found out', async () => {
    await transcribe({ language: 'en-US' });
    await transcribe({}, { language: 'en' });
    await transcribe();
    const queries = (await requestsTo(server)).filter(({ path }) => path === '/v1/listen').slice(-3).map(({ query }) => query);
    const common = { model: 'nova-3', diarize: 'true', utterances: 'true', smart_format: 'true' };
    expect(queries).toEqual([{ ...common, language: 'en-US' }, { ...common, language: 'en' }, { ...common, detect_language: 'true' }]);
  });

  it('of silence is empty, and billed', async () => {
    expect(await transcribe(audio.silent)).toMatchObject({ segments: [], usage: { seconds: expect.closeTo(5, 0) as unknown } });
  });

  it('can be far longer than OpenAI takes', () => {
    expect(adapter()).toMatchObject({ name: 'deepgram', tellsSpeakers: true, limits: { maxBytes: 2_000_000_000, maxSeconds: 36_000 } });
  });
});

describe('a refusal by Deepgram', () => {
  it.each([
    ['a wrong key', {}, { apiKey: 'wrong' }, 'AUTH_FAILED'],
    ['a model that it does not have', {}, { model: 'nova-1' }, 'UPSTREAM_REJECTED'],
    ['a language that it does not have', { language: 'klingon' }, {}, 'UPSTREAM_REJECTED'],
  ])('for %s is final, and nothing is owed', async (_what, request, more, code) => {
    const billed = (await ledgerOf(server)).length;
    expect(await failureOf(transcribe(request, more))).toMatchObject({ code, retryable: false, outcome: 'refused' });
    expect(await ledgerOf(server)).toHaveLength(billed);
  });
  it('for a file that is no audio says so', async () => {
    expect(await failureOf(transcribe({ path: audio.broken }))).toMatchObject({ code: 'UPSTREAM_REJECTED', message: expect.stringContaining('corrupt or unsupported data') as unknown });
  });

  const cases: [string, Fault, object][] = [
    ['no credit', respond(LISTEN, 402, refusal('ASR_PAYMENT_REQUIRED', 'Project does not have enough credits.')), { code: 'QUOTA_EXHAUSTED', retryable: false, outcome: 'refused' }],
    ['a model that the key may not use', respond(LISTEN, 403, refusal('INSUFFICIENT_PERMISSIONS', 'Project does not have access to the requested model.')), { code: 'AUTH_FAILED', retryable: false }],
    ['too many at once, with a time', respond(LISTEN, 429, refusal('TOO_MANY_REQUESTS', 'Too many requests.'), { 'retry-after': '7' }), { code: 'RATE_LIMITED', retryAfterMs: 7_000, outcome: 'refused' }],
    ['too many at once', respond(LISTEN, 429, refusal('TOO_MANY_REQUESTS', 'Too many requests.')), { code: 'RATE_LIMITED', retryAfterMs: undefined }],
    ['too large a file', respond(LISTEN, 413, refusal('PAYLOAD_TOO_LARGE', 'Too large.')), { code: 'UPSTREAM_REJECTED', retryable: false }],
    ['an upload that was cut off', respond(LISTEN, 422, refusal('ASR_UNPROCESSABLE_ENTITY', 'Upload interrupted.')), { code: 'UPSTREAM_UNAVAILABLE', retryable: true }],
    ['a fault of its own', respond(LISTEN, 500, refusal('INTERNAL_SERVER_ERROR', 'Oops.')), { code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' }],
    ['too long a wait of its own', respond(LISTEN, 504, refusal('GATEWAY_TIMEOUT', 'Timed out.')), { code: 'UPSTREAM_UNAVAILABLE', retryable: true }],
  ];
  it.each(cases)('for %s is mapped', async (_what, fault, expected) => {
    await addFaults(server, fault);
    expect(await failureOf(transcribe())).toMatchObject(expected);
  });
});

describe('an answer of Deepgram that is none', () => {
  const cases: [string, Fault, string][] = [
    ['never comes', { route: LISTEN, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['stops half way', { route: LISTEN, effect: { kind: 'half' } }, 'UPSTREAM_TIMEOUT'],
    ['is cut off', { route: LISTEN, effect: { kind: 'cut' } }, 'UPSTREAM_UNAVAILABLE'],
    ['is lost', { route: LISTEN, effect: { kind: 'drop_after' } }, 'UPSTREAM_UNAVAILABLE'],
    ['is not JSON', respond(LISTEN, 200, '<html>gateway</html>'), 'UPSTREAM_NONSENSE'],
    ['is of another shape', respond(LISTEN, 200, { results: {} }), 'UPSTREAM_NONSENSE'],
  ];
  it.each(cases)('because it %s leaves open whether it is billed, and may be tried again', async (_what, fault, code) => {
    await addFaults(server, fault);
    expect(await failureOf(transcribe({}, { timeoutMs: 4_000 }))).toMatchObject({ code, retryable: true, outcome: 'unknown' });
  });

  it('because it was called off is given up at once', async () => {
    await addFaults(server, { route: LISTEN, effect: { kind: 'hang' } });
    const { error, tookMs } = await abortOnce(server, '/v1/listen', (called) => transcribe({ signal: called }));
    expect(error).toMatchObject({ message: 'called off' });
    expect(tookMs).toBeLessThan(1_000);
  });
});
