import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { ASSEMBLYAI_KEY, startAssemblyAI } from '../../sandbox/assemblyai/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { transcribers } from '../../src/adapters/stt/registry.ts';
import type { TranscribeAudio } from '../../src/adapters/stt/transcriber.ts';
import { costMicroUsd } from '../../src/domain/cost.ts';
import { loadPrices } from '../../src/prices.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { abortOnce, aNote, expectScript, expectWords, failureOf, prepareSample, requestsTo, respond, SAMPLE_MS, type SampleAudio, SPEECH_FILES } from '../support/speech.ts';

/** Our adapter against the stand-in for AssemblyAI: upload, start, look until it is done; and after a crash. */
let server: SandboxServer;
let audio: SampleAudio;
const { signal } = new AbortController();

beforeAll(async () => {
  server = await startAssemblyAI(SPEECH_FILES);
  audio = await prepareSample();
});
afterEach(() => clearFaults(server));
afterAll(async () => {
  await server?.close();
  await audio?.remove();
});

const transcribe = (request: Partial<TranscribeAudio> = {}, more: { apiKey?: string; model?: string; language?: string; timeoutMs?: number } = {}) =>
  transcribers.create({ provider: 'assemblyai', apiKey: ASSEMBLYAI_KEY, baseUrl: server.url, timeoutMs: 60_000, only: undefined, ...more }).transcribe({ path: audio.short.path, durationMs: audio.short.durationMs, signal, ...request });
const UPLOAD = 'POST /v2/upload';
const START = 'POST /v2/transcript';
const LIST = 'GET /v2/transcript';
const LOOK = 'GET /v2/transcript/*';
const started = async (): Promise<number> => (await ledgerOf(server, 'started')).length;
const billed = async (): Promise<number> => (await ledgerOf(server, 'transcription')).length;

describe('a transcription by AssemblyAI', () => {
  it('has speakers, words and times, the language, who did it, and what was billed', async () => {
    const job = aNote();
    const result = await transcribe({ path: audio.path, durationMs: audio.durationMs, job });
    expectScript(result.segments);
    expectWords(result.segments);
    expect(result).toMatchObject({ provider: 'assemblyai', model: 'universal-2', language: 'en-US', usage: { seconds: 74 } });
    expect(Math.abs(result.durationMs - SAMPLE_MS)).toBeLessThan(500);
    expect(result.segments[0]!.confidence).toBe(0.97);
    expect(job.written).toEqual([expect.stringMatching(/^upload:http/), `transcript:${result.requestId}`]);

    const ledger = await ledgerOf(server, 'transcription');
    expect(ledger).toEqual([expect.objectContaining({ requestId: result.requestId, seconds: result.usage.seconds })]);
    expect(costMicroUsd(loadPrices(undefined), result.model, { kind: 'stt', seconds: result.usage.seconds! }, '2026-11-21')).toBe(ledger[0]!['microUsd']);
  });

  it('is in the language that is known, and by the model that is named', async () => {
    expect(await transcribe({ language: 'en' })).toMatchObject({ language: 'en' });
    expect(await transcribe({}, { language: 'en-GB', model: 'universal-3-5-pro' })).toMatchObject({ language: 'en-GB', model: 'universal-3-5-pro' });
  });

  it('of silence is empty', async () => {
    expect(await transcribe(audio.silent)).toMatchObject({ segments: [] });
  });

  it('is looked for less and less often, with patience for a bad moment', async () => {
    await addFaults(server, { route: START, effect: { kind: 'slow', looks: 2 } }, { ...respond(LOOK, 503, {}), skip: 1 }, respond(LOOK, 429, {}, { 'retry-after': '2' }));
    const before = (await requestsTo(server)).length;
    await transcribe();
    const looks = (await requestsTo(server)).slice(before).filter(({ method, path }) => method === 'GET' && path.startsWith('/v2/transcript/')) as unknown as { atMs: number; status: number }[];
    expect(looks.map(({ status }) => status).filter((status) => status !== 200).toSorted()).toEqual([429, 503]);
    const waits = looks.slice(1).map(({ atMs }, index) => atMs - looks[index]!.atMs);
    // After the 429, as long as it asks for.
    expect(waits[looks.findIndex(({ status }) => status === 429)]).toBeGreaterThanOrEqual(1_990);
    expect(waits.at(-1)!).toBeGreaterThan(waits[0]! * 0.5);
  });
});

