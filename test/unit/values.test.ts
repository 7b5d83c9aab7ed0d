import { readFile } from 'node:fs/promises';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { parse } from 'yaml';
import { cutsIn } from '../../src/adapters/audio/ffmpeg.ts';
import { retryAfterMs } from '../../src/adapters/http/retry-after.ts';
import { createBatcher } from '../../src/adapters/sources/batcher.ts';
import { parseRange } from '../../src/api/range.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { costMicroUsd } from '../../src/domain/cost.ts';
import { callTableName, crmMarkerKey, isSafeCallId, metadataKey, recordingKey, reportKey, runIdOf, workflowIdOfRun } from '../../src/domain/ids.ts';
import { nextLook, sniff } from '../../src/domain/recording.ts';
import { buildReport } from '../../src/domain/report.ts';
import { GROUPS, stepsFrom } from '../../src/domain/steps.ts';
import { windowAt } from '../../src/domain/window.ts';

describe('Retry-After', () => {
  const now = Date.UTC(2026, 10, 21, 12);
  it.each([
    ['14', 14_000],
    ['0', 0],
    ['1.5', 1_500],
    ['Sat, 21 Nov 2026 12:00:30 GMT', 30_000],
    ['Sat, 21 Nov 2026 11:00:00 GMT', 0],
    ['999999999', 86_400_000],
    ['soon', undefined],
    ['', undefined],
    [undefined, undefined],
  ])('%s is %s', (header, ms) => expect(retryAfterMs(header, now)).toBe(ms));
  it('is never negative and never NaN', () => {
    fc.assert(fc.property(fc.string(), (header) => {
      const ms = retryAfterMs(header, now);
      expect(ms === undefined || (ms >= 0 && ms <= 86_400_000)).toBe(true);
    }));
  });
});

describe('the key ring', () => {
  const key = (fill: number) => Buffer.alloc(32, fill).toString('base64');
  it('opens what it sealed, also after the key was replaced', () => {
    const sealed = createKeyRing(`old:${key(1)}`).sealText('a secret', 'webex');
    expect(sealed).not.toContain('secret');
    expect(createKeyRing(`new:${key(2)},old:${key(1)}`).openText(sealed, 'webex')).toBe('a secret');
  });
  it('says which key is missing, and notices changes and other places', () => {
    const sealed = createKeyRing(`old:${key(1)}`).sealText('a secret', 'webex');
    expect(() => createKeyRing(`new:${key(2)}`).openText(sealed, 'webex')).toThrow(/"old"/);
    expect(() => createKeyRing(`old:${key(1)}`).openText(sealed, 'elsewhere')).toThrow(/cannot be decrypted/);
    expect(() => createKeyRing(`old:${key(3)}`).openText(sealed, 'webex')).toThrow(/cannot be decrypted/);
  });
  it.each(['', 'k:short', `k:${key(1)},k:${key(2)}`, key(1)])('refuses %s without repeating it', (spec) => {
    expect(() => createKeyRing(spec)).toThrow(/AFTERCALL_KEYS/);
  });
});

describe('recordings', () => {
  it.each([
    [Buffer.from('RIFF....WAVEfmt '), { format: 'wav' }],
    [Buffer.from('ID3\u0004'), { format: 'mp3' }],
    [Buffer.from([0xff, 0xfb, 0x90]), { format: 'mp3' }],
    [Buffer.from('  <!DOCTYPE html>'), { seemsToBe: 'an HTML page' }],
    [Buffer.from('<?xml version="1.0"?><Error/>'), { seemsToBe: 'an XML document' }],
    [Buffer.from('{"error":1}'), { seemsToBe: 'JSON' }],
    [Buffer.alloc(0), { seemsToBe: 'an empty file' }],
    [Buffer.from('OggS'), { seemsToBe: 'neither WAV nor MP3' }],
  ])('are told by their first bytes', (head, sniffed) => expect(sniff(head)).toEqual(sniffed));

  const settings = { recordingFirstLookSeconds: 30, recordingDeadlineMinutes: 60 };
  it('are looked for at growing intervals until the deadline, then never again', () => {
    const call = { startedAtMs: 0, updatedAtMs: 0 };
    expect([0, 1, 2, 9].map((looks) => nextLook(call, looks, settings, 0))).toEqual([30_000, 60_000, 120_000, 900_000].map((lookAgainInMs) => ({ state: 'wait', lookAgainInMs })));
    expect(nextLook(call, 9, settings, 3_590_000)).toEqual({ state: 'wait', lookAgainInMs: 10_000 });
    expect(nextLook(call, 0, settings, 3_600_000)).toEqual({ state: 'never' });
  });
});

