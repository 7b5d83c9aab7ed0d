import { createHash } from 'node:crypto';
import { type Selectable, sql } from 'kysely';
import type { Message } from '../domain/announcements.ts';
import { AftercallError } from '../domain/errors.ts';
import { type Database, json, storable } from './database.ts';
import type { EffectClass, MessagesTable, MessageState, MessageTry } from './schema.ts';

export type { MessageState, MessageTry } from './schema.ts';

/** What a message is about. */
export interface Subject {
  project: string;
  callId?: string;
  version?: number;
  runId?: string;
}

export interface NewMessage extends Subject {
  /** What happened, once for each time that it happens: deterministic. */
  occasion: string;
  event: string;
  notifier: string;
  /** Where it goes, as people may see it. */
  target: string;
  /** Told apart by, where one notifier has several targets. */
  targetKey: string;
  class: EffectClass;
  content: Omit<Message, 'id' | 'at'>;
}

export interface MessageRow extends Subject {
  id: string;
  event: string;
  notifier: string;
  target: string;
  class: EffectClass;
  state: MessageState;
  /** Counts up when it is sent again or corrected: each round is a workflow of its own. */
  round: number;
  message: Message;
  attempts: number;
  tries: MessageTry[];
  receipt: Record<string, unknown> | null;
  settledBy: string | null;
  createdAt: Date;
  updatedAt: Date;
}

export interface MessageFilter {
  state?: MessageState;
  callId?: string;
  notifier?: string;
}

/** Tries that the log shows; of more, the last. */
const TRIES_KEPT = 20;

/** The ID of a message: nothing in it that differs between attempts. */
export const messageId = ({ project, occasion, notifier, targetKey }: Pick<NewMessage, 'project' | 'occasion' | 'notifier' | 'targetKey'>): string =>
  createHash('sha256').update(JSON.stringify([project, occasion, notifier, targetKey])).digest('hex');

