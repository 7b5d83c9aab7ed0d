import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import type { DevServer } from '../../scripts/dev-server.ts';
import { startApi } from '../../src/api/start.ts';
import { paceOf } from '../../src/config.ts';
import type { CallRow } from '../../src/db/calls.ts';
import type { VoiceCallRow } from '../../src/db/voice-calls.ts';
import { transcriptKey } from '../../src/domain/ids.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { SALES_RUBRIC } from '../../src/domain/rubrics/sales.ts';
import { INSTALLATION } from '../../src/domain/preset.ts';
import { DEFAULT_TEMPLATE } from '../../src/domain/prompt-template.ts';
import type { Transcript } from '../../src/domain/transcript.ts';
import { addFaults, clearFaults, ledgerOf, startRetellSandbox, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const PROJECT = 'default';
let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let retell: Awaited<ReturnType<typeof startRetellSandbox>>;
let system: TestSystem;
let api: Awaited<ReturnType<typeof startApi>>;
let made = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-hand-over-'));
  [server, sandbox, retell] = await Promise.all([startTemporalProcess(), startTestSandbox(folder), startRetellSandbox(folder, { speed: { ringMs: 50, talkMs: 150, analysisMs: 50 } })]);
  system = await startSystem({
    server,
    sandbox,
    folder,
    // No webhooks here: what becomes of a call is looked up.
    env: { ...sandbox.telling, ...retell.env, RETELL_CALLS_PER_SECOND: '50', VOICE_LOOK_UP_FIRST: '1s', VOICE_LOOK_UP_MAX: '1s', RETRY_FIRST: '1s', RETRY_MAX: '1s', API_PORT: '0' },
  });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await retell?.close();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const stand of [sandbox.openai, sandbox.salesforce, retell]) await clearFaults(stand);
  await retell.control('recordings', { lifetimeMs: 86_400_000, none: false });
  await system.wiring.projects.changeSettings(PROJECT, { presets: {}, takeUnplacedCalls: false, callBudgetMicroUsd: 0, dailyBudgetMicroUsd: 0 });
});


/** Places a call to a number, and waits until it is where it is going. */
const place = async (to: string): Promise<VoiceCallRow> => {
  made += 1;
  const key = { project: PROJECT, voiceCallId: `vc_${String(made).padStart(22, '0')}` };
  await system.wiring.voiceCalls.enqueue({ ...key, request: { from: '+15550100', to, variables: {}, metadata: {}, priority: 3 }, requestedBy: 'a test' });
  await system.wiring.voiceLinesClient.wake(PROJECT);
  return until(`voice call ${made} is over`, async () => {
    const row = await system.wiring.voiceCalls.get(PROJECT, key.voiceCallId);
    return row.state === 'not_connected' || (row.state === 'completed' && row.callId !== null) ? row : undefined;
  });
};
const processed = async (callId: string): Promise<CallRow> => {
  await system.wiring.callsClient.result(system.key(callId));
  return system.wiring.calls.get(system.key(callId));
};
const transcriptOf = async (callId: string): Promise<Transcript> => JSON.parse((await system.wiring.objects.getText(transcriptKey(system.key(callId))))!) as Transcript;
/** What Retell says that it charged. */
const billOf = async (callId: string): Promise<number> => {
  const told = (await (await fetch(`${retell.url}/v2/get-call/${callId}`, { headers: { authorization: `Bearer ${retell.env['RETELL_API_KEY']}` } })).json()) as { call_cost: { combined_cost: number } };
  return Math.round(told.call_cost.combined_cost * 10_000);
};
const chargedFor = async (id: string) => {
  const day = (daysAgo: number): string => new Date(Date.now() - daysAgo * 86_400_000).toISOString().slice(0, 10);
  return (await system.wiring.costs.totals(PROJECT, { by: 'call', from: day(1), to: day(0), limit: 1_000 })).filter(({ of }) => of === id);
};
const costsOf = (callId: string) => system.wiring.costs.list(PROJECT, callId);
const readWindow = async (id: string): Promise<ExecutionReport> => {
  const schedule = await system.wiring.scheduleOf(PROJECT, 'retell');
  return (await (await schedule.runWindow({ workflowId: `ingest/default/retell/${id}` })).result()) as ExecutionReport;
};

