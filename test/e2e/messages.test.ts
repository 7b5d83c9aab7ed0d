import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { Fault, LedgerEntry } from '../../sandbox/server.ts';
import { TELEGRAM_BOT } from '../../sandbox/telegram/server.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createMessageSweep } from '../../src/client/message-sweep.ts';
import type { MessageRow } from '../../src/db/messages.ts';
import type { CallRow } from '../../src/db/calls.ts';
import { messageWorkflowId } from '../../src/domain/ids.ts';
import { recordsOf } from '../support/salesforce.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const { chats } = TELEGRAM_BOT;
const SEND = 'POST /bot*/sendMessage';
const HOOK = 'POST /hooks/*';
const MODEL = 'POST /v1/chat/completions';

let folder: string;
let server: DevServer;
let sandbox: TestSandbox;
let system: TestSystem;
let made = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-messages-'));
  [server, sandbox] = await Promise.all([startTemporalProcess(), startTestSandbox(folder)]);
  system = await startSystem({
    server,
    sandbox,
    folder,
    env: { ...sandbox.telling, RETRY_FIRST: '1s', RETRY_MAX: '1s', UPSTREAM_TIMEOUT: '5s', MESSAGE_FIRST_RETRY: '1s', MESSAGE_MAX_RETRY: '1s', MESSAGE_ATTEMPTS: '3', API_PUBLIC_URL: 'https://aftercall.example' },
  });
});
afterAll(async () => {
  await system?.stop();
  await sandbox?.stop();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});
afterEach(async () => {
  for (const stand of [sandbox.openai, sandbox.salesforce, sandbox.telegram, sandbox.receiver]) await clearFaults(stand);
});

const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!;

