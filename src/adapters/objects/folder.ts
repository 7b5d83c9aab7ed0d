import { createHash, randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, link, mkdir, open, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import type { ByteRange, ObjectInfo, ObjectStore, OpenObject, PutOptions, ReadOptions, Upload } from './object-store.ts';

/** Unfinished files lie here, outside every prefix that a query engine reads. */
const UPLOADS = '.uploads';

const CONTENT_TYPES: Record<string, string> = {
  json: 'application/json',
  ndjson: 'application/x-ndjson',
  txt: 'text/plain; charset=utf-8',
  wav: 'audio/wav',
  mp3: 'audio/mpeg',
};

/** Objects as files below a folder; keys are paths. */
export const createFolderStore = (folder: string): ObjectStore => {
  const root = resolve(folder);

  const pathOf = (key: string): string => {
    const path = resolve(root, key);
    if (key === '' || key.includes('\0') || !path.startsWith(root + sep)) {
      throw new AftercallError('STORAGE_REJECTED', `The object key ${JSON.stringify(key)} leads out of the objects folder.`, {
        advice: 'This is a defect: keys are made of checked call IDs.',
      });
    }
    return path;
  };
  /** One partial file per key, found again by the next process. */
  const partialOf = (key: string): string => join(root, UPLOADS, `${createHash('sha256').update(key).digest('hex')}.partial`);

  /** Writes a file that no reader sees half of: a temporary one, flushed, then moved into place. */
  const writeWhole = async (path: string, body: string | Uint8Array, place: (temporary: string) => Promise<void>): Promise<void> => {
    await mkdir(dirname(path), { recursive: true });
    await mkdir(join(root, UPLOADS), { recursive: true });
    const temporary = join(root, UPLOADS, `${randomUUID()}.tmp`);
    try {
      await writeFile(temporary, body, { flush: true });
      await place(temporary);
    } finally {
      await unlink(temporary).catch(() => {});
    }
  };

  return {
    uri: (key) => pathToFileURL(pathOf(key)).href,

    async put(key, body, { signal }: PutOptions) {
      signal?.throwIfAborted();
      const path = pathOf(key);
      await explained('writing', key, () => writeWhole(path, body, (temporary) => rename(temporary, path)));
    },

    async putIfAbsent(key, body, { signal }: PutOptions) {
      signal?.throwIfAborted();
      const path = pathOf(key);
      try {
        // A link fails if the name is taken, which a rename would not.
        await writeWhole(path, body, (temporary) => link(temporary, path));
        return true;
      } catch (error) {
        if (codeOf(error) === 'EEXIST') return false;
        throw explain('writing', key, error);
      }
    },

    async getText(key, { signal }: ReadOptions = {}) {
      const path = pathOf(key);
      try {
        return await readFile(path, { encoding: 'utf8', ...(signal ? { signal } : {}) });
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return undefined;
        throw explain('reading', key, error);
      }
    },

    async open(key, { signal, range }: ReadOptions & { range?: ByteRange } = {}): Promise<OpenObject | undefined> {
      const path = pathOf(key);
      const info = await this.head(key);
      if (!info) return undefined;
      const end = Math.min(range?.end ?? info.bytes - 1, info.bytes - 1);
      const start = range?.start ?? 0;
      const body = info.bytes === 0 || start > end ? emptyBody() : createReadStream(path, { start, end, ...(signal ? { signal } : {}) });
      return { ...info, bytes: Math.max(0, end - start + 1), totalBytes: info.bytes, body };
    },

    async head(key): Promise<ObjectInfo | undefined> {
      const path = pathOf(key);
      try {
        const found = await stat(path);
        if (!found.isFile()) return undefined;
        const contentType = CONTENT_TYPES[key.slice(key.lastIndexOf('.') + 1)];
        return { bytes: found.size, etag: `"${found.size.toString(16)}-${Math.trunc(found.mtimeMs).toString(16)}"`, ...(contentType ? { contentType } : {}) };
      } catch (error) {
        if (codeOf(error) === 'ENOENT') return undefined;
        throw explain('looking up', key, error);
      }
    },

    async delete(key) {
      await unlink(pathOf(key)).catch((error: unknown) => {
        if (codeOf(error) !== 'ENOENT') throw explain('deleting', key, error);
      });
    },

    async openUpload(key, { signal }: PutOptions): Promise<Upload> {
      const path = pathOf(key);
      const partial = partialOf(key);
      return explained('writing', key, async () => {
        await mkdir(join(root, UPLOADS), { recursive: true });
        const file = await open(partial, 'a');
        return createUpload({ key, path, partial, file, offset: (await file.stat()).size, signal });
      });
    },

    async check() {
      const probe = join(root, UPLOADS, `${randomUUID()}.check`);
      try {
        await mkdir(dirname(probe), { recursive: true });
        await writeFile(probe, '');
        await unlink(probe);
      } catch (error) {
        throw new AftercallError('STORAGE_UNAVAILABLE', `The objects folder ${root} cannot be written: ${messageOf(error)}`, {
          advice: 'Check OBJECTS_DIR, its permissions and the free space.',
          cause: error,
        });
      }
    },
  };
};

interface OpenPartial {
  key: string;
  path: string;
  partial: string;
  file: FileHandle;
  offset: number;
  signal: AbortSignal | undefined;
}

const createUpload = ({ key, path, partial, file, offset, signal }: OpenPartial): Upload => {
  let stored = offset;
  let isOpen = true;
  const close = async (): Promise<void> => {
    if (!isOpen) return;
    isOpen = false;
    await file.close();
  };
  return {
    get offset() {
      return stored;
    },
    async write(chunk) {
      signal?.throwIfAborted();
      await explained('writing', key, () => file.appendFile(chunk));
      stored += chunk.byteLength;
    },
    async complete() {
      await explained('writing', key, async () => {
        await file.sync();
        await close();
        await mkdir(dirname(path), { recursive: true });
        await rename(partial, path);
      });
    },
    async abort() {
      await close();
      await unlink(partial).catch(() => {});
    },
    async pause() {
      await file.sync().catch(() => {});
      await close();
    },
  };
};

const emptyBody = async function* (): AsyncGenerator<Uint8Array> {};

const codeOf = (error: unknown): string | undefined => (error as NodeJS.ErrnoException | undefined)?.code;

const explain = (doing: string, key: string, error: unknown): unknown => {
  const code = codeOf(error);
  if (code === undefined || (error instanceof Error && error.name === 'AbortError')) return error;
  return new AftercallError('STORAGE_UNAVAILABLE', `${doing[0]?.toUpperCase()}${doing.slice(1)} the object ${key} failed: ${messageOf(error)}`, {
    advice: code === 'ENOSPC' ? 'The disk is full: free space below OBJECTS_DIR.' : 'Check OBJECTS_DIR and its permissions.',
    cause: error,
  });
};

const explained = async <T>(doing: string, key: string, work: () => Promise<T>): Promise<T> => {
  try {
    return await work();
  } catch (error) {
    throw explain(doing, key, error);
  }
};
