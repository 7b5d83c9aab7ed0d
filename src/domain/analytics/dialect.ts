/** The SQL engines that queries are written for. */
export const DIALECTS = ['duckdb', 'athena', 'snowflake'] as const;
export type Dialect = (typeof DIALECTS)[number];

/** Everything in which the engines' SQL differs as far as the queries use it. Arguments are SQL. */
export interface Functions {
  /** A point in time of text, `YYYY-MM-DD HH:MM:SS.mmm` in UTC. */
  timestamp(text: string): string;
  /** `seconds` may be negative, and a column. */
  addSeconds(at: string, seconds: string): string;
  /** From the first to the second, in ms. Seconds are counted in two ways by three engines; ms of times to the ms are not. */
  millisecondsBetween(from: string, to: string): string;
  /** 1 is Monday. */
  isoWeekday(at: string): string;
}

export const FUNCTIONS: Readonly<Record<Dialect, Functions>> = {
  duckdb: {
    timestamp: (text) => `CAST(${text} AS TIMESTAMP)`,
    addSeconds: (at, seconds) => `(${at} + (${seconds}) * INTERVAL 1 SECOND)`,
    millisecondsBetween: (from, to) => `DATE_DIFF('millisecond', ${from}, ${to})`,
    isoWeekday: (at) => `ISODOW(${at})`,
  },
  athena: {
    timestamp: (text) => `CAST(${text} AS TIMESTAMP(3))`,
    addSeconds: (at, seconds) => `DATE_ADD('second', ${seconds}, ${at})`,
    millisecondsBetween: (from, to) => `DATE_DIFF('millisecond', ${from}, ${to})`,
    isoWeekday: (at) => `DAY_OF_WEEK(${at})`,
  },
  snowflake: {
    timestamp: (text) => `CAST(${text} AS TIMESTAMP_NTZ)`,
    addSeconds: (at, seconds) => `DATEADD('second', ${seconds}, ${at})`,
    millisecondsBetween: (from, to) => `DATEDIFF('millisecond', ${from}, ${to})`,
    isoWeekday: (at) => `DAYOFWEEKISO(${at})`,
  },
};
