import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Binding, Engine, Table } from '../sql/duckdb.ts';
import { SqlRefused, type Translated, type Translator } from '../sql/translator.ts';
import { type GivenBinding, decodeBinding } from './cells.ts';

/** What is submitted. */
export interface StatementRequest {
  statement: string;
  timeout?: number;
  database?: string;
  schema?: string;
  bindings?: Record<string, GivenBinding>;
  /** Of the session, by their names in capitals. */
  parameters?: Record<string, string>;
}

export interface Failure {
  status: 408 | 422;
  code: string;
  sqlState: string;
  message: string;
}

export interface Statement {
  handle: string;
  createdOnMs: number;
  state: 'running' | 'done' | 'failed';
  table?: Table;
  stats?: Record<string, number>;
  failure?: Failure;
  /** Breaks it off. */
  cancel(): void;
  ended: Promise<void>;
}

const refusal = (code: string, sqlState: string, message: string): Failure => ({ status: 422, code, sqlState, message });
/** Statements that the SQL API does not take at all. */
const UNSUPPORTED = refusal('391911', '0A000', 'Unsupported statement type.');
const CANCELLED = refusal('000604', '57014', 'SQL execution canceled');
const LATE: Failure = { status: 408, code: '000630', sqlState: '57014', message: 'Statement reached its statement or warehouse timeout and was canceled.' };

/**
 * What reads text as times goes by formats that an account may set. The sandbox's account has set others than the ISO
 * ones, so a request that does not say its own is refused.
 */
