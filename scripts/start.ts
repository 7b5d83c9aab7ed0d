import { rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { RETELL_ACCOUNT } from '../sandbox/retell/server.ts';
import { SALESFORCE_CLIENT } from '../sandbox/salesforce/server.ts';
import { TELEGRAM_BOT } from '../sandbox/telegram/server.ts';
import { type App, startApp } from '../src/app.ts';
import { namespaceRetentionMs, setNamespaceRetention } from '../src/client/temporal.ts';
import { type Config, loadConfig, SETTINGS } from '../src/config.ts';
import { DEFAULT_PROJECT, workflowIdOfRun } from '../src/domain/ids.ts';
import type { ExecutionReport } from '../src/domain/report.ts';
import { orUsage, programFailure, UsageError } from '../src/program.ts';
import { createLog } from '../src/telemetry/log.ts';
import { mainSourceOf } from '../src/wiring.ts';
import { startDevServerProcess } from './dev-server.ts';
import { type KeptChild, keepRunning } from './keep-running.ts';
import { type LaunchPlan, planLaunch, type Settings, standInSettings } from './launch-plan.ts';
import { ENVIRONMENT_FILE } from './local-environment.ts';
import { awaitLeftChildren, loadLocalState, type LocalState, lockFolder, makeDataFolder, noteChildren, saveLocalState, writeWhole } from './local-state.ts';
import { showOutboundCall } from './outbound-call.ts';
import { freePort } from './ports.ts';
import { ffmpeg, say, temporalCli, whisper } from './programs/index.ts';
import { showProgress } from './progress.ts';
import { reportTable } from './report-table.ts';
import { portsOf, startSandboxProcess } from './sandbox-process.ts';

const HELP = `Usage: npm start [-- options]

Starts everything that is needed on this machine, reads one window of calls, prints its report, and stays
up until Ctrl-C. Whatever the environment gives an address for is used instead of being started.

  --once               one window, then exit; the report as JSON on standard output
  --data DIR           where state is kept                      (.aftercall)
  --env FILE           settings from a file like .env.example; the environment goes before it
  --speech MODE        of the sandbox: script, or whisper for local recognition
  --whisper-model M    a faster-whisper model's folder or name instead of the packaged one
  --help`;

const DAY_MS = 86_400_000;

interface Options {
  once: boolean;
  data: string;
  speech: 'script' | 'whisper';
  whisperModel?: string;
}

/** Undone in reverse order, whatever happens; a second call waits for the first. */
const undo: (() => Promise<unknown>)[] = [];
let cleaning: Promise<void> | undefined;
const cleanUp = (): Promise<void> =>
  (cleaning ??= (async () => {
    // What was left half-way may fail at what is gone by now; that must not keep the rest from being ended.
    process.on('uncaughtException', (error) => say(`while stopping: ${String(error)}`));
    for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => say(`while stopping: ${String(error)}`));
  })());

/** Children of ours that run; when one cannot be kept running there is no use in staying up. */
const kept: KeptChild[] = [];
const pids = new Map<string, number>();

/** Set once everything is up and the first window is read: from then on Ctrl-C is the normal end. */
let isUp = false;

const main = async (options: Options): Promise<void> => {
  const folder = resolve(options.data);
  await makeDataFolder(folder);
  undo.push(await lockFolder(folder));
  const state = await loadLocalState(folder);
  const plan = planLaunch(process.env, { folder, state });
  await awaitLeftChildren(folder);
  undo.push(() => awaitLeftChildren(folder));

  const { config, settings } = await startSystems(plan, { folder, state, options });
  const shared = Object.fromEntries(Object.keys(SETTINGS).flatMap((name) => (settings[name] ? [[name, settings[name]]] : [])));
  await writeWhole(join(folder, ENVIRONMENT_FILE), JSON.stringify(shared));
  undo.push(() => rm(join(folder, ENVIRONMENT_FILE), { force: true }));

  const app = await startApp(config, createLog(config, 'aftercall', join(folder, 'aftercall.log')));
  undo.push(() => app.stop());
  if (app.api.firstAdmin) say(`administrator: ${app.api.firstAdmin.email}, password ${app.api.firstAdmin.password} (shown this once)`);
  await checkRetention(app, config, plan.ownTemporal);
  say(`schedule: ${await app.wiring.schedules.apply()}, ${config.INGEST_CRON ?? `every ${config.INGEST_EVERY / 60_000} min`}`);

  const lost = Promise.race([...kept.map((child) => child.lost), app.workers.done.then(() => Promise.reject<never>(new Error('The workers stopped.')))]);
  lost.catch(() => {});
  // A request for the report that still waits when the connection closes would be tried again on it.
  const waiting = new AbortController();
  undo.push(async () => waiting.abort());
  const report = await Promise.race([showProgress(app, app.wiring.temporal.withAbortSignal(waiting.signal, () => oneWindow(app, waiting.signal))), lost]);
  if (options.once) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  process.stdout.write(`${reportTable(report)}\n`);
  // With an account of one's own it would ring somebody.
  const placed = config.RETELL_API_KEY === RETELL_ACCOUNT.key ? await Promise.race([showOutboundCall(app, config, waiting.signal), lost]) : undefined;
  await showReports(app, placed);
  showPlaces(config, app, folder);
  isUp = true;
  await lost;
};

