import { createVerify, randomBytes } from 'node:crypto';
import express, { type Request, type Response } from 'express';
import { XMLParser } from 'fast-xml-parser';
import { faultOf, type Sandbox, type SandboxServer, startSandboxServer } from '../server.ts';
import { createRecords, EXTERNAL_ID, fieldsOf, type FieldValue, isObjectName, type ObjectName, RecordError, type Records, type SalesforceRecord } from './records.ts';
import { SEED } from './seed.ts';
import { parseSoql, run } from './soql.ts';

/** The credentials that this stand-in takes. */
export const SALESFORCE_CLIENT = { clientId: 'sandbox-salesforce-client', clientSecret: 'sandbox-salesforce-secret', username: 'integration@aftercall.example' };

export interface SalesforceOptions {
  port?: number;
  /** Without it, records and ledger live in memory. */
  dataFolder?: string;
  /** PEM public key that JWT assertions are checked with. */
  publicKey?: string;
}

/**
 * A stand-in for Salesforce: OAuth token endpoint, REST records and queries, SOAP lead conversion, and a
 * page at `/` that shows what is in it.
 *
 * Acts out `duplicates` (naming `matchId`, or nobody) and `duplicate_rule` (naming a lead with the same
 * e-mail address, or company and name, if there is one) on saves, `soap_session_expired`,
 * `soap_fault` (with `code`) and `convert_error` (with `statusCode`) on conversions; codes that need no acting
 * (`UNABLE_TO_LOCK_ROW`, `REQUEST_LIMIT_EXCEEDED`, …) come as `respond` faults.
 */
export const startSalesforce = async (options: SalesforceOptions = {}): Promise<SandboxServer> => {
  const records = createRecords(options.dataFolder, SEED);
  let address = '';
  const server = await startSandboxServer(
    'salesforce',
    (sandbox) => {
      const sessions = new Set<string>();
      tokenRoute(sandbox, sessions, options, () => address);
      restRoutes(sandbox, sessions, records);
      soapRoute(sandbox, sessions, records);
      pageRoute(sandbox, records);
      sandbox.app.get('/_sandbox-records/:object', (request, response) => {
        if (!isObjectName(request.params.object)) return void response.status(404).json({});
        response.json(records.all(request.params.object));
      });
    },
    { port: options.port ?? 0, dataFolder: options.dataFolder },
  );
  address = server.url;
  return server;
};

const tokenRoute = ({ app, record }: Sandbox, sessions: Set<string>, { publicKey }: SalesforceOptions, addressOf: () => string): void => {
  app.post('/services/oauth2/token', express.urlencoded({ extended: false }), (request, response) => {
    const form = (request.body ?? {}) as Record<string, string>;
    const refuse = (error: string, error_description: string): void => void response.status(400).json({ error, error_description });
    if (form['grant_type'] === 'client_credentials') {
      if (form['client_id'] !== SALESFORCE_CLIENT.clientId) return refuse('invalid_client_id', 'client identifier invalid');
      if (form['client_secret'] !== SALESFORCE_CLIENT.clientSecret) return refuse('invalid_client', 'invalid client credentials');
    } else if (form['grant_type'] === 'urn:ietf:params:oauth:grant-type:jwt-bearer') {
      const why = publicKey ? faultOfAssertion(form['assertion'] ?? '', publicKey) : 'no certificate is configured';
      if (why) return refuse('invalid_grant', why);
    } else return refuse('unsupported_grant_type', 'grant type not supported');
    const token = `00DSBX0000000001!${randomBytes(24).toString('base64url')}`;
    sessions.add(token);
    record('signed_in', { grantType: form['grant_type'], sentSecret: 'client_secret' in form });
    response.json({ access_token: token, instance_url: addressOf(), id: `${addressOf()}/id/00DSBX0000000001/0055g00000UsR2YAAV`, token_type: 'Bearer', issued_at: String(Date.now()), signature: 'sandbox', scope: 'api' });
  });
};

