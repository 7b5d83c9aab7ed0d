import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import express, { type Request, type Response } from 'express';
import { faultOf, type SandboxServer, startSandboxServer } from '../server.ts';
import { openEngine } from '../sql/duckdb.ts';
import { startTranslator } from '../sql/translator.ts';
import { encode, rowTypeOf } from './cells.ts';
import { createStatements, type Failure, type Statement, type StatementRequest } from './statements.ts';
import { type SnowflakeIdentity, tokenProblem } from './token.ts';

/** What the sandbox's own account is called. */
export const SNOWFLAKE_ACCOUNT = { account: 'SANDBOX-AFTERCALL', user: 'AFTERCALL_LOADER', warehouse: 'SMALL', database: 'AFTERCALL', schema: 'PUBLIC' };

export interface SnowflakeOptions {
  /** A Python that has sqlglot. */
  pythonPath: string;
  /** PEM of the key that tokens are checked with. */
  publicKey: string;
  identity?: Omit<SnowflakeIdentity, 'publicKey'>;
  port?: number;
  /** Statements that are run before it takes any, as for tables that have to be there. */
  setUp?: string;
  /** Keeps tables and ledger; default: in memory. */
  dataFolder?: string;
  /** How long a statement that was not submitted asynchronously is waited for; Snowflake: 45 s. */
  syncMs?: number;
  /** Snowflake fills partitions by bytes; here by rows. */
  partitionRows?: number;
}

const SYNC_MS = 45_000;
const PARTITION_ROWS = 10_000;
const UUID = /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/i;

const refuse = (response: Response, status: number, code: string, message: string): void => void response.status(status).json({ code, message });

/**
 * A stand-in for Snowflake's SQL API, with real results: statements are checked against Snowflake's grammar by sqlglot,
 * written for DuckDB and run there.
 *
 * Its account reads texts as times by formats of its own, unless a request says others. A repeat of a `requestId` with `retry=true` is answered with the first statement. Acts out `hold` (a statement seems to
 * run `forMs` longer). Statements that Snowflake would refuse although they are grammatical may pass here.
 */
export const startSnowflake = async ({ pythonPath, publicKey, identity = SNOWFLAKE_ACCOUNT, port = 0, setUp = '', dataFolder, syncMs = SYNC_MS, partitionRows = PARTITION_ROWS }: SnowflakeOptions): Promise<SandboxServer> => {
  if (dataFolder) await mkdir(dataFolder, { recursive: true });
  const engine = await openEngine(dataFolder && join(dataFolder, 'snowflake.duckdb'));
  const translator = await startTranslator(pythonPath).catch((error: unknown) => {
    engine.close();
    throw error;
  });
  if (setUp) for (const { sql } of await translator.translate(setUp, 'snowflake')) await engine.run(sql);
  /** Handles of the statements that came with a request ID. */
  const byRequest = new Map<string, string>();

  const server = await startSandboxServer(
    'snowflake',
    ({ app, record }) => {
      const statements = createStatements({ engine, translator, record });
      const answer = (response: Response, statement: Statement, partition = 0): void => {
        const links = { statementHandle: statement.handle, statementStatusUrl: `/api/v2/statements/${statement.handle}`, createdOn: statement.createdOnMs };
        if (statement.state === 'running') return void response.status(202).json({ code: '333334', message: 'Asynchronous execution in progress. Use provided query id to perform query monitoring and management.', ...links });
        if (statement.failure) return failed(response, statement.failure, statement.handle);
        const table = statement.table!;
        const parts = Array.from({ length: Math.max(1, Math.ceil(table.rows.length / partitionRows)) }, (_each, index) => table.rows.slice(index * partitionRows, (index + 1) * partitionRows));
        const rows = parts[partition];
        if (!rows) return refuse(response, 400, '391902', `There is no partition ${partition}.`);
        const data = rows.map((row) => row.map(encode));
        // Behind the first, partitions come compressed and hold nothing but rows.
        if (partition > 0) return void response.set({ 'content-encoding': 'gzip', 'content-type': 'application/json' }).send(gzipSync(JSON.stringify({ data })));
        response.json({
          resultSetMetaData: { numRows: table.rows.length, format: 'jsonv2', rowType: rowTypeOf(table), partitionInfo: parts.map((part) => ({ rowCount: part.length, uncompressedSize: JSON.stringify(part.map((row) => row.map(encode))).length })) },
          data,
          code: '090001',
          sqlState: '00000',
          message: 'Statement executed successfully.',
          ...links,
          ...(statement.stats ? { stats: statement.stats } : {}),
        });
      };

      const api = express.Router();
      api.use((request, response, next) => {
        if (!request.get('user-agent')) return refuse(response, 400, '391903', 'The User-Agent header is missing.');
        const problem = tokenProblem(request.get('authorization'), { ...identity, publicKey });
        if (problem) return refuse(response, 401, '390144', 'JWT token is invalid.');
        next();
      });
      api.post('/', express.json({ limit: '64mb' }), async (request: Request, response: Response) => {
        const body = (request.body ?? {}) as StatementRequest;
        const { requestId, retry, async } = request.query as Record<string, string | undefined>;
        if (requestId !== undefined && !UUID.test(requestId)) return refuse(response, 400, '391917', 'The request ID is not a UUID.');
        if (typeof body.statement !== 'string') return refuse(response, 400, '391902', 'The request has no statement.');
        const known = retry === 'true' && requestId ? byRequest.get(requestId) : undefined;
        const fault = faultOf(response) as { kind: string; forMs?: number } | undefined;
        const statement = (known && statements.find(known)) || statements.submit(body, { requestId: requestId ?? '', ...(fault?.kind === 'hold' ? { holdMs: fault.forMs ?? 1_000 } : {}) });
        if (requestId) byRequest.set(requestId, statement.handle);
        if (async !== 'true') await Promise.race([statement.ended, new Promise((resolve) => setTimeout(resolve, syncMs).unref())]);
        answer(response, statement);
      });
      api.get('/:handle', (request, response) => {
        const statement = statements.find(request.params.handle);
        if (!statement) return refuse(response, 404, '390142', 'The statement handle is not known.');
        answer(response, statement, Number(request.query['partition'] ?? 0));
      });
      api.post('/:handle/cancel', async (request, response) => {
        const statement = statements.find(request.params.handle);
        if (!statement) return refuse(response, 404, '390142', 'The statement handle is not known.');
        statement.cancel();
        record('cancelled', { handle: statement.handle });
        response.json({ code: '000709', sqlState: '00000', message: `Statement ${statement.handle} has been canceled.`, statementHandle: statement.handle });
      });
      app.use('/api/v2/statements', api);
    },
    { port, dataFolder },
  );
  return {
    ...server,
    close: async () => {
      await server.close();
      await translator.close();
      engine.close();
    },
  };
};

const failed = (response: Response, { status, code, sqlState, message }: Failure, statementHandle: string): void => void response.status(status).json({ code, sqlState, message, statementHandle });