describe('audio is cut', () => {
  it('in the last pause that fits, else at the limit, and never too long', () => {
    expect(cutsIn([9_000, 19_000, 27_000], 30_000, 10_000)).toEqual([0, 9_000, 19_000, 27_000]);
    expect(cutsIn([], 25_000, 10_000)).toEqual([0, 10_000, 20_000]);
    fc.assert(fc.property(fc.array(fc.nat(100_000)), fc.integer({ min: 1, max: 100_000 }), fc.integer({ min: 100, max: 50_000 }), (pauses, duration, longest) => {
      const cuts = [...cutsIn(pauses.toSorted((a, b) => a - b), duration, longest), duration];
      for (let at = 1; at < cuts.length; at += 1) expect(cuts[at]! - cuts[at - 1]!).toBeLessThanOrEqual(longest);
    }));
  });
});

describe('money', () => {
  const prices = [
    { model: 'gpt-5', validFrom: '2025-01-01', inputPerMillion: 1, outputPerMillion: 10 },
    { model: 'gpt-5-mini', validFrom: '2025-01-01', inputPerMillion: 0.25, cachedInputPerMillion: 0.025, outputPerMillion: 2 },
    { model: 'gpt-5-mini', validFrom: '2026-06-01', inputPerMillion: 0.5, cachedInputPerMillion: 0.05, outputPerMillion: 4 },
    { model: 'whisper-1', validFrom: '2023-01-01', perMinute: 0.006 },
  ];
  const usage = { kind: 'llm' as const, inputTokens: 1_000, cachedInputTokens: 2_000, outputTokens: 100 };
  it('takes the price of the longest matching name on the day', () => {
    expect(costMicroUsd(prices, 'gpt-5-mini-2025-08-07', usage, '2026-01-01')).toBe(250 + 50 + 200);
    expect(costMicroUsd(prices, 'gpt-5-mini-2025-08-07', usage, '2026-06-01')).toBe(500 + 100 + 400);
    expect(costMicroUsd(prices, 'gpt-5', usage, '2026-01-01')).toBe(1_000 + 2_000 + 1_000);
    expect(costMicroUsd(prices, 'whisper-1', { kind: 'stt', seconds: 90 }, '2026-01-01')).toBe(9_000);
    expect(costMicroUsd(prices, 'our-own', usage, '2026-01-01')).toBe(0);
  });
});

describe('IDs, windows and steps', () => {
  it.each([['5a3d1c00-0000-4000-8000-000000000001', true], ['../x', false], ['a..b', false], ['a/b', false], ['', false]])('%s may name files: %s', (id, safe) => expect(isSafeCallId(id)).toBe(safe));
  it('partitions by the UTC month', () => {
    expect(metadataKey({ project: 'default', callId: 'c' }, Date.UTC(2026, 11, 31, 23, 59))).toBe('call-data/year=2026/month=12/c.json');
    expect(metadataKey({ project: 'default', callId: 'c' }, Date.UTC(2027, 0, 1))).toBe('call-data/year=2027/month=01/c.json');
  });
  it("keeps projects' objects and tables apart, and the default project's where they always were", () => {
    const keysOf = (project: string) => [recordingKey({ project, callId: 'c' }, 'wav'), crmMarkerKey({ project, callId: 'c' }), metadataKey({ project, callId: 'c' }, 0), reportKey(project, 'r'), callTableName('calls', project)];
    expect(keysOf('default')).toEqual(['call-detail/c/recording.wav', 'SFDC/c.txt', 'call-data/year=1970/month=01/c.json', 'reports/r.json', 'calls']);
    expect(keysOf('north-1')).toEqual(['projects/north-1/call-detail/c/recording.wav', 'projects/north-1/SFDC/c.txt', 'projects/north-1/call-data/year=1970/month=01/c.json', 'projects/north-1/reports/r.json', 'calls_north_1']);
  });
  it('finds the workflow of a run again', () => {
    const workflowId = 'ingest/default/webex-2026-11-21T06:09:07Z';
    expect(workflowIdOfRun(runIdOf('ingest/default/webex/start-1'))).toBe('ingest/default/webex/start-1');
    expect(runIdOf(workflowId)).toBe('default.webex-2026-11-21T06:09:07Z');
  });
  it('computes windows that leave no gap, from the scheduled time alone', () => {
    fc.assert(fc.property(fc.integer({ min: 0, max: 2e12 }), fc.integer({ min: 1, max: 20_000 }), (at, minutes) => {
      const { fromMs, toMs } = windowAt(at, minutes);
      expect(toMs).toBe(at);
      expect(windowAt(at + minutes * 60_000, minutes).fromMs).toBe(toMs);
      expect(fromMs).toBe(at - minutes * 60_000);
    }));
  });
  it('drops a step’s own group and all later ones', () => {
    expect(stepsFrom('analysis')).toEqual(['metadata', 'analysis', 'crm', 'deliver']);
    expect(stepsFrom('recording')).toEqual(GROUPS.flat());
  });
});

