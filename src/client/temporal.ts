import { Client, Connection, type DataConverter, isGrpcServiceError } from '@temporalio/client';
import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import type { Config } from '../config.ts';
import { AftercallError, messageOf } from '../domain/errors.ts';

/** What calls can be searched by in Temporal. Plain text there: never personal data. */
export const SEARCH_ATTRIBUTES = {
  project: defineSearchAttributeKey('AftercallProject', SearchAttributeType.KEYWORD),
  source: defineSearchAttributeKey('AftercallSource', SearchAttributeType.KEYWORD),
  state: defineSearchAttributeKey('AftercallState', SearchAttributeType.KEYWORD),
};

type TemporalConfig = Pick<Config, 'TEMPORAL_ADDRESS' | 'TEMPORAL_NAMESPACE' | 'TEMPORAL_API_KEY' | 'TEMPORAL_TLS'>;

export const connectionOptions = (config: TemporalConfig): { address: string; tls?: true; apiKey?: string } => ({
  address: config.TEMPORAL_ADDRESS,
  ...(config.TEMPORAL_TLS || config.TEMPORAL_API_KEY ? { tls: true as const } : {}),
  ...(config.TEMPORAL_API_KEY ? { apiKey: config.TEMPORAL_API_KEY } : {}),
});

/** Connects to Temporal. @throws UPSTREAM_UNAVAILABLE naming the address */
export const connectTemporal = async (config: TemporalConfig, dataConverter: DataConverter): Promise<Client> => {
  const connection = await Connection.connect({ ...connectionOptions(config), connectTimeout: '10s' }).catch((error: unknown) => {
    throw new AftercallError('UPSTREAM_UNAVAILABLE', `Connecting to Temporal at ${config.TEMPORAL_ADDRESS} failed: ${messageOf(error)}.`, {
      advice: 'Check TEMPORAL_ADDRESS, and that the server is up.',
      cause: error,
    });
  });
  return new Client({ connection, namespace: config.TEMPORAL_NAMESPACE, dataConverter });
};

/** gRPC status codes that the setup expects. */
const ALREADY_EXISTS = 6;
const PERMISSION_DENIED = 7;
const UNIMPLEMENTED = 12;

/**
 * Makes sure that the namespace has our search attributes.
 *
 * @throws CONFIG_INVALID naming the command for an administrator, where this client may not do it
 */
export const ensureSearchAttributes = async (client: Client): Promise<void> => {
  const connection = client.connection as Connection;
  const { namespace } = client.options;
  const KEYWORD = 2;
  const wanted = Object.values(SEARCH_ATTRIBUTES).map((key) => key.name);
  try {
    const { customAttributes } = await connection.operatorService.listSearchAttributes({ namespace });
    const missing = wanted.filter((name) => !(name in (customAttributes ?? {})));
    if (missing.length === 0) return;
    await connection.operatorService.addSearchAttributes({ namespace, searchAttributes: Object.fromEntries(missing.map((name) => [name, KEYWORD])) });
  } catch (error) {
    const { code } = error as { code?: number };
    if (code === ALREADY_EXISTS) return;
    if (code === PERMISSION_DENIED || code === UNIMPLEMENTED) {
      // Temporal Cloud keeps these in its own API. Starting a call says what is missing, if anything is.
      return;
    }
    throw new AftercallError('CONFIG_INVALID', `Adding search attributes to namespace ${namespace} failed: ${messageOf(error)}`, {
      advice: `Have an administrator run: ${wanted.map((name) => `temporal operator search-attribute create --namespace ${namespace} --name ${name} --type Keyword`).join(' && ')}`,
      cause: error,
    });
  }
};

/** How long the namespace keeps closed workflows, in ms. */
export const namespaceRetentionMs = async (client: Client): Promise<number> => {
  const { config } = await (client.connection as Connection).workflowService.describeNamespace({ namespace: client.options.namespace });
  return Number(config?.workflowExecutionRetentionTtl?.seconds ?? 0) * 1_000;
};

/** Sets it. Only for a server of our own: retention is somebody else's decision on a shared one. */
export const setNamespaceRetention = async (client: Client, retentionMs: number): Promise<void> => {
  await (client.connection as Connection).workflowService.updateNamespace({
    namespace: client.options.namespace,
    config: { workflowExecutionRetentionTtl: { seconds: Math.ceil(retentionMs / 1_000) as never } },
  });
};

/** Whether a request failed because Temporal could not be reached, not because of what was asked: DEADLINE_EXCEEDED or UNAVAILABLE. */
export const isTemporalDown = (error: unknown): boolean => {
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) if (isGrpcServiceError(cause) && [4, 14].includes(cause.code)) return true;
  return false;
};
