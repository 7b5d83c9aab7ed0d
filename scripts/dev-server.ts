import { spawn } from 'node:child_process';
import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** A Temporal dev server as a child of ours. */
export interface DevServer {
  address: string;
  uiUrl: string;
  metricsUrl: string;
  pid: number;
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
  codecEndpoint?: string;
}

const SEARCH_ATTRIBUTES = ['AftercallProject', 'AftercallSource', 'AftercallState'];
const START_MS = 120_000;

/** Starts `temporal server start-dev` and waits until it takes connections. */
export const startDevServerProcess = async ({ cliPath, port, uiPort, metricsPort, dbFile, codecEndpoint }: DevServerOptions): Promise<DevServer> => {
  const args = ['server', 'start-dev', '--ip', '127.0.0.1', '--port', String(port), '--ui-port', String(uiPort), '--metrics-port', String(metricsPort), '--log-level', 'error', '--log-format', 'pretty'];
  for (const name of SEARCH_ATTRIBUTES) args.push('--search-attribute', `${name}=Keyword`);
  if (dbFile) args.push('--db-filename', dbFile);
  if (codecEndpoint) args.push('--ui-codec-endpoint', codecEndpoint);
  // The shell ends it when our end of its standard input closes, however we end; and in a group of its own
  // Ctrl-C at the terminal reaches us first, because the workers have to stop before it.
  const child = spawn('sh', ['-c', '"$@" </dev/null >/dev/null & echo $!; cat >/dev/null; kill $! 2>/dev/null; wait', 'sh', cliPath, ...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  let pid = 0;
  child.stdout.on('data', (chunk: Buffer) => (pid ||= Number(chunk.toString())));
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  child.once('error', (error) => (complaint = error.message));

  const deadline = Date.now() + START_MS;
  while (!(await accepts(port))) {
    if ((pid !== 0 && !isRunning(pid)) || Date.now() > deadline) {
      child.stdin.end();
      throw new Error(`The Temporal dev server did not start: ${complaint.trim() || 'no reason given'}`);
    }
    await sleep(100);
  }
  const end = async (signal: NodeJS.Signals): Promise<void> => {
    if (isRunning(pid)) process.kill(pid, signal);
    child.stdin.end();
    await ended;
  };
  return {
    address: `127.0.0.1:${port}`,
    uiUrl: `http://127.0.0.1:${uiPort}`,
    metricsUrl: `http://127.0.0.1:${metricsPort}/metrics`,
    pid,
    stop: () => end('SIGTERM'),
    kill: () => end('SIGKILL'),
  };
};

const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
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
