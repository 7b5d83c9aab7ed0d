import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflows } from '../src/workers.ts';

/**
 * Bundles the workflows ahead, for WORKFLOW_BUNDLE: a worker then starts without webpack.
 *
 * Usage: `node scripts/bundle-workflows.ts [FILE]`. Without a file it goes to `dist`, with what else the
 * compiler leaves where it is.
 */
const [given] = process.argv.slice(2);
const dist = new URL('../dist/', import.meta.url);
if (!given) {
  await mkdir(new URL('crypto/', dist), { recursive: true });
  await copyFile(new URL('../src/crypto/failure-converter.cjs', import.meta.url), new URL('crypto/failure-converter.cjs', dist));
}
const { code } = await bundleWorkflows();
const path = given ?? fileURLToPath(new URL('workflow-bundle.js', dist));
await writeFile(path, code);
process.stderr.write(`${path}: ${Math.round(code.length / 1024)} KiB\n`);
