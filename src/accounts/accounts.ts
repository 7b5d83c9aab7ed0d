import { randomBytes } from 'node:crypto';
import { type ApiToken, type ApiTokens, ENVIRONMENT_TOKEN } from '../db/api-tokens.ts';
import { asInstallation } from '../db/scope.ts';
import type { Sessions } from '../db/sessions.ts';
import type { SignInFailures } from '../db/sign-in-failures.ts';
import type { User, Users } from '../db/users.ts';
import type { Principal, Role } from '../domain/access.ts';
import { AftercallError } from '../domain/errors.ts';
import { ACCESS_TOKEN_SECONDS, type AccessClaims, type AccessTokens } from './access-tokens.ts';
import { hashPassword, isPassword } from './passwords.ts';
import { hashSecret, newSecret } from './secrets.ts';

interface Dependencies {
  users: Users;
  sessions: Sessions;
  apiTokens: ApiTokens;
  failures: SignInFailures;
  accessTokens: AccessTokens;
}

export interface SignedIn {
  accessToken: string;
  expiresInSeconds: number;
  /** Good for one use; shown to nobody else. */
  refreshToken: string;
}

/** A session ends when nobody came back to it for so long. */
const REFRESH_TOKEN_MS = 14 * 86_400_000;
/** Failures in a quarter of an hour. An address may be that of a whole office. */
const MOST_FAILURES = { account: 10, address: 50 };
/** Tells leaked tokens apart from other text, for scanners. */
const API_TOKEN_PREFIX = 'act_';
const FIRST_ADMIN = 'admin@aftercall.local';

/** Too many tries: the answer is the same whether the account exists or not. */
export class TooManySignIns extends Error {
  readonly retryAfterSeconds: number;
  constructor(retryAfterSeconds: number) {
    super('Too many sign-ins failed. Try again later.');
    this.retryAfterSeconds = retryAfterSeconds;
  }
}

/**
 * Signing in and out, and the accounts, members and tokens behind it.
 *
 * Everything here runs as the installation: who somebody is comes before what they may see.
 */
