import type { ObjectName, SalesforceRecord } from './records.ts';

/** What is in the CRM before the first sample call: the leads and accounts that the callers mention. */
export const MANAGED_ACCOUNTS_OWNER = '0055g00000UsR1XAAV';
const SALES_OWNER = '0055g00000UsR2YAAV';

export const SEED: Partial<Record<ObjectName, Omit<SalesforceRecord, 'CreatedDate'>[]>> = {
  User: [
    { Id: MANAGED_ACCOUNTS_OWNER, Name: 'Managed Accounts', Username: 'managed-accounts@aftercall.example' },
    { Id: SALES_OWNER, Name: 'Business Sales', Username: 'sales@aftercall.example' },
  ],
  Lead: [
    { Id: '00Q5g00000KbA1XEAV', LastName: 'Aisha', Company: 'Bluefin Marine Supplies Pte Ltd', Status: 'Working - Contacted', IsConverted: false },
    { Id: '00Q5g00000KbA2YEAV', LastName: 'Tomas', Company: 'Copperleaf Printing Pte Ltd', Status: 'Working - Contacted', IsConverted: false },
  ],
  Account: [
    { Id: '0015g00000AcC1XAAV', Name: 'Juniper Dental Clinic Pte Ltd', BRN__c: '201812345M', Revenue_Flagged__c: false, OwnerId: SALES_OWNER },
    { Id: '0015g00000AcC2YAAV', Name: 'Summit Ridge Holdings Pte Ltd', BRN__c: '199901234N', Revenue_Flagged__c: true, OwnerId: SALES_OWNER },
  ],
  Opportunity: [{ Id: '0065g00000OpP1XAAV', Name: 'Juniper Dental Clinic renewal', AccountId: '0015g00000AcC1XAAV', StageName: 'Negotiation', CloseDate: '2026-12-31', IsClosed: false }],
};
