import { type ChildProcess, spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from '@jest/globals';
import { generatedWav } from '../../sandbox/webex/recordings.ts';
import { copyRecording } from '../../src/activities/recording.ts';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import type { ObjectStore } from '../../src/adapters/objects/object-store.ts';
import { createS3Store } from '../../src/adapters/objects/s3.ts';
import { createWebex } from '../../src/adapters/sources/webex.ts';
import type { Credentials } from '../../src/db/credentials.ts';
import type { StoredRecording } from '../../src/db/schema.ts';
import { loadConfig, withSystem } from '../../src/config.ts';
import { complete } from '../support/config.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';
import { type Serving, startRecordingServer } from '../support/recording-server.ts';

const MIB = 1024 * 1024;
/** What production's workers are started with: what keeps memory small is checked as it runs. */
const flags = (JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { scripts: { worker: string } }).scripts.worker.match(/--max-\S+/g) ?? [];
const COPY = fileURLToPath(new URL('../support/copy-recording.ts', import.meta.url));

let aws: TestAws;
let folder: string;
let server: Awaited<ReturnType<typeof startRecordingServer>>;

beforeAll(async () => {
  aws = await startAws();
  folder = await mkdtemp(join(tmpdir(), 'aftercall-recording-'));
});
afterEach(() => server?.stop());
afterAll(async () => {
  await aws?.stop();
  await rm(folder, { recursive: true, force: true });
});

const serve = async (serving: Serving): Promise<string> => {
  server = await startRecordingServer(serving);
  return server.url;
};
const bytesAs = (content: Buffer): Serving['file'] => ({
  bytes: content.byteLength,
  contentType: 'audio/wav',
  read: async function* (start, end) {
    yield content.subarray(start, end + 1);
  },
});
const sha256Of = async (body: AsyncIterable<Uint8Array>): Promise<string> => {
  const hash = createHash('sha256');
  for await (const chunk of body) hash.update(chunk);
  return hash.digest('hex');
};
const hashOfFile = (file: Serving['file']): Promise<string> => sha256Of(file.read(0, file.bytes - 1));

describe.each(['folder', 'S3'] as const)('a recording copied to %s', (kind) => {
  const objects = (): ObjectStore => (kind === 'folder' ? createFolderStore(folder) : createS3Store({ bucket: aws.bucket, region: REGION, endpoint: aws.url }));
  const place = (): Record<string, string> =>
    kind === 'folder' ? { OBJECTS_DIR: folder } : { S3_BUCKET: aws.bucket, AWS_REGION: REGION, AWS_ENDPOINT_URL: aws.url, ATHENA_OUTPUT: 's3://calls/athena/' };
  const leftovers = async (): Promise<number> => (kind === 'folder' ? (await readdir(join(folder, '.uploads'))).length : aws.unfinishedUploads());

  const copyInChild = (...urls: string[]): { child: ChildProcess; result: Promise<{ stored: StoredRecording; grewBy: number }> } => {
    const child = spawn(process.execPath, [...flags, COPY, ...urls], { stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NODE_OPTIONS: '', ...place() } });
    let output = '';
    let complaint = '';
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on('data', (chunk: Buffer) => (complaint += chunk.toString()));
    const result = new Promise<{ stored: StoredRecording; grewBy: number }>((resolve, reject) => {
      child.once('close', (code) => (code === 0 ? resolve(JSON.parse(output) as { stored: StoredRecording; grewBy: number }) : reject(new Error(`the copy ended with ${code}: ${complaint}`))));
    });
    // A copy that is killed on purpose rejects; only who waits for it wants to know.
    result.catch(() => {});
    return { child, result };
  };

  const copy = (url: string, { callId, maxBytes = 500 * MIB, signal = new AbortController().signal }: { callId: string; maxBytes?: number; signal?: AbortSignal }): Promise<StoredRecording> =>
    copyRecording({
      source: createWebex({ config: withSystem(loadConfig(complete), 'webex')!, credentials: {} as Credentials }),
      link: { recordingId: 'r', fileName: 'recording.wav', url },
      objects: objects(),
      call: { project: 'default', callId },
      maxBytes,
      signal,
    });
  const storedHash = async (stored: StoredRecording): Promise<string> => sha256Of((await objects().open(stored.key))!.body);

  it('of 200 MB adds less than 64 MiB to the memory', async () => {
    const file = generatedWav(200_000_000);
    const warmUp = await startRecordingServer({ file: generatedWav(1_000_000) });
    const { stored, grewBy } = await copyInChild(warmUp.url, await serve({ file })).result;
    await warmUp.stop();
    expect(stored).toMatchObject({ bytes: file.bytes, format: 'wav', sha256: await hashOfFile(file) });
    expect(grewBy).toBeLessThan(64 * MIB);
    expect(await leftovers()).toBe(0);
  });

  it('is taken up where a killed process stopped', async () => {
    const file = generatedWav(40 * MIB + 10);
    const url = await serve({ file, stallAfter: 30 * MIB });
    const { child } = copyInChild(url);
    await server.stalled;
    // What was sent is on its way through the process; a part that is stored is what there is to resume.
    while ((kind === 'S3' ? await storedParts() : await leftovers()) === 0) await new Promise((resolve) => setTimeout(resolve, 50));
    child.kill('SIGKILL');
    await new Promise((resolve) => child.once('close', resolve));
    server.serve({ file });
    const { stored } = await copyInChild(url).result;
    expect(stored).toMatchObject({ bytes: file.bytes, sha256: await hashOfFile(file) });
    expect(await storedHash(stored)).toBe(stored.sha256);
    expect(server.requests[1]!.start).toBeGreaterThan(0);
    expect(server.requests[1]!.sent).toBeLessThan(file.bytes);
    expect(await leftovers()).toBe(0);
  });
  const storedParts = async (): Promise<number> => {
    const upload = await objects().openUpload('call-detail/copied/recording.wav', { contentType: 'audio/wav' });
    return upload.offset;
  };

  it('is continued after the source broke off, and after the worker was told to stop', async () => {
    const file = generatedWav(30 * MIB);
    const url = await serve({ file, dropAfter: 10 * MIB });
    await expect(copy(url, { callId: 'broken-off' })).rejects.toMatchObject({ code: 'RECORDING_TRUNCATED' });
    const stopping = new AbortController();
    server.serve({ file, stallAfter: 10 * MIB });
    const second = copy(url, { callId: 'broken-off', signal: stopping.signal });
    second.catch(() => {});
    await server.stalled;
    stopping.abort(new Error('shutting down'));
    await expect(second).rejects.toThrow('shutting down');
    server.serve({ file });
    const stored = await copy(url, { callId: 'broken-off' });
    expect(stored.sha256).toBe(await hashOfFile(file));
    expect(server.requests.map((request) => request.start).slice(1).every((start) => start >= 8 * MIB - 1)).toBe(true);
    expect(await leftovers()).toBe(0);
  });

  it('is fetched from its start again when the source serves no ranges', async () => {
    const file = generatedWav(20 * MIB);
    const url = await serve({ file, ranges: false, dropAfter: 10 * MIB });
    await expect(copy(url, { callId: 'no-ranges' })).rejects.toMatchObject({ code: 'RECORDING_TRUNCATED' });
    server.serve({ file, ranges: false });
    expect((await copy(url, { callId: 'no-ranges' })).sha256).toBe(await hashOfFile(file));
    expect(await leftovers()).toBe(0);
  });

  it('is finished when every byte was stored before the process was killed', async () => {
    const file = generatedWav(16 * MIB);
    const upload = await objects().openUpload('call-detail/all-there/recording.wav', { contentType: 'audio/wav' });
    for await (const chunk of file.read(0, file.bytes - 1)) await upload.write(chunk);
    await upload.pause();
    expect((await copy(await serve({ file }), { callId: 'all-there' })).sha256).toBe(await hashOfFile(file));
    expect(server.requests.map((request) => request.sent)).toEqual([1]);
    expect(await leftovers()).toBe(0);
  });

  it('is fetched anew when the source has a shorter file now', async () => {
    const url = await serve({ file: generatedWav(30 * MIB), dropAfter: 20 * MIB });
    await expect(copy(url, { callId: 'replaced' })).rejects.toMatchObject({ code: 'RECORDING_TRUNCATED' });
    const shorter = generatedWav(MIB);
    server.serve({ file: shorter });
    expect(await copy(url, { callId: 'replaced' })).toMatchObject({ bytes: MIB, sha256: await hashOfFile(shorter) });
    expect(await leftovers()).toBe(0);
  });

  it('is not stored when two attempts saw different files', async () => {
    const url = await serve({ file: generatedWav(40 * MIB), dropAfter: 10 * MIB });
    await expect(copy(url, { callId: 'changed' })).rejects.toMatchObject({ code: 'RECORDING_TRUNCATED' });
    server.serve({ file: generatedWav(20 * MIB) });
    await expect(copy(url, { callId: 'changed' })).rejects.toMatchObject({ code: 'RECORDING_TRUNCATED', message: expect.stringContaining('two attempts') as unknown });
    expect([await objects().head('call-detail/changed/recording.wav'), await leftovers()]).toEqual([undefined, 0]);
  });

  it.each([
    ['a web page', bytesAs(Buffer.from('<!DOCTYPE html><html><body>Please sign in</body></html>')), 'RECORDING_UNUSABLE'],
    ['nothing', bytesAs(Buffer.alloc(0)), 'RECORDING_UNUSABLE'],
    ['less sound than its header says', { ...generatedWav(10 * MIB), bytes: 9 * MIB }, 'RECORDING_TRUNCATED'],
  ])('is refused when it is %s, and leaves nothing behind', async (_what, file, code) => {
    await expect(copy(await serve({ file }), { callId: 'refused' })).rejects.toMatchObject({ code });
    expect([await objects().head('call-detail/refused/recording.wav'), await leftovers()]).toEqual([undefined, 0]);
  });

  it.each([true, false])('is refused when it is too large, its length announced: %s', async (length) => {
    const url = await serve({ file: generatedWav(20 * MIB), length });
    await expect(copy(url, { callId: 'large', maxBytes: 12 * MIB })).rejects.toMatchObject({ code: 'RECORDING_TOO_LARGE' });
    expect([await objects().head('call-detail/large/recording.wav'), await leftovers()]).toEqual([undefined, 0]);
  });
});
