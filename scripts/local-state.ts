import { randomBytes } from 'node:crypto';
import { mkdir, open, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** What a data folder keeps between runs: secrets made once, and the sandbox's ports, so that links stay good. */
export interface LocalState {
  apiToken: string;
  keys: string;
  sandboxPorts?: { webex: number; openai: number; salesforce: number };
}

export const loadLocalState = async (folder: string): Promise<LocalState> => {
  const path = join(folder, 'local.json');
  const stored = await readFile(path, 'utf8').catch(() => undefined);
  if (stored) return JSON.parse(stored) as LocalState;
  const state: LocalState = { apiToken: randomBytes(24).toString('base64url'), keys: `local:${randomBytes(32).toString('base64')}` };
  await saveLocalState(folder, state);
  return state;
};

export const saveLocalState = async (folder: string, state: LocalState): Promise<void> => {
  await writeFile(join(folder, 'local.json'), `${JSON.stringify(state, null, 2)}\n`, { mode: 0o600 });
};

/**
 * Takes a data folder for this process.
 *
 * @returns gives it back
 * @throws Error when another process that is alive has it
 */
export const lockFolder = async (folder: string): Promise<() => Promise<void>> => {
  await mkdir(folder, { recursive: true });
  const path = join(folder, 'lock');
  for (;;) {
    try {
      const file = await open(path, 'wx');
      await file.writeFile(String(process.pid));
      await file.close();
      return () => rm(path, { force: true });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const owner = Number(await readFile(path, 'utf8').catch(() => '0'));
    if (owner > 0 && owner !== process.pid && isAlive(owner)) {
      throw new Error(`Aftercall is running on ${folder} already (process ${owner}). End it first, or use another folder with --data DIR.`);
    }
    // Left behind by a process that was killed.
    await rm(path, { force: true });
  }
};

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
};
