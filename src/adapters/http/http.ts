import { AftercallError, type ErrorCode, isAftercallError, messageOf } from '../../domain/errors.ts';
import { retryAfterMs } from './retry-after.ts';

export interface HttpRequest {
  /** The system that is asked, as people call it: stands in messages. */
  system: string;
  /** What the request is for, as in "Listing calls": stands in messages. */
  doing: string;
  url: URL;
  method?: 'GET' | 'POST' | 'PATCH' | 'PUT';
  headers?: Record<string, string>;
  /** A `Blob` of a file is read while it is sent, and says how long it is. */
  body?: string | Blob;
  signal: AbortSignal;
  /** For the request to be sent and the headers of the answer to arrive; and once more for the rest of a JSON answer. */
  timeoutMs?: number;
  /** What this vendor means by a status where it differs from everybody's. `said` is the answer's text. */
  meaningOf?: (status: number, said: string) => ErrorCode | undefined;
  /** What a refusal means to this system; undefined leaves it to the general mapping. */
  explain?: (refusal: Refusal) => AftercallError | undefined;
  /** Hands a redirect back as it is, for the caller to judge. */
  wantsRedirects?: true;
}

/** An answer of 300 or more. */
export interface Refusal {
  status: number;
  /** What was tried and what was answered, fit to be shown. */
  message: string;
  contentType: string;
  retryAfterMs?: number;
}

const DEFAULT_TIMEOUT_MS = 60_000;
const MAX_JSON_BYTES = 32 * 1024 * 1024;

/**
 * Sends a request and maps what can go wrong.
 *
 * Redirects are not followed: none of the APIs uses them, and a token must not travel to another host.
 * Messages show the URL without its query, which may hold signatures.
 *
 * @returns the response with a status below 300, or a redirect if those are wanted
 */
export const send = async (request: HttpRequest): Promise<Response> => {
  const { url, method = 'GET', headers = {}, body, signal, timeoutMs = DEFAULT_TIMEOUT_MS } = request;
  const timeout = new AbortController();
  const timer = setTimeout(() => timeout.abort(), timeoutMs);
  let response: Response;
  try {
    response = await fetch(url, { method, headers, redirect: 'manual', signal: AbortSignal.any([signal, timeout.signal]), ...(body === undefined ? {} : { body }) });
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) {
      throw new AftercallError('UPSTREAM_TIMEOUT', `${request.doing} failed: ${request.system} did not answer within ${timeoutMs / 1_000} s (${shown(url)}).`, {
        advice: `Check that ${request.system} is up.`,
        cause: error,
      });
    }
    throw new AftercallError('UPSTREAM_UNAVAILABLE', `${request.doing} failed: ${request.system} cannot be reached at ${url.origin}: ${reasonOf(error)}`, {
      advice: `Check the address, the network and that ${request.system} is up.`,
      cause: error,
    });
  } finally {
    clearTimeout(timer);
  }
  if (response.status < 300 || (request.wantsRedirects && isRedirect(response))) return response;
  throw await failureOf(request, response);
};

export const isRedirect = ({ status, headers }: Response): boolean => [301, 302, 303, 307, 308].includes(status) && headers.has('location');

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
  const text = await response.text().catch(() => '');
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

/** A URL as it may be shown: what identifies the place, not what opens it. */
export const shown = (url: URL): string => `${url.origin}${url.pathname}`;

/** What undici hides behind "fetch failed". */
export const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error ? error.cause : undefined;
  return cause === undefined ? messageOf(error) : messageOf(cause) || (cause as { code?: string }).code || messageOf(error);
};

const excerpt = (text: string): string => text.replaceAll(/\s+/g, ' ').trim().slice(0, 200);
