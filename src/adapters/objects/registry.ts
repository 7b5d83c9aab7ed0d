import type { Config } from '../../config.ts';
import { createFolderStore } from './folder.ts';
import type { ObjectStore } from './object-store.ts';
import { createS3Store } from './s3.ts';

/** A bucket or a folder, whichever is configured; the configuration allows exactly one. */
export const createObjectStore = (config: Pick<Config, 'S3_BUCKET' | 'OBJECTS_DIR' | 'AWS_REGION' | 'AWS_ENDPOINT_URL'>): ObjectStore =>
  config.S3_BUCKET ? createS3Store({ bucket: config.S3_BUCKET, region: config.AWS_REGION, endpoint: config.AWS_ENDPOINT_URL }) : createFolderStore(config.OBJECTS_DIR!);
