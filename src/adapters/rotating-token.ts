import { type Credentials, originOf, type StoredToken } from '../db/credentials.ts';

/** Renewed this long before it expires, so that no request leaves with a token that dies on the way. */
const AHEAD_MS = 60_000;

export type RenewedToken = Omit<StoredToken, 'origin'>;

export interface RotatingTokenOptions {
  credentials: Credentials;
  /** Under which name it is kept. */
  name: string;
  clientId: string;
  /** The refresh token of the settings; another value there replaces what is kept. */
  firstRefreshToken: string;
  /**
   * Asks for a new token. It is not cancelled with whoever asked first: others wait for it, and where a
   * refresh token is good for once, an answer that nobody reads is the end of the integration.
   */
  request: (refreshToken: string) => Promise<RenewedToken>;
}

/** An access token that is shared by all processes and renewed by one of them at a time. */
export const createRotatingToken = ({ credentials, name, clientId, firstRefreshToken, request }: RotatingTokenOptions) => {
  const origin = originOf(`${clientId}:${firstRefreshToken}`);
  let cached: StoredToken | undefined;
  let renewing: Promise<StoredToken> | undefined;
  /** What was given for a refresh token that is spent now, while it is not known to be written down. */
  let unsaved: { spent: string; token: StoredToken } | undefined;

  /** The token if it can be used now. */
  const usable = (token: StoredToken | undefined, stale: string | undefined): StoredToken | undefined =>
    token?.origin === origin && token.accessToken !== stale && token.expiresAtMs - AHEAD_MS > Date.now() ? token : undefined;

  const renew = (stale: string | undefined): Promise<StoredToken> =>
    credentials
      .renew(name, async (current) => {
        // Another process may have been faster.
        const renewed = usable(current, stale);
        if (renewed) return renewed;
        const kept = current?.origin === origin ? current.refreshToken : firstRefreshToken;
        // The database failed after the answer had come: the old refresh token is of no use any more.
        const left = unsaved?.spent === kept ? unsaved.token : undefined;
        const still = usable(left, stale);
        if (still) return still;
        const token = { ...(await request(left?.refreshToken ?? kept)), origin };
        unsaved = { spent: kept, token };
        return token;
      })
      .then((token) => {
        unsaved = undefined;
        return token;
      });

  return {
    /** @param stale a token that was just refused: any other is taken */
    async get(signal: AbortSignal, stale?: string): Promise<string> {
      signal.throwIfAborted();
      const { promise: cancelled, reject } = Promise.withResolvers<never>();
      const stop = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      try {
        for (;;) {
          cached = usable(cached, stale) ?? usable(await credentials.find(name), stale);
          if (cached) return cached.accessToken;
          renewing ??= renew(stale).finally(() => (renewing = undefined));
          renewing.catch(() => {});
          const token = await Promise.race([renewing, cancelled]);
          cached = token;
          // Whoever began the renewal may not have known that this one is refused.
          if (token.accessToken !== stale) return token.accessToken;
        }
      } finally {
        signal.removeEventListener('abort', stop);
      }
    },
  };
};
