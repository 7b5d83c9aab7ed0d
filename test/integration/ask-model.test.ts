import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { MockActivityEnvironment } from '@temporalio/testing';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { OPENAI_KEY, startOpenAI } from '../../sandbox/openai/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { createAskModel, type ModelAnswer } from '../../src/activities/ask-model.ts';
import { createLanguageModel } from '../../src/adapters/llm/registry.ts';
import { loadConfig } from '../../src/config.ts';
import { createCalls } from '../../src/db/calls.ts';
import { createCosts } from '../../src/db/costs.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { analysisTask, factsTask } from '../../src/domain/prompts.ts';
import { DEFAULT_RUBRIC } from '../../src/domain/rubric.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { loadPrices } from '../../src/prices.ts';
import { complete } from '../support/config.ts';
import { ffmpegPath, ledgerOf } from '../support/sandbox.ts';
import { anyDatabase } from '../support/postgres.ts';

let db: Database;
let openai: SandboxServer;

beforeAll(async () => {
  db = await openDatabase(await anyDatabase());
  await migrate(db);
  openai = await startOpenAI({ calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() });
});
afterAll(async () => {
  await openai?.close();
  await db?.destroy();
});

describe('two questions about one call', () => {
  it('share a prefix that the provider serves from its cache the second time, and the bill says so', async () => {
    const call = { project: 'default', callId: 'long-call', version: 1 };
    const calls = createCalls(db);
    await calls.stage('default', [{ source: 'webex', callId: call.callId, status: 'completed', direction: 'inbound', startedAtMs: 1 }], 'staged');
    await calls.openVersion(call, { from: 'recording', state: 'staged' });
    const costs = createCosts(db);
    const config = loadConfig({ ...complete, OPENAI_BASE_URL: `${openai.url}/v1`, OPENAI_API_KEY: OPENAI_KEY });
    const model = createLanguageModel(config);
    const askModel = createAskModel({ costs, prices: loadPrices(undefined) });
    // A call of some five minutes: providers cache from 1,024 tokens on, which a sample of one minute does not reach.
    const script = SAMPLE_CALLS.find(({ scenario }) => scenario === 'good_lead')!.script!;
    const turns = Array.from({ length: 4 }, () => script).flat();
    const transcript: Transcript = { callId: call.callId, durationMs: 300_000, provider: 'test', model: 'test', speakersBy: 'channel', speakers: ['customer', 'agent'], turns, usage: { requests: 0 } };

    const analysis = await new MockActivityEnvironment().run<[], ModelAnswer<'analysis'>, () => Promise<ModelAnswer<'analysis'>>>(() => askModel({ call, model, step: 'analysis', transcript, task: analysisTask(DEFAULT_RUBRIC), part: 'analysis' }));
    const facts = await new MockActivityEnvironment().run<[], ModelAnswer<'facts'>, () => Promise<ModelAnswer<'facts'>>>(() => askModel({ call, model, step: 'crm', transcript, task: factsTask(), part: 'facts' }));

    expect(analysis.usage.cachedInputTokens).toBe(0);
    expect(facts.usage.cachedInputTokens).toBeGreaterThanOrEqual(1_024);
    // Most of the second request is the prefix; what is left is its own question.
    expect(facts.usage.cachedInputTokens).toBeGreaterThan(facts.usage.inputTokens);
    const billed = await ledgerOf(openai, 'completion');
    expect([analysis.microUsd, facts.microUsd]).toEqual(billed.map((entry) => entry['microUsd']));
    expect(facts.microUsd).toBeLessThan(analysis.microUsd);
  });
});
