import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { ScheduleOverlapPolicy } from '@temporalio/client';
import { sql } from 'kysely';
import { AMOCRM_CLIENT } from '../../sandbox/amocrm/server.ts';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { RunningApi } from '../../src/api/app.ts';
import { startApi } from '../../src/api/start.ts';
import { createSchedules } from '../../src/client/schedules.ts';
import { paceOf, projectSettings } from '../../src/config.ts';
import { asOwner } from '../../src/db/scope.ts';
import { toEvent } from '../../src/api/given-events.ts';
import type { CallDetails, CallState } from '../../src/domain/call.ts';
import type { DayCounts, GapReason } from '../../src/domain/completeness.ts';
import { callWorkflowId, reconciliationWorkflowId } from '../../src/domain/ids.ts';
import { addDays, boundsOfDay, dayAt } from '../../src/domain/local-time.ts';
import type { ProjectSettings } from '../../src/domain/settings.ts';
import { isSampled } from '../../src/domain/staging.ts';
import { addNotes, changeNote, setLimits } from '../support/amocrm.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { addFaults, clearFaults, ledgerOf, startTestSandbox, type TestSandbox } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

const SECRET = 'an-address-of-amocrm-nobody-guesses';
const HOUR_MS = 3_600_000;
const GOOD = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!.taskId;
const SHORT = SAMPLE_CALLS.find((call) => call.title.includes('too short'))!.taskId;

let folder: string;
let server: DevServer;
let postgres: TestPostgres;
let sandbox: TestSandbox;
let system: TestSystem;
let api: RunningApi;
let keys = 0;
let windows = 0;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-completeness-'));
  [server, postgres] = await Promise.all([startTemporalProcess({ suggestContinueAsNewAt: 20 }), startPostgres()]);
  sandbox = await startTestSandbox(folder, SAMPLE_CALLS.filter(({ taskId }) => taskId === GOOD || taskId === SHORT));
  system = await startSystem({
    server,
    sandbox,
    folder,
    env: { ...sandbox.telling, API_PORT: '0', DATABASE_URL: await postgres.createDatabase(), AMOCRM_WEBHOOK_SECRET: SECRET, RECORDING_FIRST_LOOK: '30m', COMPLETENESS_HOUR: '0', INGEST_SETTLE: '1s', RUN_ANALYSIS: 'false', RUN_CRM_ACTIONS: 'false' },
  });
  await setLimits(sandbox.amocrm, { perSecond: 100 });
  api = await startApi(system.wiring);
});
afterAll(async () => {
  await api?.close();
  await system?.stop();
  await sandbox?.stop();
  await Promise.all([server?.stop(), postgres?.stop()]);
  await rm(folder, { recursive: true, force: true });
});

const ask = async <T = Record<string, unknown>>(method: string, path: string, body?: object, key = `completeness-key-${(keys += 1)}`): Promise<T & { status: number }> => {
  const response = await fetch(`${api.url}/v1/projects/default${path}`, {
    method,
    headers: { authorization: `Bearer ${system.config.API_TOKEN}`, 'idempotency-key': key, ...(body ? { 'content-type': 'application/json' } : {}) },
    ...(body ? { body: JSON.stringify(body) } : {}),
  });
  return { ...((await response.json()) as T), status: response.status };
};
interface Day extends DayCounts {
  state: string;
  checks: number;
  startedAt: string;
  settled: boolean;
  error: string | null;
  source: string;
  day: string;
  reasons: { reason: GapReason; calls: number; examples: string[] }[];
}
/** Has a day compared, as a person does, and waits for the result. */
const compare = async (source: string, day: string, body: object = {}): Promise<Day> => {
  const path = `/completeness/${source}/${day}`;
  const before = await ask<Day>('GET', path);
  let asked = await ask('POST', `${path}/reconcile`, body);
  // The last one has said what it found a moment before its workflow closes.
  for (; asked['started'] === false; asked = await ask('POST', `${path}/reconcile`, body)) await sleep(50);
  expect(asked).toEqual({ source, day, started: true, status: 202 });
  return until('the comparison ends', async () => {
    const now = await ask<Day>('GET', path);
    return now.status === 200 && now.startedAt !== before.startedAt && now.state !== 'running' && now;
  });
};
const settings = (more: Partial<ProjectSettings>): Promise<void> => system.wiring.projects.saveSettings('default', { ...projectSettings(system.config), ...more });
const readWindow = async (source: 'webex' | 'amocrm', window: { fromMs: number; toMs: number }): Promise<void> => {
  windows += 1;
  const { config, wiring } = system;
  const schedules = createSchedules({ client: wiring.temporal, config, pace: paceOf(config), minutesBack: config.MINUTES_BACK, project: 'default', source });
  await (await schedules.runWindow({ workflowId: `ingest/default/${source}/completeness-${windows}`, window })).result();
};
const sum = (tally: Partial<Record<string, number>>): number => Object.values(tally).reduce<number>((total, calls) => total + calls!, 0);
const dayAgo = (days: number): { day: string; fromMs: number } => {
  const day = addDays(dayAt(Date.now(), 'UTC'), -days);
  return { day, fromMs: Date.parse(day) };
};

