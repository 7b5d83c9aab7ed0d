import { ABT_SECRETS } from './abt/server.ts';
import { AMOCRM_CLIENT } from './amocrm/server.ts';
import { ASSEMBLYAI_KEY } from './assemblyai/server.ts';
import { DEEPGRAM_KEY } from './deepgram/server.ts';
import { OPENAI_KEY } from './openai/server.ts';
import { PYANNOTE_KEY } from './pyannote/server.ts';
import { RECEIVER_SECRETS } from './receiver/server.ts';
import { RETELL_ACCOUNT } from './retell/server.ts';
import { MANAGED_ACCOUNTS_OWNER } from './salesforce/seed.ts';
import { SALESFORCE_CLIENT } from './salesforce/server.ts';
import { SNOWFLAKE_ACCOUNT } from './snowflake/server.ts';
import { TELEGRAM_BOT } from './telegram/server.ts';
import { WEBEX_CLIENT } from './webex/server.ts';

/** The stand-ins, and where each listens. */
export interface SandboxUrls {
  webex: string;
  openai: string;
  salesforce: string;
  amocrm: string;
  /** Where messages go; a test that sends none has none. */
  telegram?: string;
  receiver?: string;
  /** Which outbound calls are placed with; a test that places none has none. */
  retell?: string;
  /** Where tracking events go. */
  abt?: string;
  /** A warehouse, for whoever gives it a key. */
  snowflake?: string;
}

/** Those that stand in for a system which the settings have to name. */
export type StandIn = 'webex' | 'openai' | 'salesforce' | 'amocrm';

/** What leads the product to each stand-in: its address and the credentials that it takes. */
export const SETTINGS_FOR: { [Name in StandIn]: (url: string) => Record<string, string> } = {
  webex: (url) => ({
    WEBEX_BASE_URL: url,
    WEBEX_TOKEN_URL: `${url}/v1/access_token`,
    WEBEX_CLIENT_ID: WEBEX_CLIENT.clientId,
    WEBEX_CLIENT_SECRET: WEBEX_CLIENT.clientSecret,
    WEBEX_REFRESH_TOKEN: WEBEX_CLIENT.refreshToken,
  }),
  openai: (url) => ({ OPENAI_BASE_URL: `${url}/v1`, OPENAI_API_KEY: OPENAI_KEY }),
  salesforce: (url) => ({
    SFDC_URL: url,
    SFDC_CLIENT_ID: SALESFORCE_CLIENT.clientId,
    SFDC_CLIENT_SECRET: SALESFORCE_CLIENT.clientSecret,
    MANAGED_ACCOUNTS_OWNER,
    CONSUMER_HOTLINE: '+65 6000 0199',
  }),
  amocrm: (url) => ({
    AMOCRM_BASE_URL: url,
    AMOCRM_CLIENT_ID: AMOCRM_CLIENT.clientId,
    AMOCRM_CLIENT_SECRET: AMOCRM_CLIENT.clientSecret,
    AMOCRM_REFRESH_TOKEN: AMOCRM_CLIENT.refreshToken,
    AMOCRM_REDIRECT_URI: AMOCRM_CLIENT.redirectUri,
    AMOCRM_ACCOUNT_ID: AMOCRM_CLIENT.accountId,
  }),
};

/** Stand-ins that are used only by whoever names them. */
export interface ChoiceUrls {
  deepgram: string;
  assemblyai: string;
  pyannote: string;
}

/** What leads to each of them, instead of or beside what is used otherwise. */
export const CHOICES: { [Name in keyof ChoiceUrls]: (url: string) => Record<string, string> } = {
  deepgram: (url) => ({ STT_PROVIDER: 'deepgram', STT_BASE_URL: url, STT_API_KEY: DEEPGRAM_KEY }),
  assemblyai: (url) => ({ STT_PROVIDER: 'assemblyai', STT_BASE_URL: url, STT_API_KEY: ASSEMBLYAI_KEY }),
  pyannote: (url) => ({ DIARIZATION_PROVIDER: 'pyannoteai', DIARIZATION_BASE_URL: url, DIARIZATION_API_KEY: PYANNOTE_KEY }),
};

/** Links into the stand-ins lead to this machine, where links from outside may lead nowhere else. */
export const outboundTo = (urls: SandboxUrls): string => Object.values(urls as unknown as Record<string, string>).map((url) => new URL(url).host).join(',');

/** Messages stay in the house, too: nobody's bot is given these addresses, and no stand-in's bot to Telegram itself. */
export const messagesTo = ({ telegram }: SandboxUrls): Record<string, string> => (telegram ? { TELEGRAM_BASE_URL: telegram } : {});

/** What has tracking events sent to the stand-in. */
export const trackedBy = (abt: string): Record<string, string> => ({ TRACKING_SINK: 'http', TRACKING_URL: `${abt}/events`, TRACKING_SECRETS: ABT_SECRETS[0] });

/** What has everything that can be told told to the stand-ins. */
export const tellingTo = ({ telegram, receiver, abt }: SandboxUrls): Record<string, string> => ({
  ...(telegram ? { TELEGRAM_BASE_URL: telegram, TELEGRAM_BOT_TOKEN: TELEGRAM_BOT.token, TELEGRAM_RUNS_CHAT: TELEGRAM_BOT.chats.team, TELEGRAM_ALERTS_CHAT: TELEGRAM_BOT.chats.alerts } : {}),
  ...(abt ? trackedBy(abt) : {}),
  ...(receiver ? { WEBHOOK_URL: `${receiver}/hooks/aftercall`, WEBHOOK_SECRETS: RECEIVER_SECRETS[0] } : {}),
});

/** What has outbound calls placed with the stand-in. */
export const callingWith = ({ retell }: Pick<SandboxUrls, 'retell'>): Record<string, string> => (retell ? { RETELL_BASE_URL: retell, RETELL_API_KEY: RETELL_ACCOUNT.key } : {});

/** What has the warehouse loaded to the stand-in, beside the private key that belongs to its own. */
export const loadedTo = (snowflake: string): Record<string, string> => ({
  WAREHOUSE: 'snowflake',
  SNOWFLAKE_URL: snowflake,
  SNOWFLAKE_ACCOUNT: SNOWFLAKE_ACCOUNT.account,
  SNOWFLAKE_USER: SNOWFLAKE_ACCOUNT.user,
  SNOWFLAKE_WAREHOUSE: SNOWFLAKE_ACCOUNT.warehouse,
  SNOWFLAKE_DATABASE: SNOWFLAKE_ACCOUNT.database,
  SNOWFLAKE_SCHEMA: SNOWFLAKE_ACCOUNT.schema,
});

/** All that are needed, together. */
export const sandboxSettings = (urls: SandboxUrls): Record<string, string> =>
  Object.assign({ OUTBOUND_ALLOW: outboundTo(urls), ...messagesTo(urls), ...callingWith(urls) }, ...(Object.keys(SETTINGS_FOR) as StandIn[]).map((name) => SETTINGS_FOR[name](urls[name]))) as Record<string, string>;
