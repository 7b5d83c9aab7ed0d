import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { TELEGRAM_BOT } from '../../sandbox/telegram/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { analysisKey } from '../../src/domain/ids.ts';
import type { EffectiveAnalysis } from '../../src/domain/review.ts';
import { recordsOf } from '../support/salesforce.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until as wait } from '../support/until.ts';

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let token: string;
let asked = 0;

const CALL = SAMPLE_CALLS.find(({ title }) => title.includes('qualified'))!.taskId;
const OTHER = SAMPLE_CALLS.find(({ title }) => title.includes('vague needs'))!.taskId;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-review-'));
  [server, sandbox] = await Promise.all([startTemporalProcess(), startTestSandbox(folder)]);
  system = await startSystem({ server, sandbox, folder, env: { ...sandbox.telling, API_PORT: '0', RETRY_FIRST: '1s', RETRY_MAX: '1s', RETRY_ATTEMPTS: '2', MESSAGE_FIRST_RETRY: '1s', API_PUBLIC_URL: 'https://aftercall.example' } });
  api = await startApi(system.wiring);
  for (const callId of [CALL, OTHER]) {
    // A model that quotes what nobody said: no answer counts, and the score is 0.
    await addFaults(sandbox.openai, { route: 'POST /v1/chat/completions', effect: { kind: 'fabricated_quotes' } });
    await system.startCall(callId);
    await system.wiring.callsClient.result(system.key(callId));
  }
  token = (await ask<{ accessToken: string }>('POST', '/v1/auth/login', api.firstAdmin)).body.accessToken;
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

