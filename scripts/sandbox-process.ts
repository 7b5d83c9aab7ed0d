import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import type { SandboxUrls } from '../sandbox/settings.ts';
import type { Child } from './keep-running.ts';
import type { SandboxPorts } from './local-state.ts';

export interface SandboxProcess extends Child {
  urls: SandboxUrls;
}

const STOP_MS = 10_000;

/** Starts the sandbox as a child that ends when we do, however we end. */
export const startSandboxProcess = async ({ ports, args }: { ports: SandboxPorts; args: string[] }): Promise<SandboxProcess> => {
  const portArgs = Object.entries(ports).flatMap(([name, port]) => [`--port-${name}`, String(port)]);
  const child = spawn(process.execPath, [fileURLToPath(new URL('../sandbox/main.ts', import.meta.url)), '--attached', ...portArgs, ...args], { stdio: ['pipe', 'pipe', 'pipe'], detached: true });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  child.stdin.on('error', () => {});
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const first = await Promise.race([new Promise<string>((resolve) => createInterface({ input: child.stdout }).once('line', resolve)), ended.then(() => undefined)]);
  if (!first) throw new Error(complaint.trim() || 'The sandbox ended without a word.');
  return {
    urls: JSON.parse(first) as SandboxUrls,
    pid: child.pid!,
    ended,
    stop: async () => {
      child.stdin.end();
      const tooLong = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
      await ended;
      clearTimeout(tooLong);
    },
  };
};

export const portsOf = (urls: SandboxUrls): SandboxPorts => {
  const portOf = (url: string): number => Number(new URL(url).port);
  const { webex, openai, salesforce, amocrm, telegram, receiver, retell, abt } = urls;
  return {
    webex: portOf(webex),
    openai: portOf(openai),
    salesforce: portOf(salesforce),
    amocrm: portOf(amocrm),
    ...(telegram ? { telegram: portOf(telegram) } : {}),
    ...(receiver ? { receiver: portOf(receiver) } : {}),
    ...(retell ? { retell: portOf(retell) } : {}),
    ...(abt ? { abt: portOf(abt) } : {}),
  };
};
