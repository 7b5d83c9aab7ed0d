import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { AthenaClient, type ColumnInfo, GetQueryExecutionCommand, GetQueryResultsCommand, type Row, StartQueryExecutionCommand, StopQueryExecutionCommand } from '@aws-sdk/client-athena';
import type { Config } from '../../../config.ts';
import { AftercallError, isAftercallError, messageOf } from '../../../domain/errors.ts';
import type { QueryParameter, QueryResult, QueryValue } from '../engine.ts';

export type AthenaConfig = Pick<Config, 'AWS_REGION' | 'AWS_ENDPOINT_URL' | 'GLUE_DATABASE' | 'ATHENA_WORKGROUP' | 'ATHENA_OUTPUT'> & { ATHENA_ENDPOINT_URL?: string | undefined };

/** Waits between looks at a running query: most take seconds. */
const LOOK_EVERY_MS = { first: 300, most: 5_000 };
/** Athena's quotas are of requests per second over the account. */
const TRIES = 6;
/** Most rows that Athena gives at once; the first page's first is the header. */
const PAGE_ROWS = 1_000;
const THROTTLED = /^(TooManyRequestsException|ThrottlingException|RequestLimitExceeded)$/;
const DENIED = /AccessDenied|InvalidClientTokenId|SignatureDoesNotMatch|InvalidSignature|UnrecognizedClient|ExpiredToken|MissingAuthenticationToken|CredentialsProviderError/;
/** Of one request. None of them waits for a query. */
const TIMEOUTS = { connectionTimeout: 5_000, requestTimeout: 20_000 };
/** How long whoever has given a query up waits for it to be stopped. */
const STOP_WITHIN_MS = 5_000;

export interface AthenaRun {
  doing: string;
  signal: AbortSignal;
  timeoutMs: number;
  maxRows: number;
}

/**
 * A value as Athena takes it for a `?`: SQL for a literal.
 *
 * A text has its quotes doubled, which is all that Athena's strings know of escaping.
 */
export const literalOf = (value: QueryParameter): string => (typeof value === 'string' ? `'${value.replaceAll("'", "''")}'` : String(value));

/** A cell by its column's type; a cell without a value is NULL. */
export const decodeCell = (cell: string | undefined, { Type = 'varchar' }: Pick<ColumnInfo, 'Type'>): QueryValue => {
  if (cell === undefined) return null;
  switch (Type) {
    case 'tinyint':
    case 'smallint':
    case 'integer':
    case 'bigint':
    case 'float':
    case 'real':
    case 'double':
    case 'decimal': {
      const number = Number(cell);
      return Number.isInteger(number) && !Number.isSafeInteger(number) ? cell : number;
    }
    case 'boolean':
      return cell === 'true';
    case 'timestamp':
      return new Date(`${cell.replace(' ', 'T')}Z`).toISOString();
    default:
      return cell;
  }
};

