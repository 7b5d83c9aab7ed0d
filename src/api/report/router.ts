import { type NextFunction, type Request, type RequestHandler, type Response, Router, urlencoded } from 'express';
import helmet from 'helmet';
import { z } from 'zod';
import { type Accounts, TooManySignIns } from '../../accounts/accounts.ts';
import { MAX_PASSWORD_LENGTH } from '../../accounts/passwords.ts';
import { type ReportLinks, reportPath } from '../../accounts/report-links.ts';
import type { ObjectStore } from '../../adapters/objects/object-store.ts';
import { loadTranscript } from '../../adapters/objects/transcripts.ts';
import type { CallRow, Calls, VersionRow } from '../../db/calls.ts';
import type { Costs } from '../../db/costs.ts';
import type { VoiceCalls } from '../../db/voice-calls.ts';
import { inProject } from '../../db/scope.ts';
import { mayUse, type Principal } from '../../domain/access.ts';
import type { CallKey } from '../../domain/call.ts';
import { withSpeakers } from '../../domain/review.ts';
import { sendRecording } from '../recording-response.ts';
import { PLAYER, STYLE } from './assets.ts';
import { pageCookie } from './cookie.ts';
import { noticePage, reportPage } from './page.ts';

interface Dependencies {
  calls: Calls;
  costs: Costs;
  voiceCalls: Pick<VoiceCalls, 'findByProvider'>;
  objects: ObjectStore;
  accounts: Pick<Accounts, 'authenticate' | 'authenticateOnPages' | 'signInToPages' | 'signOut'>;
  reportLinks: ReportLinks;
  /** Whether people come by HTTPS: then the cookie goes no other way. */
  secure: boolean;
}

/** Nothing from elsewhere, no script and no style in the page itself, and no frame around it. */
const policy: RequestHandler = helmet({
  contentSecurityPolicy: {
    useDefaults: false,
    directives: { 'default-src': ["'none'"], 'style-src': ["'self'"], 'script-src': ["'self'"], 'media-src': ["'self'"], 'img-src': ['data:'], 'form-action': ["'self'"], 'base-uri': ["'none'"], 'frame-ancestors': ["'none'"] },
  },
}) as RequestHandler;

const KeySchema = z.object({ project: z.string().max(40), callId: z.string().max(200) });
const LinkSchema = z.string().max(200).optional().catch(undefined);
const SignInSchema = z.object({ email: z.string().trim().min(1).max(254), password: z.string().min(1).max(MAX_PASSWORD_LENGTH), next: z.string().max(1_000).default('') });

/** Who reads: whoever holds a link that is good, or somebody of the project. */
type Reader = { by: 'link'; link: string } | { by: 'account'; principal: Principal };

/** Why somebody is not shown a report, as a page says it. */
interface TurnedAway {
  status: number;
  title: string;
  text: string;
  /** Whether signing in may help. */
  signIn: boolean;
}

const NOTHING_HERE: TurnedAway = { status: 404, title: 'There is no such call here', text: 'It may have been erased, or it belongs to a project that you are not a member of.', signIn: false };

