import { setTimeout as sleep } from 'node:timers/promises';
import { AthenaClient, GetQueryExecutionCommand, GetQueryResultsCommand, StartQueryExecutionCommand, StopQueryExecutionCommand } from '@aws-sdk/client-athena';
import type { Config } from '../../config.ts';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import { callTableName } from '../../domain/ids.ts';
import { countSql, toCounts } from './counts.ts';
import type { Warehouse } from './warehouse.ts';

type AthenaConfig = Pick<Config, 'AWS_REGION' | 'AWS_ENDPOINT_URL' | 'GLUE_DATABASE' | 'GLUE_TABLE' | 'ATHENA_WORKGROUP' | 'ATHENA_OUTPUT'>;

/** Waits between looks at a running query: most take seconds. */
const LOOK_EVERY_MS = { first: 500, most: 5_000 };

/** Queries the call table through Amazon Athena. */
export const createAthena = (config: AthenaConfig, { lookEveryMs = LOOK_EVERY_MS } = {}): Warehouse => {
  const client = new AthenaClient({ region: config.AWS_REGION, ...(config.AWS_ENDPOINT_URL ? { endpoint: config.AWS_ENDPOINT_URL } : {}) });

  /** Runs a query. @returns its rows by column name; absent values are null */
  const rowsOf = async (query: string, signal: AbortSignal): Promise<Record<string, string | null>[]> => {
    const abort = { abortSignal: signal };
    const { QueryExecutionId } = await client.send(
      new StartQueryExecutionCommand({
        QueryString: query,
        QueryExecutionContext: { Database: config.GLUE_DATABASE },
        WorkGroup: config.ATHENA_WORKGROUP,
        ...(config.ATHENA_OUTPUT ? { ResultConfiguration: { OutputLocation: config.ATHENA_OUTPUT } } : {}),
      }),
      abort,
    );
    try {
      for (let wait = lookEveryMs.first; ; wait = Math.min(wait * 2, lookEveryMs.most)) {
        const { QueryExecution } = await client.send(new GetQueryExecutionCommand({ QueryExecutionId }), abort);
        const { State, StateChangeReason } = QueryExecution?.Status ?? {};
        if (State === 'SUCCEEDED') break;
        if (State === 'FAILED' || State === 'CANCELLED') {
          throw new AftercallError('UPSTREAM_REJECTED', `The query was ${State.toLowerCase()} by Athena: ${StateChangeReason ?? 'no reason given'}.`, { advice: 'Look the query up in Athena. A table that is missing appears with the first registered call.' });
        }
        await sleep(wait, undefined, { signal });
      }
    } catch (error) {
      // A query that nobody waits for still costs by the bytes it reads.
      if (signal.aborted) await client.send(new StopQueryExecutionCommand({ QueryExecutionId })).catch(() => {});
      throw error;
    }
    const { ResultSet } = await client.send(new GetQueryResultsCommand({ QueryExecutionId }), abort);
    // The first row of the first page is the header.
    const [header, ...rows] = (ResultSet?.Rows ?? []).map(({ Data = [] }) => Data.map(({ VarCharValue }) => VarCharValue ?? null));
    return rows.map((row) => Object.fromEntries(row.map((value, index) => [header?.[index] ?? String(index), value])));
  };

  return {
    async countCalls(project, { signal = new AbortController().signal } = {}) {
      try {
        const [row] = await rowsOf(countSql(`"${config.GLUE_DATABASE}"."${callTableName(config.GLUE_TABLE, project)}"`), signal);
        if (!row) throw new AftercallError('UPSTREAM_NONSENSE', 'Athena answered the count without a row.', { advice: 'Look the query up in Athena.' });
        return toCounts(row);
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof AftercallError) throw error;
        throw new AftercallError('UPSTREAM_UNAVAILABLE', `Counting the call table with Athena failed (${(error as Error).name}: ${messageOf(error)}).`, { advice: 'Check ATHENA_WORKGROUP, ATHENA_OUTPUT and what the credentials may do.', cause: error });
      }
    },
  };
};
