import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export interface SandboxUrls {
  webex: string;
  openai: string;
  salesforce: string;
}

export interface SandboxProcess {
  urls: SandboxUrls;
  stop(): Promise<void>;
}

/** Starts the sandbox as a child that ends when we do, however we end. */
export const startSandboxProcess = async (args: string[]): Promise<SandboxProcess> => {
  const child = spawn(process.execPath, [fileURLToPath(new URL('../sandbox/main.ts', import.meta.url)), '--attached', ...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const first = await Promise.race([new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve)), ended.then(() => undefined)]);
  if (!first) throw new Error(complaint.trim() || 'The sandbox ended without a word.');
  return {
    urls: JSON.parse(first) as SandboxUrls,
    stop: async () => {
      child.stdin.end();
      await ended;
    },
  };
};
