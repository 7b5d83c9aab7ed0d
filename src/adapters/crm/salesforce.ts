import type { Connection } from 'jsforce';
import type { AccountState, CrmRecords } from '../../domain/crm-rules.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { CallNote, Crm, NewLead } from './crm.ts';
import { codeOf, duplicateOf, salesforceFailure } from './salesforce-errors.ts';
import { createSalesforceSession, type SalesforceConfig } from './salesforce-session.ts';

/** Limits of the standard fields. */
const LONGEST = { company: 255, lastName: 80, phone: 40, subject: 255, text: 32_000 };

/**
 * Salesforce, by its REST API, and by SOAP for converting leads, which REST does not offer.
 *
 * Leads and tasks are upserted on an external ID field, so a repeat finds the record of the first time.
 * A conversion is preceded by reading whether it has happened.
 */
export const createSalesforce = (config: SalesforceConfig): Crm => {
  const session = createSalesforceSession(config);
  const field = { key: config.SFDC_EXTERNAL_ID_FIELD, brn: config.SFDC_BRN_FIELD, flagged: config.SFDC_REVENUE_FLAG_FIELD };

  const asking = async <T>(doing: string, signal: AbortSignal, work: (connection: Connection) => Promise<T>): Promise<T> => {
    signal.throwIfAborted();
    // jsforce takes no signal: a cancelled step stops waiting at once, and sends nothing more.
    const { promise: cancelled, reject } = Promise.withResolvers<never>();
    const stop = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', stop, { once: true });
    try {
      return await Promise.race([session.use(work), cancelled]);
    } catch (error) {
      signal.throwIfAborted();
      throw salesforceFailure(error, doing);
    } finally {
      signal.removeEventListener('abort', stop);
    }
  };

  const query = async <T extends object>(connection: Connection, soql: string): Promise<T[]> => (await connection.query<T>(soql)).records;

  const logCall = async (connection: Connection, key: string, target: { WhatId: string } | { WhoId: string }, note: CallNote): Promise<string> => {
    const task = {
      ...target,
      Subject: note.subject.slice(0, LONGEST.subject),
      Description: note.text.slice(0, LONGEST.text),
      Status: 'Completed',
      Priority: 'Normal',
      TaskSubtype: 'Call',
      CallType: note.direction === 'inbound' ? 'Inbound' : 'Outbound',
      ActivityDate: note.date,
    };
    return idOf(await connection.sobject('Task').upsert({ ...task, [field.key]: key }, field.key));
  };

  return {
    name: 'salesforce',

    async lookUp({ brn, company }, signal): Promise<AccountState> {
      return asking('Looking up the account', signal, async (connection) => {
        const columns = `Id, Name, OwnerId, ${field.flagged}`;
        const find = (where: string) => query<Record<string, unknown> & { Id: string; Name: string; OwnerId?: string }>(connection, `SELECT ${columns} FROM Account WHERE ${where} ORDER BY CreatedDate ASC LIMIT 1`);
        const account = (brn ? (await find(`${field.brn} = '${soql(brn)}'`))[0] : undefined) ?? (company ? (await find(`Name = '${soql(company)}'`))[0] : undefined);
        if (!account) return {};
        const [opportunity] = await query<{ Id: string; Name: string }>(connection, `SELECT Id, Name FROM Opportunity WHERE AccountId = '${soql(account.Id)}' AND IsClosed = false ORDER BY CreatedDate DESC LIMIT 1`);
        return {
          account: { id: account.Id, name: account.Name, revenueFlagged: account[field.flagged] === true, ...(account.OwnerId ? { ownerId: account.OwnerId } : {}) },
          ...(opportunity ? { openOpportunity: { id: opportunity.Id, name: opportunity.Name } } : {}),
        };
      });
    },

    async createLead(key: string, lead: NewLead, signal): Promise<CrmRecords> {
      return asking('Creating the lead', signal, async (connection) => {
        const record = {
          LastName: lead.lastName.slice(0, LONGEST.lastName),
          Company: lead.company.slice(0, LONGEST.company),
          LeadSource: 'Phone',
          Description: lead.description.slice(0, LONGEST.text),
          ...(lead.brn ? { [field.brn]: lead.brn } : {}),
          ...(lead.email ? { Email: lead.email } : {}),
          ...(lead.phone ? { Phone: lead.phone.slice(0, LONGEST.phone) } : {}),
        };
        try {
          return { leadId: idOf(await connection.sobject('Lead').upsert({ ...record, [field.key]: key }, field.key)) };
        } catch (error) {
          const existing = duplicateOf(error);
          if (codeOf(error) !== 'DUPLICATES_DETECTED' || !existing) throw error;
          // The rule knows this customer: the call is noted on the lead there is, and no second one is made.
          const taskId = await logCall(connection, key, { WhoId: existing }, { subject: 'Enquiry by phone', text: lead.description, date: new Date().toISOString().slice(0, 10), direction: 'inbound' });
          return { leadId: existing, taskId };
        }
      });
    },

    async convertLead(leadId, signal): Promise<CrmRecords> {
      return asking(`Converting the lead ${leadId}`, signal, async (connection) => {
        const read = async () =>
          (
            await query<{ Id: string; IsConverted: boolean; ConvertedAccountId?: string; ConvertedContactId?: string; ConvertedOpportunityId?: string }>(
              connection,
              `SELECT Id, IsConverted, ConvertedAccountId, ConvertedContactId, ConvertedOpportunityId FROM Lead WHERE Id = '${soql(leadId)}'`,
            )
          )[0];
        const lead = await read();
        if (!lead) throw new AftercallError('CRM_REJECTED', `Converting the lead failed: Salesforce has no lead ${leadId}.`, { advice: 'Check the ID that the caller gave. Skip the step, or retry once the lead exists.', outcome: 'refused' });
        if (!lead.IsConverted) {
          const result = await connection.soap.convertLead({ leadId: lead.Id, convertedStatus: config.SFDC_CONVERTED_STATUS, doNotCreateOpportunity: false });
          if (result.success) return { leadId: lead.Id, ...filled({ accountId: result.accountId, contactId: result.contactId, opportunityId: result.opportunityId }) };
          const [fault] = [result.errors ?? []].flat() as { statusCode?: string; message?: string }[];
          // Converted between our reading and our asking: by an earlier try whose answer was lost.
          if (fault?.statusCode !== 'CANNOT_UPDATE_CONVERTED_LEAD') throw Object.assign(new Error(fault?.message ?? 'no reason given'), { errorCode: fault?.statusCode ?? 'CONVERT_LEAD_FAILED' });
        }
        const done = await read();
        return { leadId: lead.Id, ...filled({ accountId: done?.ConvertedAccountId, contactId: done?.ConvertedContactId, opportunityId: done?.ConvertedOpportunityId }) };
      });
    },

    async updateAccount(key, { account, openOpportunity }, note, signal): Promise<CrmRecords> {
      return asking('Updating the account', signal, async (connection) => {
        const accountId = account!.id;
        await connection.sobject('Account').update({ Id: accountId, Description: note.text.slice(0, LONGEST.text) });
        if (openOpportunity) await connection.sobject('Opportunity').update({ Id: openOpportunity.id, NextStep: note.subject.slice(0, LONGEST.subject), Description: note.text.slice(0, LONGEST.text) });
        const taskId = await logCall(connection, key, { WhatId: openOpportunity?.id ?? accountId }, note);
        return { accountId, taskId, ...filled({ opportunityId: openOpportunity?.id }) };
      });
    },

    async transfer(key, { account }, note, signal): Promise<CrmRecords> {
      return asking('Handing over the account', signal, async (connection) => {
        const accountId = account!.id;
        const taskId = await logCall(connection, key, { WhatId: accountId }, note);
        // Last: whoever loses the record may not be allowed to note anything on it.
        if (note.ownerId && account!.ownerId !== note.ownerId) await connection.sobject('Account').update({ Id: accountId, OwnerId: note.ownerId });
        return { accountId, taskId };
      });
    },

    async check(signal): Promise<void> {
      await asking('Checking the connection', signal, (connection) => connection.request(`/services/data/v${config.SFDC_API_VERSION}/limits`));
    },
  };
};

/** Escapes a text for a SOQL string literal. */
const soql = (text: string): string => text.replaceAll(/[\\'"\n\r\t\b\f]/g, (character) => ({ '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f' })[character] ?? `\\${character}`);

const idOf = (result: unknown): string => {
  const { id, success, errors } = result as { id?: string; success?: boolean; errors?: { message?: string; errorCode?: string; statusCode?: string }[] };
  if (success !== false && id) return id;
  const [first] = errors ?? [];
  throw Object.assign(new Error(first?.message ?? 'no reason given'), { errorCode: first?.errorCode ?? first?.statusCode ?? 'SAVE_FAILED' });
};

const filled = <T extends Record<string, string | null | undefined>>(ids: T): { [K in keyof T]?: string } =>
  Object.fromEntries(Object.entries(ids).filter(([, id]) => typeof id === 'string' && id !== '')) as { [K in keyof T]?: string };
