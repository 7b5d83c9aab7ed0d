import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createKeyRing } from '../../src/crypto/key-ring.ts';
import { createConnectors } from '../../src/db/connectors.ts';
import { createCredentials } from '../../src/db/credentials.ts';
import { type Database, migrate, openDatabase } from '../../src/db/database.ts';
import { createPresets, type PresetDraft } from '../../src/db/presets.ts';
import { resealAll } from '../../src/db/reseal.ts';
import { DEFAULT_TEMPLATE } from '../../src/domain/prompt-template.ts';
import { DEFAULT_RUBRIC } from '../../src/domain/rubric.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';

const key = (id: string, byte: number): string => `${id}:${Buffer.alloc(32, byte).toString('base64')}`;
const [OLD, NEW] = [key('k_1', 1), key('k-1', 2)];
const oldRing = createKeyRing(OLD);
/** Another name that a pattern would take for the old one's. */
const bothRing = createKeyRing(`${NEW},${OLD}`);
const newRing = createKeyRing(NEW);

const draft = (number: number): PresetDraft => ({
  speech: { provider: 'deepgram' },
  diarization: { provider: 'pyannoteai' },
  model: { provider: 'openai' },
  template: DEFAULT_TEMPLATE,
  criteria: DEFAULT_RUBRIC.criteria,
  keys: { speech: `speech-secret-${number}`, diarization: `diarization-secret-${number}`, model: `model-secret-${number}` },
});
const COUNT = 30;

let postgres: TestPostgres;
let db: Database;
beforeAll(async () => {
  postgres = await startPostgres();
  db = await openDatabase(await postgres.createDatabase());
  await migrate(db);
  const presets = createPresets(db, oldRing);
  for (let number = 0; number < COUNT; number += 1) await presets.create({ project: 'default', preset: `p${number}`, name: 'P', by: 'x', draft: draft(number) });
  await createCredentials(db, oldRing).renew('token', async () => ({ accessToken: 'a', refreshToken: 'r', expiresAtMs: 1, origin: 'o' }));
  await createConnectors(db, oldRing).save('default', 'amocrm', () => ({ settings: {}, secrets: { password: 'connector-secret' }, by: 'x' }));
});
afterAll(async () => {
  await db?.destroy();
  await postgres?.stop();
});

describe('sealing every stored secret anew', () => {
  it('may be broken off between any two steps: everything stays readable, and the next run does the rest', async () => {
    let batches = 0;
    const killed = resealAll(
      db,
      bothRing,
      () => {
        batches += 1;
        if (batches === 5) throw new Error('killed');
      },
      7,
    );
    await expect(killed).rejects.toThrow('killed');
    const presets = createPresets(db, bothRing);
    for (let number = 0; number < COUNT; number += 1) expect((await presets.open('default', { preset: `p${number}`, version: 1 })).keys).toEqual(draft(number).keys);
    const left = await db.selectFrom('preset_versions').selectAll().execute();
    const under = (id: string): number => left.flatMap((row) => [row.speech_key, row.diarization_key, row.model_key]).filter((sealed) => sealed?.split('.')[1] === id).length;
    expect([under('k_1') > 0, under('k-1') > 0]).toEqual([true, true]);

    // A secret that was saved in between is left as it is.
    await presets.create({ project: 'default', preset: 'late', name: 'Late', by: 'x', draft: draft(99) });
    const counts = await resealAll(db, bothRing, () => {}, 7);
    expect(counts['speech keys of presets']! + counts['diarization keys of presets']! + counts['model keys of presets']!).toBe(under('k_1'));
    expect(await resealAll(db, bothRing)).toEqual(Object.fromEntries(Object.keys(counts).map((what) => [what, 0])));
  });

  it('leaves nothing that needs the old key', async () => {
    const presets = createPresets(db, newRing);
    for (let number = 0; number < COUNT; number += 1) expect((await presets.open('default', { preset: `p${number}`, version: 1 })).keys).toEqual(draft(number).keys);
    expect(await createCredentials(db, newRing).find('token')).toMatchObject({ refreshToken: 'r' });
    const { sealed } = await db.selectFrom('connectors').select('sealed').executeTakeFirstOrThrow();
    expect(sealed.startsWith('v1.k-1.')).toBe(true);
  });

  it('ties a key to its place: copied to another preset, version or part, nobody can open it', async () => {
    const presets = createPresets(db, newRing);
    const { speech_key: speech, model_key: model } = await db.selectFrom('preset_versions').selectAll().where('preset_id', '=', 'p0').executeTakeFirstOrThrow();
    await db.updateTable('preset_versions').set({ speech_key: speech }).where('preset_id', '=', 'p1').execute();
    await expect(presets.open('default', { preset: 'p1', version: 1 })).rejects.toThrow(/cannot be decrypted/);
    await db.updateTable('preset_versions').set({ speech_key: model }).where('preset_id', '=', 'p0').execute();
    await expect(presets.open('default', { preset: 'p0', version: 1 })).rejects.toThrow(/cannot be decrypted/);
  });
});
