import { mkdir } from 'node:fs/promises';
import { Kysely, PGliteDialect, PostgresDialect, type Transaction } from 'kysely';
import { Migrator } from 'kysely/migration';
import pg from 'pg';
import { AftercallError, messageOf } from '../domain/errors.ts';
import { MIGRATIONS } from './migrations/index.ts';
import type { Schema } from './schema.ts';
import { asOwner, scopedDialect } from './scope.ts';

export type Database = Kysely<Schema>;

// Counts and micro-USD come back as int8, which pg hands over as text by default. All are far below 2^53.
pg.types.setTypeParser(pg.types.builtins.INT8, Number);

/**
 * Opens the database behind a URL.
 *
 * `postgres://…` is PostgreSQL 15 or later. `pglite:<folder>` is PostgreSQL embedded in this process:
 * one process at a time may open a folder. `pglite:` alone is in memory.
 */
export const openDatabase = async (url: string, { poolSize = 10 }: { poolSize?: number } = {}): Promise<Database> => {
  if (url.startsWith('pglite:')) {
    // Loaded only when asked for: the production image need not carry it.
    const { PGlite } = await import('@electric-sql/pglite');
    const folder = url.slice('pglite:'.length);
    if (folder) await mkdir(folder, { recursive: true });
    const pglite = folder ? new PGlite(folder) : new PGlite();
    return new Kysely<Schema>({ dialect: scopedDialect(new PGliteDialect({ pglite })) });
  }
  const pool = new pg.Pool({ connectionString: url, max: poolSize, connectionTimeoutMillis: 10_000 });
  // Without a listener, a dropped connection would end the process: the pool listens on idle ones, nobody on
  // those in use. Whoever uses one gets the error from its query.
  pool.on('error', () => {});
  pool.on('connect', (client) => void client.on('error', () => {}));
  return new Kysely<Schema>({ dialect: scopedDialect(new PostgresDialect({ pool })) });
};

/** Brings the schema up to date. Several processes may call it at once; one does the work. */
export const migrate = async (db: Database): Promise<void> => {
  const migrator = new Migrator({ db, provider: { getMigrations: async () => MIGRATIONS } });
  const { error, results } = await asOwner(() => migrator.migrateToLatest());
  if (!error) return;
  const failed = results?.find((result) => result.status === 'Error')?.migrationName;
  throw new AftercallError(
    'DATABASE_UNAVAILABLE',
    `Migrating the database failed${failed ? ` at ${failed}` : ''}: ${messageOf(error)}`,
    { advice: 'Check DATABASE_URL and that its user may create tables.', cause: error },
  );
};

/** Text that PostgreSQL takes: it knows neither NUL nor halves of surrogate pairs. */
export const storable = (text: string): string => text.toWellFormed().replaceAll('\0', '\uFFFD');

/** JSON that PostgreSQL takes, whatever an upstream has put into its texts. */
export const json = (value: object): string => JSON.stringify(value, (_key, member: unknown) => (typeof member === 'string' ? storable(member) : member));

const DEADLOCK = '40P01';
const MOST_TRIES = 5;

/**
 * A transaction that is done again when PostgreSQL has broken it off, because it and another waited for each other: for
 * whoever takes many rows in an order of its own. What it does besides must bear repeating.
 */
export const transact = async <T>(db: Database, work: (tx: Transaction<Schema>) => Promise<T>): Promise<T> => {
  for (let tries = 1; ; tries += 1) {
    try {
      return await db.transaction().execute(work);
    } catch (error) {
      if ((error as { code?: string }).code !== DEADLOCK || tries === MOST_TRIES) throw error;
    }
  }
};

/** Class 08 (connection), out of connections, shut down or starting, and what Node says of a socket. */
const DOWN_CODE = /^(08...|53300|57P0[1-3]|ECONNREFUSED|ECONNRESET|ETIMEDOUT|EHOSTUNREACH|ENOTFOUND|EAI_AGAIN)$/;
/** `pg` gives these no code. */
const DOWN_MESSAGE = /^(Connection terminated|timeout exceeded when trying to connect|Client has encountered a connection error)/;

/** Whether a query failed because the database could not be reached, not because of the query. */
export const isDatabaseDown = (error: unknown): boolean => {
  const { code, message } = error as { code?: string; message?: string };
  return DOWN_CODE.test(code ?? '') || DOWN_MESSAGE.test(message ?? '');
};