describe('an outbound call that was answered', () => {
  it('goes on to be scored, acted on in the CRM and delivered, by what Retell wrote down and without paying for speech', async () => {
    const before = (await ledgerOf(sandbox.openai, 'transcription')).length;
    const voiceCall = await place('+15550180');
    expect(voiceCall.callId).toBe(voiceCall.providerCallId);
    const call = await processed(voiceCall.callId!);
    expect([call.state, call.result, call.source, call.details.direction, call.details.destinationPhone]).toEqual(['completed', 'processed', 'retell', 'outbound', '+15550180']);
    const { analysis, crm, recording } = await system.wiring.calls.getVersion({ ...system.key(call.callId), version: 1 });
    expect(analysis!.grading.total_score_percent).toBeGreaterThan(50);
    expect(crm).toMatchObject({ scenario: 'good_lead', action: 'create_lead' });
    expect(recording!.bytes).toBeGreaterThan(1_000_000);
    const transcript = await transcriptOf(call.callId);
    expect([transcript.provider, transcript.speakersBy, transcript.usage.requests]).toEqual(['retell', 'provider', 0]);
    expect(transcript.turns[0]).toMatchObject({ speaker: 'agent', startMs: 400 });
    expect(await ledgerOf(sandbox.openai, 'transcription')).toHaveLength(before);
    const headers = { authorization: `Bearer ${system.config.API_TOKEN}` };
    const shown = (await (await fetch(`${api.url}/v1/projects/${PROJECT}/calls/${call.callId}`, { headers })).json()) as { voiceCall: object; costs: { kind: string }[] };
    expect(shown.voiceCall).toEqual({ voiceCallId: voiceCall.voiceCallId, url: `/v1/projects/${PROJECT}/voice-calls/${voiceCall.voiceCallId}`, outcome: 'connected', batchId: null });
    expect(shown.costs.map(({ kind }) => kind)).toContain('voice');
    expect(await (await fetch(`${api.url}/calls/${PROJECT}/${call.callId}`, { headers })).text()).toContain('placed by us, connected');
    await until('its end is told', async () => (await ledgerOf(sandbox.receiver, 'event_received')).find((entry) => JSON.stringify(entry).includes(call.callId)));
  });

  it('is erased with all that came of it by the name that it was placed under', async () => {
    const voiceCall = await place('+15550110');
    const call = await processed(voiceCall.callId!);
    const stored = (await system.wiring.calls.getVersion({ ...system.key(call.callId), version: 1 })).recording!.key;
    expect(await system.wiring.objects.head(stored)).toBeDefined();
    const erase = async (more: object): Promise<{ erasureId: string; confirm: string; calls: number; rows: Record<string, number> }> => {
      const headers = { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json', 'idempotency-key': `erase-${voiceCall.voiceCallId}-${Object.keys(more).length}` };
      return (await (await fetch(`${api.url}/v1/projects/${PROJECT}/erasures`, { method: 'POST', headers, body: JSON.stringify({ callId: voiceCall.voiceCallId, ...more }) })).json()) as never;
    };
    const plan = await erase({ dryRun: true, confirm: 'none yet' });
    expect(plan).toMatchObject({ calls: 1, rows: { calls: 1, voice_calls: 1, call_versions: 1 } });
    const { erasureId } = await erase({ confirm: plan.confirm });
    const certificate = await until('it is erased', async () => {
      const found = await system.wiring.erasures.get(PROJECT, erasureId);
      return found.endedAt !== null && found;
    });
    expect(certificate).toMatchObject({ calls: 1, erased: { calls: 1, voice_calls: 1, objects: expect.any(Number) as unknown } });
    expect([await system.wiring.calls.find(system.key(call.callId)), await system.wiring.objects.head(stored)]).toEqual([undefined, undefined]);
  });

  it("counts what Retell charged once, though it is handed over, found by a window and run again, and keeps it out of the call's own budget", async () => {
    // Less than what the call itself costs: its processing goes on.
    await system.wiring.projects.changeSettings(PROJECT, { callBudgetMicroUsd: 60_000 });
    const { providerCallId, project, voiceCallId } = await place('+15550110');
    const callId = providerCallId!;
    await processed(callId);
    const microUsd = await billOf(callId);
    expect(microUsd).toBeGreaterThan(60_000);
    const voice = async () => (await costsOf(callId)).filter(({ kind }) => kind === 'voice');
    expect(await voice()).toMatchObject([{ step: 'voice', provider: 'retell', state: 'settled', microUsd, usage: { kind: 'voice' } }]);
    const spent = await system.wiring.costs.spentOn(PROJECT);

    const again = await system.wiring.voiceHandOver.handOver({ project, voiceCallId }, { pace: paceOf(system.config), signal: AbortSignal.timeout(30_000) });
    expect(again).toEqual({ handedOver: true, callId });
    await system.wiring.callsClient.reprocess(system.key(callId), { by: 'a test', from: 'recording' });
    const call = await processed(callId);
    expect([call.state, call.version]).toEqual(['completed', 2]);
    expect(await voice()).toHaveLength(1);
    const others = (await costsOf(callId)).filter(({ kind, version }) => kind !== 'voice' && version === 2).reduce((sum, cost) => sum + cost.microUsd, 0);
    expect((await system.wiring.costs.spentOn(PROJECT)) - spent).toBe(others);
    const { day } = { day: new Date().toISOString().slice(0, 10) };
    expect((await system.wiring.costs.totals(PROJECT, { by: 'model', from: day, to: day, limit: 50 })).map(({ of }) => of)).toContain('retell/call');
  });

  it('has cost what Retell charged also where a rule leaves it out, or it waits for a person', async () => {
    for (const [act, state] of [['ignore', 'rejected'], ['stage', 'awaiting_approval']] as const) {
      await system.wiring.projects.changeSettings(PROJECT, { stagingRules: [{ name: 'none of them', act }] });
      const { callId } = await place('+15550181');
      await until(`it is ${state}`, async () => (await system.wiring.calls.find(system.key(callId!)))?.state === state);
      expect(await costsOf(callId!)).toMatchObject([{ kind: 'voice', state: 'settled', microUsd: await billOf(callId!) }]);
    }
    await system.wiring.projects.changeSettings(PROJECT, { stagingRules: [] });
  });

  it('is heard, and paid for, where the preset does not accept what Retell wrote', async () => {
    const installation = { provider: INSTALLATION };
    await system.wiring.presets.create({ project: PROJECT, preset: 'heard', name: 'Heard', by: 'a test', draft: { speech: installation, diarization: installation, model: installation, template: DEFAULT_TEMPLATE, criteria: SALES_RUBRIC.criteria, acceptProviderTranscript: false, keys: {} } });
    await system.wiring.projects.changeSettings(PROJECT, { presets: { default: 'heard' } });
    const before = (await ledgerOf(sandbox.openai, 'transcription')).length;
    const { callId } = await place('+15550180');
    await processed(callId!);
    expect((await ledgerOf(sandbox.openai, 'transcription')).length).toBeGreaterThan(before);
    expect((await transcriptOf(callId!)).provider).not.toBe('retell');
    expect((await costsOf(callId!)).filter(({ kind }) => kind === 'stt').length).toBeGreaterThan(0);

    // The same call by a preset that accepts it.
    await system.wiring.callsClient.reprocess(system.key(callId!), { by: 'a test', from: 'transcription', preset: { preset: INSTALLATION, version: 0 } });
    await processed(callId!);
    expect((await transcriptOf(callId!)).provider).toBe('retell');
  });

  it('has its recording copied though the link expires while it is waited for', async () => {
    await addFaults(retell, { route: 'GET /recordings/*', effect: { kind: 'expired' } });
    const { callId } = await place('+15550110');
    const call = await processed(callId!);
    expect([call.state, call.result]).toEqual(['completed', 'processed']);
    const { recording } = await system.wiring.calls.getVersion({ ...system.key(callId!), version: 1 });
    await retell.control('recordings', { lifetimeMs: 0 });
    expect((await system.wiring.objects.head(recording!.key))!.bytes).toBe(recording!.bytes);
  });

  it('is graded by its words where Retell has no recording of it, and can be graded again', async () => {
    await retell.control('recordings', { none: true });
    const call = (await retell.control('calls', { startedAtMs: Date.now() - 30 * 86_400_000, dialogue: 'renewal' })) as { call_id: string }[];
    const callId = call[0]!.call_id;
    const provider = { providerCallId: callId, status: 'ended' as const, direction: 'inbound' as const };
    const options = { pace: paceOf(system.config), signal: AbortSignal.timeout(30_000) };
    expect(await system.wiring.voiceHandOver.takeInUnplaced(PROJECT, provider, options)).toEqual({ handedOver: true, callId });
    const done = await processed(callId);
    expect([done.state, done.result]).toEqual(['completed', 'processed']);
    const { recording, analysis } = await system.wiring.calls.getVersion({ ...system.key(callId), version: 1 });
    expect([recording, analysis !== null]).toEqual([null, true]);
    // No recording is missing to what came in writing.
    await system.wiring.callsClient.reprocess(system.key(callId), { by: 'a test', from: 'analysis' });
    expect(await processed(callId)).toMatchObject({ state: 'completed', version: 2, result: 'processed' });
  });
});

describe('an outbound call whose hand-over failed for good', () => {
  /** A call that Retell has, over and analysed, and that nobody has handed over. */
  const leftBehind = async (): Promise<{ project: string; voiceCallId: string; providerCallId: string }> => {
    made += 1;
    const startedAtMs = Date.now() - 3_600_000;
    const [{ call_id: providerCallId }] = (await retell.control('calls', { startedAtMs, dialogue: 'renewal' })) as [{ call_id: string }];
    const key = { project: PROJECT, voiceCallId: `vc_${String(made).padStart(22, '0')}` };
    await system.wiring.voiceCalls.enqueue({ ...key, request: { from: '+15550100', to: '+15550182', variables: {}, metadata: {}, priority: 3, notBeforeMs: Date.now() + 3_600_000 }, requestedBy: 'a test' });
    const call = { providerCallId, status: 'ended' as const, direction: 'outbound' as const, startedAtMs, endedAtMs: startedAtMs + 60_000, disconnectionReason: 'user_hangup', analysis: { successful: true }, costCents: 0.5 };
    await system.wiring.voiceCalls.applyObservation(key, { by: 'call_analyzed', atMs: Date.now(), call });
    await system.wiring.voiceCalls.note(key, 'Its recording was not taken over: Retell refuses the API key.');
    return { ...key, providerCallId };
  };
  const ask = async (voiceCallId: string, act = ''): Promise<{ status: number; body: Record<string, unknown> }> => {
    const headers = { authorization: `Bearer ${system.config.API_TOKEN}`, 'content-type': 'application/json', 'idempotency-key': `hand-over-${(made += 1)}` };
    const answer = await fetch(`${api.url}/v1/projects/${PROJECT}/voice-calls/${voiceCallId}${act}`, { headers, ...(act ? { method: 'POST', body: '{}' } : {}) });
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> };
  };

  it('is handed over by a person, once what stood in its way is mended', async () => {
    const { voiceCallId, providerCallId } = await leftBehind();
    expect((await ask(voiceCallId)).body).toMatchObject({ state: 'completed', callId: null, actions: ['hand_over'] });
    await addFaults(retell, { route: 'GET /v2/get-call/*', times: 1_000, effect: { kind: 'respond', status: 503 } });
    const refused = await ask(voiceCallId, '/hand-over');
    expect([refused.status, refused.body['detail']]).toEqual([503, expect.stringContaining('Its recording was not taken over: ')]);
    expect(await system.wiring.calls.find(system.key(providerCallId))).toBeUndefined();

    expect(await chargedFor(voiceCallId)).toMatchObject([{ requests: 1, microUsd: 5_000 }]);

    await clearFaults(retell);
    expect(await ask(voiceCallId, '/hand-over')).toMatchObject({ status: 200, body: { callId: providerCallId, actions: [], reason: null } });
    expect(await processed(providerCallId)).toMatchObject({ state: 'completed', result: 'processed' });
    // One entry, which has gone over to the call, and says now what Retell says.
    expect(await chargedFor(voiceCallId)).toEqual([]);
    expect((await costsOf(providerCallId)).filter(({ kind }) => kind === 'voice')).toEqual([expect.objectContaining({ microUsd: await billOf(providerCallId), usage: expect.objectContaining({ products: expect.arrayContaining([expect.objectContaining({ product: 'us_telephony' })]) }) })]);
    expect(await ask(voiceCallId, '/hand-over')).toMatchObject({ status: 409, body: { advice: expect.stringContaining('Reprocess') as unknown } });
  });

  it('is handed over by itself a day later', async () => {
    const { project, voiceCallId, providerCallId } = await leftBehind();
    await system.wiring.voiceCallsClient.sweep();
    expect((await system.wiring.voiceCalls.get(project, voiceCallId)).callId).toBeNull();
    await system.wiring.db.updateTable('voice_calls').set({ updated_at: new Date(Date.now() - 2 * 86_400_000) }).where('id', '=', voiceCallId).execute();
    await system.wiring.voiceCallsClient.sweep();
    await until('it is handed over', async () => (await system.wiring.voiceCalls.get(project, voiceCallId)).callId ?? undefined);
    expect(await processed(providerCallId)).toMatchObject({ state: 'completed', result: 'processed' });
  });
});

