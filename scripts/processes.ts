import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

export const isRunning = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    // It is there, but somebody else's.
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
};

/** A process as it can be recognised later: IDs are given out again. */
export interface ProcessMark {
  pid: number;
  /** When it began, as the system counts; only good for comparing. */
  began: string;
}

export const markOf = async (pid: number): Promise<ProcessMark> => ({ pid, began: await beganAt(pid) });

export const isStillRunning = async ({ pid, began }: ProcessMark): Promise<boolean> => isRunning(pid) && (await beganAt(pid)) === began;

const beganAt = async (pid: number): Promise<string> => {
  const stat = await readFile(`/proc/${pid}/stat`, 'utf8').catch(() => undefined);
  if (stat) {
    // The name before it is in brackets and may hold anything.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A process that has ended but was not waited for still has its entry.
    return fields[0] === 'Z' ? 'ended' : (fields[19] ?? '');
  }
  if (process.platform === 'linux') return 'ended';
  return promisify(execFile)('ps', ['-o', 'lstart=', '-p', String(pid)]).then(
    ({ stdout }) => stdout.trim(),
    () => 'ended',
  );
};

/** Waits for a process to end by itself, and ends it when it does not. */
export const awaitEnd = async (mark: ProcessMark, patienceMs: number): Promise<void> => {
  for (let waited = 0; waited < patienceMs; waited += 100) {
    if (!(await isStillRunning(mark))) return;
    await sleep(100);
  }
  if (await isStillRunning(mark)) process.kill(mark.pid, 'SIGKILL');
};
