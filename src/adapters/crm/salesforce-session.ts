import { createSign } from 'node:crypto';
import { Connection } from 'jsforce';
import { type Config, readPem } from '../../config.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { sendForJson } from '../http/http.ts';

export type SalesforceConfig = Pick<
  Config,
  | 'SFDC_URL'
  | 'SFDC_CLIENT_ID'
  | 'SFDC_CLIENT_SECRET'
  | 'SFDC_USERNAME'
  | 'SFDC_PRIVATE_KEY'
  | 'SFDC_AUDIENCE'
  | 'SFDC_API_VERSION'
  | 'SFDC_EXTERNAL_ID_FIELD'
  | 'SFDC_BRN_FIELD'
  | 'SFDC_REVENUE_FLAG_FIELD'
  | 'SFDC_CONVERTED_STATUS'
>;

/** A connection without a schema: records are plain objects. */
export type Session = InstanceType<typeof Connection>;

/** Salesforce takes assertions that expire within five minutes. */
const ASSERTION_SECONDS = 180;
/** A session that is refused again and again will not be mended by another sign-in. */
const MOST_SIGN_INS = 2;

/** Signs in to Salesforce and keeps one connection that signs in again when its session has expired. */
export const createSalesforceSession = (config: SalesforceConfig) => {
  let connection: Promise<Session> | undefined;
  /** Since a request last went through. */
  let signInsInARow = 0;

  const signIn = async (): Promise<{ accessToken: string; instanceUrl: string }> => {
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
      url: new URL(`${config.SFDC_URL}/services/oauth2/token`),
      method: 'POST',
      headers: { 'content-type': 'application/x-www-form-urlencoded', accept: 'application/json' },
      body: form.toString(),
      signal: AbortSignal.timeout(30_000),
    }).catch((error: unknown) => {
      if (!isAftercallError(error) || error.code !== 'UPSTREAM_REJECTED') throw error;
      throw new AftercallError('AUTH_FAILED', error.message, {
        advice: 'Check SFDC_URL (the My Domain host), SFDC_CLIENT_ID and its secret or key, and that the connected app allows this sign-in and its user.',
        outcome: 'refused',
        cause: error,
      });
    })) as { access_token?: string; instance_url?: string };
    if (!answer.access_token) throw new AftercallError('UPSTREAM_NONSENSE', 'Signing in failed: Salesforce answered without a token.', { advice: 'Check SFDC_URL.' });
    return { accessToken: answer.access_token, instanceUrl: answer.instance_url ?? config.SFDC_URL };
  };

  const connect = async (): Promise<Session> => {
    const { accessToken, instanceUrl } = await signIn();
    return new Connection({
      instanceUrl,
      accessToken,
      // jsforce's own default is years old.
      version: config.SFDC_API_VERSION,
      refreshFn: (_connection, done) => {
        if (signInsInARow >= MOST_SIGN_INS) {
          done(new AftercallError('AUTH_FAILED', 'Salesforce refuses the session that it has just given.', { advice: "Check the user's permissions and session settings." }));
          return;
        }
        signInsInARow += 1;
        signIn().then(
          (session) => {
            done(null, session.accessToken);
          },
          (error: unknown) => {
            done(error as Error);
          },
        );
      },
    });
  };
  return {
    /** Runs a piece of work on the connection. A failed sign-in is tried anew by the next one. */
    async use<T>(work: (connection: Session) => Promise<T>): Promise<T> {
      connection ??= connect();
      const open = await connection.catch((error: unknown) => {
        connection = undefined;
        throw error;
      });
      const result = await work(open);
      signInsInARow = 0;
      return result;
    },
  };
};

const assertionOf = (config: SalesforceConfig): string => {
  const encode = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const claims = { iss: config.SFDC_CLIENT_ID, sub: config.SFDC_USERNAME, aud: config.SFDC_AUDIENCE, exp: Math.floor(Date.now() / 1_000) + ASSERTION_SECONDS };
  const unsigned = `${encode({ alg: 'RS256', typ: 'JWT' })}.${encode(claims)}`;
  return `${unsigned}.${createSign('RSA-SHA256').update(unsigned).sign(readPem(config.SFDC_PRIVATE_KEY!), 'base64url')}`;
};
