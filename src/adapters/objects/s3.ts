import { createHash } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  ListPartsCommand,
  PutObjectCommand,
  S3Client,
  type S3ServiceException,
  UploadPartCommand,
} from '@aws-sdk/client-s3';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import type { ByteRange, ObjectInfo, ObjectStore, OpenObject, PutOptions, ReadOptions, Upload } from './object-store.ts';

/** S3 takes parts from 5 MiB; 8 MiB lets 10,000 of them hold 78 GiB. One part is the memory an upload takes. */
export const PART_BYTES = 8 * 1024 * 1024;
/** A conflict with a concurrent write of the same key settles at once; more often than this it does not. */
const CONFLICT_TRIES = 3;
const CONFLICT_WAIT_MS = 100;
/** A connection that takes or gives nothing for so long is dead; without a limit the SDK would wait for ever. */
const TIMEOUTS = { connectionTimeout: 5_000, socketTimeout: 60_000 };

/** Objects in S3 or in a store that speaks its API. Credentials come from the AWS SDK's usual places. */
export const createS3Store = ({ bucket, region, endpoint }: { bucket: string; region: string; endpoint?: string | undefined }): ObjectStore => {
  const client = new S3Client({ region, maxAttempts: 3, requestHandler: TIMEOUTS, ...(endpoint ? { endpoint, forcePathStyle: true } : {}) });
  const at = (key: string) => ({ Bucket: bucket, Key: key });
  const abort = (signal?: AbortSignal) => (signal ? { abortSignal: signal } : {});

  const store: ObjectStore = {
    uri: (key) => `s3://${bucket}/${key}`,

    async put(key, body, { contentType, signal }) {
      await explained('Writing', key, signal, () => client.send(new PutObjectCommand({ ...at(key), Body: body, ContentType: contentType }), abort(signal)));
    },

    async putIfAbsent(key, body, { contentType, signal }) {
      for (let attempt = 1; ; attempt += 1) {
        try {
          await client.send(new PutObjectCommand({ ...at(key), Body: body, ContentType: contentType, IfNoneMatch: '*' }), abort(signal));
          return true;
        } catch (error) {
          const status = statusOf(error);
          if (status === 412) return false;
          // Another write of this key is under way: whose it will be is known in a moment.
          if (status !== 409 || attempt >= CONFLICT_TRIES) throw explain('Writing', key, signal, error);
          await sleep(CONFLICT_WAIT_MS * attempt, undefined, signal ? { signal } : {});
        }
      }
    },

    async getText(key, options = {}) {
      const found = await store.open(key, options);
      if (!found) return undefined;
      const chunks: Uint8Array[] = [];
      for await (const chunk of found.body) chunks.push(chunk);
      return Buffer.concat(chunks).toString('utf8');
    },

    async open(key, { signal, range }: ReadOptions & { range?: ByteRange } = {}): Promise<OpenObject | undefined> {
      try {
        const found = await client.send(new GetObjectCommand({ ...at(key), ...(range ? { Range: `bytes=${range.start}-${range.end ?? ''}` } : {}) }), abort(signal));
        const bytes = found.ContentLength ?? 0;
        const whole = /\/(\d+)$/.exec(found.ContentRange ?? '')?.[1];
        return { body: readable(key, signal, found.Body as unknown as AsyncIterable<Uint8Array>), bytes, totalBytes: whole ? Number(whole) : bytes, ...described(found) };
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw explain('Reading', key, signal, error);
      }
    },

    async head(key, { signal } = {}): Promise<ObjectInfo | undefined> {
      try {
        const found = await client.send(new HeadObjectCommand(at(key)), abort(signal));
        return { bytes: found.ContentLength ?? 0, ...described(found) };
      } catch (error) {
        if (statusOf(error) === 404) return undefined;
        throw explain('Looking up', key, signal, error);
      }
    },

    async delete(key, { signal } = {}) {
      await explained('Deleting', key, signal, () => client.send(new DeleteObjectCommand(at(key)), abort(signal)));
    },

    async *list(prefix, { signal } = {}) {
      for (let token: string | undefined, more = true; more; ) {
        const page = await explained('Listing', prefix, signal, () => client.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: prefix, ContinuationToken: token }), abort(signal)));
        const keys = (page.Contents ?? []).flatMap(({ Key }) => Key ?? []);
        if (keys.length > 0) yield keys;
        token = page.NextContinuationToken;
        more = page.IsTruncated === true && token !== undefined;
      }
    },

    openUpload: (key, options) => explained('Writing', key, options.signal, () => openUpload({ client, bucket, key, ...options })),

    async check() {
      // Markers rely on conditional writes, which some S3-compatible stores accept and ignore.
      const key = '.aftercall-check';
      await store.put(key, 'check', { contentType: 'text/plain' });
      if (await store.putIfAbsent(key, 'check', { contentType: 'text/plain' })) {
        throw new AftercallError('CONFIG_INVALID', `The object store ignores If-None-Match: it overwrote an object that it was told to keep.`, {
          advice: 'Use a store or a version of it that supports conditional writes; without them two workers could act on one call.',
        });
      }
    },
  };
  return store;
};

