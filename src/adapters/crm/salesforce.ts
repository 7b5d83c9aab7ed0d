import type { AccountState, CrmRecords } from '../../domain/crm-rules.ts';
import { mayBeOneCompany } from '../../domain/company.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { CallNote, Crm } from './crm.ts';
import { codeOf, duplicateOf, saveFailure } from './salesforce-errors.ts';
import type { SalesforceConfig } from '../../config.ts';
import type { Guard } from '../http/guard.ts';
import { createSalesforceSession, type Session } from './salesforce-session.ts';
import { createTaskLog } from './salesforce-tasks.ts';

/** Limits of the standard fields. */
const LONGEST = { company: 255, lastName: 80, phone: 40, subject: 255, text: 32_000 };

interface FoundAccount {
  Id: string;
  Name: string;
  OwnerId?: string;
  [field: string]: unknown;
}

interface FoundLead {
  Id: string;
  Company?: string;
  IsConverted: boolean;
  ConvertedAccountId?: string | null;
  ConvertedContactId?: string | null;
  ConvertedOpportunityId?: string | null;
  [field: string]: unknown;
}

/**
 * Salesforce, by its REST API, and by SOAP for converting leads, which REST does not offer.
 *
 * Leads and tasks are upserted on an external ID field, so a repeat finds the record of the first time.
 * A conversion is preceded by reading whether it has happened, and a note by reading whether it stands
 * there. Changing an owner twice changes nothing.
 */
