import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { z } from 'zod';
import { type SnowflakeConfig, snowflakeUrl } from '../../../config.ts';
import { AftercallError, isAftercallError } from '../../../domain/errors.ts';
import { type Answer, ask } from '../../http/http.ts';
import type { QueryValue } from '../engine.ts';
import { bindingOf, decodeCell, type SnowflakeValue } from './cells.ts';
import { StatementPartition, StatementResult, StatementRunning } from './client.schema.ts';
import { failureOf } from './failures.ts';
import { createSnowflakeTokens } from './token.ts';

export interface StatementOptions {
  /** A UUID: a statement that comes again under it is answered with what the first one did, and is not run again. */
  requestId: string;
  signal: AbortSignal;
  /** Longer, and it is cancelled and UPSTREAM_TIMEOUT thrown. Default: ten minutes. */
  timeoutMs?: number;
  /** Partitions behind as many rows are not fetched. Default: all. */
  maxRows?: number;
}

export interface StatementRows {
  /** In lower case, as the tables' documentation has them. */
  columns: string[];
  rows: QueryValue[][];
  /** There are more than `maxRows`. */
  truncated: boolean;
  /** What a MERGE, INSERT, UPDATE or DELETE changed; none of other statements. */
  changed: { inserted: number; updated: number; deleted: number };
}

export interface SnowflakeClient {
  /**
   * Runs one statement to its end.
   *
   * @param bindings for the `?`, in order
   * @throws AftercallError RATE_LIMITED (also while too many wait for the table's lock), UPSTREAM_UNAVAILABLE, UPSTREAM_TIMEOUT,
   *   AUTH_FAILED, and UPSTREAM_REJECTED when Snowflake refuses the statement. After the retryable ones the same `requestId` may
   *   be given again: nothing is done twice.
   */
  execute(statement: string, bindings: readonly SnowflakeValue[], options: StatementOptions): Promise<StatementRows>;
}

const DEFAULT_TIMEOUT_MS = 10 * 60_000;
/** Most a page of rows may hold: Snowflake's partitions are about 10 MB before compression. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** Of one request: the statement goes on by itself, so asking again costs little. */
const TRIES = 5;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 8_000;
const LOOK_MS = { first: 150, most: 3_000, growth: 1.5 };
/** To tell Snowflake that nobody waits any more. */
const CANCEL_MS = 5_000;

export const freshRequestId = (): string => randomUUID();

/**
 * Snowflake by its SQL REST API.
 *
 * Statements are submitted asynchronously: so there is a handle from the start, by which one that nobody waits for is
 * cancelled. Every request says `retry=true`, the first one too: only the caller knows whether an attempt before this
 * process's asked under the same `requestId`, and Snowflake runs one that it does not know as any other.
 */
