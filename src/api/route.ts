import { createHash, timingSafeEqual } from 'node:crypto';
import { OpenAPIRegistry, OpenApiGeneratorV31 } from '@asteasolutions/zod-to-openapi';
import { type NextFunction, type Request, type Response, Router } from 'express';
import { z } from 'zod';
import type { Idempotency } from '../db/idempotency.ts';
import { HttpProblem, toProblem } from './problems.ts';

/** A route as it is declared: authorisation and shapes in its line, work in its handler. */
export interface RouteSpec<P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType> {
  summary: string;
  tag: string;
  params?: P;
  query?: Q;
  body?: B;
  /** The JSON that it answers; none for streams, which `produces` describes. */
  returns?: z.ZodType;
  produces?: string[];
  status?: number;
  /** Changes something: needs an Idempotency-Key, and answers a repeat with the first answer. */
  action?: true;
}

export interface Asked<P, Q, B> {
  params: P;
  query: Q;
  body: B;
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

const IDEMPOTENCY_KEY = /^[\x21-\x7e]{8,128}$/;

export type RouteTable = ReturnType<typeof createRouteTable>;

/** Collects routes into a router and into an OpenAPI document from the same schemas. */
export const createRouteTable = ({ token, idempotency }: { token: string; idempotency: Idempotency }) => {
  const router = Router();
  const registry = new OpenAPIRegistry();
  registry.registerComponent('securitySchemes', 'token', { type: 'http', scheme: 'bearer' });
  const expected = digest(token);
  const paths: RegExp[] = [];

  const authorise = (request: Request): void => {
    const [scheme, given] = (request.get('authorization') ?? '').split(' ');
    if (scheme?.toLowerCase() === 'bearer' && given && timingSafeEqual(digest(given), expected)) return;
    throw new HttpProblem(401, 'This needs the API token as "Authorization: Bearer …".', { headers: { 'www-authenticate': 'Bearer realm="aftercall"' } });
  };

  const add = <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(
    method: 'get' | 'post',
    path: string,
    spec: RouteSpec<P, Q, B>,
    handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>,
  ): void => {
    const params = spec.params ?? z.strictObject({});
    const query = spec.query ?? z.strictObject({});
    registry.registerPath({
      method,
      path: path.replaceAll(/:(\w+)/g, '{$1}'),
      summary: spec.summary,
      tags: [spec.tag],
      security: [{ token: [] }],
      request: {
        params,
        query,
        ...(spec.action ? { headers: z.object({ 'idempotency-key': z.string().regex(IDEMPOTENCY_KEY) }) } : {}),
        ...(spec.body ? { body: { required: true, content: { 'application/json': { schema: spec.body } } } } : {}),
      },
      responses: {
        [spec.status ?? 200]: {
          description: 'As asked',
          content: spec.returns ? { 'application/json': { schema: spec.returns } } : Object.fromEntries((spec.produces ?? []).map((type) => [type, { schema: z.string() }])),
        },
        default: { description: 'Problem details', content: { 'application/problem+json': { schema: ProblemSchema } } },
      },
    });

    paths.push(new RegExp(`^${path.replaceAll(/:\w+/g, '[^/]+')}$`));
    router[method](path, async (request: Request, response: Response, next: NextFunction) => {
      try {
        authorise(request);
        if (spec.body && !request.is('application/json')) throw new HttpProblem(415, 'The body has to be JSON, with "Content-Type: application/json".');
        const asked = {
          params: params.parse(request.params) as z.output<P>,
          query: query.parse(request.query) as z.output<Q>,
          body: (spec.body ? spec.body.parse(request.body) : undefined) as z.output<B>,
          requestId: '',
          request,
          response,
        };
        if (spec.action) return await act(asked, method, spec.status ?? 200, handle);
        const answer = await handle(asked);
        if (!response.headersSent) response.status(spec.status ?? 200).json(answer);
      } catch (error) {
        next(error);
      }
    });
  };

  const act = async <P, Q, B>(asked: Asked<P, Q, B>, method: string, status: number, handle: (asked: Asked<P, Q, B>) => Promise<unknown>): Promise<void> => {
    const { request, response } = asked;
    const key = request.get('idempotency-key') ?? '';
    if (!IDEMPOTENCY_KEY.test(key)) throw new HttpProblem(400, 'An action needs an Idempotency-Key header of 8 to 128 visible characters, so that a repeat does nothing twice.');
    const claim = await idempotency.claim(key, createHash('sha256').update(JSON.stringify([method, request.originalUrl, asked.body])).digest('hex'));
    if (claim.state === 'other_request') throw new HttpProblem(422, 'This Idempotency-Key was used for another request.');
    if (claim.state === 'in_progress') throw new HttpProblem(409, 'The same request is being worked on.', { headers: { 'retry-after': '1' } });
    if (claim.state === 'answered') {
      response.set('idempotent-replay', 'true').status(claim.answer.status).json(claim.answer.body);
      return;
    }
    try {
      const body = ((await handle({ ...asked, requestId: key })) ?? {});
      await idempotency.answer(key, { status, body });
      response.status(status).json(body);
    } catch (error) {
      // A refusal is an answer and stays one; what may go better next time may be asked again.
      const { problem } = toProblem(error);
      if (problem.status < 500) await idempotency.answer(key, { status: problem.status, body: problem });
      else await idempotency.release(key);
      throw error;
    }
  };

  return {
    router,
    authorise,
    /** Whether any method is served at a path. */
    knows: (path: string): boolean => paths.some((pattern) => pattern.test(path)),
    get: <P extends z.ZodObject, Q extends z.ZodObject>(path: string, spec: RouteSpec<P, Q, z.ZodType>, handle: (asked: Asked<z.output<P>, z.output<Q>, unknown>) => Promise<unknown>): void => add('get', path, spec, handle),
    post: <P extends z.ZodObject, Q extends z.ZodObject, B extends z.ZodType>(path: string, spec: RouteSpec<P, Q, B>, handle: (asked: Asked<z.output<P>, z.output<Q>, z.output<B>>) => Promise<unknown>): void => add('post', path, spec, handle),
    document: (): object =>
      new OpenApiGeneratorV31(registry.definitions).generateDocument({
        openapi: '3.1.0',
        info: { title: 'Aftercall', version: '1', description: 'Calls after they have ended: where they stand, what came of them, and what a person can do.' },
      }),
  };
};

const digest = (text: string): Buffer => createHash('sha256').update(text).digest();
