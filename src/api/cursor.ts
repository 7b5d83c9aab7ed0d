import { HttpProblem } from './problems.ts';

/** A position in a list as callers hand it back: opaque, so that it can change. */
export const toCursor = (position: { startedAt: Date; id: string }): string => Buffer.from(JSON.stringify([position.startedAt.toISOString(), position.id])).toString('base64url');

/** The same where the list is ordered by one text. */
export const toTextCursor = (position: string): string => Buffer.from(JSON.stringify([position])).toString('base64url');

export const fromTextCursor = (cursor: string): string => {
  try {
    const [position] = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as [unknown];
    if (typeof position === 'string') return position;
  } catch {
    // Said below.
  }
  throw new HttpProblem(400, 'The cursor is none that this API gave.');
};

export const fromCursor = (cursor: string): { startedAt: Date; id: string } => {
  try {
    const [at, id] = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8')) as [unknown, unknown];
    // Years of another length than four are dates to JavaScript, but none to PostgreSQL.
    if (typeof id === 'string' && typeof at === 'string' && /^\d{4}-/.test(at) && new Date(at).toISOString() === at) return { startedAt: new Date(at), id };
  } catch {
    // Said below.
  }
  throw new HttpProblem(400, 'The cursor is none that this API gave.');
};
