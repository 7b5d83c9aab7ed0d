import express, { type Response } from 'express';
import { faultOf, type SandboxServer, startSandboxServer } from '../server.ts';
import { openEngine } from '../sql/duckdb.ts';
import { startTranslator } from '../sql/translator.ts';
import { columnInfo, createExecutions, datum, type Execution, InvalidRequest, type StartRequest, type State } from './executions.ts';
import type { TableSource } from './tables.ts';

export interface AthenaOptions {
  /** A Python that has sqlglot. */
  pythonPath: string;
  tables: TableSource;
  port?: number;
}

/** Athena's own most; the first page's first is the header. */
const PAGE_ROWS = 1_000;

type Acted = { kind: 'hold'; forMs?: number } | { kind: 'states'; states: State[] } | { kind: 'fail'; reason: string; retryable?: boolean; state?: 'FAILED' | 'CANCELLED' } | undefined;

/**
 * A stand-in for Athena, with real results: queries are checked against its grammar by sqlglot, written for DuckDB, and run
 * over the files that a catalogue's tables lie in.
 *
 * A repeat of a query under its token is answered with the first one. Acts out, at a query's start, `hold` (it seems to run
 * `forMs` longer), `states` (shown one after the other before the real one) and `fail` (or `CANCELLED`, as by a limit of the workgroup).
 */
export const startAthena = async ({ pythonPath, tables, port = 0 }: AthenaOptions): Promise<SandboxServer> => {
  const engine = await openEngine();
  const translator = await startTranslator(pythonPath).catch((error: unknown) => {
    engine.close();
    throw error;
  });
  const refuse = (response: Response, type: string, message: string): void => void response.status(400).type('application/x-amz-json-1.1').send(JSON.stringify({ __type: type, message, Message: message, ...(type === 'InvalidRequestException' ? { AthenaErrorCode: 'INVALID_INPUT' } : {}) }));

  const server = await startSandboxServer(
    'athena',
    ({ app, record }) => {
      const executions = createExecutions({ engine, translator, tables, record });

      const start = async (body: StartRequest, acted: Acted): Promise<object> => {
        const execution = await executions.start(body, {
          ...(acted?.kind === 'hold' ? { holdMs: acted.forMs ?? 1_000 } : {}),
          ...(acted?.kind === 'states' ? { shown: acted.states } : {}),
          ...(acted?.kind === 'fail' ? { failure: { reason: acted.reason, retryable: acted.retryable ?? false, state: acted.state ?? 'FAILED' } } : {}),
        });
        return { QueryExecutionId: execution.id };
      };
      const status = (execution: Execution): object => {
        const State = execution.shown.shift() ?? execution.state;
        return {
          QueryExecution: {
            QueryExecutionId: execution.id,
            Query: execution.request.QueryString,
            Status: {
              State,
              ...(execution.reason && State === execution.state ? { StateChangeReason: execution.reason } : {}),
              ...(execution.reason && State === 'FAILED' ? { AthenaError: { ErrorCategory: 2, ErrorType: 1_006, Retryable: execution.retryable, ErrorMessage: execution.reason } } : {}),
            },
          },
        };
      };
      const results = ({ state, table }: Execution, { NextToken, MaxResults = PAGE_ROWS }: { NextToken?: string; MaxResults?: number }): object => {
        if (state !== 'SUCCEEDED' || !table) throw new InvalidRequest(`Query has not yet finished. Current state: ${state}`);
        if (MaxResults > PAGE_ROWS) throw new InvalidRequest('MaxResults is more than maximum allowed length 1000.');
        const all = [table.columns.map(({ name }) => ({ VarCharValue: name })), ...table.rows.map((row) => row.map(datum))];
        const from = Number(NextToken ?? 0);
        const next = from + MaxResults;
        return { ResultSet: { Rows: all.slice(from, next).map((Data) => ({ Data })), ResultSetMetadata: { ColumnInfo: columnInfo(table) } }, ...(next < all.length ? { NextToken: String(next) } : {}), UpdateCount: 0 };
      };

      app.post('/', express.json({ type: () => true, limit: '2mb' }), async (request, response) => {
        const target = (request.get('x-amz-target') ?? '').split('.')[1] ?? '';
        const body = (request.body ?? {}) as StartRequest & { QueryExecutionId?: string; NextToken?: string; MaxResults?: number };
        try {
          let answer: object;
          if (target === 'StartQueryExecution') {
            answer = await start(body, faultOf(response) as Acted);
          } else {
            const execution = executions.find(body.QueryExecutionId ?? '');
            if (!execution) throw new InvalidRequest(`QueryExecution ${body.QueryExecutionId} was not found`);
            if (target === 'StopQueryExecution') record('stopped', { id: execution.id });
            if (target === 'StopQueryExecution') execution.stop();
            answer = target === 'GetQueryExecution' ? status(execution) : target === 'GetQueryResults' ? results(execution, body) : {};
          }
          record('asked', { target, body });
          response.type('application/x-amz-json-1.1').send(JSON.stringify(answer));
        } catch (error) {
          if (!(error instanceof InvalidRequest)) throw error;
          refuse(response, 'InvalidRequestException', error.message);
        }
      });
    },
    { port },
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
