import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { FLAVOURS, type FlavourName } from '../../sandbox/openai/flavours.ts';
import { OPENAI_KEY, startOpenAI } from '../../sandbox/openai/server.ts';
import type { Fault, SandboxServer } from '../../sandbox/server.ts';
import { FORM_JSON_SCHEMA as FORM, FormSchema } from '../../src/activities/ask-model.schema.ts';
import { languageModels } from '../../src/adapters/llm/registry.ts';
import { jsonInText } from '../../src/adapters/llm/json-in-text.ts';
import { OPENAI_COMPATIBILITY } from '../../src/adapters/openai-capabilities.ts';
import { transcribers } from '../../src/adapters/stt/registry.ts';
import { addFaults, clearFaults, ledgerOf } from '../support/sandbox.ts';
import { abortOnce, expectWords, failureOf, prepareSample, respond, type SampleAudio, SCRIPT, SPEECH_FILES } from '../support/speech.ts';

/** Our OpenAI adapters against servers that speak only a part of OpenAI's API, each chosen by name. */
const servers = {} as Record<FlavourName, SandboxServer>;
let openai: SandboxServer;
let audio: SampleAudio;
const { signal } = new AbortController();
const WORDS = SCRIPT.map(({ text }) => text).join(' ');
const all = (): SandboxServer[] => [openai, ...Object.values(servers)];

beforeAll(async () => {
  for (const flavour of Object.keys(FLAVOURS) as FlavourName[]) servers[flavour] = await startOpenAI({ ...SPEECH_FILES, flavour });
  openai = await startOpenAI(SPEECH_FILES);
  audio = await prepareSample();
});
afterEach(async () => void (await Promise.all(all().map(clearFaults))));
afterAll(async () => {
  await Promise.all(all().map((server) => server.close()));
  await audio?.remove();
});

const TRANSCRIPT = SCRIPT.map(({ speaker, text }, index) => `[${index + 1}] ${speaker} 0:${String(index).padStart(2, '0')}: ${text}`).join('\n');
const modelAt = (server: SandboxServer, name: keyof typeof OPENAI_COMPATIBILITY, more: { apiKey?: string; timeoutMs?: number; appUrl?: string } = {}) =>
  languageModels.create({ provider: 'openai', baseUrl: `${server.url}/v1`, apiKey: OPENAI_KEY, model: 'some/model', timeoutMs: 20_000, only: undefined, capabilities: OPENAI_COMPATIBILITY[name], ...more });
const ask = (model: ReturnType<typeof modelAt>, called: AbortSignal = signal) =>
  model.complete({
    messages: [{ role: 'system', content: 'You read phone calls.' }, { role: 'user', content: TRANSCRIPT }, { role: 'user', content: 'TASK: facts' }],
    schema: FORM,
    cacheKey: 'call',
    maxOutputTokens: 8_000,
    signal: called,
  });
const CHAT = 'POST /v1/chat/completions';

describe('a language model', () => {
  it.each([
    ['vllm', 'json_schema'],
    ['ollama', 'json_schema'],
    ['ollama_cloud', 'json_object'],
    ['openrouter', 'json_schema'],
    ['plain', null],
  ] as const)('behind %s fills in the form, and is asked for %s', async (name, format) => {
    const answer = await ask(modelAt(servers[name], name));
    expect(FormSchema.parse(JSON.parse(answer.content)).facts).toContainEqual(expect.objectContaining({ name: 'company', value: 'Harbour Lights Logistics Pte Ltd' }));
    const billed = (await ledgerOf(servers[name], 'completion')).at(-1)!;
    expect(billed['format']).toBe(format);
    // Whatever it tells is what it billed; caching nobody told of is none.
    expect(answer).toMatchObject({ finish: 'stop', model: 'some/model', usage: { inputTokens: Number(billed['input']) - Number(name === 'openrouter' ? billed['cached'] : 0), outputTokens: billed['output'] } });
  });

  it('that is asked for more than its server can do refuses, as the one next to it would', async () => {
    expect(await failureOf(ask(modelAt(servers.plain, 'vllm')))).toMatchObject({ code: 'UPSTREAM_REJECTED' });
    expect(await failureOf(ask(modelAt(servers.vllm, 'openai')))).toMatchObject({ code: 'UPSTREAM_REJECTED' });
    // A schema that nobody enforces: words around the JSON, which is why that server has a name of its own.
    expect((await ask(modelAt(servers.ollama_cloud, 'ollama'))).content).toMatch(/^<think>/);
  });

  it('of a server without keys needs none', async () => {
    expect((await ask(modelAt(servers.ollama, 'ollama', { apiKey: '' }))).finish).toBe('stop');
  });

  it.each(['vllm', 'ollama_cloud', 'plain'] as const)('behind %s that tells no usage has used nothing that is known', async (name) => {
    await addFaults(servers[name], { route: CHAT, effect: { kind: 'no_usage' } });
    expect((await ask(modelAt(servers[name], name))).usage).toEqual({ inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 });
  });
});

