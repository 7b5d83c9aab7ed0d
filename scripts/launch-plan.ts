import { join } from 'node:path';
import { callingWith, messagesTo, outboundTo, type SandboxUrls, SETTINGS_FOR, type StandIn, tellingTo } from '../sandbox/settings.ts';
import { loadConfig, type SettingName } from '../src/config.ts';
import type { LocalState } from './local-state.ts';

/** Settings by name; what is not set is not in it. */
export type Settings = Record<string, string>;

export interface LaunchPlan {
  /** The settings, complete but for the addresses of what is to be started. */
  settings: Settings;
  /** Systems that the environment does not name: the sandbox stands in for them. */
  standIns: StandIn[];
  ownTemporal: boolean;
  ownDatabase: boolean;
  ownObjects: boolean;
  /** What whoever set the environment may not expect. */
  remarks: string[];
}

/** Names the system to use; and what goes with it alone, and must not reach a stand-in. */
const SYSTEMS: Record<StandIn | 'temporal', { address: SettingName; belongings: SettingName[] }> = {
  webex: { address: 'WEBEX_BASE_URL', belongings: ['WEBEX_TOKEN_URL', 'WEBEX_CLIENT_ID', 'WEBEX_CLIENT_SECRET', 'WEBEX_REFRESH_TOKEN', 'WEBEX_ORG_ID'] },
  openai: { address: 'OPENAI_BASE_URL', belongings: ['OPENAI_API_KEY', 'OPENAI_COMPATIBILITY'] },
  salesforce: {
    address: 'SFDC_URL',
    belongings: ['SFDC_CLIENT_ID', 'SFDC_CLIENT_SECRET', 'SFDC_USERNAME', 'SFDC_PRIVATE_KEY', 'SFDC_AUDIENCE', 'SFDC_API_VERSION', 'SFDC_EXTERNAL_ID_FIELD', 'SFDC_BRN_FIELD', 'SFDC_REVENUE_FLAG_FIELD', 'SFDC_CONVERTED_STATUS', 'MANAGED_ACCOUNTS_OWNER'],
  },
  amocrm: { address: 'AMOCRM_BASE_URL', belongings: ['AMOCRM_CLIENT_ID', 'AMOCRM_CLIENT_SECRET', 'AMOCRM_REFRESH_TOKEN', 'AMOCRM_REDIRECT_URI', 'AMOCRM_ACCOUNT_ID'] },
  temporal: { address: 'TEMPORAL_ADDRESS', belongings: ['TEMPORAL_API_KEY', 'TEMPORAL_TLS', 'TEMPORAL_UI_URL'] },
};

/** Where messages go, if somebody has said so. */
const TELLING = ['TELEGRAM_BASE_URL', 'TELEGRAM_BOT_TOKEN', 'TELEGRAM_RUNS_CHAT', 'TELEGRAM_ALERTS_CHAT', 'WEBHOOK_URL', 'WEBHOOK_SECRETS', 'TRACKING_SINK', 'TRACKING_URL'] as const satisfies SettingName[];

/** Calls are minutes old here, not hours, and somebody waits at the terminal: waits are in proportion. */
const AT_HAND: Settings = { RECORDING_FIRST_LOOK: '2s', INGEST_SETTLE: '5m', SHUTDOWN_GRACE: '5s' };

/**
 * Decides what has to be started, from what the environment names.
 *
 * @throws ConfigError naming everything that is missing or wrong, before anything is started
 */
