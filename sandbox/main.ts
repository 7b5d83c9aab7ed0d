import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdir, readFile } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { startAbt } from './abt/server.ts';
import { startAmoCrm } from './amocrm/server.ts';
import { startAssemblyAI } from './assemblyai/server.ts';
import { AUDIO_FOLDER, SAMPLE_CALLS } from './calls/index.ts';
import { startDeepgram } from './deepgram/server.ts';
import { startOpenAI } from './openai/server.ts';
import { startPyannote } from './pyannote/server.ts';
import { RECEIVER_SECRETS, startReceiver } from './receiver/server.ts';
import { startRetell } from './retell/server.ts';
import { SALESFORCE_CLIENT, startSalesforce } from './salesforce/server.ts';
import type { SandboxServer } from './server.ts';
import { startSnowflake } from './snowflake/server.ts';
import { CHOICES, type ChoiceUrls, loadedTo, sandboxSettings, type SandboxUrls, trackedBy } from './settings.ts';
import { startTelegram, TELEGRAM_BOT } from './telegram/server.ts';
import { startWebex } from './webex/server.ts';

/**
 * The stand-ins as a program: `npm run sandbox`.
 *
 * Prints one line of JSON with the servers' addresses on standard output when all are up, and to whoever runs it
 * by hand the settings that lead to them on standard error. Ends on SIGINT, SIGTERM, or when its standard input
 * is closed by whoever started it with `--attached`.
 */
const HELP = `Usage: npm run sandbox -- [options]

  --data DIR           where it keeps its state                  (.aftercall/sandbox)
  --port-webex N       --port-openai N      --port-salesforce N  --port-amocrm N  (a free one)
  --port-deepgram N    --port-assemblyai N  --port-pyannote N                     (a free one)
  --port-telegram N    --port-receiver N    --port-retell N                       (a free one)
  --port-abt N         --port-snowflake N                                         (a free one)
  --retell-webhook URL where Retell's webhooks go                 (nowhere)
  --speech MODE        script: known calls are answered from their scripts; whisper: local recognition
  --whisper-model DIR  a faster-whisper model folder
  --python PATH        a Python that has faster-whisper, or sqlglot for Snowflake  (python3)
  --ffmpeg PATH        the ffmpeg program                        (ffmpeg)
  --salesforce-jwt-key FILE
                       public key or certificate (PEM) whose private key signs in to Salesforce by JWT
  --snowflake-key FILE public key (PEM) whose private key signs in to Snowflake: there is one if it is given
  --attached           end when standard input closes
  --help`;

const fail = (why: string, code: number): never => {
  process.stderr.write(`${why}\n`);
  process.exit(code);
};
const refuse = (why: string): never => fail(`${why}\n\n${HELP}`, 2);

const readArguments = () =>
  parseArgs({
    options: {
      data: { type: 'string', default: '.aftercall/sandbox' },
      'port-webex': { type: 'string', default: '0' },
      'port-openai': { type: 'string', default: '0' },
      'port-salesforce': { type: 'string', default: '0' },
      'port-amocrm': { type: 'string', default: '0' },
      'port-deepgram': { type: 'string', default: '0' },
      'port-assemblyai': { type: 'string', default: '0' },
      'port-pyannote': { type: 'string', default: '0' },
      'port-telegram': { type: 'string', default: '0' },
      'port-receiver': { type: 'string', default: '0' },
      'port-retell': { type: 'string', default: '0' },
      'port-abt': { type: 'string', default: '0' },
      'port-snowflake': { type: 'string', default: '0' },
      'retell-webhook': { type: 'string' },
      speech: { type: 'string', default: 'script' },
      'whisper-model': { type: 'string' },
      python: { type: 'string', default: 'python3' },
      ffmpeg: { type: 'string', default: process.env['FFMPEG_PATH'] || 'ffmpeg' },
      'salesforce-jwt-key': { type: 'string' },
      'snowflake-key': { type: 'string' },
      attached: { type: 'boolean', default: false },
      help: { type: 'boolean', default: false },
    },
  }).values;
type Arguments = ReturnType<typeof readArguments>;

const parsed = (): Arguments => {
  try {
    return readArguments();
  } catch (error) {
    return refuse((error as Error).message);
  }
};

const port = (values: Arguments, name: `port-${keyof SandboxUrls | keyof ChoiceUrls}`): number => {
  const text = values[name];
  return /^\d+$/.test(text) && Number(text) <= 65_535 ? Number(text) : refuse(`--${name} is a number from 0 to 65535, not "${text}".`);
};

const publicKey = (option: 'salesforce-jwt-key' | 'snowflake-key'): string | undefined => {
  const file = values[option];
  if (file === undefined) return undefined;
  try {
    return createPublicKey(readFileSync(file)).export({ type: 'spki', format: 'pem' }).toString();
  } catch (error) {
    return refuse(`--${option} ${file} holds no key that can be read: ${(error as Error).message}`);
  }
};