export const createSnowflakeClient = (config: SnowflakeConfig): SnowflakeClient => {
  const tokens = createSnowflakeTokens(config);
  const base = snowflakeUrl(config);

  const askOnce = async (method: 'GET' | 'POST', path: string, body: string | undefined, doing: string, signal: AbortSignal): Promise<Answer> => {
    const once = (token: string): Promise<Answer> =>
      ask({
        system: 'Snowflake',
        doing,
        url: new URL(path, base),
        only: config.OUTBOUND_ONLY,
        method,
        headers: {
          authorization: `Bearer ${token}`,
          'x-snowflake-authorization-token-type': 'KEYPAIR_JWT',
          'user-agent': 'aftercall/1',
          accept: 'application/json',
          'content-type': 'application/json',
        },
        ...(body === undefined ? {} : { body }),
        signal,
        timeoutMs: config.UPSTREAM_TIMEOUT,
        maxBytes: MAX_ANSWER_BYTES,
      });
    const token = tokens.token();
    const answer = await once(token);
    if (answer.status !== 401) return answer;
    tokens.refuse(token);
    return once(tokens.token());
  };

  /** Asks until there is an answer that waiting would not better. */
  const request = async (method: 'GET' | 'POST', path: string, body: string | undefined, doing: string, signal: AbortSignal): Promise<Answer> => {
    for (let attempt = 1, pauseMs = FIRST_PAUSE_MS; ; attempt += 1, pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
      let failure: AftercallError;
      let passing: boolean;
      try {
        const answer = await askOnce(method, path, body, doing, signal);
        if (answer.status < 300) return answer;
        failure = failureOf(answer, doing);
        // The others are what became of the statement, and would be answered again.
        passing = answer.status === 429 || answer.status >= 500;
      } catch (error) {
        signal.throwIfAborted();
        if (!isAftercallError(error)) throw error;
        failure = error;
        passing = error.retryable;
      }
      // A longer wait is not had here, where a connection or an activity is held.
      if (!passing || attempt === TRIES || (failure.retryAfterMs ?? 0) > LONGEST_PAUSE_MS) throw failure;
      await pause(Math.max(pauseMs, failure.retryAfterMs ?? 0), signal);
    }
  };

  const cancel = async (handle: string): Promise<void> => {
    await askOnce('POST', `/api/v2/statements/${encodeURIComponent(handle)}/cancel`, undefined, 'Cancelling a statement', AbortSignal.timeout(CANCEL_MS)).catch(() => {});
  };

  /** From the first answer to the end of the statement. */
  const finished = async (first: Answer, doing: string, signal: AbortSignal, onHandle: (handle: string) => void): Promise<StatementResult> => {
    let answer = first;
    for (let waitMs = LOOK_MS.first; answer.status === 202; waitMs = Math.min(waitMs * LOOK_MS.growth, LOOK_MS.most)) {
      const { statementHandle } = readAs(StatementRunning, answer, doing);
      onHandle(statementHandle);
      await pause(waitMs, signal);
      answer = await request('GET', `/api/v2/statements/${encodeURIComponent(statementHandle)}`, undefined, doing, signal);
    }
    return readAs(StatementResult, answer, doing);
  };

  return {
    async execute(statement, bindings, { requestId, signal: given, timeoutMs = DEFAULT_TIMEOUT_MS, maxRows = Number.POSITIVE_INFINITY }) {
      given.throwIfAborted();
      const doing = `Running a ${statement.trimStart().split(/\s/, 1)[0]!.toUpperCase()} in Snowflake`;
      const late = AbortSignal.timeout(timeoutMs);
      const signal = AbortSignal.any([given, late]);
      const body = JSON.stringify({
        statement,
        // Snowflake's own limit is a little behind ours, which also cancels.
        timeout: Math.max(1, Math.ceil(timeoutMs / 1_000)),
        database: config.SNOWFLAKE_DATABASE,
        schema: config.SNOWFLAKE_SCHEMA,
        warehouse: config.SNOWFLAKE_WAREHOUSE,
        ...(config.SNOWFLAKE_ROLE ? { role: config.SNOWFLAKE_ROLE } : {}),
        ...(bindings.length > 0 ? { bindings: Object.fromEntries(bindings.map((value, index) => [String(index + 1), bindingOf(value)])) } : {}),
        // What an account or a user may have set otherwise, and results depend on.
        parameters: { TIMEZONE: 'UTC', WEEK_START: '1', TIMESTAMP_INPUT_FORMAT: 'YYYY-MM-DD HH24:MI:SS.FF3', DATE_INPUT_FORMAT: 'YYYY-MM-DD', ROWS_PER_RESULTSET: '0', QUERY_TAG: 'aftercall' },
      });
      let handle: string | undefined;
      try {
        const first = await request('POST', `/api/v2/statements?requestId=${requestId}&retry=true&async=true`, body, doing, signal);
        const result = await finished(first, doing, signal, (running) => (handle = running));
        handle = undefined;
        const { rowType, partitionInfo = [] } = result.resultSetMetaData;
        const decoded = (data: readonly (string | null)[][]): QueryValue[][] => data.map((row) => row.map((cell, index) => decodeCell(cell, rowType[index]!)));
        const rows = decoded(result.data ?? []);
        for (let partition = 1; partition < partitionInfo.length && rows.length <= maxRows; partition += 1) {
          const answer = await request('GET', `/api/v2/statements/${encodeURIComponent(result.statementHandle)}?partition=${partition}`, undefined, doing, signal);
          rows.push(...decoded(readAs(StatementPartition, answer, doing).data));
        }
        const count = (name: string): number => Number(result.stats?.[name] ?? 0);
        return {
          columns: rowType.map(({ name }) => name.toLowerCase()),
          rows: rows.slice(0, maxRows),
          truncated: rows.length > maxRows,
          changed: { inserted: count('numRowsInserted'), updated: count('numRowsUpdated'), deleted: count('numRowsDeleted') },
        };
      } catch (error) {
        if (handle !== undefined && signal.aborted) await cancel(handle);
        given.throwIfAborted();
        if (!late.aborted) throw error;
        throw new AftercallError('UPSTREAM_TIMEOUT', `${doing} failed: it was not done after ${timeoutMs / 1_000} s, and was cancelled.`, { advice: 'Ask for less at once, or give Snowflake a larger warehouse.', cause: error });
      }
    },
  };
};

const pause = async (ms: number, signal: AbortSignal): Promise<void> => {
  await sleep(ms, undefined, { signal }).catch((error: unknown) => {
    signal.throwIfAborted();
    throw error;
  });
};

const readAs = <S extends z.ZodType>(schema: S, { body }: Answer, doing: string): z.output<S> => {
  try {
    return schema.parse(JSON.parse(body));
  } catch (error) {
    throw new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: Snowflake's answer (${body.length} characters) does not have the form of its contract.`, { advice: 'It is tried again. If it goes on, look for a proxy in between.', cause: error });
  }
};
