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
 * Extensions would be fetched from the internet; JSON and Parquet are built in.
 */
export const withDuckDb = async <T>({ folders, memoryMb, threads }: DuckDbLimits, work: (connection: DuckDBConnection) => Promise<T>): Promise<T> => {
  // Loaded only when asked for: an installation on Athena need not carry it.
  const { DuckDBInstance } = await import('@duckdb/node-api');
  const instance = await DuckDBInstance.create(':memory:', { autoinstall_known_extensions: 'false', autoload_known_extensions: 'false', threads: String(threads), memory_limit: `${memoryMb}MB` });
  const connection = await instance.connect();
  try {
    await connection.run(`SET allowed_directories = [${folders.map(sqlText).join(', ')}]`);
    await connection.run('SET enable_external_access = false');
    await connection.run("SET TimeZone = 'UTC'");
    await connection.run('SET lock_configuration = true');
    return await work(connection);
  } finally {
    connection.closeSync();
    instance.closeSync();
  }
};

/** A text as it stands in SQL. */
export const sqlText = (value: string): string => `'${value.replaceAll("'", "''")}'`;
