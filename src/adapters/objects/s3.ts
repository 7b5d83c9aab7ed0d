import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
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

/** Objects in S3 or in a store that speaks its API. Credentials come from the AWS SDK's usual places. */
export const createS3Store = ({ bucket, region, endpoint }: { bucket: string; region: string; endpoint?: string | undefined }): ObjectStore => {
  const client = new S3Client({ region, maxAttempts: 3, ...(endpoint ? { endpoint, forcePathStyle: true } : {}) });
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
          if (status === 409 && attempt < CONFLICT_TRIES) continue;
          throw explain('Writing', key, signal, error);
        }
      }
    },

    async getText(key, options = {}) {
      const found = await store.open(key, options);
      if (!found) return undefined;
      return explained('Reading', key, options.signal, async () => {
        const chunks: Uint8Array[] = [];
        for await (const chunk of found.body) chunks.push(chunk);
        return Buffer.concat(chunks).toString('utf8');
      });
    },

    async open(key, { signal, range }: ReadOptions & { range?: ByteRange } = {}): Promise<OpenObject | undefined> {
      try {
        const found = await client.send(new GetObjectCommand({ ...at(key), ...(range ? { Range: `bytes=${range.start}-${range.end ?? ''}` } : {}) }), abort(signal));
        const bytes = found.ContentLength ?? 0;
        const whole = /\/(\d+)$/.exec(found.ContentRange ?? '')?.[1];
        return { body: found.Body as unknown as AsyncIterable<Uint8Array>, bytes, totalBytes: whole ? Number(whole) : bytes, ...described(found) };
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

/** A multipart upload: parts of equal size as the bytes come, or a single PUT for what fits into one. */
const openUpload = async ({ client, bucket, key, contentType, signal }: OpenUpload): Promise<Upload> => {
  const abort = signal ? { abortSignal: signal } : {};
  const at = { Bucket: bucket, Key: key };
  const leftover = await findLeftover({ client, bucket, key, signal });
  let uploadId = leftover?.uploadId;
  const parts = leftover?.parts ?? [];
  let stored = parts.reduce((bytes, part) => bytes + part.bytes, 0);
  let pending: Uint8Array[] = [];
  let pendingBytes = 0;

  const flush = async (): Promise<void> => {
    uploadId ??= (await client.send(new CreateMultipartUploadCommand({ ...at, ContentType: contentType }), abort)).UploadId!;
    const number = parts.length + 1;
    // One copy, freshly made: chunks may be views into larger buffers that would be kept alive.
    const body = Buffer.concat(pending);
    pending = [];
    pendingBytes = 0;
    const { ETag } = await client.send(new UploadPartCommand({ ...at, UploadId: uploadId, PartNumber: number, Body: body }), abort);
    parts.push({ number, etag: ETag!, bytes: body.byteLength });
    stored += body.byteLength;
  };

  return {
    get offset() {
      return stored + pendingBytes;
    },
    async write(chunk) {
      for (let rest = chunk; rest.byteLength > 0; ) {
        const piece = rest.subarray(0, PART_BYTES - pendingBytes);
        pending.push(piece);
        pendingBytes += piece.byteLength;
        rest = rest.subarray(piece.byteLength);
        if (pendingBytes === PART_BYTES) await explained('Writing', key, signal, flush);
      }
    },
    async complete() {
      await explained('Writing', key, signal, async () => {
        if (!uploadId) {
          await client.send(new PutObjectCommand({ ...at, Body: Buffer.concat(pending), ContentType: contentType }), abort);
          return;
        }
        if (pendingBytes > 0) await flush();
        try {
          await client.send(new CompleteMultipartUploadCommand({ ...at, UploadId: uploadId, MultipartUpload: { Parts: parts.map(({ number, etag }) => ({ PartNumber: number, ETag: etag })) } }), abort);
        } catch (error) {
          // The answer to an earlier try of this very request may have been lost: then the upload is gone and the object is there.
          if ((error as S3ServiceException).name !== 'NoSuchUpload') throw error;
          const found = await client.send(new HeadObjectCommand(at), abort);
          if (found.ContentLength !== stored) throw error;
        }
      });
    },
    async abort() {
      pending = [];
      if (uploadId) await client.send(new AbortMultipartUploadCommand({ ...at, UploadId: uploadId })).catch(() => {});
    },
    async pause() {
      // What does not fill a part cannot be kept: S3 takes smaller parts only as the last.
      pending = [];
    },
  };
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
  if (status !== undefined && status >= 400 && status < 500 && status !== 408 && status !== 409 && status !== 429) {
    return new AftercallError('STORAGE_REJECTED', message, { advice: 'Check that the bucket exists and what the credentials may do with it.', outcome: 'refused', cause: error });
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
