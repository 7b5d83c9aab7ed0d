import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type List = 'leads' | 'contacts' | 'companies';
export const LISTS: readonly List[] = ['leads', 'contacts', 'companies'];

export interface StoredNote {
  id: number;
  list: List;
  entityId: number;
  noteType: string;
  params: Record<string, unknown>;
  createdAt: number;
  updatedAt: number;
  responsibleUserId: number;
  /** How often the note is still shown without its recording's link. */
  emptyLooks: number;
}

/** What outlives a restart: cards, notes and refresh tokens. */
export interface State {
  epochMs: number;
  nextId: number;
  notes: StoredNote[];
  cards: { list: List; id: number; phone?: string }[];
  /** The one that is good now; each is good for once. */
  refreshToken: string;
}

/** Opens the account. Without a folder it lives in memory. */
export const openAccount = (folder: string | undefined, fill: (state: State) => void, first: Pick<State, 'refreshToken'>) => {
  const path = folder && join(folder, 'amocrm.json');
  const state = (path && read(path)) || { epochMs: Date.now(), nextId: 10_000_000, notes: [], cards: [], ...first };
  const save = (): void => {
    if (path) writeFileSync(path, JSON.stringify(state));
  };
  if (state.notes.length === 0) {
    fill(state);
    if (folder) mkdirSync(folder, { recursive: true });
    save();
  }
  return {
    state,
    save,
    nextId(): number {
      state.nextId += 1;
      return state.nextId;
    },
  };
};
export type Account = ReturnType<typeof openAccount>;

const read = (path: string): State | undefined => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as State;
  } catch {
    return undefined;
  }
};
