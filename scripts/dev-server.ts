import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Child } from './keep-running.ts';
import { isRunning } from './processes.ts';

/** A Temporal dev server as a child of ours. */
export interface DevServer extends Child {
  /** Host and port of its frontend. */
  address: string;
  uiUrl: string;
  metricsUrl: string;
  /** Ends it as Ctrl-C would, and waits. */
  stop(): Promise<void>;
  /** Ends it at once, as a power cut would. */
  kill(): Promise<void>;
}

export interface DevServerOptions {
  cliPath: string;
  port: number;
  uiPort: number;
  metricsPort: number;
  /** Keeps everything in this file, to be taken up by the next server. Default: in memory. */
  dbFile?: string;
  /** Made at the start, besides `default`. */
  namespace?: string;
  codecEndpoint?: string;
  /** From how many events on the server suggests that a workflow begins a new history. Default: its own 4,096. */
  suggestContinueAsNewAt?: number;
}

const SEARCH_ATTRIBUTES = ['AftercallProject', 'AftercallSource', 'AftercallState'];
const START_MS = 120_000;
const STOP_MS = 10_000;

/**
 * Runs the server beside a watcher that ends it when our end of standard input closes, however we end; and
 * ends when the server does. In a group of its own, Ctrl-C at the terminal reaches us first: the workers have
 * to stop before it.
 */
const TIED_TO_US = [
  'exec 3<&0',
  '"$@" </dev/null >/dev/null 3<&- & server=$!',
  'echo $server',
  '{ cat <&3 >/dev/null; kill $server; } >/dev/null 2>&1 & watcher=$!',
  'exec 3<&-',
  'wait $server',
  'kill $watcher 2>/dev/null',
].join('\n');

/**
 * The server looks for free ports for its inner services and takes them a moment later; on a busy machine
 * another program can be faster.
 */
const ATTEMPTS = 4;

/** Starts `temporal server start-dev` and waits until it takes connections. */
export const startDevServerProcess = async (options: DevServerOptions): Promise<DevServer> => {
  const ours = [options.port, options.uiPort, options.metricsPort];
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await startOnce(options);
    } catch (error) {
      const taken = /:(\d+)\b[^\n]*address already in use/.exec((error as Error).message)?.[1];
      if (!taken || ours.includes(Number(taken)) || attempt === ATTEMPTS) throw error;
    }
  }
};

const startOnce = async (options: DevServerOptions): Promise<DevServer> => {
  const { cliPath, port, uiPort, metricsPort, dbFile, namespace, codecEndpoint, suggestContinueAsNewAt } = options;
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort), '--metrics-port', String(metricsPort), '--log-level', 'error', '--log-format', 'pretty'];
  for (const name of SEARCH_ATTRIBUTES) args.push('--search-attribute', `${name}=Keyword`);
  if (dbFile) args.push('--db-filename', dbFile);
  if (namespace) args.push('--namespace', namespace);
  if (codecEndpoint) args.push('--ui-codec-endpoint', codecEndpoint);
  if (suggestContinueAsNewAt) args.push('--dynamic-config-value', `limit.historyCount.suggestContinueAsNew=${suggestContinueAsNewAt}`);
  const child = spawn('sh', ['-c', TIED_TO_US, 'sh', cliPath, ...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  let pid = 0;
  child.stdout.on('data', (chunk: Buffer) => (pid ||= Number(chunk.toString())));
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(0, 4_000)));
  // Writing to a child that is gone is no news.
  child.stdin.on('error', () => {});
  let over = false;
  const ended = new Promise<void>((resolve) => {
    const end = (): void => {
      over = true;
      resolve();
    };
    child.once('exit', end);
    child.once('error', (error) => {
      complaint = error.message;
      end();
    });
  });
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (!over && isRunning(pid)) process.kill(pid, signal);
    const tooLong = setTimeout(() => !over && isRunning(pid) && process.kill(pid, 'SIGKILL'), STOP_MS);
    await ended;
    clearTimeout(tooLong);
    child.stdin.end();
  };

  const deadline = Date.now() + START_MS;
  while (!(await accepts(port)) || pid === 0) {
    if (over || Date.now() > deadline) {
      if (!over && pid !== 0) await end('SIGKILL');
      child.stdin.end();
      throw new Error(`The Temporal dev server did not start: ${complaint.trim() || 'no reason given'}`);
    }
    await sleep(50);
  }
  // Somebody else may have taken the port between looking for a free one and here.
  await Promise.race([ended, sleep(100)]);
  if (over) throw new Error(`The Temporal dev server did not start: ${complaint.trim() || 'no reason given'}`);
  return {
    address: `127.0.0.1:${port}`,
    uiUrl: `http://127.0.0.1:${uiPort}`,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    pid,
    ended,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
};

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect({ port, host: '127.0.0.1' });
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', () => resolve(false));
  });
