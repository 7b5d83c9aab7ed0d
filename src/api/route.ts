import { createHash } from 'node:crypto';
import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';
import { type NextFunction, type Request, type Response, Router } from 'express';
import { z } from 'zod';
import { type Audit, INSTALLATION } from '../db/audit.ts';
import type { Idempotency } from '../db/idempotency.ts';
import { asInstallation, asNobody, inProject } from '../db/scope.ts';
import { type Access, mayUse, type Principal } from '../domain/access.ts';
import { HttpProblem, toProblem } from './problems.ts';

/** A route as it is declared: authorisation and shapes in its line, work in its handler. */
export interface RouteSpec<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType> {
  /** Who may use it. In a project's routes, by their role in the project of the address. */
  access: Access;
  summary: string;
  tag: string;
  params?: P;
  query?: Q;
  body?: B;
  /** Types of bodies that the handler reads itself, as they come: nothing else reads them before. */
  streams?: string[];
  /** The JSON that it answers; none for streams, which `produces` describes. */
  returns?: z.ZodType;
  produces?: string[];
  status?: number;
  /** Where that lies which the answer tells of, for the header of that name. */
  location?: (answer: unknown) => string;
  /** Changes something: needs an Idempotency-Key, and answers a repeat with the first answer. */
  action?: true;
  /** Needs an Idempotency-Key that the handler itself tells repeats by: what it is sent is too much to be compared by the answer's table. */
  keyed?: true;
}

/** What the audit log keeps of a request that changes something. Written before it is carried out. */
export interface AuditSpec<P, B> {
  /** As in `calls.retry`. */
  action: string;
  target: (asked: { params: P; body: B }) => string;
  /** Without secrets, and without what was said on calls. */
  details?: (body: B) => Record<string, unknown>;
}

/** A route that changes something says what the audit log keeps of it, or that there is nothing to keep. */
type Changing<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType> = RouteSpec<P, Q, B> & { audit: AuditSpec<z.output<P>, z.output<B>> | 'nothing' };

export interface Asked<P, Q, B> {
  params: P;
  query: Q;
  body: B;
  /** Who asks. On public routes, `NOBODY`. */
  principal: Principal;
  /** Of actions: the Idempotency-Key. */
  requestId: string;
  request: Request;
  response: Response;
}

const ProblemSchema = z.object({
  type: z.string(),
  title: z.string(),
  status: z.number().int(),
  detail: z.string(),
  instance: z.string(),
  advice: z.string().optional(),
  errors: z.array(z.object({ path: z.string(), message: z.string() })).optional(),
});

type Method = 'get' | 'post' | 'put' | 'patch' | 'delete';

export interface DeclaredRoute {
  method: Method;
  path: string;
  access: Access;
}

/** Stands for whoever asks on a public route. */
export const NOBODY: Principal = { kind: 'token', id: 'nobody', name: 'nobody', platformAdmin: false, operator: false, roles: new Map() };

const NEEDED: Record<Access, string> = {
  public: 'nothing',
  signed_in: 'an account',
  project_viewer: 'the role project_viewer in the project',
  project_admin: 'the role project_admin in the project',
  operator: 'a platform administrator, or the token of the environment',
  platform_admin: 'a platform administrator',
};

/** Whom a record names: a person is who signed in; a machine may say for whom it acts. */
export const actorOf = (principal: Principal, given: string | undefined): string => (principal.kind === 'user' ? principal.name : (given ?? principal.name));

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{8,128}$/;

const idempotencyKeyOf = (request: Request): string => {
  const key = request.get('idempotency-key') ?? '';
  if (!IDEMPOTENCY_KEY.test(key)) throw new HttpProblem(400, 'An action needs an Idempotency-Key header of 8 to 128 visible characters, so that a repeat does nothing twice.');
  return key;
};

export type RouteTable = ReturnType<typeof createRouteTable>;

/** Collects routes into a router and into an OpenAPI document from the same schemas. */
interface RouteTableDependencies {
  authenticate: (bearer: string) => Promise<Principal | undefined>;
  idempotency: Idempotency;
  audit: Pick<Audit, 'append'>;
}

