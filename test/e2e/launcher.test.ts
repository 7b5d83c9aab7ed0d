import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { LedgerEntry } from '../../sandbox/ledger.ts';
import { isStillRunning, markOf, type ProcessMark } from '../../scripts/processes.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { type Descendant, descendantsOf, processesNaming, type Program, runProgram, startProgram } from '../support/program.ts';

/** `npm start` as a newcomer runs it. The cases share one data folder and follow one another, as a person's day would. */
let folder: string;
let data: string;
/** Begun by the start that is killed. */
let firstRun: string;
const FINISHED = SAMPLE_CALLS.filter(({ task }) => task.status !== 'assigned').length;
const started: Program[] = [];

const start = (...args: string[]): Program => {
  const program = startProgram('start', { args: ['--data', data, ...args], cwd: folder });
  started.push(program);
  return program;
};

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-launcher-'));
  data = join(folder, 'state');
});
afterAll(async () => {
  for (const program of started) program.kill('SIGKILL');
  await Promise.all(started.map(({ ended }) => ended));
  await awaitEnds(await Promise.all((await processesNaming(folder)).map(({ pid }) => markOf(pid))), 20_000).catch(() => {});
  await rm(folder, { recursive: true, force: true });
});

/** Processes below it now, recognisable when it is gone. */
const childrenOf = async ({ pid }: Program): Promise<ProcessMark[]> => Promise.all((await descendantsOf(pid)).map((child) => markOf(child.pid)));

const awaitEnds = async (marks: ProcessMark[], withinMs: number): Promise<void> => {
  for (const deadline = Date.now() + withinMs; ; await sleep(50)) {
    const left = await Promise.all(marks.map(isStillRunning));
    if (!left.includes(true)) return;
    if (Date.now() > deadline) throw new Error(`Still running: ${marks.filter((_, index) => left[index]).map(({ pid }) => pid).join(', ')}`);
  }
};

/** What only a running start keeps in its folder. */
const LEFT_BY_THE_RUNNING = /^(lock|children\.json|environment\.json)/;

const ledger = async (name: string): Promise<LedgerEntry[]> =>
  (await readFile(join(data, 'sandbox', `${name}-ledger.jsonl`), 'utf8')).split('\n').filter(Boolean).map((line) => JSON.parse(line) as LedgerEntry);

describe('npm start with wrong settings', () => {
  it('lists every problem at once, starts nothing, and ends with 2', async () => {
    const env = { WEBEX_BASE_URL: 'webex', SFDC_URL: 'https://sfdc.example', INGEST_EVERY: 'soon', MINUTES_BACK: '-1', AFTERCALL_KEYS: 'k1:short-secret', WORKER_QUEUES: 'phones', S3_BUCKET: 'b', OBJECTS_DIR: 'o' };
    const { code, stdout, stderr } = await runProgram('start', { args: ['--data', data], env, cwd: folder });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    for (const name of ['WEBEX_BASE_URL', 'WEBEX_CLIENT_ID', 'WEBEX_REFRESH_TOKEN', 'SFDC_CLIENT_ID', 'SFDC_CLIENT_SECRET', 'INGEST_EVERY', 'MINUTES_BACK', 'AFTERCALL_KEYS', 'WORKER_QUEUES', 'S3_BUCKET']) {
      expect(stderr).toMatch(new RegExp(`^  - .*${name}`, 'm'));
    }
    expect(stderr).not.toMatch(/short-secret|^ +at /m);
    expect(await processesNaming(folder)).toEqual([]);
    // The next start finds its own keys here, and nothing of what was wrong.
    expect(await readdir(data)).toEqual(['local.json']);
    expect(await readFile(join(data, 'local.json'), 'utf8')).not.toContain('short-secret');
  });

  const misuses: [string[], RegExp][] = [
    [['--twice'], /Unknown option '--twice'[^]*Usage: npm start/],
    [['now'], /Unexpected argument 'now'[^]*Usage: npm start/],
    [['--speech', 'loud'], /--speech is script or whisper, not "loud"/],
    [['--env', 'nowhere.env'], /--env nowhere\.env cannot be read/],
  ];
  it.each(misuses)('refuses %j with exit code 2 and makes no folder', async (args, message) => {
    const { code, stdout, stderr } = await runProgram('start', { args: ['--data', join(folder, 'unused'), ...args], cwd: folder });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(await readdir(folder)).not.toContain('unused');
  });
});

