import { z } from 'zod';
import type { AmoCrmConfig } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import { AftercallError } from '../../domain/errors.ts';
import { sendForJson } from '../http/http.ts';
import { addressed, type Reach } from '../http/reach.ts';
import { createRotatingToken, type RenewedToken } from '../rotating-token.ts';

const TokenSchema = z.object({ access_token: z.string().min(1), refresh_token: z.string().min(1), expires_in: z.number().positive() });

/**
 * The access token of amoCRM.
 *
 * A refresh token is good for once: its answer holds the next one, which is written down before the access
 * token is used. An answer that is lost on the way ends the integration until a person connects it anew.
 */
export const createAmoCrmToken = ({ config, credentials, name, reach }: { config: AmoCrmConfig; credentials: Credentials; name: string; reach: Reach }) => {
  const request = async (refreshToken: string): Promise<RenewedToken> => {
    const answer = TokenSchema.safeParse(
      await sendForJson({
        system: 'amoCRM',
        doing: 'Renewing the access token',
        ...addressed(reach, new URL(`${config.AMOCRM_BASE_URL}/oauth2/access_token`)),
        method: 'POST',
        headers: { 'content-type': 'application/json', accept: 'application/json' },
        body: JSON.stringify({
          client_id: config.AMOCRM_CLIENT_ID,
          client_secret: config.AMOCRM_CLIENT_SECRET,
          grant_type: 'refresh_token',
          refresh_token: refreshToken,
          redirect_uri: config.AMOCRM_REDIRECT_URI,
        }),
        signal: AbortSignal.timeout(config.UPSTREAM_TIMEOUT),
        timeoutMs: config.UPSTREAM_TIMEOUT,
        explain: ({ status, message }) =>
          status === 400 || status === 401
            ? new AftercallError('AUTH_FAILED', message, {
                advice: 'Check AMOCRM_CLIENT_ID, AMOCRM_CLIENT_SECRET and AMOCRM_REDIRECT_URI. If they are right, the refresh token is spent or too old: connect the integration anew and set its AMOCRM_REFRESH_TOKEN.',
                outcome: 'refused',
              })
            : undefined,
      }),
    );
    if (!answer.success) throw new AftercallError('UPSTREAM_NONSENSE', 'Renewing the access token failed: amoCRM answered without tokens.', { advice: 'Check AMOCRM_BASE_URL.' });
    const { access_token: accessToken, refresh_token: next, expires_in: seconds } = answer.data;
    return { accessToken, refreshToken: next, expiresAtMs: Date.now() + seconds * 1_000 };
  };

  return createRotatingToken({ credentials, name, clientId: config.AMOCRM_CLIENT_ID, firstRefreshToken: config.AMOCRM_REFRESH_TOKEN, request });
};
