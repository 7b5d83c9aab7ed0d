import { type Selectable, sql } from 'kysely';
import type { CategoryRule } from '../domain/category.ts';
import { categoryOf } from '../domain/category.ts';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
import type { PresetRef } from '../domain/preset.ts';
import { INSTALLATION, presetStamp } from '../domain/preset.ts';
import { type RescoredCall, type RescoreForecast, rescoreHasEnded, type RescoreState } from '../domain/rescore.ts';
import { type Database, json } from './database.ts';
import type { RescoreCallsTable, RescoresTable } from './schema.ts';

export type RescoreRow = Selectable<RescoresTable>;
export type RescoreCallRow = Selectable<RescoreCallsTable>;

/** Which stored calls are graded anew. */
export interface RescoreSelection {
  callIds?: string[] | undefined;
  category?: string | undefined;
  startedFrom?: Date | undefined;
  startedTo?: Date | undefined;
  limit: number;
}

/** A graded call, with what its grading used. */
export interface Candidate extends CallVersion {
  inputTokens: number;
  outputTokens: number;
  criteria: number;
  model: string;
  turns: number;
}

const PAGE = 500;
/** A category is told by rules, not by a column: so many calls are looked at for it at most. */
const MOST_LOOKED_AT = 20_000;

export const createRescores = (db: Database) => ({
  /** Graded calls, newest first, by what they used then. */
  async select(project: string, { callIds, category, startedFrom, startedTo, limit }: RescoreSelection, categories: readonly CategoryRule[]): Promise<Candidate[]> {
    const found: Candidate[] = [];
    let after: { startedAt: Date; callId: string } | undefined;
    for (let looked = 0; found.length < limit && looked < MOST_LOOKED_AT; looked += PAGE) {
      let query = db
        .selectFrom('calls')
        .innerJoin('call_versions as v', (join) => join.onRef('v.project', '=', 'calls.project').onRef('v.call_id', '=', 'calls.call_id').onRef('v.version', '=', 'calls.version'))
        .select(['calls.call_id', 'calls.version', 'calls.started_at', 'calls.details', 'v.analysis', 'v.transcript'])
        .where('calls.project', '=', project)
        .where('calls.state', '=', 'completed')
        .where('v.analysis', 'is not', null)
        .where('v.transcript', 'is not', null);
      if (callIds) query = query.where('calls.call_id', 'in', callIds);
      if (startedFrom) query = query.where('calls.started_at', '>=', startedFrom);
      if (startedTo) query = query.where('calls.started_at', '<', startedTo);
      if (after) query = query.where(sql<boolean>`(calls.started_at, calls.call_id) < (${after.startedAt.toISOString()}::timestamptz, ${after.callId})`);
      const rows = await query.orderBy('calls.started_at', 'desc').orderBy('calls.call_id', 'desc').limit(PAGE).execute();
      for (const row of rows) {
        if (category !== undefined && categoryOf(categories, row.details) !== category) continue;
        const { usage, answers, versions } = row.analysis!;
        found.push({ project, callId: row.call_id, version: row.version, inputTokens: usage.inputTokens + usage.cachedInputTokens, outputTokens: usage.outputTokens, criteria: answers.length, model: versions.model, turns: row.transcript!.turns });
      }
      const last = rows.at(-1);
      if (!last || rows.length < PAGE) break;
      after = { startedAt: last.started_at, callId: last.call_id };
    }
    return found.slice(0, limit);
  },

  /** Writes a run down with its calls. Opening it again changes nothing. */
  async open({ project, id, preset, facts, bindings, forecast, by, calls }: { project: string; id: string; preset: PresetRef; facts: boolean; bindings: Record<string, string>; forecast: RescoreForecast; by: string; calls: { call: CallVersion; sampled: boolean }[] }): Promise<void> {
    await db.transaction().execute(async (tx) => {
      const opened = await tx
        .insertInto('rescores')
        .values({ project, id, preset_id: preset.preset, preset_version: preset.version, facts, state: 'running', bindings: json(bindings), forecast: json(forecast), created_by: by })
        .onConflict((conflict) => conflict.doNothing())
        .returning('id')
        .executeTakeFirst();
      if (!opened || calls.length === 0) return;
      await tx.insertInto('rescore_calls').values(calls.map(({ call, sampled }, index) => ({ project, rescore_id: id, seq: index + 1, call_id: call.callId, version: call.version, sampled, state: 'waiting' as const }))).execute();
    });
  },

  /** @throws NOT_FOUND */
  async get(project: string, id: string): Promise<RescoreRow> {
    const row = await db.selectFrom('rescores').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();
    if (!row) throw new AftercallError('NOT_FOUND', `There is no shadow run ${id}.`, { advice: 'List the shadow runs of the project.', outcome: 'refused' });
    return row;
  },

  /** Newest first. */
  async list(project: string, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<RescoreRow[]> {
    let query = db.selectFrom('rescores').selectAll().where('project', '=', project);
    if (after) query = query.where(sql<boolean>`(date_trunc('milliseconds', created_at), id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
    return query.orderBy(sql`date_trunc('milliseconds', created_at)`, 'desc').orderBy('id', 'desc').limit(limit).execute();
  },

  async countByState(project: string, id: string): Promise<Record<RescoreCallRow['state'], number>> {
    const rows = await db.selectFrom('rescore_calls').select(['state', (eb) => eb.fn.countAll<number>().as('calls')]).where('project', '=', project).where('rescore_id', '=', id).groupBy('state').execute();
    return { waiting: 0, done: 0, failed: 0, ...Object.fromEntries(rows.map(({ state, calls }) => [state, Number(calls)])) };
  },

  async results(project: string, id: string): Promise<RescoredCall[]> {
    const rows = await db.selectFrom('rescore_calls').select('result').where('project', '=', project).where('rescore_id', '=', id).where('state', '=', 'done').orderBy('seq').execute();
    return rows.map(({ result }) => result!);
  },

  async listCalls(project: string, id: string, { limit, after }: { limit: number; after: number }): Promise<RescoreCallRow[]> {
    return db.selectFrom('rescore_calls').selectAll().where('project', '=', project).where('rescore_id', '=', id).where('seq', '>', after).orderBy('seq').limit(limit).execute();
  },

  async waiting(project: string, id: string, limit: number): Promise<number[]> {
    const rows = await db.selectFrom('rescore_calls').select('seq').where('project', '=', project).where('rescore_id', '=', id).where('state', '=', 'waiting').orderBy('seq').limit(limit).execute();
    return rows.map(({ seq }) => seq);
  },

  async getCall(project: string, id: string, seq: number): Promise<RescoreCallRow | undefined> {
    return db.selectFrom('rescore_calls').selectAll().where('project', '=', project).where('rescore_id', '=', id).where('seq', '=', seq).executeTakeFirst();
  },

  async settleCall(project: string, id: string, seq: number, outcome: { result: RescoredCall } | { error: { code: string; message: string; advice: string } }): Promise<void> {
    await db
      .updateTable('rescore_calls')
      .set('result' in outcome ? { state: 'done', result: json(outcome.result) } : { state: 'failed', error: json(outcome.error) })
      .where('project', '=', project)
      .where('rescore_id', '=', id)
      .where('seq', '=', seq)
      .where('state', '=', 'waiting')
      .execute();
  },

  /** An end stays an end, whatever comes after it. */
  async setState(project: string, id: string, state: RescoreState, reason?: string): Promise<void> {
    await db
      .updateTable('rescores')
      .set({ state, reason: reason ?? null, ended_at: rescoreHasEnded(state) ? sql<Date>`now()` : null })
      .where('project', '=', project)
      .where('id', '=', id)
      .where('state', 'not in', ['completed', 'cancelled'])
      .execute();
  },

  /**
   * Binds the run's preset to categories of calls, the very version that was looked at.
   *
   * @throws CONFLICT when the run is not complete, the preset is archived, or what was bound there has changed since the run began
   */
  async promote({ project, id, categories, by }: { project: string; id: string; categories: string[]; by: string }): Promise<Record<string, string>> {
    return db.transaction().execute(async (tx) => {
      // Settings change under this lock, and presets are archived under it.
      const { settings } = await tx.selectFrom('projects').select('settings').where('id', '=', project).forUpdate().executeTakeFirstOrThrow();
      const run = await tx.selectFrom('rescores').selectAll().where('project', '=', project).where('id', '=', id).forUpdate().executeTakeFirst();
      if (!run) throw new AftercallError('NOT_FOUND', `There is no shadow run ${id}.`, { advice: 'List the shadow runs of the project.', outcome: 'refused' });
      if (run.state !== 'completed') throw new AftercallError('CONFLICT', `The shadow run is ${run.state.replaceAll('_', ' ')}, not completed.`, { advice: 'Wait for its end, or start another.', outcome: 'refused' });
      const head = await tx.selectFrom('presets').select('archived_at').where('project', '=', project).where('id', '=', run.preset_id).executeTakeFirst();
      if (head?.archived_at) throw new AftercallError('CONFLICT', `Preset ${run.preset_id} is archived.`, { advice: 'Use another.', outcome: 'refused' });
      const now = settings.presets ?? {};
      const stamp = run.preset_id === INSTALLATION ? INSTALLATION : presetStamp({ preset: run.preset_id, version: run.preset_version });
      const changed = categories.filter((category) => now[category] !== run.bindings[category] && now[category] !== stamp);
      if (changed.length > 0) {
        throw new AftercallError('CONFLICT', `What is bound to ${changed.join(', ')} has changed since the shadow run began (${changed.map((category) => `${run.bindings[category] ?? 'nothing'}, now ${now[category] ?? 'nothing'}`).join('; ')}).`, { advice: 'Look at the settings, and start another run against what is bound now.', outcome: 'refused' });
      }
      const presets = { ...now, ...Object.fromEntries(categories.map((category) => [category, stamp])) };
      await tx.updateTable('projects').set({ settings: sql`settings || ${json({ presets })}::jsonb` }).where('id', '=', project).execute();
      await tx.updateTable('rescores').set({ promoted_to: json(categories), promoted_by: by, promoted_at: sql`now()` }).where('project', '=', project).where('id', '=', id).execute();
      return presets;
    });
  },
});

export type Rescores = ReturnType<typeof createRescores>;