/** The pages of calls' reports, and signing in to them. */
export const reportRouter = ({ calls, costs, voiceCalls, objects, accounts, reportLinks, secure }: Dependencies): Router => {
  const router = Router();
  const cookie = pageCookie({ secure });
  router.use('/calls', policy);
  router.get('/calls/report.css', (_request, response) => void response.type('css').set('cache-control', 'public, max-age=3600').send(STYLE));
  router.get('/calls/player.js', (_request, response) => void response.type('js').set('cache-control', 'public, max-age=3600').send(PLAYER));

  const principalOf = async (request: Request): Promise<Principal | undefined> => {
    const [scheme, bearer] = (request.get('authorization') ?? '').split(' ');
    if (scheme?.toLowerCase() === 'bearer' && bearer) return accounts.authenticate(bearer);
    const token = cookie.read(request);
    return token === undefined ? undefined : accounts.authenticateOnPages(token);
  };

  const readerOf = async (request: Request, call: CallKey): Promise<Reader | TurnedAway> => {
    const link = LinkSchema.parse(request.query['link']);
    const verdict = link === undefined ? undefined : reportLinks.check(call, link);
    if (link !== undefined && verdict === 'good') return { by: 'link', link };
    const principal = await principalOf(request);
    if (principal && mayUse('project_viewer', principal, call.project) === 'allowed') return { by: 'account', principal };
    if (principal) return NOTHING_HERE;
    if (verdict === 'expired') return { status: 403, title: 'This link has expired', text: 'Links to reports are good for a while only. Ask for a new one, or sign in if you belong to the project.', signIn: true };
    if (verdict === 'forged' || request.query['link'] !== undefined) return { status: 403, title: 'This link is not valid', text: 'It is not one that this installation made for this call; perhaps a part of it got lost. Sign in if you belong to the project.', signIn: true };
    return { status: 401, title: 'Sign in', text: 'This report is for members of its project.', signIn: true };
  };

  const say = (response: Response, call: CallKey, { status, title, text, signIn }: TurnedAway): void =>
    void response.status(status).set('cache-control', 'no-store').type('html').send(noticePage({ title, text, ...(signIn ? { signIn: { next: reportPath(call) } } : {}) }));

  /** For whoever may read the call, in its project's scope. */
  const withCall = (work: (given: { call: CallRow; version: VersionRow | undefined; reader: Reader; request: Request; response: Response }) => Promise<unknown>) => async (request: Request, response: Response, next: NextFunction): Promise<void> => {
    try {
      const parsed = KeySchema.safeParse(request.params);
      if (!parsed.success) return say(response, { project: '', callId: '' }, NOTHING_HERE);
      const key = parsed.data;
      const reader = await readerOf(request, key);
      if (!('by' in reader)) return say(response, key, reader);
      await inProject(key.project, async () => {
        const call = await calls.find(key);
        if (!call) return say(response, key, NOTHING_HERE);
        await work({ call, version: call.version > 0 ? await calls.getVersion(call) : undefined, reader, request, response });
      });
    } catch (error) {
      next(error);
    }
  };

  router.get('/calls/:project/:callId', withCall(async ({ call, version, reader, response }) => {
    const analysis = version?.effective ?? null;
    const heard = version && (await loadTranscript(objects, version.transcript));
    const spent = await costs.list(call.project, call.callId);
    const placed = await voiceCalls.findByProvider(call.project, call.callId);
    response
      .set('cache-control', 'no-store')
      .type('html')
      .send(
        reportPage({
          project: call.project,
          callId: call.callId,
          version: call.version,
          details: call.details,
          remark: remarkOf(call),
          analysis,
          crm: version?.crm ?? null,
          transcript: heard && withSpeakers(heard, analysis?.review?.speakers ?? {}),
          placed: placed && { outcome: placed.outcome },
          recordingUrl: version?.recording ? `${reportPath(call)}/recording${reader.by === 'link' ? `?link=${encodeURIComponent(reader.link)}` : ''}` : undefined,
          costMicroUsd: spent.reduce((sum, cost) => sum + cost.microUsd, 0),
          reader: reader.by === 'account' && reader.principal.kind === 'user' ? reader.principal.name : undefined,
        }),
      );
  }));

  router.get('/calls/:project/:callId/recording', withCall(async ({ call, version, request, response }) => {
    if (!version?.recording || !(await sendRecording(objects, { recording: version.recording, callId: call.callId, request, response }))) say(response, call, NOTHING_HERE);
  }));

  /** Forms of other sites are not taken: browsers say where a form came from. */
  const ownForms: RequestHandler = (request, response, next) => {
    const from = request.get('sec-fetch-site');
    if (from === undefined || from === 'same-origin' || from === 'none') return next();
    response.status(403).type('html').send(noticePage({ title: 'Not from here', text: 'This form was sent from another site.' }));
  };
  const form = [ownForms, urlencoded({ extended: false, limit: '8kb', parameterLimit: 10 })];

  router.post('/calls/sign-in', ...form, async (request, response) => {
    const given = SignInSchema.safeParse(request.body ?? {});
    const next = nextOf(given.data?.next);
    const again = (status: number, wrong: string): void => void response.status(status).set('cache-control', 'no-store').type('html').send(noticePage({ title: 'Sign in', text: 'This report is for members of its project.', signIn: { next, wrong } }));
    if (!given.success) return again(400, 'Give an e-mail address and a password.');
    try {
      const signedIn = await accounts.signInToPages({ ...given.data, address: request.ip ?? '' });
      if (!signedIn) return again(401, 'E-mail address or password is wrong.');
      cookie.set(response, signedIn.token);
      response.redirect(303, next);
    } catch (error) {
      if (!(error instanceof TooManySignIns)) throw error;
      response.set('retry-after', String(error.retryAfterSeconds));
      again(429, error.message);
    }
  });

  router.post('/calls/sign-out', ...form, async (request, response) => {
    const token = cookie.read(request);
    const principal = token && (await accounts.authenticateOnPages(token));
    if (principal) await accounts.signOut(principal);
    cookie.clear(response);
    response.set('cache-control', 'no-store').type('html').send(noticePage({ title: 'Signed out', text: 'You can close this page.' }));
  });
  return router;
};

/** Where to go after signing in: a report, and nowhere else. */
const nextOf = (given: string | undefined): string => {
  const [, project, callId] = /^\/calls\/([^/?#\\]{1,120})\/([^/?#\\]{1,600})$/.exec(given ?? '') ?? [];
  try {
    if (project && callId) return reportPath({ project: decodeURIComponent(project), callId: decodeURIComponent(callId) });
  } catch {
    // Not one of ours.
  }
  return '/docs';
};

/** Why there is less to see than of other calls. */
const remarkOf = ({ state, result, reason }: CallRow): string | undefined => {
  if (state !== 'completed') return `This call is ${state.replaceAll('_', ' ')}${reason ? `: ${reason}` : ''}.`;
  switch (result) {
    case 'abandoned':
      return 'The caller hung up before anybody answered.';
    case 'no_recording':
      return 'There is no recording of this call.';
    case 'too_short':
      return 'This call was too short to be graded.';
    default:
      return reason ?? undefined;
  }
};
