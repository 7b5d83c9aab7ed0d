import { createHash, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cell, Engine, Table } from '../sql/duckdb.ts';
import { SqlRefused, type Translated, type Translator } from '../sql/translator.ts';
import type { TableSource } from './tables.ts';

export interface StartRequest {
  QueryString?: string;
  ClientRequestToken?: string;
  QueryExecutionContext?: { Database?: string };
  ExecutionParameters?: string[];
  ResultConfiguration?: { OutputLocation?: string };
  WorkGroup?: string;
}

export type State = 'QUEUED' | 'RUNNING' | 'SUCCEEDED' | 'FAILED' | 'CANCELLED';

export interface Execution {
  id: string;
  request: StartRequest;
  state: State;
  reason?: string;
  retryable: boolean;
  /** States to be shown before the real one. */
  shown: State[];
  table?: Table;
  stop(): void;
}

/** Refused before it has an ID. */
export class InvalidRequest extends Error {
  override readonly name = 'InvalidRequestException';
}

/** The literals that Athena takes for a `?`. */
const LITERAL = /^(?:'(?:[^']|'')*'|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null)$/i;
/** Athena takes a `?` nowhere but in a WHERE clause. */
const outsideWhere = (sql: string): boolean => {
  const plain = sql.replaceAll(/'(?:[^']|'')*'|"[^"]*"/g, (quoted) => ' '.repeat(quoted.length));
  const depths: boolean[] = [false];
  for (const [token] of plain.matchAll(/[()?]|\b(?:SELECT|FROM|WHERE|GROUP|HAVING|ORDER|LIMIT|UNION|ON)\b/gi)) {
    const word = token.toUpperCase();
    if (word === '(') depths.push(depths.at(-1)!);
    else if (word === ')') depths.pop();
    else if (word === '?') {
      if (!depths.at(-1)) return true;
    } else depths[depths.length - 1] = word === 'WHERE';
  }
  return false;
};

interface Options {
  engine: Engine;
  translator: Translator;
  tables: TableSource;
  record: (kind: string, entry: Record<string, unknown>) => void;
}