/** Runs queries in Athena to their end. */
export const createAthenaQueries = (config: AthenaConfig, { lookEveryMs = LOOK_EVERY_MS, requestTimeoutMs = TIMEOUTS.requestTimeout, tries = TRIES } = {}) => {
  const endpoint = config.ATHENA_ENDPOINT_URL ?? config.AWS_ENDPOINT_URL;
  const client = new AthenaClient({ region: config.AWS_REGION, maxAttempts: tries, requestHandler: { ...TIMEOUTS, requestTimeout: requestTimeoutMs, throwOnRequestTimeout: true }, ...(endpoint ? { endpoint } : {}) });

  const start = async (sql: string, parameters: readonly QueryParameter[], signal: AbortSignal): Promise<string> => {
    const { QueryExecutionId } = await client.send(
      new StartQueryExecutionCommand({
        QueryString: sql,
        // Asked again by the SDK after a lost answer, it is run once: 32 to 128 characters. Another run has another: one that
        // failed would be answered with its failure for ever.
        ClientRequestToken: randomUUID(),
        QueryExecutionContext: { Database: config.GLUE_DATABASE },
        WorkGroup: config.ATHENA_WORKGROUP,
        ...(parameters.length > 0 ? { ExecutionParameters: parameters.map(literalOf) } : {}),
        ...(config.ATHENA_OUTPUT ? { ResultConfiguration: { OutputLocation: config.ATHENA_OUTPUT } } : {}),
      }),
      { abortSignal: signal },
    );
    if (!QueryExecutionId) throw new AftercallError('UPSTREAM_NONSENSE', 'Athena took a query and gave it no ID.', { advice: 'It is tried again.' });
    return QueryExecutionId;
  };

  /** Until it has succeeded. A query may fall back from running to waiting. */
  const finished = async (QueryExecutionId: string, { doing, signal }: AthenaRun): Promise<void> => {
    for (let waitMs = lookEveryMs.first; ; waitMs = Math.min(waitMs * 1.5, lookEveryMs.most)) {
      const { QueryExecution } = await client.send(new GetQueryExecutionCommand({ QueryExecutionId }), { abortSignal: signal });
      const { State, StateChangeReason, AthenaError } = QueryExecution?.Status ?? {};
      if (State === 'SUCCEEDED') return;
      if (State === 'FAILED' || State === 'CANCELLED') {
        throw new AftercallError(AthenaError?.Retryable ? 'UPSTREAM_UNAVAILABLE' : 'UPSTREAM_REJECTED', `${doing} failed: the query was ${State.toLowerCase()} by Athena: ${StateChangeReason?.slice(0, 300) ?? 'no reason given'}`, {
          advice: AthenaError?.Retryable ? 'It is tried again.' : 'Look the query up in Athena. A table that is missing appears with the first registered call or load.',
        });
      }
      await sleep(waitMs, undefined, { signal });
    }
  };

  const read = async (QueryExecutionId: string, { maxRows, signal }: AthenaRun): Promise<QueryResult> => {
    let columns: ColumnInfo[] = [];
    const rows: QueryValue[][] = [];
    let NextToken: string | undefined;
    do {
      const page = await client.send(new GetQueryResultsCommand({ QueryExecutionId, MaxResults: PAGE_ROWS, ...(NextToken ? { NextToken } : {}) }), { abortSignal: signal });
      const found: Row[] = page.ResultSet?.Rows ?? [];
      if (NextToken === undefined) {
        const described = page.ResultSet?.ResultSetMetadata?.ColumnInfo ?? [];
        columns = described.length > 0 ? described : namedIn(found[0]);
      }
      for (const { Data = [] } of NextToken === undefined ? found.slice(1) : found) rows.push(columns.map((column, index) => decodeCell(Data[index]?.VarCharValue, column)));
      NextToken = page.NextToken;
    } while (NextToken !== undefined && rows.length <= maxRows);
    return { columns: columns.map(({ Name = '' }) => Name.toLowerCase()), rows: rows.slice(0, maxRows), truncated: rows.length > maxRows };
  };

  /** A query that nobody waits for still costs by the bytes it reads, also one whose start is answered only now. */
  const stop = async (starting: Promise<string>, givenUp: AbortController): Promise<void> => {
    const timer = setTimeout(() => givenUp.abort(), STOP_WITHIN_MS);
    await starting.then((QueryExecutionId) => client.send(new StopQueryExecutionCommand({ QueryExecutionId }), { abortSignal: givenUp.signal })).catch(() => {});
    clearTimeout(timer);
  };

  return {
    /** @throws AftercallError as a `QueryEngine` does */
    async run(sql: string, parameters: readonly QueryParameter[], run: AthenaRun): Promise<QueryResult> {
      run.signal.throwIfAborted();
      const late = AbortSignal.timeout(run.timeoutMs);
      const within: AthenaRun = { ...run, signal: AbortSignal.any([run.signal, late]) };
      const givenUp = new AbortController();
      const starting = start(sql, parameters, givenUp.signal);
      const answered = async (): Promise<QueryResult> => {
        const QueryExecutionId = await starting;
        await finished(QueryExecutionId, within);
        return read(QueryExecutionId, within);
      };
      try {
        // The SDK does not wake from a pause between its tries.
        return await Promise.race([answered(), aborted(within.signal)]);
      } catch (error) {
        if (within.signal.aborted) await stop(starting, givenUp);
        run.signal.throwIfAborted();
        if (late.aborted) throw new AftercallError('UPSTREAM_TIMEOUT', `${run.doing} failed: Athena was not done after ${run.timeoutMs / 1_000} s, and the query was stopped.`, { advice: 'Ask for a shorter span.', cause: error });
        if (isAftercallError(error)) throw error;
        throw explain(error as Error, run.doing);
      }
    },
  };
};

const aborted = (signal: AbortSignal): Promise<never> => new Promise((_resolve, reject) => signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true }));

/** Columns by the header alone: their values stay text. */
const namedIn = (header: Row | undefined): ColumnInfo[] => (header?.Data ?? []).map(({ VarCharValue }) => ({ Name: VarCharValue, Type: 'varchar' }));

const explain = (error: Error, doing: string): AftercallError => {
  if (THROTTLED.test(error.name)) return new AftercallError('RATE_LIMITED', `${doing} failed: Athena takes no more queries for now (${error.name}).`, { advice: 'It is tried again. If it goes on, ask AWS for a higher quota.', cause: error });
  if (DENIED.test(error.name)) return new AftercallError('AUTH_FAILED', `${doing} failed: AWS does not let us ask Athena (${error.name}).`, { advice: "Check the credentials, and what they may do: start, follow and stop queries in ATHENA_WORKGROUP, read the tables' objects and write to ATHENA_OUTPUT.", outcome: 'refused', cause: error });
  if (error.name === 'InvalidRequestException') return new AftercallError('UPSTREAM_REJECTED', `${doing} failed: Athena refuses the query (${error.message.slice(0, 300)}).`, { advice: 'Check ATHENA_WORKGROUP and ATHENA_OUTPUT; else this is a defect of the query.', outcome: 'refused', cause: error });
  return new AftercallError('UPSTREAM_UNAVAILABLE', `${doing} failed with Athena (${error.name}: ${messageOf(error)}).`, { advice: 'Check ATHENA_WORKGROUP, ATHENA_OUTPUT and what the credentials may do.', cause: error });
};
