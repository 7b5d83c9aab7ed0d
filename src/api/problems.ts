import { randomUUID } from 'node:crypto';
import type { ErrorRequestHandler, Response } from 'express';
import { ZodError } from 'zod';
import { isDatabaseDown } from '../db/database.ts';
import { type ErrorCode, isAftercallError } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { shownPath } from './shown-path.ts';

/** Problem details (RFC 9457). `instance` identifies this very error in the log. */
export interface Problem {
  type: string;
  title: string;
  status: number;
  detail: string;
  instance: string;
  advice?: string;
  errors?: { path: string; message: string }[];
}

const TITLES: Record<number, string> = {
  400: 'Bad request',
  401: 'Not authenticated',
  403: 'Not allowed',
  404: 'Not found',
  405: 'Method not allowed',
  409: 'Conflict',
  413: 'Too large',
  415: 'Unsupported media type',
  416: 'Range not satisfiable',
  422: 'Unprocessable',
  429: 'Too many requests',
  500: 'Internal error',
  502: 'Bad gateway',
  503: 'Unavailable',
  504: 'Took too long',
};

export class HttpProblem extends Error {
  readonly status: number;
  readonly headers: Record<string, string>;
  readonly errors: Problem['errors'];

  constructor(status: number, detail: string, { headers = {}, errors }: { headers?: Record<string, string>; errors?: Problem['errors'] } = {}) {
    super(detail);
    this.status = status;
    this.headers = headers;
    this.errors = errors;
  }
}

/** Errors of ours that say something to whoever asked; all others stay inside. */
const STATUS_OF: Partial<Record<ErrorCode, number>> = {
  NOT_FOUND: 404,
  CONFLICT: 409,
  QUERY_TOO_BROAD: 400,
  URL_REFUSED: 422,
  UPSTREAM_TIMEOUT: 503,
  UPSTREAM_UNAVAILABLE: 503,
  STORAGE_UNAVAILABLE: 503,
  DATABASE_UNAVAILABLE: 503,
};
const RETRY_AFTER_SECONDS = '5';

/** What an error is to the caller. */
export const toProblem = (error: unknown): { problem: Problem; headers: Record<string, string> } => {
  const instance = `urn:uuid:${randomUUID()}`;
  const make = (status: number, detail: string, more: Partial<Problem> = {}): Problem => ({ type: 'about:blank', title: TITLES[status] ?? 'Error', status, detail, instance, ...more });

  if (error instanceof HttpProblem) return { problem: make(error.status, error.message, error.errors ? { errors: error.errors } : {}), headers: error.headers };
  if (error instanceof ZodError) {
    return { problem: make(400, 'The request does not have the form that is asked for.', { errors: error.issues.map(({ path, message }) => ({ path: path.join('.'), message })) }), headers: {} };
  }
  if (isAftercallError(error)) {
    const status = STATUS_OF[error.code] ?? 500;
    if (status !== 500) return { problem: make(status, error.message, { advice: error.advice }), headers: status === 503 ? { 'retry-after': RETRY_AFTER_SECONDS } : {} };
  }
  // Express and its body parser mark what the client did wrong.
  const { status, expose, type, message } = error as { status?: number; expose?: boolean; type?: string; message?: string };
  if (status && status < 500 && expose) return { problem: make(status, type === 'entity.parse.failed' ? 'The body is not valid JSON.' : (message ?? '')), headers: {} };
  // What is asked for cannot be in the database: PostgreSQL has no such characters.
  if (isUnstorable(error)) return { problem: make(400, 'The request has a NUL character or half of a surrogate pair in it.'), headers: {} };
  if (isDatabaseDown(error)) return { problem: make(503, 'The database cannot be reached.'), headers: { 'retry-after': RETRY_AFTER_SECONDS } };
  return { problem: make(500, `Something went wrong here. The log has it under ${instance}.`), headers: {} };
};

const isUnstorable = (error: unknown): boolean => ['22021', '22P05'].includes((error as { code?: string }).code ?? '');

export const sendProblem = (response: Response, problem: Problem, headers: Record<string, string>): void => {
  response.status(problem.status).set(headers).type('application/problem+json').send(JSON.stringify(problem));
};

/** The last middleware: every error leaves as problem details, and those of ours are logged under their ID. */
export const problemHandler =
  (log: Log): ErrorRequestHandler =>
  (error, request, response, next) => {
    if (response.headersSent) return next(error);
    const { problem, headers } = toProblem(error);
    if (problem.status >= 500) log.error({ err: error as Error, errorId: problem.instance, method: request.method, path: shownPath(request.path) }, 'request failed');
    sendProblem(response, problem, headers);
  };
