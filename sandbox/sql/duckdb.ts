import { type DuckDBConnection, DuckDBDateValue, DuckDBDecimalValue, DuckDBInstance, DuckDBTimestampMillisecondsValue, DuckDBTimestampValue, type DuckDBValue } from '@duckdb/node-api';

/** What DuckDB answers, in the few kinds of values that the stand-ins' protocols tell apart. */
export type Kind = 'integer' | 'decimal' | 'double' | 'boolean' | 'date' | 'timestamp' | 'json' | 'text';

/** Dates as days since the epoch, timestamps as microseconds since it. */
export type Cell = string | number | bigint | boolean | null | { days: number } | { micros: bigint };

export interface Table {
  columns: { name: string; kind: Kind }[];
  rows: Cell[][];
}

const KINDS: [RegExp, Kind][] = [
  [/^(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER)$/, 'integer'],
  [/^DECIMAL\(\d+,0\)$/, 'integer'],
  [/^DECIMAL/, 'decimal'],
  [/^(DOUBLE|FLOAT)$/, 'double'],
  [/^BOOLEAN$/, 'boolean'],
  [/^DATE$/, 'date'],
  [/^TIMESTAMP(_MS|_S|_NS)?$/, 'timestamp'],
  [/^JSON$/, 'json'],
];
const kindOf = (type: string): Kind => KINDS.find(([pattern]) => pattern.test(type))?.[1] ?? 'text';

const cellOf = (value: DuckDBValue): Cell => {
  if (value === null || typeof value === 'string' || typeof value === 'number' || typeof value === 'bigint' || typeof value === 'boolean') return value;
  if (value instanceof DuckDBDecimalValue) return value.scale === 0 ? value.value : value.toString();
  if (value instanceof DuckDBDateValue) return { days: value.days };
  if (value instanceof DuckDBTimestampValue) return { micros: value.micros };
  if (value instanceof DuckDBTimestampMillisecondsValue) return { micros: value.millis * 1_000n };
  return String(value);
};

export type Binding = string | number | bigint | boolean | null;

/** A DuckDB that stays, for a stand-in's tables. */
export interface Engine {
  /** Runs one statement. `onStart` is told how to break it off. */
  run(sql: string, bindings?: readonly Binding[], onStart?: (interrupt: () => void) => void): Promise<Table>;
  close(): void;
}

/** @param file where it keeps its tables; default: in memory */
export const openEngine = async (file?: string): Promise<Engine> => {
  const instance = await DuckDBInstance.create(file ?? ':memory:', { autoinstall_known_extensions: 'false', autoload_known_extensions: 'false', threads: '1' });
  const work = async <T>(use: (connection: DuckDBConnection) => Promise<T>): Promise<T> => {
    const connection = await instance.connect();
    try {
      return await use(connection);
    } finally {
      connection.closeSync();
    }
  };
  return {
    run: (sql, bindings = [], onStart) =>
      work(async (connection) => {
        onStart?.(() => connection.interrupt());
        const result = await connection.runAndReadAll(sql, [...bindings]);
        const types = result.columnTypes().map((type) => kindOf(type.toString()));
        return { columns: result.columnNames().map((name, index) => ({ name, kind: types[index]! })), rows: result.getRows().map((row) => row.map(cellOf)) };
      }),
    close: () => instance.closeSync(),
  };
};
