import {
  AlreadyExistsException,
  BatchCreatePartitionCommand,
  type Column,
  ConcurrentModificationException,
  CreateDatabaseCommand,
  CreateTableCommand,
  EntityNotFoundException,
  GetTableCommand,
  GlueClient,
  type StorageDescriptor,
  UpdateTableCommand,
} from '@aws-sdk/client-glue';
import type { Config } from '../../config.ts';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import { callTableName, callTablePrefix, type Partition, partitionPrefix } from '../../domain/ids.ts';
import { CALL_TABLE_COLUMNS } from '../../domain/metadata.ts';
import type { Catalog } from './catalog.ts';

type GlueConfig = Pick<Config, 'AWS_REGION' | 'AWS_ENDPOINT_URL' | 'GLUE_DATABASE' | 'GLUE_TABLE' | 'S3_BUCKET'>;

/**
 * Hive's own JSON reader rather than OpenX's: AWS warns that the latter's results may differ between
 * runs, and ours is plain JSON with lower-case names, one object per line.
 */
const SERDE = 'org.apache.hive.hcatalog.data.JsonSerDe';
const COLUMNS: Column[] = CALL_TABLE_COLUMNS.map(({ name, type, comment }) => ({ Name: name, Type: type, Comment: comment }));
const PARTITION_KEYS: Column[] = [
  { Name: 'year', Type: 'string' },
  { Name: 'month', Type: 'string' },
];

/** The AWS Glue Data Catalog, where Athena finds the call table. */
export const createGlueCatalog = (config: GlueConfig): Catalog => {
  const client = new GlueClient({ region: config.AWS_REGION, ...(config.AWS_ENDPOINT_URL ? { endpoint: config.AWS_ENDPOINT_URL } : {}) });
  const database = config.GLUE_DATABASE;
  const registered = new Set<string>();
  const tablesReady = new Map<string, Promise<void>>();

  /** A partition's descriptor has to be complete: Athena reads nothing through one that leaves it to the table's. */
  const descriptor = (prefix: string): StorageDescriptor => ({
    Columns: COLUMNS,
    Location: `s3://${config.S3_BUCKET}/${prefix}`,
    InputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
    OutputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
    Compressed: false,
    NumberOfBuckets: -1,
    SerdeInfo: { SerializationLibrary: SERDE, Parameters: { 'serialization.format': '1' } },
    StoredAsSubDirectories: false,
  });
  const tableInput = (project: string) => ({
    Name: callTableName(config.GLUE_TABLE, project),
    Description: 'One row per phone call, written by Aftercall.',
    TableType: 'EXTERNAL_TABLE',
    Parameters: { EXTERNAL: 'TRUE', classification: 'json' },
    PartitionKeys: PARTITION_KEYS,
    StorageDescriptor: descriptor(callTablePrefix(project)),
  });

  const ensureTable = async (project: string, signal?: AbortSignal): Promise<void> => {
    const input = tableInput(project);
    const table = input.Name;
    const abort = signal ? { abortSignal: signal } : {};
    const existing = await client.send(new GetTableCommand({ DatabaseName: database, Name: table }), abort).catch((error: unknown) => {
      // Says the same of a missing database and of a missing table.
      if (error instanceof EntityNotFoundException) return undefined;
      throw error;
    });
    if (!existing?.Table) {
      await orExists(client.send(new CreateDatabaseCommand({ DatabaseInput: { Name: database, Description: 'Phone calls' } }), abort));
      await orExists(client.send(new CreateTableCommand({ DatabaseName: database, TableInput: input }), abort));
      return;
    }
    const columns = existing.Table.StorageDescriptor?.Columns ?? [];
    const clash = COLUMNS.find(({ Name, Type }) => columns.some((column) => column.Name === Name && column.Type !== Type));
    if (clash) {
      throw new AftercallError('CONFIG_INVALID', `The Glue table ${database}.${table} has a column ${clash.Name} of another type than ${clash.Type}.`, {
        advice: 'It is somebody else\'s table, or an old one. Set GLUE_TABLE to another name, or drop the table.',
      });
    }
    // An older version's table gains the columns that have come since; its own are left alone.
    const missing = COLUMNS.filter(({ Name }) => !columns.some((column) => column.Name === Name));
    if (missing.length === 0) return;
    await client.send(
      new UpdateTableCommand({ DatabaseName: database, TableInput: { ...input, StorageDescriptor: { ...input.StorageDescriptor, Columns: [...columns, ...missing] } } }),
      abort,
    );
  };

  /** Looked at once per process and project. */
  const tableOf = async (project: string, signal?: AbortSignal): Promise<string> => {
    const ready = tablesReady.get(project) ?? ensureTable(project, signal);
    tablesReady.set(project, ready);
    await ready.catch((error: unknown) => {
      tablesReady.delete(project);
      throw error;
    });
    return callTableName(config.GLUE_TABLE, project);
  };

  return {
    async ensurePartition(project: string, partition: Partition, { signal } = {}) {
      const name = [project, partition.year, partition.month].join('/');
      if (registered.has(name)) return;
      try {
        const table = await tableOf(project, signal);
        const { Errors = [] } = await client.send(
          new BatchCreatePartitionCommand({
            DatabaseName: database,
            TableName: table,
            PartitionInputList: [{ Values: [partition.year, partition.month], StorageDescriptor: descriptor(partitionPrefix(project, partition)) }],
          }),
          signal ? { abortSignal: signal } : {},
        );
        // It answers 200 whatever became of the single partitions.
        const fault = Errors.find(({ ErrorDetail }) => ErrorDetail?.ErrorCode !== 'AlreadyExistsException')?.ErrorDetail;
        if (fault) throw Object.assign(new Error(fault.ErrorMessage ?? 'no reason given'), { name: fault.ErrorCode ?? 'UnknownError' });
        registered.add(name);
      } catch (error) {
        signal?.throwIfAborted();
        throw explain(error, `partition ${name}`);
      }
    },
  };
};

const orExists = async (work: Promise<unknown>): Promise<void> => {
  await work.catch((error: unknown) => {
    if (!(error instanceof AlreadyExistsException)) throw error;
  });
};

/** Glue's errors that trying again does not mend. */
const FINAL = new Set(['InvalidInputException', 'AccessDeniedException', 'GlueEncryptionException', 'ResourceNumberLimitExceededException', 'UnrecognizedClientException']);

const explain = (error: unknown, what: string): unknown => {
  if (error instanceof AftercallError) return error;
  const { name } = error as Error;
  const message = `Registering ${what} in Glue failed (${name}: ${messageOf(error)}).`;
  if (FINAL.has(name)) return new AftercallError('STORAGE_REJECTED', message, { advice: 'Check GLUE_DATABASE, GLUE_TABLE and what the credentials may do in Glue.', outcome: 'refused', cause: error });
  const advice = error instanceof ConcurrentModificationException ? 'Somebody else was changing the table; it is tried again.' : 'It is tried again.';
  return new AftercallError('STORAGE_UNAVAILABLE', message, { advice, cause: error });
};
