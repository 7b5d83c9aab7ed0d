import { join } from 'node:path';
import { startAbt } from '../../sandbox/abt/server.ts';
import { startAmoCrm } from '../../sandbox/amocrm/server.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import { startOpenAI } from '../../sandbox/openai/server.ts';
import { startReceiver } from '../../sandbox/receiver/server.ts';
import { type RetellOptions, startRetell } from '../../sandbox/retell/server.ts';
import { startSalesforce } from '../../sandbox/salesforce/server.ts';
import type { Fault, LedgerEntry, SandboxServer } from '../../sandbox/server.ts';
import { callingWith, sandboxSettings, tellingTo } from '../../sandbox/settings.ts';
import { startTelegram } from '../../sandbox/telegram/server.ts';
import { startWebex } from '../../sandbox/webex/server.ts';
import type { SampleCall } from '../../sandbox/calls/script.ts';

/** The stand-ins, in this process, with the environment that points the product at them. */
export interface PlayedSystems {
  webex: SandboxServer;
  openai: SandboxServer;
  salesforce: SandboxServer;
  amocrm: SandboxServer;
  env: Record<string, string>;
  stop(): Promise<void>;
}

export interface TestSandbox extends PlayedSystems {
  telegram: SandboxServer;
  receiver: SandboxServer;
  abt: SandboxServer;
  /** Beside `env`: has messages sent to Telegram and the receiver, and tracking events to theirs. */
  telling: Record<string, string>;
}

export const ffmpegPath = (): string => process.env['FFMPEG_PATH'] ?? 'ffmpeg';

export const startTestSandbox = async (folder: string, calls: readonly SampleCall[] = SAMPLE_CALLS): Promise<TestSandbox> => {
  const files = { calls, audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath() };
  const webex = await startWebex({ ...files, dataFolder: join(folder, 'sandbox') });
  const openai = await startOpenAI(files);
  const salesforce = await startSalesforce({});
  const amocrm = await startAmoCrm({ ...files, dataFolder: join(folder, 'sandbox') });
  const telegram = await startTelegram();
  const receiver = await startReceiver();
  const abt = await startAbt();
  const urls = { webex: webex.url, openai: openai.url, salesforce: salesforce.url, amocrm: amocrm.url, telegram: telegram.url, receiver: receiver.url, abt: abt.url };
  return {
    webex,
    openai,
    salesforce,
    amocrm,
    telegram,
    receiver,
    abt,
    env: sandboxSettings(urls),
    telling: tellingTo(urls),
    stop: async () => {
      await Promise.all([webex.close(), openai.close(), salesforce.close(), amocrm.close(), telegram.close(), receiver.close(), abt.close()]);
    },
  };
};

/** Retell beside the others, for tests that place calls or take in what Retell tells. `env` leads the product to it. */
export const startRetellSandbox = async (folder: string, options: Pick<RetellOptions, 'port' | 'speed' | 'webhookUrl'> = {}): Promise<SandboxServer & { env: Record<string, string>; control: (path: string, body: object) => Promise<unknown> }> => {
  const retell = await startRetell({ audioFolder: AUDIO_FOLDER, ffmpegPath: ffmpegPath(), dataFolder: join(folder, 'retell'), ...options });
  return { ...retell, env: { ...callingWith({ retell: retell.url }), OUTBOUND_ALLOW: '127.0.0.1' }, control: (path, body) => control(retell, path, body) };
};

/** Asks a stand-in's control route, `/_sandbox/…`. */
export const control = async (server: SandboxServer, path: string, body: object): Promise<unknown> => {
  const answer = await fetch(`${server.url}/_sandbox/${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) });
  if (!answer.ok) throw new Error(`The sandbox answered ${answer.status} to ${path}: ${await answer.text()}`);
  return answer.json();
};

/** Switches faults on. They are used up by the requests that meet them. */
export const addFaults = async (server: SandboxServer, ...faults: Fault[]): Promise<void> => {
  await fetch(`${server.url}/_sandbox/faults`, { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(faults) });
};

export const clearFaults = async (server: SandboxServer): Promise<void> => {
  await fetch(`${server.url}/_sandbox/faults`, { method: 'DELETE' });
};

/** What the stand-in itself says it did: the witness that our own records are held against. */
export const ledgerOf = async (server: SandboxServer, kind?: string): Promise<LedgerEntry[]> => {
  const ledger = (await (await fetch(`${server.url}/_sandbox/ledger`)).json()) as LedgerEntry[];
  return kind ? ledger.filter((entry) => entry.kind === kind) : ledger;
};
