import type { Config } from '../../config.ts';
import { type Credentials, originOf, type StoredToken } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { sendForJson } from '../http/http.ts';
import { TokenSchema } from './webex.schema.ts';

type TokenConfig = Pick<Config, 'WEBEX_TOKEN_URL' | 'WEBEX_CLIENT_ID' | 'WEBEX_CLIENT_SECRET' | 'WEBEX_REFRESH_TOKEN' | 'UPSTREAM_TIMEOUT'>;

/** Renewed this long before it expires, so that no request leaves with a token that dies on the way. */
const AHEAD_MS = 60_000;
const CREDENTIAL = 'webex';

/** The access token of Webex, shared by all processes and renewed by one of them at a time. */
export const createWebexToken = ({ config, credentials }: { config: TokenConfig; credentials: Credentials }) => {
  const origin = originOf(`${config.WEBEX_CLIENT_ID}:${config.WEBEX_REFRESH_TOKEN}`);
  let cached: StoredToken | undefined;

  /** The token if it can be used now. */
  const usable = (token: StoredToken | undefined, stale: string | undefined): StoredToken | undefined =>
    token?.origin === origin && token.accessToken !== stale && token.expiresAtMs - AHEAD_MS > Date.now() ? token : undefined;

  const request = async (refreshToken: string, signal: AbortSignal): Promise<StoredToken> => {
    const answer = await sendForJson({
      system: 'Webex',
      doing: 'Renewing the access token',
      url: new URL(config.WEBEX_TOKEN_URL),
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: config.WEBEX_CLIENT_ID,
        client_secret: config.WEBEX_CLIENT_SECRET,
        refresh_token: refreshToken,
      }).toString(),
      signal,
      timeoutMs: config.UPSTREAM_TIMEOUT,
    }).catch((error: unknown) => {
      if (!(error instanceof AftercallError) || error.code !== 'UPSTREAM_REJECTED') throw error;
      throw new AftercallError('AUTH_FAILED', error.message, { advice: 'Check WEBEX_CLIENT_ID and WEBEX_CLIENT_SECRET, and set a fresh WEBEX_REFRESH_TOKEN.', outcome: 'refused', cause: error });
    });
    const token = TokenSchema.safeParse(answer);
    if (!token.success) throw new AftercallError('UPSTREAM_NONSENSE', 'Renewing the access token failed: Webex answered without a token.', { advice: 'Check WEBEX_TOKEN_URL.' });
    return {
      accessToken: token.data.access_token,
      // Whether it rotates is not documented: always keep the one that came last.
      refreshToken: token.data.refresh_token ?? refreshToken,
      expiresAtMs: Date.now() + token.data.expires_in * 1_000,
      origin,
    };
  };

  return {
    /** @param stale a token that was just refused: any other is taken */
    async get(signal: AbortSignal, stale?: string): Promise<string> {
      cached = usable(cached, stale) ?? usable(await credentials.find(CREDENTIAL), stale);
      cached ??= await credentials.renew(
        CREDENTIAL,
        // Another process may have been faster.
        async (current) => usable(current, stale) ?? request(current?.origin === origin ? current.refreshToken : config.WEBEX_REFRESH_TOKEN, signal),
      );
      return cached.accessToken;
    },
  };
};
