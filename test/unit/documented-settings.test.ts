import { execFile } from 'node:child_process';
import { cp, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from '@jest/globals';

/** The check that `npm test` runs, on a copy of the project whose documents are then changed. */
const root = fileURLToPath(new URL('../../', import.meta.url));
let copy: string;

beforeAll(async () => {
  copy = await mkdtemp(join(tmpdir(), 'aftercall-settings-'));
  for (const part of ['scripts/write-env-example.ts', 'src', 'package.json']) await cp(join(root, part), join(copy, part), { recursive: true });
  await symlink(join(root, 'node_modules'), join(copy, 'node_modules'));
});
beforeEach(async () => {
  for (const document of ['README.md', '.env.example']) await cp(join(root, document), join(copy, document));
});
afterAll(() => rm(copy, { recursive: true, force: true }));

const run = (...args: string[]): Promise<{ code: number; stderr: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [join(copy, 'scripts/write-env-example.ts'), ...args], { env: { PATH: process.env['PATH'] } }, (error, _stdout, stderr) => resolve({ code: error ? Number(error.code) : 0, stderr }));
  });

const edit = async (file: string, change: (text: string) => string): Promise<void> => {
  const before = await readFile(join(copy, file), 'utf8');
  expect(change(before)).not.toBe(before);
  await writeFile(join(copy, file), change(before));
};
const without = (name: string) => (text: string): string => text.split('\n').filter((line) => !line.includes(name)).join('\n');

describe('the documented settings', () => {
  it('are those of the program', async () => {
    expect(await run('--check')).toEqual({ code: 0, stderr: '' });
  });

  const lags: [string, string, (text: string) => string][] = [
    ['lacks a setting', '.env.example', without('CRM_PER_SECOND')],
    ['lacks a setting', 'README.md', without('CRM_PER_SECOND')],
    ['names another default', '.env.example', (text) => text.replace('INGEST_EVERY=15m', 'INGEST_EVERY=30m')],
    ['names another default', 'README.md', (text) => text.replace('| `15m` |', '| `30m` |')],
    ['has lost the place of its table', 'README.md', without('<!-- settings')],
  ];
  it.each(lags)('fail the check when one %s: %s', async (_title, file, change) => {
    await edit(file, change);
    expect(await run('--check')).toEqual({ code: 1, stderr: `Out of date: ${file}. Run: npm run settings\n` });
  });

  it('fail it for both when the program has a new one, and are written anew by what the check names', async () => {
    const config = join(copy, 'src/config.ts');
    const before = await readFile(config, 'utf8');
    await edit('src/config.ts', (text) => text.replace('export const SETTINGS = {', "export const SETTINGS = {\n  NEW_SETTING: setting(text, { group: 'Temporal', about: 'New.', optional: true }),"));
    try {
      expect(await run('--check')).toEqual({ code: 1, stderr: 'Out of date: README.md, .env.example. Run: npm run settings\n' });
      expect((await run()).code).toBe(0);
      expect((await run('--check')).code).toBe(0);
      expect(await readFile(join(copy, '.env.example'), 'utf8')).toContain('# New.\n# NEW_SETTING=');
    } finally {
      await writeFile(config, before);
    }
  });
});
