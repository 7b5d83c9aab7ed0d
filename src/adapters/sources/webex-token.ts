import type { WebexConfig } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { sendForJson } from '../http/http.ts';
import { addressed, type Reach } from '../http/reach.ts';
import { createRotatingToken, type RenewedToken } from '../rotating-token.ts';
import { TokenSchema } from './webex.schema.ts';

/** The access token of Webex. */
export const createWebexToken = ({ config, credentials, name, reach }: { config: WebexConfig; credentials: Credentials; name: string; reach: Reach }) => {
  const request = async (refreshToken: string): Promise<RenewedToken> => {
    const answer = await sendForJson({
      system: 'Webex',
      doing: 'Renewing the access token',
      ...addressed(reach, new URL(config.WEBEX_TOKEN_URL)),
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: new URLSearchParams({
        grant_type: 'refresh_token',
        client_id: config.WEBEX_CLIENT_ID,
        client_secret: config.WEBEX_CLIENT_SECRET,
        refresh_token: refreshToken,
      }).toString(),
      signal: AbortSignal.timeout(config.UPSTREAM_TIMEOUT),
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
    };
  };

  return createRotatingToken({ credentials, name, clientId: config.WEBEX_CLIENT_ID, firstRefreshToken: config.WEBEX_REFRESH_TOKEN, request });
};
