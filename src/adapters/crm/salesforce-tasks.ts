import { AftercallError } from '../../domain/errors.ts';
import type { CallNote } from './crm.ts';
import { codeOf, saveFailure } from './salesforce-errors.ts';
import type { SalesforceConfig } from '../../config.ts';
import type { Session } from './salesforce-session.ts';

/** Limits of the standard fields. */
const LONGEST = { subject: 255, text: 32_000 };

/** External IDs stand in a path that jsforce does not encode. */
const SAFE_KEY = /^[A-Za-z0-9_-]{1,255}$/;

/** What Salesforce says of a record that is in its bin, or past it. */
const GONE = ['ENTITY_IS_DELETED', 'NOT_FOUND'];

/** Records that are found again by our key, and the tasks among them that say what a call was about. */
export const createTaskLog = (config: Pick<SalesforceConfig, 'SFDC_EXTERNAL_ID_FIELD' | 'SFDC_API_VERSION'>) => {
  const keyField = config.SFDC_EXTERNAL_ID_FIELD;

  const upsert = async (connection: Session, object: 'Lead' | 'Task', key: string, record: Record<string, unknown>): Promise<string> => {
    return idOf(await connection.sobject(object).upsert({ ...record, [keyField]: checked(key) }, keyField));
  };

  return {
    upsert,

    /** By its own ID, never by upsert: that would make a task anew which somebody has deleted. */
    async emptyTask(connection: Session, key: string): Promise<void> {
      const where = `${keyField} = '${checked(key)}'`;
      const { records } = await connection.request<{ records: { Id: string }[] }>(`/services/data/v${config.SFDC_API_VERSION}/query?q=${encodeURIComponent(`SELECT Id FROM Task WHERE ${where}`)}`);
      for (const { Id } of records) {
        try {
          idOf(await connection.sobject('Task').update({ Id, Subject: 'Erased', Description: '' }));
        } catch (error) {
          // Deleted since it was found.
          if (!GONE.includes(codeOf(error) ?? '')) throw error;
        }
      }
    },

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

const checked = (key: string): string => {
  if (SAFE_KEY.test(key)) return key;
  throw new AftercallError('CRM_REJECTED', `"${key}" cannot be the external ID of a record.`, { advice: 'This is a defect: keys are made of letters, digits, "_" and "-".', outcome: 'refused' });
};

const idOf = (result: unknown): string => {
  const { id, success } = result as { id?: string; success?: boolean };
  if (success !== false && id) return id;
  throw saveFailure(result);
};
