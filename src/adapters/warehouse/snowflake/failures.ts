import { AftercallError, type ErrorCode } from '../../../domain/errors.ts';
import type { Answer } from '../../http/http.ts';
import { retryAfterMs } from '../../http/retry-after.ts';
import { StatementFailure } from './client.schema.ts';

/** More than 20 statements wait for the table's lock: it clears by itself. */
const TOO_MANY_WAITERS = '000625';
/** The statement was cancelled, by somebody else. */
const CANCELLED = '000604';
/** Does not exist, or the role may not see it. */
const NO_SUCH_OBJECT = '002003';

const LOCK_WAIT_MS = 5_000;

const meaningOf = (status: number, code: string | undefined): { code: ErrorCode; advice: string } => {
  if (status === 401 || status === 403) return { code: 'AUTH_FAILED', advice: "Check SNOWFLAKE_ACCOUNT, SNOWFLAKE_USER and that the user's RSA_PUBLIC_KEY belongs to SNOWFLAKE_PRIVATE_KEY, and any network policy." };
  if (status === 429) return { code: 'RATE_LIMITED', advice: 'It is tried again after the time asked for.' };
  // The statement's own limit of time.
  if (status === 408) return { code: 'UPSTREAM_TIMEOUT', advice: 'Ask for less at once, or give Snowflake a larger warehouse.' };
  if (code === TOO_MANY_WAITERS) return { code: 'CONFLICT', advice: 'Other statements hold the table. It is tried again.' };
  if (code === CANCELLED) return { code: 'UPSTREAM_UNAVAILABLE', advice: 'Somebody cancelled the statement in Snowflake. It is tried again.' };
  if (code === NO_SUCH_OBJECT) return { code: 'UPSTREAM_REJECTED', advice: 'Check SNOWFLAKE_DATABASE, SNOWFLAKE_SCHEMA and what SNOWFLAKE_ROLE may use. The tables have to be there before the first load: run docs/warehouse-snowflake.sql once.' };
  if (status === 422) return { code: 'UPSTREAM_REJECTED', advice: 'Look the statement up in Snowflake; trying again will not help.' };
  if (status >= 500) return { code: 'UPSTREAM_UNAVAILABLE', advice: 'It is tried again. If it goes on, check the status of Snowflake.' };
  return { code: 'UPSTREAM_REJECTED', advice: 'Snowflake does not accept this request; trying again will not help.' };
};

/** The error for an answer of 300 or more. What Snowflake says stands in it shortened: it may repeat values. */
export const failureOf = ({ status, headers, body }: Answer, doing: string): AftercallError => {
  const said = readFailure(body);
  const reason = [said.code, said.sqlState, said.message?.replaceAll(/\s+/g, ' ').slice(0, 200)].filter(Boolean).join(' ');
  const { code, advice } = meaningOf(status, said.code);
  const wait = retryAfterMs(headers.get('retry-after'), Date.now()) ?? (code === 'CONFLICT' ? LOCK_WAIT_MS : undefined);
  return new AftercallError(code, `${doing} failed: Snowflake answered ${status}${reason ? ` (${reason})` : ''}.`, {
    advice,
    // A time-out and a lost session say nothing of what was done.
    outcome: status === 408 || status >= 500 ? 'unknown' : 'refused',
    retryAfterMs: wait,
  });
};

const readFailure = (body: string): StatementFailure => {
  try {
    return StatementFailure.parse(JSON.parse(body));
  } catch {
    return {};
  }
};