export const createSalesforce = (config: SalesforceConfig, guard?: Guard): Crm => {
  const session = createSalesforceSession(config, guard);
  const field = { key: config.SFDC_EXTERNAL_ID_FIELD, brn: config.SFDC_BRN_FIELD, flagged: config.SFDC_REVENUE_FLAG_FIELD };
  const api = `/services/data/v${config.SFDC_API_VERSION}`;

  const query = async <T>(connection: Session, text: string): Promise<T[]> => (await connection.request<{ records: T[] }>(`${api}/query?q=${encodeURIComponent(text)}`)).records;

  const { upsert, logCall } = createTaskLog(config);

  /** Puts a note above the description that people have written, once. One that has no room for it is left alone: the task holds the note too. */
  const noteOn = async (connection: Session, object: 'Account' | 'Opportunity', id: string, note: CallNote, more: Record<string, string> = {}): Promise<void> => {
    const [found] = await query<{ Description?: string | null }>(connection, `SELECT Description FROM ${object} WHERE Id = '${soql(id)}'`);
    const written = found?.Description ?? '';
    const text = written === '' ? note.text : `${note.text}\n\n${written}`;
    const change = { ...more, ...(oneLine(written).includes(oneLine(note.text)) || text.length > LONGEST.text ? {} : { Description: text }) };
    if (Object.keys(change).length > 0) await connection.sobject(object).update({ Id: id, ...change });
  };

  /** A lead goes into the caller's account if that is the company it is about; whoever quotes another company's lead does not take it over. */
  const intoAccount = async (connection: Session, lead: FoundLead, accountId: string | undefined): Promise<{ accountId?: string }> => {
    if (!accountId) return {};
    const [account] = await query<FoundAccount>(connection, `SELECT Id, Name, ${field.brn} FROM Account WHERE Id = '${soql(accountId)}'`);
    const isSame = account && (bare(account.Name) === bare(lead.Company ?? '') || (lead[field.brn] && bare(account[field.brn] ?? '') === bare(lead[field.brn])));
    return isSame ? { accountId: account.Id } : {};
  };

  /** The records that a duplicate rule named instead of the lead: the call is noted there, and no second lead is made. */
  const noteOnDuplicate = async (connection: Session, key: string, existing: string, note: CallNote): Promise<CrmRecords> => {
    const taskId = await logCall(connection, key, existing.startsWith('001') ? { WhatId: existing } : { WhoId: existing }, note);
    const noted = { taskId, duplicateOf: existing };
    if (existing.startsWith('001')) return { accountId: existing, ...noted };
    return existing.startsWith('003') ? { contactId: existing, ...noted } : { leadId: existing, ...noted };
  };

  return {
    name: 'salesforce',
    apiUsage: session.usage,

    async lookUp({ brn, company }, signal): Promise<AccountState> {
      if (!brn && !company) return {};
      return session.use('Looking up the account', signal, async (connection) => {
        const find = (where: string): Promise<FoundAccount[]> => query(connection, `SELECT Id, Name, OwnerId, ${field.brn}, ${field.flagged} FROM Account WHERE ${where} ORDER BY CreatedDate ASC LIMIT 5`);
        const ofBrn = brn ? await find(`${field.brn} = '${soql(brn)}'`) : [];
        const ofName = ofBrn.length === 0 && company ? await find(`Name = '${soql(company)}'`) : [];
        const found = ofBrn.length > 0 ? ofBrn : ofName.filter((account) => !brn || !account[field.brn] || bare(account[field.brn]) === bare(brn));
        const [account] = found;
        if (!account) return {};
        // Who is flagged must not be missed for want of knowing which of them called.
        const flagged = found.find((candidate) => candidate[field.flagged] === true);
        if (found.length > 1 && !flagged) return { candidates: found.length };
        const chosen = flagged ?? account;
        const [opportunity] = await query<{ Id: string; Name: string }>(connection, `SELECT Id, Name FROM Opportunity WHERE AccountId = '${soql(chosen.Id)}' AND IsClosed = false ORDER BY CreatedDate DESC LIMIT 1`);
        return {
          account: { id: chosen.Id, name: chosen.Name, revenueFlagged: flagged !== undefined, ...(chosen.OwnerId ? { ownerId: chosen.OwnerId } : {}) },
          ...(opportunity ? { openOpportunity: { id: opportunity.Id, name: opportunity.Name } } : {}),
        };
      });
    },

    async createLead(key, lead, signal): Promise<CrmRecords> {
      return session.use('Creating the lead', signal, async (connection) => {
        try {
          const leadId = await upsert(connection, 'Lead', key, {
            LastName: lead.lastName.slice(0, LONGEST.lastName),
            Company: lead.company.slice(0, LONGEST.company),
            LeadSource: 'Phone',
            Description: lead.note.text.slice(0, LONGEST.text),
            ...(lead.brn ? { [field.brn]: lead.brn } : {}),
            ...(lead.email ? { Email: lead.email } : {}),
            ...(lead.phone ? { Phone: lead.phone.slice(0, LONGEST.phone) } : {}),
          });
          return { leadId };
        } catch (error) {
          const code = codeOf(error);
          const existing = duplicateOf(error);
          if (code === 'DUPLICATES_DETECTED' && existing) return noteOnDuplicate(connection, key, existing, lead.note);
          // An earlier try made it, its answer was lost, and somebody has converted it since: it is there.
          const [made] = code === 'CANNOT_UPDATE_CONVERTED_LEAD' ? await query<{ Id: string }>(connection, `SELECT Id FROM Lead WHERE ${field.key} = '${soql(key)}' LIMIT 1`) : [];
          if (made) return { leadId: made.Id };
          throw error;
        }
      });
    },

    async convertLead({ leadId, accountId, company }, signal): Promise<CrmRecords> {
      return session.use(`Converting the lead ${leadId}`, signal, async (connection) => {
        const read = async (): Promise<FoundLead | undefined> =>
          (await query<FoundLead>(connection, `SELECT Id, Company, ${field.brn}, IsConverted, ConvertedAccountId, ConvertedContactId, ConvertedOpportunityId FROM Lead WHERE Id = '${soql(leadId)}'`))[0];
        const lead = await read();
        if (!lead) throw new AftercallError('CRM_REJECTED', `Converting the lead failed: Salesforce has no lead ${leadId}.`, { advice: 'Check the ID that the caller gave. Skip the step, or retry once the lead exists.', outcome: 'refused' });
        if (!lead.IsConverted) {
          if (company && lead.Company && !mayBeOneCompany(company, lead.Company)) {
            throw new AftercallError('CRM_REJECTED', `The lead ${leadId} was not converted: it is about ${lead.Company}, and the caller speaks for ${company}.`, {
              advice: 'Find out whose lead it is. Convert it in Salesforce by hand and retry, or skip the step.',
              outcome: 'refused',
            });
          }
          const result = await connection.soap.convertLead({ leadId: lead.Id, convertedStatus: config.SFDC_CONVERTED_STATUS, doNotCreateOpportunity: false, ...(await intoAccount(connection, lead, accountId)) });
          if (result.success) return { leadId: lead.Id, ...filled({ accountId: result.accountId, contactId: result.contactId, opportunityId: result.opportunityId }) };
          const failure = saveFailure(result);
          // Converted between our reading and our asking: by an earlier try whose answer was lost, or by a person.
          if (codeOf(failure) !== 'CANNOT_UPDATE_CONVERTED_LEAD') throw failure;
        }
        const done = lead.IsConverted ? lead : await read();
        return { leadId: lead.Id, ...filled({ accountId: done?.ConvertedAccountId, contactId: done?.ConvertedContactId, opportunityId: done?.ConvertedOpportunityId }) };
      });
    },

    async updateAccount(key, { account, openOpportunity }, note, signal): Promise<CrmRecords> {
      return session.use('Updating the account', signal, async (connection) => {
        await noteOn(connection, 'Account', account.id, note);
        if (openOpportunity) await noteOn(connection, 'Opportunity', openOpportunity.id, note, { NextStep: note.subject.slice(0, LONGEST.subject) });
        const taskId = await logCall(connection, key, { WhatId: openOpportunity?.id ?? account.id }, note);
        return { accountId: account.id, taskId, ...filled({ opportunityId: openOpportunity?.id }) };
      });
    },

    async transfer(key, { account }, note, signal): Promise<CrmRecords> {
      return session.use('Handing over the account', signal, async (connection) => {
        const taskId = await logCall(connection, key, { WhatId: account.id }, note);
        // Last: whoever loses the record may not be allowed to note anything on it.
        if (note.ownerId && account.ownerId !== note.ownerId) await connection.sobject('Account').update({ Id: account.id, OwnerId: note.ownerId });
        return { accountId: account.id, taskId };
      });
    },

    async check(signal): Promise<void> {
      await session.use('Checking the connection', signal, (connection) => connection.request(`${api}/limits`));
    },
  };
};

/** Escapes a text for a SOQL string literal. */
const soql = (text: string): string => text.replaceAll(/[\\'"\n\r\t\b\f]/g, (character) => ({ '\n': '\\n', '\r': '\\r', '\t': '\\t', '\b': '\\b', '\f': '\\f' })[character] ?? `\\${character}`);

/** A number or name without what people put between its characters. */
const bare = (text: unknown): string => String(text).replaceAll(/[^\p{L}\p{N}]+/gu, '').toUpperCase();

/** Text comes back with other line ends than it was sent with. */
const oneLine = (text: string): string => text.replaceAll(/\s+/g, ' ').trim();

const filled = <T extends Record<string, string | null | undefined>>(ids: T): { [K in keyof T]?: string } =>
  Object.fromEntries(Object.entries(ids).filter(([, id]) => typeof id === 'string' && id !== '')) as { [K in keyof T]?: string };
