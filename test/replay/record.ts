import { writeFile } from 'node:fs/promises';
import { historyToJSON } from '@temporalio/common/lib/proto-utils.js';
import { queueName } from '../../src/domain/activities.ts';
import { bundleWorkflows } from '../../src/workers.ts';
import { startDevServer } from '../support/dev-server.ts';
import { withScriptedWorkers } from '../support/scripted-worker.ts';
import { PACE, shapes, STARTS } from './shapes.ts';

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

/**
 * Plays shapes and writes their histories: those that are named, or all. Run it when a workflow has changed
 * in a compatible way or a shape is new.
 */
const named = process.argv.slice(2);
const chosen = shapes().filter(({ name }) => named.length === 0 || named.includes(name));
const [server, bundle] = await Promise.all([startDevServer(), bundleWorkflows()]);
for (const { name, workflow, input, steps, act, fails } of chosen) {
  const { workflowId, input: standard } = STARTS[workflow](name);
  await withScriptedWorkers(server, bundle, steps, async () => {
    const handle = await server.client.workflow.start(workflow, { workflowId, taskQueue: queueName('workflows'), args: [{ pace: PACE, ...standard, ...input }] });
    await act?.(handle);
    const failed = await handle.result().then(() => undefined, (error: unknown) => error);
    if ((failed !== undefined) !== (fails ?? false)) throw new Error(`${name} did not end as it should.`, { cause: failed });
    const history = await handle.fetchHistory();
    await writeFile(new URL(`./histories/${name}.json`, import.meta.url), `${withoutTraces(historyToJSON(history))}\n`);
    process.stderr.write(`${name}: ${history.events?.length} events\n`);
  });
}
await server.teardown();