describe('1,000 source events', () => {
  const COUNT = 1_000;

  /** Mulberry32: the same disorder in every run. */
  const random = ((state: number) => () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  })(20_261_121);
  const shuffled = <T>(items: readonly T[]): T[] => items.map((item) => [random(), item] as const).toSorted(([a], [b]) => a - b).map(([, item]) => item);

  const announce = (id: number, edition: number): Promise<Response> =>
    fetch(`${api.url}/webhooks/amocrm/${SECRET}`, {
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded' },
      body: new URLSearchParams({
        'account[id]': AMOCRM_CLIENT.accountId,
        'account[subdomain]': AMOCRM_CLIENT.subdomain,
        'leads[note][0][note][id]': String(id),
        'leads[note][0][note][note_type]': '10',
        // Another edition is another event of the same call; the same one, sent again, is known.
        'leads[note][0][note][text]': String(edition),
      }).toString(),
    });

  it('dropped, doubled and out of order, leave a ledger that equals the source’s list, and every call processed once', async () => {
    const { day, fromMs } = dayAgo(2);
    const { wiring } = system;
    // Nobody took these calls: they are through in a moment. A rule leaves most of them out, which costs no workflow.
    await settings({ stagingRules: [{ name: 'a sample', act: 'ignore', samplePercent: 75 }] });
    const ids: number[] = [];
    for (let batch = 0; batch < 50; batch += 1) ids.push(...(await addNotes(sandbox.amocrm, { list: 'leads', createdAt: fromMs / 1_000 + batch * 1_700, params: { duration: 0 }, count: COUNT / 50 })));
    const expected = ids.map((id) => `amo-lead-${id}`).toSorted();
    // A window from long ago: the source has been watched since.
    await readWindow('amocrm', { fromMs: fromMs - 5 * 86_400_000, toMs: fromMs - 4 * 86_400_000 });

    const arriving = shuffled(ids.filter(() => random() >= 0.3).flatMap((id) => [[id, 0] as const, ...(random() < 0.3 ? [[id, 0] as const] : []), ...(random() < 0.2 ? [[id, 1] as const] : [])]));
    expect(arriving.length).toBeGreaterThan(900);
    for (let at = 0; at < arriving.length; at += 20) {
      for (const response of await Promise.all(arriving.slice(at, at + 20).map(([id, edition]) => announce(id, edition)))) expect(response.status).toBe(200);
      // In the midst of them a window reads a part of the day.
      if (at === 400) await readWindow('amocrm', { fromMs: fromMs + 8 * HOUR_MS, toMs: fromMs + 11 * HOUR_MS });
    }
    while ((await wiring.inbox.backlog()) > 0) await sleep(100);
    const ours = async (): Promise<string[]> => (await wiring.db.selectFrom('calls').select('call_id').where('source', '=', 'amocrm').orderBy('call_id').execute()).map((row) => row.call_id).toSorted();
    const before = (await ours()).length;
    expect(before).toBeGreaterThan(600);
    expect(before).toBeLessThan(COUNT);

    const first = await compare('amocrm', day);
    expect({ listed: first.listed, ours: first.ours, takenIn: first.takenIn, unexplained: first.unexplained }).toEqual({ listed: COUNT, ours: COUNT, takenIn: COUNT - before, unexplained: 0 });
    expect(first.processed + sum(first.gaps)).toBe(COUNT);
    expect(await ours()).toEqual(expected);

    // Nothing is new to any of them, in whatever order.
    for (const response of await Promise.all(shuffled(ids).slice(0, 50).map((id) => announce(id, 2)))) expect(response.status).toBe(200);
    while ((await wiring.db.selectFrom('calls').select('call_id').where('source', '=', 'amocrm').where('state', 'not in', ['completed', 'rejected']).execute()).length > 0 || (await wiring.inbox.backlog()) > 0) await sleep(200);
    const filtered = expected.filter((callId) => isSampled('default', callId, 75)).length;
    const second = await compare('amocrm', day);
    expect(second).toMatchObject({ listed: COUNT, ours: COUNT, processed: 0, gaps: { abandoned: COUNT - filtered, filtered }, notListed: {}, unexplained: 0, takenIn: COUNT - before, settled: true, checks: 2 });
    // Of a day with so many pages, the history begins anew on the way.
    const runsOfDay = await wiring.temporal.workflow.count(`WorkflowId = '${reconciliationWorkflowId({ project: 'default', source: 'amocrm', day })}'`);
    expect(runsOfDay.count).toBeGreaterThan(2);
    // One version of each, and one run of its workflow.
    expect((await wiring.db.selectFrom('call_versions').select(({ fn }) => [fn.countAll<number>().as('versions'), fn.max('version').as('highest')]).executeTakeFirst())!).toEqual({ versions: COUNT, highest: 1 });
    await until('each has one workflow', async () => (await wiring.temporal.workflow.count("WorkflowType = 'processCall'")).count === COUNT - filtered);
  });

  it('do not hide a call that its source has moved to another day, or deleted', async () => {
    const { day, fromMs } = dayAgo(2);
    const [moved, deleted] = (await system.wiring.db.selectFrom('calls').select('call_id').where('source', '=', 'amocrm').orderBy('call_id').limit(2).execute()).map((row) => row.call_id) as [string, string];
    await changeNote(sandbox.amocrm, Number(moved.split('-').at(-1)), { createdAt: fromMs / 1_000 - 3_600 });
    await fetch(`${sandbox.amocrm.url}/_sandbox-notes/${deleted.split('-').at(-1)}`, { method: 'DELETE' });
    expect(await compare('amocrm', day)).toMatchObject({ listed: COUNT - 2, ours: COUNT, notListed: { moved_day: 1, deleted_there: 1 }, settled: true });
    // Its record says so by now, so it is the other day's.
    expect(await compare('amocrm', day)).toMatchObject({ listed: COUNT - 2, ours: COUNT - 1, notListed: { deleted_there: 1 } });
    expect(await compare('amocrm', addDays(day, -1))).toMatchObject({ listed: 1, ours: 1, notListed: {}, takenIn: 0 });
  });
});

