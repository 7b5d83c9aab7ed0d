import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import type { Guard } from '../http/guard.ts';
import { reasonOf, send } from '../http/http.ts';
import type { RecordingLink, RecordingStream } from './source.ts';

export interface Download {
  link: RecordingLink;
  offset: number;
  signal: AbortSignal;
  /** Looks at where the link leads, and at each redirect from there. */
  guard: Guard;
  /** For the answer's headers, and for each piece of its body. */
  timeoutMs: number;
  /** What it means that the link is refused, and what to do: the link has to be asked for again. */
  refused: { why: string; advice: string; statuses?: readonly number[] };
}

/** Answers of stores to a link that is not good, or not any more. */
const REFUSED: readonly number[] = [401, 403, 404, 410];

/** Opens a recording by its link alone: no credentials of ours go with it. */
export const openDownload = async ({ link, offset, signal, guard, timeoutMs, refused: { why, advice, statuses = REFUSED } }: Download): Promise<RecordingStream> => {
  const response = await send({
    system: 'the recording store',
    doing: `Downloading the recording ${link.fileName}`,
    url: link.url,
    guard,
    headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
    signal,
    timeoutMs,
    explain: ({ status, message }) => (statuses.includes(status) ? new AftercallError('RECORDING_LINK_EXPIRED', `${message} ${why}`, { advice, outcome: 'refused' }) : undefined),
  });
  const range = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(response.headers.get('content-range') ?? '');
  const partial = response.status === 206 && range;
  const start = partial ? Number(range[1]) : 0;
  const length = response.headers.get('content-length');
  const totalBytes = partial && range[2] !== '*' ? Number(range[2]) : length === null ? undefined : start + Number(length);
  const contentType = response.headers.get('content-type');
  return {
    body: watched(response, link.fileName, signal, timeoutMs),
    offset: start,
    ...(totalBytes === undefined ? {} : { totalBytes }),
    ...(contentType ? { contentType } : {}),
  };
};

/** The response's bytes; a body that breaks off or falls silent is an error that says so. */
const watched = async function* (response: Response, fileName: string, signal: AbortSignal, idleMs: number): AsyncGenerator<Uint8Array> {
  const reader = response.body?.getReader();
  if (!reader) return;
  try {
    for (;;) {
      const { promise: idle, reject } = Promise.withResolvers<never>();
      const timer = setTimeout(
        () => reject(new AftercallError('UPSTREAM_TIMEOUT', `Downloading the recording ${fileName} brought nothing for ${idleMs / 1_000} s.`, { advice: 'The rest is fetched at the next try.' })),
        idleMs,
      );
      let read: Awaited<ReturnType<typeof reader.read>>;
      try {
        read = await Promise.race([reader.read(), idle]);
      } finally {
        clearTimeout(timer);
      }
      signal.throwIfAborted();
      if (read.done) return;
      yield read.value;
    }
  } catch (error) {
    signal.throwIfAborted();
    if (isAftercallError(error)) throw error;
    throw new AftercallError('RECORDING_TRUNCATED', `Downloading the recording ${fileName} broke off: ${reasonOf(error)}`, { advice: 'The rest is fetched at the next try.', cause: error });
  } finally {
    await reader.cancel().catch(() => {});
  }
};
