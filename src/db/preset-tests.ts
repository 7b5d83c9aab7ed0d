import { type Selectable, sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import type { PresetRef } from '../domain/preset.ts';
import type { PresetTestResult } from '../domain/preset-test.ts';
import { type Database, json } from './database.ts';
import type { PresetTestsTable } from './schema.ts';

export type PresetTestRow = Selectable<PresetTestsTable>;

/** Trials of a preset on one stored call. What they find stays here; the call does not change. */
export const createPresetTests = (db: Database) => ({
  /** Opening it again changes nothing. */
  async open({ call, id, preset, transcribe, by }: { call: CallVersion; id: string; preset: PresetRef; transcribe: boolean; by: string }): Promise<void> {
    await db
      .insertInto('preset_tests')
      .values({ project: call.project, id, call_id: call.callId, version: call.version, preset_id: preset.preset, preset_version: preset.version, transcribe, state: 'running', created_by: by })
      .onConflict((conflict) => conflict.doNothing())
      .execute();
  },

  /** @throws NOT_FOUND */
  async get(project: string, id: string): Promise<PresetTestRow> {
    const row = await db.selectFrom('preset_tests').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();
    if (!row) throw new AftercallError('NOT_FOUND', `There is no test ${id} of a preset.`, { advice: 'Start one with POST …/preset-tests.', outcome: 'refused' });
    return row;
  },

  async end(project: string, id: string, outcome: { result: PresetTestResult } | { error: { code: string; message: string; advice: string } }): Promise<void> {
    await db
      .updateTable('preset_tests')
      .set({ ...('result' in outcome ? { state: 'done' as const, result: json(outcome.result) } : { state: 'failed' as const, error: json(outcome.error) }), ended_at: sql`now()` })
      .where('project', '=', project)
      .where('id', '=', id)
      .where('state', '=', 'running')
      .execute();
  },
});

export type PresetTests = ReturnType<typeof createPresetTests>;
