import { readFile, writeFile } from 'node:fs/promises';
import { trackingJsonSchema } from '../src/adapters/tracking/tracking.schema.ts';

/** Writes `docs/tracking.schema.json`, which receivers of tracking events go by, from the one schema in `src/adapters/tracking`. `--check` only compares. */
const file = new URL('../docs/tracking.schema.json', import.meta.url);
const written = `${JSON.stringify(trackingJsonSchema(), null, 2)}\n`;

if (process.argv.includes('--check')) {
  const isStale = (await readFile(file, 'utf8').catch(() => '')) !== written;
  if (isStale) process.stderr.write('Out of date: docs/tracking.schema.json. Run: npm run tracking-schema\n');
  process.exit(isStale ? 1 : 0);
}
await writeFile(file, written);