describe('npm start', () => {
  let killedAt: number;

  it('has its folder to itself: another start is refused and disturbs nothing', async () => {
    const first = start('--once');
    await first.says('schedule: created');
    const { code, stdout, stderr } = await runProgram('start', { args: ['--data', data], cwd: folder });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toBe(`Aftercall is running on ${data} already (process ${first.pid}). End it first, or use another folder with --data DIR.\n`);
    expect(await readdir(data)).toEqual(expect.arrayContaining(['lock', 'children.json', 'environment.json']));
    // This start, the sandbox and Temporal: what has to be gone later is there now.
    expect((await processesNaming(folder)).length).toBeGreaterThanOrEqual(3);
  });

  it('leaves no child when it is killed half-way through its calls', async () => {
    const first = started.at(-1)!;
    // Some are done, some are not.
    await first.says(/[1-9]\d* processing.*, ([3-9]|1\d) completed/);
    const children = await childrenOf(first);
    expect(children.length).toBeGreaterThanOrEqual(2);
    first.kill('SIGKILL');
    killedAt = Date.now();
    expect(await first.ended).toMatchObject({ signal: 'SIGKILL', stdout: '' });
    await awaitEnds(children, 15_000);
    expect(await processesNaming(folder)).toEqual([]);
  });

  it('takes the same run up when it is started again, and processes every call once', async () => {
    const second = start('--once');
    await second.says('taking up run');
    const children = await childrenOf(second);
    const { code, stdout, stderr } = await second.ended;

    expect(code).toBe(0);
    expect(stdout).toMatch(/^\{.*\}\n$/);
    const report = JSON.parse(stdout) as ExecutionReport;
    firstRun = report.runId;
    expect(stderr).toContain(`taking up run ${report.runId}, begun ${report.startedAt}`);
    expect(Date.parse(report.startedAt)).toBeLessThan(killedAt);
    expect(report).toMatchObject({ tasksFound: FINISHED + 1, newTasks: FINISHED, processedSuccessfully: FINISHED, skippedAlreadyProcessed: 0, needsAttention: 0, inProgress: 0, failed: 0 });
    expect(report.crm).toMatchObject({ leadsCreated: 1, leadsConverted: 2 });

    // The sandbox has seen both starts.
    const done = await ledger('salesforce');
    const keysOf = (kind: string): unknown[] => done.filter((entry) => entry.kind === kind).map(({ externalId, id }) => externalId ?? id);
    expect(keysOf('lead_created')).toHaveLength(1);
    expect(keysOf('lead_converted')).toHaveLength(2);
    for (const kind of ['lead_created', 'lead_converted', 'task_created']) expect(keysOf(kind)).toHaveLength(new Set(keysOf(kind)).size);

    await awaitEnds(children, 0);
    expect(await processesNaming(folder)).toEqual([]);
    expect((await readdir(data)).filter((name) => LEFT_BY_THE_RUNNING.test(name))).toEqual([]);
  });
});

