import { copyFile, mkdir, writeFile } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';
import { bundleWorkflows } from '../src/workers.ts';

/** Bundles the workflows ahead, for WORKFLOW_BUNDLE: a worker then starts without webpack. */
const dist = new URL('../dist/', import.meta.url);
await mkdir(new URL('crypto/', dist), { recursive: true });
// The compiler leaves CommonJS files where they are.
await copyFile(new URL('../src/crypto/failure-converter.cjs', import.meta.url), new URL('crypto/failure-converter.cjs', dist));
const { code } = await bundleWorkflows();
const path = fileURLToPath(new URL('workflow-bundle.js', dist));
await writeFile(path, code);
process.stderr.write(`${path}: ${Math.round(code.length / 1024)} KiB\n`);
