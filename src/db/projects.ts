import { AftercallError } from '../domain/errors.ts';
import { DEFAULT_SETTINGS, type ProjectSettings } from '../domain/settings.ts';
import { type Database, json } from './database.ts';
import { asInstallation } from './scope.ts';

export interface Project {
  id: string;
  name: string;
  createdAt: Date;
}

export const createProjects = (db: Database) => ({
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

  /** A project's settings: the defaults, overlaid by what is stored for it. */
  async settings(project: string): Promise<ProjectSettings> {
    const row = await db.selectFrom('projects').select('settings').where('id', '=', project).executeTakeFirst();
    if (!row) {
      throw new AftercallError('NOT_FOUND', `There is no project ${project}.`, { advice: 'Use "default", or create the project first.' });
    }
    return { ...DEFAULT_SETTINGS, ...row.settings };
  },

  /** Replaces what is stored for a project; unnamed settings fall back to the defaults. */
  async saveSettings(project: string, settings: Partial<ProjectSettings>): Promise<void> {
    await db.updateTable('projects').set({ settings: json(settings) }).where('id', '=', project).execute();
  },
});

export type Projects = ReturnType<typeof createProjects>;
