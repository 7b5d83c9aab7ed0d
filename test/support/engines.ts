import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { CreateDatabaseCommand, CreateTableCommand, GlueClient } from '@aws-sdk/client-glue';
import { PutObjectCommand } from '@aws-sdk/client-s3';
import { startAthena } from '../../sandbox/athena/server.ts';
import { glueTables } from '../../sandbox/athena/tables.ts';
import type { SandboxServer } from '../../sandbox/server.ts';
import { createAthenaEngine } from '../../src/adapters/warehouse/athena/engine.ts';
import { createDuckDbEngine } from '../../src/adapters/warehouse/duckdb-engine.ts';
import { filesSql } from '../../src/adapters/warehouse/duckdb-files.ts';
import { withDuckDb } from '../../src/adapters/warehouse/duckdb-instance.ts';
import type { Dialect, QueryEngine } from '../../src/adapters/warehouse/engine.ts';
import { createSnowflakeClient, freshRequestId } from '../../src/adapters/warehouse/snowflake/client.ts';
import { createSnowflakeEngine } from '../../src/adapters/warehouse/snowflake/engine.ts';
import { athenaTable } from '../../src/adapters/warehouse/table-definitions.ts';
import { fileColumns, tablePrefix, WAREHOUSE_TABLES, type WarehouseForm, type WarehouseTable } from '../../src/domain/warehouse-tables.ts';
import { REGION, startAws, type TestAws } from './moto.ts';
import { sqlglotPython, startTestSnowflake, type TestSnowflake } from './snowflake.ts';
import type { LoadedRow } from './warehouse-fixture.ts';

/** The same rows behind all three engines. */
export interface TestEngines {
  engines: Record<Dialect, QueryEngine>;
  aws: TestAws;
  athena: SandboxServer;
  snowflake: TestSnowflake;
  folder: string;
  load(project: string, rows: readonly LoadedRow[]): Promise<void>;
  stop(): Promise<void>;
}

const FORMS = ['json', 'parquet'] as const satisfies readonly WarehouseForm[];
const DATABASE = 'aftercall';
/** When it is asked, as Athena reckons days: some after those of the rows. */
const NOW_MS = Date.UTC(2026, 10, 20);
const SNOWFLAKE_TYPE = { string: 'VARCHAR', int: 'INTEGER', bigint: 'BIGINT', double: 'DOUBLE', boolean: 'BOOLEAN', timestamp: 'TIMESTAMP_NTZ(3)', date: 'DATE' } as const;

export const startEngines = async (): Promise<TestEngines> => {
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-engines-'));
  const [aws, snowflake] = await Promise.all([startAws(), startTestSnowflake()]);
  const tables = glueTables({ endpoint: aws.url, region: REGION, folder: join(folder, 'fetched'), nowMs: () => NOW_MS });
  const athena = await startAthena({ pythonPath: sqlglotPython(), tables });
  const glue = new GlueClient({ region: REGION, endpoint: aws.url });
  const client = createSnowflakeClient(snowflake.config);
  const execute = (sql: string, bindings: string[] = []) => client.execute(sql, bindings, { requestId: freshRequestId(), signal: AbortSignal.timeout(60_000) });
  let described = false;

  const describeInSnowflake = async (): Promise<void> => {
    for (const table of WAREHOUSE_TABLES) await execute(`CREATE TABLE ${table} (${fileColumns(table).map(({ name, type }) => `${name} ${SNOWFLAKE_TYPE[type]}`).join(', ')}, dt VARCHAR)`);
  };
  const describeInGlue = async (project: string): Promise<void> => {
    await glue.send(new CreateDatabaseCommand({ DatabaseInput: { Name: DATABASE } })).catch(() => {});
    for (const table of WAREHOUSE_TABLES) {
      for (const form of FORMS) {
        const { name, location, columns, library, input, output, properties } = athenaTable(aws.bucket, project, form, table);
        const TableInput = { Name: name, TableType: 'EXTERNAL_TABLE', PartitionKeys: [{ Name: 'dt', Type: 'string' }], Parameters: properties, StorageDescriptor: { Location: location, Columns: columns.map((column) => ({ Name: column.name, Type: column.type })), InputFormat: input, OutputFormat: output, SerdeInfo: { SerializationLibrary: library } } };
        await glue.send(new CreateTableCommand({ DatabaseName: DATABASE, TableInput }));
      }
    }
  };

  const write = async (key: string, body: string | Buffer): Promise<void> => {
    const path = join(folder, 'objects', key);
    await mkdir(dirname(path), { recursive: true });
    await writeFile(path, body);
    await aws.s3.send(new PutObjectCommand({ Bucket: aws.bucket, Key: key, Body: body }));
  };
  const asParquet = async (table: WarehouseTable, lines: string): Promise<Buffer> => {
    const work = await mkdtemp(join(folder, 'parquet-'));
    await writeFile(join(work, 'rows.json'), lines);
    await withDuckDb({ folders: [work], memoryMb: 256, threads: 1 }, (connection) => connection.run(`COPY (${filesSql(table, { json: [join(work, 'rows.json')], parquet: [] }, { partitioned: false })}) TO '${join(work, 'rows.parquet')}' (FORMAT parquet)`));
    return readFile(join(work, 'rows.parquet'));
  };

  return {
    engines: {
      duckdb: createDuckDbEngine(join(folder, 'objects')),
      athena: createAthenaEngine({ AWS_REGION: REGION, AWS_ENDPOINT_URL: athena.url, GLUE_DATABASE: DATABASE, ATHENA_WORKGROUP: 'primary', ATHENA_OUTPUT: `s3://${aws.bucket}/athena/` }, { lookEveryMs: { first: 10, most: 50 } }),
      snowflake: createSnowflakeEngine(snowflake.config),
    },
    aws,
    athena,
    snowflake,
    folder,
    async load(project, rows) {
      if (!described) await describeInSnowflake();
      described = true;
      await describeInGlue(project);
      for (const [table, ofTable] of Map.groupBy(rows, (each) => each.table)) {
        for (const [dt, ofDay] of Map.groupBy(ofTable, (each) => each.dt)) {
          const lines = (some: readonly LoadedRow[]): string => some.map(({ row }) => `${JSON.stringify(row)}\n`).join('');
          // Every other day has been put together, and the files that that was made of are still there in part.
          const together = Number(dt.slice(-2)) % 2 === 0;
          if (together) await write(`${tablePrefix(project, 'parquet', table)}dt=${dt}/rows.parquet`, await asParquet(table, lines(ofDay)));
          await write(`${tablePrefix(project, 'json', table)}dt=${dt}/rows.json`, lines(together ? ofDay.slice(0, Math.ceil(ofDay.length / 3)) : ofDay));
        }
        const columns = [...fileColumns(table), { name: 'dt', type: 'string' as const }];
        const text = JSON.stringify(ofTable.map(({ row, dt }) => ({ ...row, dt })));
        await execute(`INSERT INTO ${table} (${columns.map(({ name }) => name).join(', ')}) SELECT ${columns.map(({ name, type }) => `value:${name}::${SNOWFLAKE_TYPE[type]}`).join(', ')} FROM TABLE(FLATTEN(INPUT => PARSE_JSON(?)))`, [text]);
      }
    },
    stop: async () => {
      glue.destroy();
      tables.close();
      await Promise.all([aws.stop(), athena.close(), snowflake.close()]);
      await rm(folder, { recursive: true, force: true });
    },
  };
};
