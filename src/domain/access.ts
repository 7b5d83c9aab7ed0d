/** Who may do what. A route names the access that it asks for; everything about who somebody is ends here. */

/** In a project. An admin may do all that a viewer may. */
export const ROLES = ['project_viewer', 'project_admin'] as const;
export type Role = (typeof ROLES)[number];

/**
 * `public`: anybody. `signed_in`: anybody with an account or a token, about themselves. `operator`: whoever
 * runs the installation, its own token included: what is not one project's, but no accounts.
 */
export const ACCESS = ['public', 'signed_in', ...ROLES, 'operator', 'platform_admin'] as const;
export type Access = (typeof ACCESS)[number];

/** Somebody who has shown who they are. */
export interface Principal {
  /** `user`: a person who signed in. `token`: a machine. */
  kind: 'user' | 'token';
  id: string;
  /** As records show it: an e-mail address, or a token's name. */
  name: string;
  /** May do everything in every project, and look after accounts. Never a token. */
  platformAdmin: boolean;
  /** Runs the installation: a platform administrator, or the environment's token. */
  operator: boolean;
  roles: ReadonlyMap<string, Role>;
  /** Of a person: the session that the access token belongs to. */
  sessionId?: string;
}

export type Verdict =
  | 'allowed'
  /** Nobody has shown who they are. */
  | 'unauthenticated'
  /** Somebody has, and that is not enough. */
  | 'forbidden'
  /** A project that is not theirs: they are not told whether it exists. */
  | 'hidden';

/** Whether somebody may use a route. `project` is the one in its address, if there is one. */
export const mayUse = (access: Access, principal: Principal | undefined, project?: string): Verdict => {
  if (access === 'public') return 'allowed';
  if (!principal) return 'unauthenticated';
  if (access === 'signed_in' || principal.platformAdmin) return 'allowed';
  if (access === 'operator') return principal.operator ? 'allowed' : 'forbidden';
  if (access === 'platform_admin') return 'forbidden';
  const role = project === undefined ? undefined : principal.roles.get(project);
  if (!role) return 'hidden';
  return ROLES.indexOf(role) >= ROLES.indexOf(access) ? 'allowed' : 'forbidden';
};
