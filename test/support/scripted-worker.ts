import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { Worker } from '@temporalio/worker';
import { QUEUES, queueName } from '../../src/domain/activities.ts';
import type { bundleWorkflows } from '../../src/workers.ts';
import type { scriptedSteps } from './scripted-steps.ts';

/** Serves all queues with scripted steps while `work` runs. */
export const withScriptedWorkers = async <T>(
  server: TestWorkflowEnvironment,
  workflowBundle: Awaited<ReturnType<typeof bundleWorkflows>>,
  steps: ReturnType<typeof scriptedSteps>,
  work: () => Promise<T>,
): Promise<T> => {
  const workers = await Promise.all(
    QUEUES.map((queue) =>
      Worker.create({
        connection: server.nativeConnection,
        taskQueue: queueName(queue),
        activities: steps.activities[queue],
        // Every workflow task replays from the start: what is not deterministic fails here.
        maxCachedWorkflows: 0,
        ...(queue === 'workflows' ? { workflowBundle } : {}),
      }),
    ),
  );
  const running = Promise.all(workers.map((worker) => worker.run()));
  try {
    return await work();
  } finally {
    for (const worker of workers) worker.shutdown();
    await running;
  }
};