/** Messages on their way out, each with what became of every try: the delivery log. */
export const createMessages = (db: Database) => ({
  /**
   * Writes a message down before anything is sent. Of one that is there already and was delivered, the new content
   * becomes its next round if `correctable`; otherwise it stays as it is.
   */
  async add({ content, ...message }: NewMessage, { correctable = false }: { correctable?: boolean } = {}): Promise<MessageRow> {
    const id = messageId(message);
    await db
      .insertInto('messages')
      .values({
        id,
        project: message.project,
        event: message.event,
        call_id: message.callId ?? null,
        version: message.version ?? null,
        run_id: message.runId ?? null,
        notifier: message.notifier,
        target: message.target,
        class: message.class,
        state: 'pending',
        message: json(content),
      })
      .onConflict((conflict) => conflict.column('id').doNothing())
      .execute();
    if (correctable) {
      // What was not delivered yet goes out as it is now.
      const waiting = await db
        .updateTable('messages')
        .set({ message: json(content), updated_at: sql`now()`, ...(message.version === undefined ? {} : { version: message.version }) })
        .where('id', '=', id)
        .where('state', 'in', ['pending', 'failed', 'unknown'])
        .returning('id')
        .executeTakeFirst();
      if (waiting) return this.get(message.project, id);
      const sending = await db.selectFrom('messages').select('id').where('id', '=', id).where('state', '=', 'sending').where(sql<boolean>`message - 'link' - 'facts' <> ${json(content)}::jsonb - 'link' - 'facts'`).executeTakeFirst();
      if (sending) throw new AftercallError('CONFLICT', 'The message is being sent with what it said before.', { advice: 'It is tried again, and corrected then.' });
      await db
        .updateTable('messages')
        .set({ message: json(content), state: 'pending', round: sql`round + 1`, updated_at: sql`now()`, ...(message.version === undefined ? {} : { version: message.version }) })
        .where('id', '=', id)
        .where('state', '=', 'delivered')
        // A link is signed anew each time; that alone is no correction.
        .where(sql<boolean>`message - 'link' - 'facts' <> ${json(content)}::jsonb - 'link' - 'facts'`)
        .execute();
    }
    return this.get(message.project, id);
  },

  async find(project: string, id: string): Promise<MessageRow | undefined> {
    const row = await db.selectFrom('messages').selectAll().where('project', '=', project).where('id', '=', id).executeTakeFirst();
    return row && toMessage(row);
  },

  async get(project: string, id: string): Promise<MessageRow> {
    const row = await this.find(project, id);
    if (!row) throw new AftercallError('NOT_FOUND', `There is no message ${id} in project ${project}.`, { advice: 'List the messages for their IDs.' });
    return row;
  },

  /**
   * Takes a message up for a try.
   *
   * One that is found being sent was left by a worker that died. Where a repeat cannot be told from the first, it
   * becomes `unknown` here and is not sent again.
   * @returns as it stands: to be sent only when `sending`
   */
  async begin(project: string, id: string): Promise<MessageRow> {
    const row = await db.transaction().execute(async (tx) => {
      const found = await tx.selectFrom('messages').selectAll().where('project', '=', project).where('id', '=', id).forUpdate().executeTakeFirst();
      if (!found || (found.state !== 'pending' && found.state !== 'sending')) return found;
      // A correction of what was delivered may be repeated.
      const lost = found.state === 'sending' && found.class === 'no_key' && found.receipt === null;
      const next = lost
        ? { state: 'unknown' as const, tries: json([...found.tries, tryOf({ outcome: 'unknown', reason: 'The worker ended while it was being sent.' })].slice(-TRIES_KEPT)) }
        : { state: 'sending' as const, attempts: sql<number>`attempts + 1` };
      return tx.updateTable('messages').set({ ...next, updated_at: sql`now()` }).where('id', '=', id).returningAll().executeTakeFirstOrThrow();
    });
    return row ? toMessage(row) : this.get(project, id);
  },

  /** Notes how a try ended. What a person has settled meanwhile stays settled. */
  async end(project: string, id: string, { state, receipt, ...tried }: { state: Exclude<MessageState, 'sending' | 'settled'>; receipt?: Record<string, unknown> } & Omit<MessageTry, 'at'>): Promise<void> {
    await db
      .updateTable('messages')
      .set({
        state,
        tries: sql<never>`(select coalesce(jsonb_agg(t order by n), '[]') from (select t, n from jsonb_array_elements(tries || ${json([tryOf(tried)])}::jsonb) with ordinality as all_tries (t, n) order by n desc limit ${TRIES_KEPT}) kept)`,
        ...(receipt ? { receipt: json(receipt) } : {}),
        updated_at: sql`now()`,
      })
      .where('project', '=', project)
      .where('id', '=', id)
      .where('state', 'in', ['pending', 'sending', 'unknown'])
      .execute();
  },

  /** A person wants it sent once more. @throws CONFLICT while it is under way */
  async again(project: string, id: string): Promise<MessageRow> {
    const row = await db
      .updateTable('messages')
      .set({ state: 'pending', round: sql`round + 1`, settled_by: null, updated_at: sql`now()`, receipt: null })
      .where('project', '=', project)
      .where('id', '=', id)
      .where('state', 'in', ['delivered', 'unknown', 'failed', 'settled'])
      .returningAll()
      .executeTakeFirst();
    if (row) return toMessage(row);
    const found = await this.get(project, id);
    // Nobody knows whether somebody works on it: whoever asks gets it started if nobody does.
    if (found.state === 'pending') return found;
    throw new AftercallError('CONFLICT', 'This message is being sent.', { advice: 'Look again in a minute.', outcome: 'refused' });
  },

  /** A person has looked, and nothing more is to be done. @throws CONFLICT while it is under way or when it was delivered */
  async settle(project: string, id: string, by: string): Promise<MessageRow> {
    const row = await db
      .updateTable('messages')
      .set({ state: 'settled', settled_by: storable(by), updated_at: sql`now()` })
      .where('project', '=', project)
      .where('id', '=', id)
      .where('state', 'in', ['unknown', 'failed'])
      .returningAll()
      .executeTakeFirst();
    if (row) return toMessage(row);
    const found = await this.get(project, id);
    throw new AftercallError('CONFLICT', `This message is ${found.state}: there is nothing to decide.`, { advice: 'Only a message that is unknown or failed waits for somebody.', outcome: 'refused' });
  },

  /** Messages that have been on their way for long, of all projects: whoever carried them may have been ended. */
  async listSilentSince(before: Date, limit: number): Promise<MessageRow[]> {
    const rows = await db.selectFrom('messages').selectAll().where('state', 'in', ['pending', 'sending']).where('updated_at', '<', before).orderBy('updated_at').limit(limit).execute();
    return rows.map(toMessage);
  },

  /** Drops what was delivered or settled long ago, with the log of it. What waits for a person stays. */
  async sweep(before: Date): Promise<number> {
    const { numDeletedRows } = await db.deleteFrom('messages').where('state', 'in', ['delivered', 'settled']).where('updated_at', '<', before).executeTakeFirst();
    return Number(numDeletedRows);
  },

  /** All that was told of a call. */
  async listOf(project: string, callId: string): Promise<MessageRow[]> {
    return (await db.selectFrom('messages').selectAll().where('project', '=', project).where('call_id', '=', callId).execute()).map(toMessage);
  },

  /** Newest first. */
  async list(project: string, { state, callId, notifier }: MessageFilter, { limit, after }: { limit: number; after?: { startedAt: Date; id: string } | undefined }): Promise<MessageRow[]> {
    let query = db.selectFrom('messages').selectAll().where('project', '=', project);
    if (state) query = query.where('state', '=', state);
    if (callId) query = query.where('call_id', '=', callId);
    if (notifier) query = query.where('notifier', '=', notifier);
    if (after) query = query.where(sql<boolean>`(created_at, id) < (${after.startedAt.toISOString()}::timestamptz, ${after.id})`);
    const rows = await query.orderBy('created_at', 'desc').orderBy('id', 'desc').limit(limit).execute();
    return rows.map(toMessage);
  },
});

export type Messages = ReturnType<typeof createMessages>;

const tryOf = (tried: Omit<MessageTry, 'at'>): MessageTry => ({ at: new Date().toISOString(), ...tried });

const toMessage = (row: Selectable<MessagesTable>): MessageRow => ({
  id: row.id,
  project: row.project,
  event: row.event,
  ...(row.call_id === null ? {} : { callId: row.call_id }),
  ...(row.version === null ? {} : { version: row.version }),
  ...(row.run_id === null ? {} : { runId: row.run_id }),
  notifier: row.notifier,
  target: row.target,
  class: row.class,
  state: row.state,
  round: row.round,
  message: { ...row.message, id: row.id, at: row.created_at },
  attempts: row.attempts,
  tries: row.tries,
  receipt: row.receipt,
  settledBy: row.settled_by,
  createdAt: row.created_at,
  updatedAt: row.updated_at,
});
