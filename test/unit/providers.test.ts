import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { planLaunch } from '../../scripts/launch-plan.ts';
import { createDiarizer, diarizationChoice, diarizers } from '../../src/adapters/diarization/registry.ts';
import { sendForJson } from '../../src/adapters/http/http.ts';
import { modelChoice } from '../../src/adapters/llm/registry.ts';
import { OPENAI_COMPATIBILITY } from '../../src/adapters/openai-capabilities.ts';
import type { Provider } from '../../src/adapters/provider.ts';
import { speechChoice, createTranscriber, transcribers } from '../../src/adapters/stt/registry.ts';
import type { Transcriber } from '../../src/adapters/stt/transcriber.ts';
import { loadConfig } from '../../src/config.ts';
import { complete } from '../support/config.ts';

/** A provider that nobody but this test knows: a server that answers with one line. */
const shorthand: Provider<Transcriber> = {
  baseUrl: 'https://shorthand.example',
  model: 'pitman',
  create: ({ baseUrl, apiKey, model, timeoutMs, only }) => ({
    name: 'shorthand',
    model,
    limits: { maxBytes: 1, maxSeconds: 1 },
    tellsSpeakers: false,
    async transcribe({ durationMs, signal }) {
      const { line } = (await sendForJson({ system: 'Shorthand', doing: 'Transcribing', url: new URL(`${baseUrl}/${model}`), only, headers: { authorization: apiKey }, signal, timeoutMs })) as { line: string };
      return { segments: [{ startMs: 0, endMs: durationMs, text: line }], durationMs, provider: 'shorthand', model, usage: { seconds: 1 } };
    },
  }),
};

describe('a provider that is defined elsewhere', () => {
  let server: Server;
  let url: string;
  beforeAll(async () => {
    server = createServer((request, response) => void response.setHeader('content-type', 'application/json').end(JSON.stringify({ line: `${request.url} by ${request.headers.authorization}` })));
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  });
  afterAll(() => void server.close());

  const known = transcribers.with('shorthand', shorthand);

  it('is used through the registry like the others, as often as projects name it', async () => {
    const audio = { path: 'call.ogg', durationMs: 1_000, signal: new AbortController().signal };
    const texts = await Promise.all(
      [
        { provider: 'shorthand', baseUrl: url, apiKey: 'one', timeoutMs: 5_000, only: undefined },
        { provider: 'shorthand', baseUrl: url, apiKey: 'two', model: 'gregg', timeoutMs: 5_000, only: undefined },
      ].map(async (choice) => (await known.create(choice).transcribe(audio)).segments[0]!.text),
    );
    expect(texts).toEqual(['/pitman by one', '/gregg by two']);
  });
  it('is known beside the others, and not to the registry it was added to', () => {
    expect(known.names).toEqual([...transcribers.names, 'shorthand']);
    expect(transcribers.names).toEqual(['openai', 'deepgram', 'assemblyai']);
    expect(diarizers.names).toEqual(['pyannoteai']);
  });
});

describe('a provider that nobody knows', () => {
  it.each(['whisperer', 'constructor', '__proto__'])('is refused by name: %s', (provider) => {
    expect(() => transcribers.create({ provider, apiKey: 'k', timeoutMs: 1, only: undefined })).toThrow(expect.objectContaining({ code: 'CONFIG_INVALID', advice: expect.stringContaining('openai, deepgram, assemblyai') as unknown }));
  });
  it('is refused when the program starts', () => {
    expect(() => createTranscriber(loadConfig({ ...complete, STT_PROVIDER: 'whisperer', STT_API_KEY: 'k' }))).toThrow('There is no transcription provider "whisperer".');
    expect(() => createDiarizer(loadConfig({ ...complete, DIARIZATION_PROVIDER: 'hark', DIARIZATION_API_KEY: 'k' }))).toThrow('There is no diarisation provider "hark".');
  });
});

describe('a provider that may not be reached', () => {
  const only = { ...complete, OUTBOUND_ONLY: '127.0.0.1' };
  it.each([
    ['Deepgram', () => createTranscriber(loadConfig({ ...only, STT_PROVIDER: 'deepgram', STT_API_KEY: 'k' })), 'The transcription provider "deepgram" is at api.deepgram.com, which is not among the hosts of OUTBOUND_ONLY.'],
    ['AssemblyAI', () => createTranscriber(loadConfig({ ...only, STT_PROVIDER: 'assemblyai', STT_API_KEY: 'k' })), 'is at api.assemblyai.com'],
    ['pyannoteAI', () => createDiarizer(loadConfig({ ...only, DIARIZATION_PROVIDER: 'pyannoteai', DIARIZATION_API_KEY: 'k' })), 'is at api.pyannote.ai'],
    ['another address of pyannoteAI', () => loadConfig({ ...only, DIARIZATION_PROVIDER: 'pyannoteai', DIARIZATION_API_KEY: 'k', DIARIZATION_BASE_URL: 'https://pyannote.example' }), 'DIARIZATION_BASE_URL leads to pyannote.example:443'],
  ])('is refused when the program starts: %s', (_name, create, why) => {
    expect(create).toThrow(why);
  });
  it('may be its own in the house', () => {
    expect(createTranscriber(loadConfig({ ...only, STT_PROVIDER: 'deepgram', STT_API_KEY: 'k', STT_BASE_URL: 'http://127.0.0.1:2' }))).toMatchObject({ name: 'deepgram' });
  });
});

