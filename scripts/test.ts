import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { migrate, openDatabase } from '../src/db/database.ts';
import { startPostgres } from '../test/support/postgres.ts';
import { ffmpeg, motoServer, say, sqlglotPython, temporalCli } from './programs/index.ts';

/**
 * Everything that `npm test` checks: types, lint, the documented settings, and all tests, with the programs that they need found or
 * fetched first. Ends with one line `N passed, N failed`. Arguments go to Jest: names of test files.
 */
const root = fileURLToPath(new URL('../', import.meta.url));
const args = process.argv.slice(2);

const installed = (command: string): string => join(root, 'node_modules', '.bin', command);

const run = (program: string, programArgs: string[], env: Record<string, string> = {}): Promise<number> =>
  new Promise((resolve) => {
    const child = spawn(program, programArgs, { cwd: root, stdio: 'inherit', env: { ...process.env, ...env } });
    child.once('exit', (code) => resolve(code ?? 1));
    child.once('error', () => resolve(1));
  });

let passed = 0;
let failed = 0;
const check = async (name: string, work: () => Promise<number>): Promise<void> => {
  say(`\n== ${name}`);
  if ((await work()) === 0) passed += 1;
  else failed += 1;
};

// One server for all tests, each of which has databases of its own.
const postgres = await startPostgres();
// The role that is the server's, not a database's, is there before two tests make it at once.
const first = await openDatabase(await postgres.createDatabase());
await migrate(first);
await first.destroy();
const env = { TEMPORAL_CLI: await temporalCli(), FFMPEG_PATH: await ffmpeg(), MOTO_SERVER: await motoServer(), SQLGLOT_PYTHON: await sqlglotPython(), TEST_DATABASE_URL: postgres.url };
if (args.length === 0) {
  await check('type check', () => run(installed('tsc'), ['-p', '.']));
  await check('lint', () => run(installed('eslint'), ['.']));
  await check('settings as documented', () => run(process.execPath, ['scripts/write-env-example.ts', '--check']));
  await check('tracking schema as published', () => run(process.execPath, ['scripts/write-tracking-schema.ts', '--check']));
}

say('\n== tests');
const folder = await mkdtemp(join(tmpdir(), 'aftercall-jest-'));
const outputFile = join(folder, 'results.json');
// Made once instead of at the start of every test file.
const workflowBundle = join(folder, 'workflow-bundle.js');
if ((await run(process.execPath, ['scripts/bundle-workflows.ts', workflowBundle])) !== 0) failed += 1;
// Tests that need a browser, a speech model or a build name themselves: `npm test -- test/browser`.
const extra = args.some((arg) => /test\/(browser|speech|built)/.test(arg)) ? [] : ['--testPathIgnorePatterns', '/node_modules/', '/test/browser/', '/test/speech/', '/test/built/'];
// Tests wait more than they compute: three at once take a fifth less time than two, also on two cores.
const code = await run(installed('jest'), [...extra, '--maxWorkers=3', '--json', `--outputFile=${outputFile}`, ...(args.length > 0 ? ['--', ...args] : [])], {
  ...env,
  WORKFLOW_BUNDLE: workflowBundle,
  NODE_OPTIONS: '--experimental-vm-modules --disable-warning=ExperimentalWarning',
});
const results = JSON.parse(await readFile(outputFile, 'utf8').catch(() => '{}')) as { numPassedTests?: number; numFailedTests?: number; numFailedTestSuites?: number; testResults?: { assertionResults: unknown[] }[] };
await rm(folder, { recursive: true, force: true });
await postgres.stop();
passed += results.numPassedTests ?? 0;
// A file that does not load runs no test and fails all the same.
const brokenFiles = (results.testResults ?? []).filter((file) => file.assertionResults.length === 0).length;
failed += (results.numFailedTests ?? 0) + brokenFiles;
if (code !== 0 && failed === 0) failed = 1;
if (code === 0 && (results.numPassedTests ?? 0) === 0) {
  say('No test ran.');
  failed += 1;
}
process.stdout.write(`\n${passed} passed, ${failed} failed\n`);
process.exit(failed === 0 ? 0 : 1);
