import { createSalesforce } from '../../src/adapters/crm/salesforce.ts';
import type { Crm } from '../../src/adapters/crm/crm.ts';
import { loadConfig, type SalesforceConfig, withSystem } from '../../src/config.ts';
import { type AftercallError, isAftercallError } from '../../src/domain/errors.ts';
import { SALESFORCE_CLIENT } from '../../sandbox/salesforce/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { complete } from './config.ts';

/** The settings of an installation whose Salesforce is at an address. */
export const salesforceConfig = (url: string, env: Record<string, string> = {}): SalesforceConfig =>
  withSystem(loadConfig({ ...complete, SFDC_URL: url, SFDC_CLIENT_ID: SALESFORCE_CLIENT.clientId, SFDC_CLIENT_SECRET: SALESFORCE_CLIENT.clientSecret, ...env }), 'salesforce')!;

export const salesforceAt = ({ url }: Pick<SandboxServer, 'url'>, env: Record<string, string> = {}): Crm => createSalesforce(salesforceConfig(url, env));

export type StoredRecord = Record<string, unknown> & { Id: string };

/** What is in the stand-in, read past its API. */
export const recordsOf = async (server: SandboxServer, object: string): Promise<StoredRecord[]> => (await (await fetch(`${server.url}/_sandbox-records/${object}`)).json()) as StoredRecord[];

const asAnotherUser = async (server: SandboxServer, method: string, path: string, fields?: Record<string, unknown>): Promise<Response> => {
  const form = new URLSearchParams({ grant_type: 'client_credentials', client_id: SALESFORCE_CLIENT.clientId, client_secret: SALESFORCE_CLIENT.clientSecret });
  const { access_token: token } = (await (await fetch(`${server.url}/services/oauth2/token`, { method: 'POST', body: form })).json()) as { access_token: string };
  return fetch(`${server.url}/services/data/v68.0/sobjects/${path}`, { method, headers: { authorization: `Bearer ${token}`, 'content-type': 'application/json' }, ...(fields ? { body: JSON.stringify(fields) } : {}) });
};

/** Creates a record as another user of the same org would. */
export const addRecord = async (server: SandboxServer, object: string, fields: Record<string, unknown>): Promise<string> => {
  const answer = (await (await asAnotherUser(server, 'POST', object, fields)).json()) as { id?: string };
  if (!answer.id) throw new Error(`The stand-in refused the record: ${JSON.stringify(answer)}`);
  return answer.id;
};

/** Deletes a record as another user of the same org would. */
export const deleteRecord = async (server: SandboxServer, object: string, id: string): Promise<void> => {
  const { status } = await asAnotherUser(server, 'DELETE', `${object}/${id}`);
  if (status !== 204) throw new Error(`The stand-in answered ${status} to deleting ${object} ${id}.`);
};

export const requestsOf = async (server: SandboxServer): Promise<{ method: string; path: string }[]> => (await (await fetch(`${server.url}/_sandbox/requests`)).json()) as { method: string; path: string }[];

/** The error that a piece of work ends with. */
export const failureOf = async (work: Promise<unknown>): Promise<AftercallError> => {
  const outcome = await work.then(
    (value) => new Error(`It did not fail but gave ${JSON.stringify(value)}.`),
    (error: unknown) => error,
  );
  if (isAftercallError(outcome)) return outcome;
  throw outcome;
};
