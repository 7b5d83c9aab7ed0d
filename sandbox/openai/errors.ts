import type { Response } from 'express';

/** Answers as OpenAI does when something is wrong. */
export const refuse = (response: Response, status: number, message: string, { type = 'invalid_request_error', code = null, param = null }: { type?: string; code?: string | null; param?: string | null } = {}): void => {
  response.status(status).json({ error: { message, type, param, code } });
};
