import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { setTimeout as sleep } from 'node:timers/promises';

const root = new URL('../../', import.meta.url);
const { scripts } = JSON.parse(readFileSync(new URL('package.json', root), 'utf8')) as { scripts: Record<string, string> };

/** What a program may know of the machine; everything else about it is said by the test. */
const SURROUNDINGS = ['PATH', 'HOME', 'TMPDIR', 'TEMPORAL_CLI', 'FFMPEG_PATH', 'AFTERCALL_CACHE'];

export interface Ended {
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

/** One of the programs that npm runs, as a process of its own. */
export interface Program {
  pid: number;
  ended: Promise<Ended>;
  stdout(): string;
  stderr(): string;
  kill(signal: NodeJS.Signals): void;
  /** Waits for what it says on either stream. @throws Error with all that it said, when it ends or takes too long */
  says(text: string | RegExp, withinMs?: number): Promise<void>;
}

/** Runs what `npm run <script>` runs, with the same flags of Node, in a folder of the test's. */
export const startProgram = (script: 'start' | 'sandbox' | 'schedule', { args = [], env = {}, cwd }: { args?: string[]; env?: Record<string, string>; cwd: string }): Program => {
  const words = scripts[script]!.split(' ').filter((word) => word !== 'exec' && word !== 'node');
  const nodeArgs = words.map((word) => (word.endsWith('.ts') ? fileURLToPath(new URL(word, root)) : word));
  const known = Object.fromEntries(SURROUNDINGS.flatMap((name) => (process.env[name] ? [[name, process.env[name]]] : [])));
  const child = spawn(process.execPath, [...nodeArgs, ...args], { cwd, env: { ...known, ...env }, stdio: ['ignore', 'pipe', 'pipe'] });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk: Buffer) => (stdout += chunk.toString()));
  child.stderr.on('data', (chunk: Buffer) => (stderr += chunk.toString()));
  let over = false;
  const ended = new Promise<Ended>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) => {
      over = true;
      resolve({ code, signal, stdout, stderr });
    });
  });
  const said = (text: string | RegExp): boolean => [stdout, stderr].some((stream) => (typeof text === 'string' ? stream.includes(text) : text.test(stream)));
  return {
    pid: child.pid!,
    ended,
    stdout: () => stdout,
    stderr: () => stderr,
    kill: (signal) => void child.kill(signal),
    async says(text, withinMs = 120_000) {
      for (const deadline = Date.now() + withinMs; !said(text); await sleep(50)) {
        if (over || Date.now() > deadline) throw new Error(`It ${over ? 'ended' : 'went on'} without saying ${text}:\n${stdout}\n${stderr}`);
      }
    },
  };
};

/** Runs one to its end. */
export const runProgram = (...start: Parameters<typeof startProgram>): Promise<Ended> => startProgram(...start).ended;

/** A process that was not started by the test itself. */
export interface Descendant {
  pid: number;
  command: string;
}

const allProcesses = async (): Promise<(Descendant & { parent: number })[]> => {
  const { stdout } = await promisify(execFile)('ps', ['-A', '-ww', '-o', 'pid=,ppid=,args='], { maxBuffer: 1e7 });
  return stdout.split('\n').flatMap((line) => {
    const [, pid, parent, command] = /^\s*(\d+)\s+(\d+)\s+(.*)$/.exec(line) ?? [];
    return pid ? [{ pid: Number(pid), parent: Number(parent), command: command! }] : [];
  });
};

/** Every process below another, by whatever way it came there. */
export const descendantsOf = async (pid: number): Promise<Descendant[]> => {
  const all = await allProcesses();
  const below = (above: number): Descendant[] => all.filter(({ parent }) => parent === above).flatMap((child) => [child, ...below(child.pid)]);
  return below(pid);
};

/** Every process that was started with a path in its arguments, whoever its parent is by now. */
export const processesNaming = async (path: string): Promise<Descendant[]> => (await allProcesses()).filter(({ command }) => command.includes(path));
