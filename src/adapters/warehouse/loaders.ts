import { type Config, snowflakeConfig } from '../../config.ts';
import type { WarehouseTable } from '../../domain/warehouse-tables.ts';
import { createGlueTables } from '../catalog/glue-tables.ts';
import { createSnowflakeClient } from './snowflake/client.ts';
import { createSnowflakeLoader } from './snowflake/load.ts';
import type { TableLoader } from './table-loader.ts';

/** Snowflake, where it is configured. */
export const createTableLoader = (config: Config): TableLoader | undefined => {
  const snowflake = snowflakeConfig(config);
  return snowflake && createSnowflakeLoader(createSnowflakeClient(snowflake));
};

/** Makes tables of files known in Glue for a bucket; a folder needs no catalogue. */
export const createTableRegister = (config: Config): ((project: string, table: WarehouseTable, signal: AbortSignal) => Promise<void>) =>
  config.S3_BUCKET ? createGlueTables({ ...config, S3_BUCKET: config.S3_BUCKET }) : async () => {};