interface OpenUpload extends PutOptions {
  client: S3Client;
  bucket: string;
  key: string;
}

/**
 * A multipart upload: parts of equal size as the bytes come, or a single PUT for what fits into one.
 *
 * Two processes that upload the same recording to one key, as when a worker that was taken for dead still
 * runs, share the upload and write the same parts. Whoever completes it second finds it done.
 */
const openUpload = async ({ client, bucket, key, contentType, signal }: OpenUpload): Promise<Upload> => {
  const abort = signal ? { abortSignal: signal } : {};
  const at = { Bucket: bucket, Key: key };
  const leftover = await findLeftover({ client, bucket, key, signal });
  let uploadId = leftover?.uploadId;
  const parts = leftover?.parts ?? [];
  let stored = parts.reduce((bytes, part) => bytes + part.bytes, 0);
  // One part's memory, used again for each: fresh buffers pile up faster than they are collected.
  let part: Buffer | undefined;
  let pending = 0;

  const flush = async (): Promise<void> => {
    uploadId ??= (await client.send(new CreateMultipartUploadCommand({ ...at, ContentType: contentType }), abort)).UploadId!;
    const number = parts.length + 1;
    const { ETag } = await client.send(new UploadPartCommand({ ...at, UploadId: uploadId, PartNumber: number, Body: part!.subarray(0, pending) }), abort);
    parts.push({ number, etag: ETag!, bytes: pending });
    stored += pending;
    pending = 0;
  };

  return {
    get offset() {
      return stored + pending;
    },
    async write(chunk) {
      signal?.throwIfAborted();
      for (let rest = chunk; rest.byteLength > 0; ) {
        part ??= Buffer.allocUnsafeSlow(PART_BYTES);
        const piece = rest.subarray(0, PART_BYTES - pending);
        part.set(piece, pending);
        pending += piece.byteLength;
        rest = rest.subarray(piece.byteLength);
        if (pending === PART_BYTES) await explained('Writing', key, signal, flush);
      }
    },
    async complete() {
      await explained('Writing', key, signal, async () => {
        if (!uploadId) {
          await client.send(new PutObjectCommand({ ...at, Body: part?.subarray(0, pending) ?? '', ContentType: contentType }), abort);
          return;
        }
        if (pending > 0) await flush();
        try {
          await client.send(new CompleteMultipartUploadCommand({ ...at, UploadId: uploadId, MultipartUpload: { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) } }), abort);
        } catch (error) {
          // The answer may have been lost, to this try or to one of the SDK's before: then the object is there.
          signal?.throwIfAborted();
          const status = statusOf(error);
          if (status !== undefined && status < 500 && !isNoSuchUpload(error)) throw error;
          const found = await client.send(new HeadObjectCommand(at), abort).catch(() => undefined);
          if (!found || found.ContentLength !== stored || !mayBeOf(parts, found.ETag)) throw error;
        }
      });
    },
    async abort() {
      pending = 0;
      if (uploadId) await client.send(new AbortMultipartUploadCommand({ ...at, UploadId: uploadId })).catch(() => {});
    },
    async pause() {
      // What does not fill a part cannot be kept: S3 takes smaller parts only as the last.
      pending = 0;
    },
  };
};

const isNoSuchUpload = (error: unknown): boolean => (error as Error).name === 'NoSuchUpload';