describe('JSON in a text', () => {
  it.each([
    ['alone', '{"a":1}', '{"a":1}'],
    ['in a fence', 'Sure:\n```json\n{"a":{"b":"}"}}\n```\nAnything else?', '{"a":{"b":"}"}}'],
    ['in a fence without a language', '```\n{"a":1}\n```', '{"a":1}'],
    ['after thoughts that have braces', '<think>If {x} then {y}</think>{"a":1}', '{"a":1}'],
    ['between words', 'The answer is {"a":1}.', '{"a":1}'],
    ['that is none', 'I cannot do that.', 'I cannot do that.'],
    ['that is cut off', '{"a":', '{"a":'],
  ])('%s is found', (_where, text, json) => {
    expect(jsonInText(text)).toBe(json);
  });
});

describe('a gateway', () => {
  const model = (more: Parameters<typeof modelAt>[2] = {}) => modelAt(servers.openrouter, 'openrouter', more);

  it('is told who asks, and what it says it charged is what it costs', async () => {
    const answer = await ask(model({ appUrl: 'https://calls.example' }));
    const billed = (await ledgerOf(servers.openrouter, 'completion')).at(-1)!;
    expect(answer.costMicroUsd).toBe(billed['microUsd']);
    expect(billed).toMatchObject({ title: 'Aftercall', referer: 'https://calls.example' });
    await ask(modelAt(servers.vllm, 'vllm', { appUrl: 'https://calls.example' }));
    expect((await ledgerOf(servers.vllm, 'completion')).at(-1)).toMatchObject({ title: null, referer: null });
  });

  it.each([
    [402, 'Insufficient credits', 'QUOTA_EXHAUSTED'],
    [429, 'Rate limited upstream', 'RATE_LIMITED'],
    [502, 'Provider returned error', 'UPSTREAM_UNAVAILABLE'],
    [503, 'No provider available', 'UPSTREAM_UNAVAILABLE'],
    [400, 'Bad request', 'UPSTREAM_REJECTED'],
    [401, 'No auth credentials found', 'AUTH_FAILED'],
  ])('that writes %s inside an answer of 200 has failed, and may have billed it', async (code, message, expected) => {
    await addFaults(servers.openrouter, { route: CHAT, effect: { kind: 'inner_error', code, message } });
    expect(await failureOf(ask(model()))).toMatchObject({ code: expected, outcome: 'unknown', message: expect.stringContaining(message) as unknown });
  });
  it('whose moderation stops a call says so', async () => {
    await addFaults(servers.openrouter, { route: CHAT, effect: { kind: 'inner_error', code: 403, message: 'Input was flagged', metadata: { reasons: ['violence'] } } });
    expect(await failureOf(ask(model()))).toMatchObject({ code: 'MODEL_REFUSED' });
  });
  it('that writes the error into the choice has failed too', async () => {
    await addFaults(servers.openrouter, respond(CHAT, 200, { id: 'gen-1', choices: [{ index: 0, message: { role: 'assistant', content: '' }, finish_reason: 'error', error: { code: 502, message: 'Upstream died' } }] }));
    expect(await failureOf(ask(model()))).toMatchObject({ code: 'UPSTREAM_UNAVAILABLE' });
  });
  it('that refuses outright for want of credit bills nothing', async () => {
    await addFaults(servers.openrouter, respond(CHAT, 402, { error: { code: 402, message: 'Insufficient credits' } }));
    expect(await failureOf(ask(model()))).toMatchObject({ code: 'QUOTA_EXHAUSTED', outcome: 'refused' });
  });
});

