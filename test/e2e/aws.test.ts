import { GetObjectCommand, ListObjectsV2Command } from '@aws-sdk/client-s3';
import { GetPartitionsCommand, GlueClient } from '@aws-sdk/client-glue';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { SAMPLE_CALLS } from '../../sandbox/calls/index.ts';
import type { DevServer } from '../../scripts/dev-server.ts';
import type { CrmMarker } from '../../src/domain/crm-marker.ts';
import type { ExecutionReport } from '../../src/domain/report.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';
import { startPostgres, type TestPostgres } from '../support/postgres.ts';
import { ledgerOf } from '../support/sandbox.ts';
import { startSystem, type TestSystem } from '../support/system.ts';
import { startTemporalProcess } from '../support/temporal-process.ts';

/** Production's parts behind every port: PostgreSQL, S3, Glue, Athena. */
let aws: TestAws;
let server: DevServer;
let postgres: TestPostgres;
let system: TestSystem;
let report: ExecutionReport;

const row = (...cells: string[]) => ({ Data: cells.map((VarCharValue) => ({ VarCharValue })) });

beforeAll(async () => {
  [aws, server, postgres] = await Promise.all([startAws(), startTemporalProcess(), startPostgres()]);
  // This Athena reads no files. It answers with what it is given here, which shows where the report's counts come from.
  await fetch(`${aws.url}/moto-api/static/athena/query-results`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ region: REGION, results: [{ rows: [row('total_records', 'with_recording', 'with_transcript', 'with_analysis'), row('1217', '1215', '1214', '1213')], column_info: [] }] }),
  });
  system = await startSystem({
    server,
    env: { DATABASE_URL: await postgres.createDatabase(), OBJECTS_DIR: '', S3_BUCKET: aws.bucket, AWS_REGION: REGION, AWS_ENDPOINT_URL: aws.url, ATHENA_OUTPUT: `s3://${aws.bucket}/athena/` },
  });
  report = await system.runWindow();
});
afterAll(async () => {
  await system?.stop();
  await Promise.all([server?.stop(), postgres?.stop(), aws?.stop()]);
});

const keys = async (prefix: string): Promise<string[]> => (await aws.s3.send(new ListObjectsV2Command({ Bucket: aws.bucket, Prefix: prefix }))).Contents?.map(({ Key }) => Key!) ?? [];
const text = async (key: string): Promise<string> => (await aws.s3.send(new GetObjectCommand({ Bucket: aws.bucket, Key: key }))).Body!.transformToString();

describe('a window of calls into S3, Glue and PostgreSQL', () => {
  it('reports every call, with the catalogue as Athena counts it', () => {
    expect(report).toMatchObject({ newTasks: 17, processedSuccessfully: 17, failed: 0, needsAttention: 0, inProgress: 0 });
    expect(report.catalogue).toEqual({ totalRecords: 1217, withRecording: 1215, withTranscript: 1214, withAnalysis: 1213 });
  });

  it('keeps each call under the keys of the layout, and leaves no upload unfinished', async () => {
    const good = SAMPLE_CALLS.find(({ scenario }) => scenario === 'good_lead')!.taskId;
    expect(await keys(`call-detail/${good}/`)).toEqual(['analysis.json', 'recording.wav', 'transcript.json', 'versions/1/transcript.json'].map((name) => `call-detail/${good}/${name}`));
    expect(JSON.parse(await text(`SFDC/${good}.txt`)) as CrmMarker).toMatchObject({ state: 'done', decision: { scenario: 'good_lead' } });
    expect(await keys('reports/')).toEqual([`reports/${report.runId}.json`]);
    expect(JSON.parse(await text(`reports/${report.runId}.json`))).toEqual(report);
    expect(await keys('logs/')).toEqual([`logs/${report.runId}.ndjson`]);
    expect(await aws.unfinishedUploads()).toBe(0);
  });

  it('registers the partitions that hold all records, and nothing else lies there', async () => {
    const glue = new GlueClient({ region: REGION, endpoint: aws.url });
    const { Partitions = [] } = await glue.send(new GetPartitionsCommand({ DatabaseName: 'aftercall', TableName: 'calls' }));
    const found: string[] = [];
    for (const { StorageDescriptor, Values } of Partitions) {
      const prefix = StorageDescriptor!.Location!.replace(`s3://${aws.bucket}/`, '');
      expect(prefix).toBe(`call-data/year=${Values![0]}/month=${Values![1]}/`);
      found.push(...(await keys(prefix)));
    }
    expect(found.toSorted()).toEqual((await keys('call-data/')).toSorted());
    const records = await Promise.all(found.map(async (key) => JSON.parse((await text(key)).trim()) as Record<string, unknown>));
    expect(records.map((record) => record['task_id']).toSorted()).toEqual(SAMPLE_CALLS.filter(({ task }) => task.status !== 'assigned').map(({ taskId }) => taskId).toSorted());
    for (const record of records) if (record['recording_file']) expect(record['recording_file']).toMatch(/^s3:\/\/calls\/call-detail\/.*\/recording\.(wav|mp3)$/);
  });

  it('makes one lead, owes what was billed, and does nothing at the next window', async () => {
    const before = [await ledgerOf(system.sandbox.openai), await ledgerOf(system.sandbox.salesforce)];
    expect(before[1]!.filter(({ kind }) => kind === 'lead_created')).toHaveLength(1);
    expect(report.cost.totalMicroUsd).toBe(before[0]!.reduce((sum, entry) => sum + Number(entry['microUsd']), 0));
    await fetch(`${aws.url}/moto-api/static/athena/query-results`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ region: REGION, results: [{ rows: [row('total_records', 'with_recording', 'with_transcript', 'with_analysis'), row('17', '15', '15', '13')], column_info: [] }] }),
    });
    expect(await system.runWindow()).toMatchObject({ newTasks: 0, skippedAlreadyProcessed: 17, catalogue: { totalRecords: 17 } });
    expect([await ledgerOf(system.sandbox.openai), await ledgerOf(system.sandbox.salesforce)]).toEqual(before);
  });
});
