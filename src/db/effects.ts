import { createHash } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { CallVersion } from '../domain/call.ts';
import { AftercallError } from '../domain/errors.ts';
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
  /**
   * Writes the intent before the act.
   *
   * One of class `no_key` that is planned already was left by an attempt that nobody heard of again: whether it was
   * carried out cannot be known, so it becomes `unknown` here.
   * @returns the row as it stands: to be carried out only when it is `planned`
   */
  async plan(effect: Effect, intent: Record<string, unknown>): Promise<EffectRow> {
    const key = effectKey(effect);
    const inserted = await db
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
      .returning('key')
      .executeTakeFirst();
    if (!inserted && effect.class === 'no_key') await this.unknown(effect);
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

  /**
   * A person has looked, and says that it is done or needs not be: no later attempt carries it out.
   *
   * @throws CONFLICT when it is done already, NOT_FOUND
   */
  async settle(project: string, callId: string, key: string, by: string): Promise<void> {
    const settled = await db
      .updateTable('effects')
      .set({ state: 'done', receipt: json({ settledBy: by }), done_at: sql`now()` })
      .where('project', '=', project)
      .where('call_id', '=', callId)
      .where('key', '=', key)
      .where('state', 'in', ['planned', 'unknown'])
      .returning('key')
      .executeTakeFirst();
    if (settled) return;
    const there = (await this.list(project, callId)).some((effect) => effect.key === key);
    throw there
      ? new AftercallError('CONFLICT', 'This is done already: there is nothing to decide.', { advice: 'Read the call again.', outcome: 'refused' })
      : new AftercallError('NOT_FOUND', `Call ${callId} has no effect ${key}.`, { advice: 'The call lists its effects with their keys.' });
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
