import { readFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';

/** Written by a running `npm start`: what the other commands need to talk to it. */
const FILE = 'environment.json';

/** The environment, completed by that of a running `npm start` in this folder. */
export const localEnvironment = async (folder: string): Promise<Record<string, string | undefined>> => {
  const stored = await readFile(join(resolve(folder), FILE), 'utf8').catch(() => '{}');
  return { ...(JSON.parse(stored) as Record<string, string>), ...process.env };
};

export { FILE as ENVIRONMENT_FILE };
