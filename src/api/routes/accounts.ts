import { z } from 'zod';
import { TooManySignIns } from '../../accounts/accounts.ts';
import { MAX_PASSWORD_LENGTH, MIN_PASSWORD_LENGTH } from '../../accounts/passwords.ts';
import type { ApiToken } from '../../db/api-tokens.ts';
import type { User } from '../../db/users.ts';
import { ROLES } from '../../domain/access.ts';
import { fromTextCursor, toTextCursor } from '../cursor.ts';
import type { ApiDependencies } from '../dependencies.ts';
import { HttpProblem } from '../problems.ts';
import type { RouteTable } from '../route.ts';
import { Paging, ProjectParams } from '../shapes.ts';

const AUTH = 'Signing in';
const USERS = 'Accounts';
const PROJECTS = 'Projects and members';

const time = z.iso.datetime();
const email = z.email().max(254);
const name = z.string().trim().min(1).max(100);
const newPassword = z.string().min(MIN_PASSWORD_LENGTH).max(MAX_PASSWORD_LENGTH);
const RoleShape = z.enum(ROLES);

const SignedInShape = z.object({ accessToken: z.string(), expiresInSeconds: z.number(), refreshToken: z.string() });
const MeShape = z.object({ kind: z.enum(['user', 'token']), name: z.string(), platformAdmin: z.boolean(), projects: z.array(z.object({ project: z.string(), role: RoleShape })) });
const UserShape = z.object({ id: z.string(), email: z.string(), name: z.string(), platformAdmin: z.boolean(), createdAt: time, disabledAt: time.nullable() });
const WithPassword = { password: z.string() };
const MemberShape = z.object({ userId: z.string(), email: z.string(), name: z.string(), role: RoleShape, since: time });
const TokenShape = z.object({ id: z.string(), name: z.string(), role: RoleShape, createdBy: z.string(), createdAt: time, expiresAt: time.nullable(), lastUsedAt: time.nullable(), revokedAt: time.nullable() });
const ProjectShape = z.object({ id: z.string(), name: z.string(), createdAt: time });
const DoneShape = z.object({ done: z.literal(true) });

const UserParams = z.strictObject({ userId: z.uuid() });
const MemberParams = z.strictObject({ project: z.string().max(40), userId: z.uuid() });
const TokenParams = z.strictObject({ project: z.string().max(40), tokenId: z.string().max(40) });

const done = { done: true as const };

