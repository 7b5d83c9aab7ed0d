import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import { type Made, makeAll } from '../registry.ts';
import type { AmoCrmSession } from '../amocrm/session.ts';
import { createAmoCrmNotes } from './amocrm.ts';
import type { CallNotes } from './notes.ts';
import { createSalesforceNotes } from './salesforce.ts';

export interface NotesDependencies {
  config: Config;
  /** Absent where the settings do not name an account. */
  amocrm?: AmoCrmSession | undefined;
}

/** Every CRM that takes notes, by its name. A new one is a file beside this and a line here. */
const NOTES = {
  salesforce: ({ config }) => createSalesforceNotes(config),
  amocrm: ({ amocrm }) => amocrm && createAmoCrmNotes(amocrm),
} satisfies Record<string, (dependencies: NotesDependencies) => CallNotes | undefined>;

/** Throws CONFIG_INVALID naming the CRMs there are. */
export type CallNotesOf = Made<CallNotes>;

export const createCallNotes = (dependencies: NotesDependencies): CallNotesOf =>
  makeAll<NotesDependencies, CallNotes>(
    NOTES,
    dependencies,
    (crm, made) => new AftercallError('CONFIG_INVALID', `There is no CRM "${crm}" in the settings to put notes in.`, { advice: `Use one of: ${made}.` }),
  );
