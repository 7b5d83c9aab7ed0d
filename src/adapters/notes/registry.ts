import type { Config } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
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

export interface CallNotesOf {
  /** @throws CONFIG_INVALID naming the CRMs there are */
  get(crm: string): CallNotes;
}

export const createCallNotes = (dependencies: NotesDependencies): CallNotesOf => {
  const made = new Map(Object.entries(NOTES).flatMap(([name, create]) => {
    const notes = create(dependencies);
    return notes ? [[name, notes] as const] : [];
  }));
  return {
    get(crm) {
      const notes = made.get(crm);
      if (!notes) throw new AftercallError('CONFIG_INVALID', `There is no CRM "${crm}" in the settings to put notes in.`, { advice: `Use one of: ${[...made.keys()].join(', ')}.` });
      return notes;
    },
  };
};
