import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { cpus, loadavg, tmpdir, totalmem } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import Table from 'cli-table3';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../sandbox/calls/index.ts';
import { OPENAI_KEY, startOpenAI } from '../sandbox/openai/server.ts';
import { SALESFORCE_CLIENT, startSalesforce } from '../sandbox/salesforce/server.ts';
import type { SandboxServer } from '../sandbox/server.ts';
import { startWebex, WEBEX_CLIENT } from '../sandbox/webex/server.ts';
import { startDevServerProcess } from '../scripts/dev-server.ts';
import { freePort } from '../scripts/ports.ts';
import { ffmpeg, say, temporalCli } from '../scripts/programs/index.ts';
import { createSchedules } from '../src/client/schedules.ts';
import { bundleWorkflows } from '../src/workers.ts';
import { connectTemporal } from '../src/client/temporal.ts';
import { loadConfig, paceOf } from '../src/config.ts';
import { createKeyRing } from '../src/crypto/key-ring.ts';
import { dataConverter } from '../src/crypto/payload-codec.ts';
import { callWorkflowId } from '../src/domain/ids.ts';
import type { ExecutionReport } from '../src/domain/report.ts';

/**
 * Measures a window of calls: `npm run bench -- [--calls N] [--delay MS] [--json]`. With `DATABASE_URL` set, on
 * that (empty) PostgreSQL; else on the embedded one, in the worker's process.
 *
 * Every request to an upstream is held for the same time, so the floor of a call is that time for each
 * request it makes one after the other; overhead is what a call takes beyond it. One worker process; the
 * Temporal dev server, the stand-ins and the audio work share the machine with it.
 */
const HELP = `Usage: npm run bench -- [options]

  --calls N    calls in the window                                  (20)
  --delay MS   how long every upstream request is held              (100)
  --json       for machines
  --help`;

const readArguments = () => {
  try {
    const { values } = parseArgs({ options: { calls: { type: 'string', default: '20' }, delay: { type: 'string', default: '100' }, json: { type: 'boolean', default: false }, help: { type: 'boolean', default: false } } });
    if (!/^[1-9]\d*$/.test(values.calls) || !/^\d+$/.test(values.delay)) throw new Error('--calls and --delay are whole numbers.');
    return values;
  } catch (error) {
    say(`${(error as Error).message}\n\n${HELP}`);
    process.exit(2);
  }
};
const values = readArguments();
if (values.help) {
  process.stdout.write(`${HELP}\n`);
  process.exit(0);
}
const CALLS = Number(values.calls);
const DELAY_MS = Number(values.delay);
const sample = SAMPLE_CALLS.find((call) => call.title.includes('qualified'))!;
/** Requests that a call makes one after the other: captures, download, two channels, grading, facts, account, its lead. */
const SEQUENTIAL_REQUESTS = 8;

const folder = await mkdtemp(join(tmpdir(), 'aftercall-bench-'));
const ffmpegPath = await ffmpeg();
const server = await startDevServerProcess({ cliPath: await temporalCli(), port: await freePort(), uiPort: await freePort(), metricsPort: await freePort() });
const files = { calls: [sample], audioFolder: AUDIO_FOLDER, ffmpegPath };
const webex = await startWebex({ ...files, dataFolder: folder });
const openai = await startOpenAI(files);
const salesforce = await startSalesforce();
let worker: ChildProcess | undefined;

const post = (url: string, body: unknown): Promise<Response> => fetch(url, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
const hold = (stand: SandboxServer, ...routes: string[]): Promise<unknown> => post(`${stand.url}/_sandbox/faults`, routes.map((route) => ({ route, times: 1e9, delayMs: DELAY_MS, effect: { kind: 'delay' } })));

const percentile = (sorted: number[], share: number): number => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
const cpuMsOf = async (pid: number): Promise<number> => {
  const fields = (await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => '')).split(') ')[1]?.split(' ') ?? [];
  // Clock ticks are hundredths of a second on every Linux that Node runs on. Own time and that of ended children (ffmpeg).
  return [11, 12, 13, 14].reduce((sum, at) => sum + Number(fields[at] ?? 0), 0) * 10;
};
const peakRssMb = async (pid: number): Promise<number> => Math.round(Number(/VmHWM:\s+(\d+)/.exec(await readFile(`/proc/${pid}/status`, 'utf8').catch(() => ''))?.[1] ?? 0) / 1024);
const actions = async (): Promise<number> => {
  await sleep(1_500);
  const text = await (await fetch(server.metricsUrl)).text();
  return [...text.matchAll(/^action\{[^}]*namespace="default"[^}]*\} ([\d.e+]+)$/gm)].reduce((sum, [, value]) => sum + Number(value), 0);
};

const workflowBundle = join(folder, 'workflow-bundle.js');
await writeFile(workflowBundle, (await bundleWorkflows()).code);

