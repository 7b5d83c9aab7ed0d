import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DuckDBConnection } from '@duckdb/node-api';

export interface DuckDbLimits {
  /** Folders it may read, and write where the SQL says so; everything else is out of its reach. */
  folders: readonly string[];
  memoryMb: number;
  threads: number;
}

/**
 * Opens an in-memory DuckDB that reaches nothing but some folders.
 *
 * Extensions would be fetched from the internet; JSON and Parquet are built in. What does not fit into its memory is laid
 * off in a folder of its own: several under one folder take the same names there, and read each other's rows.
 */
export const withDuckDb = async <T>({ folders, memoryMb, threads }: DuckDbLimits, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> => {
  // Loaded only when asked for: an installation on Athena need not carry it.
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const ownFolder = await mkdtemp(join(tmpdir(), 'aftercall-duckdb-'));
  try {
    const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false', autoload_known_extensions: 'false', threads: String(threads), memory_limit: `${memoryMb}MB`, temp_directory: ownFolder });
    try {
      const connection = await instance.connect();
      try {
        await connection.run(`SET allowed_directories = [${folders.map(sqlText).join(', ')}]`);
        await connection.run('SET enable_external_access = false');
        await connection.run("SET TimeZone = 'UTC'");
        await connection.run('SET lock_configuration = true');
        return await work(connection);
      } finally {
        connection.closeSync();
      }
    } finally {
      instance.closeSync();
    }
  } finally {
    await rm(ownFolder, { recursive: true, force: true });
  }
};

/** A text as it stands in SQL. */
export const sqlText = (value: string): string => `'${value.replaceAll("'", "''")}'`;
