import type { z } from 'zod';
import type { RetellConfig } from '../../config.ts';
import { AftercallError } from '../../domain/errors.ts';
import type { Guard } from '../http/guard.ts';
import { type Refusal, sendForJson } from '../http/http.ts';
import { addressed } from '../http/reach.ts';
import { type RetellCall, RetellCallSchema, type RetellConcurrency, RetellConcurrencySchema, RetellListSchema } from './retell.schema.ts';

/** `POST /v2/create-phone-call`: the fields that are used. */
export interface CreatePhoneCall {
  from_number: string;
  to_number: string;
  override_agent_id?: string;
  metadata: Record<string, unknown>;
  retell_llm_dynamic_variables: Record<string, string>;
}

/** `POST /v3/list-calls`. Conditions are joined with AND. */
export interface ListRetellCalls {
  filter_criteria: Record<string, unknown>;
  limit: number;
  pagination_key?: string;
  /** By the time at which they began. */
  sort_order?: 'ascending' | 'descending';
}

export interface RetellPage {
  calls: RetellCall[];
  /** Calls of the page that could not be read. */
  unreadable: number;
  next?: string;
}

/**
 * Retell's API, as far as it is used. Each method sends one request, once: nothing here repeats anything.
 *
 * Retell knows no idempotency key, and its own SDK sends a create again after a time-out, a lost connection and some
 * refusals, which can ring somebody twice. Whether to try again is therefore decided by who calls this.
 */
export interface RetellClient {
  /**
   * Has Retell dial. Not to be repeated when the outcome is unknown.
   *
   * @throws an error whose outcome is `refused` only where nobody was called for certain: nothing was sent, or Retell
   *   said no with a status of 4xx other than 408 and 409. All else is `unknown`.
   */
  createPhoneCall(body: CreatePhoneCall, signal: AbortSignal): Promise<RetellCall>;
  /** @throws NOT_FOUND when Retell has no such call */
  getCall(callId: string, signal: AbortSignal): Promise<RetellCall>;
  listCalls(query: ListRetellCalls, signal: AbortSignal): Promise<RetellPage>;
  /** Hangs up. @throws NOT_FOUND when Retell has no such call, UPSTREAM_REJECTED when it cannot be stopped (any more) */
  stopCall(callId: string, signal: AbortSignal): Promise<void>;
  concurrency(signal: AbortSignal): Promise<RetellConcurrency>;
}

export interface RetellOptions {
  config: RetellConfig;
  /** Given when a project's people named the address. */
  guard?: Guard | undefined;
}

interface Ask {
  doing: string;
  path: string;
  body?: object;
  signal: AbortSignal;
  explain?: (refusal: Refusal) => AftercallError | undefined;
}

export const createRetellClient = ({ config, guard }: RetellOptions): RetellClient => {
  const reach = { only: config.OUTBOUND_ONLY, guard };

  const ask = ({ doing, path, body, signal, explain = explainRefusal }: Ask): Promise<unknown> =>
    sendForJson({
      system: 'Retell',
      doing,
      ...addressed(reach, new URL(`${config.RETELL_BASE_URL}${path}`)),
      signal,
      timeoutMs: config.UPSTREAM_TIMEOUT,
      explain,
      headers: { authorization: `Bearer ${config.RETELL_API_KEY}`, accept: 'application/json', ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(body ? { method: 'POST' as const, body: JSON.stringify(body) } : {}),
    });

  return {
    createPhoneCall: async (body, signal) => readAs(RetellCallSchema, 'Placing a call', await ask({ doing: 'Placing a call', path: '/v2/create-phone-call', body, signal, explain: explainCreate })),
    getCall: async (callId, signal) => readAs(RetellCallSchema, 'Looking up a call', await ask({ doing: 'Looking up a call', path: `/v2/get-call/${encodeURIComponent(callId)}`, signal })),
    async listCalls(query, signal) {
      const page = readAs(RetellListSchema, 'Listing calls', await ask({ doing: 'Listing calls', path: '/v3/list-calls', body: query, signal }));
      const read = page.items.map((item) => RetellCallSchema.safeParse(item));
      const calls = read.flatMap(({ data }) => data ?? []);
      return { calls, unreadable: read.length - calls.length, ...(page.has_more && page.pagination_key ? { next: page.pagination_key } : {}) };
    },
    stopCall: async (callId, signal) => void (await ask({ doing: 'Stopping a call', path: `/v2/stop-call/${encodeURIComponent(callId)}`, body: {}, signal })),
    concurrency: async (signal) => readAs(RetellConcurrencySchema, 'Reading the limits of the account', await ask({ doing: 'Reading the limits of the account', path: '/get-concurrency', signal })),
  };
};

const readAs = <S extends z.ZodType>(schema: S, doing: string, answer: unknown): z.output<S> => {
  const read = schema.safeParse(answer);
  if (read.success) return read.data;
  const issue = read.error.issues[0];
  throw new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: Retell answered in another shape than its contract gives (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`, {
    advice: 'Look at the status of Retell, and whether its API has changed.',
  });
};

const explainRefusal = ({ status, message }: Refusal): AftercallError | undefined => {
  if (status === 402) return new AftercallError('QUOTA_EXHAUSTED', message, { advice: 'The Retell account is out of credit, or its payment failed. Settle that there.', outcome: 'refused' });
  if (status === 404) return new AftercallError('NOT_FOUND', message, { advice: 'It was deleted in Retell, or RETELL_API_KEY is of another account.', outcome: 'refused' });
  return undefined;
};

/** What may have passed through something on the way is no proof that nobody is being called. */
const explainCreate = (refusal: Refusal): AftercallError | undefined => {
  const { status, message } = refusal;
  if (status === 404 || status === 400 || status === 422) {
    return new AftercallError('UPSTREAM_REJECTED', message, { advice: 'Check the numbers and the agent in Retell: it does not take this call, and trying again will not help.', outcome: 'refused' });
  }
  if (status < 400 || status === 408 || status === 409 || status >= 500) {
    return new AftercallError('UPSTREAM_UNAVAILABLE', message, { advice: 'Whether Retell has taken the call is looked up.', outcome: 'unknown' });
  }
  return explainRefusal(refusal);
};
