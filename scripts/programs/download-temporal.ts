import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';
import { CACHE } from './find.ts';

/**
 * Lets the Temporal SDK download its CLI and prints the path. A program of its own, because the SDK's
 * runtime can be set up once per process. The SDK downloads when it starts a server: one is started and ended.
 */
Runtime.install({ logger: new DefaultLogger('ERROR') });
const environment = await TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir: CACHE }, log: { format: 'pretty', level: 'never' } } });
await environment.teardown();
const downloaded = (await readdir(CACHE)).find((name) => name.startsWith('temporal-cli-'));
if (!downloaded) throw new Error('the download left no program');
process.stdout.write(join(CACHE, downloaded));
process.exit(0);
