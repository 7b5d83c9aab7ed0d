import { createHash } from 'node:crypto';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { createFolderStore } from '../../src/adapters/objects/folder.ts';
import type { ObjectStore } from '../../src/adapters/objects/object-store.ts';
import { createS3Store, PART_BYTES } from '../../src/adapters/objects/s3.ts';
import { startFaultyProxy } from '../support/faulty-proxy.ts';
import { REGION, startAws, type TestAws } from '../support/moto.ts';

let aws: TestAws;
let proxy: Awaited<ReturnType<typeof startFaultyProxy>>;
let folder: string;

beforeAll(async () => {
  aws = await startAws();
  proxy = await startFaultyProxy(aws.url);
  folder = await mkdtemp(join(tmpdir(), 'aftercall-objects-'));
});
afterAll(async () => {
  await proxy?.stop();
  await aws?.stop();
  await rm(folder, { recursive: true, force: true });
});

const text = { contentType: 'text/plain' };
const bytesOf = async (body: AsyncIterable<Uint8Array>): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
};
const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');
/** Bytes that differ at every offset of a part. */
const content = (length: number): Buffer => Buffer.alloc(length, createHash('sha512').update(String(length)).digest());

describe.each(['folder', 'S3'] as const)('objects in %s', (kind) => {
  const open = (): ObjectStore => (kind === 'folder' ? createFolderStore(folder) : createS3Store({ bucket: aws.bucket, region: REGION, endpoint: proxy.url }));

  it('can be checked, written, read, listed by range and deleted', async () => {
    const store = open();
    await store.check();
    await store.put('a/b.txt', 'hello', text);
    expect(await store.getText('a/b.txt')).toBe('hello');
    const part = await store.open('a/b.txt', { range: { start: 1, end: 3 } });
    expect([part?.bytes, part?.totalBytes, (await bytesOf(part!.body)).toString()]).toEqual([3, 5, 'ell']);
    expect(await store.head('a/b.txt')).toMatchObject({ bytes: 5 });
    await store.delete('a/b.txt');
    expect([await store.getText('a/b.txt'), await store.head('a/b.txt'), await store.open('a/b.txt')]).toEqual([undefined, undefined, undefined]);
  });

  it('lists all that lies below a prefix, page by page, and nothing else', async () => {
    const store = open();
    const keysBelow = async (prefix: string): Promise<{ keys: string[]; pages: number }> => {
      const pages: string[][] = [];
      for await (const page of store.list(prefix)) pages.push(page);
      return { keys: pages.flat().toSorted(), pages: pages.length };
    };
    expect(await keysBelow('listed/')).toEqual({ keys: [], pages: 0 });
    const keys = Array.from({ length: 1_003 }, (_, at) => `listed/dt=2026-11-${at % 30}/${at}.json`).toSorted();
    for (let from = 0; from < keys.length; from += 50) await Promise.all(keys.slice(from, from + 50).map((key) => store.put(key, 'x', text)));
    await Promise.all(['listed-too/1.json', 'listed.json'].map((key) => store.put(key, 'x', text)));
    expect(await keysBelow('listed/')).toEqual({ keys, pages: 2 });
    expect(await keysBelow('listed/dt=2026-11-7/')).toMatchObject({ keys: keys.filter((key) => key.startsWith('listed/dt=2026-11-7/')) });
    const aborted = store.list('listed/', { signal: AbortSignal.abort(new Error('stopped')) });
    await expect(aborted[Symbol.asyncIterator]().next()).rejects.toThrow('stopped');
  });

  it('writes a marker for one of many who try at once', async () => {
    const store = open();
    const written = await Promise.all(Array.from({ length: 8 }, (_, at) => store.putIfAbsent('SFDC/one.txt', String(at), text)));
    expect(written.filter(Boolean)).toHaveLength(1);
    expect(await store.getText('SFDC/one.txt')).toBe(String(written.indexOf(true)));
  });

  it.each([10, PART_BYTES, PART_BYTES * 2 + 5])('uploads %i bytes in pieces of any size', async (length) => {
    const body = content(length);
    const upload = await open().openUpload(`up/${length}`, text);
    expect(await open().head(`up/${length}`)).toBeUndefined();
    for (let at = 0; at < length; at += 1_000_003) await upload.write(body.subarray(at, at + 1_000_003));
    await upload.complete();
    expect(sha256(await bytesOf((await open().open(`up/${length}`))!.body))).toBe(sha256(body));
  });

  it('takes up an upload that a killed process left behind, and leaves nothing over', async () => {
    const body = content(PART_BYTES * 3);
    const first = await open().openUpload('resumed', text);
    await first.write(body.subarray(0, PART_BYTES * 2 + 100));
    // No pause, no abort: the process is gone.
    const second = await open().openUpload('resumed', text);
    expect(second.offset).toBeGreaterThanOrEqual(PART_BYTES * 2);
    await first.pause();
    await second.write(body.subarray(second.offset));
    await second.complete();
    expect(sha256(await bytesOf((await open().open('resumed'))!.body))).toBe(sha256(body));
    expect(await aws.unfinishedUploads()).toBe(0);
    expect(await readdir(join(folder, '.uploads')).catch(() => [])).toEqual([]);
  });

  it('leaves nothing behind when an upload is given up', async () => {
    const upload = await open().openUpload('given-up', text);
    await upload.write(content(PART_BYTES + 1));
    await upload.abort();
    expect([await aws.unfinishedUploads(), await open().head('given-up')]).toEqual([0, undefined]);
    const again = await open().openUpload('given-up', text);
    expect(again.offset).toBe(0);
    await again.abort();
  });
});