const values = parsed();
if (values.help) {
  process.stdout.write(`${HELP}\n`);
  process.exit(0);
}
if (values.speech !== 'script' && values.speech !== 'whisper') refuse(`--speech is script or whisper, not "${values.speech}".`);
if (values.speech === 'whisper' && !values['whisper-model']) refuse('--speech whisper needs --whisper-model DIR.');
const ports = {
  webex: port(values, 'port-webex'),
  openai: port(values, 'port-openai'),
  salesforce: port(values, 'port-salesforce'),
  amocrm: port(values, 'port-amocrm'),
  deepgram: port(values, 'port-deepgram'),
  assemblyai: port(values, 'port-assemblyai'),
  pyannote: port(values, 'port-pyannote'),
  telegram: port(values, 'port-telegram'),
  receiver: port(values, 'port-receiver'),
  retell: port(values, 'port-retell'),
  abt: port(values, 'port-abt'),
  snowflake: port(values, 'port-snowflake'),
};
const jwtKey = publicKey('salesforce-jwt-key');
const snowflakeKey = publicKey('snowflake-key');

const retellWebhook = values['retell-webhook'];
if (retellWebhook !== undefined && !URL.canParse(retellWebhook)) refuse(`--retell-webhook is a URL, not "${retellWebhook}".`);

const servers: SandboxServer[] = [];
let stopping = false;
const stop = (): void => {
  if (stopping) return;
  stopping = true;
  void Promise.all(servers.map((server) => server.close())).then(() => process.exit(0));
};
process.on('SIGINT', stop);
process.on('SIGTERM', stop);
if (values.attached) process.stdin.on('end', stop).on('error', stop).resume();

try {
  const dataFolder = resolve(values.data);
  await mkdir(dataFolder, { recursive: true });
  const files = { calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: values.ffmpeg, dataFolder };
  servers.push(await startWebex({ ...files, port: ports.webex }));
  const whisper = values.speech === 'whisper' ? { whisper: { pythonPath: values.python, modelPath: values['whisper-model']! } } : {};
  servers.push(await startOpenAI({ ...files, port: ports.openai, ...whisper }));
  servers.push(await startSalesforce({ dataFolder, port: ports.salesforce, ...(jwtKey ? { publicKey: jwtKey } : {}) }));
  servers.push(await startAmoCrm({ ...files, port: ports.amocrm }));
  servers.push(await startDeepgram({ ...files, port: ports.deepgram }), await startAssemblyAI({ ...files, port: ports.assemblyai }), await startPyannote({ ...files, port: ports.pyannote }));
  servers.push(await startTelegram({ dataFolder, port: ports.telegram }));
  servers.push(await startReceiver({ dataFolder, port: ports.receiver }));
  servers.push(await startAbt({ dataFolder, port: ports.abt }));
  servers.push(await startRetell({ ...files, port: ports.retell, ...(retellWebhook === undefined ? {} : { webhookUrl: retellWebhook }) }));
  if (snowflakeKey) servers.push(await startSnowflake({ pythonPath: values.python, publicKey: snowflakeKey, dataFolder, port: ports.snowflake, setUp: await readFile(new URL('../docs/warehouse-snowflake.sql', import.meta.url), 'utf8') }));
} catch (error) {
  fail(`The sandbox did not start: ${error instanceof Error ? error.message : String(error)}`, 1);
}

const urls = Object.fromEntries(servers.map(({ name, url }) => [name, url])) as unknown as SandboxUrls & ChoiceUrls;
process.stdout.write(`${JSON.stringify(urls)}\n`);
for (const { name, url } of servers) process.stderr.write(`sandbox ${name.padEnd(10)} ${url}\n`);
if (!values.attached) {
  process.stderr.write('\n# These settings lead to it; npm start takes them from its environment, or from a file with --env.\n');
  for (const [name, value] of Object.entries(sandboxSettings(urls))) process.stderr.write(`${name}="${value}"\n`);
  for (const [name, lead] of Object.entries(CHOICES) as [keyof ChoiceUrls, (url: string) => Record<string, string>][]) {
    process.stderr.write(`# ${name}: ${Object.entries(lead(urls[name])).map(([setting, value]) => `${setting}="${value}"`).join(' ')}\n`);
  }
  process.stderr.write(`# Tracking events: ${Object.entries(trackedBy(urls.abt!)).map(([setting, value]) => `${setting}="${value}"`).join(' ')}\n`);
  process.stderr.write(`# Telegram: bot token ${TELEGRAM_BOT.token}, chat ${TELEGRAM_BOT.chats.team}\n# Webhooks: ${urls.receiver}/hooks/any, secret ${RECEIVER_SECRETS[0]}\n`);
  if (urls.snowflake) process.stderr.write(`# Snowflake, with the tables made: ${Object.entries(loadedTo(urls.snowflake)).map(([setting, value]) => `${setting}="${value}"`).join(' ')}, and SNOWFLAKE_PRIVATE_KEY: the private key that belongs to it, or its file\n`);
  if (jwtKey) process.stderr.write(`SFDC_USERNAME="${SALESFORCE_CLIENT.username}"\n# SFDC_PRIVATE_KEY: the private key that belongs to it, or its file\n`);
}