const faultOfAssertion = (assertion: string, publicKey: string): string | undefined => {
  const [head = '', body = '', signature = ''] = assertion.split('.');
  if (!createVerify('RSA-SHA256').update(`${head}.${body}`).verify(publicKey, signature, 'base64url')) return 'invalid assertion';
  const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as { iss?: string; sub?: string; aud?: string; exp?: number };
  if (!/^https:\/\/(login|test)\.salesforce\.com$/.test(claims.aud ?? '')) return 'audience is invalid';
  if (claims.iss !== SALESFORCE_CLIENT.clientId) return 'invalid client id';
  if (claims.sub !== SALESFORCE_CLIENT.username) return "user hasn't approved this consumer";
  const secondsLeft = (claims.exp ?? 0) - Date.now() / 1_000;
  return secondsLeft <= 0 || secondsLeft > 300 ? 'token expired or lives too long' : undefined;
};

const DAILY_REQUESTS = 15_000;

const LEDGER_NAME: Record<ObjectName, string> = { Lead: 'lead', Account: 'account', Contact: 'contact', Opportunity: 'opportunity', Task: 'task', User: 'user' };

const restRoutes = ({ app, record }: Sandbox, sessions: Set<string>, records: Records): void => {
  const rest = express.Router({ mergeParams: true });
  rest.use(express.json({ limit: '5mb' }));
  let requests = 0;
  rest.use((request, response, next) => {
    requests += 1;
    response.set('Sforce-Limit-Info', `api-usage=${requests}/${DAILY_REQUESTS}`);
    if (sessions.has((request.get('authorization') ?? '').replace('Bearer ', ''))) return next();
    response.status(401).json([{ message: 'Session expired or invalid', errorCode: 'INVALID_SESSION_ID' }]);
  });

  const answering =
    (work: (request: Request, response: Response) => void) =>
    (request: Request, response: Response): void => {
      const fault = faultOf(response);
      if (fault?.kind === 'duplicates') return refuseDuplicate(response, (fault as { matchId?: string }).matchId);
      const twin = fault?.kind === 'duplicate_rule' ? twinOf(request.body as Record<string, FieldValue>, records.all('Lead')) : undefined;
      if (twin) return refuseDuplicate(response, twin.Id);
      try {
        work(request, response);
      } catch (error) {
        if (!(error instanceof RecordError)) throw error;
        response.status(error.status).json([{ message: error.message, errorCode: error.errorCode, fields: error.fields }]);
      }
    };
  const objectOf = (request: Request): ObjectName => {
    const name = String(request.params['object']);
    if (!isObjectName(name)) throw new RecordError('NOT_FOUND', 'The requested resource does not exist', [], 404);
    return name;
  };
  const find = (request: Request) => {
    const found = records.get(objectOf(request), String(request.params['id']));
    if (!found) throw new RecordError('NOT_FOUND', 'The requested resource does not exist', [], 404);
    return found;
  };
  const changed = (object: ObjectName, id: string, fields: Record<string, FieldValue>, externalId?: string): void => {
    record(fields['OwnerId'] ? 'owner_changed' : `${LEDGER_NAME[object]}_updated`, { id, fields: Object.keys(fields), ...(externalId ? { externalId } : {}) });
  };

  rest.get('/limits', (_request, response) => void response.json({ DailyApiRequests: { Max: DAILY_REQUESTS, Remaining: DAILY_REQUESTS - requests } }));
  rest.get('/query', answering((request, response) => {
    const query = parseSoql(String(request.query['q'] ?? ''));
    const found = run(query, records.all(query.object));
    response.json({ totalSize: found.length, done: true, records: found });
  }));
  rest.post('/sobjects/:object', answering((request, response) => {
    const object = objectOf(request);
    const created = records.create(object, request.body as Record<string, FieldValue>);
    record(`${LEDGER_NAME[object]}_created`, { id: created.Id });
    response.status(201).json({ id: created.Id, success: true, errors: [] });
  }));
  rest.get('/sobjects/:object/describe', answering((request, response) => {
    const object = objectOf(request);
    response.json({ name: object, fields: fieldsOf(object).map((name) => ({ name, custom: name.endsWith('__c'), externalId: name === EXTERNAL_ID, unique: name === EXTERNAL_ID })) });
  }));
  rest.get('/sobjects/:object/:id', answering((request, response) => void response.json(find(request))));
  rest.patch('/sobjects/:object/:id', answering((request, response) => {
    const fields = request.body as Record<string, FieldValue>;
    const found = find(request);
    records.update(objectOf(request), found, fields);
    changed(objectOf(request), found.Id, fields);
    response.status(204).end();
  }));
  rest.delete('/sobjects/:object/:id', answering((request, response) => {
    records.remove(objectOf(request), find(request));
    response.status(204).end();
  }));
  rest.patch('/sobjects/:object/:field/:value', answering((request, response) => {
    const object = objectOf(request);
    const field = String(request.params['field']);
    const value = String(request.params['value']);
    const fields = request.body as Record<string, FieldValue>;
    if (field !== EXTERNAL_ID || !fieldsOf(object).includes(field)) throw new RecordError('NOT_FOUND', `Provided external ID field does not exist or is not accessible: ${field}`, [], 404);
    if (field in fields || 'Id' in fields) throw new RecordError('INVALID_FIELD', `The ${field} field should not be specified in the sobject data.`, [field]);
    const same = records.all(object).filter((candidate) => candidate[field] === value);
    if (same.length > 1) return void response.status(300).json(same.map((candidate) => `/services/data/v68.0/sobjects/${object}/${candidate.Id}`));
    if (same[0]) {
      records.update(object, same[0], fields);
      changed(object, same[0].Id, fields, value);
      return void response.status(200).json({ id: same[0].Id, success: true, errors: [], created: false });
    }
    const created = records.create(object, { ...fields, [field]: value });
    record(`${LEDGER_NAME[object]}_created`, { id: created.Id, externalId: value });
    response.status(201).json({ id: created.Id, success: true, errors: [], created: true });
  }));
  rest.use((_request, response) => void response.status(404).json([{ errorCode: 'NOT_FOUND', message: 'The requested resource does not exist' }]));
  app.use('/services/data/:version', rest);
};

