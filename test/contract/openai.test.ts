import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import OpenAI, { APIError, toFile } from 'openai';
import { zodResponseFormat } from 'openai/helpers/zod';
import { ContentFilterFinishReasonError, LengthFinishReasonError } from 'openai/error';
import type { TranscriptionCreateParams, TranscriptionDiarized, TranscriptionVerbose } from 'openai/resources/audio/transcriptions';
import { z } from 'zod';
import { ffmpeg } from '../../sandbox/audio.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { OPENAI_KEY, startOpenAI } from '../../sandbox/openai/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { FORM_JSON_SCHEMA as FORM, FormSchema } from '../../src/activities/ask-model.schema.ts';
import { addFaults, clearFaults, ffmpegPath, ledgerOf } from '../support/sandbox.ts';

/** The stand-in for OpenAI, asked by OpenAI's own client: what it answers, bills and refuses. */
const CALL = SAMPLE_CALLS[0]!;
const { script } = CALL as Required<typeof CALL>;
const file = join(AUDIO_FOLDER, CALL.recording!.file);
const WORDS = script.map(({ text }) => text).join(' ');
/** Whole seconds, as they are billed. */
const SECONDS = 74;

let server: SandboxServer;
let client: OpenAI;
let mixed: Uint8Array;
let short: Uint8Array;

const oggOf = (input: string[], ...args: string[]): Promise<Buffer> => ffmpeg(ffmpegPath(), [...input, '-ac', '1', '-ar', '16000', ...args, '-c:a', 'libopus', '-b:a', '24k', '-f', 'ogg', 'pipe:1']);
const upload = (audio: Uint8Array) => toFile(audio, 'call.ogg');
const transcribe = async (params: Partial<TranscriptionCreateParams> & { model: string }, audio = mixed): Promise<unknown> =>
  client.audio.transcriptions.create({ file: await upload(audio), ...params, stream: false } as TranscriptionCreateParams<'json'>);
const refusalOf = async (answer: Promise<unknown>) => {
  const error = await answer.then(() => undefined, (thrown: unknown) => thrown);
  if (!(error instanceof APIError)) throw new Error(`It was not refused, but: ${String(error)}`, { cause: error });
  return { status: error.status as number, message: error.message, type: error.type, param: error.param, code: error.code, requestID: error.requestID };
};

beforeAll(async () => {
  server = await startOpenAI({ calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() });
  client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: OPENAI_KEY, maxRetries: 0 });
  mixed = await oggOf(['-i', file]);
  short = await oggOf(['-t', '20', '-i', file]);
});
afterEach(() => clearFaults(server));
afterAll(() => server?.close());

const byTime = { type: 'duration', seconds: SECONDS };
const tokens = expect.any(Number) as unknown;
const byTokens = { type: 'tokens', input_tokens: tokens, output_tokens: tokens, total_tokens: tokens, input_token_details: { audio_tokens: tokens, text_tokens: 0 } };
const DIARIZE = { model: 'gpt-4o-transcribe-diarize', chunking_strategy: 'auto' as const };