describe('a transcription by AssemblyAI after a crash', () => {
  it('goes on with the transcript that was started, and is paid once', async () => {
    await addFaults(server, { route: START, effect: { kind: 'slow', looks: 3 } });
    const controller = new AbortController();
    const first = aNote();
    await expect(transcribe({ job: { ...first, note: async (reference) => { await first.note(reference); if (first.written.length === 2) controller.abort(new Error('killed')); } }, signal: controller.signal })).rejects.toThrow('killed');
    const before = [await started(), (await requestsTo(server)).filter(({ path }) => path === '/v2/upload').length];
    const second = aNote(first.written.at(-1));
    const result = await transcribe({ job: second });
    expect(`transcript:${result.requestId}`).toBe(first.written.at(-1));
    expect([await started(), (await requestsTo(server)).filter(({ path }) => path === '/v2/upload').length]).toEqual(before);
    expect((await ledgerOf(server, 'transcription')).filter(({ requestId }) => requestId === result.requestId)).toHaveLength(1);
  });

  it('finds by its upload a transcript whose ID was lost on the way', async () => {
    await addFaults(server, { route: START, effect: { kind: 'drop_after' } });
    const first = aNote();
    expect(await failureOf(transcribe({ job: first }))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' });
    expect(first.written).toEqual([expect.stringMatching(/^upload:/)]);
    const before = await started();
    const second = aNote(first.written[0]);
    const result = await transcribe({ job: second });
    expect(await started()).toBe(before);
    expect((await ledgerOf(server, 'transcription')).filter(({ requestId }) => requestId === result.requestId)).toHaveLength(1);
    expect(second.written).toEqual([`transcript:${result.requestId}`]);
  });

  it('starts one for an upload that has none', async () => {
    await addFaults(server, { route: START, effect: { kind: 'drop_before' } });
    const first = aNote();
    await failureOf(transcribe({ job: first }));
    const uploads = (await requestsTo(server)).filter(({ path }) => path === '/v2/upload').length;
    const before = await started();
    await transcribe({ job: aNote(first.written[0]) });
    expect(await started()).toBe(before + 1);
    expect((await requestsTo(server)).filter(({ path }) => path === '/v2/upload')).toHaveLength(uploads);
  });

  it('does not let go of what was started when looking for it is refused', async () => {
    const first = aNote();
    await transcribe({ job: first });
    await addFaults(server, respond(LIST, 429, {}, { 'retry-after': '3' }));
    expect(await failureOf(transcribe({ job: aNote(first.written[0]) }))).toMatchObject({ code: 'RATE_LIMITED', retryAfterMs: 3_000, outcome: 'unknown' });
    await addFaults(server, respond(LOOK, 401, { error: 'Authentication error' }));
    expect(await failureOf(transcribe({ job: aNote(first.written[1]) }))).toMatchObject({ code: 'AUTH_FAILED', retryable: false, outcome: 'unknown' });
  });

  it('starts anew when what was started is gone', async () => {
    const first = aNote();
    const { requestId } = await transcribe({ job: first });
    await fetch(`${server.url}/v2/transcript/${requestId}`, { method: 'DELETE', headers: { authorization: ASSEMBLYAI_KEY } });
    const second = aNote(first.written[1]);
    const again = await transcribe({ job: second });
    expect(again.requestId).not.toBe(requestId);
    expect(second.written).toHaveLength(2);
  });
});

describe('a refusal by AssemblyAI', () => {
  it.each([
    ['a wrong key', {}, { apiKey: 'wrong' }, 'AUTH_FAILED'],
    ['a key with "Bearer"', {}, { apiKey: `Bearer ${ASSEMBLYAI_KEY}` }, 'AUTH_FAILED'],
    ['a model that it does not have', {}, { model: 'nano' }, 'UPSTREAM_REJECTED'],
    ['a language that it does not have', { language: 'klingon' }, {}, 'UPSTREAM_REJECTED'],
  ])('for %s is final, and nothing is owed', async (_what, request, more, code) => {
    const before = await billed();
    expect(await failureOf(transcribe(request, more))).toMatchObject({ code, retryable: false, outcome: 'refused' });
    expect(await billed()).toBe(before);
  });
  it('for a file that is no audio comes with the transcript, and is final', async () => {
    const before = await billed();
    expect(await failureOf(transcribe({ path: audio.broken }))).toMatchObject({ code: 'UPSTREAM_REJECTED', outcome: 'refused', message: expect.stringContaining('does not appear to contain audio') as unknown });
    expect(await billed()).toBe(before);
  });

  const cases: [string, Fault, object][] = [
    ['no credit', respond(START, 400, { error: 'Your current account balance is negative. Please top up to continue using the API.' }), { code: 'QUOTA_EXHAUSTED', retryable: false, outcome: 'refused' }],
    ['too many at once, with a time', respond(START, 429, { error: 'Too many requests' }, { 'retry-after': '7' }), { code: 'RATE_LIMITED', retryAfterMs: 7_000, outcome: 'refused' }],
    ['an upload too many', respond(UPLOAD, 429, { error: 'Too many requests' }), { code: 'RATE_LIMITED', outcome: 'refused' }],
    ['a fault of its own at the upload', respond(UPLOAD, 500, { error: 'Oops' }), { code: 'UPSTREAM_UNAVAILABLE', retryable: true }],
    ['a fault of its own at the start', respond(START, 503, { error: 'Oops' }), { code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' }],
    ['a transcript that failed', { route: START, effect: { kind: 'failed' } }, { code: 'UPSTREAM_REJECTED', retryable: false, outcome: 'refused' }],
    ['a transcript that failed by its fault', { route: START, effect: { kind: 'server_error' } }, { code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' }],
  ];
  it.each(cases)('for %s is mapped', async (_what, fault, expected) => {
    await addFaults(server, fault);
    expect(await failureOf(transcribe())).toMatchObject(expected);
  });
});

describe('an answer of AssemblyAI that is none', () => {
  const cases: [string, Fault, string][] = [
    ['the upload never answers', { route: UPLOAD, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['the start never answers', { route: START, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['looks never answer', { route: LOOK, times: 9, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['it is never done', { route: START, effect: { kind: 'slow', looks: 99 } }, 'UPSTREAM_TIMEOUT'],
    ['the start stops half way', { route: START, effect: { kind: 'half' } }, 'UPSTREAM_TIMEOUT'],
    ['looks are cut off', { route: LOOK, times: 9, effect: { kind: 'cut' } }, 'UPSTREAM_UNAVAILABLE'],
    ['the start is not JSON', respond(START, 200, '<html>gateway</html>'), 'UPSTREAM_NONSENSE'],
    ['looks are of another shape', { ...respond(LOOK, 200, { status: 'done' }), times: 9 }, 'UPSTREAM_NONSENSE'],
  ];
  it.each(cases)('because %s leaves open whether it is billed, and may be tried again', async (_what, fault, code) => {
    await addFaults(server, fault);
    expect(await failureOf(transcribe({}, { timeoutMs: 2_000 }))).toMatchObject({ code, retryable: true, outcome: 'unknown' });
  });

  it.each(['/v2/upload', '/v2/transcript', '/v2/transcript/'])('because it was called off at %s is given up at once', async (path) => {
    await addFaults(server, { route: `* ${path}${path.endsWith('/') ? '*' : ''}`, effect: { kind: 'hang' } });
    const { error, tookMs } = await abortOnce(server, path, (called) => transcribe({ signal: called }));
    expect(error).toMatchObject({ message: 'called off' });
    expect(tookMs).toBeLessThan(1_000);
  });
  it('because it was called off between two looks is given up at once', async () => {
    await addFaults(server, { route: START, effect: { kind: 'slow', looks: 99 } });
    const controller = new AbortController();
    const running = transcribe({ signal: controller.signal });
    setTimeout(() => controller.abort(new Error('called off')), 1_500);
    await expect(running).rejects.toThrow('called off');
  });
});
