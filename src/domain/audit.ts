/** An entry of the audit log: who did what to what. */
export interface AuditEntry {
  /** `*` for what is not one project's. */
  project: string;
  /** From 1, without gaps, in each project. */
  seq: number;
  /** ISO 8601, UTC, ms. */
  at: string;
  actor: string;
  actorKind: 'user' | 'token';
  /** As in `calls.retry`, `members.set`. */
  action: string;
  /** What it was done to: a call's ID, an account's, a token's. */
  target: string;
  /** What was asked for, without secrets and without what was said on calls. */
  details: Record<string, unknown>;
  requestId: string;
}

export interface ChainedEntry extends AuditEntry {
  previousHash: string;
  hash: string;
}

/** The chain that an installation's log begins with. */
export const FIRST_HASH = '0'.repeat(64);

/** The text that an entry's hash is taken over: every field, in an order that nothing changes, behind the hash of the entry before. */
export const chainText = (entry: AuditEntry, previousHash: string): string =>
  JSON.stringify([previousHash, entry.project, entry.seq, entry.at, entry.actor, entry.actorKind, entry.action, entry.target, sorted(entry.details), entry.requestId]);

/** The database gives an object's keys back in an order of its own. */
const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== 'object') return value;
  return Object.entries(value)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sorted(inner)]);
};
