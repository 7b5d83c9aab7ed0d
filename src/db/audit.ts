import { createHash } from 'node:crypto';
import { type AuditEntry, type ChainedEntry, chainText, FIRST_HASH } from '../domain/audit.ts';
import { type Database, json } from './database.ts';

export const INSTALLATION = '*';

/** Where a chain was broken, if it was. */
export type Verification = { entries: number; intact: true } | { entries: number; intact: false; brokenAt: number; why: string };

const PAGE = 1_000;
const hashOf = (text: string): string => createHash('sha256').update(text).digest('hex');

/**
 * The audit log: append-only (a trigger refuses anything else), and each entry's hash covers the one
 * before, so that whoever changes or removes one past the trigger breaks the chain from there on.
 *
 * A chain cut off at its end is found by comparing the last hash with one that was kept elsewhere:
 * `verify` returns it.
 */
export const createAudit = (db: Database) => {
  const read = (project: string) => db.selectFrom('audit_log').selectAll().where('project', '=', project);

  return {
    async append(entry: Omit<AuditEntry, 'seq' | 'at'>): Promise<ChainedEntry> {
      return db.transaction().execute(async (tx) => {
        await tx.insertInto('audit_heads').values({ project: entry.project, seq: 0, hash: FIRST_HASH }).onConflict((conflict) => conflict.doNothing()).execute();
        // The lock keeps the chain one: entries of a project are written one after the other.
        const head = await tx.selectFrom('audit_heads').selectAll().where('project', '=', entry.project).forUpdate().executeTakeFirstOrThrow();
        const next: AuditEntry = { ...entry, seq: Number(head.seq) + 1, at: new Date().toISOString() };
        const hash = hashOf(chainText(next, head.hash));
        await tx
          .insertInto('audit_log')
          .values({ project: next.project, seq: next.seq, at: next.at, actor: next.actor, actor_kind: next.actorKind, action: next.action, target: next.target, details: json(next.details), request_id: next.requestId, previous_hash: head.hash, hash })
          .execute();
        await tx.updateTable('audit_heads').set({ seq: next.seq, hash }).where('project', '=', next.project).execute();
        return { ...next, previousHash: head.hash, hash };
      });
    },

    /** Newest first; `before` is a `seq`. */
    async list(project: string, { limit, before, target }: { limit: number; before?: number; target?: string }): Promise<ChainedEntry[]> {
      let query = read(project).orderBy('seq', 'desc').limit(limit);
      if (before !== undefined) query = query.where('seq', '<', before);
      if (target !== undefined) query = query.where('target', '=', target);
      return (await query.execute()).map(toEntry);
    },

    /** Computes the whole chain again. */
    async verify(project: string): Promise<Verification & { lastHash: string }> {
      let previousHash = FIRST_HASH;
      let entries = 0;
      for (;;) {
        const page = (await read(project).where('seq', '>', entries).orderBy('seq').limit(PAGE).execute()).map(toEntry);
        for (const entry of page) {
          const why =
            entry.seq !== entries + 1 ? `entry ${entries + 1} is missing` : entry.previousHash !== previousHash ? 'it does not follow the entry before' : entry.hash !== hashOf(chainText(entry, previousHash)) ? 'it was changed' : undefined;
          if (why) return { entries, intact: false, brokenAt: entries + 1, why, lastHash: previousHash };
          previousHash = entry.hash;
          entries += 1;
        }
        if (page.length < PAGE) break;
      }
      const head = await db.selectFrom('audit_heads').selectAll().where('project', '=', project).executeTakeFirst();
      if (head && (Number(head.seq) !== entries || head.hash !== previousHash)) return { entries, intact: false, brokenAt: entries + 1, why: 'entries are missing at the end', lastHash: previousHash };
      return { entries, intact: true, lastHash: previousHash };
    },
  };
};

export type Audit = ReturnType<typeof createAudit>;

const toEntry = (row: { project: string; seq: number | string; at: Date; actor: string; actor_kind: 'user' | 'token'; action: string; target: string; details: Record<string, unknown>; request_id: string; previous_hash: string; hash: string }): ChainedEntry => ({
  project: row.project,
  seq: Number(row.seq),
  at: row.at.toISOString(),
  actor: row.actor,
  actorKind: row.actor_kind,
  action: row.action,
  target: row.target,
  details: row.details,
  requestId: row.request_id,
  previousHash: row.previous_hash,
  hash: row.hash,
});
