import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createCalls } from '../../src/db/calls.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createQuality, type Quality } from '../../src/db/quality.ts';
import type { Analysis, Verdict } from '../../src/domain/analysis.ts';
import type { CallDetails } from '../../src/domain/call.ts';
import type { PatternKind } from '../../src/domain/patterns.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

let postgres: TestPostgres;
beforeAll(async () => {
  postgres = await startPostgres();
});
afterAll(() => postgres?.stop());

const analysis = (score: number | null, verdicts: Record<string, Verdict>, patterns: PatternKind[] = [], sentiment: Analysis['sentiment'] = 'neutral'): Analysis => ({
  call_id: 'c',
  summary: '',
  sentiment,
  grading: { total_score_percent: score, pass: score === null ? null : score >= 70, categories: {} },
  issues_detected: [],
  recommendations: [],
  patterns: patterns.map((kind) => ({ kind, evidence: { quote: 'q', speaker: 'customer', turn: 0, startMs: 0, endMs: 1 } })),
  answers: Object.entries(verdicts).map(([criterion, verdict]) => ({ criterion, verdict, claimed: 'yes', reason: '', evidence: [], rejected: [] })),
  versions: { prompt: '2', rubric: 'service-call@1', model: 'm', provider: 'p' },
  usage: { kind: 'llm', inputTokens: 0, cachedInputTokens: 0, outputTokens: 0 },
  cost_micro_usd: 0,
});

describe.each(['PGlite', 'PostgreSQL'])('quality over many calls on %s', (kind) => {
  let db: Database;
  let quality: Quality;
  const MIDNIGHT = Date.UTC(2026, 10, 20);
  const keep = async (callId: string, { agent = 'A', at = MIDNIGHT + 12 * 3_600_000, version = 1, project = 'default' }: { agent?: string; at?: number; version?: number; project?: string }, graded: Analysis): Promise<void> => {
    const details: CallDetails = { source: 'webex', callId, status: 'completed', direction: 'inbound', agentName: agent, queueName: 'Sales', startedAtMs: at };
    await createCalls(db).stage(project, [details], 'staged');
    await quality.keep({ project, callId, version }, { details, category: 'sales', analysis: graded });
  };
  const all = { project: 'default', from: new Date(MIDNIGHT - 86_400_000), to: new Date(MIDNIGHT + 2 * 86_400_000) };

  beforeAll(async () => {
    db = await openDatabase(kind === 'PGlite' ? 'pglite:' : await postgres.createDatabase());
    await migrate(db);
    quality = createQuality(db);
    await db.insertInto('projects').values({ id: 'other', name: 'Other', settings: '{}' }).execute();
    await keep('c1', {}, analysis(100, { greeting: 'yes', closing: 'yes' }, ['objection_price', 'objection_price']));
    await keep('c2', {}, analysis(50, { greeting: 'yes', closing: 'not_evidenced' }, ['objection_price', 'complaint'], 'negative'));
    await keep('c3', { agent: 'B' }, analysis(0, { greeting: 'no', closing: 'no' }));
    await keep('c4', { agent: 'B', at: MIDNIGHT - 3_600_000 }, analysis(null, { greeting: 'not_applicable', closing: 'not_applicable' }));
    await keep('c5', { project: 'other' }, analysis(10, { greeting: 'no' }, ['churn_risk']));
  });
  afterAll(() => db?.destroy());

  it('averages what was scored, and counts the rest', async () => {
    expect(await quality.totals(all, { by: 'agent', timeZone: 'UTC', limit: 10 })).toEqual([
      { of: 'A', calls: 2, averageScorePercent: 75, passPercent: 50, negativePercent: 50 },
      { of: 'B', calls: 2, averageScorePercent: 0, passPercent: 0, negativePercent: 0 },
    ]);
    expect(await quality.totals({ ...all, agent: 'A' }, { by: 'category', timeZone: 'UTC', limit: 10 })).toMatchObject([{ of: 'sales', calls: 2 }]);
  });

  it('begins days where the people are who ask', async () => {
    const days = async (timeZone: string) => (await quality.totals(all, { by: 'day', timeZone, limit: 10 })).map(({ of, calls }) => [of, calls]);
    expect(await days('UTC')).toEqual([['2026-11-19', 1], ['2026-11-20', 3]]);
    expect(await days('Asia/Singapore')).toEqual([['2026-11-20', 4]]);
    expect(await days('America/Los_Angeles')).toEqual([['2026-11-19', 1], ['2026-11-20', 3]]);
  });

  it('shows the questions that go wrong first, leaving out calls in which they did not arise', async () => {
    expect(await quality.criteria(all, 10)).toEqual([
      { of: 'closing', answers: { yes: 1, no: 1, not_applicable: 1, not_evidenced: 1 }, yesPercent: 33.3 },
      { of: 'greeting', answers: { yes: 2, no: 1, not_applicable: 1, not_evidenced: 0 }, yesPercent: 66.7 },
    ]);
  });

  it('counts a pattern once per call, of all graded calls', async () => {
    expect(await quality.patterns(all)).toEqual([{ of: 'objection_price', calls: 2, sharePercent: 50 }, { of: 'complaint', calls: 1, sharePercent: 25 }]);
  });

  it('holds one row per call: a later run replaces it, an older one that is late does not', async () => {
    await keep('c6', { at: MIDNIGHT - 80_000_000, version: 2 }, analysis(90, {}));
    await keep('c6', { at: MIDNIGHT - 80_000_000, version: 1 }, analysis(10, {}));
    const only = { ...all, to: new Date(MIDNIGHT - 70_000_000) };
    expect(await quality.totals(only, { by: 'rubric', timeZone: 'UTC', limit: 10 })).toEqual([{ of: 'service-call@1', calls: 1, averageScorePercent: 90, passPercent: 100, negativePercent: 0 }]);
    await keep('c6', { at: MIDNIGHT - 80_000_000, version: 2 }, analysis(20, {}));
    expect(await quality.totals(only, { by: 'rubric', timeZone: 'UTC', limit: 10 })).toMatchObject([{ calls: 1, averageScorePercent: 20 }]);
  });

  it('holds nothing of a call whose newest run ended without an analysis', async () => {
    const calls = createCalls(db);
    const at = MIDNIGHT - 160_000_000;
    const only = { ...all, from: new Date(at - 1_000), to: new Date(at + 1_000) };
    const counted = async (): Promise<number> => (await quality.totals(only, { by: 'rubric', timeZone: 'UTC', limit: 10 })).reduce((sum, total) => sum + total.calls, 0);
    const version = (number: number) => ({ project: 'default', callId: 'c7', version: number });
    await keep('c7', { at }, analysis(90, {}));
    await calls.openVersion(version(1), { from: 'recording', state: 'staged' });
    await calls.keepResult(version(1), 'analysis', analysis(90, {}));
    await calls.setState(version(1), { state: 'completed', result: 'processed' });
    expect(await counted()).toBe(1);
    await calls.openVersion(version(2), { from: 'recording', state: 'staged' });
    await calls.setState(version(2), { state: 'processing', step: 'analysis' });
    // Until it ends, what the older one was graded stands.
    expect(await counted()).toBe(1);
    await calls.setState(version(1), { state: 'completed', result: 'too_short' });
    expect(await counted()).toBe(1);
    await calls.setState(version(2), { state: 'completed', result: 'too_short' });
    expect(await counted()).toBe(0);
  });
});
