import { writeFile } from 'node:fs/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { queueName } from '../../src/domain/activities.ts';
import { bundleWorkflows } from '../../src/workers.ts';
import { startDevServer } from '../support/dev-server.ts';
import { withScriptedWorkers } from '../support/scripted-worker.ts';
import { shapes } from './shapes.ts';

/** Plays each shape and writes its history. Run it when a workflow has changed in a compatible way or a shape is new. */
/** A committed history tells nothing of the machine that recorded it. */
const withoutTraces = (history: string): string =>
  JSON.stringify(
    JSON.parse(history, (key, value: unknown) => {
      if (key === 'identity') return 'recorder';
      if (key === 'stackTrace') return '';
      // Sticky queues are named after the worker's process and host.
      return key === 'name' && typeof value === 'string' && value.includes('@') ? 'sticky' : value;
    }),
    null,
    1,
  );

const pace = { attempts: 2, firstRetryMs: 10, maxRetryMs: 10, heartbeatTimeoutMs: 30_000 };
const [server, bundle] = await Promise.all([startDevServer(), bundleWorkflows()]);
for (const { name, workflow, input, steps, act } of shapes()) {
  const workflowId = workflow === 'processCall' ? `call/default/${name}` : `ingest/default/webex/${name}`;
  const whole =
    workflow === 'processCall'
      ? { call: { project: 'default', callId: name, version: 1 }, source: 'webex', from: 'recording', autoProcess: true, pace, ...input }
      : { project: 'default', source: 'webex', minutesBack: 60, settleMs: 60_000, pace, ...input };
  await withScriptedWorkers(server, bundle, steps, async () => {
    const handle = await server.client.workflow.start(workflow, { workflowId, taskQueue: queueName('workflows'), args: [whole] });
    await act?.(handle);
    await handle.result();
    const history = await handle.fetchHistory();
    await writeFile(new URL(`./histories/${name}.json`, import.meta.url), `${withoutTraces(historyToJSON(history))}\n`);
    process.stderr.write(`${name}: ${history.events?.length} events\n`);
  });
}
await server.teardown();
