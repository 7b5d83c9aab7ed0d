import { fileURLToPath } from 'node:url';
import type { DataConverter } from '@temporalio/common';
import { bundleWorkflowCode, NativeConnection, Runtime, Worker, type WorkerOptions } from '@temporalio/worker';
import { StepInterceptor } from './activities/failures.ts';
import type { Activities } from './activities/index.ts';
import { connectionOptions } from './client/temporal.ts';
import type { Config } from './config.ts';
import { FAILURE_CONVERTER_PATH } from './crypto/payload-codec.ts';
import { type Queue, QUEUES, queueName } from './domain/activities.ts';
import { type Log, temporalLogger } from './telemetry/log.ts';

export interface Workers {
  /** Names of queues whose worker polls. */
  polling(): Queue[];
  /** Lets running activities finish within the grace time, cancels the rest, and disconnects. */
  stop(): Promise<void>;
  /** Settles when all workers have stopped; rejects when one broke. */
  readonly done: Promise<void>;
}

interface StartWorkers {
  config: Config;
  log: Log;
  activities: Activities;
  dataConverter: DataConverter;
  queues?: readonly Queue[];
}

/** To be called once, before anything else of Temporal's SDK: its logger and its metrics are per process. */
export const installRuntime = ({ config, log }: Pick<StartWorkers, 'config' | 'log'>): void => {
  Runtime.install({
    logger: temporalLogger(log),
    telemetryOptions: { metrics: { prometheus: { bindAddress: `${config.API_HOST}:${config.WORKER_METRICS_PORT}` } } },
    // We stop workers ourselves, after the API has stopped taking requests.
    shutdownSignals: [],
  });
};

/**
 * Per queue: how many activities run at once, and how many start per second over all workers.
 *
 * The rate is kept by the server, for the vendor's sake; the slots are kept here, for this process's.
 * Recordings stream in 8 MiB parts, so twenty of them hold about 300 MB at worst.
 */
const limits = (config: Config): Record<Queue, Partial<WorkerOptions>> => ({
  workflows: { maxConcurrentActivityTaskExecutions: 100, maxCachedWorkflows: 1_000, maxConcurrentWorkflowTaskExecutions: 40 },
  recordings: { maxConcurrentActivityTaskExecutions: 20, maxTaskQueueActivitiesPerSecond: config.RECORDINGS_PER_SECOND },
  llm: { maxConcurrentActivityTaskExecutions: 20, maxTaskQueueActivitiesPerSecond: config.LLM_PER_SECOND },
  crm: { maxConcurrentActivityTaskExecutions: 10, maxTaskQueueActivitiesPerSecond: config.CRM_PER_SECOND },
  // Telegram takes 30 messages a second from a bot; slow receivers keep nobody waiting but one another.
  messages: { maxConcurrentActivityTaskExecutions: 20, maxTaskQueueActivitiesPerSecond: 20 },
  // How fast a project's calls are begun is kept by its lines; dialling is one short request.
  voice: { maxConcurrentActivityTaskExecutions: 100 },
  // A batch of rows or a day's files in memory each.
  warehouse: { maxConcurrentActivityTaskExecutions: 2 },
});

/** Starts a worker for each queue. @throws when Temporal cannot be reached */
export const startWorkers = async ({ config, log, activities, dataConverter, queues = servedQueues(config) }: StartWorkers): Promise<Workers> => {
  const connection = await NativeConnection.connect(connectionOptions(config));
  const workflowBundle = queues.includes('workflows') ? await workflowBundleOf(config, log) : undefined;
  const workers = new Map<Queue, Worker>();
  for (const queue of queues) {
    workers.set(
      queue,
      await Worker.create({
        connection,
        namespace: config.TEMPORAL_NAMESPACE,
        taskQueue: queueName(queue),
        dataConverter,
        activities: activities[queue],
        ...(queue === 'workflows' && workflowBundle ? { workflowBundle } : {}),
        interceptors: { activity: [() => ({ inbound: new StepInterceptor() })] },
        shutdownGraceTime: config.SHUTDOWN_GRACE,
        // A grace time that activities ignore must not keep the process alive for ever.
        shutdownForceTime: config.SHUTDOWN_GRACE + 10_000,
        ...limits(config)[queue],
      }),
    );
  }
  const running = Promise.all([...workers.values()].map((worker) => worker.run()));
  const stop = (): void => {
    for (const worker of workers.values()) if (worker.getState() === 'RUNNING') worker.shutdown();
  };
  // One broken worker takes the others down: a process that serves half its queues looks healthy and is not.
  const done = running.then(() => {}).finally(async () => {
    stop();
    await connection.close().catch(() => {});
  });
  // Whoever asked for the stop sees its error; until then it is kept from being unhandled.
  done.catch(() => {});
  return {
    polling: () => [...workers].filter(([, worker]) => worker.getState() === 'RUNNING').map(([queue]) => queue),
    stop: () => {
      stop();
      return done;
    },
    done,
  };
};

const servedQueues = (config: Config): Queue[] => {
  const named = config.WORKER_QUEUES.split(',').map((name) => name.trim());
  return QUEUES.filter((queue) => named.includes(queue));
};

/** The bundle that `npm run build` made, or one made now for development. */
const workflowBundleOf = async (config: Config, log: Log): Promise<NonNullable<WorkerOptions['workflowBundle']>> => {
  if (config.WORKFLOW_BUNDLE) return { codePath: config.WORKFLOW_BUNDLE };
  return bundleWorkflows(log);
};

/** Bundles the workflows with all that the sandbox they run in needs. */
export const bundleWorkflows = (log?: Log): Promise<{ code: string }> =>
  bundleWorkflowCode({
    workflowsPath: fileURLToPath(new URL(`./workflows/index${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)),
    failureConverterPath: FAILURE_CONVERTER_PATH,
    ...(log ? { logger: temporalLogger(log) } : {}),
  });
