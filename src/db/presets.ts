import { type Selectable, sql } from 'kysely';
import { isDeepStrictEqual } from 'node:util';
import type { KeyRing } from '../crypto/key-ring.ts';
import { AftercallError } from '../domain/errors.ts';
import { destinationOf, hintOf, INSTALLATION, INSTALLATION_PRESET, KEYED_PARTS, type KeyedPart, type PresetBinding, type PresetKeys, type PresetRef, type PresetSettings } from '../domain/preset.ts';
import type { Criterion } from '../domain/rubric.ts';
import { type Database, json } from './database.ts';
import type { PresetsTable, PresetVersionsTable } from './schema.ts';

/** A preset with one of its versions. */
export interface PresetRow extends PresetRef {
  name: string;
  newestVersion: number;
  settings: PresetSettings;
  createdAt: Date;
  createdBy: string;
  archivedAt: Date | null;
}

/** A version as a person gives it: keys are left out where the last version's go on, the rubric's version is told by code. */
export interface PresetDraft extends Omit<PresetSettings, 'rubric'> {
  criteria: Criterion[];
  keys: PresetKeys;
}

const MOST_PRESETS = 200;
const MOST_VERSIONS = 1_000;

const KEY_COLUMN = { speech: 'speech_key', diarization: 'diarization_key', model: 'model_key' } as const satisfies Record<KeyedPart, string>;

type Version = Selectable<PresetVersionsTable>;

/** What a key is sealed for: no other project's, preset's, version's or part's place opens it. */
export const presetKeyContext = ({ project, preset_id: preset, version }: Pick<Version, 'project' | 'preset_id' | 'version'>, part: KeyedPart): string => `preset/${project}/${preset}/${version}/${part}`;