describe('a day with every kind of gap', () => {
  const { day, fromMs } = dayAgo(4);
  let made = 0;
  const add = async (more: object, atMs = fromMs + 12 * HOUR_MS): Promise<string> => {
    made += 1;
    const prefix = `f${String(made).padStart(7, '0')}`;
    await fetch(`${sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count: 1, fromMs: atMs + made * 1_000, toMs: atMs + made * 1_000 + 1, prefix, ...more }) });
    return `${prefix}-0000-4000-8000-000000000000`;
  };
  const until = async (callId: string, state: CallState): Promise<void> => {
    while (!(await system.wiring.calls.find(system.key(callId)))) await sleep(50);
    await system.until(callId, state);
  };
  /** No call of this ID is written down: as if it fell out on the way, or could not be stored. */
  const refuse = async (name: string, callId: string, how: string): Promise<void> => {
    await asOwner(() => sql.raw(`create function refuse_${name}() returns trigger language plpgsql as $$ begin ${how} end $$`).execute(system.wiring.db));
    await asOwner(() => sql.raw(`create trigger refuse_${name} before insert on calls for each row when (new.call_id = '${callId}') execute function refuse_${name}()`).execute(system.wiring.db));
  };
  const known: Partial<Record<GapReason | 'processed', string>> = {};

  it('finds the reason of each, leaves none out, and tells of those that nothing explains', async () => {
    const { wiring } = system;
    const { callsClient } = wiring;
    const by = { by: 'ann' };
    await settings({
      recordingDeadlineMinutes: 100_000,
      runAnalysis: false,
      runCrmActions: false,
      stagingRules: [
        { name: 'consumers', act: 'ignore', queues: ['Consumers'] },
        { name: 'private', act: 'stage', queues: ['Private'] },
      ],
    });
    known.processed = await add({ recordingOf: GOOD });
    known.too_short = await add({ recordingOf: SHORT });
    known.abandoned = await add({ status: 'abandoned' });
    known.no_recording = await add({ captureRequested: false });
    known.filtered = await add({ queue: 'Consumers' });
    known.awaiting_approval = await add({ queue: 'Private' });
    known.rejected = await add({ queue: 'Private' });
    known.no_recording_yet = await add({});
    known.failed = await add({});
    known.cancelled = await add({});
    known.erased = await add({ status: 'abandoned' });
    known.in_progress = await add({ status: 'abandoned' });
    known.deleted_there = await add({ status: 'abandoned' });
    known.open_at_source = await add({ status: 'assigned' });
    known.unexplained = await add({ status: 'abandoned' });
    known.not_taken_in = await add({ status: 'abandoned' });
    known.before_first_window = await add({ status: 'abandoned' }, fromMs + HOUR_MS);
    made += 1;
    await fetch(`${sandbox.webex.url}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count: 1, fromMs: fromMs + 13 * HOUR_MS, toMs: fromMs + 13 * HOUR_MS + 1, prefix: '../private' }) });
    known.left_out_id = '../private-0000-4000-8000-000000000000';
    await refuse('silently', known.unexplained, 'return null;');
    await refuse('loudly', known.not_taken_in, "raise exception 'this call cannot be stored';");
    // The source is watched from the sixth hour of that day on. One window has read what was there by then.
    await readWindow('webex', { fromMs: fromMs + 6 * HOUR_MS, toMs: fromMs + 6 * HOUR_MS + 1 });

    // All others are taken in by the comparison itself.
    const first = await compare('webex', day);
    expect(first).toMatchObject({ state: 'done', listed: 18, unexplained: 1, takenIn: 13, gaps: { unexplained: 1, not_taken_in: 1, left_out_id: 1, open_at_source: 1, before_first_window: 1, filtered: 1 } });
    for (const done of ['processed', 'too_short', 'abandoned', 'no_recording', 'erased', 'in_progress', 'deleted_there'] as const) await until(known[done]!, 'completed');
    for (const waiting of ['no_recording_yet', 'failed', 'cancelled'] as const) await until(known[waiting]!, 'waiting_for_recording');
    for (const staged of ['awaiting_approval', 'rejected'] as const) await until(known[staged]!, 'awaiting_approval');
    // Two that a person has to see to; what they are given is no audio.
    await addFaults(sandbox.webex, { route: 'GET /recordings/*', effect: { kind: 'html' }, times: 2 });
    known.parked = await add({ recordingOf: GOOD });
    known.given_up = await add({ recordingOf: GOOD });
    await compare('webex', day);
    for (const parked of ['parked', 'given_up'] as const) await until(known[parked]!, 'needs_attention');
    await clearFaults(sandbox.webex);
    await callsClient.giveUp(system.key(known.given_up), { ...by, reason: 'no audio' }, 'give-up-1');
    await callsClient.reject(system.key(known.rejected), { ...by, reason: 'private call' }, 'reject-1');
    await wiring.temporal.workflow.getHandle(callWorkflowId(system.key(known.cancelled))).cancel();
    await wiring.temporal.workflow.getHandle(callWorkflowId(system.key(known.failed))).terminate('by hand');
    await wiring.erasuresClient.erase({ project: 'default', id: 'completeness', kind: 'call', subject: wiring.erasuresClient.subjectOf('default', known.erased), by: 'ann', callIds: [known.erased] });
    while (await wiring.calls.find(system.key(known.erased))) await sleep(50);
    await fetch(`${sandbox.webex.url}/_sandbox-tasks/${known.deleted_there}`, { method: 'DELETE' });
    for (const [callId, state] of [[known.given_up, 'given_up'], [known.rejected, 'rejected'], [known.cancelled, 'cancelled']] as const) await until(callId, state);
    // Nothing has been heard of these two for hours: of the first there is no workflow any more, the second's step is long.
    await wiring.db.updateTable('calls').set({ updated_at: new Date(Date.now() - 3 * HOUR_MS) }).where('call_id', '=', known.failed).execute();
    await wiring.db.updateTable('calls').set({ state: 'processing' }).where('call_id', '=', known.in_progress).execute();

    const found = await compare('webex', day);
    const one = (...reasons: GapReason[]): Partial<Record<GapReason, number>> => Object.fromEntries(reasons.map((reason) => [reason, 1]));
    expect(found.gaps).toEqual(one('in_progress', 'no_recording_yet', 'awaiting_approval', 'parked', 'failed', 'cancelled', 'rejected', 'filtered', 'given_up', 'too_short', 'abandoned', 'no_recording', 'open_at_source', 'erased', 'left_out_id', 'not_taken_in', 'before_first_window', 'unexplained'));
    expect(found.notListed).toEqual(one('deleted_there'));
    expect(found).toMatchObject({ listed: 19, processed: 1, unexplained: 1, settled: false, takenIn: 15 });
    expect(found.listed).toBe(found.processed + sum(found.gaps));
    // Each is the one that it should be; of what was erased, nobody is told which it was.
    for (const { reason, calls, examples } of found.reasons) expect([reason, calls, examples]).toEqual([reason, 1, reason === 'erased' ? [] : [known[reason]]]);
    expect(await wiring.db.selectFrom('completeness_listed').select('call_id').execute()).toEqual([]);

    // People and programs hear of it.
    const told = (await ledgerOf(sandbox.receiver, 'event_received')).map(({ event }) => event as { type: string; data: { day: string; unexplained: number } }).filter(({ type }) => type === 'completeness.gap');
    expect(told).toEqual([expect.objectContaining({ data: expect.objectContaining({ source: 'webex', day, unexplained: 1, listed: 18 }) as unknown })]);
    const metrics = await (await fetch(`${api.url}/metrics`, { headers: { authorization: `Bearer ${system.config.API_TOKEN}` } })).text();
    expect(metrics).toContain('aftercall_completeness_gaps{project="default",source="webex",reason="unexplained"} 1');
    expect(metrics).toContain('aftercall_completeness_failed_days{project="default",source="webex"} 0');
  });

  it('is told page by page, with how each call stands by now', async () => {
    const path = `/completeness/webex/${day}/calls`;
    interface Page { calls: { callId: string; reason: string; detail: string | null; listed: boolean; now: { state: string } | null }[]; next: string | null }
    const all: Page['calls'] = [];
    for (let next: string | null = ''; next !== null; ) {
      const page: Page = await ask<Page>('GET', `${path}?limit=5${next ? `&cursor=${next}` : ''}`);
      all.push(...page.calls);
      next = page.next;
    }
    const named = Object.entries(known).filter(([reason]) => reason !== 'processed' && reason !== 'erased');
    expect(all.map(({ callId, reason }) => [reason, callId]).toSorted()).toEqual(named.toSorted());
    expect(all.find(({ reason }) => reason === 'parked')).toMatchObject({ detail: expect.stringContaining('recording: RECORDING_UNUSABLE') as unknown, listed: true, now: { state: 'needs_attention' } });
    expect(all.find(({ reason }) => reason === 'not_taken_in')).toMatchObject({ detail: expect.stringContaining('this call cannot be stored') as unknown, now: null });
    expect(all.find(({ reason }) => reason === 'failed')).toMatchObject({ detail: 'The workflow was terminated in Temporal.' });
    expect(all.find(({ reason }) => reason === 'deleted_there')).toMatchObject({ listed: false });
    await system.wiring.callsClient.approve(system.key(known.awaiting_approval!), { by: 'ann' }, 'approve-1');
    await until(known.awaiting_approval!, 'waiting_for_recording');
    expect((await ask<Page>('GET', `${path}?reason=awaiting_approval`)).calls).toEqual([expect.objectContaining({ callId: known.awaiting_approval, now: expect.objectContaining({ state: 'waiting_for_recording' }) as unknown })]);

    const days = async (query: string): Promise<string[]> => (await ask<{ days: Day[] }>('GET', `/completeness?${query}`)).days.map(({ source, day: of }) => `${of} ${source}`);
    expect(await days('gaps=unexplained')).toEqual([`${day} webex`]);
    expect(await days('source=webex')).toEqual([`${day} webex`]);
    expect(await days(`to=${day}`)).toEqual([`${day} webex`]);
    const everything = await days('gaps=any');
    expect(everything.toSorted().reverse()).toEqual(everything);
    const oneByOne: string[] = [];
    for (let next: string | null = ''; next !== null; ) {
      const page: { days: Day[]; next: string | null } = await ask('GET', `/completeness?limit=1${next ? `&cursor=${next}` : ''}`);
      oneByOne.push(...page.days.map(({ source, day: of }) => `${of} ${source}`));
      next = page.next;
    }
    expect(oneByOne).toEqual(await days(''));
  });

  it('takes nothing in when it is only to compare, and nothing twice', async () => {
    const quiet = dayAgo(3);
    const callId = await add({ status: 'abandoned' }, quiet.fromMs + HOUR_MS);
    expect(await compare('webex', quiet.day, { takeIn: false, by: 'auditor' })).toMatchObject({ listed: 1, ours: 0, gaps: { only_compared: 1 }, takenIn: 0, askedBy: 'auditor' });
    // Nobody is called for what is on its way.
    const { rows: told } = await sql<{ day: string }>`select message -> 'facts' ->> 'day' as day from messages where event = 'completeness.gap'`.execute(system.wiring.db);
    expect(told.length).toBeGreaterThan(0);
    expect(told.map(({ day: of }) => of)).not.toContain(quiet.day);
    expect(await system.wiring.calls.find(system.key(callId))).toBeUndefined();
    expect(await compare('webex', quiet.day)).toMatchObject({ listed: 1, ours: 1, takenIn: 1, unexplained: 0 });
    await until(callId, 'completed');
    expect(await compare('webex', quiet.day)).toMatchObject({ listed: 1, ours: 1, gaps: { abandoned: 1 }, takenIn: 1, settled: true });
  });

  it('says when the source could not be asked, and keeps what it knew', async () => {
    await addFaults(sandbox.webex, { route: 'GET /v1/tasks', times: 2, effect: { kind: 'respond', status: 403, body: {} } });
    const failed = await compare('webex', dayAgo(3).day);
    await clearFaults(sandbox.webex);
    expect(failed).toMatchObject({ state: 'failed', error: expect.stringContaining('Webex') as unknown, listed: 1, gaps: { abandoned: 1 } });
    expect(await compare('webex', dayAgo(3).day)).toMatchObject({ state: 'done', error: null });
  });

  it('tells what its source keeps no longer from what nobody can explain', async () => {
    const { wiring } = system;
    const ours = async (days: number, callId: string): Promise<string> => {
      const at = dayAgo(days);
      await wiring.calls.stage('default', [{ source: 'webex', callId, status: 'completed', direction: 'inbound', startedAtMs: at.fromMs + HOUR_MS }], 'staged');
      await wiring.db.updateTable('calls').set({ state: 'completed', result: 'processed' }).where('call_id', '=', callId).execute();
      return at.day;
    };
    expect(await compare('webex', await ours(60, 'long-ago'))).toMatchObject({ listed: 0, ours: 1, notListed: { past_source_retention: 1 }, settled: true });
    // A week in which the source has nothing at all is no week that it has forgotten.
    expect(await compare('webex', await ours(6, 'lately'))).toMatchObject({ listed: 0, ours: 1, notListed: { unexplained: 1 }, unexplained: 1, settled: false });
  });

  it('is compared by the schedule, with the days that were missed, though one of them cannot be', async () => {
    const { wiring, config } = system;
    const schedules = createSchedules({ client: wiring.temporal, config, pace: paceOf(config), minutesBack: config.MINUTES_BACK, project: 'default', source: 'webex' });
    await readWindow('webex', { fromMs: dayAgo(6).fromMs, toMs: dayAgo(6).fromMs + 1 });
    await schedules.apply();
    await schedules.pause('only the comparison is asked for');
    const schedule = wiring.temporal.schedule.getHandle('completeness/default/webex');
    expect((await schedule.describe()).state.paused).toBe(true);
    await schedules.resume('now');
    await schedules.pause('as before');
    const dayOf = async (days: number): Promise<Day & { status: number }> => ask<Day>('GET', `/completeness/webex/${dayAgo(days).day}`);
    // What only people asked for says nothing of the days around it; the first time it is the last day alone.
    expect((await dayOf(1)).status).toBe(404);
    const check = async (days: number[]): Promise<void> => {
      const before = await Promise.all(days.map(dayOf));
      // Beside the one before, which says what it found a moment before it closes.
      await schedule.trigger(ScheduleOverlapPolicy.ALLOW_ALL);
      for (const [index, days_] of days.entries()) for (let now = await dayOf(days_); now.startedAt === before[index]!.startedAt || now.state === 'running' || now.status !== 200; now = await dayOf(days_)) await sleep(100);
    };
    const missed = await add({ status: 'abandoned' }, dayAgo(1).fromMs);
    await check([1]);
    expect(await dayOf(1)).toMatchObject({ state: 'done', askedBy: null, takenIn: expect.any(Number) as unknown });
    await until(missed, 'completed');
    expect((await dayOf(2)).status).toBe(404);
    // Nothing ran for two days, and one day's list cannot be read at first.
    await wiring.db.deleteFrom('completeness_days').where('source', '=', 'webex').where('day', '=', dayAgo(1).day).execute();
    await wiring.completeness.open({ project: 'default', source: 'webex', day: dayAgo(5).day }, { timeZone: 'UTC', ...boundsOfDay(dayAgo(5).day, 'UTC'), token: 'of somebody who died' });
    await addFaults(sandbox.webex, { route: 'GET /v1/tasks', skip: 1, times: 2, effect: { kind: 'respond', status: 403, body: {} } });
    await check([5, 2, 1]);
    await clearFaults(sandbox.webex);
    const states = await Promise.all([5, 4, 3, 2, 1].map(async (days) => (await dayOf(days)).state));
    expect(states.filter((state) => state === 'failed')).toHaveLength(1);
    expect([states[0], states[4]]).toEqual(['done', 'done']);
    expect((await ask<{ days: Day[] }>('GET', '/completeness?source=webex&gaps=unexplained')).days.some(({ day: of, state }) => state === 'failed' && of === dayAgo(5 - states.indexOf('failed')).day)).toBe(true);
    await schedules.remove();
    await expect(schedule.describe()).rejects.toThrow(/not found/i);
  });

  it('refuses what cannot be compared', async () => {
    expect(await ask('POST', `/completeness/webex/${addDays(dayAt(Date.now(), 'UTC'), 2)}/reconcile`, {})).toMatchObject({ status: 400 });
    expect(await ask('POST', `/completeness/webex/2026-02-30/reconcile`, {})).toMatchObject({ status: 400 });
    expect(await ask('POST', `/completeness/nowhere/${day}/reconcile`, {})).toMatchObject({ status: 404 });
    expect(await ask('POST', '/completeness/hook/2020-01-01/reconcile', {})).toMatchObject({ status: 409 });
    expect(await ask('GET', '/completeness/webex/2020-01-01')).toMatchObject({ status: 404 });
    expect(await ask('GET', '/completeness?cursor=nonsense')).toMatchObject({ status: 400 });
  });
});