describe('the report', () => {
  const run = { runId: 'r', project: 'p', source: 's', windowFrom: '', windowTo: '', startedAt: '', finishedAt: '' };
  it('refuses to contradict itself', () => {
    const counted = { tasks: { new: 2, skipped: 0, open: 0 }, calls: [{ state: 'completed' as const, result: 'processed' as const, calls: 1 }], transcripts: 0, analyses: 0, crm: [], cost: { sttMicroUsd: 0, diarizationMicroUsd: 0, llmMicroUsd: 0, voiceMicroUsd: 0, unsettledRequests: 0 } };
    expect(() => buildReport(run, counted, { unavailable: '' })).toThrow(/2 calls/);
  });
});

describe('byte ranges', () => {
  it.each([
    ['bytes=0-', { start: 0, end: 99 }],
    ['bytes=10-19', { start: 10, end: 19 }],
    ['bytes=90-500', { start: 90, end: 99 }],
    ['bytes=-5', { start: 95, end: 99 }],
    ['bytes=100-', 'unsatisfiable'],
    ['bytes=-0', 'unsatisfiable'],
    ['bytes=5-2', undefined],
    ['bytes=0-1,4-5', undefined],
    ['lines=1-2', undefined],
    [undefined, undefined],
  ])('%s', (header, range) => expect(parseRange(header, 100)).toEqual(range));
});

describe('looking up captures together', () => {
  const signal = () => new AbortController().signal;
  it('asks for at most ten at once, for each only once, and fails only those who asked', async () => {
    const asked: string[][] = [];
    const find = createBatcher<string>({ windowMs: 5, maxKeys: 10, load: async (keys) => {
      asked.push(keys);
      if (keys.includes('bad')) throw new Error('refused');
      return new Map(keys.filter((key) => key !== 'none').map((key) => [key, key.toUpperCase()]));
    } });
    const names = Array.from({ length: 23 }, (_, at) => `k${at}`);
    const found = await Promise.all([...names, 'k22', 'none'].map((key) => find(key, signal())));
    expect(found).toEqual([...names.map((name) => name.toUpperCase()), 'K22', undefined]);
    expect(asked.map((keys) => keys.length)).toEqual([10, 10, 4]);
    await expect(find('bad', signal())).rejects.toThrow('refused');
    await expect(find('good', signal())).resolves.toBe('GOOD');
  });
  it('lets one stop waiting without stopping the others', async () => {
    const { promise, resolve } = Promise.withResolvers<Map<string, string>>();
    const find = createBatcher<string>({ windowMs: 1, maxKeys: 10, load: () => promise });
    const gone = new AbortController();
    const stays = find('a', signal());
    const leaves = find('b', gone.signal);
    gone.abort(new Error('gone'));
    await expect(leaves).rejects.toThrow('gone');
    resolve(new Map([['a', 'A']]));
    await expect(stays).resolves.toBe('A');
  });
});

describe('the compose file', () => {
  it('starts worker and API from one image, with health checks, pinned images and no secret inside', async () => {
    const text = await readFile(new URL('../../docker-compose.temporal.yml', import.meta.url), 'utf8');
    const { services } = parse(text, { merge: true }) as { services: Record<string, { image?: string; build?: string; command?: string[]; healthcheck?: unknown; environment?: Record<string, string> }> };
    expect(Object.keys(services).toSorted()).toEqual(['api', 'postgres', 'temporal', 'temporal-setup', 'temporal-ui', 'worker']);
    for (const { image } of Object.values(services)) expect(image).toMatch(/:[\w.-]+$/);
    for (const name of ['api', 'worker', 'postgres']) expect(services[name]?.healthcheck).toBeDefined();
    expect(services['worker']?.command).toEqual(['node', '--max-semi-space-size=1', 'dist/worker.js']);
    expect(services['api']?.command).toEqual(['node', 'dist/api/main.js']);
    expect(text.match(/PASSWORD: (?!\$\{)/)).toBeNull();
  });
});