describe('a call whose provider does not let us ask for a while', () => {
  it('is handed over as it was observed, and waits at its own first step for somebody', async () => {
    const startedAtMs = Date.now() - 600_000;
    const [call] = (await retell.control('calls', { startedAtMs, dialogue: 'good-lead', from: '+15550152' })) as [{ call_id: string }];
    const key = system.key(call.call_id);
    await addFaults(retell, { route: 'GET /v2/get-call/*', times: 1_000, effect: { kind: 'respond', status: 401, body: { status: 'error', message: 'Unauthorized' } } });
    const observed = { providerCallId: call.call_id, status: 'ended' as const, direction: 'inbound' as const, startedAtMs, endedAtMs: startedAtMs + 60_000, durationMs: 60_000, fromNumber: '+15550152' };
    const handedOver = await system.wiring.voiceHandOver.takeInUnplaced(PROJECT, observed, { pace: paceOf(system.config), signal: AbortSignal.timeout(30_000) });
    expect(handedOver).toEqual({ handedOver: true, callId: call.call_id });
    await system.until(call.call_id, 'needs_attention');
    expect((await system.wiring.calls.get(key)).details).toMatchObject({ status: 'completed', startedAtMs, originPhone: '+15550152', durationMs: 60_000 });
    await clearFaults(retell);
    await system.wiring.callsClient.retry(key, { by: 'a test' }, 'retry-after-the-key');
    expect(await processed(call.call_id)).toMatchObject({ state: 'completed', result: 'processed' });
  });
});