/** Takes queries, runs them, and keeps what came of them. */
export const createExecutions = ({ engine, translator, tables, record }: Options) => {
  const byId = new Map<string, Execution>();
  /** By token: what was asked under it, and what it became. */
  const byToken = new Map<string, { asked: string; id: string }>();
  let line: Promise<void> = Promise.resolve();

  const run = async (execution: Execution, statement: Translated, stop: AbortSignal, holdMs: number): Promise<void> => {
    const { request } = execution;
    const database = request.QueryExecutionContext?.Database ?? 'default';
    for (const { name, schema } of statement.tables) {
      const from = await tables(schema || database, name);
      if (from === undefined) return fail(execution, `TABLE_NOT_FOUND: line 1:15: Table 'awsdatacatalog.${schema || database}.${name}' does not exist`);
      await engine.run(`CREATE OR REPLACE VIEW "${name}" AS SELECT * FROM ${from}`);
    }
    if (holdMs > 0) await sleep(holdMs, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return;
    try {
      // Parameters are literals, put in place of the question marks outside of quoted text.
      let index = 0;
      const sql = statement.sql.replaceAll(/'(?:[^']|'')*'|"[^"]*"|\?/g, (token) => (token === '?' ? (request.ExecutionParameters?.[index++] ?? '?') : token));
      execution.table = await engine.run(sql, [], (interrupt) => stop.addEventListener('abort', interrupt, { once: true }));
      execution.state = 'SUCCEEDED';
    } catch (error) {
      if (!stop.aborted) fail(execution, `GENERIC_USER_ERROR: ${(error as Error).message.split('\n')[0]}`);
    }
  };

  return {
    find: (id: string): Execution | undefined => byId.get(id),

    /** @throws InvalidRequest */
    async start(request: StartRequest, { holdMs = 0, shown = [], failure }: { holdMs?: number; shown?: State[]; failure?: { reason: string; retryable: boolean; state: 'FAILED' | 'CANCELLED' } } = {}): Promise<Execution> {
      const { QueryString = '', ClientRequestToken: token, ExecutionParameters: parameters = [] } = request;
      if (token !== undefined && (token.length < 32 || token.length > 128)) throw new InvalidRequest('ClientRequestToken has to have 32 to 128 characters.');
      if (!request.ResultConfiguration?.OutputLocation) throw new InvalidRequest('No output location provided. An output location is required either through the Workgroup result configuration setting or as an API input.');
      const asked = createHash('sha256').update(JSON.stringify([QueryString, parameters])).digest('hex');
      const known = token ? byToken.get(token) : undefined;
      if (known && known.asked !== asked) throw new InvalidRequest('Idempotent parameters do not match');
      if (known) return byId.get(known.id)!;
      if (request.ExecutionParameters?.length === 0) throw new InvalidRequest("1 validation error detected: Value '[]' at 'executionParameters' failed to satisfy constraint: Member must have length greater than or equal to 1");
      const wrong = parameters.find((parameter) => parameter.length > 1_024 || !LITERAL.test(parameter));
      if (wrong !== undefined) throw new InvalidRequest(`line 1:1: mismatched input in parameter ${wrong.slice(0, 50)}`);
      const statement = await parse(translator, QueryString);
      const marks = [...QueryString.matchAll(/'(?:[^']|'')*'|"[^"]*"|\?/g)].filter(([match]) => match === '?').length;
      if (marks !== parameters.length) throw new InvalidRequest(`Incorrect number of parameters: expected ${marks} but found ${parameters.length}`);
      if (outsideWhere(QueryString)) throw new InvalidRequest('line 1:8: a parameter may only stand in a WHERE clause');

      const stop = new AbortController();
      const execution: Execution = { id: randomUUID(), request, state: 'QUEUED', retryable: false, shown: [...shown], stop: () => (execution.state === 'QUEUED' || execution.state === 'RUNNING') && ((execution.state = 'CANCELLED'), stop.abort()) };
      byId.set(execution.id, execution);
      if (token) byToken.set(token, { asked, id: execution.id });
      line = line.then(async () => {
        if (stop.signal.aborted) return;
        execution.state = 'RUNNING';
        if (failure) {
          execution.retryable = failure.retryable;
          return fail(execution, failure.reason, failure.state);
        }
        await run(execution, statement, stop.signal, holdMs).catch((error: unknown) => fail(execution, `INTERNAL_ERROR: ${String(error)}`));
        record('query', { id: execution.id, state: execution.state, query: QueryString.slice(0, 200), ...(execution.reason ? { reason: execution.reason } : {}) });
      });
      return execution;
    },
  };
};

const fail = (execution: Execution, reason: string, state: 'FAILED' | 'CANCELLED' = 'FAILED'): void => {
  execution.state = state;
  execution.reason = reason;
};

const parse = async (translator: Translator, sql: string): Promise<Translated> => {
  try {
    const statements = await translator.translate(sql, 'athena');
    if (statements.length !== 1) throw new InvalidRequest('Only one sql statement is allowed.');
    const [only] = statements as [Translated];
    if (only.kind !== 'select') throw new InvalidRequest('This stand-in runs SELECTs.');
    return only;
  } catch (error) {
    if (error instanceof SqlRefused) throw new InvalidRequest(`Queries of this type are not supported: ${error.message}`);
    throw error;
  }
};

const TYPES = { integer: 'bigint', decimal: 'decimal', double: 'double', boolean: 'boolean', date: 'date', timestamp: 'timestamp', json: 'varchar', text: 'varchar' } as const;

export const columnInfo = ({ columns }: Table): object[] => columns.map(({ name, kind }) => ({ CatalogName: 'hive', SchemaName: '', TableName: '', Name: name, Label: name, Type: TYPES[kind], Nullable: 'UNKNOWN', CaseSensitive: kind === 'text' }));

/** A cell as Athena writes it; NULL has no value. */
export const datum = (cell: Cell): { VarCharValue?: string } => {
  if (cell === null) return {};
  if (typeof cell !== 'object') return { VarCharValue: String(cell) };
  if ('days' in cell) return { VarCharValue: new Date(cell.days * 86_400_000).toISOString().slice(0, 10) };
  return { VarCharValue: new Date(Number(cell.micros / 1_000n)).toISOString().slice(0, 23).replace('T', ' ') };
};
