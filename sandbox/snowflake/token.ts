import { createHash, createPublicKey, verify } from 'node:crypto';

/** Whom the stand-in lets in. */
export interface SnowflakeIdentity {
  account: string;
  user: string;
  /** PEM. */
  publicKey: string;
}

/** @returns what is wrong with a key-pair token, if anything */
export const tokenProblem = (header: string | undefined, { account, user, publicKey }: SnowflakeIdentity, nowMs = Date.now()): string | undefined => {
  const [scheme, token = ''] = (header ?? '').split(' ');
  const [head, claims, signature, ...rest] = token.split('.');
  if (scheme !== 'Bearer' || !head || !claims || !signature || rest.length > 0) return 'no bearer token';
  const key = createPublicKey(publicKey);
  if (read(head)['alg'] !== 'RS256') return 'not RS256';
  if (!verify('RSA-SHA256', Buffer.from(`${head}.${claims}`), key, Buffer.from(signature, 'base64url'))) return 'the signature is wrong';
  const { iss, sub, iat, exp } = read(claims);
  const subject = `${account.toUpperCase()}.${user.toUpperCase()}`;
  const fingerprint = `SHA256:${createHash('sha256').update(key.export({ type: 'spki', format: 'der' })).digest('base64')}`;
  if (sub !== subject || iss !== `${subject}.${fingerprint}`) return 'it names somebody else';
  const now = nowMs / 1_000;
  if (typeof iat !== 'number' || typeof exp !== 'number' || exp - iat > 3_600 || exp <= now || iat > now + 60) return 'it has expired, or lives too long';
  return undefined;
};

const read = (part: string): Record<string, unknown> => {
  try {
    return JSON.parse(Buffer.from(part, 'base64url').toString()) as Record<string, unknown>;
  } catch {
    return {};
  }
};
