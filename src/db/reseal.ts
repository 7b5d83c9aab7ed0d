import { sql } from 'kysely';
import type { KeyRing } from '../crypto/key-ring.ts';
import { KEYED_PARTS } from '../domain/preset.ts';
import { connectorContext } from './connectors.ts';
import type { Database } from './database.ts';
import { givenContext } from './given-calls.ts';
import { hookContext } from './hooks.ts';
import { inboxContext } from './inbox.ts';
import { presetKeyContext } from './presets.ts';

/** A column of secrets, and what each is sealed for. */
interface Place {
  what: string;
  table: string;
  column: string;
  /** Columns that name a row. */
  key: string[];
  contextOf: (row: Record<string, string>) => string;
}

/** Everything that the database keeps under the key ring for longer than a moment. */
const PLACES: readonly Place[] = [
  { what: 'credentials', table: 'credentials', column: 'sealed', key: ['name'], contextOf: ({ name }) => name! },
  { what: 'connectors', table: 'connectors', column: 'sealed', key: ['project', 'kind'], contextOf: ({ project, kind }) => connectorContext(project!, kind!) },
  { what: 'hooks', table: 'hooks', column: 'sealed', key: ['id'], contextOf: ({ id }) => hookContext(id!) },
  { what: 'addresses of recordings', table: 'given_calls', column: 'recording_url', key: ['project', 'call_id'], contextOf: ({ project, call_id: callId }) => givenContext({ project: project!, callId: callId! }) },
  { what: 'calls that wait to be taken in', table: 'inbox', column: 'sealed', key: ['project', 'source', 'event_id'], contextOf: ({ project, source, event_id: eventId }) => inboxContext({ project: project!, source: source!, eventId: eventId! }) },
  ...KEYED_PARTS.map(
    (part): Place => ({
      what: `${part} keys of presets`,
      table: 'preset_versions',
      column: `${part}_key`,
      key: ['project', 'preset_id', 'version'],
      contextOf: ({ project, preset_id, version }) => presetKeyContext({ project: project!, preset_id: preset_id!, version: Number(version) }, part),
    }),
  ),
];

const BATCH = 100;

/** How many secrets of a kind were sealed anew. */
export type Resealed = Record<string, number>;

/**
 * Seals everything anew that is not sealed under the key that encrypts.
 *
 * In small transactions, each of which leaves every secret readable: broken off at any point, the next run
 * does what is left. Whoever renews a token at the same time is waited for.
 *
 * @param told after each batch: what was done so far
 * @throws CONFIG_INVALID when a secret cannot be opened with the key ring; nothing of its batch is changed
 */
export const resealAll = async (db: Database, keyRing: KeyRing, told: (so_far: Resealed) => void = () => {}, batch = BATCH): Promise<Resealed> => {
  const done: Resealed = Object.fromEntries(PLACES.map(({ what }) => [what, 0]));
  for (const place of PLACES) {
    for (let count = batch; count > 0; ) {
      count = await db.transaction().execute((tx) => resealSome(tx, keyRing, place, batch));
      if (count === 0) break;
      done[place.what]! += count;
      told(done);
    }
  }
  return done;
};

const resealSome = async (tx: Database, keyRing: KeyRing, { table, column, key, contextOf }: Place, limit: number): Promise<number> => {
  const keys = sql.join(key.map((name) => sql.ref(name)));
  const { rows } = await sql<Record<string, string>>`
    select ${keys}, ${sql.ref(column)} as secret from ${sql.table(table)}
    where ${sql.ref(column)} <> '' and split_part(${sql.ref(column)}, '.', 2) <> ${keyRing.activeId}
    order by ${keys} limit ${limit} for update`.execute(tx);
  for (const row of rows) {
    const context = contextOf(row);
    const sealed = keyRing.sealText(keyRing.openText(row['secret']!, context), context);
    await sql`update ${sql.table(table)} set ${sql.ref(column)} = ${sealed} where ${sql.join(key.map((name) => sql`${sql.ref(name)} = ${row[name]!}`), sql` and `)}`.execute(tx);
  }
  return rows.length;
};
