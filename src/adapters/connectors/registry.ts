import { createHash } from 'node:crypto';
import { type Config, type System, withSystem } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { createAmoCrmSession } from '../amocrm/session.ts';
import type { Buckets } from '../buckets.ts';
import type { Crm } from '../crm/crm.ts';
import { createSalesforce } from '../crm/salesforce.ts';
import { type Guard, guardOf } from '../http/guard.ts';
import { createAmoCrmNotes } from '../notes/amocrm.ts';
import type { CallNotes } from '../notes/notes.ts';
import type { Targets } from '../notify/notifier.ts';
import { readBot } from '../notify/telegram.ts';
import { createSalesforceNotes } from '../notes/salesforce.ts';
import { createRetellClient, type RetellClient } from '../retell/client.ts';
import { createAmoCrm } from '../sources/amocrm.ts';
import type { CallSource } from '../sources/source.ts';
import { createRetellSource } from '../sources/retell.ts';
import { createWebex } from '../sources/webex.ts';
import { createTrackingSink } from '../tracking/registry.ts';
import type { WriteEvent } from '../tracking/log.ts';
import type { TrackingSink } from '../tracking/sink.ts';
import { createRetellVoice } from '../voice/retell.ts';
import type { VoiceProvider } from '../voice/voice-provider.ts';

/** All that one connection to a system can be used for. It keeps the sessions, tokens and rate limits of that system. */
export interface Connected {
  source?: CallSource;
  notes?: CallNotes;
  crm?: Crm;
  /** Who places calls, and how fast its telephony begins them. */
  voice?: {
    provider: VoiceProvider;
    /** A fingerprint of its key: projects that share an account share its lines. */
    account: string;
    callsPerSecond: number;
  };
  /** What Retell alone is asked: recordings, transcripts, the key that its webhooks are signed with. */
  retell?: { client: RetellClient; webhookKey: string };
  /** What leads messages out, secrets included. */
  telegram?: Omit<Targets['telegram'], 'chatId'>;
  webhook?: Targets['webhook'];
  /** Takes what became of voice calls. */
  tracking?: TrackingSink;
  /**
   * Signs in and reads one thing. Writes nothing.
   *
   * @returns what was read, as in "The calls of the last minute were listed."
   */
  check(signal: AbortSignal): Promise<string>;
}

export interface ConnectDependencies {
  /** With the system's settings in place. */
  config: Config;
  credentials: Credentials;
  buckets: Buckets;
  project: string;
  /** Under which name its token is kept, if it has one that rotates. */
  tokenName: string;
  /** Given when a project's people named the address. */
  guard?: Guard | undefined;
  /** Writes a line to the process's log. */
  writeEvent: WriteEvent;
}

/** Every system by its name; undefined where the settings leave it out. A new one is its adapters, a line here and one in `SYSTEMS`. */
const CONNECT: Record<System, (dependencies: ConnectDependencies) => Connected | undefined> = {
  webex: ({ config: all, ...rest }) => {
    const config = withSystem(all, 'webex');
    if (!config) return undefined;
    const source = createWebex({ config, ...rest });
    return {
      source,
      check: async (signal) => {
        const toMs = Date.now();
        await source.listCalls({ fromMs: toMs - 60_000, toMs, signal });
        return 'The calls of the last minute were listed.';
      },
    };
  },

  amocrm: ({ config: all, ...rest }) => {
    const config = withSystem(all, 'amocrm');
    if (!config) return undefined;
    const session = createAmoCrmSession({ config, ...rest });
    return {
      source: createAmoCrm({ session, guard: guardOf(config), timeoutMs: config.UPSTREAM_TIMEOUT }),
      notes: createAmoCrmNotes(session),
      check: async (signal) => {
        const { id } = ((await session.ask({ doing: 'Reading the account', path: '/api/v4/account', signal })) ?? {}) as { id?: unknown };
        if (config.AMOCRM_ACCOUNT_ID && String(id) !== config.AMOCRM_ACCOUNT_ID) {
          throw new AftercallError('CONFIG_INVALID', `AMOCRM_ACCOUNT_ID is ${config.AMOCRM_ACCOUNT_ID}, but the account at AMOCRM_BASE_URL is ${String(id)}.`, { advice: 'Correct AMOCRM_ACCOUNT_ID: webhooks of another account are refused.', outcome: 'refused' });
        }
        return `Account ${String(id)} was read.`;
      },
    };
  },

  salesforce: ({ config: all, guard }) => {
    const config = withSystem(all, 'salesforce');
    if (!config) return undefined;
    const crm = createSalesforce(config, guard);
    return {
      crm,
      notes: createSalesforceNotes(config, guard),
      check: async (signal) => {
        await crm.check(signal);
        return 'Signed in, and its limits were read.';
      },
    };
  },

  telegram: ({ config: all }) => {
    const config = withSystem(all, 'telegram');
    if (!config) return undefined;
    const botToken = config.TELEGRAM_BOT_TOKEN;
    return { telegram: { botToken }, check: async (signal) => `The bot @${await readBot(config, botToken, signal)} was read.` };
  },

  retell: ({ config: all, guard, project }) => {
    const config = withSystem(all, 'retell');
    if (!config) return undefined;
    const client = createRetellClient({ config, guard });
    const provider = createRetellVoice(client);
    return {
      source: createRetellSource({ client, project, guard: guardOf(config), timeoutMs: config.UPSTREAM_TIMEOUT, channels: config.RETELL_CHANNELS }),
      voice: { provider, account: fingerprintOf(config.RETELL_BASE_URL, config.RETELL_API_KEY), callsPerSecond: config.RETELL_CALLS_PER_SECOND },
      retell: { client, webhookKey: config.RETELL_WEBHOOK_KEY ?? config.RETELL_API_KEY },
      check: async (signal) => {
        const { current, limit } = await provider.concurrency(signal);
        return `The limits of the account were read: ${current} of ${limit} lines are in use.`;
      },
    };
  },

  webhook: ({ config: all, guard }) => {
    const config = withSystem(all, 'webhook');
    if (!config) return undefined;
    const { WEBHOOK_URL: url, WEBHOOK_SECRETS: secrets } = config;
    return {
      webhook: { url, secrets },
      check: async () => {
        const strict = guard ?? guardOf(config);
        await strict.check(strict.parse(url));
        return 'The address may be reached. Whether events are taken there, the first one tells.';
      },
    };
  },

  tracking: ({ config: all, guard, writeEvent }) => {
    const config = withSystem(all, 'tracking');
    if (!config) return undefined;
    const tracking = createTrackingSink({ config, guard, writeEvent });
    return { tracking, check: (signal) => tracking.check(signal) };
  },
};

/** Which account of a system it is, without saying how one gets in. */
const fingerprintOf = (...parts: string[]): string => createHash('sha256').update(JSON.stringify(parts)).digest('hex').slice(0, 24);

export const connect = (system: System, dependencies: ConnectDependencies): Connected | undefined => CONNECT[system](dependencies);

/** Systems that calls are read from in windows. */
export const POLLED: readonly System[] = ['webex', 'amocrm', 'retell'];