describe('npm start without a language model of its own', () => {
  const state = { apiToken: complete['API_TOKEN']!, keys: complete['AFTERCALL_KEYS']! };
  const settingsOf = (env: Record<string, string>) => planLaunch(env, { folder: '/nowhere', state }).settings;

  it('keeps the key of another provider, and takes away those of a server that is stood in for', () => {
    expect(settingsOf({ STT_PROVIDER: 'deepgram', STT_API_KEY: 'its-key' })).toMatchObject({ STT_PROVIDER: 'deepgram', STT_API_KEY: 'its-key' });
    const stoodIn = settingsOf({ STT_API_KEY: 'k', OPENAI_API_KEY: 'o', OPENAI_COMPATIBILITY: 'ollama', STT_COMPATIBILITY: 'vllm' });
    for (const name of ['STT_API_KEY', 'OPENAI_API_KEY', 'OPENAI_COMPATIBILITY', 'STT_COMPATIBILITY']) expect(stoodIn).not.toHaveProperty(name);
    expect(settingsOf({ STT_BASE_URL: 'http://127.0.0.1:2/v1', STT_COMPATIBILITY: 'speaches', OPENAI_API_KEY: 'o' })).toMatchObject({ STT_API_KEY: 'o', STT_COMPATIBILITY: 'speaches' });
  });
});

describe('the installation’s providers', () => {
  const choices = (env: Record<string, string>) => {
    const config = loadConfig({ ...complete, ...env });
    return { speech: speechChoice(config), diarization: diarizationChoice(config), model: modelChoice(config) };
  };

  it('are OpenAI and nobody, by default', () => {
    const { speech, diarization, model } = choices({});
    expect(speech).toEqual({ provider: 'openai', apiKey: 'openai-key', baseUrl: 'http://127.0.0.1:1/v1', timeoutMs: 600_000, capabilities: OPENAI_COMPATIBILITY.openai });
    expect(createTranscriber(loadConfig(complete))).toMatchObject({ model: 'gpt-4o-transcribe-diarize', tellsSpeakers: true, limits: { maxSeconds: 1_400 } });
    expect(diarization).toBeUndefined();
    expect(createDiarizer(loadConfig(complete))).toBeUndefined();
    expect(model).toMatchObject({ provider: 'openai', apiKey: 'openai-key', model: 'gpt-5-mini' });
  });
  it.each([
    ['deepgram', 'nova-3'],
    ['assemblyai', 'universal-2'],
  ])('may be %s with its own address and model, never with the key of OpenAI', (provider, model) => {
    const { speech } = choices({ STT_PROVIDER: provider, STT_API_KEY: 'its-key' });
    expect(speech).toEqual({ provider, apiKey: 'its-key', timeoutMs: 600_000 });
    expect(transcribers.create(speech)).toMatchObject({ name: provider, model });
    expect(() => choices({ STT_PROVIDER: provider })).toThrow(/STT_API_KEY is not set, but STT_PROVIDER is/);
  });
  it('tell speakers apart with a key', () => {
    expect(choices({ DIARIZATION_PROVIDER: 'pyannoteai', DIARIZATION_API_KEY: 'k', DIARIZATION_BASE_URL: 'http://127.0.0.1:2' }).diarization).toEqual({ provider: 'pyannoteai', apiKey: 'k', baseUrl: 'http://127.0.0.1:2', timeoutMs: 600_000 });
    expect(() => choices({ DIARIZATION_PROVIDER: 'pyannoteai' })).toThrow(/DIARIZATION_API_KEY is not set/);
  });
  it('can do what the setting says, of each server its own', () => {
    const local = choices({ OPENAI_COMPATIBILITY: 'ollama' });
    expect([local.model.capabilities, local.speech.capabilities]).toEqual([OPENAI_COMPATIBILITY.ollama, OPENAI_COMPATIBILITY.ollama]);
    const two = choices({ OPENAI_COMPATIBILITY: 'ollama', STT_BASE_URL: 'http://127.0.0.1:3/v1', STT_COMPATIBILITY: 'speaches' });
    expect([two.model.capabilities, two.speech.capabilities]).toEqual([OPENAI_COMPATIBILITY.ollama, OPENAI_COMPATIBILITY.speaches]);
    expect(() => choices({ OPENAI_COMPATIBILITY: 'lmstudio' })).toThrow(/OPENAI_COMPATIBILITY .*ollama/);
  });
});
