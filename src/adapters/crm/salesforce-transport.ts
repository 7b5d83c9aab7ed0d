import { PassThrough } from 'node:stream';
import { Transport } from 'jsforce/lib/transport.js';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import type { Fetch } from '../http/guard.ts';
import { reasonOf } from '../http/http.ts';
import { retryAfterMs } from '../http/retry-after.ts';

type Request = Parameters<Transport['httpRequest']>[0];
type Answer = Awaited<ReturnType<Transport['httpRequest']>>;

/** What one piece of work sends with. */
export interface SendingOptions {
  /** What it is for, as in "Creating the lead": stands in messages. */
  doing: string;
  signal: AbortSignal;
  /** For a whole answer. */
  timeoutMs: number;
  /** Looks at where a request goes: the sign-in says which host has the records. */
  fetch: Fetch;
}

/**
 * How jsforce's requests reach Salesforce.
 *
 * jsforce's own transport takes no signal, repeats reads by itself for a quarter of a minute, and ends the
 * process when an answer breaks off half-way. Here a request is cancelled with its step, is sent once,
 * and whatever happens to its answer is an error of that request.
 */
export class SalesforceTransport extends Transport {
  readonly #options: SendingOptions;
  /** What the last answer's `Retry-After` asked for. */
  retryAfterMs: number | undefined;

  constructor(options: SendingOptions) {
    super();
    this.#options = options;
  }

  override httpRequest(request: Request): ReturnType<Transport['httpRequest']> {
    // jsforce can hand out a stream too; nobody here reads one.
    return Object.assign(this.#send(request), { stream: () => new PassThrough() });
  }

  async #send({ url, method, headers = {}, body }: Request): Promise<Answer> {
    const { doing, signal, timeoutMs, fetch } = this.#options;
    signal.throwIfAborted();
    const timeout = AbortSignal.timeout(timeoutMs);
    let answer: Answer;
    try {
      const response = await fetch(new URL(url), {
        method,
        headers: withoutLength(headers),
        signal: AbortSignal.any([signal, timeout]),
        ...(typeof body === 'string' ? { body } : {}),
      });
      answer = { statusCode: response.status, headers: Object.fromEntries(response.headers), body: await response.text() };
    } catch (error) {
      signal.throwIfAborted();
      if (isAftercallError(error)) throw error;
      if (timeout.aborted) {
        throw new AftercallError('UPSTREAM_TIMEOUT', `${doing} failed: Salesforce did not answer within ${timeoutMs / 1_000} s.`, { advice: 'It is tried again. If it goes on, check the status of Salesforce.', cause: error });
      }
      throw new AftercallError('UPSTREAM_UNAVAILABLE', `${doing} failed: Salesforce cannot be reached or broke off its answer: ${reasonOf(error)}`, {
        advice: 'It is tried again. If it goes on, check SFDC_URL, the network and the status of Salesforce.',
        cause: error,
      });
    }
    this.retryAfterMs = retryAfterMs(answer.headers['retry-after'], Date.now());
    if (isRedirect(answer.statusCode)) {
      throw new AftercallError('UPSTREAM_REJECTED', `${doing} failed: Salesforce sends the request on to another address (${answer.statusCode}).`, { advice: "Set SFDC_URL to the org's My Domain host.", outcome: 'refused' });
    }
    if (answer.statusCode < 300 && answer.statusCode !== 204) checkReadable(answer, doing);
    return answer;
  }
}

/** jsforce counts it itself, and leaves an outdated one on a repeated SOAP request. */
const withoutLength = (headers: Record<string, string>): Record<string, string> => Object.fromEntries(Object.entries(headers).filter(([name]) => name.toLowerCase() !== 'content-length'));

const isRedirect = (status: number): boolean => [301, 302, 303, 307, 308].includes(status);

/** jsforce hands a login page over as if it were the record. */
const checkReadable = ({ headers, body }: Answer, doing: string): void => {
  const type = headers['content-type'] ?? '';
  const nonsense = (cause?: unknown): AftercallError =>
    new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: Salesforce answered with something that is neither JSON nor XML (${body.length} characters, ${type || 'no content type'}).`, {
      advice: 'Often a proxy or a login page in between. It is tried again.',
      cause,
    });
  if (/^(text|application)\/xml(;|$)/.test(type)) return;
  if (!/^application\/json(;|$)/.test(type)) throw nonsense();
  try {
    JSON.parse(body);
  } catch (error) {
    throw nonsense(error);
  }
};