/** What a duplicate rule would find: the same e-mail address, or the same company and name. */
const twinOf = (fields: Record<string, FieldValue>, leads: readonly SalesforceRecord[]): SalesforceRecord | undefined =>
  leads.find((lead) => (fields['Email'] && lead['Email'] === fields['Email']) || (lead['Company'] === fields['Company'] && lead['LastName'] === fields['LastName']));

const ENTITY: Record<string, ObjectName> = { '001': 'Account', '003': 'Contact', '00Q': 'Lead' };

const refuseDuplicate = (response: Response, matchId: string | undefined): void => {
  const entityType = ENTITY[matchId?.slice(0, 3) ?? ''] ?? 'Lead';
  const matchRecords = matchId ? [{ additionalInformation: [], fieldDiffs: [], matchConfidence: 100, record: { attributes: { type: entityType }, Id: matchId } }] : [];
  response.status(400).json([
    {
      errorCode: 'DUPLICATES_DETECTED',
      message: 'Use one of these records?',
      duplicateResult: { allowSave: false, duplicateRule: 'Standard_Lead_Duplicate_Rule', duplicateRuleEntityType: 'Lead', errorMessage: 'Use one of these records?', matchResults: [{ entityType, errors: [], matchEngine: 'ExactMatchEngine', matchRecords, rule: 'Sandbox_Rule', size: matchRecords.length, success: true }] },
    },
  ]);
};

