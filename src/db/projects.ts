import { AftercallError } from '../domain/errors.ts';
import { DEFAULT_SETTINGS, type ProjectSettings } from '../domain/settings.ts';
import { type Database, json } from './database.ts';

export const createProjects = (db: Database) => ({
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