export const createRouteTable = ({ authenticate, idempotency, audit }: RouteTableDependencies) => {
  const router = Router();
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' });
  const paths: RegExp[] = [];
  const streamed: RegExp[] = [];
  const declared: DeclaredRoute[] = [];

  /** Lets a request through that may use a route, and says who it is. */
  const authorise = async (request: Request, access: Access, project?: string): Promise<Principal> => {
    if (access === 'public') return NOBODY;
    const [scheme, given] = (request.get('authorization') ?? '').split(' ');
    const principal = scheme?.toLowerCase() === 'bearer' && given ? await authenticate(given) : undefined;
    const verdict = mayUse(access, principal, project);
    switch (verdict) {
      case 'allowed':
        return principal!;
      case 'unauthenticated':
        throw new HttpProblem(401, 'This needs a token as "Authorization: Bearer …": sign in at /v1/auth/login, or use a project\'s token.', { headers: { 'www-authenticate': 'Bearer realm="aftercall"' } });
      case 'forbidden':
        throw new HttpProblem(403, `This needs ${NEEDED[access]}.`);
      case 'hidden':
        throw new HttpProblem(404, `There is no project ${project ?? ''} that you belong to.`);
    }
  };

  const add = <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
    method: Method,
    path: string,
    spec: RouteSpec<P, Q, B> & { audit?: AuditSpec<z.output<P>, z.output<B>> | 'nothing' },
    handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>,
  ): void => {
    const params = spec.params ?? z.strictObject({});
    const query = spec.query ?? z.strictObject({});
    registry.registerPath({
      method,
      path: path.replaceAll(/:(\w+)/g, '{$1}'),
      summary: spec.summary,
      tags: [spec.tag],
      security: spec.access === 'public' ? [] : [{ token: [] }],
      'x-access': spec.access,
      request: {
        params,
        query,
        ...(spec.action || spec.keyed ? { headers: z.object({ 'idempotency-key': z.string().regex(IDEMPOTENCY_KEY) }) } : {}),
        ...(spec.body ? { body: { required: true, content: { 'application/json': { schema: spec.body } } } } : {}),
        ...(spec.streams ? { body: { required: true, content: Object.fromEntries(spec.streams.map((type) => [type, { schema: z.string() }])) } } : {}),
      },
      responses: {
        [spec.status ?? 200]: {
          description: 'As asked',
          content: spec.returns ? { 'application/json': { schema: spec.returns } } : Object.fromEntries((spec.produces ?? []).map((type) => [type, { schema: z.string() }])),
        },
        default: { description: 'Problem details', content: { 'application/problem+json': { schema: ProblemSchema } } },
      },
    });

    const pattern = new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`);
    paths.push(pattern);
    if (spec.streams) streamed.push(pattern);
    declared.push({ method, path, access: spec.access });
    router[method](path, async (request: Request, response: Response, next: NextFunction) => {
      try {
        const project = typeof request.params['project'] === 'string' ? request.params['project'] : undefined;
        const principal = await authorise(request, spec.access, project);
        if (spec.body && !request.is('application/json')) throw new HttpProblem(415, 'The body has to be JSON, with "Content-Type: application/json".');
        const asked = {
          params: params.parse(request.params) as z.output<P>,
          query: query.parse(request.query) as z.output<Q>,
          body: (spec.body ? spec.body.parse(request.body) : undefined) as z.output<B>,
          principal,
          requestId: spec.keyed ? idempotencyKeyOf(request) : '',
          request,
          response,
        };
        // From here on the database shows this project's rows, and of routes that are no project's, none.
        const inScope = (given: typeof asked): Promise<unknown> => (project === undefined ? asNobody(() => handle(given)) : inProject(project, () => handle(given)));
        const work = (given: typeof asked): Promise<unknown> => (spec.audit && spec.audit !== 'nothing' ? recorded(spec.audit, given, project, () => inScope(given)) : inScope(given));
        if (spec.action) return await act(asked, { method, status: spec.status ?? 200, location: spec.location }, work);
        const answer = await work(asked);
        if (!response.headersSent) response.status(spec.status ?? 200).json(answer);
      } catch (error) {
        next(error);
      }
    });
  };

  /** Nothing happens that is not in the audit log: it is written first, and a refusal is written behind it. */
  const recorded = async <P, Q, B>({ action, target, details }: AuditSpec<P, B>, { params, body, principal, requestId, response }: Asked<P, Q, B>, project: string | undefined, work: () => Promise<unknown>): Promise<unknown> => {
    const entry = {
      project: project ?? INSTALLATION,
      actor: principal.name,
      actorKind: principal.kind,
      target: target({ params, body }),
      requestId: requestId || String(response.getHeader('x-request-id') ?? ''),
    };
    await asInstallation(() => audit.append({ ...entry, action, details: details?.(body) ?? {} }));
    try {
      return await work();
    } catch (error) {
      const { status } = toProblem(error).problem;
      await asInstallation(() => audit.append({ ...entry, action: `${action}.failed`, details: { status } }));
      throw error;
    }
  };

  const act = async <P, Q, B>(asked: Asked<P, Q, B>, { method, status, location }: { method: string; status: number; location: ((answer: unknown) => string) | undefined }, handle: (asked: Asked<P, Q, B>) => Promise<unknown>): Promise<void> => {
    const { request, response } = asked;
    const key = idempotencyKeyOf(request);
    // Keys of two callers are two keys.
    const owned = `${asked.principal.id}:${key}`;
    const claim = await idempotency.claim(owned, createHash('sha256').update(JSON.stringify([method, request.originalUrl, asked.body])).digest('hex'));
    if (claim.state === 'other_request') throw new HttpProblem(422, 'This Idempotency-Key was used for another request.');
    if (claim.state === 'in_progress') throw new HttpProblem(409, 'The same request is being worked on.', { headers: { 'retry-after': '1' } });
    if (claim.state === 'answered') {
      if (location && claim.answer.status === status) response.set('location', location(claim.answer.body));
      response.set('idempotent-replay', 'true').status(claim.answer.status).json(claim.answer.body);
      return;
    }
    try {
      const body = ((await handle({ ...asked, requestId: key })) ?? {});
      await idempotency.answer(owned, { status, body });
      if (location) response.set('location', location(body));
      response.status(status).json(body);
    } catch (error) {
      // A refusal is an answer and stays one; what may go better next time may be asked again.
      const { problem } = toProblem(error);
      if (problem.status < 500) await idempotency.answer(owned, { status: problem.status, body: problem });
      else await idempotency.release(owned);
      throw error;
    }
  };

  return {
    router,
    authorise,
    /** Whether a route reads its body itself, as it comes. */
    streams: (path: string): boolean => streamed.some((pattern) => pattern.test(path)),
    /** Whether any method is served at a path. */
    knows: (path: string): boolean => paths.some((pattern) => pattern.test(path)),
    get: <P extends z.ZodObject, Q extends z.ZodObject>(path: string, spec: RouteSpec<P, Q, z.ZodType>, handle: (asked: Asked<z.output<P>, z.output<Q>, unknown>) => Promise<unknown>): void => add('get', path, spec, handle),
    post: <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(path: string, spec: Changing<P, Q, B>, handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>): void => add('post', path, spec, handle),
    put: <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(path: string, spec: Changing<P, Q, B>, handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>): void => add('put', path, spec, handle),
    patch: <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(path: string, spec: Changing<P, Q, B>, handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>): void => add('patch', path, spec, handle),
    delete: <P extends z.ZodObject>(path: string, spec: Changing<P, z.ZodObject, z.ZodType>, handle: (asked: Asked<z.output<P>, unknown, unknown>) => Promise<unknown>): void => add('delete', path, spec, handle as never),
    /** Every route with who may use it. */
    list: (): readonly DeclaredRoute[] => declared,
    document: (): object =>
      new OpenApiGeneratorV31(registry.definitions).generateDocument({
        openapi: '3.1.0',
        info: { title: 'Aftercall', version: '1', description: 'Calls after they have ended: where they stand, what came of them, and what a person can do.' },
      }),
  };
};
