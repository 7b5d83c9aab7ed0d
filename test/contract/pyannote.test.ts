import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { PYANNOTE_KEY, startPyannote } from '../../sandbox/pyannote/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import type { DiarizeAudio } from '../../src/adapters/diarization/diarizer.ts';
import { diarizers } from '../../src/adapters/diarization/registry.ts';
import { type HostList, parseHostList } from '../../src/adapters/http/hosts.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { abortOnce, aNote, failureOf, prepareSample, requestsTo, respond, type SampleAudio, SCRIPT, SPEECH_FILES } from '../support/speech.ts';

/** Our adapter against the stand-in for pyannoteAI: upload, job, segments; and after a crash. */
let server: SandboxServer;
let audio: SampleAudio;
const { signal } = new AbortController();

beforeAll(async () => {
  server = await startPyannote(SPEECH_FILES);
  audio = await prepareSample();
});
afterEach(() => clearFaults(server));
afterAll(async () => {
  await server?.close();
  await audio?.remove();
});

const diarize = (request: Partial<DiarizeAudio> = {}, more: { apiKey?: string; model?: string; timeoutMs?: number; only?: HostList } = {}) =>
  diarizers.create({ provider: 'pyannoteai', apiKey: PYANNOTE_KEY, baseUrl: server.url, timeoutMs: 60_000, only: undefined, ...more }).diarize({ path: audio.short.path, durationMs: audio.short.durationMs, signal, ...request });
const PLACE = 'POST /v1/media/input';
const UPLOAD = 'PUT /upload/*';
const START = 'POST /v1/diarize';
const LOOK = 'GET /v1/jobs/*';
const started = async (): Promise<number> => (await ledgerOf(server, 'started')).length;
const billed = async (): Promise<number> => (await ledgerOf(server, 'diarization')).length;

describe('a diarisation by pyannoteAI', () => {
  it('says who speaks when, without overlaps, and what was billed', async () => {
    const job = aNote();
    const result = await diarize({ path: audio.path, durationMs: audio.durationMs, job });
    expect(result).toMatchObject({ provider: 'pyannoteai', model: 'precision-2', usage: { seconds: 74 } });
    expect(result.segments.map(({ speaker }) => speaker)).toEqual(SCRIPT.map(({ speaker }) => (speaker === SCRIPT[0]!.speaker ? 'SPEAKER_00' : 'SPEAKER_01')));
    for (const [index, { startMs, endMs }] of result.segments.entries()) {
      expect(Number.isInteger(startMs) && Number.isInteger(endMs)).toBe(true);
      expect(Math.abs(startMs - SCRIPT[index]!.startMs)).toBeLessThan(150);
      expect(Math.abs(endMs - SCRIPT[index]!.endMs)).toBeLessThan(150);
    }
    expect(job.written).toEqual([result.requestId]);
    expect(await ledgerOf(server, 'diarization')).toEqual([expect.objectContaining({ requestId: result.requestId, model: 'precision-2', seconds: result.usage.seconds })]);
  });

  it('of less than 20 s is billed, and reckoned, as 20', async () => {
    const { usage, requestId } = await diarize();
    expect(usage.seconds).toBe(20);
    expect((await ledgerOf(server, 'diarization')).at(-1)).toMatchObject({ requestId, seconds: 20 });
  });

  it('of silence has no segments', async () => {
    expect(await diarize(audio.silent)).toMatchObject({ segments: [] });
  });

  it('uploads to the signed address without the key', async () => {
    await diarize();
    // The stand-in refuses an upload that carries a key, as S3 does.
    expect((await requestsTo(server)).findLast(({ method }) => method === 'PUT')).toMatchObject({ status: 200 });
  });

  it('uploads nowhere but to the only hosts that may be reached', async () => {
    const only = parseHostList(new URL(server.url).host);
    await addFaults(server, respond(PLACE, 201, { url: 'https://uploads.outside.example/place?signature=hidden' }));
    const failure = await failureOf(diarize({}, { only }));
    expect(failure).toMatchObject({ code: 'URL_REFUSED', retryable: false, outcome: 'refused', message: expect.stringContaining('OUTBOUND_ONLY') as unknown });
    expect(failure.message).not.toContain('hidden');
    expect(await diarize({}, { only })).toMatchObject({ provider: 'pyannoteai' });
  });
});

