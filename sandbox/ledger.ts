import { appendFileSync, mkdirSync, readFileSync } from 'node:fs';
import { dirname } from 'node:path';

export interface LedgerEntry {
  kind: string;
  atMs: number;
  [field: string]: unknown;
}

/** What a stand-in did and billed. */
export interface Ledger {
  entries: LedgerEntry[];
  add(entry: LedgerEntry): void;
}

/**
 * Opens a ledger.
 *
 * @param path a file that outlives the process, one entry a line. Written before the answer goes out, so that a
 *   stand-in that is killed has not forgotten what it did. Default: in memory.
 */
export const openLedger = (path?: string): Ledger => {
  const entries = path ? read(path) : [];
  return {
    entries,
    add(entry) {
      entries.push(entry);
      if (path) appendFileSync(path, `${JSON.stringify(entry)}\n`);
    },
  };
};

const read = (path: string): LedgerEntry[] => {
  mkdirSync(dirname(path), { recursive: true });
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text.split('\n').filter(Boolean).map((line) => JSON.parse(line) as LedgerEntry);
};
