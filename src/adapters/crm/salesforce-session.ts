import { createSign } from 'node:crypto';
import { Connection } from 'jsforce';
import { readPem, type SalesforceConfig } from '../../config.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { fetchThrough, fetchWithin, type Guard } from '../http/guard.ts';
import { sendForJson } from '../http/http.ts';
import { addressed, type Reach } from '../http/reach.ts';
import { salesforceFailure } from './salesforce-errors.ts';
import { SalesforceTransport } from './salesforce-transport.ts';

/** A connection without a schema: records are plain objects. */
export type Session = InstanceType<typeof Connection>;

/** Requests of the day, over the whole org. */
export interface ApiUsage {
  used: number;
  limit: number;
}

/** What a sign-in gives. */
interface Grant {
  accessToken: string;
  instanceUrl: string;
}

/** Salesforce takes assertions that expire within five minutes. */
const ASSERTION_SECONDS = 180;
/** In one piece of work. A session that is refused right after its sign-in will not be mended by another one. */
const MOST_SIGN_INS = 2;

/**
 * Signs in to Salesforce, shares the session among all pieces of work, and renews it when it is refused.
 *
 * @param guard given when a project's people named the address
 */
export const createSalesforceSession = (config: SalesforceConfig, guard?: Guard) => {
  const reach: Reach = { only: config.OUTBOUND_ONLY, guard };
  let grant: Grant | undefined;
  let signingIn: Promise<Grant> | undefined;
  let usage: ApiUsage | undefined;

  /** The session there is, or one sign-in for everybody who waits. It outlives whoever asked first. */
  const current = async (): Promise<Grant> => {
    if (grant) return grant;
    signingIn ??= signIn(config, reach)
      .then((given) => (grant = given))
      .finally(() => (signingIn = undefined));
    return signingIn;
  };
  const renewed = (refusedToken: string | null | undefined): Promise<Grant> => {
    if (grant?.accessToken === refusedToken) grant = undefined;
    return current();
  };

  return {
    /** How many of the day's requests were used up when Salesforce last said so. */
    usage: (): ApiUsage | undefined => usage,

    /**
     * Runs a piece of work on a connection of its own.
     *
     * @param doing what the work is, as in "Creating the lead": stands in messages
     */
    async use<T>(doing: string, signal: AbortSignal, work: (connection: Session) => Promise<T>): Promise<T> {
      signal.throwIfAborted();
      const { promise: cancelled, reject } = Promise.withResolvers<never>();
      const stop = (): void => reject(signal.reason as Error);
      signal.addEventListener('abort', stop, { once: true });
      const transport = new SalesforceTransport({ doing, signal, timeoutMs: config.UPSTREAM_TIMEOUT, fetch: (url, init) => (guard ? fetchThrough(guard) : fetchWithin(config.OUTBOUND_ONLY))(url, { ...init, body: init.body ?? null }) });
      let signIns = 0;
      let signInFailure: unknown;

      const run = async (): Promise<T> => {
        const connection = new Connection({
          ...(await current()),
          // jsforce's own default is years old.
          version: config.SFDC_API_VERSION,
          refreshFn: (refused, done) => {
            signIns += 1;
            if (signIns > MOST_SIGN_INS) {
              signInFailure = new AftercallError('AUTH_FAILED', `${doing} failed: Salesforce refuses the session that it has just given.`, {
                advice: "Check the integration user's permissions and the session settings of the org.",
                outcome: 'refused',
              });
              done(signInFailure as Error);
              return;
            }
            renewed(refused.accessToken).then(
              ({ accessToken }) => {
                done(null, accessToken);
              },
              (error: unknown) => {
                signInFailure = error;
                done(error as Error);
              },
            );
          },
        });
        connection._transport = transport;
        try {
          return await work(connection);
        } finally {
          usage = connection.limitInfo.apiUsage ?? usage;
        }
      };
      try {
        // A sign-in is not cancelled with one of those who wait for it, so waiting for it is.
        return await Promise.race([run(), cancelled]);
      } catch (error) {
        signal.throwIfAborted();
        // jsforce keeps but the message of a failed sign-in.
        throw salesforceFailure(signInFailure ?? error, doing, transport.retryAfterMs);
      } finally {
        signal.removeEventListener('abort', stop);
      }
    },
  };
};

const signIn = async (config: SalesforceConfig, reach: Reach): Promise<Grant> => {
  const form = new URLSearchParams({ client_id: config.SFDC_CLIENT_ID });
  // With a key, the user is named and no secret travels; without, the connected app's run-as user acts.
  if (config.SFDC_PRIVATE_KEY && config.SFDC_USERNAME) {
    form.set('grant_type', 'urn:ietf:params:oauth:grant-type:jwt-bearer');
    form.set('assertion', assertionOf(config));
  } else {
    form.set('grant_type', 'client_credentials');
    form.set('client_secret', config.SFDC_CLIENT_SECRET ?? '');
  }
  const answer = (await sendForJson({
    system: 'Salesforce',
    doing: 'Signing in',
    ...addressed(reach, new URL(`${config.SFDC_URL}/services/oauth2/token`)),
    method: 'POST',
    headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
    body: form.toString(),
    signal: AbortSignal.timeout(config.UPSTREAM_TIMEOUT),
    timeoutMs: config.UPSTREAM_TIMEOUT,
  }).catch((error: unknown) => {
    if (!isAftercallError(error) || error.code !== 'UPSTREAM_REJECTED') throw error;
    throw new AftercallError('AUTH_FAILED', error.message, {
      advice: 'Check SFDC_URL (the My Domain host), SFDC_CLIENT_ID and its secret or key, and that the connected app allows this sign-in and its user.',
      outcome: 'refused',
      cause: error,
    });
  })) as { access_token?: unknown; instance_url?: unknown } | null;
  if (typeof answer?.access_token !== 'string') throw new AftercallError('UPSTREAM_NONSENSE', 'Signing in failed: Salesforce answered without a token.', { advice: 'Check SFDC_URL.' });
  return { accessToken: answer.access_token, instanceUrl: typeof answer.instance_url === 'string' ? answer.instance_url : config.SFDC_URL };
};

const assertionOf = (config: SalesforceConfig): string => {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: config.SFDC_CLIENT_ID, sub: config.SFDC_USERNAME, aud: config.SFDC_AUDIENCE, exp: Math.floor(Date.now() / 1_000) + ASSERTION_SECONDS };
  const unsigned = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${unsigned}.${createSign('RSA-SHA256').update(unsigned).sign(readPem(config.SFDC_PRIVATE_KEY!), 'base64url')}`;
};