const ask = async <T>(method: string, path: string, body?: unknown): Promise<{ status: number; body: T }> => {
  const response = await fetch(`${api.url}${path}`, {
    method,
    headers: { 'idempotency-key': `review-key-${(asked += 1)}`, ...(token ? { authorization: `Bearer ${token}` } : {}), ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { status: response.status, body: (await response.json()) as T };
};
interface Shown {
  version: number;
  revision: number;
  analysis: EffectiveAnalysis;
  ai: EffectiveAnalysis;
  publication: { state: string; error: { message: string } | null } | null;
}
const pathOf = (callId: string): string => `/v1/projects/default/calls/${callId}`;
const shown = async (callId = CALL): Promise<Shown> => (await ask<Shown>('GET', `${pathOf(callId)}/review`)).body;
const review = async (what: string, body: object, callId = CALL): Promise<{ status: number; body: { revision: number; detail?: string; grading: { total_score_percent: number } } }> => {
  const { version, revision } = await shown(callId);
  return ask('POST', `${pathOf(callId)}/review/${what}`, { version, expectedRevision: revision, ...body });
};
const published = async (state = 'done', callId = CALL): Promise<Shown> => {
  let now = await shown(callId);
  await wait(() => `the publication is ${state}: ${JSON.stringify(now.publication)}`, async () => {
    now = await shown(callId);
    return now.publication?.state === state;
  });
  return now;
};
const stored = async (callId = CALL): Promise<EffectiveAnalysis> => JSON.parse((await system.wiring.objects.getText(analysisKey(system.key(callId))))!) as EffectiveAnalysis;
const notes = async () => (await recordsOf(sandbox.salesforce, 'Task')).filter((task) => String(task['Subject']).startsWith('Call graded'));
const until = async <T>(look: () => Promise<T>, is: (found: T) => boolean): Promise<T> => {
  let found = await look();
  await wait(() => `what was looked for; there is ${JSON.stringify(found)}`, async () => {
    found = await look();
    return is(found);
  });
  return found;
};

describe('a person who reviews a call', () => {
  it('corrects an answer with words of the transcript; of two at once, one is told to look again', async () => {
    const { ai, revision } = await shown();
    expect([ai.grading.total_score_percent, revision]).toEqual([0, 0]);
    const transcript = (await ask<Transcript>('GET', `${pathOf(CALL)}/transcript`)).body;
    const turn = transcript.turns.findIndex(({ speaker }) => speaker === 'agent');
    const corrections = ['greeting', 'tone'].map((criterion) => ask<{ detail: string }>('POST', `${pathOf(CALL)}/review/corrections`, { version: 1, expectedRevision: 0, criterion, verdict: 'yes', comment: 'She says so.', turn }));
    const answers = await Promise.all(corrections);
    expect(answers.map(({ status }) => status).toSorted()).toEqual([200, 409]);
    expect(answers.find(({ status }) => status === 409)!.body.detail).toContain('revision 1 is the newest');
    const lost = ['greeting', 'tone'][answers.findIndex(({ status }) => status === 409)];
    expect((await review('corrections', { criterion: lost, verdict: 'yes', comment: 'Again.', quote: transcript.turns[turn]!.text })).status).toBe(200);
    const now = await shown();
    expect([now.analysis.review!.corrected.toSorted(), now.analysis.review!.by]).toEqual([['greeting', 'tone'], api.firstAdmin!.email]);
    expect(now.analysis.answers.find(({ criterion }) => criterion === 'tone')).toMatchObject({ verdict: 'yes', evidence: [{ turn, speaker: 'agent' }], ai: { verdict: 'not_evidenced' } });
    expect(now.ai.answers.find(({ criterion }) => criterion === 'tone')).toMatchObject({ verdict: 'not_evidenced' });
  });

  it('finds the score everywhere: the list, the stored analysis, the totals, the same note and the same message', async () => {
    const score = (await published()).analysis.grading.total_score_percent!;
    expect(score).toBeGreaterThan(0);
    expect((await stored()).grading.total_score_percent).toBe(score);
    const { calls } = (await ask<{ calls: { callId: string; scorePercent: number }[] }>('GET', '/v1/projects/default/calls')).body;
    expect(calls.find(({ callId }) => callId === CALL)!.scorePercent).toBe(score);
    const { versions } = (await ask<{ versions: object[] }>('GET', pathOf(CALL))).body;
    expect(versions).toEqual([expect.objectContaining({ scorePercent: score, aiScorePercent: 0, reviewed: true })]);
    const quality = await system.wiring.db.selectFrom('call_analysis').select('score_percent').where('call_id', '=', CALL).execute();
    expect(quality).toEqual([{ score_percent: score }]);
    expect((await notes()).map((note) => note['Subject'])).toEqual([`Call graded: ${score} of 100`]);
    const alerts = async (kind: string) => (await ledgerOf(sandbox.telegram, kind)).filter((entry) => entry['chatId'] === TELEGRAM_BOT.chats.alerts);
    const [edited] = await until(() => alerts('message_edited'), (found) => found.length > 0);
    expect(edited!['text']).toContain(`${score} of 100`);
    // One for each of the two calls, and none for the correction.
    expect((await alerts('message_sent')).map(({ messageId }) => messageId)).toEqual([expect.anything(), expect.anything()]);
    expect((await alerts('message_sent')).map(({ messageId }) => messageId)).toContain(edited!['messageId']);
  });

  it('sees many corrections in a row published, the last among them, in one note', async () => {
    for (const verdict of ['no', 'yes', 'no', 'yes', 'not_applicable'] as const) expect((await review('corrections', { criterion: 'needs', verdict, comment: 'c' })).status).toBe(200);
    await review('override', { scorePercent: 88, comment: 'A hard call.' });
    const { analysis } = await published();
    expect([analysis.grading.total_score_percent, (await stored()).review!.override!.comment]).toEqual([88, 'A hard call.']);
    expect((await notes()).map((note) => note['Subject'])).toEqual(['Call graded: 88 of 100']);
  });

  it('swaps the speakers, and the transcript as it was made stays beside it', async () => {
    const speakersOf = async (as: string) => (await ask<Transcript>('GET', `${pathOf(CALL)}/transcript?as=${as}`)).body.turns.map(({ speaker }) => speaker);
    const made = await speakersOf('made');
    expect((await review('swap-speakers', { speakers: { agent: 'customer', customer: 'agent' } })).status).toBe(200);
    expect([await speakersOf('made'), await speakersOf('reviewed')]).toEqual([made, made.map((speaker) => (speaker === 'agent' ? 'customer' : 'agent'))]);
    const { revision } = await shown();
    expect((await review('undo', { revision })).status).toBe(200);
    expect(await speakersOf('reviewed')).toEqual(made);
  });

  it('is told what is wrong, and nothing of it is kept', async () => {
    const { revision } = await shown();
    const wrong: [string, object, number][] = [
      ['corrections', { criterion: 'nothing', verdict: 'yes', comment: 'c' }, 422],
      ['corrections', { criterion: 'tone', verdict: 'not_evidenced', comment: 'c' }, 400],
      ['corrections', { criterion: 'tone', verdict: 'yes', comment: '   ' }, 400],
      ['corrections', { criterion: 'tone', verdict: 'yes', comment: 'c', quote: 'What nobody ever said here.' }, 422],
      ['corrections', { criterion: 'tone', verdict: 'yes', comment: 'c', turn: 9_999 }, 422],
      ['corrections', { criterion: 'tone', verdict: 'yes', comment: 'x'.repeat(2_001) }, 400],
      ['override', { scorePercent: 101, comment: 'c' }, 400],
      ['override', { scorePercent: 50 }, 400],
      ['swap-speakers', { speakers: {} }, 400],
      ['swap-speakers', { speakers: { nobody: 'agent' } }, 422],
      ['swap-speakers', { speakers: { agent: 'the boss' } }, 422],
      ['swap-speakers', { speakers: { agent: 'agent' } }, 422],
      ['undo', { revision: 9_999 }, 422],
      ['confirm', { version: 2 }, 409],
      ['confirm', { expectedRevision: 1 }, 409],
      ['confirm', { approved: true }, 400],
    ];
    for (const [what, body, status] of wrong) expect([what, body, (await review(what, body)).status]).toEqual([what, body, status]);
    expect((await shown()).revision).toBe(revision);
  });

  it('is shown when the CRM does not take the change, and may have it published again', async () => {
    await addFaults(sandbox.salesforce, { route: '* /services/data/*', times: 50, effect: { kind: 'respond', status: 403, body: [{ errorCode: 'INSUFFICIENT_ACCESS', message: 'no' }] } });
    await review('override', { scorePercent: 33, comment: 'c' });
    const failed = await published('failed');
    expect([failed.publication!.error!.message.length > 0, failed.analysis.grading.total_score_percent]).toEqual([true, 33]);
    await clearFaults(sandbox.salesforce);
    expect((await ask('POST', `${pathOf(CALL)}/review/publish`, {})).status).toBe(202);
    await published();
    expect((await notes()).map((note) => note['Subject'])).toEqual(['Call graded: 33 of 100']);
  });

  it('finds calls to review, confirms one as it stands, and sees how far the model agrees', async () => {
    const queue = async () => (await ask<{ calls: { callId: string }[] }>('GET', '/v1/projects/default/reviews/queue')).body.calls.map(({ callId }) => callId);
    expect(await queue()).toEqual([OTHER]);
    expect((await review('confirm', {}, OTHER)).status).toBe(200);
    expect(await queue()).toEqual([]);
    const { questions } = (await ask<{ questions: { criterion: string; n: number; raw: { value: number } }[] }>('GET', '/v1/projects/default/agreement')).body;
    expect(questions.find(({ criterion }) => criterion === 'tone')).toMatchObject({ n: 2, raw: { value: 0.5 }, advisory: false });
  });

  it('sets a floor: a question below it is shown and counts for nothing, here and in what is pushed', async () => {
    expect((await ask('PATCH', '/v1/projects/default/settings', { agreementFloor: { measure: 'raw', value: 0.9, minN: 2 } })).status).toBe(200);
    await review('undo', { revision: (await shown()).revision });
    const { analysis } = await published('done');
    expect(analysis.advisory!.map(({ criterion }) => criterion)).toContain('tone');
    expect(analysis.answers.find(({ criterion }) => criterion === 'tone')).toMatchObject({ verdict: 'yes', advisory: true });
    expect(analysis.grading.categories['tone']).toBeUndefined();
    expect((await stored()).grading).toEqual(analysis.grading);
    const [note] = await notes();
    expect(String(note!['Description'])).not.toMatch(/^- Tone:/m);
  });

  it('keeps what was said of an analysis that a re-run takes over', async () => {
    const before = await shown();
    await system.wiring.callsClient.reprocess(system.key(CALL), { by: 'test', from: 'deliver' });
    await system.wiring.callsClient.result(system.key(CALL));
    const after = await shown();
    expect([after.version, after.revision, after.analysis.grading]).toEqual([2, before.revision, before.analysis.grading]);
    expect((await stored()).review).toEqual(after.analysis.review);
    expect(await notes()).toHaveLength(1);
  });
});
