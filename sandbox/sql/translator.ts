import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

/** A statement, checked against the grammar of its dialect and written for DuckDB. */
export interface Translated {
  kind: 'select' | 'merge' | 'insert' | 'update' | 'delete' | 'create' | 'alter' | 'drop' | 'truncate' | 'other';
  /** For DuckDB; tables stand in it without database and schema. */
  sql: string;
  /** The tables that it names, as it names them. */
  tables: { name: string; database: string; schema: string }[];
  /** Of a MERGE: gives a row when two rows of its source meet one of its target. */
  check?: string;
}

interface Answer {
  ready?: boolean;
  fatal?: string;
  error?: string;
  statements?: Translated[];
}

/** The SQL is not of its dialect, or not understood. */
export class SqlRefused extends Error {
  override readonly name = 'SqlRefused';
}

export interface Translator {
  /** @throws SqlRefused with what sqlglot says */
  translate(sql: string, read: 'snowflake' | 'athena'): Promise<Translated[]>;
  close(): Promise<void>;
}

/**
 * sqlglot in a Python process that stays.
 *
 * @param pythonPath a Python that has it; `scripts/programs` finds or makes one
 */
export const startTranslator = async (pythonPath: string): Promise<Translator> => {
  const child: ChildProcessWithoutNullStreams = spawn(pythonPath, [fileURLToPath(new URL('./translate.py', import.meta.url))]);
  const waiting: ((answer: Answer) => void)[] = [];
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-2_000)));
  createInterface({ input: child.stdout }).on('line', (line) => waiting.shift()?.(JSON.parse(line) as Answer));
  const fail = (why: string): void => {
    for (const answer of waiting.splice(0)) answer({ fatal: why });
  };
  const ended = new Promise<void>((resolve) => {
    child.once('error', (error) => {
      fail(`${pythonPath} cannot be started: ${error.message}`);
      resolve();
    });
    child.once('exit', (code) => {
      fail(`the SQL process ended with ${code}: ${complaint.trim()}`);
      resolve();
    });
  });
  const nextAnswer = (): Promise<Answer> => new Promise((resolve) => waiting.push(resolve));

  const greeting = await nextAnswer();
  if (greeting.fatal) throw new Error(`The SQL stand-ins did not start: ${greeting.fatal}`);

  return {
    async translate(sql, read) {
      // Answers come in the order of the questions: the process takes one at a time.
      const coming = nextAnswer();
      child.stdin.write(`${JSON.stringify({ sql, read })}\n`);
      const { fatal, error, statements = [] } = await coming;
      if (fatal) throw new Error(fatal);
      if (error !== undefined) throw new SqlRefused(error);
      return statements;
    },
    async close() {
      child.stdin.end();
      child.kill();
      await ended;
    },
  };
};
