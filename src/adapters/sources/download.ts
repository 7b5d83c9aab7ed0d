import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { type HttpRequest, isRedirect, reasonOf, type Refusal, send } from '../http/http.ts';
import type { RecordingLink, RecordingStream } from './source.ts';

/** Sends the request for a recording: `send`, or a guard before it that looks at where the request goes. */
export type FetchRecording = (request: HttpRequest) => Promise<Response>;

export interface Download {
  link: RecordingLink;
  offset: number;
  signal: AbortSignal;
  /** For the answer's headers, and for each piece of its body. */
  timeoutMs: number;
  explain: (refusal: Refusal) => AftercallError | undefined;
  fetchRecording?: FetchRecording;
  /** How many redirects are followed. Each is a request of its own, for a guard to see. Default none. */
  hops?: number;
}

/** Opens a recording by its link alone: no credentials of ours go with it. */
export const openDownload = async ({ link, offset, signal, timeoutMs, explain, fetchRecording = send, hops = 0 }: Download): Promise<RecordingStream> => {
  const request = (url: URL): HttpRequest => ({
    system: 'the recording store',
    doing: `Downloading the recording ${link.fileName}`,
    url,
    headers: offset > 0 ? { range: `bytes=${offset}-` } : {},
    signal,
    timeoutMs,
    explain,
    ...(hops > 0 ? { wantsRedirects: true as const } : {}),
  });
  let url = new URL(link.url);
  let response = await fetchRecording(request(url));
  for (let hop = 0; isRedirect(response); hop += 1) {
    const next = URL.parse(response.headers.get('location')!, url.href);
    await response.body?.cancel();
    if (hop >= hops || !next || !isWebAddress(next)) {
      throw new AftercallError('RECORDING_UNUSABLE', `Downloading the recording ${link.fileName} failed: the recording store at ${url.origin} sends it on, ${hop >= hops ? `more than ${hops} times` : 'to what is no web address'}.`, {
        advice: 'Open the link of the call by hand; it has to lead to the recording itself.',
        outcome: 'refused',
      });
    }
    url = next;
    response = await fetchRecording(request(url));
  }
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

/** Whether a recording could be asked for there. A name and password in it would travel with each request, and stand in messages. */
export const isWebAddress = ({ protocol, username, password }: URL): boolean => /^https?:$/.test(protocol) && username === '' && password === '';

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