const soapRoute = ({ app, record }: Sandbox, sessions: Set<string>, records: Records): void => {
  const parser = new XMLParser({ removeNSPrefix: true, ignoreAttributes: true, parseTagValue: false });
  const envelope = (body: string): string => `<?xml version="1.0" encoding="UTF-8"?><soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com"><soapenv:Body>${body}</soapenv:Body></soapenv:Envelope>`;
  app.post('/services/Soap/u/:version', express.text({ type: () => true, limit: '1mb' }), (request, response) => {
    response.type('text/xml');
    const parsed = parser.parse(String(request.body)) as { Envelope?: { Header?: { SessionHeader?: { sessionId?: string } }; Body?: { convertLead?: { leadConverts?: { leadId?: string; accountId?: string; convertedStatus?: string; doNotCreateOpportunity?: string } } } } };
    const fault = (code: string, message: string): void => void response.status(500).send(envelope(`<soapenv:Fault><faultcode>sf:${code}</faultcode><faultstring>${code}: ${message}</faultstring></soapenv:Fault>`));
    const acted = faultOf(response);
    if (!sessions.has(parsed.Envelope?.Header?.SessionHeader?.sessionId ?? '') || acted?.kind === 'soap_session_expired') return fault('INVALID_SESSION_ID', 'Invalid Session ID found in SessionHeader');
    const { leadId, accountId, convertedStatus } = parsed.Envelope?.Body?.convertLead?.leadConverts ?? {};
    if (!leadId) return fault('UNKNOWN_EXCEPTION', 'only convertLead is known here');
    const unsuccessful = (statusCode: string, message: string): void =>
      void response.send(envelope(`<convertLeadResponse><result><accountId xsi:nil="true" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"/><errors><message>${message}</message><statusCode>${statusCode}</statusCode></errors><leadId>${leadId}</leadId><success>false</success></result></convertLeadResponse>`));
    if (acted?.kind === 'soap_fault') return fault(String((acted as { code?: string }).code), 'acted out');
    if (acted?.kind === 'convert_error') return unsuccessful(String((acted as { statusCode?: string }).statusCode), 'acted out');
    const lead = records.get('Lead', leadId);
    if (!lead) return unsuccessful('INVALID_CROSS_REFERENCE_KEY', 'invalid cross reference id');
    if (lead['IsConverted'] === true) return unsuccessful('CANNOT_UPDATE_CONVERTED_LEAD', 'cannot reference converted lead');
    if (convertedStatus !== 'Closed - Converted') return unsuccessful('INVALID_STATUS', 'invalid convertedStatus');
    const company = String(lead['Company']);
    const existing = accountId ? records.get('Account', accountId) : undefined;
    if (accountId && !existing) return unsuccessful('INVALID_CROSS_REFERENCE_KEY', 'invalid cross reference id');
    const account = existing ?? records.create('Account', { Name: company });
    const contact = records.create('Contact', { LastName: String(lead['LastName']), AccountId: account.Id });
    const opportunity = records.create('Opportunity', { Name: `${company}-`, AccountId: account.Id, StageName: 'Prospecting', CloseDate: '2027-03-31' });
    records.markConverted(lead, { Status: convertedStatus, ConvertedAccountId: account.Id, ConvertedContactId: contact.Id, ConvertedOpportunityId: opportunity.Id });
    record('lead_converted', { id: lead.Id });
    response.send(envelope(`<convertLeadResponse><result><accountId>${account.Id}</accountId><contactId>${contact.Id}</contactId><leadId>${lead.Id}</leadId><opportunityId>${opportunity.Id}</opportunityId><success>true</success></result></convertLeadResponse>`));
  });
};

const SHOWN: Record<ObjectName, string[]> = {
  Lead: ['Id', 'LastName', 'Company', 'BRN__c', 'Email', 'Status', 'IsConverted'],
  Account: ['Id', 'Name', 'BRN__c', 'Revenue_Flagged__c', 'OwnerId', 'Description'],
  Contact: ['Id', 'LastName', 'AccountId'],
  Opportunity: ['Id', 'Name', 'AccountId', 'StageName', 'NextStep'],
  Task: ['Id', 'Subject', 'WhoId', 'WhatId', 'ActivityDate', 'Description'],
  User: ['Id', 'Name'],
};

const pageRoute = ({ app }: Sandbox, records: Records): void => {
  const escape = (value: unknown): string => String(value ?? '').replaceAll(/[&<>"]/g, (character) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[character]!);
  app.get('/', (_request, response) => {
    const tables = (Object.keys(SHOWN) as ObjectName[]).map((name) => {
      const fields = SHOWN[name];
      const rows = records.all(name).map((row) => `<tr>${fields.map((field) => `<td>${escape(row[field])}</td>`).join('')}</tr>`);
      return `<h2>${name} <small>${rows.length}</small></h2><table><tr>${fields.map((field) => `<th>${field}</th>`).join('')}</tr>${rows.join('')}</table>`;
    });
    response.send(
      `<!doctype html><html lang="en"><meta charset="utf-8"><title>Sandbox Salesforce</title><style>body{font:14px/1.5 system-ui;margin:2rem;color:#222}table{border-collapse:collapse;margin-bottom:1.5rem}td,th{border:1px solid #ddd;padding:.3rem .6rem;text-align:left;vertical-align:top;white-space:pre-line}th{background:#f5f5f5}small{color:#888}</style><h1>Sandbox Salesforce</h1><p>What the pipeline has written, beside what was there before.</p>${tables.join('')}</html>`,
    );
  });
};
