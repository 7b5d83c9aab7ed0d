import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { type HostList, parseHostList } from './adapters/http/hosts.ts';
import { OPENAI_COMPATIBILITIES } from './adapters/openai-capabilities.ts';
import { SINKS } from './adapters/tracking/sink.ts';
import { createKeyRing } from './crypto/key-ring.ts';
import { QUEUES } from './domain/activities.ts';
import { messageOf } from './domain/errors.ts';
import type { Pace, VoicePace } from './domain/messages.ts';
import { DEFAULT_SETTINGS, type ProjectSettings } from './domain/settings.ts';

/**
 * Every setting of an installation, read from environment variables and validated at once.
 *
 * `SETTINGS` is the one list: `.env.example` and the README's table are checked against it.
 */

const text = z.string().trim().min(1);
const url = z.url({ protocol: /^https?$/, error: 'must be an http(s) URL' }).transform((value) => value.replace(/\/+$/, ''));
const port = z.coerce.number().int().min(0).max(65_535);
const whole = z.coerce.number().int().positive();
const flag = z.enum(['true', 'false'], { error: 'must be true or false' }).transform((value) => value === 'true');
const duration = z
  .string()
  .regex(/^\d+(s|m|h|d)$/, 'must be a whole number followed by s, m, h or d, e.g. 15m')
  .transform((value) => Number.parseInt(value, 10) * { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }[value.at(-1) as 's' | 'm' | 'h' | 'd']);

/** Who is on each of two channels. */
const channels = z.enum(['agent,customer', 'customer,agent']).transform((value) => value.split(',') as ('agent' | 'customer')[]);

