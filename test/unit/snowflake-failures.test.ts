import { readFile } from 'node:fs/promises';
import { expect, it } from '@jest/globals';
import { failureOf } from '../../src/adapters/warehouse/snowflake/failures.ts';
import { WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';

it('names the statements that make the tables when Snowflake has none', async () => {
  const { code, advice } = failureOf({ status: 422, headers: new Headers(), body: JSON.stringify({ code: '002003', message: "Object 'CALLS' does not exist" }) }, 'Loading calls');
  expect(code).toBe('UPSTREAM_REJECTED');
  const [named] = /docs\/[\w-]+\.sql/.exec(advice) ?? [];
  const statements = await readFile(new URL(`../../${named}`, import.meta.url), 'utf8');
  for (const table of WAREHOUSE_TABLES) expect(statements).toMatch(new RegExp(`CREATE \\w*\\s*TABLE[^(]*\\b\\w*${table}\\b`, 'i'));
});
