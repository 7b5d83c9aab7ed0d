import { hash, verify } from '@node-rs/argon2';
import pLimit from 'p-limit';

/** argon2id with the parameters of OWASP's password storage cheat sheet: 19 MiB, two passes, one lane. */
const PARAMETERS = { memoryCost: 19_456, timeCost: 2, parallelism: 1 };

/** Hashing is slow on purpose; more at once would let sign-ins starve everything else. */
const lane = pLimit(2);

export const MIN_PASSWORD_LENGTH = 12;
export const MAX_PASSWORD_LENGTH = 200;

export const hashPassword = (password: string): Promise<string> => lane(() => hash(password, PARAMETERS));

let nobody: Promise<string> | undefined;

/**
 * Whether a password is right.
 *
 * @param hashed undefined for an account that there is not: it takes as long as a wrong password
 */
export const isPassword = async (password: string, hashed: string | undefined): Promise<boolean> => {
  nobody ??= hashPassword('the password of no account');
  const against = hashed ?? (await nobody);
  const right = await lane(() => verify(against, password));
  return right && hashed !== undefined;
};
