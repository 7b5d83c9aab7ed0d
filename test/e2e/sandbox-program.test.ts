import { execFile } from 'node:child_process';
import { generateKeyPairSync } from 'node:crypto';
import { readdir, readFile, rm, writeFile, mkdtemp } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import type { LedgerEntry } from '../../sandbox/ledger.ts';
import type { ChoiceUrls, SandboxUrls } from '../../sandbox/settings.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import { createSnowflakeClient, freshRequestId } from '../../src/adapters/warehouse/snowflake/client.ts';
import { WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { descendantsOf, type Program, runProgram, startProgram } from '../support/program.ts';
import { sqlglotPython } from '../support/snowflake.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

/** `npm run sandbox` by hand, and `npm start` pointed at it and at a Temporal that is not its own. */
let folder: string;
let sandbox: Program;
let urls: SandboxUrls;
const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2_048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'aftercall-stand-ins-'));
  await writeFile(join(folder, 'jwt.pub'), publicKey);
  await writeFile(join(folder, 'jwt.key'), privateKey, { mode: 0o600 });
  sandbox = startProgram('sandbox', { args: ['--data', 'stand-ins', '--salesforce-jwt-key', 'jwt.pub'], cwd: folder });
  await sandbox.says('SFDC_USERNAME');
  urls = JSON.parse(sandbox.stdout()) as SandboxUrls;
});
afterAll(async () => {
  sandbox?.kill('SIGKILL');
  await sandbox?.ended;
  await rm(folder, { recursive: true, force: true });
});

