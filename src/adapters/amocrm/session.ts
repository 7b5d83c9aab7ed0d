import type { AmoCrmConfig } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { type Buckets, createBuckets } from '../buckets.ts';
import type { Guard } from '../http/guard.ts';
import { type Refusal, sendForJson } from '../http/http.ts';
import { addressed } from '../http/reach.ts';
import { createAmoCrmToken } from './token.ts';

export interface AmoCrmRequest {
  /** What it is for, as in "Listing calls": stands in messages. */
  doing: string;
  /** Behind the account's address. */
  path: string;
  query?: [name: string, value: string][];
  method?: 'POST' | 'PATCH';
  body?: object;
  signal: AbortSignal;
}

/** What all that talks to amoCRM shares within a process: its token, its pace, and its silence while it is blocked. */
export interface AmoCrmSession {
  /**
   * @returns the answer's JSON, or undefined for an empty list: amoCRM says 204 then
   * @throws NOT_FOUND when amoCRM has no such thing
   */
  ask(request: AmoCrmRequest): Promise<unknown>;
}

/** After "too many requests", which comes without a wish of its own as a rule. */
const TOO_MANY_WAIT_MS = 1_000;
/** How long a block lasts is not documented. Asking meanwhile can only prolong it. */
const BLOCKED_WAIT_MS = 15 * 60_000;

export interface AmoCrmSessionOptions {
  config: AmoCrmConfig;
  credentials: Credentials;
  /** Under which name its token is kept. */
  tokenName?: string;
  /** Given when a project's people named the address. */
  guard?: Guard | undefined;
  buckets?: Buckets;
  blockedWaitMs?: number;
}

export const createAmoCrmSession = ({ config, credentials, tokenName = 'amocrm', guard, buckets = createBuckets(), blockedWaitMs = BLOCKED_WAIT_MS }: AmoCrmSessionOptions): AmoCrmSession => {
  const reach = { only: config.OUTBOUND_ONLY, guard };
  const token = createAmoCrmToken({ config, credentials, name: tokenName, reach });
  // Each second is counted over there: no bursts.
  const bucket = buckets.of([config.AMOCRM_BASE_URL, config.AMOCRM_CLIENT_ID, config.AMOCRM_CLIENT_SECRET], config.AMOCRM_REQUESTS_PER_SECOND * 60, { burst: 1 });
  let blockedUntilMs = 0;

  const checkBlock = (doing: string): void => {
    const leftMs = blockedUntilMs - Date.now();
    if (leftMs > 0) {
      throw new AftercallError('RATE_LIMITED', `${doing} was not tried: amoCRM blocks this address until further notice.`, { advice: BLOCKED_ADVICE, retryAfterMs: leftMs, outcome: 'refused' });
    }
  };

  const explain = ({ status, message, contentType, retryAfterMs }: Refusal): AftercallError | undefined => {
    const refused = { outcome: 'refused' as const };
    switch (status) {
      case 402:
        return new AftercallError('QUOTA_EXHAUSTED', message, { ...refused, advice: 'The amoCRM account is not paid for, or its plan lacks this. Retry once that is settled.' });
      case 403: {
        // A right that is missing is told in JSON; whoever sends too much for too long gets a page from what stands in front.
        if (/json/.test(contentType)) return undefined;
        blockedUntilMs = Date.now() + Math.max(blockedWaitMs, retryAfterMs ?? 0);
        return new AftercallError('RATE_LIMITED', message, { ...refused, advice: BLOCKED_ADVICE, retryAfterMs: blockedUntilMs - Date.now() });
      }
      case 404:
        return new AftercallError('NOT_FOUND', message, { ...refused, advice: 'It was deleted in amoCRM, or AMOCRM_BASE_URL leads to another account.' });
      case 429: {
        const waitMs = Math.max(TOO_MANY_WAIT_MS, retryAfterMs ?? 0);
        bucket.pause(waitMs);
        return new AftercallError('RATE_LIMITED', message, { ...refused, retryAfterMs: waitMs, advice: 'It is tried again. If it happens often, lower AMOCRM_REQUESTS_PER_SECOND: all processes together may send 7.' });
      }
      default:
        return undefined;
    }
  };

  const send = async ({ doing, path, query = [], method, body, signal }: AmoCrmRequest, accessToken: string, onRefusedToken?: () => void): Promise<unknown> => {
    checkBlock(doing);
    await bucket.take(signal);
    checkBlock(doing);
    const url = new URL(`${config.AMOCRM_BASE_URL}${path}`);
    url.search = new URLSearchParams(query).toString();
    return sendForJson({
      system: 'amoCRM',
      doing,
      ...addressed(reach, url),
      signal,
      timeoutMs: config.UPSTREAM_TIMEOUT,
      explain: (refusal) => {
        if (refusal.status === 401) onRefusedToken?.();
        return explain(refusal);
      },
      headers: { authorization: `Bearer ${accessToken}`, accept: 'application/json', ...(body ? { 'content-type': 'application/json' } : {}) },
      ...(method ? { method } : {}),
      ...(body ? { body: JSON.stringify(body) } : {}),
    });
  };

  return {
    async ask(request) {
      checkBlock(request.doing);
      const accessToken = await token.get(request.signal);
      let isRefused = false;
      try {
        return await send(request, accessToken, () => (isRefused = true));
      } catch (error) {
        // Revoked or expired early: one renewal, then its word counts.
        if (!isRefused) throw error;
        return send(request, await token.get(request.signal, accessToken));
      }
    },
  };
};

const BLOCKED_ADVICE = 'Too many requests were sent for too long. It is tried again later; lower AMOCRM_REQUESTS_PER_SECOND, look for other programs that use this integration, and ask amoCRM\'s support if it stays.';
