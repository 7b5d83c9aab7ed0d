import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { OPENAI_KEY } from '../sandbox/openai/server.ts';
import { MANAGED_ACCOUNTS_OWNER } from '../sandbox/salesforce/seed.ts';
import { SALESFORCE_CLIENT } from '../sandbox/salesforce/server.ts';
import { WEBEX_CLIENT } from '../sandbox/webex/server.ts';
import { type App, startApp } from '../src/app.ts';
import { namespaceRetentionMs, setNamespaceRetention } from '../src/client/temporal.ts';
import { type Config, ConfigError, loadConfig, SETTINGS } from '../src/config.ts';
import { workflowIdOfRun } from '../src/domain/ids.ts';
import type { ExecutionReport } from '../src/domain/report.ts';
import { createLog } from '../src/telemetry/log.ts';
import { DEFAULT_PROJECT, DEFAULT_SOURCE } from '../src/wiring.ts';
import { startDevServerProcess } from './dev-server.ts';
import { ENVIRONMENT_FILE } from './local-environment.ts';
import { loadLocalState, lockFolder, saveLocalState } from './local-state.ts';
import { freePort } from './ports.ts';
import { ffmpeg, say, temporalCli, whisper } from './programs/index.ts';
import { showProgress } from './progress.ts';
import { reportTable } from './report-table.ts';
import { startSandboxProcess } from './sandbox-process.ts';

const HELP = `Usage: npm start [-- options]

Starts everything that is needed on this machine, reads one window of calls, prints its report, and stays
up until Ctrl-C. Whatever the environment gives an address for is used instead of being started.

  --once               one window, then exit; the report as JSON on standard output
  --data DIR           where state is kept                      (.aftercall)
  --speech MODE        of the sandbox: script, or whisper for local recognition
  --whisper-model DIR  a faster-whisper model folder instead of the packaged one
  --help`;

const DAY_MS = 86_400_000;

interface Options {
  once: boolean;
  data: string;
  speech: 'script' | 'whisper';
  whisperModel?: string;
}

/** Undone in reverse order, whatever happens. */
const undo: (() => Promise<unknown>)[] = [];
const cleanUp = async (): Promise<void> => {
  for (const step of undo.splice(0).reverse()) await step().catch((error: unknown) => say(`while stopping: ${String(error)}`));
};

const main = async ({ once, data, speech, whisperModel }: Options): Promise<void> => {
  const folder = resolve(data);
  await mkdir(folder, { recursive: true });
  undo.push(await lockFolder(folder));
  const state = await loadLocalState(folder);
  const given = process.env;
  const env: Record<string, string | undefined> = {
    AFTERCALL_KEYS: state.keys,
    API_TOKEN: state.apiToken,
    // Calls are minutes old here, not hours: waits are in proportion.
    RECORDING_FIRST_LOOK: '2s',
    INGEST_SETTLE: '5m',
    ...given,
  };

  env['FFMPEG_PATH'] = await ffmpeg();
  env['API_PORT'] ??= String(await freePort(8080));
  env['WORKER_METRICS_PORT'] ??= String(await freePort(9464));
  if (!given['DATABASE_URL']) {
    env['DATABASE_URL'] = `pglite:${join(folder, 'database')}`;
    say(`database: embedded PostgreSQL in ${join(folder, 'database')}`);
  }
  if (!given['S3_BUCKET'] && !given['OBJECTS_DIR']) {
    env['OBJECTS_DIR'] = join(folder, 'objects');
    say(`objects: folder ${env['OBJECTS_DIR']}`);
  }
  await startSandbox({ folder, env, speech, state, whisperModel });
  const ownTemporal = !given['TEMPORAL_ADDRESS'];
  if (ownTemporal) await startTemporal(folder, env);
  else say(`temporal: ${given['TEMPORAL_ADDRESS']} (TEMPORAL_ADDRESS)`);

  const config = loadConfig(env);
  const shared = Object.fromEntries(Object.keys(SETTINGS).filter((name) => env[name]).map((name) => [name, env[name]]));
  await writeFile(join(folder, ENVIRONMENT_FILE), JSON.stringify(shared), { mode: 0o600 });
  undo.push(() => rm(join(folder, ENVIRONMENT_FILE), { force: true }));
  const app = await startApp(config, createLog(config, 'aftercall', join(folder, 'aftercall.log')));
  undo.push(() => app.stop());
  await checkRetention(app, config, ownTemporal);
  say(`schedule: ${await app.wiring.schedules.apply()}, ${config.INGEST_CRON ?? `every ${config.INGEST_EVERY / 60_000} min`}`);

  const report = await showProgress(app, oneWindow(app));
  if (once) {
    process.stdout.write(`${JSON.stringify(report)}\n`);
    return;
  }
  process.stdout.write(`${reportTable(report)}\n`);
  showPlaces(config, app, folder, env);
  await Promise.race([interrupted(), app.workers.done]);
  say('stopping …');
};