describe('npm start that stays up', () => {
  let program: Program;
  let place: (name: string) => string;
  beforeAll(async () => {
    program = start();
    await program.says('Ctrl-C ends everything.');
    place = (name) => new RegExp(`^  ${name} +(\\S+)$`, 'm').exec(program.stdout())![1]!;
  });

  const api = async (path: string): Promise<unknown> => (await fetch(new URL(path, place('API and its pages')), { headers: { authorization: `Bearer ${place('API token')}` } })).json();
  const theOne = async (command: RegExp): Promise<Descendant> => {
    const found = (await descendantsOf(program.pid)).filter((child) => command.test(child.command));
    expect(found).toHaveLength(1);
    return found[0]!;
  };
  const answers = (url: string): Promise<boolean> => fetch(url).then(({ ok }) => ok, () => false);
  /** Kills a child and waits until another one serves at the same place. */
  const killAndAwait = async (command: RegExp, { name, url }: { name: string; url: string }): Promise<void> => {
    const before = await theOne(command);
    process.kill(before.pid, 'SIGKILL');
    await program.says(`${name} ended unexpectedly, starting it again`);
    for (let left = 600; !(await answers(url)); left -= 1) {
      if (left === 0) throw new Error(`Nothing answers at ${url} again.`);
      await sleep(50);
    }
    expect((await theOne(command)).pid).not.toBe(before.pid);
  };

  it('shows that every call was processed before', () => {
    expect(program.stdout()).toMatch(new RegExp(`tasks found +│ +${FINISHED + 1} `));
    expect(program.stdout()).toMatch(/new tasks +│ +0 /);
    expect(program.stdout()).toMatch(new RegExp(`skipped, already processed +│ +${FINISHED} `));
  });

  it('shows one outbound call from its request to its report', async () => {
    expect(program.stderr()).toMatch(/^outbound call: queued$/m);
    expect(program.stderr()).toMatch(/^outbound call: over, recording and transcript processed, score \d+$/m);
    const report = /^ {2}(\S+) {2}\(the outbound call\)$/m.exec(program.stdout())![1]!;
    expect(await (await fetch(report)).text()).toContain('Scorecard');
    const { voiceCalls } = (await api('/v1/projects/default/voice-calls')) as { voiceCalls: { state: string; outcome: string; callId: string }[] };
    expect(voiceCalls).toEqual([expect.objectContaining({ state: 'completed', outcome: 'connected' })]);
    expect(report).toContain(`/calls/default/${voiceCalls[0]!.callId}?`);
    const told = (await ledger('abt')).map(({ event }) => (event as { event: string }).event);
    expect(told).toEqual(['Voice call initiated', 'Call started', 'Call completed']);
  });

  it('answers at every place that it names', async () => {
    expect(await answers(place('API and its pages'))).toBe(true);
    expect(await answers(new URL('/healthz', place('API and its pages')).href)).toBe(true);
    expect(await answers(place('Temporal UI'))).toBe(true);
    expect(await answers(place('sandbox Salesforce'))).toBe(true);
    // The run that was cut off, and this one.
    expect(await api('/v1/projects/default/runs')).toMatchObject({ runs: [{ state: 'completed' }, { state: 'completed', runId: firstRun }] });
  });

  it('has its Temporal remember calls for longer than a window reaches back', async () => {
    const { TEMPORAL_ADDRESS } = JSON.parse(await readFile(join(data, 'environment.json'), 'utf8')) as { TEMPORAL_ADDRESS: string };
    const { stdout } = await promisify(execFile)(process.env['TEMPORAL_CLI']!, ['operator', 'namespace', 'describe', '--address', TEMPORAL_ADDRESS, '-n', 'default']);
    expect(stdout).toMatch(/RetentionTtl\s+192h0m0s/);
  });

  it('starts Temporal and the sandbox again on their ports when they die, and goes on working', async () => {
    const webex = /Webex (\S+),/.exec(program.stderr())![1]!;
    await killAndAwait(/^\S*temporal\S* server start-dev/, { name: 'the Temporal dev server', url: place('Temporal UI') });
    await killAndAwait(/sandbox\/main\.ts/, { name: 'the sandbox', url: `${webex}/_sandbox/ledger` });

    const at = Date.now() - 3_600_000;
    await fetch(`${webex}/_sandbox-bulk`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify({ count: 1, fromMs: at, toMs: at + 1_000, recordingOf: SAMPLE_CALLS[0]!.taskId }) });
    const { code, stdout } = await runProgram('schedule', { args: ['trigger', '--data', data], cwd: folder });
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'ingest/default/webex triggered\n' });
    for (let left = 600; ((await api('/v1/projects/default/calls/b0000000-0000-4000-8000-000000000000')) as { state?: string }).state !== 'completed'; left -= 1) {
      if (left === 0) throw new Error(`The call that came after was not processed:\n${program.stderr()}`);
      await sleep(100);
    }
    // Of the window that was cut off, the outbound call, and this one.
    expect((await ledger('salesforce')).filter(({ kind }) => kind === 'lead_created')).toHaveLength(3);
  });

  it('ends with 0 on Ctrl-C and leaves no child', async () => {
    const children = await childrenOf(program);
    program.kill('SIGINT');
    expect(await program.ended).toMatchObject({ code: 0, signal: null });
    await awaitEnds(children, 0);
    expect(await processesNaming(folder)).toEqual([]);
    expect((await readdir(data)).filter((name) => LEFT_BY_THE_RUNNING.test(name))).toEqual([]);
  });
});
