import { createHash } from 'node:crypto';
import type { QueryEngine } from '../../adapters/warehouse/engine.ts';
import { type QueryName, queryOf } from '../../domain/analytics/catalogue.ts';
import type { Filters, GroupName } from '../../domain/analytics/groups.ts';
import type { ResultColumn } from '../../domain/analytics/query.ts';
import { columnsOf, groupsOf, type ResultValue, rowsOf } from '../../domain/analytics/result.ts';
import type { Span } from '../../domain/analytics/zone.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { Statement } from '../../domain/analytics/select.ts';
import { HttpProblem } from '../problems.ts';
import { createGate } from './gate.ts';

export interface Question {
  name: QueryName;
  span: Span;
  timeZone: string;
  groupBy: readonly GroupName[];
  filters: Filters;
  limit: number;
}

/** How far the engine's tables have come. */
export interface Watermark {
  /** When they were last loaded; null: never. */
  asOf: Date | null;
  /** Another one, other rows: grows with each load, and when files with rows that do not count any more are removed. */
  edition: number;
}

export interface Answer {
  asOf: string | null;
  columns: ResultColumn[];
  rows: ResultValue[][];
  truncated: boolean;
}

interface AnswersOptions {
  engine: QueryEngine;
  watermarkOf: (project: string) => Promise<Watermark>;
  timeoutMs: number;
}

/** Queries of one project that the engine is given at once, and that wait for it. */
const AT_ONCE = 4;
const WAITING = 16;
/** Queries of all projects together that DuckDB is given at once: it runs in this process, in memory of its own for each. */
const AT_ONCE_IN_PROCESS = 4;
const EVERY_PROJECT = '*';
/** Answers that are kept, over all projects, and the cells that they may have together. */
const MOST_ANSWERS = 200;
const MOST_CELLS = 1_000_000;
/** A watermark tells of what the loader does; that rows were removed from files by hand, it does not. */
const KEPT_MS = 5 * 60_000;

interface Flight {
  answer: Promise<Answer>;
  waiting: number;
  stop: AbortController;
}

/**
 * Asks the warehouse, each question once at a time and once per load.
 *
 * Whoever asks what is being asked waits for the same answer; a query is cancelled at the engine when the last of them has gone.
 */
export const createAnswers = ({ engine, watermarkOf, timeoutMs }: AnswersOptions) => {
  const gate = createGate({ atOnce: AT_ONCE, waiting: WAITING });
  // Nobody is turned away here: how many can wait is limited by project.
  const processGate = createGate({ atOnce: engine.dialect === 'duckdb' ? AT_ONCE_IN_PROCESS : Infinity, waiting: Infinity });
  const flights = new Map<string, Flight>();
  const kept = new Map<string, { answer: Answer; atMs: number; cells: number }>();

  const keep = (key: string, answer: Answer): void => {
    kept.set(key, { answer, atMs: Date.now(), cells: answer.rows.length * answer.columns.length });
    let cells = [...kept.values()].reduce((sum, entry) => sum + entry.cells, 0);
    for (const [oldest, entry] of kept) {
      if (kept.size <= MOST_ANSWERS && cells <= MOST_CELLS) break;
      kept.delete(oldest);
      cells -= entry.cells;
    }
  };

  const statementOf = (project: string, { name, span, timeZone, groupBy, filters, limit }: Question): Statement => {
    const definition = queryOf(name);
    return definition.select({ span, timeZone, groupBy: groupsOf(definition, groupBy), filters, maxRows: limit }, { dialect: engine.dialect, tableRef: (table, days) => engine.tableRef(project, table, days) });
  };

  const query = async (project: string, question: Question, { asOf }: Watermark, { signal, untilMs }: { signal: AbortSignal; untilMs: number }): Promise<Answer> => {
    const { name, timeZone, groupBy, limit } = question;
    const definition = queryOf(name);
    const groups = groupsOf(definition, groupBy);
    const columns = columnsOf(definition, groups);
    // Before the first load an engine has not even tables.
    if (asOf === null) return { asOf: null, columns, rows: [], truncated: false };
    const { sql, parameters } = statementOf(project, question);
    const result = await engine.run(project, sql, parameters, { signal, maxRows: limit, timeoutMs: Math.max(1, untilMs - Date.now()) });
    return { asOf: asOf.toISOString(), columns, rows: rowsOf(definition, groups, timeZone, result), truncated: result.truncated };
  };

  const begin = (key: string, project: string, question: Question, watermark: Watermark): Flight => {
    const stop = new AbortController();
    // Whoever asks waits as long for a place as for the engine.
    const untilMs = Date.now() + timeoutMs;
    const late = new AbortController();
    const waits = AbortSignal.any([stop.signal, late.signal]);
    // The engine keeps to the time itself, and cancels what it is at.
    const ask = (): Promise<Answer> => query(project, question, watermark, { signal: stop.signal, untilMs });
    const answer = gate.pass(project, waits, async () => processGate.pass(EVERY_PROJECT, waits, ask)!);
    if (!answer) throw new HttpProblem(429, `${AT_ONCE + WAITING} queries of this project are under way already.`, { headers: { 'retry-after': '5' } });
    const flight: Flight = { answer, waiting: 0, stop };
    flights.set(key, flight);
    const outOfTime = setTimeout(() => late.abort(tooLate(timeoutMs)), timeoutMs);
    const land = (): void => {
      clearTimeout(outOfTime);
      if (flights.get(key) === flight) flights.delete(key);
    };
    answer.then(
      (found) => {
        land();
        keep(key, found);
      },
      land,
    );
    return flight;
  };

  return {
    dialect: engine.dialect,
    watermarkOf,

    /**
     * What tells an answer from any other: the question, what was loaded when it was asked, and how it is worked out, so
     * that nobody who comes again after a release that has mended a query is told that nothing has changed.
     */
    keyOf: (project: string, question: Question, { asOf, edition }: Watermark): string =>
      createHash('sha256').update(JSON.stringify([project, engine.dialect, question, asOf, edition, statementOf(project, question).sql, queryOf(question.name).columns])).digest('base64url').slice(0, 32),

    /** @param signal of whoever asks @throws AftercallError as the engine does; HttpProblem 429 when too many ask */
    async answer(project: string, question: Question, watermark: Watermark, signal: AbortSignal): Promise<Answer> {
      const key = this.keyOf(project, question, watermark);
      const before = kept.get(key);
      if (before && Date.now() - before.atMs < KEPT_MS) return before.answer;
      signal.throwIfAborted();
      const flight = flights.get(key) ?? begin(key, project, question, watermark);
      flight.waiting += 1;
      const { promise: gone, reject } = Promise.withResolvers<never>();
      const leave = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', leave, { once: true });
      try {
        return await Promise.race([flight.answer, gone]);
      } finally {
        signal.removeEventListener('abort', leave);
        flight.waiting -= 1;
        if (flight.waiting === 0 && flights.get(key) === flight) {
          flights.delete(key);
          flight.stop.abort(new Error('Nobody waits for the answer any more.'));
        }
      }
    },
  };
};

const tooLate = (timeoutMs: number): AftercallError => new AftercallError('UPSTREAM_TIMEOUT', `Other queries had the warehouse for ${timeoutMs / 1_000} s.`, { advice: 'Ask again when fewer ask.' });

export type Answers = ReturnType<typeof createAnswers>;
