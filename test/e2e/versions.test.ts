import { afterAll, beforeAll, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { transcriptKey } from '../../src/domain/ids.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;

let server: DevServer;
let system: TestSystem;
let api: RunningApi;

beforeAll(async () => {
  server = await startTemporalProcess();
  system = await startSystem({ server, env: { API_PORT: '0' } });
  api = await startApi(system.wiring);
  await system.startCall(GOOD);
  await system.until(GOOD, 'completed');
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await server?.stop();
});

const get = async (path: string): Promise<Record<string, unknown> & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/default/calls/${GOOD}${path}`, { headers: { authorization: `Bearer ${system.config.API_TOKEN}` } });
  return { ...((await response.json()) as object), status: response.status };
};
const again = async (from: 'transcription' | 'analysis'): Promise<void> => {
  const { version } = await system.wiring.callsClient.reprocess(system.key(GOOD), { by: 'a test', from });
  for (;;) {
    const call = await system.until(GOOD, 'completed');
    if (call.version === version) return;
  }
};

it('keeps what an older run of a call heard and found, and compares it with a newer one', async () => {
  const { objects } = system.wiring;
  // As another provider would have heard it.
  const first = JSON.parse((await objects.getText(transcriptKey(system.key(GOOD))))!) as { turns: { text: string }[] };
  await again('transcription');
  const other = { ...first, turns: first.turns.slice(1) };
  await objects.put(`call-detail/${GOOD}/versions/2/transcript.json`, JSON.stringify(other), { contentType: 'application/json' });
  await objects.put(transcriptKey(system.key(GOOD)), JSON.stringify(other), { contentType: 'application/json' });
  await again('analysis');

  expect(await get('/versions')).toMatchObject({ versions: [{ version: 3, startedFrom: 'analysis' }, { version: 2, startedFrom: 'transcription' }, { version: 1, startedFrom: 'recording' }] });
  expect(await get('/versions/1')).toMatchObject({ version: 1, transcriptText: { turns: first.turns }, analysis: { call_id: GOOD }, costs: { requests: 4 } });
  // What the third run took over from the second.
  expect(await get('/versions/3')).toMatchObject({ version: 3, transcriptText: { turns: other.turns } });
  expect(await get('/compare?from=1&to=3')).toMatchObject({
    status: 200,
    score: { from: 100, difference: expect.any(Number) as unknown },
    questions: expect.arrayContaining([expect.objectContaining({ from: 'yes' })]) as unknown,
    transcript: { turns: { from: first.turns.length, to: first.turns.length - 1 }, words: { fresh: 0, gone: first.turns[0]!.text.match(/\w+/g)!.length }, same: false },
    madeBy: { from: { speech: expect.stringContaining('/') as unknown, rubric: expect.stringContaining('@') as unknown } },
    crm: { from: { action: 'create_lead' } },
    costs: { from: { requests: 4 } },
  });
  expect(await get('/versions/9')).toMatchObject({ status: 404 });
  expect(await get('/compare?from=1&to=1')).toMatchObject({ status: 400 });
});