export const createPresets = (db: Database, keyRing: KeyRing) => {
  const versionOf = (tx: Database, project: string, { preset, version }: PresetRef): Promise<Version | undefined> =>
    tx.selectFrom('preset_versions').selectAll().where('project', '=', project).where('preset_id', '=', preset).where('version', '=', version).executeTakeFirst();

  const openKey = (row: Version, part: KeyedPart): string | undefined => {
    const sealed = row[KEY_COLUMN[part]];
    return sealed === null ? undefined : keyRing.openText(sealed, presetKeyContext(row, part));
  };

  /** Writes a version with its keys: those given, else those of the version that it follows. */
  const write = async (tx: Database, at: PresetRef & { project: string; by: string }, { criteria, keys, ...given }: PresetDraft, before?: Version): Promise<void> => {
    const place = { project: at.project, preset_id: at.preset, version: at.version };
    const settings: PresetSettings = { ...given, rubric: rubricOf(at, criteria, before) };
    const sealed: Partial<Record<(typeof KEY_COLUMN)[KeyedPart], string>> = {};
    for (const part of KEYED_PARTS) {
      const { keyHint: _claimed, ...provider } = settings[part] as PresetSettings['speech'];
      settings[part] = provider;
      if (!hasOwnKey(provider.provider)) continue;
      const key = keys[part] ?? keptKey(part, provider, before);
      if (key === undefined) throw noKey(part, provider.provider, before !== undefined);
      sealed[KEY_COLUMN[part]] = keyRing.sealText(key, presetKeyContext(place, part));
      settings[part] = { ...provider, keyHint: hintOf(key) };
    }
    await tx.insertInto('preset_versions').values({ ...place, settings: json(settings), ...sealed, created_by: at.by }).execute();
  };

  /** The last version's key, if it goes where it went: to another server nobody is led by a look at the old one's settings. */
  const keptKey = (part: KeyedPart, provider: PresetSettings['speech'], before: Version | undefined): string | undefined => {
    if (!before) return undefined;
    const old = before.settings[part] as PresetSettings['speech'];
    const key = openKey(before, part);
    if (key !== undefined && destinationOf(old) !== destinationOf(provider)) {
      throw new AftercallError('CONFLICT', `The ${part} key was given for another provider or address, and is not sent to this one.`, { advice: `Give the key again, as keys.${part}.`, outcome: 'refused' });
    }
    return key;
  };

  const lock = async (tx: Database, project: string, preset: string): Promise<Selectable<PresetsTable>> => {
    const row = await tx.selectFrom('presets').selectAll().where('project', '=', project).where('id', '=', preset).forUpdate().executeTakeFirst();
    if (!row || row.draft) throw noSuchPreset(preset);
    return row;
  };

  const presets = {
    /** By ID. Archived ones are left out unless asked for. */
    async list(project: string, { limit, after, archived = false }: { limit: number; after?: string | undefined; archived?: boolean }): Promise<PresetRow[]> {
      let query = db
        .selectFrom('presets')
        .innerJoin('preset_versions', (join) => join.onRef('preset_versions.project', '=', 'presets.project').onRef('preset_versions.preset_id', '=', 'presets.id').onRef('preset_versions.version', '=', 'presets.version'))
        .selectAll('preset_versions')
        .select(['presets.name', 'presets.version as newest', 'presets.archived_at'])
        .where('presets.project', '=', project)
        .where('presets.draft', '=', false);
      if (!archived) query = query.where('presets.archived_at', 'is', null);
      if (after !== undefined) query = query.where('presets.id', '>', after);
      return (await query.orderBy('presets.id').limit(limit).execute()).map((row) => toPreset(row, row.name, row.newest, row.archived_at));
    },

    /** One version, the newest by default. Archived presets and old versions stay readable. @throws NOT_FOUND */
    async get(project: string, { preset, version }: PresetBinding): Promise<PresetRow> {
      const head = await db.selectFrom('presets').selectAll().where('project', '=', project).where('id', '=', preset).executeTakeFirst();
      const row = head && (await versionOf(db, project, { preset, version: version ?? head.version }));
      if (!head || head.draft || !row) throw noSuchPreset(preset, version);
      return toPreset(row, head.name, head.version, head.archived_at);
    },

    /** Newest first; `before` is the last of the page before. */
    async versions(project: string, preset: string, { limit, before }: { limit: number; before?: number | undefined }): Promise<PresetRow[]> {
      const head = await presets.get(project, { preset });
      let query = db.selectFrom('preset_versions').selectAll().where('project', '=', project).where('preset_id', '=', preset);
      if (before !== undefined) query = query.where('version', '<', before);
      return (await query.orderBy('version', 'desc').limit(limit).execute()).map((row) => toPreset(row, head.name, head.newestVersion, head.archivedAt));
    },

    /** @throws CONFLICT when the ID is taken, even by an archived one: results are stamped with it */
    async create({ project, preset, name, by, draft }: { project: string; preset: string; name: string; by: string; draft: PresetDraft }): Promise<PresetRow> {
      await db.transaction().execute(async (tx) => {
        // One after the other, so that the limit holds.
        await tx.selectFrom('projects').select('id').where('id', '=', project).forUpdate().executeTakeFirst();
        const { held } = await tx.selectFrom('presets').select((eb) => eb.fn.countAll<number>().as('held')).where('project', '=', project).where('draft', '=', false).executeTakeFirstOrThrow();
        if (Number(held) >= MOST_PRESETS) throw new AftercallError('CONFLICT', `The project has ${held} presets, archived ones included; more are not kept.`, { advice: 'Save a new version of one that there is.', outcome: 'refused' });
        const made = await tx.insertInto('presets').values({ project, id: preset, name, version: 1, created_by: by }).onConflict((conflict) => conflict.doNothing()).returning('id').executeTakeFirst();
        if (!made) throw new AftercallError('CONFLICT', `There is a preset ${preset} already, or there was one.`, { advice: 'Choose another ID, or save a new version of it.', outcome: 'refused' });
        await write(tx, { project, preset, version: 1, by }, draft);
      });
      return presets.get(project, { preset });
    },

    /**
     * Saves a new version.
     *
     * @param basedOn the version that was edited: another one since then is not overwritten unseen
     * @throws CONFLICT when that is not the newest any more, the preset is archived, or a key has to be given anew
     */
    async save({ project, preset, name, by, basedOn, draft }: { project: string; preset: string; name?: string | undefined; by: string; basedOn?: number | undefined; draft: PresetDraft }): Promise<PresetRow> {
      await db.transaction().execute(async (tx) => {
        const head = await lock(tx, project, preset);
        if (head.archived_at) throw archived(preset);
        if (basedOn !== undefined && basedOn !== head.version) throw new AftercallError('CONFLICT', `Preset ${preset} has version ${head.version} by now; this was made from ${basedOn}.`, { advice: 'Read it again and make the change there.', outcome: 'refused' });
        if (head.version >= MOST_VERSIONS) throw new AftercallError('CONFLICT', `Preset ${preset} has ${head.version} versions; more are not kept.`, { advice: 'Create another preset.', outcome: 'refused' });
        const version = head.version + 1;
        await write(tx, { project, preset, version, by }, draft, await versionOf(tx, project, { preset, version: head.version }));
        await tx.updateTable('presets').set({ version, ...(name === undefined ? {} : { name }) }).where('project', '=', project).where('id', '=', preset).execute();
      });
      return presets.get(project, { preset });
    },

    /**
     * Takes a preset out of use. Its versions stay: results are stamped with them, and calls that have
     * begun with one end with it.
     *
     * @param isBound whether the project's settings name it, as they stand inside the transaction
     * @throws CONFLICT when a category of calls goes by it
     */
    async archive(project: string, preset: string): Promise<PresetRow> {
      await db.transaction().execute(async (tx) => {
        // Settings are changed under the same lock, so that a preset is not bound while it goes.
        const { settings } = await tx.selectFrom('projects').select('settings').where('id', '=', project).forUpdate().executeTakeFirstOrThrow();
        await lock(tx, project, preset);
        const bound = Object.entries(settings.presets ?? {}).filter(([, binding]) => binding.split('@')[0] === preset).map(([category]) => category);
        if (bound.length > 0) throw new AftercallError('CONFLICT', `Preset ${preset} is bound to ${bound.join(', ')}.`, { advice: "Bind another preset there in the project's settings first.", outcome: 'refused' });
        await tx.updateTable('presets').set({ archived_at: sql`now()` }).where('project', '=', project).where('id', '=', preset).where('archived_at', 'is', null).execute();
      });
      return presets.get(project, { preset });
    },

    /** The version that a binding means now. @throws NOT_FOUND */
    async resolve(project: string, binding: PresetBinding): Promise<PresetRef> {
      if (binding.preset === INSTALLATION) return INSTALLATION_PRESET;
      const { preset, version } = await presets.get(project, binding);
      return { preset, version };
    },

    /** The same for what a person names for use: not archived. @throws NOT_FOUND, CONFLICT */
    async choose(project: string, binding: PresetBinding): Promise<PresetRef> {
      if (binding.preset === INSTALLATION) return INSTALLATION_PRESET;
      const row = await presets.get(project, binding);
      if (row.archivedAt) throw archived(row.preset);
      return { preset: row.preset, version: row.version };
    },

    /** A version with its keys in the clear: for whoever makes adapters, and nobody else. @throws NOT_FOUND, CONFIG_INVALID when the key ring lacks the key */
    async open(project: string, ref: PresetRef): Promise<{ settings: PresetSettings; keys: PresetKeys }> {
      const row = await versionOf(db, project, ref);
      if (!row) throw noSuchPreset(ref.preset, ref.version);
      const keys = KEYED_PARTS.map((part) => [part, openKey(row, part)] as const).filter(([, key]) => key !== undefined);
      return { settings: row.settings, keys: Object.fromEntries(keys) };
    },

    /** Keeps what a test is made with until it has ended. Keys that are left out are those of `basedOn`. */
    async keepDraft({ project, id, by, basedOn, draft }: { project: string; id: string; by: string; basedOn?: PresetBinding | undefined; draft: PresetDraft }): Promise<PresetRef> {
      const ref = { preset: id, version: 1 };
      const before = basedOn && (await versionOf(db, project, await presets.resolve(project, basedOn)));
      await db.transaction().execute(async (tx) => {
        const made = await tx.insertInto('presets').values({ project, id, name: 'draft', version: 1, draft: true, created_by: by }).onConflict((conflict) => conflict.doNothing()).returning('id').executeTakeFirst();
        if (made) await write(tx, { project, ...ref, by }, draft, before);
      });
      return ref;
    },

    async dropDraft(project: string, id: string): Promise<void> {
      await db.deleteFrom('presets').where('project', '=', project).where('id', '=', id).where('draft', '=', true).execute();
    },
  };
  return presets;
};

