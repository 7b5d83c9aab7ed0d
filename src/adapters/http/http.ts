import { AftercallError, type ErrorCode, isAftercallError, messageOf } from '../../domain/errors.ts';
import { fetchThrough, fetchWithin, type Guard, NotConnected } from './guard.ts';
import type { HostList } from './hosts.ts';
import { retryAfterMs } from './retry-after.ts';

interface Request {
  /** The system that is asked, as people call it: stands in messages. */
  system: string;
  /** What the request is for, as in "Listing calls": stands in messages. */
  doing: string;
  method?: 'GET' | 'POST' | 'PATCH' | 'PUT';
  headers?: Record<string, string>;
  signal: AbortSignal;
  /** For the request to be sent and the headers of the answer to arrive; and once more for the rest of a JSON answer. */
  timeoutMs?: number;
  /** The URL's path opens something, as its query always may: messages show the host alone. */
  secretPath?: true;
  /** What this vendor means by a status where it differs from everybody's. `said` is the beginning of the answer's text. */
  meaningOf?: (status: number, said: string) => ErrorCode | undefined;
  /** What a refusal means to this system; undefined leaves it to the general mapping. */
  explain?: (refusal: Refusal) => AftercallError | undefined;
}

/** An answer of 300 or more. */
export interface Refusal {
  status: number;
  /** What was tried and what was answered, fit to be shown. */
  message: string;
  contentType: string;
  retryAfterMs?: number;
}

/** To a system that the installation's settings name. `only` are the hosts of `OUTBOUND_ONLY`. */
export interface RequestToOurs extends Request {
  url: URL;
  only: HostList | undefined;
  /** Where a project's administrator has set the address, and not the installation: it is checked before each request. */
  outside?: Guard | undefined;
  /** A `Blob` of a file is read while it is sent, and says how long it is. */
  body?: string | Blob;
  guard?: never;
}

/** To an address that comes from outside. */
interface RequestOutside extends Request {
  url: string;
  guard: Guard;
  body?: string;
}

export type HttpRequest = RequestToOurs | RequestOutside;

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_JSON_BYTES = 32 * 1024 * 1024;
/** Of a refusal, for its reason. */
const MAX_REFUSAL_BYTES = 16 * 1024;

/**
 * Sends a request and maps what can go wrong.
 *
 * What comes from outside goes through the guard, which checks where it leads and follows redirects. To systems of
 * the settings redirects are not followed: none of the APIs uses them, and a token must not travel to another host.
 * Messages show the URL without its query, which may hold signatures.
 *
 * @returns the response with a status below 300
 * @throws an error whose outcome is `refused` when the upstream said no, or nothing was sent at all
 */