describe('a transcription', () => {
  it.each([
    ['whisper-1', byTime],
    ['gpt-transcribe', byTime],
    ['gpt-4o-transcribe', byTokens],
    ['gpt-4o-mini-transcribe', byTokens],
    ['gpt-4o-mini-transcribe-2025-12-15', byTokens],
    ['gpt-4o-transcribe-diarize', byTokens],
  ])('by %s is JSON with words and usage', async (model, usage) => {
    const answer = await transcribe({ model, ...(model === DIARIZE.model ? DIARIZE : {}) });
    expect(answer).toEqual({ text: WORDS, usage });
  });
  it('adds up its tokens', async () => {
    const { usage } = (await transcribe({ model: 'gpt-4o-transcribe' })) as { usage: { input_tokens: number; output_tokens: number; total_tokens: number; input_token_details: { audio_tokens: number } } };
    expect(usage.total_tokens).toBe(usage.input_tokens + usage.output_tokens);
    expect(usage.input_token_details.audio_tokens).toBe(usage.input_tokens);
  });
  it.each(['whisper-1', 'gpt-4o-transcribe-diarize'])('by %s is plain text on request', async (model) => {
    expect(await transcribe({ model, response_format: 'text', ...(model === DIARIZE.model ? DIARIZE : {}) })).toBe(`${WORDS}\n`);
  });

  const verbose = async (granularities?: ('word' | 'segment')[]) =>
    (await transcribe({ model: 'whisper-1', response_format: 'verbose_json', ...(granularities ? { timestamp_granularities: granularities } : {}) })) as TranscriptionVerbose;
  it('by whisper-1 has the times of segments in seconds', async () => {
    const answer = await verbose();
    expect(answer).toMatchObject({ task: 'transcribe', language: 'english', text: WORDS, usage: byTime });
    expect(Math.abs(answer.duration - 73.94)).toBeLessThan(0.2);
    expect(answer.words).toBeUndefined();
    expect(answer.segments!.map(({ text }) => text.trim())).toEqual(script.map(({ text }) => text));
    for (const [index, segment] of answer.segments!.entries()) {
      expect(segment).toEqual({ id: index, seek: tokens, start: tokens, end: tokens, text: expect.stringMatching(/^ \S/), tokens: expect.any(Array), temperature: 0, avg_logprob: tokens, compression_ratio: tokens, no_speech_prob: tokens });
      expect(Math.abs(segment.start - script[index]!.startMs / 1_000)).toBeLessThan(0.15);
      expect(Math.abs(segment.end - script[index]!.endMs / 1_000)).toBeLessThan(0.15);
    }
  });
  it('by whisper-1 has the times of words when they are asked for', async () => {
    expect((await verbose(['segment'])).words).toBeUndefined();
    expect((await verbose(['word'])).segments).toBeUndefined();
    const { words, segments } = await verbose(['word', 'segment']);
    expect(segments).toHaveLength(script.length);
    expect(words!.map(({ word }) => word).join(' ')).toBe(WORDS);
    for (const [index, { start, end }] of words!.entries()) {
      expect(end).toBeGreaterThan(start);
      expect(start).toBeGreaterThanOrEqual(words![index - 1]?.end ?? 0);
    }
    expect(words!.at(-1)!.end).toBe(segments!.at(-1)!.end);
  });

  it.each([['srt', ','], ['vtt', '.']] as const)('by whisper-1 is subtitles as %s', async (format, comma) => {
    const subtitles = String(await transcribe({ model: 'whisper-1', response_format: format }));
    expect(subtitles.startsWith(format === 'vtt' ? 'WEBVTT\n\n00:00:00.' : '1\n00:00:00,')).toBe(true);
    const cues = [...subtitles.matchAll(/^(\d\d):(\d\d):(\d\d)([.,])(\d{3}) --> \d\d:\d\d:\d\d[.,]\d{3}\n(.+)$/gm)];
    expect(cues.map(([, , , , mark, , text]) => [mark, text])).toEqual(script.map(({ text }) => [comma, text]));
    for (const [index, [, hours, minutes, seconds, , ms]] of cues.entries()) {
      expect(Math.abs((Number(hours) * 3_600 + Number(minutes) * 60 + Number(seconds)) * 1_000 + Number(ms) - script[index]!.startMs)).toBeLessThan(150);
    }
  });

  it('with speakers has letters for them, in the order in which they speak', async () => {
    const answer = (await transcribe({ ...DIARIZE, response_format: 'diarized_json' })) as TranscriptionDiarized;
    expect(answer).toMatchObject({ task: 'transcribe', text: WORDS, usage: byTokens });
    expect(answer.segments.map(({ type, id, speaker, text }) => ({ type, id, speaker, text }))).toEqual(
      script.map(({ speaker, text }, index) => ({ type: 'transcript.text.segment', id: `seg_${String(index + 1).padStart(3, '0')}`, speaker: speaker === 'agent' ? 'A' : 'B', text })),
    );
  });
  it('with speakers needs no chunking up to 30 s', async () => {
    expect(((await transcribe({ model: DIARIZE.model, response_format: 'diarized_json' }, short)) as TranscriptionDiarized).segments.length).toBeGreaterThan(2);
  });

  const voiceOf = async (speaker: string, seconds = 3): Promise<string> => {
    const { startMs } = script.find((line) => line.speaker === speaker && line.endMs - line.startMs > 3_000)!;
    return `data:audio/ogg;base64,${(await oggOf(['-ss', String(startMs / 1_000), '-t', String(seconds), '-i', file])).toString('base64')}`;
  };
  it('with speakers gives them the names of the samples that they sound like', async () => {
    const answer = (await transcribe({
      ...DIARIZE,
      response_format: 'diarized_json',
      known_speaker_names: ['Daniel', 'Priya'],
      known_speaker_references: [await voiceOf('customer'), await voiceOf('agent')],
    })) as TranscriptionDiarized;
    expect(answer.segments.map(({ speaker }) => speaker)).toEqual(script.map(({ speaker }) => (speaker === 'agent' ? 'Priya' : 'Daniel')));
  });
  it('takes two to ten seconds of at most four known speakers', async () => {
    const sample = await voiceOf('agent');
    const known = (names: string[], references: string[]) => refusalOf(transcribe({ ...DIARIZE, response_format: 'diarized_json', known_speaker_names: names, known_speaker_references: references }));
    const refused = { status: 400, type: 'invalid_request_error', param: 'known_speaker_references' };
    expect(await known(['Priya', 'Daniel'], [sample])).toMatchObject(refused);
    expect(await known(['a', 'b', 'c', 'd', 'e'], Array<string>(5).fill(sample))).toMatchObject(refused);
    expect(await known(['Priya'], ['https://example.com/voice.ogg'])).toMatchObject(refused);
    expect(await known(['Priya'], [await voiceOf('agent', 1)])).toMatchObject(refused);
    expect(await known(['Priya'], [await voiceOf('agent', 12)])).toMatchObject(refused);
  });

  it('says who answered and under which ID, and bills what it says', async () => {
    const { response, request_id } = await client.audio.transcriptions.create({ file: await upload(short), model: 'whisper-1', response_format: 'json' }).withResponse();
    expect(request_id).toMatch(/^req_\w{32}$/);
    expect(response.headers.get('x-stt-provider')).toBe('sandbox: scripted');
    expect((await ledgerOf(server, 'transcription')).at(-1)).toMatchObject({ requestId: request_id, model: 'whisper-1', microUsd: Math.round((20 / 60) * 6_000) });
  });
});

