import { AftercallError } from '../../domain/errors.ts';
import type { CallNote } from './crm.ts';
import { saveFailure } from './salesforce-errors.ts';
import type { SalesforceConfig } from '../../config.ts';
import type { Session } from './salesforce-session.ts';

/** Limits of the standard fields. */
const LONGEST = { subject: 255, text: 32_000 };

/** External IDs stand in a path that jsforce does not encode. */
const SAFE_KEY = /^[A-Za-z0-9_-]{1,255}$/;

/** Records that are found again by our key, and the tasks among them that say what a call was about. */
export const createTaskLog = (config: Pick<SalesforceConfig, 'SFDC_EXTERNAL_ID_FIELD'>) => {
  const keyField = config.SFDC_EXTERNAL_ID_FIELD;

  const upsert = async (connection: Session, object: 'Lead' | 'Task', key: string, record: Record<string, unknown>): Promise<string> => {
    if (!SAFE_KEY.test(key)) throw new AftercallError('CRM_REJECTED', `"${key}" cannot be the external ID of a record.`, { advice: 'This is a defect: keys are made of letters, digits, "_" and "-".', outcome: 'refused' });
    return idOf(await connection.sobject(object).upsert({ ...record, [keyField]: key }, keyField));
  };

  return {
    upsert,

    /** Only of a task that was written: an upsert would make one. */
    emptyTask: async (connection: Session, key: string): Promise<void> => void (await upsert(connection, 'Task', key, { Subject: 'Erased', Description: '' })),

    logCall: (connection: Session, key: string, target: { WhatId: string } | { WhoId: string }, note: CallNote): Promise<string> =>
      upsert(connection, 'Task', key, {
        ...target,
        Subject: note.subject.slice(0, LONGEST.subject),
        Description: note.text.slice(0, LONGEST.text),
        Status: 'Completed',
        Priority: 'Normal',
        TaskSubtype: 'Call',
        CallType: note.direction === 'inbound' ? 'Inbound' : 'Outbound',
        ActivityDate: note.date,
      }),
  };
};

const idOf = (result: unknown): string => {
  const { id, success } = result as { id?: string; success?: boolean };
  if (success !== false && id) return id;
  throw saveFailure(result);
};
