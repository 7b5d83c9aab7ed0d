import { access } from 'node:fs/promises';
import { expect, it } from '@jest/globals';
import { withDuckDb } from '../../src/adapters/warehouse/duckdb-instance.ts';

const ROWS = 1_500_000;

/** Sorts more than its memory holds. @returns whether each row is there and in order, and where the rest was laid off */
const sortMuch = (seed: number): Promise<{ rows: number; first: number; sum: number; folder: string }> =>
  withDuckDb({ folders: [], memoryMb: 40, threads: 1 }, async (connection) => {
    await connection.run(`CREATE TABLE sorted AS SELECT n, repeat('x', 40) || ${seed} AS filler FROM (SELECT (i * 7919 + ${seed}) % ${ROWS} AS n FROM range(${ROWS}) AS r(i)) ORDER BY n`);
    const spilled = await connection.runAndReadAll('SELECT count(*)::INTEGER AS files FROM duckdb_temporary_files()');
    expect(spilled.getRowObjectsJS()[0]).not.toEqual({ files: 0 });
    const found = await connection.runAndReadAll(`SELECT count(*)::INTEGER AS rows, first(n)::INTEGER AS first, sum(n)::DOUBLE AS sum, current_setting('temp_directory') AS folder FROM sorted WHERE filler LIKE '%x${seed}'`);
    return found.getRowObjectsJS()[0] as { rows: number; first: number; sum: number; folder: string };
  });

it('gives right answers to several queries at once that do not fit into memory, and leaves nothing behind', async () => {
  const answers = await Promise.all([1, 2, 3].map(sortMuch));
  for (const answer of answers) expect(answer).toMatchObject({ rows: ROWS, first: 0, sum: (ROWS * (ROWS - 1)) / 2 });
  expect(new Set(answers.map(({ folder }) => folder)).size).toBe(3);
  for (const { folder } of answers) await expect(access(folder)).rejects.toMatchObject({ code: 'ENOENT' });
});