describe('a diarisation by pyannoteAI after a crash', () => {
  it('goes on with the job that was started, and is paid once', async () => {
    await addFaults(server, { route: START, effect: { kind: 'slow', looks: 3 } });
    const controller = new AbortController();
    const first = aNote();
    await expect(diarize({ job: { note: async (reference) => { await first.note(reference); controller.abort(new Error('killed')); } }, signal: controller.signal })).rejects.toThrow('killed');
    const before = await started();
    const result = await diarize({ job: aNote(first.written[0]) });
    expect(result.requestId).toBe(first.written[0]);
    expect(await started()).toBe(before);
    expect((await ledgerOf(server, 'diarization')).filter(({ requestId }) => requestId === result.requestId)).toHaveLength(1);
  });
  it('starts anew when the job is gone', async () => {
    const { requestId } = await diarize();
    await fetch(`${server.url}/_sandbox-jobs`, { method: 'DELETE' });
    const second = aNote(requestId);
    expect((await diarize({ job: second })).requestId).toBe(second.written[0]);
    expect(second.written[0]).not.toBe(requestId);
  });
});

describe('a refusal by pyannoteAI', () => {
  it.each([
    ['a wrong key', {}, { apiKey: 'wrong' }, 'AUTH_FAILED'],
    ['a model that it does not have', {}, { model: 'precision-0' }, 'UPSTREAM_REJECTED'],
  ])('for %s is final, and nothing is owed', async (_what, request, more, code) => {
    const before = await billed();
    expect(await failureOf(diarize(request, more))).toMatchObject({ code, retryable: false, outcome: 'refused' });
    expect(await billed()).toBe(before);
  });

  const cases: [string, Fault, object][] = [
    ['no subscription', respond(PLACE, 402, { requestId: 'r', message: 'Subscription is required' }), { code: 'QUOTA_EXHAUSTED', retryable: false, outcome: 'refused' }],
    ['a spent budget', respond(START, 402, { requestId: 'r', message: 'Budget exceeded' }), { code: 'QUOTA_EXHAUSTED', retryable: false, outcome: 'refused' }],
    ['too many at once, with a time', respond(START, 429, { requestId: 'r', message: 'Too many requests' }, { 'retry-after': '41' }), { code: 'RATE_LIMITED', retryAfterMs: 41_000, outcome: 'refused' }],
    ['an upload that is not taken', respond(UPLOAD, 403, '<Error><Code>AccessDenied</Code></Error>'), { code: 'AUTH_FAILED', outcome: 'refused' }],
    ['a fault of its own', respond(START, 500, { requestId: 'r', message: 'Oops' }), { code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' }],
    ['a job that failed', { route: START, effect: { kind: 'failed' } }, { code: 'UPSTREAM_REJECTED', retryable: false, outcome: 'refused', message: expect.stringContaining('Could not load audio') as unknown }],
    ['a job that was cancelled', { route: START, effect: { kind: 'canceled' } }, { code: 'UPSTREAM_UNAVAILABLE', retryable: true, outcome: 'refused' }],
  ];
  it.each(cases)('for %s is mapped', async (_what, fault, expected) => {
    await addFaults(server, fault);
    expect(await failureOf(diarize())).toMatchObject(expected);
  });
});

describe('an answer of pyannoteAI that is none', () => {
  const cases: [string, Fault, string][] = [
    ['the upload never ends', { route: UPLOAD, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['the start never answers', { route: START, effect: { kind: 'hang' } }, 'UPSTREAM_TIMEOUT'],
    ['it is never done', { route: START, effect: { kind: 'slow', looks: 99 } }, 'UPSTREAM_TIMEOUT'],
    ['the start is cut off', { route: START, effect: { kind: 'cut' } }, 'UPSTREAM_UNAVAILABLE'],
    ['looks fail', { ...respond(LOOK, 500, {}), times: 9 }, 'UPSTREAM_UNAVAILABLE'],
    ['looks are rate-limited', { ...respond(LOOK, 429, {}, { 'retry-after': '60' }), times: 9 }, 'UPSTREAM_TIMEOUT'],
    ['the start is not JSON', respond(START, 200, 'OK'), 'UPSTREAM_NONSENSE'],
    ['looks are of another shape', { ...respond(LOOK, 200, { jobId: 'x', status: 'done' }), times: 9 }, 'UPSTREAM_NONSENSE'],
  ];
  it.each(cases)('because %s leaves open whether it is billed, and may be tried again', async (_what, fault, code) => {
    await addFaults(server, fault);
    expect(await failureOf(diarize({}, { timeoutMs: 2_000 }))).toMatchObject({ code, retryable: true, outcome: 'unknown' });
  });

  it.each([['/v1/media/input'], ['/upload/'], ['/v1/diarize'], ['/v1/jobs/']])('because it was called off at %s is given up at once', async (path) => {
    await addFaults(server, { route: `* ${path}${path.endsWith('/') ? '*' : ''}`, effect: { kind: 'hang' } });
    const { error, tookMs } = await abortOnce(server, path, (called) => diarize({ signal: called }));
    expect(error).toMatchObject({ message: 'called off' });
    expect(tookMs).toBeLessThan(1_000);
  });
});
