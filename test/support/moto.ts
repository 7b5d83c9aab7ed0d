import { spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { CreateBucketCommand, ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { freePort } from '../../scripts/ports.ts';

/** A server that speaks the APIs of S3, Glue and Athena. */
export interface TestAws {
  url: string;
  s3: S3Client;
  bucket: string;
  unfinishedUploads(): Promise<number>;
  stop(): Promise<void>;
}

export const REGION = 'us-east-1';

export const startAws = async (): Promise<TestAws> => {
  const program = process.env['MOTO_SERVER'];
  if (!program) throw new Error('MOTO_SERVER is not set. Run the tests with `npm test`, which finds the program and sets it.');
  // The SDK looks for credentials here; this server takes any.
  process.env['AWS_ACCESS_KEY_ID'] ??= 'test';
  process.env['AWS_SECRET_ACCESS_KEY'] ??= 'test';
  const port = await freePort();
  const child = spawn(program, ['-H', '127.0.0.1', '-p', String(port)], { stdio: ['ignore', 'ignore', 'pipe'] });
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => (complaint = (complaint + chunk.toString()).slice(-1_000)));
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; ; attempt += 1) {
    if (await fetch(`${url}/moto-api/data.json`).then((response) => response.ok, () => false)) break;
    if (attempt > 300) throw new Error(`moto_server did not start: ${complaint}`);
    await sleep(100);
  }
  const bucket = 'calls';
  const s3 = new S3Client({ region: REGION, endpoint: url, forcePathStyle: true });
  await s3.send(new CreateBucketCommand({ Bucket: bucket }));
  return {
    url,
    s3,
    bucket,
    unfinishedUploads: async () => (await s3.send(new ListMultipartUploadsCommand({ Bucket: bucket }))).Uploads?.length ?? 0,
    stop: async () => {
      s3.destroy();
      child.kill('SIGTERM');
      await ended;
    },
  };
};
