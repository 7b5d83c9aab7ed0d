import OpenAI, { APIConnectionError, APIConnectionTimeoutError, APIError, APIUserAbortError } from 'openai';
import { AftercallError, isAftercallError, messageOf } from '../domain/errors.ts';
import { fetchThrough, fetchWithin, type Guard } from './http/guard.ts';
import type { HostList } from './http/hosts.ts';
import { retryAfterMs } from './http/retry-after.ts';

interface Client {
  baseUrl: string;
  apiKey: string;
  timeoutMs: number;
  /** The hosts of `OUTBOUND_ONLY`. */
  only: HostList | undefined;
  /** What checks an address that a project has set. */
  outside?: Guard | undefined;
  headers?: Record<string, string>;
}

/** A client for OpenAI or a server that speaks its API. Retries are the workflow's business, not the client's. */
export const openAIClient = ({ baseUrl, apiKey, timeoutMs, only, outside, headers = {} }: Client): OpenAI =>
  // A server without keys is given one all the same: the client asks for it.
  new OpenAI({ baseURL: baseUrl, apiKey: apiKey || 'none', maxRetries: 0, timeout: timeoutMs, fetch: outside ? fetchThrough(outside) : fetchWithin(only), defaultHeaders: headers });

/** What to call the server in records: `openai`, or the host it is reached at. */
export const providerName = (baseUrl: string): string => {
  const { hostname } = new URL(baseUrl);
  return hostname === 'api.openai.com' ? 'openai' : hostname;
};

/**
 * Turns what the client throws into what the workflow decides on.
 *
 * An answer with an error status was refused: nothing was done and nothing is billed. A timeout or a
 * lost connection leaves that open.
 */
export const openAIFailure = (error: unknown, doing: string, signal: AbortSignal): unknown => {
  if (signal.aborted || error instanceof APIUserAbortError) return signal.reason ?? error;
  if (isAftercallError(error)) return error;
  if (error instanceof APIConnectionTimeoutError) {
    return new AftercallError('UPSTREAM_TIMEOUT', `${doing} failed: no answer in time.`, { advice: 'It is tried again. The request may have been billed.', cause: error });
  }
  // Our own fetch refused the address.
  if (error instanceof APIConnectionError && isAftercallError(error.cause)) return error.cause;
  if (error instanceof APIConnectionError) {
    return new AftercallError('UPSTREAM_UNAVAILABLE', `${doing} failed: ${messageOf(error.cause ?? error)}`, { advice: 'Check the base URL and the network. It is tried again.', cause: error });
  }
  // By name, not `instanceof`: what fetch throws may come from another realm.
  const { name = '' } = error as { name?: string };
  if (name === 'SyntaxError') {
    return new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: the server answered with something that is not JSON.`, { advice: 'Often a proxy or a login page in between. It is tried again.', cause: error });
  }
  // What fetch throws when the answer breaks off.
  if (name === 'TypeError' && /terminated|other side closed/i.test(`${messageOf(error)} ${messageOf((error as Error).cause)}`)) {
    return new AftercallError('UPSTREAM_UNAVAILABLE', `${doing} failed: the answer broke off.`, { advice: 'It is tried again. The request may have been billed.', cause: error });
  }
  if (!(error instanceof APIError)) return error;

  return refusalOf({
    doing,
    status: error.status as number | undefined,
    message: error.message,
    outOfCredit: error.code === 'insufficient_quota' || error.type === 'insufficient_quota',
    retryAfterMs: waitOf(error.headers as Headers | undefined),
    outcome: 'refused',
    cause: error,
  });
};

interface Refusal {
  doing: string;
  status: number | undefined;
  message: string;
  outOfCredit?: boolean;
  retryAfterMs?: number | undefined;
  outcome: 'refused' | 'unknown';
  cause?: unknown;
}

/** What a status says, be it of the answer or, from a gateway, written inside it. */
export const refusalOf = ({ doing, status, message: said, outOfCredit = false, retryAfterMs: wait, outcome, cause }: Refusal): AftercallError => {
  const message = `${doing} failed: the server answered ${status ?? 'with an error'} (${said.slice(0, 300)}).`;
  const options = { outcome, cause, ...(wait === undefined ? {} : { retryAfterMs: wait }) };
  if (status === 402 || (status === 429 && outOfCredit)) {
    return new AftercallError('QUOTA_EXHAUSTED', message, { ...options, advice: 'Add credit or raise the limit of the account, then retry the calls that wait.' });
  }
  if (status === 429) return new AftercallError('RATE_LIMITED', message, { ...options, advice: 'It is tried again after the time asked for.' });
  if (status === 401 || status === 403) return new AftercallError('AUTH_FAILED', message, { ...options, advice: 'Check OPENAI_API_KEY (or STT_API_KEY) and what it is allowed to do.' });
  if (status === undefined || status >= 500 || status === 408 || status === 409) return new AftercallError('UPSTREAM_UNAVAILABLE', message, { ...options, advice: 'It is tried again.' });
  return new AftercallError('UPSTREAM_REJECTED', message, { ...options, advice: 'Check the model name and what it accepts; trying again will not help.' });
};

const waitOf = (headers: Headers | undefined): number | undefined => {
  const ms = headers?.get('retry-after-ms');
  return ms && /^\d+$/.test(ms) ? Number(ms) : retryAfterMs(headers?.get('retry-after'), Date.now());
};
