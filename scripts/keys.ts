import { parseArgs } from 'node:util';
import { connectTemporal, namespaceRetentionMs } from '../src/client/temporal.ts';
import { loadConfig } from '../src/config.ts';
import { createKeyRing } from '../src/crypto/key-ring.ts';
import { dataConverter } from '../src/crypto/payload-codec.ts';
import { migrate, openDatabase } from '../src/db/database.ts';
import { resealAll } from '../src/db/reseal.ts';
import { checkKeys, listKeys, retireKey } from '../src/db/encryption-keys.ts';
import { orUsage, runProgram, UsageError } from '../src/program.ts';

const HELP = `Usage: npm run keys -- <verb>

  list          the keys that this installation has encrypted under
  rotate        seal every stored secret anew under the first key: keys of presets, connectors, tokens; may be broken off and run again
  retire ID     seal anew what the database keeps under a key, so that it can leave AFTERCALL_KEYS

To replace a key: put the new one first in AFTERCALL_KEYS, restart every program, rotate, wait until Temporal has
dropped the workflows from before, retire the old one, take it out of AFTERCALL_KEYS.`;

const main = async (): Promise<void> => {
  const { values, positionals } = orUsage(HELP, () => parseArgs({ allowPositionals: true, options: { help: { type: 'boolean', default: false } } }));
  const [verb, id] = positionals;
  if (values.help || !verb) return void process.stdout.write(`${HELP}\n`);
  if (verb !== 'list' && verb !== 'retire' && verb !== 'rotate') throw new UsageError(`There is no "${verb}". Try --help.`);
  if (verb === 'retire' && !id) throw new UsageError('retire needs the name of a key. `list` shows them.');

  const config = loadConfig();
  const keyRing = createKeyRing(config.AFTERCALL_KEYS);
  const db = await openDatabase(config.DATABASE_URL);
  try {
    await migrate(db);
    await checkKeys(db, keyRing);
    if (verb === 'rotate') {
      const counts = await resealAll(db, keyRing, (soFar) => process.stderr.write(`${Object.values(soFar).reduce((sum, count) => sum + count, 0)} sealed anew\n`));
      for (const [what, count] of Object.entries(counts)) process.stdout.write(`${what}: ${count} sealed anew under ${keyRing.activeId}\n`);
      return;
    }
    if (id) {
      const client = await connectTemporal(config, dataConverter(keyRing));
      try {
        await retireKey(db, keyRing, id, { historiesKeptMs: await namespaceRetentionMs(client) });
      } finally {
        await client.connection.close();
      }
      process.stdout.write(`${id} is retired and can be taken out of AFTERCALL_KEYS.\n`);
      return;
    }
    for (const key of await listKeys(db)) {
      const state = key.retiredAt ? `retired ${key.retiredAt.toISOString()}` : key.id === keyRing.activeId ? 'encrypts' : 'decrypts';
      process.stdout.write(`${key.id}  ${state}, in use since ${key.firstUsedAt.toISOString()}\n`);
    }
  } finally {
    await db.destroy();
  }
};

runProgram(main);