describe('calls that were handed in', () => {
  it('are held against the receipts of the day on which they came', async () => {
    const { wiring } = system;
    const yesterday = dayAgo(1);
    const details = (callId: string): CallDetails => ({ source: 'hook', callId, status: 'abandoned', direction: 'inbound', startedAtMs: yesterday.fromMs - 40 * 86_400_000 });
    await asOwner(() => sql`create function refuse_handed_in() returns trigger language plpgsql as $$ begin raise exception 'this call cannot be stored'; end $$`.execute(wiring.db));
    await asOwner(() => sql`create trigger refuse_handed_in before insert on calls for each row when (new.call_id = 'hook-3') execute function refuse_handed_in()`.execute(wiring.db));
    await wiring.inbox.receiveAll(['hook-1', 'hook-2', 'hook-3', 'hook-4'].map((callId) => toEvent('default', 'hook', { details: details(callId) })));
    await wiring.db.updateTable('inbox').set({ received_at: sql<never>`${new Date(yesterday.fromMs + HOUR_MS).toISOString()}::timestamptz` }).where('source', '=', 'hook').execute();
    for (const callId of ['hook-1', 'hook-2', 'hook-4']) while ((await wiring.calls.find(system.key(callId)))?.state !== 'completed') await sleep(100);
    while ((await wiring.db.selectFrom('inbox').select('error').where('source', '=', 'hook').where('error', 'is not', null).execute()).length === 0) await sleep(100);
    // One of them fell out behind our back.
    await wiring.callsClient.result(system.key('hook-4'));
    await wiring.db.deleteFrom('calls').where('call_id', '=', 'hook-4').execute();
    await wiring.completenessClient.sweep(yesterday.fromMs + 30 * HOUR_MS);
    const path = `/completeness/hook/${yesterday.day}`;
    while ((await ask<Day>('GET', path)).state !== 'done') await sleep(100);
    expect(await ask<Day>('GET', path)).toMatchObject({ listed: 4, ours: 2, gaps: { abandoned: 2, not_taken_in: 1, unexplained: 1 }, notListed: {}, takenIn: 0, askedBy: null });
    expect(await ask('GET', `${path}/calls?reason=not_taken_in`)).toMatchObject({ calls: [{ callId: 'hook-3', detail: 'this call cannot be stored' }] });
    // Once a day, however often it is looked.
    await wiring.completenessClient.sweep(yesterday.fromMs + 30 * HOUR_MS);
    expect((await ask<Day>('GET', path)).checks).toBe(1);
    // Ours of today, received yesterday.
    expect(await compare('hook', dayAgo(0).day)).toMatchObject({ listed: 0, ours: 2, notListed: { moved_day: 2 }, unexplained: 0 });
    // What is erased leaves no receipt behind that names it.
    await wiring.erasuresClient.erase({ project: 'default', id: 'handed-in', kind: 'call', subject: wiring.erasuresClient.subjectOf('default', 'hook-1'), by: 'ann', callIds: ['hook-1'] });
    while (await wiring.calls.find(system.key('hook-1'))) await sleep(50);
    await wiring.inbox.receive(toEvent('default', 'hook', { details: details('hook-1') }));
    while ((await wiring.db.selectFrom('inbox').select('event_id').where('source', '=', 'hook').where('delivered_at', 'is', null).execute()).length > 1) await sleep(100);
    expect(await wiring.db.selectFrom('inbox').select('event_id').where('about', '=', 'hook-1').execute()).toEqual([]);
    expect(await compare('hook', yesterday.day)).toMatchObject({ listed: 3, gaps: { abandoned: 1 } });
  });
});
