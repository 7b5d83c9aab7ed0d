import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type FieldValue = string | number | boolean | null;
export type SalesforceRecord = { Id: string; CreatedDate: string } & Record<string, FieldValue>;
export const OBJECTS = ['Lead', 'Account', 'Contact', 'Opportunity', 'Task', 'User'] as const;
export type ObjectName = (typeof OBJECTS)[number];

export const isObjectName = (name: string): name is ObjectName => (OBJECTS as readonly string[]).includes(name);

const PREFIX: Record<ObjectName, string> = { Lead: '00Q', Account: '001', Contact: '003', Opportunity: '006', Task: '00T', User: '005' };

/** The custom field that integrations upsert on. */
export const EXTERNAL_ID = 'Aftercall_Id__c';

/** What Salesforce sets by itself. */
const READ_ONLY = ['Id', 'CreatedDate', 'IsConverted', 'ConvertedAccountId', 'ConvertedContactId', 'ConvertedOpportunityId', 'IsClosed'];

/** The standard fields that calls are written to and read from, and the custom ones that the installation guide asks for. */
const FIELDS: Record<ObjectName, string[]> = {
  Lead: ['FirstName', 'LastName', 'Company', 'Email', 'Phone', 'Status', 'LeadSource', 'Description', 'OwnerId', 'BRN__c', EXTERNAL_ID, 'IsConverted', 'ConvertedAccountId', 'ConvertedContactId', 'ConvertedOpportunityId'],
  Account: ['Name', 'Description', 'OwnerId', 'BRN__c', 'Revenue_Flagged__c'],
  Contact: ['FirstName', 'LastName', 'Email', 'Phone', 'AccountId', 'OwnerId'],
  Opportunity: ['Name', 'AccountId', 'StageName', 'CloseDate', 'NextStep', 'Description', 'OwnerId', 'IsClosed'],
  Task: ['Subject', 'Description', 'Status', 'Priority', 'TaskSubtype', 'CallType', 'CallDurationInSeconds', 'CallObject', 'CallDisposition', 'ActivityDate', 'WhoId', 'WhatId', 'OwnerId', EXTERNAL_ID],
  User: ['Name', 'Username'],
};

export const fieldsOf = (name: ObjectName): string[] => ['Id', 'CreatedDate', ...FIELDS[name]];

const REQUIRED: Partial<Record<ObjectName, string[]>> = { Lead: ['LastName', 'Company'], Account: ['Name'], Opportunity: ['Name', 'StageName', 'CloseDate'], Contact: ['LastName'] };
const LONGEST: Record<string, number> = { Company: 255, Name: 255, LastName: 80, FirstName: 40, Phone: 40, Subject: 255, NextStep: 255, CallObject: 255, Description: 32_000 };
const PICKLISTS: Record<string, string[]> = { CallType: ['Inbound', 'Outbound', 'Internal'], TaskSubtype: ['Call', 'Email', 'Task'] };

/** Which objects a reference may point at. */
const REFERENCES: Record<string, ObjectName[]> = { OwnerId: ['User'], AccountId: ['Account'], WhoId: ['Lead', 'Contact'], WhatId: ['Account', 'Opportunity'] };

/** The suffix that makes a 15-character ID safe where case gets lost. */
const withSuffix = (id: string): string => {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ012345';
  const third = (start: number): string => alphabet[[...id.slice(start, start + 5)].reduce((bits, character, index) => (character >= 'A' && character <= 'Z' ? bits + 2 ** index : bits), 0)]!;
  return id + third(0) + third(5) + third(10);
};

export class RecordError extends Error {
  readonly errorCode: string;
  readonly fields: string[];
  readonly status: number;
  constructor(errorCode: string, message: string, fields: string[] = [], status = 400) {
    super(message);
    this.errorCode = errorCode;
    this.fields = fields;
    this.status = status;
  }
}

