import { errors, jwtVerify, SignJWT } from 'jose';
import type { KeyRing } from '../crypto/key-ring.ts';

/** Short, because a token that was given out cannot be taken back; ends of sessions count at once all the same. */
export const ACCESS_TOKEN_SECONDS = 600;

/** A person who reads a report on a page has no program that renews tokens. Long enough for a working day. */
export const PAGE_TOKEN_SECONDS = 8 * 3_600;

const ALGORITHM = 'HS256';
const ISSUER = 'aftercall';
/** What a token is for: one of the pages, in a cookie, is none for the API. */
const AUDIENCES = { api: { audience: 'aftercall-api', seconds: ACCESS_TOKEN_SECONDS }, pages: { audience: 'aftercall-pages', seconds: PAGE_TOKEN_SECONDS } } as const;
export type TokenUse = keyof typeof AUDIENCES;
const PURPOSE = 'access-tokens';

export interface AccessClaims {
  userId: string;
  sessionId: string;
}

/** Access tokens: JSON Web Tokens signed under a secret derived from the key ring, so that keys are replaced in one place. */
export const createAccessTokens = (keyRing: KeyRing) => ({
  issue: ({ userId, sessionId }: AccessClaims, use: TokenUse = 'api'): Promise<string> =>
    new SignJWT({ sid: sessionId })
      .setProtectedHeader({ alg: ALGORITHM, kid: keyRing.activeId })
      .setSubject(userId)
      .setIssuer(ISSUER)
      .setAudience(AUDIENCES[use].audience)
      .setIssuedAt()
      .setExpirationTime(`${AUDIENCES[use].seconds}s`)
      .sign(keyRing.derive(keyRing.activeId, PURPOSE)),

  /** @returns undefined for a token that is not ours, was changed or has expired */
  async read(token: string, use: TokenUse = 'api'): Promise<AccessClaims | undefined> {
    try {
      const { payload } = await jwtVerify(token, ({ kid = '' }) => keyRing.derive(kid, PURPOSE), { algorithms: [ALGORITHM], issuer: ISSUER, audience: AUDIENCES[use].audience, requiredClaims: ['sub', 'exp', 'sid'] });
      return { userId: payload.sub!, sessionId: String(payload['sid']) };
    } catch (error) {
      if (error instanceof errors.JOSEError || (error as { code?: string }).code === 'CONFIG_INVALID') return undefined;
      throw error;
    }
  },
});

export type AccessTokens = ReturnType<typeof createAccessTokens>;