export const createAccounts = ({ users, sessions, apiTokens, failures, accessTokens }: Dependencies) => {
  const refreshToken = () => {
    const token = newSecret();
    return { token, stored: { tokenHash: hashSecret(token), expiresAt: new Date(Date.now() + REFRESH_TOKEN_MS) } };
  };

  const personOf = async (claims: AccessClaims | undefined): Promise<Principal | undefined> => {
    if (!claims || !(await sessions.isOpen(claims.sessionId, claims.userId))) return undefined;
    const user = await users.find(claims.userId);
    return user && { kind: 'user', id: user.id, name: user.email, platformAdmin: user.platformAdmin, operator: user.platformAdmin, roles: await users.rolesOf(user.id), sessionId: claims.sessionId };
  };

  const accounts = {
    /** The administrator of a new installation. @returns with the password, once; undefined when there is anybody already */
    async createFirstAdmin(): Promise<{ email: string; password: string } | undefined> {
      const password = randomBytes(15).toString('base64url');
      const passwordHash = await hashPassword(password);
      const made = await users.createFirst({ email: FIRST_ADMIN, name: 'Platform administrator', passwordHash });
      return made && { email: made.email, password };
    },

    /** @throws TooManySignIns; @returns undefined when it is not right, whatever is wrong about it */
    async signIn({ email, password, address }: { email: string; password: string; address: string }): Promise<SignedIn | undefined> {
      const keys = [
        [`address:${address}`, MOST_FAILURES.address],
        [`account:${hashSecret(email.trim().toLowerCase())}`, MOST_FAILURES.account],
      ] as const;
      const counted = await Promise.all(keys.map(async ([key, most]) => ({ ...(await failures.count(key)), most })));
      const stopped = counted.find(({ failures: times, most }) => times > most);
      if (stopped) throw new TooManySignIns(stopped.retryAfterSeconds);

      const user = await users.findByEmail(email);
      const right = await isPassword(password, user && !user.disabledAt ? user.passwordHash : undefined);
      if (!user || !right) return undefined;
      await Promise.all(keys.map(([key]) => failures.forget(key)));
      const { token, stored } = refreshToken();
      const sessionId = await sessions.open(user.id, stored);
      return { accessToken: await accessTokens.issue({ userId: user.id, sessionId }), expiresInSeconds: ACCESS_TOKEN_SECONDS, refreshToken: token };
    },

    /** Takes a refresh token for new tokens. One that was used before ends its session, for the thief and for the owner. */
    async refresh(token: string): Promise<SignedIn | undefined> {
      const next = refreshToken();
      const rotation = await sessions.rotate(hashSecret(token), next.stored);
      if (rotation.state !== 'rotated') return undefined;
      const { userId, sessionId } = rotation;
      if (!(await sessions.isOpen(sessionId, userId))) return undefined;
      return { accessToken: await accessTokens.issue({ userId, sessionId }), expiresInSeconds: ACCESS_TOKEN_SECONDS, refreshToken: next.token };
    },

    async signOut(principal: Principal): Promise<void> {
      if (principal.sessionId) await sessions.end(principal.sessionId, 'logout');
    },

    /** Changes one's own password and ends all other sessions. @returns false when the old one is wrong */
    async changePassword(principal: Principal, { current, next }: { current: string; next: string }): Promise<boolean> {
      const user = await users.findByEmail(principal.name);
      if (!(await isPassword(current, user?.passwordHash))) return false;
      await users.setPassword(principal.id, await hashPassword(next));
      await sessions.endAllOf(principal.id, 'password_changed', principal.sessionId ? { except: principal.sessionId } : {});
      return true;
    },

    /** Who a bearer token belongs to. Roles are read each time: what is taken away is gone at once. */
    async authenticate(bearer: string): Promise<Principal | undefined> {
      const machine = await apiTokens.findUsable(hashSecret(bearer));
      if (machine) return { kind: 'token', id: machine.id, name: machine.name, platformAdmin: false, operator: machine.id === ENVIRONMENT_TOKEN, roles: new Map([[machine.project, machine.role]]) };
      return personOf(await accessTokens.read(bearer));
    },

    /** Signs somebody in to the pages. @returns a token for a cookie; see `signIn` for the rest */
    async signInToPages(given: { email: string; password: string; address: string }): Promise<{ token: string } | undefined> {
      const signedIn = await accounts.signIn(given);
      const claims = signedIn && (await accessTokens.read(signedIn.accessToken));
      return claims && { token: await accessTokens.issue(claims, 'pages') };
    },

    /** Who a page's token belongs to, as `authenticate` says it of a bearer token. */
    authenticateOnPages: async (token: string): Promise<Principal | undefined> => personOf(await accessTokens.read(token, 'pages')),

    /** Makes an account. @returns with a first password, shown once */
    async createUser({ email, name, platformAdmin }: { email: string; name: string; platformAdmin: boolean }): Promise<User & { password: string }> {
      const password = randomBytes(15).toString('base64url');
      return { ...(await users.create({ email, name, platformAdmin, passwordHash: await hashPassword(password) })), password };
    },

    async resetPassword(userId: string): Promise<{ password: string }> {
      const user = await users.find(userId);
      if (!user) throw noSuchUser(userId);
      const password = randomBytes(15).toString('base64url');
      await users.setPassword(userId, await hashPassword(password));
      await sessions.endAllOf(userId, 'password_changed');
      return { password };
    },

    /** @throws CONFLICT for one's own account: somebody has to be left to undo it */
    async setDisabled(by: Principal, userId: string, disabled: boolean): Promise<User> {
      if (disabled && by.id === userId) throw new AftercallError('CONFLICT', 'This is your own account.', { advice: 'Let another administrator disable it.', outcome: 'refused' });
      const user = await users.setDisabled(userId, disabled);
      if (disabled) await sessions.endAllOf(userId, 'disabled');
      return user;
    },

    /** Gives somebody with an account a role in a project. */
    async addMember(project: string, email: string, role: Role): Promise<User> {
      const user = await users.findByEmail(email);
      if (!user) {
        throw new AftercallError('NOT_FOUND', `There is no account for ${email}.`, { advice: 'Have a platform administrator make one first.', outcome: 'refused' });
      }
      await users.setMember(project, user.id, role);
      return user;
    },

    async removeMember(project: string, userId: string): Promise<void> {
      if (!(await users.removeMember(project, userId))) throw new AftercallError('NOT_FOUND', `${userId} is no member of ${project}.`, { advice: 'List the members for their IDs.', outcome: 'refused' });
    },

    /** Makes a token for a machine. @returns with the token itself, once */
    async createToken(by: Principal, { project, name, role, expiresAt }: { project: string; name: string; role: Role; expiresAt?: Date }): Promise<ApiToken & { token: string }> {
      const token = `${API_TOKEN_PREFIX}${newSecret()}`;
      const stored = await apiTokens.create({ id: randomBytes(8).toString('hex'), project, name, role, hash: hashSecret(token), createdBy: by.name, ...(expiresAt ? { expiresAt } : {}) });
      return { ...stored, token };
    },

    async revokeToken(project: string, id: string): Promise<void> {
      if (!(await apiTokens.revoke(project, id))) throw new AftercallError('NOT_FOUND', `There is no token ${id} to revoke in ${project}.`, { advice: 'List the tokens; it may be revoked already.', outcome: 'refused' });
    },

    /** Brings the environment's token in line with API_TOKEN. */
    keepEnvironmentToken: (project: string, token: string | undefined): Promise<void> => apiTokens.keepEnvironmentToken(project, token === undefined ? undefined : hashSecret(token)),

    listUsers: users.list,
    listMembers: users.members,
    listTokens: apiTokens.list,
    rolesOf: users.rolesOf,

    /** Drops what has run out. */
    async sweep(): Promise<void> {
      await Promise.all([sessions.sweep(), failures.sweep()]);
    },
  };
  return Object.fromEntries(
    Object.entries(accounts).map(([name, work]) => [name, (...given: never[]) => asInstallation(() => (work as (...given: never[]) => unknown)(...given))]),
  ) as typeof accounts;
};

export type Accounts = ReturnType<typeof createAccounts>;

const noSuchUser = (id: string): AftercallError => new AftercallError('NOT_FOUND', `There is no account ${id}.`, { advice: 'List the accounts for their IDs.', outcome: 'refused' });
