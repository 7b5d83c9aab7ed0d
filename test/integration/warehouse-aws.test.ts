import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { DeleteTableCommand, GetTablesCommand, GlueClient, type Table, UpdateTableCommand } from '@aws-sdk/client-glue';
import { ListObjectsV2Command } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { sql } from 'kysely';
import { startAthena } from '../../sandbox/athena/server.ts';
import { glueTables } from '../../sandbox/athena/tables.ts';
import { createGlueTables } from '../../src/adapters/catalog/glue-tables.ts';
import { createS3Store } from '../../src/adapters/objects/s3.ts';
import { createAthenaEngine } from '../../src/adapters/warehouse/athena/engine.ts';
import { athenaSql } from '../../src/adapters/warehouse/table-definitions.ts';
import { catalogTable, WAREHOUSE_TABLES } from '../../src/domain/warehouse-tables.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';
import { sqlglotPython } from '../support/snowflake.ts';
import { analysis, DAY, DAY_MS, details, grade, openWarehouse, stage, type TestWarehouse } from '../support/warehouse.ts';
import { anyDatabase } from '../support/postgres.ts';

/** A bucket, Glue's catalogue as the loader makes it, and Athena over both. */

const DATABASE = 'aftercall';
const OTHER = 'south-2';
const FORMS = ['json', 'parquet'] as const;

let aws: TestAws;
let glue: GlueClient;
let world: TestWarehouse;
let close: () => Promise<void>;

const registerAnew = () => createGlueTables({ AWS_REGION: REGION, AWS_ENDPOINT_URL: aws.url, GLUE_DATABASE: DATABASE, S3_BUCKET: aws.bucket });

beforeAll(async () => {
  const folder = await mkdtemp(join(tmpdir(), 'aftercall-athena-'));
  aws = await startAws();
  glue = new GlueClient({ region: REGION, endpoint: aws.url });
  const tables = glueTables({ endpoint: aws.url, region: REGION, folder, nowMs: () => DAY + 5 * DAY_MS });
  const athena = await startAthena({ pythonPath: sqlglotPython(), tables });
  world = await openWarehouse(await anyDatabase(), {
    objects: createS3Store({ bucket: aws.bucket, region: REGION, endpoint: aws.url }),
    engine: createAthenaEngine({ AWS_REGION: REGION, AWS_ENDPOINT_URL: athena.url, GLUE_DATABASE: DATABASE, ATHENA_WORKGROUP: 'primary', ATHENA_OUTPUT: `s3://${aws.bucket}/athena/` }, { lookEveryMs: { first: 10, most: 50 } }),
    register: registerAnew(),
  });
  await world.db.insertInto('projects').values({ id: OTHER, name: 'South', settings: '{}' }).execute();
  close = async () => {
    await world.close();
    glue.destroy();
    tables.close();
    await Promise.all([athena.close(), aws.stop()]);
    await rm(folder, { recursive: true, force: true });
  };
});
afterAll(() => close?.());

const keys = async (ending: string): Promise<string[]> => ((await aws.s3.send(new ListObjectsV2Command({ Bucket: aws.bucket }))).Contents ?? []).map(({ Key }) => Key!).filter((key) => key.endsWith(ending));
const inGlue = async (): Promise<Map<string, Table>> => new Map(((await glue.send(new GetTablesCommand({ DatabaseName: DATABASE }))).TableList ?? []).map((table) => [table.Name!, table]));