describe('an outbound call that reached nobody', () => {
  it.each(['+15550190', '+15550191'])('to %s is not handed over', async (to) => {
    const voiceCall = await place(to);
    expect([voiceCall.state, voiceCall.callId]).toEqual(['not_connected', null]);
    expect(await system.wiring.voiceHandOver.handOver({ project: PROJECT, voiceCallId: voiceCall.voiceCallId }, { pace: paceOf(system.config), signal: AbortSignal.timeout(30_000) })).toEqual({ handedOver: false, because: 'not_connected' });
    expect(await system.wiring.calls.find(system.key(voiceCall.providerCallId!))).toBeUndefined();
  });
});

describe('a window over Retell', () => {
  it('takes in what nobody handed over, leaves out what we did not place, and takes that too where the project says so', async () => {
    const [inbound] = (await retell.control('calls', { startedAtMs: Date.now() - 3_600_000, dialogue: 'good-lead', from: '+15550150' })) as { call_id: string }[];
    const first = await readWindow('first');
    expect(first.newTasks).toBe(0);
    expect(await system.wiring.calls.find(system.key(inbound!.call_id))).toBeUndefined();

    await system.wiring.projects.changeSettings(PROJECT, { takeUnplacedCalls: true });
    const second = await readWindow('second');
    expect([second.newTasks, second.processedSuccessfully]).toEqual([1, 1]);
    const call = await system.wiring.calls.get(system.key(inbound!.call_id));
    expect([call.details.direction, call.details.originPhone, call.result]).toEqual(['inbound', '+15550150', 'processed']);
    // What Retell charged is part of what the window cost, and the sums add up.
    const { cost } = second;
    expect(cost.voiceMicroUsd).toBeGreaterThan(0);
    expect(cost.totalMicroUsd).toBe(cost.sttMicroUsd + cost.diarizationMicroUsd + cost.llmMicroUsd + cost.voiceMicroUsd);
    expect(cost.sttMicroUsd).toBe(0);
    expect((await readWindow('third')).newTasks).toBe(0);
  });
});
