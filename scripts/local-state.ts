import { randomBytes, randomUUID } from 'node:crypto';
import { link, mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { awaitEnd, isStillRunning, markOf, type ProcessMark } from './processes.ts';

/** What a data folder keeps between runs: secrets made once, and the sandbox's ports, so that links stay good. */
export interface LocalState {
  apiToken: string;
  keys: string;
  sandboxPorts?: SandboxPorts;
}

export interface SandboxPorts {
  webex: number;
  openai: number;
  salesforce: number;
  /** Absent in folders that are older than they are. */
  amocrm?: number;
  telegram?: number;
  receiver?: number;
  retell?: number;
  abt?: number;
}

const STATE_FILE = 'local.json';
const LOCK_FILE = 'lock';
const CHILDREN_FILE = 'children.json';

/** Makes the folder, for its owner only: recordings and what was said lie there. */
export const makeDataFolder = (folder: string): Promise<unknown> => mkdir(folder, { recursive: true, mode: 0o700 });

/** @throws Error when the file is there but cannot be read: new keys would make everything stored unreadable */
export const loadLocalState = async (folder: string): Promise<LocalState> => {
  const stored = await readOptional(join(folder, STATE_FILE));
  if (stored === undefined) {
    const state: LocalState = { apiToken: randomBytes(24).toString('base64url'), keys: `local:${randomBytes(32).toString('base64')}` };
    await saveLocalState(folder, state);
    return state;
  }
  try {
    return JSON.parse(stored) as LocalState;
  } catch (error) {
    throw new Error(`${join(folder, STATE_FILE)} cannot be read. It holds the keys to what is stored beside it: restore it, or start with another folder (--data DIR).`, { cause: error });
  }
};

export const saveLocalState = (folder: string, state: LocalState): Promise<void> => writeWhole(join(folder, STATE_FILE), `${JSON.stringify(state, null, 2)}\n`);

const readOptional = async (path: string): Promise<string | undefined> =>
  readFile(path, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return undefined;
    throw error;
  });

/** Whole or not at all, even when we are killed; readable by its owner only. */
export const writeWhole = async (path: string, text: string): Promise<void> => {
  const fresh = `${path}.${randomUUID().slice(0, 8)}`;
  await writeFile(fresh, text, { mode: 0o600 });
  await rename(fresh, path);
};

/**
 * Takes a data folder for this process.
 *
 * @returns gives it back
 * @throws Error when another process that is alive has it
 */
export const lockFolder = async (folder: string): Promise<() => Promise<void>> => {
  const path = join(folder, LOCK_FILE);
  const mine = `${path}.${randomUUID().slice(0, 8)}`;
  await writeFile(mine, JSON.stringify(await markOf(process.pid)), { mode: 0o600 });
  try {
    for (;;) {
      try {
        // Unlike opening a new file, this shows the lock with its owner in it, or not at all.
        await link(mine, path);
        return () => rm(path, { force: true });
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
      }
      const owner = parseMark(await readOptional(path));
      if (owner && owner.pid !== process.pid && (await isStillRunning(owner))) {
        throw new Error(`Aftercall is running on ${folder} already (process ${owner.pid}). End it first, or use another folder with --data DIR.`);
      }
      await takeAway(path, owner);
    }
  } finally {
    await rm(mine, { force: true });
  }
};

/** Removes a lock that a killed process left behind; but not one that somebody else took meanwhile. */
const takeAway = async (path: string, owner: ProcessMark | undefined): Promise<void> => {
  const aside = `${path}.${randomUUID().slice(0, 8)}`;
  await rename(path, aside).catch(() => {});
  const taken = parseMark(await readOptional(aside));
  if (taken && owner?.began !== taken.began) await link(aside, path).catch(() => {});
  await rm(aside, { force: true });
};

const parseMark = (text: string | undefined): ProcessMark | undefined => {
  try {
    return JSON.parse(text ?? '') as ProcessMark;
  } catch {
    return undefined;
  }
};

/** Notes the children that hold files in the folder, for the next start after we were killed. */
export const noteChildren = async (folder: string, pids: number[]): Promise<void> => writeWhole(join(folder, CHILDREN_FILE), JSON.stringify(await Promise.all(pids.map(markOf))));

/** Waits for children of a start that was killed: they end by themselves, but two must not write one file. */
export const awaitLeftChildren = async (folder: string): Promise<void> => {
  const left = JSON.parse((await readOptional(join(folder, CHILDREN_FILE))) ?? '[]') as ProcessMark[];
  await Promise.all(left.map((mark) => awaitEnd(mark, 15_000)));
  await rm(join(folder, CHILDREN_FILE), { force: true });
};