/** A table in Glue, as the statement that makes it. */
const statementOf = ({ Name, StorageDescriptor: { Columns, Location, InputFormat, OutputFormat, SerdeInfo } = {}, PartitionKeys, Parameters }: Table): string =>
  [
    `CREATE EXTERNAL TABLE IF NOT EXISTS \`${DATABASE}\`.\`${Name}\` (`,
    Columns!.map((column) => `  \`${column.Name}\` ${column.Type} COMMENT '${column.Comment!.replaceAll("'", "''")}'`).join(',\n'),
    ')',
    `PARTITIONED BY (${PartitionKeys!.map((key) => `\`${key.Name}\` ${key.Type}`).join(', ')})`,
    `ROW FORMAT SERDE '${SerdeInfo!.SerializationLibrary}'`,
    `STORED AS INPUTFORMAT '${InputFormat}' OUTPUTFORMAT '${OutputFormat}'`,
    `LOCATION '${Location}'`,
    'TBLPROPERTIES (',
    Object.entries(Parameters!).filter(([name]) => name !== 'EXTERNAL').map(([name, value]) => `  '${name}' = '${value}'`).join(',\n'),
    ');',
  ].join('\n');

/** What the database has of each day. */
const inDatabase = async (project = 'default') => {
  const { rows } = await sql<{ day: string; calls: number; graded: number }>`
    select (c.started_at at time zone 'UTC')::date::text as day, count(*)::int as calls, count(a.call_id)::int as graded
    from calls c left join call_analysis a using (project, call_id) where c.project = ${project} group by 1 order by 1`.execute(world.db);
  return rows.map(({ day, calls, graded }) => [day, calls, graded]);
};
const inAthena = (project = 'default') => world.query((table) => `SELECT dt, COUNT(*) AS calls, SUM(CASE WHEN has_analysis THEN 1 ELSE 0 END) AS graded FROM ${table('calls')} AS c GROUP BY dt ORDER BY dt`, project);

describe('the warehouse in a bucket', () => {
  it('has tables without rows as soon as anybody has looked what there is to load', async () => {
    await world.load();
    expect(await world.query((table) => `SELECT COUNT(*) FROM ${table('effects')} AS f`)).toEqual([[0]]);
  });

  it('gives Athena the counts of the database: as loaded, put together, and both', async () => {
    const { db } = world;
    await stage(db, Array.from({ length: 60 }, (_each, index) => details(`call-${index}`, { startedAtMs: DAY + (index % 3) * DAY_MS })));
    await stage(db, [details('theirs', { agentName: 'Kim' })], OTHER);
    await grade(db, 'call-1', analysis(['No greeting.']));
    await sql`insert into costs (key, project, call_id, version, step, kind, provider, model, state, micro_usd, day) values ('k', 'default', 'call-1', 1, 'analysis', 'llm', 'p', 'm', 'settled', 7, '2026-11-21')`.execute(db);
    await world.load();
    await world.load(OTHER);
    expect(await inAthena()).toEqual(await inDatabase());
    expect(await inAthena(OTHER)).toEqual([['2026-11-20', 1, 0]]);
    expect([(await keys('.json')).length > 0, await keys('.parquet')]).toEqual([true, []]);

    await world.compact();
    expect(await inAthena()).toEqual(await inDatabase());
    expect((await keys('.json')).filter((key) => key.startsWith('warehouse/'))).toEqual([]);
    expect((await keys('.parquet')).length).toBeGreaterThan(0);

    // Beside what was put together: some that are new, one that has moved to another day, and one that is gone.
    await stage(db, [details('call-2', { agentName: 'Bea' }), ...Array.from({ length: 5 }, (_each, index) => details(`late-${index}`, { startedAtMs: DAY + DAY_MS }))]);
    await db.updateTable('calls').set({ started_at: new Date(DAY), details: sql`jsonb_set(details, '{startedAtMs}', ${String(DAY)}::jsonb)` }).where('call_id', '=', 'call-4').execute();
    await db.deleteFrom('calls').where('call_id', '=', 'call-5').execute();
    await world.load();
    expect(await inAthena()).toEqual(await inDatabase());
    expect(await world.query((table) => `SELECT agent, dt, call_started_at FROM ${table('calls')} AS c WHERE call_id IN ('call-2', 'call-4') ORDER BY call_id`)).toEqual([['Bea', '2026-11-20', '2026-11-20T01:00:00.000Z'], ['Ada', '2026-11-20', '2026-11-20T00:00:00.000Z']]);
    expect(await world.query((table) => `SELECT (SELECT COUNT(*) FROM ${table('answers')} AS a), (SELECT COUNT(*) FROM ${table('events')} AS e), (SELECT SUM(micro_usd) FROM ${table('costs')} AS k), (SELECT COUNT(*) FROM ${table('effects')} AS f)`)).toEqual([[2, 2, 7, 0]]);
  });

  it('is described in Glue as by the statements for Athena, for each project', async () => {
    const known = await inGlue();
    for (const project of ['default', OTHER]) {
      for (const table of WAREHOUSE_TABLES) {
        for (const form of FORMS) expect(statementOf(known.get(catalogTable(project, form, table))!)).toBe(athenaSql(DATABASE, aws.bucket, project, form, table));
      }
    }
  });

  it('gives the table of an older version the columns that have come since, and makes one that somebody removed', async () => {
    const name = catalogTable('default', 'json', 'calls');
    const { StorageDescriptor, Parameters, PartitionKeys } = (await inGlue()).get(name)!;
    const older = { ...StorageDescriptor, Columns: StorageDescriptor!.Columns!.slice(0, -3) };
    await glue.send(new UpdateTableCommand({ DatabaseName: DATABASE, TableInput: { Name: name, TableType: 'EXTERNAL_TABLE', Parameters, PartitionKeys, StorageDescriptor: older } }));
    await glue.send(new DeleteTableCommand({ DatabaseName: DATABASE, Name: catalogTable('default', 'parquet', 'calls') }));
    const signal = AbortSignal.timeout(60_000);
    await Promise.all(Array.from({ length: 3 }, () => registerAnew()('default', 'calls', signal)));
    const known = await inGlue();
    for (const form of FORMS) expect(statementOf(known.get(catalogTable('default', form, 'calls'))!)).toBe(athenaSql(DATABASE, aws.bucket, 'default', form, 'calls'));
  });

  it('gives it the days that are looked at now', async () => {
    const name = catalogTable('default', 'json', 'costs');
    const { StorageDescriptor, Parameters, PartitionKeys } = (await inGlue()).get(name)!;
    await glue.send(new UpdateTableCommand({ DatabaseName: DATABASE, TableInput: { Name: name, TableType: 'EXTERNAL_TABLE', Parameters: { ...Parameters, 'projection.dt.range': '2015-01-01,NOW+2DAYS' }, PartitionKeys, StorageDescriptor } }));
    await registerAnew()('default', 'costs', AbortSignal.timeout(60_000));
    expect(statementOf((await inGlue()).get(name)!)).toBe(athenaSql(DATABASE, aws.bucket, 'default', 'json', 'costs'));
  });
});
