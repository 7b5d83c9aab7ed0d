import { createHash, randomUUID } from 'node:crypto';
import { constants, createReadStream } from 'node:fs';
import { type FileHandle, link, mkdir, open, opendir, readdir, readFile, rename, stat, unlink, writeFile } from 'node:fs/promises';
import { dirname, join, relative, resolve, sep } from 'node:path';
import { pathToFileURL } from 'node:url';
import { AftercallError, messageOf } from '../../domain/errors.ts';
import type { ByteRange, ObjectInfo, ObjectStore, OpenObject, PutOptions, ReadOptions, Upload } from './object-store.ts';

/** Unfinished files lie here, outside every prefix that a query engine reads. */
const UPLOADS = '.uploads';
/** A whole object is written in moments: what is this old belongs to a process that was killed. */
const LEFT_BEHIND_MS = 60 * 60_000;

const LISTED_AT_ONCE = 1_000;

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
    const names = key.split('/');
    if (names.some((name) => ['', '.', '..'].includes(name)) || names[0] === UPLOADS || key.includes('\0') || !path.startsWith(root + sep)) {
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
      await flushFolder(dirname(path));
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
      const body = info.bytes === 0 || start > end ? emptyBody() : readable(key, createReadStream(path, { start, end, ...(signal ? { signal } : {}) }));
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

    async *list(prefix, { signal } = {}) {
      // The name at its end is empty, which no key may have.
      const path = pathOf(prefix.replace(/\/$/, ''));
      let keys: string[] = [];
      try {
        for await (const entry of await opendir(path, { recursive: true })) {
          signal?.throwIfAborted();
          if (!entry.isFile()) continue;
          keys.push(relative(root, join(entry.parentPath, entry.name)).replaceAll(sep, '/'));
          if (keys.length < LISTED_AT_ONCE) continue;
          yield keys;
          keys = [];
        }
      } catch (error) {
        // Folders come with their first file.
        if (codeOf(error) !== 'ENOENT') throw explain('listing', prefix, error);
      }
      if (keys.length > 0) yield keys;
    },

    async openUpload(key, { signal }: PutOptions): Promise<Upload> {
      const path = pathOf(key);
      const partial = partialOf(key);
      return explained('writing', key, async () => {
        await mkdir(join(root, UPLOADS), { recursive: true });
        const file = await openToWrite(partial);
        return createUpload({ key, path, partial, file, offset: (await file.stat()).size, signal });
      });
    },

    async check() {
      const probe = join(root, UPLOADS, `${randomUUID()}.check`);
      try {
        await mkdir(dirname(probe), { recursive: true });
        await writeFile(probe, '');
        await unlink(probe);
        await sweep(dirname(probe));
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
      await explained('writing', key, async () => {
        // At our own place rather than at the end: a worker that was taken for dead may still be writing
        // the same bytes to the same file.
        for (let written = 0; written < chunk.byteLength; ) written += (await file.write(chunk, written, chunk.byteLength - written, stored + written)).bytesWritten;
      });
      stored += chunk.byteLength;
    },
    async complete() {
      await explained('writing', key, async () => {
        await file.sync();
        await close();
        await mkdir(dirname(path), { recursive: true });
        await rename(partial, path);
        await flushFolder(dirname(path));
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

/** Partial uploads stay, however old: the call that they belong to takes them up or throws them away. */
const sweep = async (uploads: string): Promise<void> => {
  for (const name of await readdir(uploads)) {
    if (name.endsWith('.partial')) continue;
    const path = join(uploads, name);
    const found = await stat(path).catch(() => undefined);
    if (found && Date.now() - found.mtimeMs > LEFT_BEHIND_MS) await unlink(path).catch(() => {});
  }
};

/** Opens a file for writing at any place, and keeps what it holds. */
const openToWrite = (path: string): Promise<FileHandle> => open(path, constants.O_WRONLY | constants.O_CREAT);

/** A name is as safe from a power cut as its file only once the folder is flushed too. */
const flushFolder = async (path: string): Promise<void> => {
  const folder = await open(path, 'r');
  try {
    // Some file systems cannot flush folders; then there is nothing to do about it.
    await folder.sync().catch(() => {});
  } finally {
    await folder.close();
  }
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

/** A file's bytes; an error on the way, as when the file was just deleted, says what was read. */
const readable = async function* (key: string, body: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  try {
    yield* body;
  } catch (error) {
    throw explain('reading', key, error);
  }
};
