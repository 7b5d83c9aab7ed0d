import { errors, jwtVerify, SignJWT } from 'jose';
import type { KeyRing } from '../crypto/key-ring.ts';

/** Short, because a token that was given out cannot be taken back; ends of sessions count at once all the same. */
export const ACCESS_TOKEN_SECONDS = 600;

const ALGORITHM = 'HS256';
const ISSUER = 'aftercall';
const AUDIENCE = 'aftercall-api';
const PURPOSE = 'access-tokens';

export interface AccessClaims {
  userId: string;
  sessionId: string;
}

/** Access tokens: JSON Web Tokens signed under a secret derived from the key ring, so that keys are replaced in one place. */
export const createAccessTokens = (keyRing: KeyRing) => ({
  issue: ({ userId, sessionId }: AccessClaims): Promise<string> =>
    new SignJWT({ sid: sessionId })
      .setProtectedHeader({ alg: ALGORITHM, kid: keyRing.activeId })
      .setSubject(userId)
      .setIssuer(ISSUER)
      .setAudience(AUDIENCE)
      .setIssuedAt()
      .setExpirationTime(`${ACCESS_TOKEN_SECONDS}s`)
      .sign(keyRing.derive(keyRing.activeId, PURPOSE)),

  /** @returns undefined for a token that is not ours, was changed or has expired */
  async read(token: string): Promise<AccessClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, ({ kid = '' }) => keyRing.derive(kid, PURPOSE), { algorithms: [ALGORITHM], issuer: ISSUER, audience: AUDIENCE, requiredClaims: ['sub', 'exp', 'sid'] });
      return { userId: payload.sub!, sessionId: String(payload['sid']) };
    } catch (error) {
      if (error instanceof errors.JOSEError || (error as { code?: string }).code === 'CONFIG_INVALID') return undefined;
      throw error;
    }
  },
});

export type AccessTokens = ReturnType<typeof createAccessTokens>;