describe('a transcription is refused', () => {
  const ofFormat = (model: string, format: string) => [`${format} by ${model}`, { model, response_format: format } as Partial<TranscriptionCreateParams> & { model: string }, 'response_format'] as const;
  it.each([
    ...['text', 'srt', 'verbose_json', 'vtt', 'diarized_json'].flatMap((format) => ['gpt-4o-transcribe', 'gpt-4o-mini-transcribe'].map((model) => ofFormat(model, format))),
    ...['srt', 'verbose_json', 'vtt'].map((format) => ofFormat('gpt-4o-transcribe-diarize', format)),
    ofFormat('whisper-1', 'diarized_json'),
    ['a prompt with speakers', { ...DIARIZE, prompt: 'A phone call.' }, 'prompt'],
    ['log probabilities with speakers', { ...DIARIZE, include: ['logprobs' as const] }, 'include'],
    ['log probabilities by whisper-1', { model: 'whisper-1', include: ['logprobs' as const] }, 'include'],
    ['times of words with speakers', { ...DIARIZE, timestamp_granularities: ['word' as const] }, 'timestamp_granularities'],
    ['times of words in plain JSON', { model: 'whisper-1', timestamp_granularities: ['word' as const] }, 'timestamp_granularities'],
    ['speakers of more than 30 s without chunking', { model: DIARIZE.model, response_format: 'diarized_json' as const }, 'chunking_strategy'],
  ] as const)('for %s', async (_what, params, param) => {
    const billed = (await ledgerOf(server)).length;
    expect(await refusalOf(transcribe(params as Partial<TranscriptionCreateParams> & { model: string }))).toMatchObject({ status: 400, type: 'invalid_request_error', param, requestID: expect.stringMatching(/^req_/) as unknown });
    expect(await ledgerOf(server)).toHaveLength(billed);
  });

  it.each([
    [DIARIZE.model, 1_401, 1_400],
    ['gpt-4o-transcribe', 1_501, 1_500],
  ])('by %s for more seconds than it takes', async (model, seconds, longest) => {
    const long = await ffmpeg(ffmpegPath(), ['-f', 'lavfi', '-i', 'anullsrc=r=8000:cl=mono', '-t', String(seconds), '-c:a', 'libopus', '-b:a', '6k', '-f', 'ogg', 'pipe:1']);
    const { message, ...rest } = await refusalOf(transcribe({ model, ...(model === DIARIZE.model ? DIARIZE : {}) }, long));
    expect(rest).toMatchObject({ status: 400, type: 'invalid_request_error', code: 'invalid_value' });
    expect(message).toMatch(new RegExp(`audio duration ${seconds}\\.\\d seconds is longer than ${longest} seconds which is the maximum for this model`));
    // A model without such a limit takes it.
    expect(await transcribe({ model: 'whisper-1' }, long)).toMatchObject({ text: '', usage: { seconds } });
  });

  it('for a file that is empty, broken, or larger than 25 MB', async () => {
    const model = 'whisper-1';
    expect(await refusalOf(transcribe({ model }, new Uint8Array()))).toMatchObject({ status: 400, param: 'file' });
    expect(await refusalOf(transcribe({ model }, Buffer.from('not a recording')))).toMatchObject({ status: 400, param: 'file', code: 'invalid_value', message: expect.stringContaining('corrupted') as unknown });
    expect(await refusalOf(transcribe({ model }, mixed.subarray(0, 30)))).toMatchObject({ status: 400, param: 'file' });
    expect(await refusalOf(transcribe({ model }, new Uint8Array(25 * 1024 * 1024 + 1)))).toMatchObject({ status: 413, type: 'invalid_request_error', message: expect.stringContaining('26214400') as unknown });
  });
  it('without a model, a file or a form', async () => {
    const headers = { authorization: `Bearer ${OPENAI_KEY}` };
    const post = async (body: FormData | string) => {
      const response = await fetch(`${server.url}/v1/audio/transcriptions`, { method: 'POST', headers, body });
      return { status: response.status, ...((await response.json()) as { error: object }).error };
    };
    const form = (fields: Record<string, string | Blob>): FormData => {
      const filled = new FormData();
      for (const [name, value] of Object.entries(fields)) filled.set(name, value);
      return filled;
    };
    const error = { status: 400, type: 'invalid_request_error', code: null };
    expect(await post(form({ file: new Blob(['x']) }))).toEqual({ ...error, param: 'model', message: expect.any(String) });
    expect(await post(form({ model: 'whisper-1' }))).toEqual({ ...error, param: 'file', message: expect.any(String) });
    expect(await post('{}')).toEqual({ ...error, param: 'file', message: expect.any(String) });
  });
});

