import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { setTimeout as sleep } from 'node:timers/promises';
import { freePort } from '../../scripts/ports.ts';

/** A worker as a process of its own, which can die as processes do. */
export interface WorkerProcess {
  /** Ends it, if it runs still. @returns its exit code; null when it was killed */
  end(signal: NodeJS.Signals): Promise<number | null>;
}

/**
 * Starts one, and waits until it takes tasks.
 *
 * @throws Error with what it said when it does not start
 */
export const startWorkerProcess = async (env: Record<string, string>): Promise<WorkerProcess> => {
  const healthPort = await freePort();
  const child = spawn(process.execPath, [fileURLToPath(new URL('../../src/worker.ts', import.meta.url))], {
    env: { ...process.env, ...env, NODE_OPTIONS: '', WORKER_HEALTH_PORT: String(healthPort), WORKER_METRICS_PORT: String(await freePort()) },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
  for (let attempt = 0; !(await fetch(`http://127.0.0.1:${healthPort}/readyz`).then((response) => response.ok, () => false)); attempt += 1) {
    if (attempt > 1_200 || child.exitCode !== null) throw new Error(`The worker did not start: ${complaint}`);
    await sleep(100);
  }
  return {
    async end(signal) {
      if (child.exitCode !== null || child.signalCode !== null) return child.exitCode;
      const ended = new Promise<number | null>((resolve) => child.once('exit', resolve));
      child.kill(signal);
      return ended;
    },
  };
};
