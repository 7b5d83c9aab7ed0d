import { sql } from 'kysely';
import { AftercallError } from '../domain/errors.ts';
import { DEFAULT_SETTINGS, type ProjectSettings } from '../domain/settings.ts';
import { type Database, json } from './database.ts';
import { asInstallation } from './scope.ts';

export interface Project {
  id: string;
  name: string;
  createdAt: Date;
}

/** @param installed what the installation's environment sets for a project; what is stored for it comes before */
export const createProjects = (db: Database, installed: Record<string, Partial<ProjectSettings>> = {}) => ({
  /** Projects by name; all of them, or those named. */
  async list(ids?: readonly string[]): Promise<Project[]> {
    if (ids?.length === 0) return [];
    return asInstallation(async () => {
      let query = db.selectFrom('projects').select(['id', 'name', 'created_at']).orderBy('name').orderBy('id');
      if (ids) query = query.where('id', 'in', ids);
      return (await query.execute()).map((row) => ({ id: row.id, name: row.name, createdAt: row.created_at }));
    });
  },

  async create({ id, name }: { id: string; name: string }): Promise<Project> {
    const row = await asInstallation(() => db.insertInto('projects').values({ id, name, settings: json({}) }).onConflict((conflict) => conflict.doNothing()).returningAll().executeTakeFirst());
    if (!row) throw new AftercallError('CONFLICT', `There is a project ${id} already.`, { advice: 'Choose another ID.', outcome: 'refused' });
    return { id: row.id, name: row.name, createdAt: row.created_at };
  },

  /** What a project is called. */
  async nameOf(project: string): Promise<string> {
    return (await db.selectFrom('projects').select('name').where('id', '=', project).executeTakeFirst())?.name ?? project;
  },

  /** A project's settings: the defaults, overlaid by the environment's and by what is stored for it. */
  async settings(project: string): Promise<ProjectSettings> {
    return { ...DEFAULT_SETTINGS, ...installed[project], ...(await storedSettings(db, project)) };
  },

  /** Only what is stored for a project. */
  storedSettings: (project: string): Promise<Partial<ProjectSettings>> => storedSettings(db, project),

  /** Changes some of a project's settings in one step. `null` takes a stored one away, so that the installation's holds again. */
  async changeSettings(project: string, changes: { [K in keyof ProjectSettings]?: ProjectSettings[K] | null | undefined }): Promise<void> {
    const set = Object.fromEntries(Object.entries(changes).filter(([, value]) => value !== null && value !== undefined));
    const gone = Object.keys(changes).filter((name) => changes[name as keyof ProjectSettings] === null);
    const { numUpdatedRows } = await db
      .updateTable('projects')
      .set({ settings: sql`(settings || ${json(set)}::jsonb) - ${gone}::text[]` })
      .where('id', '=', project)
      .executeTakeFirst();
    if (numUpdatedRows === 0n) throw noSuchProject(project);
  },

  /** Replaces what is stored for a project; unnamed settings fall back to the installation's. */
  async saveSettings(project: string, settings: Partial<ProjectSettings>): Promise<void> {
    await db.updateTable('projects').set({ settings: json(settings) }).where('id', '=', project).execute();
  },
});

const storedSettings = async (db: Database, project: string): Promise<Partial<ProjectSettings>> => {
  const row = await db.selectFrom('projects').select('settings').where('id', '=', project).executeTakeFirst();
  if (!row) throw noSuchProject(project);
  return row.settings;
};

const noSuchProject = (project: string): AftercallError => new AftercallError('NOT_FOUND', `There is no project ${project}.`, { advice: 'Use "default", or create the project first.' });

export type Projects = ReturnType<typeof createProjects>;