describe('a transcription', () => {
  const transcribe = (server: SandboxServer, name: keyof typeof OPENAI_COMPATIBILITY, model = 'Systran/faster-whisper-small', called: AbortSignal = signal) =>
    transcribers
      .create({ provider: 'openai', baseUrl: `${server.url}/v1`, apiKey: OPENAI_KEY, model, timeoutMs: 20_000, only: undefined, capabilities: OPENAI_COMPATIBILITY[name] })
      .transcribe({ path: audio.path, durationMs: audio.durationMs, wordTimes: true, signal: called });

  it('by a server that knows times has them, of words too, and none of its usage', async () => {
    const { segments, usage, language } = await transcribe(servers.speaches, 'speaches');
    expect(segments.map(({ text }) => text)).toEqual(SCRIPT.map(({ text }) => text));
    expectWords(segments);
    expect(segments.every(({ speaker }) => speaker === undefined)).toBe(true);
    expect({ usage, language }).toEqual({ usage: { seconds: 74 }, language: 'en' });
  });
  it.each(['vllm', 'ollama', 'plain'] as const)('by %s is asked for plain JSON: the whole text, once', async (name) => {
    const before = (await ledgerOf(servers[name])).length;
    const { segments, timed } = await transcribe(servers[name], name);
    expect(timed).toBe(false);
    expect(segments).toEqual([{ startMs: 0, endMs: audio.durationMs, text: WORDS }]);
    expect((await ledgerOf(servers[name])).slice(before)).toEqual([expect.objectContaining({ format: 'json' })]);
  });
  it.each(['ollama_cloud', 'openrouter'] as const)('by %s there is none: nothing is sent', async (name) => {
    expect(await failureOf(transcribe(servers[name], name))).toMatchObject({ code: 'CONFIG_INVALID', outcome: 'refused' });
  });
  it('by OpenAI is in the format of the model', async () => {
    expect((await transcribe(openai, 'openai', 'gpt-4o-transcribe-diarize')).segments[0]).toMatchObject({ speaker: 'A' });
    expect((await transcribe(openai, 'openai', 'whisper-1')).segments).toHaveLength(SCRIPT.length);
    expect((await transcribe(openai, 'openai', 'gpt-4o-transcribe')).segments).toHaveLength(1);
  });

  const SPEECH = 'POST /v1/audio/transcriptions';
  const cases: [string, (route: string) => Fault, object][] = [
    ['429 with a time', (route) => respond(route, 429, { error: { message: 'slow down' } }, { 'retry-after': '3' }), { code: 'RATE_LIMITED', retryAfterMs: 3_000, outcome: 'refused' }],
    ['500', (route) => respond(route, 500, { detail: 'CUDA out of memory' }), { code: 'UPSTREAM_UNAVAILABLE', outcome: 'refused' }],
    ['an unknown model', (route) => respond(route, 404, { detail: 'Model is not installed locally' }), { code: 'UPSTREAM_REJECTED', retryable: false }],
    // Jest gives the client an abort of another realm, in which it does not recognise its own timeout.
    ['nothing', (route) => ({ route, effect: { kind: 'hang' } }), { code: expect.stringMatching(/^UPSTREAM_(TIMEOUT|UNAVAILABLE)$/), outcome: 'unknown' }],
    ['half an answer', (route) => ({ route, effect: { kind: 'cut' } }), { code: 'UPSTREAM_UNAVAILABLE', outcome: 'unknown' }],
    ['broken JSON', (route) => respond(route, 200, '{"text": "hel', { 'content-type': 'application/json' }), { code: 'UPSTREAM_NONSENSE', outcome: 'unknown' }],
    ['another shape', (route) => respond(route, 200, { words: 7 }), { code: 'UPSTREAM_NONSENSE', outcome: 'unknown' }],
  ];
  it.each(cases)('or a completion that gets %s fails in the project’s way', async (_what, fault, expected) => {
    const short = (called = signal) =>
      transcribers.create({ provider: 'openai', baseUrl: `${servers.speaches.url}/v1`, apiKey: '', model: 'whisper', timeoutMs: 3_000, only: undefined, capabilities: OPENAI_COMPATIBILITY.speaches }).transcribe({ path: audio.short.path, durationMs: 8_000, signal: called });
    await addFaults(servers.speaches, fault(SPEECH));
    expect(await failureOf(short())).toMatchObject(expected);
    await addFaults(servers.vllm, fault(CHAT));
    expect(await failureOf(ask(modelAt(servers.vllm, 'vllm', { timeoutMs: 3_000 })))).toMatchObject(expected);
  });
  it('or a completion that is called off is given up at once', async () => {
    await addFaults(servers.speaches, { route: SPEECH, effect: { kind: 'hang' } });
    await addFaults(servers.vllm, { route: CHAT, effect: { kind: 'hang' } });
    for (const given of [
      await abortOnce(servers.speaches, '/v1/audio', (called) => transcribe(servers.speaches, 'speaches', 'whisper', called)),
      await abortOnce(servers.vllm, '/v1/chat', (called) => ask(modelAt(servers.vllm, 'vllm'), called)),
    ]) {
      expect(given.error).toMatchObject({ message: 'called off' });
      expect(given.tookMs).toBeLessThan(1_000);
    }
  });
});
