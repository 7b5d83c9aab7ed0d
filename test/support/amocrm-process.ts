import { createAmoCrmSession } from '../../src/adapters/amocrm/session.ts';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createCredentials } from '../../src/db/credentials.ts';
import { openDatabase } from '../../src/db/database.ts';
import { amoCrmConfigAt } from './amocrm.ts';

/** A process that uses amoCRM so many times at once, for tests in which several race: `node amocrm-process.ts URL DATABASE KEYS TIMES`. */
const [url, databaseUrl, keys, times] = process.argv.slice(2) as [string, string, string, string];
const db = await openDatabase(databaseUrl);
const session = createAmoCrmSession({ config: amoCrmConfigAt(url, { AMOCRM_REQUESTS_PER_SECOND: 3 }), credentials: createCredentials(db, createKeyRing(keys)) });
await Promise.all(Array.from({ length: Number(times) }, () => session.ask({ doing: 'Listing users', path: '/api/v4/users', signal: AbortSignal.timeout(30_000) })));
await db.destroy();
process.stdout.write('done');