export const planLaunch = (env: NodeJS.ProcessEnv, { folder, state }: { folder: string; state: LocalState }): LaunchPlan => {
  // An empty variable is how shells and files say "not set".
  const given = Object.fromEntries(Object.entries(env).filter((entry): entry is [string, string] => Boolean(entry[1]?.trim())));
  const settings: Settings = { ...AT_HAND, AFTERCALL_KEYS: state.keys, API_TOKEN: state.apiToken, ...given };
  const remarks: string[] = [];
  const missing = (Object.keys(SYSTEMS) as (keyof typeof SYSTEMS)[]).filter((system) => !given[SYSTEMS[system].address]);

  if (missing.includes('openai')) {
    // With a transcription server or provider of its own, its key stays; so does the one that it would have fallen back to.
    const ownProvider = (given['STT_PROVIDER'] ?? 'openai') !== 'openai';
    if (!given['STT_BASE_URL'] && !ownProvider) for (const name of ['STT_API_KEY', 'STT_COMPATIBILITY']) delete settings[name];
    else if (!ownProvider && given['OPENAI_API_KEY']) settings['STT_API_KEY'] ??= given['OPENAI_API_KEY'];
  }
  // One source is enough, and nobody who has calls of their own wants made-up ones beside them.
  const hasCalls = !missing.includes('webex') || !missing.includes('amocrm');
  const standIns = missing.filter((system): system is StandIn => system !== 'temporal' && !(hasCalls && (system === 'webex' || system === 'amocrm')));
  for (const system of missing) {
    if (system !== 'temporal' && !standIns.includes(system)) continue;
    const { address, belongings } = SYSTEMS[system];
    const idle = belongings.filter((name) => given[name]);
    for (const name of belongings) delete settings[name];
    if (idle.length > 0) remarks.push(`${idle.join(', ')} not used: ${address} is not set, so ${system === 'temporal' ? 'a dev server' : 'the sandbox'} is used instead`);
  }

  const plan: LaunchPlan = {
    settings,
    standIns,
    ownTemporal: missing.includes('temporal'),
    ownDatabase: !given['DATABASE_URL'],
    ownObjects: !given['S3_BUCKET'] && !given['OBJECTS_DIR'],
    remarks,
  };
  if (plan.ownDatabase) settings['DATABASE_URL'] = `pglite:${join(folder, 'database')}`;
  if (plan.ownObjects) settings['OBJECTS_DIR'] = join(folder, 'objects');
  if (given['OUTBOUND_ONLY'] && (standIns.length > 0 || plan.ownTemporal)) {
    settings['OUTBOUND_ONLY'] = `${given['OUTBOUND_ONLY']},127.0.0.1`;
    remarks.push('OUTBOUND_ONLY: 127.0.0.1 is added, where what is started here listens');
  }
  const later = 'http://127.0.0.1:1';
  loadConfig({ ...settings, ...standInSettings(standIns, { webex: later, openai: later, salesforce: later, amocrm: later }, settings) });
  return plan;
};

/** The settings that lead to the stand-ins. */
export const standInSettings = (standIns: StandIn[], urls: SandboxUrls, given: Settings): Settings => {
  const settings: Settings = Object.fromEntries(standIns.flatMap((name) => Object.entries(SETTINGS_FOR[name](urls[name]))));
  // What the stand-ins link to may be reached beside what is allowed already.
  settings['OUTBOUND_ALLOW'] = [given['OUTBOUND_ALLOW'], outboundTo(urls)].filter(Boolean).join(',');
  if (!given['TELEGRAM_BASE_URL']) Object.assign(settings, messagesTo(urls));
  // Of played calls people are told on a played phone. Of calls of one's own, only where the settings say so.
  if (standIns.includes('webex') && !TELLING.some((name) => given[name])) Object.assign(settings, tellingTo(urls));
  // Calls are placed for play only where the others are played, and nobody has an account of their own.
  if (standIns.includes('webex') && !given['RETELL_API_KEY'] && !given['RETELL_BASE_URL']) Object.assign(settings, callingWith(urls));
  // A number to tell callers is nothing of the stand-in's: one that is given stays.
  return given['CONSUMER_HOTLINE'] && settings['CONSUMER_HOTLINE'] ? { ...settings, CONSUMER_HOTLINE: given['CONSUMER_HOTLINE'] } : settings;
};
