import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Config, loadConfig, paceOf } from '../../src/config.ts';
import type { CallRow } from '../../src/db/calls.ts';
import type { CallDetails, CallKey, CallState, CallVersion } from '../../src/domain/call.ts';
import type { CallCursor } from '../../src/domain/window.ts';
import type { Step } from '../../src/domain/steps.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { createLog } from '../../src/telemetry/log.ts';
import { DEFAULT_PROJECT } from '../../src/domain/ids.ts';
import { createActivities, wire, type Wiring } from '../../src/wiring.ts';
import { startWorkers, type Workers } from '../../src/workers.ts';
import { complete } from './config.ts';
import { anyDatabase } from './postgres.ts';
import { ffmpegPath, type PlayedSystems, startTestSandbox } from './sandbox.ts';

/** The whole product in this process, against a real Temporal server and the sandbox. */
export interface TestSystem {
  config: Config;
  /** What `config` was read from; starts another process with the same settings. */
  env: Record<string, string>;
  wiring: Wiring;
  sandbox: PlayedSystems;
  folder: string;
  key(callId: string): CallKey;
  /** Reads a window of the last seven days and waits for its report. */
  runWindow(): Promise<ExecutionReport>;
  /** Stages a call of the sandbox and starts its workflow, without a window. */
  startCall(callId: string, from?: Step): Promise<CallVersion>;
  /** Waits until the call is in a state. */
  until(callId: string, ...states: CallState[]): Promise<CallRow>;
  startWorkers(): Promise<void>;
  stopWorkers(): Promise<void>;
  stop(): Promise<void>;
}

export interface SystemOptions {
  /** A Temporal server. */
  server: { address: string };
  sandbox?: PlayedSystems;
  env?: Record<string, string>;
  folder?: string;
}

let runs = 0;

export const startSystem = async ({ server, env = {}, ...given }: SystemOptions): Promise<TestSystem> => {
  const folder = given.folder ?? (await mkdtemp(join(tmpdir(), 'aftercall-test-')));
  const sandbox = given.sandbox ?? (await startTestSandbox(folder));
  const environment: Record<string, string> = {
    ...complete,
    ...(env['DATABASE_URL'] ? {} : { DATABASE_URL: await anyDatabase() }),
    ...sandbox.env,
    TEMPORAL_ADDRESS: server.address,
    OBJECTS_DIR: join(folder, 'objects'),
    FFMPEG_PATH: ffmpegPath(),
    RECORDING_FIRST_LOOK: '1s',
    RETRY_FIRST: '1s',
    RETRY_ATTEMPTS: '3',
    LOG_LEVEL: 'error',
    INGEST_SETTLE: '2m',
    WAREHOUSE_GRACE: '1s',
    ...(process.env['WORKFLOW_BUNDLE'] ? { WORKFLOW_BUNDLE: process.env['WORKFLOW_BUNDLE'] } : {}),
    ...env,
  };
  const config = loadConfig(environment);
  const log = createLog(config, 'test', 2);
  const wiring = await wire(config, log);
  let workers: Workers | undefined;
  const system: TestSystem = {
    config,
    env: environment,
    wiring,
    sandbox,
    folder,
    key: (callId) => ({ project: DEFAULT_PROJECT, callId }),
    async runWindow() {
      runs += 1;
      const handle = await wiring.schedules.runWindow({ workflowId: `ingest/default/webex/test-${process.pid}-${runs}` });
      return (await handle.result()) as ExecutionReport;
    },
    async startCall(callId, from = 'recording') {
      const source = (await wiring.adaptersOf(DEFAULT_PROJECT)).sources.get('webex');
      let details: CallDetails | undefined;
      for (let cursor: CallCursor | undefined, more = true; more && !details; more = cursor !== undefined) {
        const page = await source.listCalls({ fromMs: Date.now() - 7 * 86_400_000, toMs: Date.now(), signal: AbortSignal.timeout(30_000), ...(cursor ? { cursor } : {}) });
        details = page.calls.find((call) => call.callId === callId);
        cursor = page.next;
      }
      if (!details) throw new Error(`The sandbox has no call ${callId}.`);
      const call = { ...system.key(callId), version: 1 };
      await wiring.calls.stage(DEFAULT_PROJECT, [details], config.AUTO_PROCESS ? 'staged' : 'awaiting_approval');
      await wiring.calls.openVersion(call, { from, state: config.AUTO_PROCESS ? 'staged' : 'awaiting_approval' });
      await wiring.callsClient.start({ call, source: 'webex', from, autoProcess: config.AUTO_PROCESS, mode: 'unless-completed', pace: paceOf(config) });
      return call;
    },
    async until(callId, ...states) {
      for (let left = 2_400; left > 0; left -= 1) {
        const call = await wiring.calls.get(system.key(callId));
        if (states.includes(call.state)) return call;
        await sleep(100);
      }
      const call = await wiring.calls.get(system.key(callId));
      throw new Error(`Call ${callId} is ${call.state} (${call.step ?? ''}, ${call.attention?.message ?? call.reason ?? ''}), not ${states.join(' or ')}.`);
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
