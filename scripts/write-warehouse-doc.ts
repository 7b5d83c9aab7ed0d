import { readFile, writeFile } from 'node:fs/promises';
import { athenaSql, snowflakeTable } from '../src/adapters/warehouse/table-definitions.ts';
import { DEFAULT_PROJECT } from '../src/domain/ids.ts';
import { COLUMNS, type Column, PARTITION_COLUMN, PARTITIONED_BY, ROW_COLUMNS, WAREHOUSE_TABLES } from '../src/domain/warehouse-tables.ts';

/**
 * Writes what the code says of the warehouse's tables into the documentation: the columns, and the statements that make
 * the tables in Snowflake and Athena. With `--check` it only says whether they are current.
 */
const DOCUMENT = new URL('../docs/warehouse.md', import.meta.url);
const SNOWFLAKE = new URL('../docs/warehouse-snowflake.sql', import.meta.url);
const ATHENA = new URL('../docs/warehouse-athena.sql', import.meta.url);
const [BEGIN, END] = ['<!-- columns: written by `node scripts/write-warehouse-doc.ts` -->', '<!-- end of columns -->'];

const line = ({ name, type, nullable, key, about }: Column): string => `| \`${name}\` | ${type}${nullable ? '' : ', never null'}${key ? ', key' : ''} | ${about} |`;
const columnsTable = (columns: readonly Column[]): string => ['| column | type | about |', '|---|---|---|', ...columns.map(line)].join('\n');

const columns = [
  '### On every table',
  columnsTable([...ROW_COLUMNS, PARTITION_COLUMN]),
  ...WAREHOUSE_TABLES.flatMap((table) => [`### ${table}`, `A row lies under the UTC day of its \`${PARTITIONED_BY[table]}\`.`, columnsTable(COLUMNS[table])]),
].join('\n\n');

const written = await readFile(DOCUMENT, 'utf8');
const [before, after] = [written.indexOf(BEGIN), written.indexOf(END)];
if (before < 0 || after < before) throw new Error('docs/warehouse.md has no place for the columns.');

const documents: [URL, string][] = [
  [DOCUMENT, `${written.slice(0, before)}${BEGIN}\n\n${columns}\n\n${written.slice(after)}`],
  [SNOWFLAKE, ['-- Run once, in the database and schema that SNOWFLAKE_DATABASE and SNOWFLAKE_SCHEMA name.', '-- The loader needs USAGE on both and on the warehouse, and SELECT, INSERT, UPDATE and DELETE on the tables.', ...WAREHOUSE_TABLES.map(snowflakeTable)].join('\n\n')],
  [
    ATHENA,
    ['-- The loader makes these tables in Glue by itself; run them where it may not. Put your own for <database> and <bucket>.', ...WAREHOUSE_TABLES.flatMap((table) => (['json', 'parquet'] as const).map((form) => athenaSql('<database>', '<bucket>', DEFAULT_PROJECT, form, table)))].join('\n\n'),
  ],
];
for (const [file, text] of documents) {
  const content = `${text.trimEnd()}\n`;
  if (!process.argv.includes('--check')) await writeFile(file, content);
  else if ((await readFile(file, 'utf8')) !== content) {
    process.stderr.write(`${file.pathname.split('/').at(-1)!} is not current. Run \`node scripts/write-warehouse-doc.ts\`.\n`);
    process.exitCode = 1;
  }
}