/**
 * Whether an object with this ETag can be what these parts make: an older object of the same length has
 * another. Under a KMS key the sums are not MD5, so nothing matches and the upload is done again, which is
 * slow but never wrong.
 */
const mayBeOf = (parts: Leftover['parts'], etag: string | undefined): boolean => {
  const sums = parts.map((part) => /^"?([0-9a-f]{32})"?$/.exec(part.etag)?.[1]);
  // A store with ETags of its own kind tells nothing by them; the length has to do.
  if (!etag || !sums.every((sum) => sum !== undefined)) return true;
  return etag.replaceAll('"', '') === `${createHash('md5').update(Buffer.from(sums.join(''), 'hex')).digest('hex')}-${parts.length}`;
};

interface Leftover {
  uploadId: string;
  parts: { number: number; etag: string; bytes: number }[];
}

/** The upload of this key that an earlier process left behind. Of several, the newest; the others are aborted. */
const findLeftover = async ({ client, bucket, key, signal }: Pick<OpenUpload, 'client' | 'bucket' | 'key'> & { signal: AbortSignal | undefined }): Promise<Leftover | undefined> => {
  const abort = signal ? { abortSignal: signal } : {};
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket, Prefix: key }), abort);
  const [newest, ...others] = Uploads.filter((upload) => upload.Key === key).sort((a, b) => Number(b.Initiated) - Number(a.Initiated));
  for (const { UploadId } of others) await client.send(new AbortMultipartUploadCommand({ Bucket: bucket, Key: key, UploadId }), abort);
  if (!newest?.UploadId) return undefined;
  const parts: Leftover['parts'] = [];
  // Not the SDK's paginator: it follows the marker, which some stores send on the last page too.
  for (let marker: string | undefined, more = true; more; ) {
    const page = await client.send(new ListPartsCommand({ Bucket: bucket, Key: key, UploadId: newest.UploadId, PartNumberMarker: marker }), abort);
    for (const { PartNumber, ETag, Size } of page.Parts ?? []) parts.push({ number: PartNumber!, etag: ETag!, bytes: Size! });
    more = page.IsTruncated === true && page.NextPartNumberMarker !== undefined && page.NextPartNumberMarker !== marker;
    marker = page.NextPartNumberMarker;
  }
  // Only an unbroken run of whole parts can be continued.
  const whole = parts.findIndex((part, index) => part.number !== index + 1 || part.bytes !== PART_BYTES);
  return { uploadId: newest.UploadId, parts: whole < 0 ? parts : parts.slice(0, whole) };
};

const described = ({ ContentType, ETag }: { ContentType?: string | undefined; ETag?: string | undefined }): { contentType?: string; etag?: string } => ({
  ...(ContentType ? { contentType: ContentType } : {}),
  ...(ETag ? { etag: ETag } : {}),
});

const statusOf = (error: unknown): number | undefined => (error as Partial<S3ServiceException>).$metadata?.httpStatusCode;

const explain = (doing: string, key: string, signal: AbortSignal | undefined, error: unknown): unknown => {
  if (signal?.aborted) return signal.reason;
  if (error instanceof AftercallError) return error;
  const status = statusOf(error);
  const name = (error as Error).name;
  const message = `${doing} the object ${key} failed: the store answered ${status ?? 'nothing'} (${name}: ${messageOf(error)}).`;
  // Another process completed or gave up this very upload: the next try starts from what is there.
  if (status !== undefined && status >= 400 && status < 500 && !isNoSuchUpload(error) && status !== 408 && status !== 409 && status !== 429) {
    return new AftercallError('STORAGE_REJECTED', message, { advice: 'Check that the bucket exists and what the credentials may do with it. Without s3:ListBucket, S3 answers 403 for an object that is not there.', outcome: 'refused', cause: error });
  }
  return new AftercallError('STORAGE_UNAVAILABLE', message, { advice: 'It is tried again. Check AWS_ENDPOINT_URL, AWS_REGION and the network if it goes on.', cause: error });
};

const explained = async <T>(doing: string, key: string, signal: AbortSignal | undefined, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw explain(doing, key, signal, error);
  }
};

/** An object's bytes; a connection that breaks off on the way says what was read. */
const readable = async function* (key: string, signal: AbortSignal | undefined, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw explain('Reading', key, signal, error);
  }
};
