import { mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export type FieldValue = string | number | boolean | null;
export type SalesforceRecord = { Id: string; CreatedDate: string } & Record<string, FieldValue>;
export const OBJECTS = ['Lead', 'Account', 'Contact', 'Opportunity', 'Task'] as const;
export type ObjectName = (typeof OBJECTS)[number];

export const isObjectName = (name: string): name is ObjectName => (OBJECTS as readonly string[]).includes(name);

const PREFIX: Record<ObjectName, string> = { Lead: '00Q', Account: '001', Contact: '003', Opportunity: '006', Task: '00T' };

const REQUIRED: Partial<Record<ObjectName, string[]>> = { Lead: ['LastName', 'Company'], Account: ['Name'], Opportunity: ['Name', 'StageName', 'CloseDate'], Contact: ['LastName'] };
const LONGEST: Record<string, number> = { Company: 255, LastName: 80, Phone: 40, Subject: 255, Description: 32_000 };

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
  const tables = (stored?.tables ?? Object.fromEntries(OBJECTS.map((name) => [name, (seed[name] ?? []).map((record) => ({ CreatedDate: new Date(0).toISOString(), ...record }))]))) as Record<ObjectName, SalesforceRecord[]>;
  let made = stored?.made ?? 0;

  const save = (): void => {
    if (!path || !folder) return;
    mkdirSync(folder, { recursive: true });
    writeFileSync(`${path}.tmp`, JSON.stringify({ tables, made }, null, 1));
    renameSync(`${path}.tmp`, path);
  };

  const check = (name: ObjectName, fields: Record<string, FieldValue>, isNew: boolean): void => {
    const missing = isNew ? (REQUIRED[name] ?? []).filter((field) => !fields[field]) : [];
    if (missing.length > 0) throw new RecordError('REQUIRED_FIELD_MISSING', `Required fields are missing: [${missing.join(', ')}]`, missing);
    for (const [field, value] of Object.entries(fields)) {
      if (typeof value === 'string' && value.length > (LONGEST[field] ?? Number.POSITIVE_INFINITY)) throw new RecordError('STRING_TOO_LONG', `${field}: data value too large`, [field]);
    }
    if (name === 'Lead' && typeof fields['Email'] === 'string' && !/^[^@\s]+@[^@\s]+\.[^@\s]+$/.test(fields['Email'])) throw new RecordError('INVALID_EMAIL_ADDRESS', `Email: invalid email address: ${fields['Email']}`, ['Email']);
    if (name === 'Task' && typeof fields['WhoId'] === 'string' && fields['WhoId'].startsWith('00Q') && fields['WhatId']) throw new RecordError('FIELD_INTEGRITY_EXCEPTION', 'WhatId: a lead task has no related record', ['WhatId']);
  };

  return {
    all: (name: ObjectName): SalesforceRecord[] => tables[name],
    get: (name: ObjectName, id: string): SalesforceRecord | undefined => tables[name].find((record) => record.Id === id || record.Id.slice(0, 15) === id),
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
      if (name === 'Lead' && record['IsConverted'] === true && !('ConvertedAccountId' in fields)) throw new RecordError('CANNOT_UPDATE_CONVERTED_LEAD', 'cannot reference converted lead');
      Object.assign(record, fields);
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
