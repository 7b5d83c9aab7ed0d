import { AlreadyExistsException, CreateDatabaseCommand, CreateTableCommand, EntityNotFoundException, GetTableCommand, GlueClient, UpdateTableCommand } from '@aws-sdk/client-glue';
import type { Config } from '../../config.ts';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import type { WarehouseTable } from '../../domain/warehouse-tables.ts';
import { athenaTable } from '../warehouse/table-definitions.ts';

type GlueConfig = Pick<Config, 'AWS_REGION' | 'AWS_ENDPOINT_URL' | 'GLUE_DATABASE'> & { S3_BUCKET: string };

/** Makes the warehouse's tables known in the AWS Glue Data Catalog, where Athena finds them. Each is looked at once per process. */
export const createGlueTables = (config: GlueConfig) => {
  const client = new GlueClient({ region: config.AWS_REGION, ...(config.AWS_ENDPOINT_URL ? { endpoint: config.AWS_ENDPOINT_URL } : {}) });
  const ready = new Set<string>();

  const ensure = async (project: string, form: 'json' | 'parquet', table: WarehouseTable, abort: { abortSignal: AbortSignal }): Promise<void> => {
    const { name, columns, location, library, input, output, properties } = athenaTable(config.S3_BUCKET, project, form, table);
    if (ready.has(name)) return;
    const definition = {
      Name: name,
      Description: `Warehouse table "${table}", written by Aftercall.`,
      TableType: 'EXTERNAL_TABLE',
      Parameters: properties,
      PartitionKeys: [{ Name: 'dt', Type: 'string' }],
      StorageDescriptor: {
        Columns: columns.map((column) => ({ Name: column.name, Type: column.type, Comment: column.about.slice(0, 255) })),
        Location: location,
        InputFormat: input,
        OutputFormat: output,
        SerdeInfo: { SerializationLibrary: library, Parameters: { 'serialization.format': '1' } },
      },
    };
    const existing = await client.send(new GetTableCommand({ DatabaseName: config.GLUE_DATABASE, Name: name }), abort).catch((error: unknown) => {
      // Says the same of a missing database and of a missing table.
      if (error instanceof EntityNotFoundException) return undefined;
      throw error;
    });
    if (!existing?.Table) {
      await orExists(client.send(new CreateDatabaseCommand({ DatabaseInput: { Name: config.GLUE_DATABASE, Description: 'Phone calls' } }), abort));
      await orExists(client.send(new CreateTableCommand({ DatabaseName: config.GLUE_DATABASE, TableInput: definition }), abort));
    } else {
      const known = new Set(existing.Table.StorageDescriptor?.Columns?.map(({ Name }) => Name));
      // An older version's table gains the columns that have come since, and the days that are looked at now.
      const isOlder = columns.some((column) => !known.has(column.name)) || Object.entries(properties).some(([property, value]) => existing.Table?.Parameters?.[property] !== value);
      if (isOlder) await client.send(new UpdateTableCommand({ DatabaseName: config.GLUE_DATABASE, TableInput: definition }), abort);
    }
    ready.add(name);
  };

  /** @throws STORAGE_UNAVAILABLE when Glue cannot be asked or refuses */
  return async (project: string, table: WarehouseTable, signal: AbortSignal): Promise<void> => {
    try {
      // Both, whichever is written: queries read the two as one.
      for (const form of ['json', 'parquet'] as const) await ensure(project, form, table, { abortSignal: signal });
    } catch (error) {
      signal.throwIfAborted();
      throw new AftercallError('STORAGE_UNAVAILABLE', `Registering the warehouse table ${table} in Glue failed (${(error as Error).name}: ${messageOf(error)}).`, { advice: 'Check GLUE_DATABASE and what the credentials may do in Glue; it is tried again.', cause: error });
    }
  };
};

const orExists = async (work: Promise<unknown>): Promise<void> => {
  await work.catch((error: unknown) => {
    if (!(error instanceof AlreadyExistsException)) throw error;
  });
};