try {
  const env: Record<string, string> = {
    TEMPORAL_ADDRESS: server.address,
    AFTERCALL_KEYS: `bench:${Buffer.alloc(32, 1).toString('base64')}`,
    DATABASE_URL: process.env['DATABASE_URL'] ?? `pglite:${join(folder, 'database')}`,
    // As in production: made ahead.
    WORKFLOW_BUNDLE: workflowBundle,
    OBJECTS_DIR: join(folder, 'objects'),
    WEBEX_BASE_URL: webex.url,
    WEBEX_TOKEN_URL: `${webex.url}/v1/access_token`,
    WEBEX_CLIENT_ID: WEBEX_CLIENT.clientId,
    WEBEX_CLIENT_SECRET: WEBEX_CLIENT.clientSecret,
    WEBEX_REFRESH_TOKEN: WEBEX_CLIENT.refreshToken,
    OUTBOUND_ALLOW: new URL(webex.url).host,
    WEBEX_REQUESTS_PER_MINUTE: '60000',
    OPENAI_BASE_URL: `${openai.url}/v1`,
    OPENAI_API_KEY: OPENAI_KEY,
    SFDC_URL: salesforce.url,
    SFDC_CLIENT_ID: SALESFORCE_CLIENT.clientId,
    SFDC_CLIENT_SECRET: SALESFORCE_CLIENT.clientSecret,
    API_TOKEN: 'not-used-by-the-benchmark',
    FFMPEG_PATH: ffmpegPath,
    LOG_LEVEL: 'error',
    RECORDINGS_PER_SECOND: '1000',
    LLM_PER_SECOND: '1000',
    CRM_PER_SECOND: '1000',
    WORKER_HEALTH_PORT: String(await freePort()),
    WORKER_METRICS_PORT: String(await freePort()),
  };
  const at = Date.now() - 3_600_000;
  await post(`${webex.url}/_sandbox-bulk`, { count: CALLS, fromMs: at - CALLS * 1_000, toMs: at, recordingOf: sample.taskId });
  worker = spawn(process.execPath, ['--max-semi-space-size=1', fileURLToPath(new URL('../src/worker.ts', import.meta.url))], { env: { ...process.env, ...env }, stdio: ['ignore', 'inherit', 'inherit'] });
  while (!(await fetch(`http://127.0.0.1:${env['WORKER_HEALTH_PORT']}/readyz`).then((response) => response.ok, () => false))) await sleep(100);
  const config = loadConfig(env);
  const client = await connectTemporal(config, dataConverter(createKeyRing(config.AFTERCALL_KEYS)));
  const schedules = createSchedules({ client, config, pace: paceOf(config), minutesBack: 180, project: 'default', source: 'webex' });

  await hold(webex, 'POST /v1/captures/query', 'GET /recordings/*');
  await hold(openai, 'POST /v1/*');
  await hold(salesforce, 'GET /services/data/*', 'PATCH /services/data/*');
  say(`reading a window of ${CALLS} calls, each upstream request held for ${DELAY_MS} ms`);
  const load = loadavg()[0]!;
  const [cpuBefore, actionsBefore] = [await cpuMsOf(worker.pid!), await actions()];
  const startedMs = Date.now();
  const handle = await schedules.runWindow({ workflowId: 'ingest/default/webex/bench' });
  const report = (await handle.result()) as ExecutionReport;
  const tookMs = Date.now() - startedMs;

  const durations: number[] = [];
  let historyBytes = 0;
  for (let index = 0; index < CALLS; index += 1) {
    const call = await client.workflow.getHandle(callWorkflowId({ project: 'default', callId: `b0000000-0000-4000-8000-${String(index).padStart(12, '0')}` })).describe();
    durations.push(call.closeTime!.getTime() - call.startTime.getTime());
    historyBytes += Number(call.raw.workflowExecutionInfo?.historySizeBytes);
  }
  durations.sort((a, b) => a - b);
  const floorMs = SEQUENTIAL_REQUESTS * DELAY_MS;
  const calls = report.newTasks;
  const result = {
    calls,
    processedSuccessfully: report.processedSuccessfully,
    upstreamDelayMs: DELAY_MS,
    floorMs,
    seconds: tookMs / 1_000,
    callsPerSecond: calls / (tookMs / 1_000),
    overheadP50Ms: percentile(durations, 0.5) - floorMs,
    overheadP99Ms: percentile(durations, 0.99) - floorMs,
    workerCpuMsPerCall: ((await cpuMsOf(worker.pid!)) - cpuBefore) / calls,
    workerPeakRssMb: await peakRssMb(worker.pid!),
    actionsPerCall: ((await actions()) - actionsBefore) / calls,
    historyBytesPerCall: Math.round(historyBytes / CALLS),
    machine: { cpu: cpus()[0]?.model ?? '', cores: cpus().length, memoryGiB: Math.round(totalmem() / 1024 ** 3), loadBefore: load, node: process.version },
  };
  await client.connection.close();
  if (values.json) process.stdout.write(`${JSON.stringify(result)}\n`);
  else {
    const table = new Table({ style: { head: [], border: [] } });
    for (const [label, value] of Object.entries(result)) table.push([label, typeof value === 'object' ? JSON.stringify(value) : typeof value === 'number' && !Number.isInteger(value) ? value.toFixed(2) : String(value)]);
    process.stdout.write(`${table.toString()}\n`);
  }
} finally {
  worker?.kill('SIGTERM');
  await Promise.all([webex.close(), openai.close(), salesforce.close()]);
  await server.stop();
  await rm(folder, { recursive: true, force: true });
}
process.exit(0);
