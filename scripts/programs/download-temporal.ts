import { execFile } from 'node:child_process';
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

/** The SDK names the program after itself and its version; while it loads, `.downloading` is added. */
const programIn = async (folder: string): Promise<string | undefined> => {
  const found = (await readdir(folder).catch(() => [] as string[])).find((name) => name.startsWith('temporal-') && !name.endsWith('.downloading'));
  return found && join(folder, found);
};

const folderOf = (cache: string): string => join(cache, 'temporal-sdk');

/** What an earlier download left. */
export const downloadedTemporal = (cache: string): Promise<string | undefined> => programIn(folderOf(cache));

/**
 * Lets the Temporal SDK download its CLI.
 *
 * In a process of its own, because the SDK's runtime can be set up once per process, and into a folder of its
 * own, because the SDK waits in vain beside a download that was cut off.
 *
 * @returns the program's path
 */
export const downloadTemporal = async (cache: string): Promise<string> => {
  await mkdir(cache, { recursive: true });
  const work = await mkdtemp(join(cache, 'download-'));
  try {
    await promisify(execFile)(process.execPath, [fileURLToPath(new URL('./download-with-sdk.ts', import.meta.url)), work], { timeout: 180_000 });
    const path = await programIn(work);
    if (!path) throw new Error('the SDK left no program');
    await chmod(path, 0o755);
    await rename(work, folderOf(cache)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOTEMPTY' && error.code !== 'EEXIST') throw error;
    });
  } finally {
    await rm(work, { recursive: true, force: true });
  }
  return (await downloadedTemporal(cache))!;
};