describe('a folder', () => {
  it.each(['../outside', '/etc/passwd', 'a/../../b', ''])('is not left by the key %s', async (key) => {
    await expect(createFolderStore(folder).put(key, 'x', text)).rejects.toMatchObject({ code: 'STORAGE_REJECTED' });
  });
});

describe('S3 that fails', () => {
  const store = (): ObjectStore => createS3Store({ bucket: aws.bucket, region: REGION, endpoint: proxy.url });
  const slowDown = { status: 503, body: '<Error><Code>SlowDown</Code><Message>Reduce your request rate</Message></Error>' };

  it('is asked again when it is busy', async () => {
    proxy.faults.push({ match: /^PUT .*busy/, effect: slowDown });
    await store().put('busy', 'x', text);
    expect(await store().getText('busy')).toBe('x');
  });

  it('keeps one marker when a conflict comes first', async () => {
    proxy.faults.push({ match: /^PUT .*conflict/, effect: { status: 409, body: '<Error><Code>ConditionalRequestConflict</Code><Message>Conflict</Message></Error>' } });
    expect(await store().putIfAbsent('conflict', 'mine', text)).toBe(true);
    expect(await store().getText('conflict')).toBe('mine');
  });

  it('tells a caller whose answer was lost that the object is there: the content says whose it is', async () => {
    proxy.faults.push({ match: /^PUT .*lost/, effect: 'lose_answer' });
    expect(await store().putIfAbsent('lost', 'mine', text)).toBe(false);
    expect(await store().getText('lost')).toBe('mine');
  });

  it('completes an upload whose completion was answered to nobody', async () => {
    const body = content(PART_BYTES + 7);
    const upload = await store().openUpload('completed', text);
    await upload.write(body);
    proxy.faults.push({ match: /^POST .*completed\?.*uploadId/, effect: 'lose_answer' });
    await upload.complete();
    expect((await store().head('completed'))?.bytes).toBe(body.byteLength);
    expect(await aws.unfinishedUploads()).toBe(0);
  });

  it('says what to check when the bucket is not there', async () => {
    const nowhere = createS3Store({ bucket: 'nowhere', region: REGION, endpoint: aws.url });
    await expect(nowhere.put('x', 'x', text)).rejects.toMatchObject({ code: 'STORAGE_REJECTED', advice: expect.stringContaining('bucket') as unknown });
  });
});
