import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { GetPartitionsCommand, GetTableCommand, GlueClient, UpdateTableCommand } from '@aws-sdk/client-glue';
import { createGlueCatalog } from '../../src/adapters/catalog/glue.ts';
import { createAthena } from '../../src/adapters/warehouse/athena/counts.ts';
import { CALL_TABLE_COLUMNS } from '../../src/domain/metadata.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';

let aws: TestAws;
let glue: GlueClient;
beforeAll(async () => {
  aws = await startAws();
  glue = new GlueClient({ region: REGION, endpoint: aws.url });
});
afterAll(async () => {
  glue?.destroy();
  await aws?.stop();
});

const settings = (table: string) => ({ AWS_REGION: REGION, AWS_ENDPOINT_URL: aws.url, GLUE_DATABASE: 'aftercall', GLUE_TABLE: table, S3_BUCKET: 'calls' });
const partition = { year: '2026', month: '11' };

describe('the Glue catalogue', () => {
  it('gets table and partition once, however many register them at once', async () => {
    await Promise.all(Array.from({ length: 5 }, () => createGlueCatalog(settings('calls')).ensurePartition('default', partition)));
    await createGlueCatalog(settings('calls')).ensurePartition('default', partition);
    const { Partitions } = await glue.send(new GetPartitionsCommand({ DatabaseName: 'aftercall', TableName: 'calls' }));
    expect(Partitions).toHaveLength(1);
  });

  it('describes a partition so completely that Athena would read it', async () => {
    const { Table } = await glue.send(new GetTableCommand({ DatabaseName: 'aftercall', Name: 'calls' }));
    expect(Table).toMatchObject({ TableType: 'EXTERNAL_TABLE', PartitionKeys: [{ Name: 'year' }, { Name: 'month' }], StorageDescriptor: { Location: 's3://calls/call-data/' } });
    const { Partitions } = await glue.send(new GetPartitionsCommand({ DatabaseName: 'aftercall', TableName: 'calls' }));
    expect(Partitions![0]).toMatchObject({
      Values: ['2026', '11'],
      StorageDescriptor: {
        Location: 's3://calls/call-data/year=2026/month=11/',
        InputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
        OutputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
        SerdeInfo: { SerializationLibrary: 'org.apache.hive.hcatalog.data.JsonSerDe' },
        Columns: CALL_TABLE_COLUMNS.map(({ name, type }) => ({ Name: name, Type: type })),
      },
    });
  });

  it('refuses a table of somebody else’s, and names the column', async () => {
    await createGlueCatalog(settings('theirs')).ensurePartition('default', partition);
    const { Table } = await glue.send(new GetTableCommand({ DatabaseName: 'aftercall', Name: 'theirs' }));
    await glue.send(new UpdateTableCommand({ DatabaseName: 'aftercall', TableInput: { Name: 'theirs', StorageDescriptor: { ...Table!.StorageDescriptor, Columns: [{ Name: 'task_id', Type: 'bigint' }] } } }));
    await expect(createGlueCatalog(settings('theirs')).ensurePartition('default', { year: '2027', month: '01' })).rejects.toMatchObject({ code: 'CONFIG_INVALID', message: expect.stringContaining('task_id') as unknown });
  });
});

/** A real HTTP server that answers as Athena does: moto only knows canned rows and no failures. */
const startAthenaServer = async (states: string[]) => {
  const asked: { target: string; body: Record<string, unknown> }[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', (chunk: Buffer) => chunks.push(chunk));
    request.on('end', () => {
      const target = String(request.headers['x-amz-target']).split('.')[1]!;
      asked.push({ target, body: JSON.parse(Buffer.concat(chunks).toString()) as Record<string, unknown> });
      const answers: Record<string, object> = {
        StartQueryExecution: { QueryExecutionId: 'q1' },
        GetQueryExecution: { QueryExecution: { Status: { State: states.length > 1 ? states.shift() : states[0], StateChangeReason: 'TABLE_NOT_FOUND' } } },
        GetQueryResults: { ResultSet: { Rows: [['total_records', 'with_recording', 'with_transcript', 'with_analysis'], ['150', '145', '130', '120']].map((row) => ({ Data: row.map((VarCharValue) => ({ VarCharValue })) })) } },
        StopQueryExecution: {},
      };
      response.setHeader('content-type', 'application/x-amz-json-1.1').end(JSON.stringify(answers[target]));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked, stop: () => new Promise((resolve) => server.close(resolve)) };
};

describe('Athena', () => {
  const athena = (url: string) => createAthena({ ...settings('calls'), AWS_ENDPOINT_URL: url, ATHENA_WORKGROUP: 'primary', ATHENA_OUTPUT: 's3://calls/athena/' }, { lookEveryMs: { first: 5, most: 5 } });

  it('counts the call table, also when the query falls back to the queue', async () => {
    const server = await startAthenaServer(['QUEUED', 'RUNNING', 'QUEUED', 'SUCCEEDED']);
    expect(await athena(server.url).countCalls('default')).toEqual({ totalRecords: 150, withRecording: 145, withTranscript: 130, withAnalysis: 120 });
    expect(server.asked[0]?.body).toMatchObject({ QueryString: expect.stringContaining('FROM "aftercall"."calls"') as unknown, WorkGroup: 'primary', ResultConfiguration: { OutputLocation: 's3://calls/athena/' } });
    await server.stop();
  });

  it('says why a query failed', async () => {
    const server = await startAthenaServer(['FAILED']);
    await expect(athena(server.url).countCalls('default')).rejects.toThrow(/failed by Athena: TABLE_NOT_FOUND/);
    await server.stop();
  });

  it('stops a query that nobody waits for any more', async () => {
    const server = await startAthenaServer(['RUNNING']);
    const gone = new AbortController();
    const counting = athena(server.url).countCalls('default', { signal: gone.signal });
    setTimeout(() => gone.abort(new Error('gone')), 100);
    await expect(counting).rejects.toThrow('gone');
    expect(server.asked.at(-1)?.target).toBe('StopQueryExecution');
    await server.stop();
  });
});