export const accountRoutes = (route: RouteTable, { accounts, projects }: ApiDependencies): void => {
  route.post(
    '/v1/auth/login',
    { access: 'public', audit: 'nothing', summary: 'Sign in', tag: AUTH, body: z.strictObject({ email, password: z.string().min(1).max(MAX_PASSWORD_LENGTH) }), returns: SignedInShape },
    async ({ body, request }) => {
      const signedIn = await accounts.signIn({ ...body, address: request.ip ?? '' }).catch((error: unknown) => {
        if (!(error instanceof TooManySignIns)) throw error;
        throw new HttpProblem(429, error.message, { headers: { 'retry-after': String(error.retryAfterSeconds) } });
      });
      if (!signedIn) throw new HttpProblem(401, 'E-mail address or password is wrong.');
      return signedIn;
    },
  );
  route.post('/v1/auth/refresh', { access: 'public', audit: 'nothing', summary: 'Take a refresh token for new tokens; each is good once', tag: AUTH, body: z.strictObject({ refreshToken: z.string().min(1).max(200) }), returns: SignedInShape }, async ({ body }) => {
    const signedIn = await accounts.refresh(body.refreshToken);
    if (!signedIn) throw new HttpProblem(401, 'This refresh token is not good any more. Sign in again.');
    return signedIn;
  });
  route.post('/v1/auth/logout', { access: 'signed_in', audit: 'nothing', summary: 'End this session', tag: AUTH, body: z.strictObject({}), returns: DoneShape }, async ({ principal }) => {
    await accounts.signOut(principal);
    return done;
  });
  route.post(
    '/v1/auth/password',
    { access: 'signed_in', audit: { action: 'users.change_own_password', target: () => 'own account' }, summary: 'Change your own password; ends your other sessions', tag: AUTH, body: z.strictObject({ current: z.string().min(1).max(MAX_PASSWORD_LENGTH), next: newPassword }), returns: DoneShape },
    async ({ principal, body }) => {
      if (principal.kind !== 'user') throw new HttpProblem(409, 'A token has no password.');
      if (!(await accounts.changePassword(principal, body))) throw new HttpProblem(409, 'The current password is wrong.');
      return done;
    },
  );
  route.get('/v1/me', { access: 'signed_in', summary: 'Who you are, and your role in each project', tag: AUTH, returns: MeShape }, async ({ principal }) => ({
    kind: principal.kind,
    name: principal.name,
    platformAdmin: principal.platformAdmin,
    projects: [...principal.roles].map(([project, role]) => ({ project, role })),
  }));

  const ofUser = (what: string) => ({ action: `users.${what}`, target: ({ params }: { params: { userId: string } }) => params.userId });
  const asPlatform = { access: 'platform_admin', tag: USERS } as const;
  route.get('/v1/users', { ...asPlatform, summary: 'Accounts, by e-mail address', query: z.strictObject(Paging), returns: z.object({ users: z.array(UserShape), next: z.string().nullable() }) }, async ({ query }) => {
    const found = await accounts.listUsers({ limit: query.limit + 1, ...(query.cursor ? { after: fromTextCursor(query.cursor) } : {}) });
    const page = found.slice(0, query.limit);
    return { users: page.map(userView), next: found.length > query.limit ? toTextCursor(page.at(-1)!.email) : null };
  });
  route.post(
    '/v1/users',
    { ...asPlatform, audit: { action: 'users.create', target: ({ body }) => body.email, details: ({ platformAdmin }) => ({ platformAdmin }) }, summary: 'Make an account; its first password is shown once', body: z.strictObject({ email, name, platformAdmin: z.boolean().default(false) }), returns: UserShape.extend(WithPassword), status: 201 },
    async ({ body }) => {
      const user = await accounts.createUser(body);
      return { ...userView(user), password: user.password };
    },
  );
  route.post('/v1/users/:userId/reset-password', { ...asPlatform, audit: ofUser('reset_password'), summary: 'Give an account a new password, shown once; ends its sessions', params: UserParams, body: z.strictObject({}), returns: z.object(WithPassword) }, async ({ params }) => accounts.resetPassword(params.userId));
  route.post('/v1/users/:userId/disable', { ...asPlatform, audit: ofUser('disable'), summary: 'Lock an account out at once', params: UserParams, body: z.strictObject({}), returns: UserShape }, async ({ params, principal }) => userView(await accounts.setDisabled(principal, params.userId, true)));
  route.post('/v1/users/:userId/enable', { ...asPlatform, audit: ofUser('enable'), summary: 'Let an account in again', params: UserParams, body: z.strictObject({}), returns: UserShape }, async ({ params, principal }) => userView(await accounts.setDisabled(principal, params.userId, false)));

  route.get('/v1/projects', { access: 'signed_in', summary: 'The projects that you may see', tag: PROJECTS, returns: z.object({ projects: z.array(ProjectShape) }) }, async ({ principal }) => ({
    projects: (await projects.list(principal.platformAdmin ? undefined : [...principal.roles.keys()])).map((project) => ({ ...project, createdAt: project.createdAt.toISOString() })),
  }));
  route.post(
    '/v1/projects',
    { access: 'platform_admin', audit: { action: 'projects.create', target: ({ body }) => body.id }, summary: 'Make a project', tag: PROJECTS, body: z.strictObject({ id: z.string().regex(/^[a-z0-9][a-z0-9-]{0,39}$/, 'must be lower-case letters, digits and "-", at most 40'), name }), returns: ProjectShape, status: 201 },
    async ({ body }) => {
      const made = await projects.create(body);
      return { ...made, createdAt: made.createdAt.toISOString() };
    },
  );

  route.get('/v1/projects/:project/members', { access: 'project_viewer', summary: 'Who belongs to the project', tag: PROJECTS, params: ProjectParams, returns: z.object({ members: z.array(MemberShape) }) }, async ({ params }) => ({
    members: (await accounts.listMembers(params.project)).map((member) => ({ ...member, since: member.since.toISOString() })),
  }));
  route.post(
    '/v1/projects/:project/members',
    { access: 'project_admin', audit: { action: 'members.set', target: ({ body }) => body.email, details: ({ role }) => ({ role }) }, summary: 'Add somebody with an account, or give another role', tag: PROJECTS, params: ProjectParams, body: z.strictObject({ email, role: RoleShape }), returns: z.object({ userId: z.string(), role: RoleShape }) },
    async ({ params, body }) => ({ userId: (await accounts.addMember(params.project, body.email, body.role)).id, role: body.role }),
  );
  route.delete('/v1/projects/:project/members/:userId', { access: 'project_admin', audit: { action: 'members.remove', target: ({ params }) => params.userId }, summary: 'Take somebody out of the project', tag: PROJECTS, params: MemberParams, returns: DoneShape }, async ({ params }) => {
    await accounts.removeMember(params.project, params.userId);
    return done;
  });

  route.get('/v1/projects/:project/tokens', { access: 'project_admin', summary: "Machines' tokens", tag: PROJECTS, params: ProjectParams, returns: z.object({ tokens: z.array(TokenShape) }) }, async ({ params }) => ({ tokens: (await accounts.listTokens(params.project)).map(tokenView) }));
  route.post(
    '/v1/projects/:project/tokens',
    {
      access: 'project_admin',
      audit: { action: 'tokens.create', target: ({ body }) => body.name, details: ({ role, expiresAt }) => ({ role, ...(expiresAt ? { expiresAt } : {}) }) },
      summary: 'Make a token for a machine; it is shown once',
      tag: PROJECTS,
      params: ProjectParams,
      body: z.strictObject({ name, role: RoleShape, expiresAt: z.iso.datetime({ offset: true }).refine((at) => Date.parse(at) > Date.now(), 'has to lie ahead').optional() }),
      returns: TokenShape.extend({ token: z.string() }),
      status: 201,
    },
    async ({ params, body, principal }) => {
      const made = await accounts.createToken(principal, { project: params.project, name: body.name, role: body.role, ...(body.expiresAt ? { expiresAt: new Date(body.expiresAt) } : {}) });
      return { ...tokenView(made), token: made.token };
    },
  );
  route.delete('/v1/projects/:project/tokens/:tokenId', { access: 'project_admin', audit: { action: 'tokens.revoke', target: ({ params }) => params.tokenId }, summary: 'Take a token back', tag: PROJECTS, params: TokenParams, returns: DoneShape }, async ({ params }) => {
    await accounts.revokeToken(params.project, params.tokenId);
    return done;
  });
};

const userView = (user: User) => ({ id: user.id, email: user.email, name: user.name, platformAdmin: user.platformAdmin, createdAt: user.createdAt.toISOString(), disabledAt: user.disabledAt?.toISOString() ?? null });

const tokenView = (token: ApiToken) => ({
  id: token.id,
  name: token.name,
  role: token.role,
  createdBy: token.createdBy,
  createdAt: token.createdAt.toISOString(),
  expiresAt: token.expiresAt?.toISOString() ?? null,
  lastUsedAt: token.lastUsedAt?.toISOString() ?? null,
  revokedAt: token.revokedAt?.toISOString() ?? null,
});