export const send = async (request: HttpRequest): Promise<Response> => {
  const enough = new AbortController();
  const response = await exchange({ ...request, signal: AbortSignal.any([request.signal, enough.signal]) });
  if (response.status < 300) return response;
  // A refusal is not worth a longer wait than an answer.
  const timer = setTimeout(() => enough.abort(), request.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  try {
    throw await failureOf(request, response);
  } finally {
    clearTimeout(timer);
  }
};

export interface Answer {
  status: number;
  headers: Headers;
  /** As far as it came. */
  body: string;
}

/**
 * Sends a request and gives the answer whatever its status is, for a caller who reads refusals itself.
 *
 * `timeoutMs` is for all of it; of a longer answer, or one that breaks off, the beginning is given.
 */
export const ask = async (request: HttpRequest & { timeoutMs: number; maxBytes: number }): Promise<Answer> => {
  const deadlineMs = performance.now() + request.timeoutMs;
  const enough = new AbortController();
  const { status, headers, body } = await exchange({ ...request, signal: AbortSignal.any([request.signal, enough.signal]) });
  const timer = setTimeout(() => enough.abort(), Math.max(0, deadlineMs - performance.now()));
  try {
    return { status, headers, body: await readUpTo(body, request.maxBytes) };
  } finally {
    clearTimeout(timer);
  }
};

const exchange = async (request: HttpRequest): Promise<Response> => {
  const { method = 'GET', headers = {}, signal, timeoutMs = DEFAULT_TIMEOUT_MS } = request;
  signal.throwIfAborted();
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), timeoutMs);
  const init = { method, headers, signal: AbortSignal.any([signal, timeout.signal]) };
  try {
    return await (request.guard ? request.guard.fetch(request.guard.parse(request.url), { ...init, body: request.body }) : (request.outside ? fetchThrough(request.outside) : fetchWithin(request.only))(request.url, { ...init, body: request.body ?? null }));
  } catch (error) {
    if (isAftercallError(error)) throw error.code === 'URL_REFUSED' ? new AftercallError(error.code, `${request.doing} failed: ${error.message}`, { advice: error.advice, outcome: error.outcome }) : error;
    signal.throwIfAborted();
    const outcome = neverConnected(error) ? 'refused' : 'unknown';
    if (timeout.signal.aborted) {
      throw new AftercallError('UPSTREAM_TIMEOUT', `${request.doing} failed: ${request.system} did not answer within ${timeoutMs / 1_000} s (${shown(request)}).`, {
        advice: `Check that ${request.system} is up.`,
        outcome,
        cause: error,
      });
    }
    throw new AftercallError('UPSTREAM_UNAVAILABLE', `${request.doing} failed: ${request.system} cannot be reached at ${new URL(request.url).origin}: ${reasonOf(error)}`, {
      advice: `Check the address, the network and that ${request.system} is up.`,
      outcome,
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
};

/** Sends a request for JSON. @returns undefined when the answer says that it is empty (204) @throws UPSTREAM_NONSENSE when it is no JSON */
export const sendForJson = async (request: HttpRequest): Promise<unknown> => {
  const response = await send(request);
  if (response.status === 204) return undefined;
  const text = await readText(request, response, MAX_JSON_BYTES);
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw new AftercallError('UPSTREAM_NONSENSE', `${request.doing} failed: ${request.system} answered with something that is not JSON (${text.length} characters, ${response.headers.get('content-type') ?? 'no content type'}).`, {
      advice: 'Often a proxy or a login page in between. It is tried again.',
      cause: error,
    });
  }
};

const ADVICE: Partial<Record<ErrorCode, string>> = {
  QUOTA_EXHAUSTED: 'Add credit or raise the limit of the account, then retry the calls that wait.',
  UPSTREAM_UNAVAILABLE: 'It is tried again.',
};

/** The error for a status of 300 or more. The upstream refused, so nothing was done. */
const failureOf = async (request: HttpRequest, response: Response): Promise<AftercallError> => {
  const { status } = response;
  const text = await readUpTo(response.body, MAX_REFUSAL_BYTES);
  const said = excerpt(text);
  const message = `${request.doing} failed: ${request.system} answered ${status}${said ? ` (${said})` : ''}.`;
  const wait = retryAfterMs(response.headers.get('retry-after'), Date.now());
  const options = { outcome: 'refused' as const, ...(wait === undefined ? {} : { retryAfterMs: wait }) };
  const explained = request.explain?.({ status, message, contentType: response.headers.get('content-type') ?? '', ...(wait === undefined ? {} : { retryAfterMs: wait }) });
  if (explained) return explained;
  const special = request.meaningOf?.(status, text);
  if (special) return new AftercallError(special, message, { ...options, advice: ADVICE[special] ?? `See what ${request.system} says.` });
  if (status === 402) return new AftercallError('QUOTA_EXHAUSTED', message, { ...options, advice: ADVICE.QUOTA_EXHAUSTED! });
  if (status === 401 || status === 403) return new AftercallError('AUTH_FAILED', message, { ...options, advice: `Check the credentials for ${request.system} and what they are allowed to do.` });
  if (status === 429) return new AftercallError('RATE_LIMITED', message, { ...options, advice: 'It is tried again after the time asked for.' });
  if (status >= 500 || status === 408) return new AftercallError('UPSTREAM_UNAVAILABLE', message, { ...options, advice: `It is tried again. If it goes on, check the status of ${request.system}.` });
  return new AftercallError('UPSTREAM_REJECTED', message, { ...options, advice: `${request.system} does not accept this request; trying again will not help.` });
};

/** The beginning of an answer, as far as it came. The rest is not waited for. */
const readUpTo = async (body: Response['body'], limit: number): Promise<string> => {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  try {
    for await (const chunk of (body ?? []) as AsyncIterable<Uint8Array>) {
      chunks.push(chunk);
      bytes += chunk.byteLength;
      if (bytes >= limit) break;
    }
  } catch {
    // What did come is all there is to show.
  }
  return Buffer.concat(chunks).subarray(0, limit).toString('utf8');
};

const readText = async (request: HttpRequest, response: Response, limit: number): Promise<string> => {
  const { timeoutMs = DEFAULT_TIMEOUT_MS } = request;
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let late = false;
  const reader = response.body?.getReader();
  const timer = setTimeout(() => {
    late = true;
    void reader?.cancel().catch(() => {});
  }, timeoutMs);
  try {
    for (let next = await reader?.read(); next && !next.done; next = await reader?.read()) {
      const chunk = next.value as Uint8Array;
      bytes += chunk.byteLength;
      if (bytes > limit) throw new AftercallError('UPSTREAM_NONSENSE', `${request.doing} failed: ${request.system} answered with more than ${limit} bytes.`, { advice: 'Ask for smaller pages.' });
      chunks.push(chunk);
    }
    request.signal.throwIfAborted();
    if (late) throw new AftercallError('UPSTREAM_TIMEOUT', `${request.doing} failed: ${request.system} began to answer, but did not finish within ${timeoutMs / 1_000} s.`, { advice: `Check that ${request.system} is up.` });
  } catch (error) {
    await reader?.cancel().catch(() => {});
    request.signal.throwIfAborted();
    if (isAftercallError(error)) throw error;
    throw new AftercallError('UPSTREAM_UNAVAILABLE', `${request.doing} failed: the answer of ${request.system} broke off: ${reasonOf(error)}`, { advice: 'It is tried again.', cause: error });
  } finally {
    clearTimeout(timer);
  }
  return Buffer.concat(chunks).toString('utf8');
};

/** A request's URL as it may be shown: what identifies the place, not what opens it. */
const shown = ({ url, secretPath }: HttpRequest): string => {
  const { origin, pathname } = new URL(url);
  return secretPath ? origin : `${origin}${pathname}`;
};

interface SocketError {
  code?: string;
  syscall?: string;
  errors?: SocketError[];
}

const NOT_TRUSTED = /^UND_ERR_CONNECT_TIMEOUT$|^ERR_TLS_CERT|CERT_|SELF_SIGNED|^UNABLE_TO_/;

/** Nothing was sent: no address, nobody there, or somebody who cannot prove who they are. */
const neverConnected = (error: unknown): boolean => {
  if (error instanceof NotConnected) return true;
  // What is behind "fetch failed"; where several addresses were tried, one error for each.
  const { cause } = (error ?? {}) as { cause?: SocketError };
  return [cause, ...(cause?.errors ?? [])].some((each) => each?.syscall === 'connect' || each?.syscall === 'getaddrinfo' || NOT_TRUSTED.test(each?.code ?? ''));
};

/** What undici hides behind "fetch failed". */
export const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? messageOf(error) : messageOf(cause) || (cause as { code?: string }).code || messageOf(error);
};

const excerpt = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
