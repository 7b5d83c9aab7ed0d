import { createHash } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import { type Database, json } from './database.ts';
import type { EffectClass, EffectsTable } from './schema.ts';

/** One outward act on one target for one call. */
export interface Effect extends CallVersion {
  /** What is done, e.g. `create_lead`. */
  effect: string;
  /** Which system it is done to, e.g. `salesforce`. */
  target: string;
  class: EffectClass;
}

export interface EffectRow {
  key: string;
  state: 'planned' | 'done' | 'unknown';
  effect: string;
  target: string;
  class: EffectClass;
  version: number;
  intent: Record<string, unknown>;
  receipt: Record<string, unknown> | null;
  plannedAt: Date;
  doneAt: Date | null;
}

/**
 * The key of an effect. It leaves the version out on purpose: a re-run of a call means the same act, so
 * it finds the receipt of the first one.
 */
export const effectKey = ({ project, callId, effect, target }: Omit<Effect, 'version' | 'class'>): string =>
  createHash('sha256').update(JSON.stringify([project, callId, effect, target])).digest('hex');

export const createEffects = (db: Database) => ({
  /** Writes the intent before the act. @returns the row as it stands: perhaps done by an earlier attempt */
  async plan(effect: Effect, intent: Record<string, unknown>): Promise<EffectRow> {
    const key = effectKey(effect);
    await db
      .insertInto('effects')
      .values({
        key,
        project: effect.project,
        call_id: effect.callId,
        version: effect.version,
        effect: effect.effect,
        target: effect.target,
        class: effect.class,
        state: 'planned',
        intent: json(intent),
      })
      .onConflict((conflict) => conflict.column('key').doNothing())
      .execute();
    return toEffect(await db.selectFrom('effects').selectAll().where('key', '=', key).executeTakeFirstOrThrow());
  },

  /** Writes the receipt after the act. */
  async done(effect: Omit<Effect, 'class'>, receipt: Record<string, unknown>): Promise<void> {
    await db
      .updateTable('effects')
      .set({ state: 'done', receipt: json(receipt), done_at: sql`now()` })
      .where('key', '=', effectKey(effect))
      .execute();
  },

  /** The act was sent, its outcome cannot be known. */
  async unknown(effect: Omit<Effect, 'class'>): Promise<void> {
    await db.updateTable('effects').set({ state: 'unknown' }).where('key', '=', effectKey(effect)).where('state', '=', 'planned').execute();
  },

  async list(project: string, callId: string): Promise<EffectRow[]> {
    const rows = await db.selectFrom('effects').selectAll().where('project', '=', project).where('call_id', '=', callId).orderBy('planned_at').execute();
    return rows.map(toEffect);
  },
});

export type Effects = ReturnType<typeof createEffects>;

const toEffect = (row: Selectable<EffectsTable>): EffectRow => ({
  key: row.key,
  state: row.state,
  effect: row.effect,
  target: row.target,
  class: row.class,
  version: row.version,
  intent: row.intent,
  receipt: row.receipt,
  plannedAt: row.planned_at,
  doneAt: row.done_at,
});