describe('npm run sandbox', () => {
  it('prints one line of JSON with its addresses, and the settings that lead to them for a person', async () => {
    expect(sandbox.stdout()).toMatch(/^\{.*\}\n$/);
    for (const [name, url] of Object.entries(urls) as [string, string][]) {
      expect(sandbox.stderr()).toMatch(new RegExp(`sandbox ${name} +${url}\n`));
      expect((await fetch(`${url}/_sandbox/ledger`)).status).toBe(200);
    }
    expect(sandbox.stderr()).toContain(`\nWEBEX_BASE_URL="${urls.webex}"\n`);
    expect(sandbox.stderr()).toContain(`\nOPENAI_BASE_URL="${urls.openai}/v1"\n`);
    expect(sandbox.stderr()).toContain(`\nSFDC_URL="${urls.salesforce}"\n`);
    expect(sandbox.stderr()).toContain(`\nAMOCRM_BASE_URL="${urls.amocrm}"\n`);
    const { deepgram, pyannote } = urls as SandboxUrls & ChoiceUrls;
    // Not for everybody: as remarks, which a file of settings leaves out.
    expect(sandbox.stderr()).toContain(`\n# deepgram: STT_PROVIDER="deepgram" STT_BASE_URL="${deepgram}" STT_API_KEY="`);
    expect(sandbox.stderr()).toContain(`\n# pyannote: DIARIZATION_PROVIDER="pyannoteai" DIARIZATION_BASE_URL="${pyannote}" DIARIZATION_API_KEY="`);
  });

  it('names every option with --help', async () => {
    const { code, stdout } = await runProgram('sandbox', { args: ['--help'], cwd: folder });
    expect(code).toBe(0);
    for (const option of ['--data', '--port-webex', '--port-telegram', '--port-receiver', '--speech', '--ffmpeg', '--salesforce-jwt-key', '--attached']) expect(stdout).toContain(option);
  });

  const misuses: [string[], RegExp][] = [
    [['--colour', 'red'], /Unknown option '--colour'/],
    [['more'], /Unexpected argument 'more'/],
    [['--port-webex', 'http'], /--port-webex is a number from 0 to 65535, not "http"/],
    [['--port-openai', '70000'], /--port-openai is a number from 0 to 65535, not "70000"/],
    [['--speech', 'loud'], /--speech is script or whisper, not "loud"/],
    [['--speech', 'whisper'], /--speech whisper needs --whisper-model/],
    [['--salesforce-jwt-key', 'nowhere.pem'], /--salesforce-jwt-key nowhere\.pem holds no key that can be read/],
    [['--snowflake-key', 'nowhere.pem'], /--snowflake-key nowhere\.pem holds no key that can be read/],
  ];
  it.each(misuses)('refuses %j with its usage and exit code 2', async (args, message) => {
    const { code, stdout, stderr } = await runProgram('sandbox', { args: ['--data', 'refused', ...args], cwd: folder });
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(message);
    expect(stderr).toContain('Usage: npm run sandbox');
    expect(stderr).not.toContain('    at ');
    expect(await readdir(folder)).not.toContain('refused');
  });

  it('says that a port is taken, with exit code 1', async () => {
    const other = createServer();
    await new Promise<void>((resolve) => other.listen(0, '127.0.0.1', resolve));
    const { port } = other.address() as AddressInfo;
    const { code, stdout, stderr } = await runProgram('sandbox', { args: ['--data', 'other', '--port-salesforce', String(port)], cwd: folder });
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toMatch(new RegExp(`^The sandbox did not start: .*EADDRINUSE.*${port}`));
    other.close();
  });

  it('has a Snowflake with its tables for whoever gives it a key', async () => {
    const program = startProgram('sandbox', { args: ['--data', 'with-warehouse', '--snowflake-key', 'jwt.pub', '--python', sqlglotPython()], cwd: folder });
    try {
      await program.says('SNOWFLAKE_PRIVATE_KEY');
      const { snowflake } = JSON.parse(program.stdout()) as { snowflake: string };
      const told = new Map([...program.stderr().matchAll(/(SNOWFLAKE_[A-Z]+)="([^"]*)"/g)].map(([, name, value]) => [name!, value!]));
      expect(told.get('SNOWFLAKE_URL')).toBe(snowflake);
      const named = (name: string): string => told.get(`SNOWFLAKE_${name}`)!;
      const client = createSnowflakeClient({
        SNOWFLAKE_ACCOUNT: named('ACCOUNT'), SNOWFLAKE_URL: snowflake, SNOWFLAKE_USER: named('USER'), SNOWFLAKE_PRIVATE_KEY: privateKey, SNOWFLAKE_WAREHOUSE: named('WAREHOUSE'), SNOWFLAKE_DATABASE: named('DATABASE'), SNOWFLAKE_SCHEMA: named('SCHEMA'),
        SNOWFLAKE_ROLE: undefined, SNOWFLAKE_PRIVATE_KEY_PASSPHRASE: undefined, UPSTREAM_TIMEOUT: 10_000, OUTBOUND_ONLY: undefined,
      });
      for (const table of WAREHOUSE_TABLES) expect((await client.execute(`SELECT COUNT(*) FROM ${table}`, [], { requestId: freshRequestId(), signal: AbortSignal.timeout(60_000) })).rows).toEqual([[0]]);
    } finally {
      program.kill('SIGTERM');
      await program.ended;
    }
  });

  it.each(['SIGTERM', 'SIGINT'] as const)('ends with 0 on %s', async (signal) => {
    const program = startProgram('sandbox', { args: ['--data', 'short'], cwd: folder });
    await program.says('SFDC_URL');
    program.kill(signal);
    expect(await program.ended).toMatchObject({ code: 0, signal: null });
  });
});

describe('npm start with every system named', () => {
  let temporal: DevServer;
  beforeAll(async () => {
    temporal = await startTemporalProcess();
    await operator('update', '--retention', '1h');
  });
  afterAll(() => temporal?.stop());

  const operator = async (verb: string, ...args: string[]): Promise<string> =>
    (await promisify(execFile)(process.env['TEMPORAL_CLI']!, ['operator', 'namespace', verb, '--address', temporal.address, '-n', 'default', ...args])).stdout;

  it('starts none of its own, warns that Temporal forgets too soon, and works with what it was given', async () => {
    // What the sandbox printed is a file of settings as it stands.
    await writeFile(join(folder, 'sandbox.env'), sandbox.stderr().split('\n').filter((line) => /^[A-Z_]+=/.test(line)).join('\n'));
    const start = startProgram('start', {
      args: ['--once', '--data', 'named', '--env', 'sandbox.env'],
      env: { TEMPORAL_ADDRESS: temporal.address, SFDC_PRIVATE_KEY: join(folder, 'jwt.key'), MINUTES_BACK: '425' },
      cwd: folder,
    });
    await start.says(/calls: /);
    expect((await descendantsOf(start.pid)).filter(({ command }) => /start-dev|sandbox\/main/.test(command))).toEqual([]);
    const { code, stdout, stderr } = await start.ended;

    expect(code).toBe(0);
    expect(stderr).toContain('sandbox: not needed, all systems are named');
    expect(stderr).toContain(`temporal: ${temporal.address} (TEMPORAL_ADDRESS)`);
    expect(stderr).toContain('WARNING: namespace default keeps closed workflows for 1 h, the window reaches back 7.1 h.');
    expect(stderr).toContain('temporal operator namespace update --retention 2d');
    // What it warns of is not its own to change.
    expect(await operator('describe')).toMatch(/RetentionTtl\s+1h0m0s/);
    expect(await readdir(join(folder, 'named'))).toEqual(['aftercall.log', 'database', 'local.json', 'objects']);
    expect(JSON.parse(await readFile(join(folder, 'named', 'local.json'), 'utf8'))).not.toHaveProperty('sandboxPorts');

    expect(JSON.parse(stdout) as ExecutionReport).toMatchObject({ newTasks: 3, processedSuccessfully: 3, crm: { leadsCreated: 1, leadsConverted: 1 } });
    const kinds = async (url: string): Promise<string[]> => ((await (await fetch(`${url}/_sandbox/ledger`)).json()) as LedgerEntry[]).map(({ kind }) => kind);
    expect(await kinds(urls.webex)).toContain('recording_served');
    expect((await kinds(urls.salesforce)).filter((kind) => kind.startsWith('lead_c'))).toEqual(expect.arrayContaining(['lead_created', 'lead_converted']));
    const signIns = ((await (await fetch(`${urls.salesforce}/_sandbox/ledger`)).json()) as LedgerEntry[]).filter(({ kind }) => kind === 'signed_in');
    expect(new Set(signIns.map(({ grantType }) => grantType))).toEqual(new Set(['urn:ietf:params:oauth:grant-type:jwt-bearer']));
  });
});