const aCall = async (): Promise<string> => {
  made += 1;
  const prefix = `e${String(made).padStart(7, '0')}`;
  const at = Date.now() - 3_600_000 - made * 1_000;
  await fetch(`${sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count: 1, fromMs: at, toMs: at + 1, recordingOf: GOOD.taskId, prefix }) });
  return `${prefix}-0000-4000-8000-000000000000`;
};

/** A model that quotes what nobody said: no answer counts, and the score is 0. */
const scoreNothing: Fault = { route: MODEL, effect: { kind: 'fabricated_quotes' } };

const aProcessedCall = async ({ low = false }: { low?: boolean } = {}): Promise<CallRow> => {
  if (low) await addFaults(sandbox.openai, scoreNothing);
  const callId = await aCall();
  await system.startCall(callId);
  return ended(callId);
};

/** What is told is told after a call is completed, and before its workflow ends. */
const ended = async (callId: string): Promise<CallRow> => {
  await system.wiring.callsClient.result(system.key(callId));
  return system.until(callId, 'completed');
};

const rerun = async (call: CallRow, { low = false }: { low?: boolean } = {}): Promise<CallRow> => {
  if (low) await addFaults(sandbox.openai, scoreNothing);
  await system.wiring.callsClient.reprocess(call, { by: 'test', from: 'analysis' });
  return ended(call.callId);
};

const messagesOf = async ({ callId }: { callId: string }, event?: string): Promise<MessageRow[]> => (await system.wiring.messages.list('default', { callId }, { limit: 100 })).filter((message) => !event || message.event === event);

/** Waits until nothing about a call is on its way any more. */
const told = async (call: { callId: string }, event?: string, atLeast = 1): Promise<MessageRow[]> => {
  let rows: MessageRow[] = [];
  await until(() => `all is told; there is ${JSON.stringify(rows)}`, async () => {
    rows = await messagesOf(call, event);
    return rows.length >= atLeast && rows.every(({ state }) => state !== 'pending' && state !== 'sending');
  });
  return rows;
};

const alertsOf = async (call: CallRow): Promise<LedgerEntry[]> => {
  const [alert] = (await messagesOf(call, 'call.low_score')).filter(({ notifier }) => notifier === 'telegram');
  const sent = await ledgerOf(sandbox.telegram);
  return sent.filter((entry) => entry['chatId'] === chats.alerts && alert?.receipt?.['messageId'] === entry['messageId']);
};
const eventsOf = async ({ callId }: CallRow): Promise<{ type: string; data: Record<string, unknown> }[]> =>
  (await ledgerOf(sandbox.receiver, 'event_received')).map((entry) => entry['event'] as { type: string; data: Record<string, unknown> }).filter(({ data }) => data['callId'] === callId);
const notesOf = async (call: CallRow) => {
  const { crm } = await system.wiring.calls.getVersion(call);
  return (await recordsOf(sandbox.salesforce, 'Task')).filter((task) => task['WhoId'] === crm!.records.leadId && String(task['Subject']).startsWith('Call graded'));
};

describe('a call that was graded', () => {
  it('is noted on the record that the CRM step wrote, with score, summary and a link that opens its report', async () => {
    const call = await aProcessedCall();
    const [note, ...more] = await notesOf(call);
    const { analysis } = await system.wiring.calls.getVersion(call);
    expect(more).toEqual([]);
    expect(note!['Subject']).toBe(`Call graded: ${analysis!.grading.total_score_percent} of 100`);
    expect(note!['Description']).toContain(analysis!.summary);
    const link = /https:\/\/aftercall\.example\/calls\/default\/[^/?]+\?link=(\S+)/.exec(String(note!['Description']));
    expect(system.wiring.reportLinks.check(call, link![1]!)).toBe('good');
    const effects = await system.wiring.effects.list('default', call.callId);
    expect(effects.find(({ effect }) => effect === 'note')).toMatchObject({ target: 'salesforce', class: 'read_before_write', state: 'done', receipt: { noteId: note!['Id'] } });
  });

  it('is told to programs, signed, once for each version, and to no chat when its score is good', async () => {
    const call = await aProcessedCall();
    await told(call);
    expect((await eventsOf(call)).map(({ type, data }) => [type, data['version'], data['result'], typeof data['scorePercent']])).toEqual([['call.completed', 1, 'processed', 'number']]);
    expect((await messagesOf(call)).map(({ notifier }) => notifier)).toEqual(['webhook']);
    const again = await rerun(call);
    await told(call, 'call.completed', 2);
    expect((await eventsOf(again)).map(({ data }) => data['version'])).toEqual([1, 2]);
  });

  it('has its note changed by a re-run, not doubled', async () => {
    const call = await aProcessedCall();
    const [before] = await notesOf(call);
    const [after, ...more] = await notesOf(await rerun(call, { low: true }));
    expect([more, after!['Id'], before!['Subject'] === after!['Subject'], after!['Subject']]).toEqual([[], before!['Id'], false, 'Call graded: 0 of 100']);
  });

  it('raises one alert when its score is low, none when a re-run finds the same, and one more when it falls again', async () => {
    const call = await aProcessedCall({ low: true });
    await told(call, 'call.low_score', 2);
    expect((await alertsOf(call)).map(({ text }) => String(text).split('\n')[0])).toEqual(['Low score: 0 of 100']);
    await rerun(await system.wiring.calls.get(call), { low: true });
    expect(await told(call, 'call.low_score', 2)).toHaveLength(2);
    expect(await alertsOf(call)).toHaveLength(1);

    // Good now: what was told is corrected where it stands.
    await rerun(await system.wiring.calls.get(call));
    await told(call, 'call.low_score', 2);
    expect((await alertsOf(call)).map(({ kind, text }) => [kind, /is \d+ of 100 now/.test(String(text))])).toEqual([['message_sent', false], ['message_edited', true]]);

    await rerun(await system.wiring.calls.get(call), { low: true });
    const all = await told(call, 'call.low_score', 4);
    expect(all.filter(({ notifier }) => notifier === 'telegram')).toHaveLength(2);
    expect((await eventsOf(call)).filter(({ type }) => type === 'call.low_score')).toHaveLength(2);
  });

  it('is published again with what a person made of it: the same note, the same message, one event', async () => {
    const call = await aProcessedCall({ low: true });
    await told(call, 'call.low_score', 2);
    const { analysis } = await system.wiring.calls.getVersion(call);
    const corrected = { ...analysis!, summary: 'Corrected by a person.', grading: { ...analysis!.grading, total_score_percent: 90, pass: true } };
    const publishAgain = () => system.wiring.publishing.publishAgain({ call, analysis: corrected, correction: 'c1', signal: AbortSignal.timeout(30_000) });
    await publishAgain();
    await publishAgain();
    await told(call, undefined, 4);
    expect((await notesOf(call)).map(({ Subject }) => Subject)).toEqual(['Call graded: 90 of 100']);
    expect((await alertsOf(call)).map(({ kind, text }) => [kind, String(text).split('\n')[0]])).toEqual([['message_sent', 'Low score: 0 of 100'], ['message_edited', 'Score is 90 of 100 now']]);
    expect((await eventsOf(call)).map(({ type, data }) => [type, data['scorePercent']]).toSorted()).toEqual([['call.completed', 0], ['call.corrected', 90], ['call.low_score', 0]]);
  });
});

it('tells one chat that a run is complete, with what it found, and programs its whole report', async () => {
  const report = await system.runWindow();
  await until('the run is told of', async () => (await system.wiring.messages.list('default', {}, { limit: 200 })).every(({ runId, state }) => runId !== report.runId || state === 'delivered'));
  const about = (await ledgerOf(sandbox.telegram, 'message_sent')).filter((entry) => entry['chatId'] === chats.team);
  expect(about.map(({ text }) => String(text).split('\n')[0])).toEqual([`${report.newTasks} new calls, ${report.processedSuccessfully} processed`]);
  const told = (await ledgerOf(sandbox.receiver, 'event_received')).map((entry) => entry['event'] as { type: string; data: object }).filter(({ type }) => type === 'run.completed');
  expect(told).toEqual([expect.objectContaining({ data: expect.objectContaining({ ...report }) as unknown })]);
});

describe('faults of messages', () => {
  const isTelegram = ({ notifier }: MessageRow): boolean => notifier === 'telegram';
  const alert = async (call: CallRow): Promise<MessageRow> => (await told(call, 'call.low_score', 2)).find(isTelegram)!;

  it('Telegram asks for a pause: the alert goes out once, after it', async () => {
    await addFaults(sandbox.telegram, { route: SEND, effect: { kind: 'too_many', retryAfter: 3 } });
    const call = await aProcessedCall({ low: true });
    expect(await alert(call)).toMatchObject({ state: 'delivered', attempts: 2, tries: [{ outcome: 'retried', code: 'RATE_LIMITED' }, { outcome: 'delivered' }] });
    const [first, second] = (await alert(call)).tries;
    expect(Date.parse(second!.at) - Date.parse(first!.at)).toBeGreaterThanOrEqual(2_900);
    expect(await alertsOf(call)).toHaveLength(1);
  });

  it('Telegram is down for a while: the call completes meanwhile, and the alert goes out once', async () => {
    await addFaults(sandbox.telegram, { route: SEND, times: 2, effect: { kind: 'respond', status: 503, body: { ok: false, error_code: 503, description: 'Service Unavailable' } } });
    const call = await aProcessedCall({ low: true });
    expect(await alert(call)).toMatchObject({ state: 'delivered', attempts: 3 });
    expect(await alertsOf(call)).toHaveLength(1);
  });

  it('the answer of Telegram is lost: the alert is unknown and not sent again, until a person says so', async () => {
    await addFaults(sandbox.telegram, { route: SEND, effect: { kind: 'drop_after' } });
    const sentBefore = (await ledgerOf(sandbox.telegram, 'message_sent')).length;
    const call = await aProcessedCall({ low: true });
    const lost = await alert(call);
    expect(lost).toMatchObject({ state: 'unknown', class: 'no_key', attempts: 1, tries: [{ outcome: 'unknown' }] });
    await rerun(call, { low: true });
    expect(await alert(call)).toMatchObject({ state: 'unknown', attempts: 1 });
    expect((await ledgerOf(sandbox.telegram, 'message_sent')).length).toBe(sentBefore + 1);

    await system.wiring.messagesClient.send(await system.wiring.messages.again('default', lost.id));
    expect(await alert(call)).toMatchObject({ state: 'delivered', attempts: 2 });
    expect((await ledgerOf(sandbox.telegram, 'message_sent')).length).toBe(sentBefore + 2);
  });

  it('the receiver stumbles once: the event arrives once, under one ID', async () => {
    await addFaults(sandbox.receiver, { route: HOOK, effect: { kind: 'respond', status: 500 } });
    const call = await aProcessedCall();
    expect(await told(call)).toMatchObject([{ state: 'delivered', attempts: 2, tries: [{ outcome: 'retried', code: 'UPSTREAM_UNAVAILABLE' }, { outcome: 'delivered' }] }]);
    expect(await eventsOf(call)).toHaveLength(1);
  });

  it('the receiver is down for good: the call completes, the log says why, and a person has it delivered later', async () => {
    await addFaults(sandbox.receiver, { route: HOOK, times: 3, effect: { kind: 'respond', status: 500, body: 'the queue is full' } });
    const call = await aProcessedCall();
    const [failed] = await told(call);
    expect(failed).toMatchObject({ state: 'failed', attempts: 3 });
    expect(failed!.tries.at(-1)).toMatchObject({ outcome: 'failed', reason: expect.stringMatching(/Given up after 3 tries: .*answered 500 \("?the queue is full/) as unknown });
    await system.wiring.messagesClient.send(await system.wiring.messages.again('default', failed!.id));
    expect(await told(call)).toMatchObject([{ id: failed!.id, state: 'delivered' }]);
    expect(await eventsOf(call)).toHaveLength(1);
  });

  it('the receiver wants no more: that is its last try', async () => {
    await addFaults(sandbox.receiver, { route: HOOK, effect: { kind: 'respond', status: 410 } });
    expect(await told(await aProcessedCall())).toMatchObject([{ state: 'failed', attempts: 1, tries: [{ outcome: 'unsubscribed' }] }]);
  });

  it('Salesforce refuses the note: the call parks at deliver, tells programs, and completes when a person marks the note as done', async () => {
    await addFaults(sandbox.salesforce, { route: 'PATCH /services/data/*/sobjects/Task/*', effect: { kind: 'respond', status: 400, body: [{ message: 'no tasks for you', errorCode: 'FIELD_CUSTOM_VALIDATION_EXCEPTION' }] } });
    const callId = await aCall();
    await system.startCall(callId);
    const parked = await system.until(callId, 'needs_attention', 'completed');
    expect(parked).toMatchObject({ state: 'needs_attention', attention: { step: 'deliver', code: 'CRM_REJECTED' } });
    await told(parked, 'call.needs_attention');
    expect((await eventsOf(parked)).map(({ type, data }) => [type, data['step']])).toEqual([['call.needs_attention', 'deliver']]);
    const note = (await system.wiring.effects.list('default', callId)).find(({ effect }) => effect === 'note')!;
    await system.wiring.effects.settle('default', callId, note.key, 'ann');
    await system.wiring.callsClient.retry(parked, { by: 'ann' }, `retry-${callId}`);
    const call = await system.until(callId, 'completed');
    expect(await notesOf(call)).toEqual([]);
  });
});

describe('a message whose workflow was ended in Temporal', () => {
  it('is taken up again where a repeat does no harm, and is unknown where it might', async () => {
    const { messages, messagesClient, temporal } = system.wiring;
    const content = { event: 'run.completed' as const, title: 'A run', lines: [], facts: {} };
    await system.stopWorkers();
    const left = async (notifier: 'webhook' | 'telegram', target: string): Promise<MessageRow> => {
      const row = await messages.add({ project: 'default', occasion: `left lying by ${notifier}`, event: 'run.completed', notifier, target, targetKey: target, class: notifier === 'webhook' ? 'upsert_by_key' : 'no_key', content });
      await messagesClient.send(row);
      await messages.begin('default', row.id);
      await temporal.workflow.getHandle(messageWorkflowId({ project: 'default', messageId: row.id, round: row.round })).terminate('by hand');
      return row;
    };
    const repeatable = await left('webhook', 'receiver');
    const doubtful = await left('telegram', chats.team);
    const carried = await messages.add({ project: 'default', occasion: 'carried', event: 'run.completed', notifier: 'webhook', target: 'receiver', targetKey: 'carried', class: 'upsert_by_key', content });
    await messagesClient.send(carried);
    const sweep = createMessageSweep({ messages, client: messagesClient, keepMs: 90 * 86_400_000, log: { warn: () => {} } });
    // One that somebody carries is left alone, however long it takes.
    expect(await sweep(Date.now() + 2 * 3_600_000)).toEqual({ takenUp: 2, forgotten: 0 });
    await system.startWorkers();
    for (const { id } of [repeatable, doubtful, carried]) for (let row = await messages.get('default', id); row.state === 'pending' || row.state === 'sending'; row = await messages.get('default', id)) await sleep(50);
    expect((await messages.get('default', repeatable.id)).state).toBe('delivered');
    expect((await messages.get('default', carried.id)).state).toBe('delivered');
    expect(await messages.get('default', doubtful.id)).toMatchObject({ state: 'unknown', tries: [{ outcome: 'unknown' }] });
    // What was delivered is forgotten in time; what waits for a person is not.
    expect((await sweep(Date.now() + 91 * 86_400_000)).forgotten).toBeGreaterThan(1);
    expect(await messages.find('default', repeatable.id)).toBeUndefined();
    expect(await messages.find('default', doubtful.id)).toBeDefined();
  });
});
