import { mkdir } from 'node:fs/promises';
import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { AUDIO_FOLDER, SAMPLE_CALLS } from './calls/index.ts';
import { startOpenAI } from './openai/server.ts';
import { startSalesforce } from './salesforce/server.ts';
import type { SandboxServer } from './server.ts';
import { startWebex } from './webex/server.ts';

/**
 * The stand-ins as a program: `npm run sandbox`.
 *
 * Prints one line of JSON with the servers' addresses on standard output when all are up, and ends on
 * SIGINT, SIGTERM, or when its standard input is closed by whoever started it with `--attached`.
 */
const HELP = `Usage: npm run sandbox -- [options]
  --data DIR           where it keeps its state            (.aftercall/sandbox)
  --port-webex N       --port-openai N   --port-salesforce N   (a free one)
  --speech MODE        script: known calls are answered from their scripts; whisper: local recognition
  --whisper-model DIR  a faster-whisper model folder       --python PATH   a Python that has faster-whisper
  --ffmpeg PATH        the ffmpeg program                  (ffmpeg)
  --attached           end when standard input closes`;

const { values } = parseArgs({
  options: {
    data: { type: 'string', default: '.aftercall/sandbox' },
    'port-webex': { type: 'string', default: '0' },
    'port-openai': { type: 'string', default: '0' },
    'port-salesforce': { type: 'string', default: '0' },
    speech: { type: 'string', default: 'script' },
    'whisper-model': { type: 'string' },
    python: { type: 'string', default: 'python3' },
    ffmpeg: { type: 'string', default: process.env['FFMPEG_PATH'] ?? 'ffmpeg' },
    attached: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (values.help) {
  process.stdout.write(`${HELP}\n`);
  process.exit(0);
}
if (values.speech !== 'script' && values.speech !== 'whisper') fail(`--speech is script or whisper, not "${values.speech}".`);
if (values.speech === 'whisper' && !values['whisper-model']) fail('--speech whisper needs --whisper-model DIR.');

const dataFolder = resolve(values.data);
await mkdir(dataFolder, { recursive: true });
const files = { calls: SAMPLE_CALLS, audioFolder: AUDIO_FOLDER, ffmpegPath: values.ffmpeg };
const servers: SandboxServer[] = [];
try {
  servers.push(await startWebex({ ...files, dataFolder, port: Number(values['port-webex']) }));
  servers.push(
    await startOpenAI({
      ...files,
      dataFolder,
      port: Number(values['port-openai']),
      ...(values.speech === 'whisper' ? { whisper: { pythonPath: values.python, modelPath: values['whisper-model']! } } : {}),
    }),
  );
  servers.push(await startSalesforce({ dataFolder, port: Number(values['port-salesforce']) }));
} catch (error) {
  fail(`The sandbox did not start: ${error instanceof Error ? error.message : String(error)}`);
}
process.stdout.write(`${JSON.stringify(Object.fromEntries(servers.map(({ name, url }) => [name, url])))}\n`);
for (const { name, url } of servers) process.stderr.write(`sandbox ${name.padEnd(10)} ${url}\n`);

const stop = (): void => {
  void Promise.all(servers.map((server) => server.close())).then(() => process.exit(0));
};
process.once('SIGINT', stop);
process.once('SIGTERM', stop);
if (values.attached) process.stdin.on('end', stop).on('error', stop).resume();

function fail(why: string): never {
  process.stderr.write(`${why}\n`);
  process.exit(2);
}
