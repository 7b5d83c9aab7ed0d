import type { SalesforceConfig } from '../../config.ts';
import { createSalesforceSession } from '../crm/salesforce-session.ts';
import { createTaskLog } from '../crm/salesforce-tasks.ts';
import type { Guard } from '../http/guard.ts';
import type { CallNotes } from './notes.ts';

/** Completed tasks, upserted on the external ID field: Salesforce itself sees to it that there is one. */
export const createSalesforceNotes = (config: SalesforceConfig, guard?: Guard): CallNotes => {
  const session = createSalesforceSession(config, guard);
  const { logCall, emptyTask } = createTaskLog(config);
  return {
    name: 'salesforce',
    put: (key, { kind, id }, note, signal) =>
      session.use('Noting the call', signal, async (connection) => ({ noteId: await logCall(connection, key, kind === 'lead' || kind === 'contact' ? { WhoId: id } : { WhatId: id }, note) })),
    remove: (key, _target, signal) => session.use('Emptying the note', signal, async (connection) => emptyTask(connection, key)),
  };
};