const READS_TEXT = [
  { as: /\bTO_TIMESTAMP\w*\(|\bAS TIMESTAMP|::TIMESTAMP/i, parameter: 'TIMESTAMP_INPUT_FORMAT', failure: refusal('100035', '22007', 'Timestamp is not recognized') },
  { as: /\bTO_DATE\(|\bAS DATE\b|::DATE\b/i, parameter: 'DATE_INPUT_FORMAT', failure: refusal('100040', '22007', 'Date is not recognized') },
];

interface Options {
  engine: Engine;
  translator: Translator;
  record: (kind: string, entry: Record<string, unknown>) => void;
}

/** Takes statements, runs them one after the other, and keeps what came of them. */
export const createStatements = ({ engine, translator, record }: Options) => {
  const byHandle = new Map<string, Statement>();
  let line: Promise<void> = Promise.resolve();

  const check = async ({ statement, database, schema, parameters = {} }: StatementRequest): Promise<Translated | Failure> => {
    let translated: Translated[];
    try {
      translated = await translator.translate(statement, 'snowflake');
    } catch (error) {
      if (!(error instanceof SqlRefused)) throw error;
      return refusal('001003', '42000', `SQL compilation error:\n${error.message}`);
    }
    if (translated.length !== 1) return refusal('000008', '0A000', `Actual statement count ${translated.length} did not match the desired statement count 1.`);
    const [only] = translated as [Translated];
    if (only.kind === 'other') return UNSUPPORTED;
    const unread = READS_TEXT.find(({ as, parameter }) => as.test(statement) && !parameters[parameter]?.startsWith('YYYY-MM-DD'));
    if (unread) return unread.failure;
    if (!database || !schema) return refusal('090105', '22000', "Cannot perform operation. This session does not have a current database. Call 'USE DATABASE', or use a qualified name.");
    const elsewhere = only.tables.find((table) => (table.database && table.database.toUpperCase() !== database.toUpperCase()) || (table.schema && table.schema.toUpperCase() !== schema.toUpperCase()));
    if (elsewhere) return refusal('002003', '02000', `SQL compilation error:\nDatabase '${elsewhere.database}' does not exist or not authorized.`);
    return only;
  };

  const execute = async (request: StatementRequest, statement: Statement, stop: AbortSignal, holdMs: number): Promise<void> => {
    const translated = await check(request);
    if ('code' in translated) return void (statement.failure = translated);
    const bindings: Binding[] = [];
    for (let index = 1; request.bindings?.[String(index)]; index += 1) {
      const binding = decodeBinding(request.bindings[String(index)]!);
      if ('problem' in binding) return void (statement.failure = refusal('100038', '22018', binding.problem));
      bindings.push(binding.value);
    }
    if (holdMs > 0) await sleep(holdMs, undefined, { signal: stop }).catch(() => {});
    if (stop.aborted) return;
    const breakOff = (interrupt: () => void): void => stop.addEventListener('abort', interrupt, { once: true });
    try {
      if (translated.check && (await engine.run(translated.check, bindings, breakOff)).rows.length > 0) return void (statement.failure = refusal('100090', '42P18', 'Duplicate row detected during DML action'));
      const merge = translated.kind === 'merge';
      const table = await engine.run(merge ? `${translated.sql} RETURNING merge_action` : translated.sql, bindings, breakOff);
      Object.assign(statement, outcomeOf(translated.kind, table));
    } catch (error) {
      statement.failure = failureOf(error as Error);
    }
  };

  return {
    find: (handle: string): Statement | undefined => byHandle.get(handle),

    /** @param holdMs how long it only seems to run, for the tests of what happens meanwhile */
    submit(request: StatementRequest, { requestId, holdMs = 0 }: { requestId: string; holdMs?: number }): Statement {
      const stop = new AbortController();
      const statement: Statement = {
        handle: randomUUID(),
        createdOnMs: Date.now(),
        state: 'running',
        cancel: () => {
          if (statement.state === 'running') statement.failure ??= CANCELLED;
          stop.abort();
        },
        ended: Promise.resolve(),
      };
      byHandle.set(statement.handle, statement);
      const timer = setTimeout(() => {
        statement.failure ??= LATE;
        stop.abort();
      }, (request.timeout ?? 172_800) * 1_000);
      // One after the other: so that the ledger is in the order of what happened.
      statement.ended = line = line.then(async () => {
        if (!stop.signal.aborted) await execute(request, statement, stop.signal, holdMs).catch((error: unknown) => (statement.failure ??= refusal('000603', 'XX000', `Processing aborted: ${String(error)}`)));
        clearTimeout(timer);
        statement.state = statement.failure ? 'failed' : 'done';
        record('statement', { requestId, handle: statement.handle, statement: request.statement.slice(0, 200), state: statement.state, ...(statement.failure ? { code: statement.failure.code } : {}), ...(statement.stats ? { stats: statement.stats } : {}) });
      });
      return statement;
    },
  };
};

const number = (value: unknown): number => Number(value ?? 0);

/** What a statement answers: rows, or how many it has changed. */
const outcomeOf = (kind: Translated['kind'], table: Table): Pick<Statement, 'table' | 'stats'> => {
  const changed = (counts: { inserted?: number; updated?: number; deleted?: number }): Pick<Statement, 'table' | 'stats'> => {
    const all = { inserted: 0, updated: 0, deleted: 0, ...counts };
    const named = Object.entries(counts);
    return {
      stats: { numRowsInserted: all.inserted, numRowsUpdated: all.updated, numRowsDeleted: all.deleted, numDuplicateRowsUpdated: 0 },
      table: { columns: named.map(([name]) => ({ name: `number of rows ${name}`, kind: 'integer' })), rows: [named.map(([, count]) => count)] },
    };
  };
  const did = (action: string): number => table.rows.filter(([made]) => made === action).length;
  const count = number(table.rows[0]?.[0]);
  switch (kind) {
    case 'select':
      return { table };
    case 'merge':
      return changed({ inserted: did('INSERT'), updated: did('UPDATE'), deleted: did('DELETE') });
    case 'insert':
      return changed({ inserted: count });
    case 'update':
      return changed({ updated: count });
    case 'delete':
      return changed({ deleted: count });
    case 'create':
    case 'alter':
    case 'drop':
    case 'truncate':
    case 'other':
      return { table: { columns: [{ name: 'status', kind: 'text' }], rows: [['Statement executed successfully.']] } };
  }
};

const failureOf = ({ message }: Error): Failure => {
  const first = message.split('\n')[0]!;
  const missing = /Table with name (\S+) does not exist/.exec(message)?.[1];
  if (missing) return refusal('002003', '42S02', `SQL compilation error:\nObject '${missing.toUpperCase()}' does not exist or not authorized.`);
  if (message.startsWith('Binder Error')) return refusal('000904', '42000', `SQL compilation error: ${first}`);
  if (message.startsWith('Conversion Error') || message.startsWith('Invalid Input Error')) return refusal('100038', '22018', first);
  if (message.startsWith('INTERRUPT')) return CANCELLED;
  return refusal('100183', 'P0000', first);
};