interface Launch {
  folder: string;
  state: LocalState;
  options: Options;
}

/** Starts what the plan says is missing. @returns the settings that lead to all of it */
const startSystems = async (plan: LaunchPlan, launch: Launch): Promise<{ config: Config; settings: Settings }> => {
  const { folder } = launch;
  const settings = { ...plan.settings };
  for (const remark of plan.remarks) say(`note: ${remark}`);
  settings['FFMPEG_PATH'] = await ffmpeg();
  settings['API_PORT'] ??= String(await freePort(8080));
  settings['WORKER_METRICS_PORT'] ??= String(await freePort(9464));
  say(plan.ownDatabase ? `database: embedded PostgreSQL in ${join(folder, 'database')}` : 'database: the one of DATABASE_URL');
  say(plan.ownObjects ? `objects: folder ${settings['OBJECTS_DIR']}` : `objects: ${settings['S3_BUCKET'] ? `bucket ${settings['S3_BUCKET']}${settings['AWS_ENDPOINT_URL'] ? ` at ${settings['AWS_ENDPOINT_URL']}` : ''}` : `folder ${settings['OBJECTS_DIR']}`}`);
  if (plan.standIns.length > 0) Object.assign(settings, await startSandbox(plan, settings, launch));
  else say('sandbox: not needed, all systems are named');
  if (plan.ownTemporal) Object.assign(settings, await startTemporal(settings, folder));
  else say(`temporal: ${settings['TEMPORAL_ADDRESS']} (TEMPORAL_ADDRESS)`);
  return { settings, config: loadConfig(settings) };
};

const noteChild = async (folder: string, name: string, pid: number): Promise<void> => {
  pids.set(name, pid);
  await noteChildren(folder, [...pids.values()]);
};

/** Starts the stand-ins for those systems that the environment does not name. @returns the settings that lead to them */
const startSandbox = async ({ standIns }: LaunchPlan, settings: Settings, { folder, state, options }: Launch): Promise<Settings> => {
  const { webex = 0, openai = 0, salesforce = 0, amocrm = 0, telegram = 0, receiver = 0, retell = 0, abt = 0 } = state.sandboxPorts ?? {};
  const wanted = {
    webex: await freePort(webex),
    openai: await freePort(openai),
    salesforce: await freePort(salesforce),
    amocrm: await freePort(amocrm),
    telegram: await freePort(telegram),
    receiver: await freePort(receiver),
    retell: await freePort(retell),
    abt: await freePort(abt),
  };
  const args = ['--data', join(folder, 'sandbox'), '--ffmpeg', settings['FFMPEG_PATH']!, '--retell-webhook', `http://127.0.0.1:${settings['API_PORT']}/webhooks/retell`];
  if (options.speech === 'whisper') {
    const { pythonPath, modelPath } = await whisper(options.whisperModel);
    args.push('--speech', 'whisper', '--python', pythonPath, '--whisper-model', modelPath);
  }
  const sandbox = await startSandboxProcess({ ports: wanted, args });
  const ports = portsOf(sandbox.urls);
  const onStart = ({ pid }: { pid: number }): Promise<void> => noteChild(folder, 'sandbox', pid);
  const child = keepRunning({ name: 'the sandbox', child: sandbox, again: () => startSandboxProcess({ ports, args }), onStart });
  kept.push(child);
  undo.push(() => child.stop());
  await onStart(sandbox);
  await saveLocalState(folder, { ...state, sandboxPorts: ports });
  const { urls } = sandbox;
  const shown = { webex: `Webex ${urls.webex}`, openai: `OpenAI ${urls.openai}`, salesforce: `Salesforce ${urls.salesforce}`, amocrm: `amoCRM ${urls.amocrm}` };
  say(`sandbox: ${standIns.map((name) => shown[name]).join(', ')}`);
  return standInSettings(standIns, urls, settings);
};

