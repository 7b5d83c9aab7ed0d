import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { type Config, loadConfig } from '../../src/config.ts';
import type { CallKey } from '../../src/domain/call.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { createActivities, DEFAULT_PROJECT, wire, type Wiring } from '../../src/wiring.ts';
import { startWorkers, type Workers } from '../../src/workers.ts';
import { complete } from './config.ts';
import { ffmpegPath, startTestSandbox, type TestSandbox } from './sandbox.ts';

/** The whole product in this process, against a real Temporal server and the sandbox. */
export interface TestSystem {
  config: Config;
  wiring: Wiring;
  sandbox: TestSandbox;
  folder: string;
  key(callId: string): CallKey;
  /** Reads a window of the last seven days and waits for its report. */
  runWindow(): Promise<ExecutionReport>;
  startWorkers(): Promise<void>;
  stopWorkers(): Promise<void>;
  stop(): Promise<void>;
}

export interface SystemOptions {
  server: TestWorkflowEnvironment;
  sandbox?: TestSandbox;
  env?: Record<string, string>;
  folder?: string;
}

let runs = 0;

export const startSystem = async ({ server, env = {}, ...given }: SystemOptions): Promise<TestSystem> => {
  const folder = given.folder ?? (await mkdtemp(join(tmpdir(), 'aftercall-test-')));
  const sandbox = given.sandbox ?? (await startTestSandbox(folder));
  const config = loadConfig({
    ...complete,
    ...sandbox.env,
    TEMPORAL_ADDRESS: server.address,
    TEMPORAL_NAMESPACE: server.namespace ?? 'default',
    OBJECTS_DIR: join(folder, 'objects'),
    FFMPEG_PATH: ffmpegPath(),
    RECORDING_FIRST_LOOK: '1s',
    RETRY_FIRST: '1s',
    RETRY_ATTEMPTS: '3',
    LOG_LEVEL: 'error',
    INGEST_SETTLE: '2m',
    ...env,
  });
  const log = createLog(config, 'test', 2);
  const wiring = await wire(config, log);
  let workers: Workers | undefined;
  const system: TestSystem = {
    config,
    wiring,
    sandbox,
    folder,
    key: (callId) => ({ project: DEFAULT_PROJECT, callId }),
    async runWindow() {
      runs += 1;
      const handle = await wiring.schedules.runWindow({ workflowId: `ingest/default/webex/test-${process.pid}-${runs}` });
      return (await handle.result()) as ExecutionReport;
    },
    async startWorkers() {
      workers = await startWorkers({ config, log, activities: createActivities(wiring), dataConverter: wiring.converter });
    },
    async stopWorkers() {
      await workers?.stop();
      workers = undefined;
    },
    async stop() {
      await system.stopWorkers();
      await wiring.close();
      if (!given.sandbox) await sandbox.stop();
      if (!given.folder) await rm(folder, { recursive: true, force: true });
    },
  };
  await system.startWorkers();
  return system;
};