describe('a key that is not known', () => {
  const stranger = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'sk-wrong', maxRetries: 0 });
  const refused = { status: 401, type: 'invalid_request_error', code: 'invalid_api_key' };
  it('opens neither transcription, nor chat, nor the list of models', async () => {
    expect(await refusalOf(stranger().audio.transcriptions.create({ file: await upload(short), model: 'whisper-1' }))).toMatchObject(refused);
    expect(await refusalOf(stranger().chat.completions.create({ model: 'gpt-5-mini', messages: [{ role: 'user', content: 'x' }] }))).toMatchObject(refused);
    expect(await refusalOf(stranger().models.list())).toMatchObject(refused);
    expect((await client.models.list()).data.map(({ id }) => id)).toContain('gpt-4o-transcribe-diarize');
  });
});

describe('a chat completion', () => {
  const MODEL = 'gpt-5-mini';
  const transcript = script.map(({ speaker, text }, index) => `[${index + 1}] ${speaker} 0:${String(index).padStart(2, '0')}: ${text}`).join('\n');
  const RULES = `You grade phone calls.${' Judge by the words alone and quote them as they stand.'.repeat(120)}`;
  const response_format = { type: 'json_schema' as const, json_schema: { name: FORM.name, strict: true, schema: FORM.json as Record<string, unknown> } };
  const ask = (key: string, last = 'TASK: facts', more: Partial<OpenAI.ChatCompletionCreateParamsNonStreaming> = {}) =>
    client.chat.completions.create({
      model: MODEL,
      messages: [{ role: 'system', content: RULES }, { role: 'user', content: transcript }, { role: 'user', content: last }],
      response_format,
      prompt_cache_key: key,
      ...more,
    });
  const withFault = async (kind: string) => addFaults(server, { route: 'POST /v1/chat/completions', effect: { kind } });

  it('answers in the schema, with every field that the client knows', async () => {
    const answer = await ask('fields');
    expect(answer).toEqual({
      id: expect.stringMatching(/^chatcmpl-/),
      object: 'chat.completion',
      created: tokens,
      // The dated snapshot, not the name that was asked for.
      model: expect.stringMatching(/^gpt-5-mini-\d{4}-\d\d-\d\d$/),
      choices: [{ index: 0, message: { role: 'assistant', content: expect.any(String), refusal: null }, finish_reason: 'stop' }],
      usage: {
        prompt_tokens: tokens,
        completion_tokens: tokens,
        total_tokens: answer.usage!.prompt_tokens + answer.usage!.completion_tokens,
        prompt_tokens_details: { cached_tokens: 0, audio_tokens: 0 },
        completion_tokens_details: { reasoning_tokens: 0, audio_tokens: 0, accepted_prediction_tokens: 0, rejected_prediction_tokens: 0 },
      },
    });
    expect(FormSchema.parse(JSON.parse(answer.choices[0]!.message.content!)).facts).toContainEqual(expect.objectContaining({ name: 'company', value: 'Harbour Lights Logistics Pte Ltd' }));
    expect(answer._request_id).toMatch(/^req_/);
    expect((await ledgerOf(server, 'completion')).at(-1)).toMatchObject({ requestId: answer._request_id, input: answer.usage!.prompt_tokens, output: answer.usage!.completion_tokens, cached: 0 });
  });
  it('is parsed by the client’s own helper', async () => {
    const Form = z.object({ analysis: z.object({ summary: z.string(), sentiment: z.enum(['positive', 'neutral', 'negative']) }).nullable(), facts: z.array(z.string()).nullable() });
    const { choices } = await client.chat.completions.parse({ model: MODEL, messages: [{ role: 'user', content: transcript }], response_format: zodResponseFormat(Form, 'form') });
    expect(choices[0]!.message.parsed).toMatchObject({ analysis: { sentiment: 'positive' }, facts: null });
  });

  it('counts a long prefix that comes again as cached, in steps of 128 tokens', async () => {
    expect((await ask('prefix')).usage!.prompt_tokens_details!.cached_tokens).toBe(0);
    const { usage } = await ask('prefix', 'TASK: analysis\n- greeting: Does the agent greet?');
    const cached = usage!.prompt_tokens_details!.cached_tokens!;
    expect(cached).toBeGreaterThanOrEqual(1_024);
    expect(cached % 128).toBe(0);
    expect(cached).toBeLessThan(usage!.prompt_tokens);
    const { input, cached: billedAsCached, output, microUsd } = (await ledgerOf(server, 'completion')).at(-1)! as unknown as Record<string, number>;
    expect(billedAsCached).toBe(cached);
    expect(microUsd).toBe(Math.round((input! - cached) * 0.25 + cached * 0.025 + output! * 2));
  });
  it('caches nothing below 1,024 tokens, nor under another key, nor behind another beginning', async () => {
    const cachedOf = async (answer: ReturnType<typeof ask>): Promise<number | undefined> => (await answer).usage!.prompt_tokens_details!.cached_tokens;
    const brief = { messages: [{ role: 'user' as const, content: transcript.slice(0, 800) }], response_format: { type: 'json_schema' as const, json_schema: { name: 'brief', strict: true, schema: { type: 'object', properties: {}, required: [], additionalProperties: false } } } };
    await ask('short', '', brief);
    expect(await cachedOf(ask('short', '', brief))).toBe(0);
    await ask('one');
    expect(await cachedOf(ask('another'))).toBe(0);
    expect(await cachedOf(ask('one', '', { response_format: { ...response_format, json_schema: { ...response_format.json_schema, name: 'other' } } }))).toBe(0);
  });

  it('refuses, is cut off and is filtered as the client expects it', async () => {
    const Form = zodResponseFormat(z.object({ facts: z.array(z.string()).nullable() }), 'form');
    const parse = () => client.chat.completions.parse({ model: MODEL, messages: [{ role: 'user', content: transcript }], response_format: Form });
    await withFault('refusal');
    expect((await ask('refusal')).choices[0]).toEqual({ index: 0, message: { role: 'assistant', content: null, refusal: expect.any(String) as unknown }, finish_reason: 'stop' });
    await withFault('cut_off');
    const cut = (await ask('cut')).choices[0]!;
    expect(cut.finish_reason).toBe('length');
    expect(() => JSON.parse(cut.message.content!) as unknown).toThrow(SyntaxError);
    await withFault('cut_off');
    await expect(parse()).rejects.toThrow(LengthFinishReasonError);
    await withFault('content_filter');
    await expect(parse()).rejects.toThrow(ContentFilterFinishReasonError);
    await withFault('no_usage');
    expect((await ask('no usage')).usage).toBeUndefined();
  });
  it('ends at the tokens that were allowed', async () => {
    const { choices, usage } = await ask('allowed', 'TASK: facts', { max_completion_tokens: 16 });
    expect([choices[0]!.finish_reason, usage!.completion_tokens]).toEqual(['length', 16]);
  });

  const schemaOf = (schema: object) => ({ response_format: { type: 'json_schema' as const, json_schema: { name: 'loose', strict: true, schema: schema as Record<string, unknown> } } });
  const closed = { type: 'object', additionalProperties: false };
  it.each([
    ['a schema that allows other keys', schemaOf({ type: 'object', properties: { a: { type: 'string' } }, required: ['a'] }), { param: 'response_format' }],
    ['a schema with an optional key', schemaOf({ ...closed, properties: { a: { type: 'string' }, b: { type: 'string' } }, required: ['a'] }), { param: 'response_format' }],
    ['such a schema further inside', schemaOf({ ...closed, properties: { a: { type: 'array', items: { anyOf: [{ type: 'object', properties: {} }] } } }, required: ['a'] }), { param: 'response_format' }],
    ['max_tokens', { max_tokens: 100 }, { param: 'max_tokens', code: 'unsupported_parameter' }],
    ['a temperature', { temperature: 0 }, { param: 'temperature', code: 'unsupported_value' }],
    ['no messages', { messages: [] }, { param: 'messages' }],
    ['no model', { model: '' }, { param: 'model' }],
  ] as const)('is refused for %s', async (_what, more, refused) => {
    expect(await refusalOf(ask('refused', 'TASK: facts', more as unknown as Partial<OpenAI.ChatCompletionCreateParamsNonStreaming>))).toMatchObject({ status: 400, type: 'invalid_request_error', ...refused });
  });
});

it('answers an unknown address, and JSON that is none, as errors that the client reads', async () => {
  expect(await refusalOf(client.get('/responses'))).toMatchObject({ status: 404, type: 'invalid_request_error', message: expect.stringContaining('Invalid URL (GET /v1/responses)') as unknown });
  const response = await fetch(`${server.url}/v1/chat/completions`, { method: 'POST', headers: { authorization: `Bearer ${OPENAI_KEY}`, 'content-type': 'application/json' }, body: '{"model":' });
  expect([response.status, await response.json()]).toEqual([400, { error: { message: expect.stringContaining('could not parse the JSON'), type: 'invalid_request_error', param: null, code: null } }]);
});