/** Reads one window; if a run was cut off before its end, that one is finished instead. */
const oneWindow = async ({ wiring: { runs, schedules, temporal } }: App): Promise<ExecutionReport> => {
  const unfinished = (await runs.list(DEFAULT_PROJECT, { limit: 20 })).find(({ state }) => state === 'reading' || state === 'settling');
  if (unfinished) {
    say(`taking up run ${unfinished.id}, begun ${unfinished.startedAt.toISOString()}`);
    const handle = temporal.workflow.getHandle(workflowIdOfRun(unfinished.id));
    try {
      return (await handle.result()) as ExecutionReport;
    } catch (error) {
      // Temporal has lost it, or it failed for good: a new window covers the same calls.
      say(`that run cannot be finished (${error instanceof Error ? error.message : String(error)}), reading a new window`);
    }
  }
  const handle = await schedules.runWindow({ workflowId: `ingest/${DEFAULT_PROJECT}/${DEFAULT_SOURCE}/start-${new Date().toISOString().slice(0, 19)}Z` });
  return (await handle.result()) as ExecutionReport;
};

const interrupted = (): Promise<void> =>
  new Promise((done) => {
    process.once('SIGINT', () => done());
    process.once('SIGTERM', () => done());
  });

interface StartSandbox {
  folder: string;
  env: Record<string, string | undefined>;
  speech: Options['speech'];
  state: Awaited<ReturnType<typeof loadLocalState>>;
  whisperModel: string | undefined;
}

/** Starts the stand-ins for those systems that the environment does not name. */
const startSandbox = async ({ folder, env, speech, state, whisperModel }: StartSandbox): Promise<void> => {
  const missing = ['WEBEX_BASE_URL', 'OPENAI_BASE_URL', 'SFDC_URL'].filter((name) => !env[name]);
  if (missing.length === 0) {
    say('sandbox: not needed, all systems are named');
    return;
  }
  const { webex = 0, openai = 0, salesforce = 0 } = state.sandboxPorts ?? {};
  const ports = [await freePort(webex), await freePort(openai), await freePort(salesforce)];
  const speechArgs: string[] = [];
  if (speech === 'whisper') {
    const { pythonPath, modelPath } = await whisper(whisperModel);
    speechArgs.push('--speech', 'whisper', '--python', pythonPath, '--whisper-model', modelPath);
  }
  const sandbox = await startSandboxProcess([
    ...['--data', join(folder, 'sandbox'), '--ffmpeg', env['FFMPEG_PATH']!],
    ...['--port-webex', String(ports[0]), '--port-openai', String(ports[1]), '--port-salesforce', String(ports[2])],
    ...speechArgs,
  ]);
  undo.push(() => sandbox.stop());
  const { urls } = sandbox;
  const portOf = (url: string): number => Number(new URL(url).port);
  await saveLocalState(folder, { ...state, sandboxPorts: { webex: portOf(urls.webex), openai: portOf(urls.openai), salesforce: portOf(urls.salesforce) } });
  say(`sandbox: Webex ${urls.webex}, OpenAI ${urls.openai}, Salesforce ${urls.salesforce}`);
  if (missing.includes('WEBEX_BASE_URL')) {
    Object.assign(env, {
      WEBEX_BASE_URL: urls.webex,
      WEBEX_TOKEN_URL: `${urls.webex}/v1/access_token`,
      WEBEX_CLIENT_ID: WEBEX_CLIENT.clientId,
      WEBEX_CLIENT_SECRET: WEBEX_CLIENT.clientSecret,
      WEBEX_REFRESH_TOKEN: WEBEX_CLIENT.refreshToken,
    });
  }
  if (missing.includes('OPENAI_BASE_URL')) Object.assign(env, { OPENAI_BASE_URL: `${urls.openai}/v1`, OPENAI_API_KEY: OPENAI_KEY });
  if (missing.includes('SFDC_URL')) {
    Object.assign(env, {
      SFDC_URL: urls.salesforce,
      SFDC_CLIENT_ID: SALESFORCE_CLIENT.clientId,
      SFDC_CLIENT_SECRET: SALESFORCE_CLIENT.clientSecret,
      MANAGED_ACCOUNTS_OWNER,
      CONSUMER_HOTLINE: env['CONSUMER_HOTLINE'] ?? '+65 6000 0199',
    });
  }
};