/** The records of the stand-in, kept in a file so that they are there after a restart. */
export const createRecords = (folder: string | undefined, seed: Partial<Record<ObjectName, Omit<SalesforceRecord, 'CreatedDate'>[]>>) => {
  const path = folder && join(folder, 'salesforce.json');
  const stored = path ? read(path) : undefined;
  const seeded = (name: ObjectName) => (seed[name] ?? []).map((record) => ({ CreatedDate: new Date(0).toISOString(), ...record }));
  const tables = Object.fromEntries(OBJECTS.map((name) => [name, stored?.tables[name] ?? seeded(name)])) as Record<ObjectName, SalesforceRecord[]>;
  let made = stored?.made ?? 0;

  const save = (): void => {
    if (!path || !folder) return;
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${path}.tmp`, JSON.stringify({ tables, made }, null, 1));
    renameSync(`${path}.tmp`, path);
  };

  const find = (name: ObjectName, id: string): SalesforceRecord | undefined => tables[name].find((record) => record.Id === id || record.Id.slice(0, 15) === id);

  const check = (name: ObjectName, fields: Record<string, FieldValue>, isNew: boolean): void => {
    for (const field of Object.keys(fields)) {
      if (!FIELDS[name].includes(field) && field !== 'Id') throw new RecordError('INVALID_FIELD', `No such column '${field}' on sobject of type ${name}`, [field]);
      if (READ_ONLY.includes(field)) throw new RecordError('INVALID_FIELD_FOR_INSERT_UPDATE', `Unable to create/update fields: ${field}. Please check the security settings of this field and verify that it is read/write for your profile or permission set.`, [field]);
    }
    const missing = isNew ? (REQUIRED[name] ?? []).filter((field) => !fields[field]) : [];
    if (missing.length > 0) throw new RecordError('REQUIRED_FIELD_MISSING', `Required fields are missing: [${missing.join(', ')}]`, missing);
    for (const [field, value] of Object.entries(fields)) {
      if (typeof value !== 'string') continue;
      const longest = LONGEST[field];
      if (longest !== undefined && value.length > longest) throw new RecordError('STRING_TOO_LONG', `${field}: data value too large: ${value.slice(0, 40)} (max length=${longest})`, [field]);
      if (PICKLISTS[field] && !PICKLISTS[field].includes(value)) throw new RecordError('INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST', `${field}: bad value for restricted picklist field: ${value}`, [field]);
      if (REFERENCES[field] && value !== '' && !REFERENCES[field].some((object) => find(object, value))) throw new RecordError('INVALID_CROSS_REFERENCE_KEY', 'invalid cross reference id', [field]);
    }
    if (typeof fields['Email'] === 'string' && !/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(fields['Email'])) throw new RecordError('INVALID_EMAIL_ADDRESS', `Email: invalid email address: ${fields['Email']}`, ['Email']);
    if (name === 'Task' && typeof fields['WhoId'] === 'string' && fields['WhoId'].startsWith('00Q') && fields['WhatId']) throw new RecordError('FIELD_INTEGRITY_EXCEPTION', 'WhatId: a lead task has no related record', ['WhatId']);
  };

  return {
    all: (name: ObjectName): SalesforceRecord[] => tables[name],
    get: find,
    create(name: ObjectName, fields: Record<string, FieldValue>): SalesforceRecord {
      check(name, fields, true);
      made += 1;
      const record = { ...(name === 'Lead' ? { IsConverted: false, Status: 'Open - Not Contacted' } : {}), ...(name === 'Opportunity' ? { IsClosed: false } : {}), ...fields, Id: withSuffix(`${PREFIX[name]}SBX0${String(made).padStart(8, '0')}`), CreatedDate: new Date().toISOString() } as SalesforceRecord;
      tables[name].push(record);
      save();
      return record;
    },
    update(name: ObjectName, record: SalesforceRecord, fields: Record<string, FieldValue>): void {
      check(name, fields, false);
      if (name === 'Lead' && record['IsConverted'] === true) throw new RecordError('CANNOT_UPDATE_CONVERTED_LEAD', 'cannot reference converted lead');
      Object.assign(record, fields);
      save();
    },
    remove(name: ObjectName, record: SalesforceRecord): void {
      tables[name].splice(tables[name].indexOf(record), 1);
      save();
    },
    /** What only Salesforce itself writes. */
    markConverted(lead: SalesforceRecord, fields: Record<string, FieldValue>): void {
      Object.assign(lead, fields, { IsConverted: true });
      save();
    },
  };
};

export type Records = ReturnType<typeof createRecords>;

const read = (path: string): { tables: Record<ObjectName, SalesforceRecord[]>; made: number } | undefined => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')) as { tables: Record<ObjectName, SalesforceRecord[]>; made: number };
  } catch {
    return undefined;
  }
};
