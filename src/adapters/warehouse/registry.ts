import type { Config } from '../../config.ts';
import { createAthena } from './athena.ts';
import { createDuckDb } from './duckdb.ts';
import type { Warehouse } from './warehouse.ts';

/** DuckDB over a folder, Athena over a bucket; the configuration allows nothing else. */
export const createWarehouse = (config: Config): Warehouse => (config.OBJECTS_DIR ? createDuckDb(config.OBJECTS_DIR) : createAthena(config));
