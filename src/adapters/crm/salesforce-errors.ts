import { AftercallError, isAftercallError, messageOf } from '../../domain/errors.ts';

/** What jsforce makes of an error answer: the name is Salesforce's code, `data` its first error. */
interface SalesforceError extends Error {
  errorCode?: string;
  statusCode?: string;
  data?: { duplicateResult?: DuplicateResult };
}

interface DuplicateResult {
  matchResults?: { matchRecords?: { record?: { Id?: string } }[] }[];
}

export const codeOf = (error: unknown): string => {
  const { errorCode, statusCode, name } = error as SalesforceError;
  return errorCode ?? (typeof statusCode === 'string' ? statusCode : undefined) ?? name ?? '';
};

/** The record that a duplicate rule says is the same, if it names one. */
export const duplicateOf = (error: unknown): string | undefined =>
  (error as SalesforceError).data?.duplicateResult?.matchResults?.flatMap((match) => match.matchRecords ?? []).find(({ record }) => record?.Id)?.record?.Id;

/** The daily request limit frees itself over hours; asking sooner only uses it up further. */
const LIMIT_WAIT_MS = 15 * 60_000;

/** By Salesforce's error code, never by HTTP status: one status stands for several of them. */
export const salesforceFailure = (error: unknown, doing: string): unknown => {
  if (isAftercallError(error)) return error;
  const code = codeOf(error);
  const message = `${doing} failed: Salesforce answered ${code || 'with an error'} (${messageOf(error).slice(0, 300)}).`;
  const refused = { outcome: 'refused' as const, cause: error };
  switch (code.replace(/^sf:/, '')) {
    case 'UNABLE_TO_LOCK_ROW':
    // Two upserts of one new value at once: the next try updates what the other has made.
    case 'DUPLICATE_VALUE':
      return new AftercallError('CRM_LOCKED', message, { ...refused, advice: 'Somebody else was writing the record; it is tried again.' });
    case 'REQUEST_LIMIT_EXCEEDED':
      return new AftercallError('CRM_LIMIT_REACHED', message, { ...refused, retryAfterMs: LIMIT_WAIT_MS, advice: 'The daily API request limit is used up. It is tried again every quarter of an hour; raise the limit if this happens often.' });
    case 'DUPLICATES_DETECTED':
      return new AftercallError('CRM_DUPLICATE', message, { ...refused, advice: "A duplicate rule blocks the record. Merge or correct it in Salesforce, then retry, or skip the step." });
    case 'INVALID_SESSION_ID':
    case 'INSUFFICIENT_ACCESS':
    case 'API_DISABLED_FOR_ORG':
    case 'API_CURRENTLY_DISABLED':
      return new AftercallError('AUTH_FAILED', message, { ...refused, advice: 'Check what the Salesforce user may do, then retry.' });
    case 'SERVER_UNAVAILABLE':
    case 'UNKNOWN_EXCEPTION':
    case 'ERROR_HTTP_500':
    case 'ERROR_HTTP_502':
    case 'ERROR_HTTP_503':
    case 'ERROR_HTTP_504':
      return new AftercallError('UPSTREAM_UNAVAILABLE', message, { advice: 'It is tried again.', cause: error });
    case 'ERROR_HTTP_429':
      return new AftercallError('RATE_LIMITED', message, { ...refused, advice: 'It is tried again.' });
    case 'TypeError':
    case 'Error':
    case 'AbortError':
    case 'TimeoutError':
    case 'SocketError':
      // No answer at all: it may have been done.
      return new AftercallError('UPSTREAM_UNAVAILABLE', `${doing} failed: Salesforce cannot be reached or did not answer (${messageOf((error as Error).cause ?? error)}).`, { advice: 'It is tried again.', cause: error });
    default:
      return new AftercallError('CRM_REJECTED', message, { ...refused, advice: 'Salesforce does not accept this. Correct the field, rule or permission it names, then retry, or skip the step.' });
  }
};
