import { generateKeyPairSync } from 'node:crypto';
import { SNOWFLAKE_ACCOUNT, type SnowflakeOptions, startSnowflake } from '../../sandbox/snowflake/server.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import type { SnowflakeConfig } from '../../src/config.ts';

/** The stand-in, with a key of its own. */
export interface TestSnowflake extends SandboxServer {
  config: SnowflakeConfig;
  /** As settings of an installation. */
  env: Record<string, string>;
}

/** A Python that has sqlglot. */
export const sqlglotPython = (): string => {
  const path = process.env['SQLGLOT_PYTHON'];
  if (!path) throw new Error('SQLGLOT_PYTHON is not set. Run the tests with `npm test`, which finds the program and sets it.');
  return path;
};

export const startTestSnowflake = async (options: Partial<SnowflakeOptions> = {}): Promise<TestSnowflake> => {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048, publicKeyEncoding: { type: 'spki', format: 'pem' }, privateKeyEncoding: { type: 'pkcs8', format: 'pem' } });
  const server = await startSnowflake({ pythonPath: sqlglotPython(), publicKey, ...options });
  const { account, user, warehouse, database, schema } = SNOWFLAKE_ACCOUNT;
  const names = { SNOWFLAKE_ACCOUNT: account, SNOWFLAKE_URL: server.url, SNOWFLAKE_USER: user, SNOWFLAKE_PRIVATE_KEY: privateKey, SNOWFLAKE_WAREHOUSE: warehouse, SNOWFLAKE_DATABASE: database, SNOWFLAKE_SCHEMA: schema };
  return {
    ...server,
    config: { ...names, SNOWFLAKE_ROLE: undefined, SNOWFLAKE_PRIVATE_KEY_PASSPHRASE: undefined, UPSTREAM_TIMEOUT: 10_000, OUTBOUND_ONLY: undefined },
    env: { ...names, WAREHOUSE: 'snowflake' },
  };
};