/** Starts the embedded Temporal. It keeps its state in a file, so it comes back as it was after any end. */
const startTemporal = async (settings: Settings, folder: string): Promise<Settings> => {
  const namespace = settings['TEMPORAL_NAMESPACE'];
  const server = {
    cliPath: await temporalCli(),
    port: await freePort(7233),
    uiPort: await freePort(8233),
    metricsPort: await freePort(),
    dbFile: join(folder, 'temporal.db'),
    codecEndpoint: `http://127.0.0.1:${settings['API_PORT']}/codec`,
    ...(namespace ? { namespace } : {}),
  };
  const running = await startDevServerProcess(server);
  const onStart = ({ pid }: { pid: number }): Promise<void> => noteChild(folder, 'temporal', pid);
  const child = keepRunning({ name: 'the Temporal dev server', child: running, again: () => startDevServerProcess(server), onStart });
  kept.push(child);
  undo.push(() => child.stop());
  await onStart(running);
  say(`temporal: dev server at ${running.address}, kept in ${server.dbFile}`);
  return { TEMPORAL_ADDRESS: running.address, TEMPORAL_UI_URL: running.uiUrl };
};

/** Dedup by workflow ID holds as long as Temporal keeps closed workflows: at least as long as a window reaches back. */
const checkRetention = async ({ wiring }: App, config: Config, ownTemporal: boolean): Promise<void> => {
  const windowMs = config.MINUTES_BACK * 60_000;
  if (ownTemporal) return setNamespaceRetention(wiring.temporal, windowMs + DAY_MS);
  const retentionMs = await namespaceRetentionMs(wiring.temporal);
  if (retentionMs >= windowMs) return;
  say(
    `WARNING: namespace ${config.TEMPORAL_NAMESPACE} keeps closed workflows for ${span(retentionMs)}, the window reaches back ${span(windowMs)}. ` +
      'Older calls are told apart by the database alone. Raise the retention: temporal operator namespace update --retention ' +
      `${Math.ceil(windowMs / DAY_MS) + 1}d ${config.TEMPORAL_NAMESPACE}`,
  );
};

/** Reads one window; if a run was cut off before its end, that one is finished instead. */
const oneWindow = async ({ wiring: { config, runs, schedules, temporal } }: App, signal: AbortSignal): Promise<ExecutionReport> => {
  const unfinished = (await runs.list(DEFAULT_PROJECT, { limit: 20 })).find(({ state }) => state === 'reading' || state === 'settling');
  if (unfinished) {
    say(`taking up run ${unfinished.id}, begun ${unfinished.startedAt.toISOString()}`);
    const handle = temporal.workflow.getHandle(workflowIdOfRun(unfinished.id));
    try {
      return (await handle.result()) as ExecutionReport;
    } catch (error) {
      if (signal.aborted) throw error;
      // Temporal has lost it, or it failed for good: a new window covers the same calls.
      say(`that run cannot be finished (${error instanceof Error ? error.message : String(error)}), reading a new window`);
    }
  }
  const handle = await schedules.runWindow({ workflowId: `ingest/${DEFAULT_PROJECT}/${mainSourceOf(config)}/start-${new Date().toISOString().slice(0, 19)}Z` });
  return (await handle.result()) as ExecutionReport;
};

const span = (ms: number): string => (ms < 2 * DAY_MS ? `${Math.round(ms / 360_000) / 10} h` : `${Math.round((ms / DAY_MS) * 10) / 10} days`);

/** Reports that the last window's calls came to, open for a while to whoever has the link. */
const SHOWN_REPORTS = 3;

