import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Client, Connection, type WorkflowExecutionInfo } from '@temporalio/client';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { ScheduleView } from '../../src/client/schedules.ts';
import { complete } from '../support/config.ts';
import { type Ended, runProgram } from '../support/program.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';
import { until } from '../support/until.ts';

/** `npm run schedule` as a person uses it, one after the other on one server. No worker runs: windows stay open. */
let server: DevServer;
let temporal: Client;
let folder: string;

beforeAll(async () => {
  [server, folder] = await Promise.all([startTemporalProcess(), mkdtemp(join(tmpdir(), 'aftercall-schedule-'))]);
  // It is read where there is one, and Node remarks on it where there is none.
  await writeFile(join(folder, '.env'), '');
  temporal = new Client({ connection: await Connection.connect({ address: server.address }) });
});
afterAll(async () => {
  await temporal?.connection.close();
  await server?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** No window is due by the clock while the cases run, however long they take. */
const SELDOM = { INGEST_EVERY: '7h' };

const schedule = (args: string, env: Record<string, string> = {}): Promise<Ended> =>
  runProgram('schedule', { args: args.split(' ').filter(Boolean), env: { ...complete, ...SELDOM, TEMPORAL_ADDRESS: server.address, ...env }, cwd: folder });

const said = async (args: string, env?: Record<string, string>): Promise<string> => {
  const { code, stdout, stderr } = await schedule(args, env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: `Temporal at ${server.address}, namespace default\n` });
  return stdout;
};
const view = async (env?: Record<string, string>): Promise<ScheduleView> => JSON.parse(await said('describe --json', env)) as ScheduleView;

const openWindows = async (): Promise<WorkflowExecutionInfo[]> => {
  const open: WorkflowExecutionInfo[] = [];
  for await (const window of temporal.workflow.list({ query: 'ExecutionStatus = "Running"' })) open.push(window);
  return open;
};
const nextWindow = (): Promise<WorkflowExecutionInfo> => until('a window is started', async () => (await openWindows())[0]);
const end = async ({ workflowId, runId }: WorkflowExecutionInfo): Promise<void> => {
  await temporal.workflow.getHandle(workflowId, runId).terminate();
  while ((await openWindows()).some((window) => window.runId === runId)) await sleep(50);
};

describe('npm run schedule, misused', () => {
  /** It tries for ten seconds; the other misuses go on meanwhile. */
  let unreachable: Promise<Ended>;
  beforeAll(() => {
    unreachable = schedule('describe', { TEMPORAL_ADDRESS: '127.0.0.1:1' });
  });

  const misuses: [string, RegExp][] = [
    ['start', /There is no "start"\. Try --help/],
    ['pause now', /"pause" takes no "now"/],
    ['pause --reason x', /Unknown option '--reason'[^]*Usage: npm run schedule/],
    ['backfill', /--from needs a time with its zone/],
    ['backfill --from 2026-11-20T08:00:00Z', /--to needs a time with its zone/],
    ['backfill --from yesterday --to 2026-11-20T08:00:00Z', /--from needs a time .*not "yesterday"/],
    ['backfill --from 2026-11-20T08:00:00 --to 2026-11-21T08:00:00Z', /--from needs a time with its zone/],
    ['backfill --from 2026-02-30T08:00:00Z --to 2026-11-21T08:00:00Z', /--from needs a time .*not "2026-02-30/],
    ['backfill --from 2026-11-20T08:00:00Z --to 2026-11-20T09:00:00+02:00', /--from has to lie before --to/],
  ];
  it.each(misuses)('refuses "%s" with exit code 2, and connects to nothing', async (args, message) => {
    const { code, stdout, stderr } = await schedule(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).not.toContain('Temporal at');
  });

  it('names every missing setting', async () => {
    const { code, stderr } = await runProgram('schedule', { args: ['describe'], cwd: folder });
    expect(code).toBe(2);
    for (const name of ['AFTERCALL_KEYS', 'DATABASE_URL']) expect(stderr).toContain(`${name} is not set`);
    expect(stderr).toContain('--data');
  });

  it('says which Temporal cannot be reached', async () => {
    const { code, stdout, stderr } = await unreachable;
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(/Connecting to Temporal at 127\.0\.0\.1:1 failed: .*\. Check TEMPORAL_ADDRESS, and that the server is up\.\n$/);
  });

  it.each(['describe', 'pause', 'resume', 'trigger', 'backfill --from 2026-11-20T08:00:00Z --to 2026-11-20T09:00:00Z'])('says how to create the schedule where there is none: %s', async (args) => {
    const { code, stdout, stderr } = await schedule(args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain('There is no schedule ingest/default/webex in namespace default. Create it with `npm run schedule -- apply`, or by saving the connector of its source.');
  });
});

describe('npm run schedule', () => {
  it('creates the schedule, and says the second time that it was there', async () => {
    expect(await said('apply')).toBe('ingest/default/webex created\n');
    expect(await said('apply')).toBe('ingest/default/webex updated\n');
    expect(await view()).toMatchObject({ paused: false, spec: 'every 420 min', overlap: 'buffer_one', catchupWindowMs: 86_400_000, recentRuns: [] });
  });

  it('keeps what stands in Temporal apart from what the settings say, until they are applied', async () => {
    const env = { INGEST_CRON: '30 6 * * 1', INGEST_OVERLAP: 'skip', INGEST_CATCHUP: '90m' };
    expect(await view(env)).toMatchObject({ spec: 'every 420 min', overlap: 'buffer_one' });
    await said('apply', env);
    const { nextRuns, ...applied } = await view();
    expect(applied).toMatchObject({ spec: 'cron 30 6 * * 1 (UTC)', overlap: 'skip', catchupWindowMs: 90 * 60_000 });
    for (const at of nextRuns) expect([new Date(at).getUTCDay(), at.slice(11, 16)]).toEqual([1, '06:30']);
    expect(await said('describe')).toContain('ingest/default/webex: active, cron 30 6 * * 1 (UTC)\nwhen one is running: skip; windows missed up to 90 min ago are made up for\n');
  });

  it('leaves the schedule as it was when Temporal refuses the timetable', async () => {
    const { code, stderr } = await schedule('apply', { INGEST_CRON: '61 6 * * 1' });
    expect(code).toBe(2);
    expect(stderr).toMatch(/Temporal refuses INGEST_CRON "61 6 \* \* 1": Minute is not in range .*\. Mend INGEST_CRON; the schedule is as it was\./);
    expect(await view()).toMatchObject({ spec: 'cron 30 6 * * 1 (UTC)' });
    await said('apply');
    expect(await view()).toMatchObject({ spec: 'every 420 min', overlap: 'buffer_one', catchupWindowMs: 86_400_000 });
  });

  it('pauses with a note, stays paused when applied, and resumes', async () => {
    expect(await said('pause --note maintenance')).toBe('ingest/default/webex paused\n');
    expect(await said('describe')).toContain('paused (maintenance), every 420 min');
    await said('apply');
    expect(await view()).toMatchObject({ paused: true, note: 'maintenance' });
    expect(await said('resume --json')).toBe('{"id":"ingest/default/webex","did":"active"}\n');
    expect(await view()).toMatchObject({ paused: false, note: 'by hand' });
  });

  it('reads a window now', async () => {
    expect(await said('trigger')).toBe('ingest/default/webex triggered\n');
    const window = await nextWindow();
    expect(window.type).toBe('ingestWindow');
    expect((await view()).recentRuns.map(({ workflowId }) => workflowId)).toEqual([window.workflowId]);
    await end(window);
  });

  it('reads every window that was due between two times, one after the other', async () => {
    await said('apply', { INGEST_CRON: '0 * * * *' });
    expect(await said('backfill --from 2026-11-01T07:30:00Z --to 2026-11-01T18:30:00+08:00')).toBe('ingest/default/webex backfilling 2026-11-01T07:30:00.000Z to 2026-11-01T10:30:00.000Z\n');
    const due: string[] = [];
    for (let left = 3; left > 0; left -= 1) {
      const window = await nextWindow();
      expect(await openWindows()).toHaveLength(1);
      due.push((window.searchAttributes['TemporalScheduledStartTime']?.[0] as Date).toISOString());
      await end(window);
    }
    expect(due).toEqual(['2026-11-01T08:00:00.000Z', '2026-11-01T09:00:00.000Z', '2026-11-01T10:00:00.000Z']);
    await sleep(1_000);
    expect(await openWindows()).toEqual([]);
  });
});
