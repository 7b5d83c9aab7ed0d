import { createHash, createPrivateKey, createPublicKey, sign } from 'node:crypto';
import { readPem, type SnowflakeConfig } from '../../../config.ts';
import { AftercallError, messageOf } from '../../../domain/errors.ts';

/** Snowflake takes tokens that live up to an hour; a clock may be a little off. */
const LIFETIME_MS = 59 * 60_000;
/** A token is not used in its last minutes: a statement may be asked for for a while. */
const SPARE_MS = 5 * 60_000;

type TokenIdentity = Pick<SnowflakeConfig, 'SNOWFLAKE_ACCOUNT' | 'SNOWFLAKE_USER' | 'SNOWFLAKE_PRIVATE_KEY' | 'SNOWFLAKE_PRIVATE_KEY_PASSPHRASE'>;

/** The account as tokens name it: upper case, and of a locator with its region (`xy12345.ap-southeast-1`) the locator alone. */
const accountOf = (account: string): string => account.split('.')[0]!.toUpperCase();

/**
 * Key-pair tokens for Snowflake's SQL API: RS256, issued by `ACCOUNT.USER.SHA256:…`, the fingerprint being that of the
 * public key (SubjectPublicKeyInfo in DER).
 *
 * @throws AftercallError CONFIG_INVALID when the key cannot be read
 */
export const createSnowflakeTokens = ({ SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER, SNOWFLAKE_PRIVATE_KEY, SNOWFLAKE_PRIVATE_KEY_PASSPHRASE }: TokenIdentity) => {
  const key = (() => {
    try {
      return createPrivateKey({ key: readPem(SNOWFLAKE_PRIVATE_KEY), ...(SNOWFLAKE_PRIVATE_KEY_PASSPHRASE ? { passphrase: SNOWFLAKE_PRIVATE_KEY_PASSPHRASE } : {}) });
    } catch (error) {
      throw new AftercallError('CONFIG_INVALID', `SNOWFLAKE_PRIVATE_KEY cannot be read: ${(error as { code?: string }).code ?? messageOf(error)}.`, {
        advice: 'Give a private key as PKCS#8 in PEM or the path of its file, and SNOWFLAKE_PRIVATE_KEY_PASSPHRASE where it is encrypted.',
        cause: error,
      });
    }
  })();
  if (key.asymmetricKeyType !== 'rsa') throw new AftercallError('CONFIG_INVALID', `SNOWFLAKE_PRIVATE_KEY is a key of ${key.asymmetricKeyType ?? 'no known kind'}; Snowflake takes RSA.`, { advice: 'Make an RSA key of 2048 bits or more and set its public half as RSA_PUBLIC_KEY of the user.' });
  const fingerprint = `SHA256:${createHash('sha256').update(createPublicKey(key).export({ type: 'spki', format: 'der' })).digest('base64')}`;
  const subject = `${accountOf(SNOWFLAKE_ACCOUNT)}.${SNOWFLAKE_USER.toUpperCase()}`;
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  let current: { token: string; goodUntilMs: number } | undefined;

  return {
    /** The token there is, or a new one. */
    token(nowMs = Date.now()): string {
      if (current && nowMs < current.goodUntilMs) return current.token;
      const issued = Math.floor(nowMs / 1_000);
      const unsigned = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode({ iss: `${subject}.${fingerprint}`, sub: subject, iat: issued, exp: issued + LIFETIME_MS / 1_000 })}`;
      const token = `${unsigned}.${sign('RSA-SHA256', Buffer.from(unsigned), key).toString('base64url')}`;
      current = { token, goodUntilMs: nowMs + LIFETIME_MS - SPARE_MS };
      return token;
    },
    /** A token was refused: the next one is new, unless somebody has made a new one since. */
    refuse(token: string): void {
      if (current?.token === token) current = undefined;
    },
  };
};