const showReports = async ({ wiring: { calls, reportLinks } }: App, placed?: string): Promise<void> => {
  const graded = (await calls.list({ project: DEFAULT_PROJECT, states: ['completed'] }, { limit: 50 })).filter(({ result, callId }) => result === 'processed' && !placed?.includes(`/${callId}?`)).slice(0, SHOWN_REPORTS);
  const links = graded.map((call) => reportLinks.make(call).url);
  if (placed !== undefined) links.push(`${placed}  (the outbound call)`);
  if (links.length > 0) process.stdout.write(`\nReports\n${links.map((link) => `  ${link}`).join('\n')}\n`);
};

const showPlaces = (config: Config, app: App, folder: string): void => {
  const places: Record<string, string | undefined> = {
    'API and its pages': `${app.api.url}/docs`,
    'API token': config.API_TOKEN,
    'Temporal UI': config.TEMPORAL_UI_URL,
    files: config.OBJECTS_DIR ?? `s3://${config.S3_BUCKET}`,
    'sandbox Telegram': config.TELEGRAM_BOT_TOKEN === TELEGRAM_BOT.token ? `${config.TELEGRAM_BASE_URL}/_sandbox/ledger` : undefined,
    'sandbox webhooks': config.TELEGRAM_BOT_TOKEN === TELEGRAM_BOT.token ? config.WEBHOOK_URL?.replace(/\/hooks.*$/, '/_sandbox/ledger') : undefined,
    'sandbox tracking': config.RETELL_API_KEY === RETELL_ACCOUNT.key ? config.TRACKING_URL?.replace(/\/events$/, '/_sandbox/ledger') : undefined,
    'sandbox Retell': config.RETELL_API_KEY === RETELL_ACCOUNT.key ? `${config.RETELL_BASE_URL}/_sandbox/ledger` : undefined,
    'sandbox Salesforce': config.SFDC_CLIENT_ID === SALESFORCE_CLIENT.clientId ? config.SFDC_URL : undefined,
    log: join(folder, 'aftercall.log'),
  };
  const lines = Object.entries(places).filter(([, place]) => place);
  process.stdout.write(`\n${lines.map(([what, place]) => `  ${what.padEnd(20)} ${place}`).join('\n')}\n\nThe schedule goes on reading. Ctrl-C ends everything.\n`);
};

const parseOptions = (): Options | 'help' => {
  const read = () =>
    parseArgs({
      options: {
        once: { type: 'boolean', default: false },
        data: { type: 'string', default: '.aftercall' },
        env: { type: 'string' },
        speech: { type: 'string', default: 'script' },
        'whisper-model': { type: 'string' },
        help: { type: 'boolean', default: false },
      },
    }).values;
  const values = orUsage(HELP, read);
  const { once, data, env, speech, help, 'whisper-model': whisperModel } = values;
  if (help) return 'help';
  if (speech !== 'script' && speech !== 'whisper') throw new UsageError(`--speech is script or whisper, not "${speech}".`);
  if (env) {
    try {
      process.loadEnvFile(env);
    } catch (error) {
      throw new UsageError(`--env ${env} cannot be read: ${(error as Error).message}`, { cause: error });
    }
  }
  return { once, data, speech, ...(whisperModel ? { whisperModel } : {}) };
};

const SIGNALS = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const;

/** Settles with the exit code when somebody wants us to end. A second time ends us at once; children notice. */
const asked = new Promise<number>((resolve) => {
  let before = false;
  const end = (code: number): void => {
    if (before) process.exit(code);
    before = true;
    say('stopping …');
    resolve(isUp ? 0 : code);
  };
  for (const [signal, code] of Object.entries(SIGNALS)) process.on(signal, () => end(code));
  // npm passes signals on, but nothing when it is killed itself.
  const parent = process.ppid;
  if (process.env['npm_lifecycle_event']) setInterval(() => process.ppid !== parent && !before && end(SIGNALS.SIGHUP), 1_000).unref();
});

const run = async (): Promise<number> => {
  try {
    const options = parseOptions();
    if (options === 'help') {
      process.stdout.write(`${HELP}\n`);
      return 0;
    }
    return await Promise.race([main(options).then(() => 0), asked]);
  } catch (error) {
    const { text, exitCode } = programFailure(error);
    say(text);
    return exitCode;
  }
};

void run().then(async (code) => {
  await cleanUp();
  process.exit(code);
});
