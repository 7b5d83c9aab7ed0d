import { AftercallError, isAftercallError } from '../../domain/errors.ts';

/** One error of an answer. Records' errors say `errorCode` on REST, `statusCode` in collections and on SOAP. */
interface StatedError {
  errorCode?: unknown;
  statusCode?: unknown;
  message?: unknown;
  duplicateResult?: { matchResults?: { matchRecords?: { record?: { Id?: string } }[] }[] };
}

/** What jsforce makes of an error answer: `data` is its error as parsed, or all of them when it has several. */
interface JsforceError extends Error, StatedError {
  message: string;
  data?: unknown;
}

const statedIn = (error: unknown): StatedError[] => {
  const { data } = error as JsforceError;
  const several = Array.isArray(data) ? data.filter(isStated) : [];
  if (several.length > 0) return several;
  return [isStated(data) ? { ...data, ...shown(error) } : shown(error)];
};
const isStated = (value: unknown): value is StatedError => typeof value === 'object' && value !== null && ('errorCode' in value || 'statusCode' in value);
const shown = (error: unknown): StatedError => {
  const { errorCode, statusCode, message } = error as JsforceError;
  return { ...(errorCode === undefined ? {} : { errorCode }), ...(statusCode === undefined ? {} : { statusCode }), message };
};

const codeIn = ({ errorCode, statusCode }: StatedError): string | undefined => [errorCode, statusCode].find((code) => typeof code === 'string')?.replace(/^sf:/, '');

/** Salesforce's code of what went wrong, the first if there are several; undefined when it named none. */
export const codeOf = (error: unknown): string | undefined => (error instanceof Error ? codeIn(statedIn(error)[0] ?? {}) : undefined);

/** The record that a duplicate rule says is the same, if it names one: a lead before anything else. */
export const duplicateOf = (error: unknown): string | undefined => {
  const matches = statedIn(error)
    .flatMap(({ duplicateResult }) => duplicateResult?.matchResults ?? [])
    .flatMap(({ matchRecords }) => matchRecords ?? [])
    .flatMap(({ record }) => record?.Id ?? []);
  return ['00Q', '003', '001'].map((prefix) => matches.find((id) => id.startsWith(prefix))).find((id) => id !== undefined);
};

/** The error of a record that was not saved, inside an answer that says 200. */
export const saveFailure = (result: unknown): Error => {
  const [first] = [(result as { errors?: unknown }).errors ?? []].flat() as { message?: string; errorCode?: string; statusCode?: string }[];
  return Object.assign(new Error(first?.message ?? 'no reason given'), { errorCode: first?.errorCode ?? first?.statusCode ?? 'SAVE_FAILED' });
};

/** The daily request limit frees itself over hours; asking sooner only uses it up further. */
const LIMIT_WAIT_MS = 15 * 60_000;
const LONGEST_MESSAGE = 300;

/**
 * The failure of a request, by Salesforce's error code and never by HTTP status: one status stands for
 * several of them, and proxies change it.
 *
 * What carries no code of Salesforce's is not its answer but a defect of ours, and is handed back as it is.
 */
export const salesforceFailure = (error: unknown, doing: string, retryAfterMs?: number): unknown => {
  const code = codeOf(error);
  if (isAftercallError(error) || code === undefined) return error;
  const said = statedIn(error).map(({ message }) => String(message)).join(' ').replaceAll(/\s+/g, ' ').slice(0, LONGEST_MESSAGE);
  const message = `${doing} failed: Salesforce answered ${code} (${said}).`;
  const refused = { outcome: 'refused' as const, cause: error };
  switch (code) {
    case 'UNABLE_TO_LOCK_ROW':
    // Two upserts of one new value at once: the next try updates what the other has made.
    case 'DUPLICATE_VALUE':
    case 'DUPLICATE_EXTERNAL_ID':
      return new AftercallError('CRM_LOCKED', message, { ...refused, advice: 'Somebody else was writing the record; it is tried again.' });
    case 'REQUEST_LIMIT_EXCEEDED':
      return new AftercallError('CRM_LIMIT_REACHED', message, {
        ...refused,
        retryAfterMs: Math.max(LIMIT_WAIT_MS, retryAfterMs ?? 0),
        advice: 'The daily API request limit is used up. It is tried again every quarter of an hour; raise the limit if this happens often.',
      });
    case 'DUPLICATES_DETECTED':
      return new AftercallError('CRM_DUPLICATE', message, { ...refused, advice: 'A duplicate rule blocks the record. Merge or correct it in Salesforce, then retry, or skip the step.' });
    case 'MULTIPLE_CHOICES':
      return new AftercallError('CRM_REJECTED', message, { ...refused, advice: 'Several records carry this call\'s external ID. Make the field unique in Salesforce, delete the extra records, then retry.' });
    case 'INVALID_SESSION_ID':
    case 'INSUFFICIENT_ACCESS':
    case 'API_DISABLED_FOR_ORG':
    case 'API_CURRENTLY_DISABLED':
    case 'ERROR_HTTP_401':
    case 'ERROR_HTTP_403':
      return new AftercallError('AUTH_FAILED', message, { ...refused, advice: 'Check what the Salesforce user may do, then retry.' });
    case 'ERROR_HTTP_429':
      return new AftercallError('RATE_LIMITED', message, { ...refused, retryAfterMs, advice: 'It is tried again.' });
    case 'SERVER_UNAVAILABLE':
    case 'UNKNOWN_EXCEPTION':
    case 'ERROR_HTTP_420':
      return new AftercallError('UPSTREAM_UNAVAILABLE', message, { retryAfterMs, advice: 'It is tried again. If it goes on, check the status of Salesforce.', cause: error });
    default:
      // No code of Salesforce's but a status of whatever stands in front of it.
      if (/^ERROR_HTTP_5\d\d$/.test(code)) return new AftercallError('UPSTREAM_UNAVAILABLE', message, { retryAfterMs, advice: 'It is tried again. If it goes on, check the status of Salesforce.', cause: error });
      return new AftercallError('CRM_REJECTED', message, { ...refused, advice: 'Salesforce does not accept this. Correct the field, rule or permission it names, then retry, or skip the step.' });
  }
};
