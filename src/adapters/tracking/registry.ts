import type { Config, SettingProblem, TrackingConfig } from '../../config.ts';
import { type Guard, guardOf } from '../http/guard.ts';
import { createHttpSink } from './http.ts';
import { createLogSink, type WriteEvent } from './log.ts';
import type { SinkName, TrackingSink } from './sink.ts';
import { AWS_QUEUE, createSqsSink } from './sqs.ts';

interface SinkDependencies {
  config: TrackingConfig;
  /** Given when a project's people have named the address. */
  guard?: Guard | undefined;
  writeEvent: WriteEvent;
}

/** Every sink by its name. A new one is a file beside this, a line here and one in `SINKS`. Its settings were checked as a whole. */
const MAKE: Record<SinkName, (dependencies: SinkDependencies) => TrackingSink> = {
  http: ({ config, guard }) => createHttpSink({ url: config.TRACKING_URL!, secrets: config.TRACKING_SECRETS!, guard: guard ?? guardOf(config) }),
  sqs: ({ config, guard }) => {
    const { TRACKING_SQS_ACCESS_KEY_ID: accessKeyId, TRACKING_SQS_SECRET_ACCESS_KEY: secretAccessKey } = config;
    return createSqsSink({ queueUrl: config.TRACKING_SQS_QUEUE_URL!, region: config.AWS_REGION, credentials: accessKeyId && secretAccessKey ? { accessKeyId, secretAccessKey } : undefined, guard });
  },
  log: ({ writeEvent }) => createLogSink(writeEvent),
};

export const createTrackingSink = (dependencies: SinkDependencies): TrackingSink => MAKE[dependencies.config.TRACKING_SINK](dependencies);

/** What a project may not do that an installation may: use its log and its rights in AWS, or have requests signed for other hosts. */
export const projectSinkProblems = (values: Partial<Config>): SettingProblem[] => {
  if (values.TRACKING_SINK === 'log') return [{ name: 'TRACKING_SINK', problem: 'cannot be log: that is the installation\'s. Use http or sqs.' }];
  if (values.TRACKING_SINK !== 'sqs') return [];
  const problems: SettingProblem[] = [];
  if (values.TRACKING_SQS_QUEUE_URL !== undefined && !AWS_QUEUE.test(values.TRACKING_SQS_QUEUE_URL)) problems.push({ name: 'TRACKING_SQS_QUEUE_URL', problem: 'has to be a queue of AWS: https://sqs.<region>.amazonaws.com/<account>/<name>.' });
  for (const name of ['TRACKING_SQS_ACCESS_KEY_ID', 'TRACKING_SQS_SECRET_ACCESS_KEY'] as const) if (values[name] === undefined) problems.push({ name, problem: "is not set. A project's queue is used with the project's own credentials." });
  return problems;
};
