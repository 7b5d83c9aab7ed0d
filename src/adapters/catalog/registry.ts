import type { Config } from '../../config.ts';
import type { Catalog } from './catalog.ts';
import { createGlueCatalog } from './glue.ts';
import { createLocalCatalog } from './local.ts';

/** Glue for a bucket; a folder needs no catalogue. */
export const createCatalog = (config: Config): Catalog => (config.S3_BUCKET ? createGlueCatalog(config) : createLocalCatalog());
