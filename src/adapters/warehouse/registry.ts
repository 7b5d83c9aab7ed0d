import { type Config, snowflakeConfig } from '../../config.ts';
import { createAthena } from './athena/counts.ts';
import { createAthenaEngine } from './athena/engine.ts';
import { createDuckDb } from './duckdb.ts';
import { createDuckDbEngine } from './duckdb-engine.ts';
import type { QueryEngine } from './engine.ts';
import { createSnowflakeEngine } from './snowflake/engine.ts';
import type { Warehouse } from './warehouse.ts';

/** Counts the call table where it lies: DuckDB over a folder, Athena over a bucket; the configuration allows nothing else. */
export const createWarehouse = (config: Config): Warehouse => (config.OBJECTS_DIR ? createDuckDb(config.OBJECTS_DIR) : createAthena(config));

/** Answers the analytics' queries: Snowflake where it is set up, else whatever reads the files where they lie. */
export const createQueryEngine = (config: Config): QueryEngine => {
  const snowflake = snowflakeConfig(config);
  if (snowflake) return createSnowflakeEngine(snowflake);
  return config.OBJECTS_DIR ? createDuckDbEngine(config.OBJECTS_DIR) : createAthenaEngine(config);
};
