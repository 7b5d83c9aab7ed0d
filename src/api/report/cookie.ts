import type { Request, Response } from 'express';
import { PAGE_TOKEN_SECONDS } from '../../accounts/access-tokens.ts';

const NAME = 'aftercall_pages';

/**
 * The cookie of whoever signed in to the pages.
 *
 * Sent with links that are followed from elsewhere (`Lax`), never with what another site posts or loads, never to the
 * API, and out of reach for scripts.
 */
export const pageCookie = ({ secure }: { secure: boolean }) => {
  const options = { httpOnly: true, sameSite: 'lax', secure, path: '/calls' } as const;
  return {
    read: (request: Request): string | undefined =>
      (request.get('cookie') ?? '')
        .split(';')
        .map((pair) => pair.trim())
        .find((pair) => pair.startsWith(`${NAME}=`))
        ?.slice(NAME.length + 1),
    set: (response: Response, token: string): void => void response.cookie(NAME, token, { ...options, maxAge: PAGE_TOKEN_SECONDS * 1_000 }),
    clear: (response: Response): void => void response.clearCookie(NAME, options),
  };
};