const startTemporal = async (folder: string, env: Record<string, string | undefined>): Promise<void> => {
  const server = await startDevServerProcess({
    cliPath: await temporalCli(),
    port: await freePort(7233),
    uiPort: await freePort(8233),
    metricsPort: await freePort(),
    dbFile: join(folder, 'temporal.db'),
    codecEndpoint: `http://127.0.0.1:${env['API_PORT']}/codec`,
  });
  undo.push(() => server.stop());
  env['TEMPORAL_ADDRESS'] = server.address;
  env['TEMPORAL_UI_URL'] = server.uiUrl;
  say(`temporal: dev server at ${server.address}, kept in ${join(folder, 'temporal.db')}`);
};

/** Dedup by workflow ID holds as long as Temporal keeps closed workflows: at least as long as a window reaches back. */
const checkRetention = async ({ wiring }: App, config: Config, ownTemporal: boolean): Promise<void> => {
  const windowMs = config.MINUTES_BACK * 60_000;
  if (ownTemporal) return setNamespaceRetention(wiring.temporal, windowMs + DAY_MS);
  const retentionMs = await namespaceRetentionMs(wiring.temporal);
  if (retentionMs >= windowMs) return;
  say(
    `WARNING: namespace ${config.TEMPORAL_NAMESPACE} keeps closed workflows for ${retentionMs / DAY_MS} days, the window reaches back ${windowMs / DAY_MS}. ` +
      'Older calls are told apart by the database alone. Raise the retention: temporal operator namespace update --retention ' +
      `${Math.ceil(windowMs / DAY_MS) + 1}d ${config.TEMPORAL_NAMESPACE}`,
  );
};

const showPlaces = (config: Config, app: App, folder: string, env: Record<string, string | undefined>): void => {
  const places: Record<string, string | undefined> = {
    'API and its pages': `${app.api.url}/docs`,
    'API token': config.API_TOKEN,
    'Temporal UI': config.TEMPORAL_UI_URL,
    files: env['OBJECTS_DIR'],
    'sandbox Salesforce': config.SFDC_CLIENT_ID === SALESFORCE_CLIENT.clientId ? config.SFDC_URL : undefined,
    log: join(folder, 'aftercall.log'),
  };
  const lines = Object.entries(places).filter(([, place]) => place);
  process.stdout.write(`\n${lines.map(([what, place]) => `  ${what.padEnd(20)} ${place}`).join('\n')}\n\nThe schedule goes on reading. Ctrl-C ends everything.\n`);
};

const { values } = parseArgs({
  options: {
    once: { type: 'boolean', default: false },
    data: { type: 'string', default: '.aftercall' },
    speech: { type: 'string', default: 'script' },
    'whisper-model': { type: 'string' },
    help: { type: 'boolean', default: false },
  },
});
if (values.help) {
  process.stdout.write(`${HELP}\n`);
  process.exit(0);
}
if (values.speech !== 'script' && values.speech !== 'whisper') {
  say(`--speech is script or whisper, not "${values.speech}".`);
  process.exit(2);
}

const early = async (): Promise<void> => {
  await cleanUp();
  process.exit(130);
};
process.on('SIGINT', () => void early());
process.on('SIGTERM', () => void early());
void main({ once: values.once, data: values.data, speech: values.speech, ...(values['whisper-model'] ? { whisperModel: values['whisper-model'] } : {}) })
  .then(() => 0)
  .catch((error: unknown) => {
    say(error instanceof ConfigError || !(error instanceof Error) ? String(error instanceof Error ? error.message : error) : error.message);
    return error instanceof ConfigError ? 2 : 1;
  })
  .then(async (code) => {
    await cleanUp();
    process.exit(code);
  });