export type Presets = ReturnType<typeof createPresets>;

const hasOwnKey = (provider: string): boolean => provider !== INSTALLATION && provider !== 'none';

/** Scores by other questions are not comparable: a rubric's version is the preset's in which it last changed. */
const rubricOf = ({ preset, version }: PresetRef, criteria: Criterion[], before: Version | undefined): PresetSettings['rubric'] => {
  const kept = before && before.preset_id === preset && isDeepStrictEqual(before.settings.rubric.criteria, criteria) ? before.settings.rubric.version : String(version);
  return { id: preset, version: kept, criteria };
};

const noSuchPreset = (preset: string, version?: number): AftercallError =>
  new AftercallError('NOT_FOUND', `There is no preset ${preset}${version === undefined ? '' : ` with a version ${version}`}.`, { advice: 'List the presets of the project.', outcome: 'refused' });
const archived = (preset: string): AftercallError => new AftercallError('CONFLICT', `Preset ${preset} is archived.`, { advice: 'Use another, or create a new one.', outcome: 'refused' });
const noKey = (part: KeyedPart, provider: string, follows: boolean): AftercallError =>
  new AftercallError('CONFLICT', `The ${part} provider ${provider} has no key${follows ? ' in the version before' : ''}.`, { advice: `Give one as keys.${part}; for a server without keys, any word.`, outcome: 'refused' });

const toPreset = (row: Version, name: string, newestVersion: number, archivedAt: Date | null): PresetRow => ({
  preset: row.preset_id,
  version: row.version,
  name,
  newestVersion,
  settings: row.settings,
  createdAt: row.created_at,
  createdBy: row.created_by,
  archivedAt,
});
