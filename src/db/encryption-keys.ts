import type { KeyRing } from '../crypto/key-ring.ts';
import { AftercallError } from '../domain/errors.ts';
import { resealAll } from './reseal.ts';
import type { Database } from './database.ts';

const CONTEXT = 'encryption_keys';
const PROOF = 'aftercall';

export interface EncryptionKey {
  id: string;
  firstUsedAt: Date;
  retiredAt: Date | null;
}

/**
 * Holds the key ring against the keys that this installation has encrypted under, and notes a new one.
 *
 * Called when a program starts: without a key, calls that wait in Temporal could neither be read nor go
 * on, and nothing would say so until somebody looks into a worker's log.
 *
 * @throws CONFIG_INVALID naming the key that is missing or is another one than it was
 */
export const checkKeys = async (db: Database, keyRing: KeyRing): Promise<void> => {
  const used = await db.selectFrom('encryption_keys').selectAll().where('retired_at', 'is', null).execute();
  for (const { id, proof, first_used_at: since } of used) {
    if (!keyRing.has(id)) {
      throw new AftercallError('CONFIG_INVALID', `AFTERCALL_KEYS lacks the key "${id}", which has encrypted since ${since.toISOString()}.`, {
        advice: 'Add it behind the others. Once nothing is encrypted under it any more, retire it: npm run keys -- retire ID',
      });
    }
    keyRing.openText(proof, CONTEXT);
  }
  await db
    .insertInto('encryption_keys')
    .values({ id: keyRing.activeId, proof: keyRing.sealText(PROOF, CONTEXT) })
    // A key that was retired and comes back is in use again.
    .onConflict((conflict) => conflict.column('id').doUpdateSet({ retired_at: null, proof: keyRing.sealText(PROOF, CONTEXT) }).where('encryption_keys.retired_at', 'is not', null))
    .execute();
};

export const listKeys = async (db: Database): Promise<EncryptionKey[]> =>
  (await db.selectFrom('encryption_keys').selectAll().orderBy('first_used_at').execute()).map((row) => ({ id: row.id, firstUsedAt: row.first_used_at, retiredAt: row.retired_at }));

/**
 * Takes a key out of use: what the database keeps under it is sealed anew, then it may leave the ring.
 *
 * @param options.historiesKeptMs how long Temporal keeps closed workflows; those of the old key must be gone
 * @throws CONFLICT when it still encrypts, or histories may still be encrypted under it
 */
export const retireKey = async (db: Database, keyRing: KeyRing, id: string, { historiesKeptMs }: { historiesKeptMs: number }): Promise<void> => {
  const keys = await listKeys(db);
  const key = keys.find((candidate) => candidate.id === id);
  if (!key) throw new AftercallError('NOT_FOUND', `No key "${id}" has been used here.`, { advice: `Keys in use: ${keys.map((known) => known.id).join(', ') || 'none'}.` });
  if (id === keyRing.activeId) throw new AftercallError('CONFLICT', `The key "${id}" is the one that encrypts.`, { advice: 'Put another first in AFTERCALL_KEYS and restart every program.' });
  const active = keys.find((candidate) => candidate.id === keyRing.activeId);
  const freeAtMs = (active?.firstUsedAt.getTime() ?? Date.now()) + historiesKeptMs;
  if (Date.now() < freeAtMs) {
    throw new AftercallError('CONFLICT', `Workflows whose histories are encrypted under "${id}" may be kept until ${new Date(freeAtMs).toISOString()}.`, {
      advice: 'Retire it after that. Calls that wait for a person must have ended too.',
    });
  }
  // Programs that still hold the key as their first would go on sealing under it: they were restarted long before.
  await resealAll(db, keyRing);
  await db.updateTable('encryption_keys').set({ retired_at: new Date() }).where('id', '=', id).execute();
};
