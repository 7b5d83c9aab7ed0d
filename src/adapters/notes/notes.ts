import type { CallNote } from '../crm/crm.ts';

/** Notes about calls on the records of a CRM. */
export interface CallNotes {
  readonly name: string;

  /**
   * Puts a note on a record, once per key: a repeat finds it and brings it up to date.
   *
   * @param key deterministic, of letters, digits, "_" and "-": what it is found by again
   * @returns the note's own ID
   * @throws CRM_REJECTED when there is no such record
   */
  put(key: string, target: NoteTarget, note: CallNote, signal: AbortSignal): Promise<{ noteId: string }>;

  /** Makes the note that was put under a key empty: CRMs keep notes, and not all let a program delete them. One that is gone is none to empty. */
  remove(key: string, target: NoteTarget, signal: AbortSignal): Promise<void>;
}

/** A record that a note can stand on. `company` is Salesforce's account. */
export interface NoteTarget {
  kind: 'lead' | 'contact' | 'company' | 'opportunity';
  id: string;
}

export type { CallNote } from '../crm/crm.ts';
