import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** Written by a running `npm start`, readable by its owner only: what the other commands need to talk to it. */
export const ENVIRONMENT_FILE = 'environment.json';

/** The environment, completed by that of a running `npm start` in this folder. An empty variable counts as not set. */
export const localEnvironment = async (folder: string, env: NodeJS.ProcessEnv = process.env): Promise<Record<string, string | undefined>> => {
  const stored = await readFile(join(resolve(folder), ENVIRONMENT_FILE), 'utf8').catch(() => '{}');
  return { ...(JSON.parse(stored) as Record<string, string>), ...Object.fromEntries(Object.entries(env).filter(([, value]) => value?.trim())) };
};