const chat = z.string().regex(/^(-?\d{1,20}|@[A-Za-z]\w{3,31})$/, 'must be a chat ID (digits, groups with a minus) or @channel');
const someTime = duration.refine((ms) => ms > 0, 'must be longer than nothing');
/** As Standard Webhooks writes them: `whsec_` and base64 of 24 bytes or more. */
const webhookSecrets = text.transform((value) => value.split(',').map((secret) => secret.trim())).refine((secrets) => secrets.length <= 2 && secrets.every((secret) => /^whsec_[A-Za-z0-9+/]{32,}={0,2}$/.test(secret)), 'must be one or two secrets of the form whsec_… with 24 bytes or more in base64, comma-separated');
const hosts = text.transform((value, context): HostList => {
  try {
    return parseHostList(value);
  } catch (error) {
    context.addIssue({ code: 'custom', message: messageOf(error) });
    return z.NEVER;
  }
});
/** Only its shape: Temporal reads the rest. */
const cron = text.refine((value) => value.startsWith('@') || [5, 6, 7].includes(value.replace(/#.*/, '').replace(/^(CRON_)?TZ=\S+/, '').trim().split(/\s+/).length), 'must be a cron expression of 5 to 7 fields, or @hourly and the like');

interface Setting<S extends z.ZodType = z.ZodType> {
  schema: S;
  /** Group heading in the documentation. */
  group: string;
  about: string;
  /** As it would stand in the environment. None: required, unless `optional`. */
  default?: string;
  optional?: true;
  secret?: true;
}

const setting = <S extends z.ZodType, const O extends Omit<Setting, 'schema'>>(schema: S, options: O): { schema: S } & O => ({ schema, ...options });

export const SETTINGS = {
  TEMPORAL_ADDRESS: setting(text, { group: 'Temporal', about: 'Host and port of the Temporal frontend.', default: '127.0.0.1:7233' }),
  TEMPORAL_NAMESPACE: setting(text, { group: 'Temporal', about: 'Namespace for all workflows.', default: 'default' }),
  TEMPORAL_API_KEY: setting(text, { group: 'Temporal', about: 'API key of Temporal Cloud; turns TLS on.', optional: true, secret: true }),
  TEMPORAL_TLS: setting(flag, { group: 'Temporal', about: 'Connect with TLS.', default: 'false' }),
  AFTERCALL_KEYS: setting(text, {
    group: 'Temporal',
    about: 'Key ring for payloads and stored tokens: `id:base64` pairs of 32-byte keys, comma-separated. The first encrypts, all decrypt.',
    secret: true,
  }),

  DATABASE_URL: setting(z.string().regex(/^(postgres(ql)?:\/\/|pglite:)/, 'must start with postgres:// (or pglite: for the embedded one)'), {
    group: 'Database',
    about: '`postgres://user:password@host/database` (15 or later), or `pglite:<folder>` embedded in one process.',
    secret: true,
  }),

  S3_BUCKET: setting(text, { group: 'Objects', about: 'Bucket for recordings, transcripts and records.', optional: true }),
  OBJECTS_DIR: setting(text, { group: 'Objects', about: 'A folder instead of a bucket.', optional: true }),
  AWS_REGION: setting(text, { group: 'Objects', about: 'Region of S3, Glue and Athena.', default: 'ap-southeast-1' }),
  AWS_ENDPOINT_URL: setting(url, { group: 'Objects', about: 'An S3-compatible endpoint instead of AWS.', optional: true }),

  GLUE_DATABASE: setting(text, { group: 'Catalogue', about: 'Glue database of the call table.', default: 'aftercall' }),
  GLUE_TABLE: setting(text, { group: 'Catalogue', about: 'Name of the call table.', default: 'calls' }),
  WAREHOUSE: setting(z.enum(['duckdb', 'athena', 'snowflake']), {
    group: 'Catalogue',
    about: '`duckdb` queries the folder in process, `athena` the bucket, `snowflake` tables that are loaded from either. Default: by where the objects lie.',
    optional: true,
  }),
  WAREHOUSE_LOAD_EVERY: setting(duration, { group: 'Catalogue', about: 'How often what changed is loaded to the warehouse; `0s`: only by hand.', default: '5m' }),
  WAREHOUSE_COMPACT_AT: setting(z.string().regex(/^([01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day, e.g. 02:30'), { group: 'Catalogue', about: "When each day's small files are put together, UTC; half an hour is spread over.", default: '02:30' }),
  WAREHOUSE_GRACE: setting(someTime, { group: 'Catalogue', about: 'How long files stay that were put together, for queries that read them: longer than any query takes.', default: '30m' }),
  ANALYTICS_TIMEOUT: setting(someTime, { group: 'Catalogue', about: 'How long one question of the analytics API may take; then it is cancelled.', default: '30s' }),
  ATHENA_WORKGROUP: setting(text, { group: 'Catalogue', about: 'Athena workgroup.', default: 'primary' }),
  ATHENA_ENDPOINT_URL: setting(url, { group: 'Catalogue', about: 'Another endpoint for Athena alone, e.g. of a private network.', optional: true }),
  ATHENA_OUTPUT: setting(z.string().regex(/^s3:\/\//, 'must start with s3://'), { group: 'Catalogue', about: 'Where Athena writes results, `s3://…`. They hold texts of issues and names of agents, also of calls that are erased since, and nothing here deletes them: set a lifecycle rule that does after a day, versions included.', optional: true }),

  SNOWFLAKE_ACCOUNT: setting(text, { group: 'Snowflake', about: 'Account identifier, e.g. `ORG-ACCOUNT`. With none of these, Snowflake is not used.', optional: true }),
  SNOWFLAKE_URL: setting(url, { group: 'Snowflake', about: 'Where its SQL API is; default: `https://<account>.snowflakecomputing.com`.', optional: true }),
  SNOWFLAKE_USER: setting(text, { group: 'Snowflake', about: 'A service user that signs in by key pair.', optional: true }),
  SNOWFLAKE_PRIVATE_KEY: setting(text, { group: 'Snowflake', about: 'Its private RSA key, PKCS#8 in PEM (line breaks may be written `\\n`), or the path of a file with it.', optional: true, secret: true }),
  SNOWFLAKE_PRIVATE_KEY_PASSPHRASE: setting(text, { group: 'Snowflake', about: 'Opens the key where it is encrypted.', optional: true, secret: true }),
  SNOWFLAKE_ROLE: setting(text, { group: 'Snowflake', about: "Role that statements run with; default: the user's own.", optional: true }),
  SNOWFLAKE_WAREHOUSE: setting(text, { group: 'Snowflake', about: 'Virtual warehouse that computes.', optional: true }),
  SNOWFLAKE_DATABASE: setting(text, { group: 'Snowflake', about: 'Database of the tables.', optional: true }),
  SNOWFLAKE_SCHEMA: setting(text, { group: 'Snowflake', about: 'Schema of the tables.', default: 'PUBLIC' }),

  WEBEX_BASE_URL: setting(url, { group: 'Webex Contact Center', about: 'API of your data centre. With none of these, Webex is not used.', optional: true }),
  WEBEX_TOKEN_URL: setting(url, { group: 'Webex Contact Center', about: 'OAuth token endpoint.', default: 'https://webexapis.com/v1/access_token' }),
  WEBEX_CLIENT_ID: setting(text, { group: 'Webex Contact Center', about: 'Service App or integration client ID.', optional: true }),
  WEBEX_CLIENT_SECRET: setting(text, { group: 'Webex Contact Center', about: 'Its secret.', optional: true, secret: true }),
  WEBEX_REFRESH_TOKEN: setting(text, {
    group: 'Webex Contact Center',
    about: 'First refresh token. Later ones are stored in the database, encrypted; a changed value here replaces them.',
    optional: true,
    secret: true,
  }),
  WEBEX_ORG_ID: setting(text, { group: 'Webex Contact Center', about: 'Organisation ID; default: the one of the token.', optional: true }),
  WEBEX_REQUESTS_PER_MINUTE: setting(whole, { group: 'Webex Contact Center', about: 'API limit for the client ID, kept by each process.', default: '300' }),
  WEBEX_WEBHOOK_SECRET: setting(text, { group: 'Webex Contact Center', about: 'Secret of the webhook subscription; webhooks are refused without it.', optional: true, secret: true }),

  AMOCRM_BASE_URL: setting(url, { group: 'amoCRM / Kommo', about: 'Your account, e.g. `https://example.amocrm.ru` or `https://example.kommo.com`. With none of these, amoCRM is not used.', optional: true }),
  AMOCRM_CLIENT_ID: setting(text, { group: 'amoCRM / Kommo', about: 'Integration ID.', optional: true }),
  AMOCRM_CLIENT_SECRET: setting(text, { group: 'amoCRM / Kommo', about: 'Its secret key.', optional: true, secret: true }),
  AMOCRM_REFRESH_TOKEN: setting(text, {
    group: 'amoCRM / Kommo',
    about: 'First refresh token. Each is good for once; later ones are stored in the database, encrypted; a changed value here replaces them.',
    optional: true,
    secret: true,
  }),
  AMOCRM_REDIRECT_URI: setting(url, { group: 'amoCRM / Kommo', about: "The integration's redirect URI, exactly as it stands there.", optional: true }),
  AMOCRM_ACCOUNT_ID: setting(z.string().regex(/^\d{1,20}$/, 'must be a number'), { group: 'amoCRM / Kommo', about: 'Account ID; webhooks of any other account are refused.', optional: true }),
  AMOCRM_WEBHOOK_SECRET: setting(z.string().regex(/^[A-Za-z0-9_-]{32,200}$/, 'must be 32 to 200 letters, digits, "_" and "-"'), {
    group: 'amoCRM / Kommo',
    about: "Last part of the webhooks' address, `/webhooks/amocrm/<secret>`: amoCRM does not sign them. They are off without it.",
    optional: true,
    secret: true,
  }),
  AMOCRM_REQUESTS_PER_SECOND: setting(z.coerce.number().positive().max(7), {
    group: 'amoCRM / Kommo',
    about: 'Kept by each process; all of them together may send 7, and amoCRM blocks addresses that go on sending more.',
    default: '3',
  }),

  RETELL_API_KEY: setting(text, { group: 'Retell', about: 'API key of the Retell account that places calls. Without it none are placed.', optional: true, secret: true }),
  RETELL_BASE_URL: setting(url, { group: 'Retell', about: 'Its API.', default: 'https://api.retellai.com' }),
  RETELL_WEBHOOK_KEY: setting(text, { group: 'Retell', about: 'The API key that has the webhook badge: Retell signs webhooks with it. Default: RETELL_API_KEY.', optional: true, secret: true }),
  RETELL_CHANNELS: setting(channels, {
    group: 'Retell',
    about: 'Who is on the two channels of its recordings, as in agent,customer: listen to one. Without it, the recording that has both on one channel is copied.',
    optional: true,
  }),
  RETELL_CALLS_PER_SECOND: setting(z.coerce.number().positive().max(100), {
    group: 'Retell',
    about: 'How many calls a second the telephony of the account begins: 1 unless it was raised. Kept per project.',
    default: '1',
  }),

  OPENAI_BASE_URL: setting(url, { group: 'Speech and language', about: 'OpenAI or any server that speaks its API.', default: 'https://api.openai.com/v1' }),
  OPENAI_API_KEY: setting(text, { group: 'Speech and language', about: 'Its key.', secret: true }),
  OPENAI_COMPATIBILITY: setting(z.enum(OPENAI_COMPATIBILITIES), {
    group: 'Speech and language',
    about: `What that server can do: ${OPENAI_COMPATIBILITIES.join(', ')}. plain asks for the least.`,
    default: 'openai',
  }),
  STT_PROVIDER: setting(text, { group: 'Speech and language', about: 'Who transcribes: openai (or any server that speaks its API), deepgram or assemblyai.', default: 'openai' }),
  STT_BASE_URL: setting(url, { group: 'Speech and language', about: 'Another server for transcription; default: OPENAI_BASE_URL, or the address of the provider.', optional: true }),
  STT_API_KEY: setting(text, { group: 'Speech and language', about: 'Its key; default: OPENAI_API_KEY. Required for another provider.', optional: true, secret: true }),
  STT_MODEL: setting(text, { group: 'Speech and language', about: 'Transcription model; default: gpt-4o-transcribe-diarize, nova-3 (deepgram) or universal-2 (assemblyai).', optional: true }),
  STT_COMPATIBILITY: setting(z.enum(OPENAI_COMPATIBILITIES), {
    group: 'Speech and language',
    about: 'What the server of STT_BASE_URL can do, if it speaks the API of OpenAI; default: openai.',
    optional: true,
  }),
  STT_ACCEPT_PROVIDER_TRANSCRIPT: setting(flag, {
    group: 'Speech and language',
    about: 'false: calls that a voice provider held are heard anew, instead of taking what it wrote down of them. Presets say it for themselves.',
    default: 'true',
  }),
  DIARIZATION_PROVIDER: setting(text, { group: 'Speech and language', about: 'Who tells speakers apart on one channel where the transcription has times but no speakers: pyannoteai. Default: nobody.', optional: true }),
  DIARIZATION_API_KEY: setting(text, { group: 'Speech and language', about: 'Its key.', optional: true, secret: true }),
  DIARIZATION_BASE_URL: setting(url, { group: 'Speech and language', about: 'Its address; default: its own.', optional: true }),
  LLM_MODEL: setting(text, { group: 'Speech and language', about: 'Model for analysis and CRM facts.', default: 'gpt-5-mini' }),
  PRICES_FILE: setting(text, { group: 'Speech and language', about: 'JSON price list instead of the built-in one.', optional: true }),
  FFMPEG_PATH: setting(text, { group: 'Speech and language', about: 'The ffmpeg program.', default: 'ffmpeg' }),

  SFDC_URL: setting(url, { group: 'Salesforce', about: 'My Domain URL. With none of these, nothing is done in Salesforce.', optional: true }),
  SFDC_CLIENT_ID: setting(text, { group: 'Salesforce', about: 'Consumer key of the connected app.', optional: true }),
  SFDC_CLIENT_SECRET: setting(text, { group: 'Salesforce', about: 'Consumer secret, for client-credentials sign-in.', optional: true, secret: true }),
  SFDC_USERNAME: setting(text, { group: 'Salesforce', about: 'User to act as, for JWT sign-in.', optional: true }),
  SFDC_PRIVATE_KEY: setting(text, { group: 'Salesforce', about: 'PEM private key (or a path to it), for JWT sign-in.', optional: true, secret: true }),
  SFDC_AUDIENCE: setting(url, { group: 'Salesforce', about: 'JWT audience; https://test.salesforce.com for sandboxes.', default: 'https://login.salesforce.com' }),
  SFDC_API_VERSION: setting(z.string().regex(/^\d+\.0$/, 'must look like 68.0'), { group: 'Salesforce', about: 'REST and SOAP API version.', default: '68.0' }),
  SFDC_EXTERNAL_ID_FIELD: setting(text, { group: 'Salesforce', about: 'Unique external ID field on Lead and Task that holds the call ID.', default: 'Aftercall_Id__c' }),
  SFDC_BRN_FIELD: setting(text, { group: 'Salesforce', about: 'Field on Lead and Account for the business registration number.', default: 'BRN__c' }),
  SFDC_REVENUE_FLAG_FIELD: setting(text, { group: 'Salesforce', about: 'Checkbox on Account that marks revenue-flagged customers.', default: 'Revenue_Flagged__c' }),
  SFDC_CONVERTED_STATUS: setting(text, { group: 'Salesforce', about: 'Lead status that means converted.', default: 'Closed - Converted' }),

  API_HOST: setting(text, { group: 'API and worker', about: 'Address the API listens on.', default: '127.0.0.1' }),
  API_PORT: setting(port, { group: 'API and worker', about: 'Port of the API.', default: '8080' }),
  API_TOKEN: setting(z.string().min(16, 'must have at least 16 characters'), { group: 'API and worker', about: 'Bearer token of a machine that runs this installation: project_admin on the default project, and metrics. Others are made through the API.', optional: true, secret: true }),
  API_PUBLIC_URL: setting(url, { group: 'API and worker', about: 'How people reach the API; default: its listening address.', optional: true }),
  TEMPORAL_UI_URL: setting(url, { group: 'API and worker', about: "Temporal's UI: linked to, and allowed to use the codec endpoint.", optional: true }),
  WORKER_HEALTH_PORT: setting(port, { group: 'API and worker', about: 'Health and readiness of the worker.', default: '8081' }),
  WORKER_METRICS_PORT: setting(port, { group: 'API and worker', about: 'Prometheus metrics of the Temporal SDK.', default: '9464' }),
  WORKER_QUEUES: setting(text, { group: 'API and worker', about: 'Which queues this process serves, comma-separated: workflows, recordings, llm, crm, messages, voice, warehouse.', default: 'workflows,recordings,llm,crm,messages,voice,warehouse' }),
  WORKFLOW_BUNDLE: setting(text, { group: 'API and worker', about: 'Bundle of the workflows made by `npm run build`; default: bundle at start.', optional: true }),
  SHUTDOWN_GRACE: setting(duration, { group: 'API and worker', about: 'How long running activities may go on after SIGTERM.', default: '25s' }),
  MAX_RECORDING_MB: setting(whole, { group: 'API and worker', about: 'Larger recordings are refused.', default: '500' }),
  RECORDINGS_PER_SECOND: setting(z.coerce.number().positive(), { group: 'API and worker', about: 'Server-side start rate of the recordings queue.', default: '20' }),
  LLM_PER_SECOND: setting(z.coerce.number().positive(), { group: 'API and worker', about: 'Server-side start rate of the speech and language queue.', default: '10' }),
  CRM_PER_SECOND: setting(z.coerce.number().positive(), { group: 'API and worker', about: 'Server-side start rate of the CRM queue.', default: '5' }),
  RETRY_ATTEMPTS: setting(whole, { group: 'API and worker', about: 'Tries of a step before its call parks and waits for a person.', default: '6' }),
  RETRY_FIRST: setting(duration, { group: 'API and worker', about: 'Wait before the second try; doubles from try to try.', default: '1s' }),
  RETRY_MAX: setting(duration, { group: 'API and worker', about: 'Longest wait between tries, unless the upstream asks for more.', default: '1m' }),
  HEARTBEAT_TIMEOUT: setting(duration, { group: 'API and worker', about: 'A worker silent for this long is taken for dead and its step is tried again.', default: '30s' }),
  UPSTREAM_TIMEOUT: setting(duration, { group: 'API and worker', about: 'A request to Webex, amoCRM, Retell or Salesforce, or a download, that brings nothing for this long is broken off and tried again.', default: '60s' }),
  SPEECH_TIMEOUT: setting(duration, { group: 'API and worker', about: 'The same for one transcription request (below 30m, the limit of the whole step).', default: '10m' }),
  MODEL_TIMEOUT: setting(duration, { group: 'API and worker', about: 'The same for one request to the language model (below 10m: a step may need two).', default: '8m' }),
  VOICE_SECOND_LOOK: setting(someTime, { group: 'API and worker', about: 'An outbound call that may or may not have been dialled is looked for twice, with this between: the lists of a provider lag.', default: '20s' }),
  VOICE_LOOK_UP_FIRST: setting(someTime, { group: 'API and worker', about: 'An outbound call of which no webhook tells is looked up after this; the wait doubles from look to look.', default: '1m' }),
  VOICE_LOOK_UP_MAX: setting(someTime, { group: 'API and worker', about: 'Longest wait between two of these looks.', default: '15m' }),
  VOICE_PATIENCE: setting(someTime, { group: 'API and worker', about: 'An outbound call that has not ended this long after it was dialled waits for a person.', default: '6h' }),
  LOG_LEVEL: setting(z.enum(['debug', 'info', 'warn', 'error']), { group: 'API and worker', about: 'debug, info, warn or error.', default: 'info' }),

  OUTBOUND_ALLOW: setting(hosts, {
    group: 'Outbound',
    about: 'Where links from outside (recordings, webhooks, Telegram) may lead although it is private, without TLS or on another port: names, `*.names`, addresses and networks, each but a network perhaps with `:port`, comma-separated. Public https needs no entry. It holds for every project: whoever administers one can have these places read.',
    optional: true,
  }),
  OUTBOUND_ONLY: setting(hosts, { group: 'Outbound', about: 'On-premise mode: the only hosts that may be reached at all, in the same form. Every address in these settings has to be among them.', optional: true }),
  TELEGRAM_BASE_URL: setting(url, { group: 'Outbound', about: 'Telegram Bot API, or a server of your own that speaks it (which OUTBOUND_ALLOW has to name).', default: 'https://api.telegram.org' }),

  TELEGRAM_BOT_TOKEN: setting(z.string().regex(/^\d+:[\w-]+$/, 'must be digits, a colon and letters, as @BotFather shows it'), { group: 'Telegram', about: 'Bot that the messages of the project `default` are sent by; other projects connect bots of their own.', optional: true, secret: true }),
  TELEGRAM_RUNS_CHAT: setting(chat, { group: 'Messages', about: 'Chat that is told when a run has found new calls and its report is written.', optional: true }),
  TELEGRAM_ALERTS_CHAT: setting(chat, { group: 'Messages', about: 'Chat that is told of low scores.', optional: true }),
  WEBHOOK_URL: setting(url, { group: 'Outgoing webhook', about: 'Where events of the project `default` are posted, signed as Standard Webhooks says.', optional: true }),
  WEBHOOK_SECRETS: setting(webhookSecrets, { group: 'Outgoing webhook', about: 'What they are signed with: `whsec_…`, and the one before while it is being replaced.', optional: true, secret: true }),
  MESSAGE_ATTEMPTS: setting(whole, { group: 'Messages', about: 'Tries of a message before it counts as failed and waits for a person.', default: '12' }),
  MESSAGE_FIRST_RETRY: setting(someTime, { group: 'Messages', about: 'Wait before the second try; four times as long from try to try.', default: '5s' }),
  MESSAGE_MAX_RETRY: setting(someTime, { group: 'Messages', about: 'Longest wait between tries, unless the target asks for more.', default: '8h' }),
  MESSAGE_KEEP: setting(someTime, { group: 'Messages', about: 'How long messages that were delivered or settled can be looked at. One that is forgotten cannot be corrected any more.', default: '90d' }),
  REPORT_LINK_TTL: setting(someTime, { group: 'Messages', about: "How long a link to a call's report in notes and messages shows it without signing in.", default: '30d' }),

  TRACKING_SINK: setting(z.enum(SINKS, { error: `must be ${SINKS.join(', ')}` }), { group: 'Tracking', about: 'What takes the tracking events of the project `default`: http, sqs or log (this process\'s own, without numbers). Without it they are kept and not sent.', optional: true }),
  TRACKING_URL: setting(url, { group: 'Tracking', about: 'http: where they are posted, signed as Standard Webhooks says.', optional: true }),
  TRACKING_SECRETS: setting(webhookSecrets, { group: 'Tracking', about: 'http: what they are signed with: `whsec_…`, and the one before while it is being replaced.', optional: true, secret: true }),
  TRACKING_SQS_QUEUE_URL: setting(url, { group: 'Tracking', about: 'sqs: the queue. One whose name ends in `.fifo` keeps the order of each call and drops repeats.', optional: true }),
  TRACKING_SQS_ACCESS_KEY_ID: setting(text, { group: 'Tracking', about: 'sqs: who sends; default: where the AWS SDK looks. Projects name their own.', optional: true }),
  TRACKING_SQS_SECRET_ACCESS_KEY: setting(text, { group: 'Tracking', about: 'Its secret.', optional: true, secret: true }),
  TRACKING_PATIENCE: setting(someTime, { group: 'Tracking delivery', about: 'How long an event is tried in vain before it waits for a person, and the later ones of its call behind it.', default: '3d' }),
  TRACKING_KEEP: setting(someTime, { group: 'Tracking delivery', about: 'How long events that were delivered, or skipped, can be looked at and replayed.', default: '30d' }),

  INGEST_EVERY: setting(someTime, { group: 'Schedule', about: 'How often a window is read. Ignored with INGEST_CRON.', default: '15m' }),
  INGEST_CRON: setting(cron, { group: 'Schedule', about: 'Cron expression instead of an interval, in UTC.', optional: true }),
  INGEST_OVERLAP: setting(z.enum(['skip', 'buffer_one', 'buffer_all', 'allow_all']), { group: 'Schedule', about: 'What happens when a window is due while one runs.', default: 'buffer_one' }),
  INGEST_CATCHUP: setting(duration, { group: 'Schedule', about: 'Windows missed longer ago than this are not made up for.', default: '1d' }),
  INGEST_SETTLE: setting(duration, { group: 'Schedule', about: 'How long a run waits for its calls before it reports the rest as in progress.', default: '10m' }),

  COMPLETENESS_HOUR: setting(z.coerce.number().int().min(0).max(23), { group: 'Schedule', about: "Hour of the project's day at which the calls of the day before are held against their source's list.", default: '4' }),
  COMPLETENESS_DAYS: setting(z.coerce.number().int().min(1).max(31), { group: 'Schedule', about: 'How many days a day is looked at again while calls of it are not at their end.', default: '7' }),

  MINUTES_BACK: setting(whole, { group: 'Project', about: 'How far back a window reaches, in minutes.', default: String(DEFAULT_SETTINGS.minutesBack) }),
  AUTO_PROCESS: setting(flag, { group: 'Project', about: 'false: calls wait for approval before anything is fetched.', default: 'true' }),
  SKIP_PROCESSED: setting(flag, { group: 'Project', about: 'false: process calls again that were processed before.', default: 'true' }),
  TRANSCRIBE: setting(flag, { group: 'Project', about: 'Transcribe recordings.', default: 'true' }),
  REGISTER_GLUE: setting(flag, { group: 'Project', about: 'Register partitions in Glue.', default: 'true' }),
  RUN_ANALYSIS: setting(flag, { group: 'Project', about: 'Grade transcripts.', default: 'true' }),
  RUN_CRM_ACTIONS: setting(flag, { group: 'Project', about: 'Act in Salesforce.', default: 'true' }),
  CRM_APPROVAL: setting(z.enum(['never', 'risky', 'always']), { group: 'Project', about: 'Which CRM actions wait for a person: never, risky (touching existing records) or always.', default: 'never' }),
  MIN_TURNS_TO_GRADE: setting(whole, { group: 'Project', about: 'Calls with fewer turns are not graded.', default: String(DEFAULT_SETTINGS.minTurnsToGrade) }),
  RECORDING_FIRST_LOOK: setting(duration, { group: 'Project', about: 'First wait for a recording that is not published; doubles up to 15m.', default: '30s' }),
  RECORDING_DEADLINE: setting(duration, { group: 'Project', about: 'After this a missing recording counts as never coming.', default: '6h' }),
  LANGUAGE: setting(text, { group: 'Project', about: 'Language of the calls (BCP-47); default: detected.', optional: true }),
  BRN_FORMATS: setting(text, { group: 'Project', about: 'Regular expressions for business registration numbers, separated by spaces.', default: DEFAULT_SETTINGS.brnFormats.join(' ') }),
  MANAGED_ACCOUNTS_OWNER: setting(text, { group: 'Project', about: 'Salesforce user or queue ID for revenue-flagged customers.', optional: true }),
  CONSUMER_HOTLINE: setting(text, { group: 'Project', about: 'Phone number for consumers.', optional: true }),
  DAILY_BUDGET: setting(z.coerce.number().min(0), { group: 'Project', about: 'Most that one UTC day may cost, in US dollars; 0 is no limit. Calls wait at the limit and go on the next day, or when it is raised.', default: '0' }),
  CALL_BUDGET: setting(z.coerce.number().min(0), { group: 'Project', about: 'Most that one call may cost, in US dollars; 0 is no limit.', default: '0' }),
  PASS_PERCENT: setting(z.coerce.number().min(0).max(100), { group: 'Project', about: 'Score at which a call passes.', default: String(DEFAULT_SETTINGS.passPercent) }),
  LOW_SCORE_THRESHOLD: setting(z.coerce.number().min(0).max(100), { group: 'Project', about: 'Calls that score less are told of; 0 is none.', default: String(DEFAULT_SETTINGS.lowScoreThreshold) }),
  CRM_NOTES: setting(flag, { group: 'Project', about: 'Note score, summary and a link to the report in the CRM.', default: 'true' }),
} as const satisfies Record<string, Setting>;

type Settings = typeof SETTINGS;
export type SettingName = keyof Settings;
type Value<S> = S extends { schema: infer Z extends z.ZodType; optional: true } ? z.output<Z> | undefined : S extends { schema: infer Z extends z.ZodType } ? z.output<Z> : never;

/** The validated settings, under the names they have in the environment. */
export type Config = { [K in SettingName]: Value<Settings[K]> };

/** All that is wrong with the settings, in one error. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
  readonly problems: string[];

  constructor(problems: string[]) {
    super(`${problems.length === 1 ? 'One setting is' : `${problems.length} settings are`} missing or wrong:\n${problems.map((problem) => `  - ${problem}`).join('\n')}`);
    this.problems = problems;
  }
}

/** What is wrong with one setting. Never repeats the value of a secret. */
export interface SettingProblem {
  name: SettingName;
  /** Goes on from the name: "is not set. …". */
  problem: string;
}

/** Reads and validates some settings, each by itself. */
export const readSettings = (names: readonly SettingName[], given: Record<string, string | undefined>): { values: Partial<Config>; problems: SettingProblem[] } => {
  const problems: SettingProblem[] = [];
  const values: Record<string, unknown> = {};
  for (const name of names) {
    const spec: Setting = SETTINGS[name];
    // An empty variable is how compose files and shells say "not set".
    const raw = given[name]?.trim() || spec.default;
    if (raw === undefined) {
      if (!spec.optional) problems.push({ name, problem: `is not set. ${spec.about}` });
      continue;
    }
    const parsed = spec.schema.safeParse(raw);
    if (parsed.success) values[name] = parsed.data;
    else problems.push({ name, problem: `${parsed.error.issues.map((issue) => issue.message).join('; ')}${spec.secret ? '' : ` (it is ${JSON.stringify(raw)})`}. ${spec.about}` });
  }
  return { values, problems };
};

/**
 * Reads and validates all settings.
 *
 * @throws ConfigError naming every problem; values of secrets are never repeated
 */
export const loadConfig = (env: Record<string, string | undefined> = process.env): Config => {
  const { values, problems } = readSettings(Object.keys(SETTINGS) as SettingName[], env);
  const all = [...problems.map(({ name, problem }) => `${name} ${problem}`), ...crossChecks(values, problems.map(({ name }) => name))];
  if (all.length > 0) throw new ConfigError(all);
  return values as Config;
};

/**
 * The systems that calls come from and results go to. Each is used as a whole or not at all.
 *
 * `needs`: what it cannot be used without; its group in the settings holds the rest.
 */
export const SYSTEMS = {
  webex: { group: 'Webex Contact Center', needs: ['WEBEX_BASE_URL', 'WEBEX_CLIENT_ID', 'WEBEX_CLIENT_SECRET', 'WEBEX_REFRESH_TOKEN'] },
  amocrm: { group: 'amoCRM / Kommo', needs: ['AMOCRM_BASE_URL', 'AMOCRM_CLIENT_ID', 'AMOCRM_CLIENT_SECRET', 'AMOCRM_REFRESH_TOKEN', 'AMOCRM_REDIRECT_URI'] },
  salesforce: { group: 'Salesforce', needs: ['SFDC_URL', 'SFDC_CLIENT_ID'] },
  telegram: { group: 'Telegram', needs: ['TELEGRAM_BOT_TOKEN'] },
  retell: { group: 'Retell', needs: ['RETELL_API_KEY'] },
  /** Events are never sent unsigned. */
  webhook: { group: 'Outgoing webhook', needs: ['WEBHOOK_URL', 'WEBHOOK_SECRETS'] },
  /** Each sink needs settings of its own. */
  tracking: { group: 'Tracking', needs: ['TRACKING_SINK'] },
} as const satisfies Record<string, { group: string; needs: SettingName[] }>;

export type System = keyof typeof SYSTEMS;
type Complete<S extends System> = Config & { [K in (typeof SYSTEMS)[S]['needs'][number]]: NonNullable<Config[K]> };

/** Names of a system's settings. */
export const settingsOf = (system: System): SettingName[] => (Object.keys(SETTINGS) as SettingName[]).filter((name) => SETTINGS[name].group === SYSTEMS[system].group);

/** The settings with all that a system needs, or undefined where it is not used. They were checked as a whole. */
export const withSystem = <S extends System>(config: Config, system: S): Complete<S> | undefined => (config[SYSTEMS[system].needs[0]] ? (config as Complete<S>) : undefined);

export type WebexConfig = Pick<Complete<'webex'>, (typeof SYSTEMS)['webex']['needs'][number] | 'WEBEX_TOKEN_URL' | 'WEBEX_ORG_ID' | 'WEBEX_REQUESTS_PER_MINUTE' | 'UPSTREAM_TIMEOUT' | 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY'>;
export type AmoCrmConfig = Pick<Complete<'amocrm'>, (typeof SYSTEMS)['amocrm']['needs'][number] | 'AMOCRM_ACCOUNT_ID' | 'AMOCRM_REQUESTS_PER_SECOND' | 'UPSTREAM_TIMEOUT' | 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY'>;
export type RetellConfig = Pick<Complete<'retell'>, 'RETELL_API_KEY' | 'RETELL_BASE_URL' | 'RETELL_CHANNELS' | 'UPSTREAM_TIMEOUT' | 'OUTBOUND_ALLOW' | 'OUTBOUND_ONLY'>;
export type TrackingConfig = Complete<'tracking'>;
export type SalesforceConfig = Pick<
  Complete<'salesforce'>,
  | (typeof SYSTEMS)['salesforce']['needs'][number]
  | 'SFDC_CLIENT_SECRET'
  | 'SFDC_USERNAME'
  | 'SFDC_PRIVATE_KEY'
  | 'SFDC_AUDIENCE'
  | 'SFDC_API_VERSION'
  | 'SFDC_EXTERNAL_ID_FIELD'
  | 'SFDC_BRN_FIELD'
  | 'SFDC_REVENUE_FLAG_FIELD'
  | 'SFDC_CONVERTED_STATUS'
  | 'UPSTREAM_TIMEOUT'
  | 'OUTBOUND_ONLY'
>;

export type SnowflakeConfig = { [K in (typeof SNOWFLAKE_NEEDS)[number]]: NonNullable<Config[K]> } & Pick<Config, 'SNOWFLAKE_URL' | 'SNOWFLAKE_PRIVATE_KEY_PASSPHRASE' | 'SNOWFLAKE_ROLE' | 'SNOWFLAKE_SCHEMA' | 'UPSTREAM_TIMEOUT' | 'OUTBOUND_ONLY'>;

/**
 * What a system lacks once one of its settings is given.
 *
 * @param wrong those that were given and could not be read: somebody means to use the system all the same
 */
export const systemProblems = (config: Partial<Config>, system: System, wrong: readonly SettingName[] = []): SettingProblem[] => {
  const given = settingsOf(system).find((name) => (config[name] !== undefined || wrong.includes(name)) && !('default' in SETTINGS[name]));
  if (!given) return [];
  const needs: readonly SettingName[] = SYSTEMS[system].needs;
  const problems: SettingProblem[] = needs.filter((needed) => config[needed] === undefined && !wrong.includes(needed)).map((name) => ({ name, problem: `is not set, but ${given} is. ${SETTINGS[name].about}` }));
  if (system === 'amocrm' && config.AMOCRM_WEBHOOK_SECRET && !config.AMOCRM_ACCOUNT_ID) problems.push({ name: 'AMOCRM_ACCOUNT_ID', problem: `is not set, but AMOCRM_WEBHOOK_SECRET is. ${SETTINGS.AMOCRM_ACCOUNT_ID.about}` });
  if (system === 'tracking') problems.push(...trackingProblems(config, wrong));
  if (system === 'salesforce' && !config.SFDC_CLIENT_SECRET && !(config.SFDC_USERNAME && config.SFDC_PRIVATE_KEY)) {
    problems.push({ name: 'SFDC_CLIENT_SECRET', problem: 'is not set, nor are SFDC_USERNAME and SFDC_PRIVATE_KEY. Salesforce sign-in needs the one (client credentials) or the other two (JWT).' });
  }
  return problems;
};

/** What Snowflake cannot be asked without. */
const SNOWFLAKE_NEEDS = ['SNOWFLAKE_ACCOUNT', 'SNOWFLAKE_USER', 'SNOWFLAKE_PRIVATE_KEY', 'SNOWFLAKE_WAREHOUSE', 'SNOWFLAKE_DATABASE'] as const satisfies readonly SettingName[];
/** What each sink needs. */
const NEEDED_BY_SINK = { http: ['TRACKING_URL', 'TRACKING_SECRETS'], sqs: ['TRACKING_SQS_QUEUE_URL'], log: [] } as const satisfies Record<(typeof SINKS)[number], SettingName[]>;

const trackingProblems = (config: Partial<Config>, wrong: readonly SettingName[]): SettingProblem[] => {
  const sink = config.TRACKING_SINK;
  if (!sink) return [];
  const lacks = (name: SettingName, why: string): SettingProblem[] => (config[name] === undefined && !wrong.includes(name) ? [{ name, problem: `is not set, but ${why}. ${SETTINGS[name].about}` }] : []);
  const problems = NEEDED_BY_SINK[sink].flatMap((name) => lacks(name, `TRACKING_SINK is ${sink}`));
  if (config.TRACKING_SQS_ACCESS_KEY_ID) problems.push(...lacks('TRACKING_SQS_SECRET_ACCESS_KEY', 'TRACKING_SQS_ACCESS_KEY_ID is'));
  if (config.TRACKING_SQS_SECRET_ACCESS_KEY) problems.push(...lacks('TRACKING_SQS_ACCESS_KEY_ID', 'TRACKING_SQS_SECRET_ACCESS_KEY is'));
  return problems;
};

const crossChecks = (config: Partial<Config>, wrong: readonly SettingName[]): string[] => {
  const problems: string[] = [];
  for (const system of Object.keys(SYSTEMS) as System[]) problems.push(...systemProblems(config, system, wrong).map(({ name, problem }) => `${name} ${problem}`));
  if (!config.INGEST_CRON && config.MINUTES_BACK && config.INGEST_EVERY && config.MINUTES_BACK * 60_000 < config.INGEST_EVERY) {
    problems.push(`MINUTES_BACK is ${config.MINUTES_BACK} min, but a window is read only every ${config.INGEST_EVERY / 60_000} min (INGEST_EVERY): calls in between would be lost.`);
  }
  if (!config.S3_BUCKET && !config.OBJECTS_DIR) problems.push('Neither S3_BUCKET nor OBJECTS_DIR is set. One says where objects go.');
  if (config.S3_BUCKET && config.OBJECTS_DIR) problems.push('Both S3_BUCKET and OBJECTS_DIR are set. Only one can hold the objects.');
  const warehouse = config.WAREHOUSE ?? (config.S3_BUCKET ? 'athena' : 'duckdb');
  if ((warehouse === 'athena' || config.S3_BUCKET) && !config.ATHENA_OUTPUT) problems.push('ATHENA_OUTPUT is not set, but Athena answers the queries. Where Athena writes results, `s3://…`.');
  if (warehouse === 'duckdb' && config.S3_BUCKET) problems.push('WAREHOUSE=duckdb reads a folder, but the objects are in S3. Use athena.');
  if (warehouse === 'snowflake') for (const name of SNOWFLAKE_NEEDS) if (!config[name] && !wrong.includes(name)) problems.push(`${name} is not set, but WAREHOUSE is snowflake. ${SETTINGS[name].about}`);
  if (config.STT_PROVIDER && config.STT_PROVIDER !== 'openai' && !config.STT_API_KEY) problems.push(`STT_API_KEY is not set, but STT_PROVIDER is ${config.STT_PROVIDER}. The key of OpenAI is not sent to others.`);
  if (config.DIARIZATION_PROVIDER && !config.DIARIZATION_API_KEY) problems.push(`DIARIZATION_API_KEY is not set, but DIARIZATION_PROVIDER is ${config.DIARIZATION_PROVIDER}.`);
  problems.push(...unreachable(config));
  for (const name of ['TELEGRAM_RUNS_CHAT', 'TELEGRAM_ALERTS_CHAT'] as const) if (config[name] && !config.TELEGRAM_BOT_TOKEN) problems.push(`TELEGRAM_BOT_TOKEN is not set, but ${name} is. ${SETTINGS.TELEGRAM_BOT_TOKEN.about}`);
  const unknown = (config.WORKER_QUEUES ?? '').split(',').map((name) => name.trim()).filter((name) => name !== '' && !(QUEUES as readonly string[]).includes(name));
  if (unknown.length > 0) problems.push(`WORKER_QUEUES names ${unknown.map((name) => `"${name}"`).join(', ')}, but there are only ${QUEUES.join(', ')}.`);
  try {
    if (config.AFTERCALL_KEYS) createKeyRing(config.AFTERCALL_KEYS);
  } catch (error) {
    problems.push(messageOf(error));
  }
  for (const pattern of config.BRN_FORMATS?.split(/\s+/) ?? []) {
    try {
      new RegExp(pattern);
    } catch (error) {
      problems.push(`BRN_FORMATS: ${messageOf(error)}.`);
    }
  }
  return problems;
};

/** In on-premise mode, what the settings themselves lead to has to be among the hosts that may be reached. */
const unreachable = (config: Partial<Config>): string[] => {
  const only = config.OUTBOUND_ONLY;
  if (!only) return [];
  const aws = (service: string): string | undefined => (config.AWS_ENDPOINT_URL ? undefined : `https://${service}.${config.AWS_REGION}.amazonaws.com`);
  const addresses: Record<string, string | undefined> = {
    TEMPORAL_ADDRESS: config.TEMPORAL_ADDRESS && `temporal://${config.TEMPORAL_ADDRESS}`,
    DATABASE_URL: config.DATABASE_URL?.startsWith('pglite:') ? undefined : config.DATABASE_URL,
    WEBEX_BASE_URL: config.WEBEX_BASE_URL,
    WEBEX_TOKEN_URL: config.WEBEX_TOKEN_URL,
    OPENAI_BASE_URL: config.OPENAI_BASE_URL,
    STT_BASE_URL: config.STT_BASE_URL,
    DIARIZATION_BASE_URL: config.DIARIZATION_BASE_URL,
    SFDC_URL: config.SFDC_URL,
    AMOCRM_BASE_URL: config.AMOCRM_BASE_URL,
    RETELL_BASE_URL: config.RETELL_API_KEY && config.RETELL_BASE_URL,
    TELEGRAM_BASE_URL: config.TELEGRAM_BOT_TOKEN && config.TELEGRAM_BASE_URL,
    WEBHOOK_URL: config.WEBHOOK_URL,
    TRACKING_URL: config.TRACKING_URL,
    TRACKING_SQS_QUEUE_URL: config.TRACKING_SQS_QUEUE_URL,
    AWS_ENDPOINT_URL: config.AWS_ENDPOINT_URL,
    S3_BUCKET: config.S3_BUCKET && aws(`${config.S3_BUCKET}.s3`),
    GLUE_DATABASE: config.S3_BUCKET && aws('glue'),
    ATHENA_OUTPUT: config.S3_BUCKET && !config.ATHENA_ENDPOINT_URL ? aws('athena') : undefined,
    ATHENA_ENDPOINT_URL: config.ATHENA_ENDPOINT_URL,
    SNOWFLAKE_URL: config.WAREHOUSE === 'snowflake' && config.SNOWFLAKE_ACCOUNT ? snowflakeUrl({ SNOWFLAKE_ACCOUNT: config.SNOWFLAKE_ACCOUNT, SNOWFLAKE_URL: config.SNOWFLAKE_URL }) : undefined,
  };
  return Object.entries(addresses).flatMap(([name, address]) => {
    const place = address && URL.canParse(address) ? new URL(address) : undefined;
    // A database may be reached over a socket of this machine.
    if (!place?.hostname) return [];
    const host = place.hostname.replace(/^\[|\]$/g, '');
    const port = Number(place.port || { 'http:': 80, 'https:': 443 }[place.protocol] || 5432);
    return only.hasName(host, port) || only.hasAddress(host, port) ? [] : [`${name} leads to ${host}:${port}, which is not among the hosts of OUTBOUND_ONLY.`];
  });
};

/** The default project's settings as this installation configures them. */
export const projectSettings = (config: Config): Partial<ProjectSettings> => ({
  minutesBack: config.MINUTES_BACK,
  autoProcess: config.AUTO_PROCESS,
  skipProcessed: config.SKIP_PROCESSED,
  transcribe: config.TRANSCRIBE,
  registerGlue: config.REGISTER_GLUE,
  runAnalysis: config.RUN_ANALYSIS,
  runCrmActions: config.RUN_CRM_ACTIONS,
  crmApproval: config.CRM_APPROVAL,
  minTurnsToGrade: config.MIN_TURNS_TO_GRADE,
  recordingFirstLookSeconds: config.RECORDING_FIRST_LOOK / 1_000,
  recordingDeadlineMinutes: config.RECORDING_DEADLINE / 60_000,
  ...(config.LANGUAGE ? { language: config.LANGUAGE } : {}),
  brnFormats: config.BRN_FORMATS.split(/\s+/),
  managedAccountsOwner: config.MANAGED_ACCOUNTS_OWNER ?? '',
  consumerHotline: config.CONSUMER_HOTLINE ?? '',
  dailyBudgetMicroUsd: Math.round(config.DAILY_BUDGET * 1e6),
  callBudgetMicroUsd: Math.round(config.CALL_BUDGET * 1e6),
  passPercent: config.PASS_PERCENT,
  lowScoreThreshold: config.LOW_SCORE_THRESHOLD,
  crmNotes: config.CRM_NOTES,
  runsChat: config.TELEGRAM_RUNS_CHAT ?? '',
  alertsChat: config.TELEGRAM_ALERTS_CHAT ?? '',
});

/** How people reach the API. */
export const publicUrl = (config: Pick<Config, 'API_PUBLIC_URL' | 'API_HOST' | 'API_PORT'>): string => config.API_PUBLIC_URL ?? `http://${config.API_HOST}:${config.API_PORT}`;

/** How messages are retried. */
export const messagePaceOf = (config: Config): Pace => ({ ...paceOf(config), attempts: config.MESSAGE_ATTEMPTS, firstRetryMs: config.MESSAGE_FIRST_RETRY, maxRetryMs: config.MESSAGE_MAX_RETRY });

/** How steps are timed and retried. */
export const paceOf = (config: Config): Pace => ({
  attempts: config.RETRY_ATTEMPTS,
  firstRetryMs: config.RETRY_FIRST,
  maxRetryMs: config.RETRY_MAX,
  heartbeatTimeoutMs: config.HEARTBEAT_TIMEOUT,
});

/** Where Snowflake's API is. Its host names hold no underscores, accounts may. */
export const snowflakeUrl = ({ SNOWFLAKE_URL, SNOWFLAKE_ACCOUNT }: { SNOWFLAKE_URL?: string | undefined; SNOWFLAKE_ACCOUNT: string }): string => SNOWFLAKE_URL ?? `https://${SNOWFLAKE_ACCOUNT.toLowerCase().replaceAll('_', '-')}.snowflakecomputing.com`;

/** Snowflake's settings, or undefined where it does not answer the queries. They were checked as a whole. */
export const snowflakeConfig = (config: Config): SnowflakeConfig | undefined => (config.WAREHOUSE === 'snowflake' ? (config as SnowflakeConfig) : undefined);

/** How the outcome of outbound calls is waited for. */
export const voicePaceOf = (config: Config): VoicePace => ({ secondLookMs: config.VOICE_SECOND_LOOK, firstLookUpMs: config.VOICE_LOOK_UP_FIRST, maxLookUpMs: config.VOICE_LOOK_UP_MAX, patienceMs: config.VOICE_PATIENCE });

/** A PEM text given as such or as the path of a file. */
export const readPem = (value: string): string => (value.includes('-----BEGIN') ? value.replaceAll('\\n', '\n') : readFileSync(value, 'utf8'));
