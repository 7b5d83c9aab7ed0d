/** Where recordings, transcripts and records lie: S3 in production, a folder when embedded. */
export interface ObjectStore {
  /** How people and other systems address an object: `s3://bucket/key` or `file:///…/key`. */
  uri(key: string): string;

  /** Writes a whole small object. Atomic: a reader sees the old content or the new, never a part. */
  put(key: string, body: string | Uint8Array, options: PutOptions): Promise<void>;

  /**
   * Writes an object unless there is one under its key already.
   *
   * @returns whether it was written. A caller whose answer was lost sees `false` for its own write:
   *   compare the content.
   */
  putIfAbsent(key: string, body: string | Uint8Array, options: PutOptions): Promise<boolean>;

  /** The whole of a small object as text, or undefined when there is none. */
  getText(key: string, options?: ReadOptions): Promise<string | undefined>;

  /** A stream of an object, whole or in part, or undefined when there is none. */
  open(key: string, options?: ReadOptions & { range?: ByteRange }): Promise<OpenObject | undefined>;

  head(key: string, options?: ReadOptions): Promise<ObjectInfo | undefined>;

  delete(key: string, options?: ReadOptions): Promise<void>;

  /**
   * The keys of all objects below a prefix, some at a time, in no order that matters.
   *
   * @param prefix ends in `/`
   */
  list(prefix: string, options?: ReadOptions): AsyncIterable<string[]>;

  /**
   * Starts an upload of unknown length, or takes up one that an earlier process left unfinished under
   * this key: then `offset` says how many bytes are stored already.
   */
  openUpload(key: string, options: PutOptions): Promise<Upload>;

  /** A cheap check that the store can be reached and written with the configured credentials. */
  check(): Promise<void>;
}

export interface ReadOptions {
  signal?: AbortSignal;
}

export interface PutOptions extends ReadOptions {
  contentType: string;
}

/** Both ends inclusive, as in HTTP. */
export interface ByteRange {
  start: number;
  end?: number;
}

export interface ObjectInfo {
  bytes: number;
  contentType?: string;
  etag?: string;
}

export interface OpenObject extends ObjectInfo {
  body: AsyncIterable<Uint8Array>;
  /** Size of the whole object even when `body` is a part of it. */
  totalBytes: number;
}

export interface Upload {
  /** Bytes stored so far. */
  readonly offset: number;
  write(chunk: Uint8Array): Promise<void>;
  /** Makes the object visible under its key. */
  complete(): Promise<void>;
  /** Throws away what was stored; nothing is left behind. */
  abort(): Promise<void>;
  /** Leaves what was stored for the next `openUpload`, flushed as far as the store can keep it. */
  pause(): Promise<void>;
}
