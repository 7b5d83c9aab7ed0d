import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime } from '@temporalio/worker';

/** Makes the SDK load its Temporal CLI into the folder given. It does so when it starts a server: one is started and ended. */
const [, , downloadDir] = process.argv;
if (!downloadDir) throw new Error('Usage: download-with-sdk.ts FOLDER');
Runtime.install({ logger: new DefaultLogger('ERROR') });
const environment = await TestWorkflowEnvironment.createLocal({ server: { executable: { type: 'cached-download', downloadDir }, log: { format: 'pretty', level: 'never' } } });
await environment.teardown();
// The SDK's native threads would keep it alive.
process.exit(0);
