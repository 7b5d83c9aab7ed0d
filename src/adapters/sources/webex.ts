import type { WebexConfig } from '../../config.ts';
import type { Credentials } from '../../db/credentials.ts';
import type { CallDetails } from '../../domain/call.ts';
import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { isSafeCallId } from '../../domain/ids.ts';
import { type Buckets, createBuckets } from '../buckets.ts';
import { type Guard, guardOf } from '../http/guard.ts';
import { sendForJson } from '../http/http.ts';
import { addressed } from '../http/reach.ts';
import { createBatcher } from './batcher.ts';
import { openDownload } from './download.ts';
import type { CallPage, CallSource, ListCalls, RecordingLink, RecordingStream } from './source.ts';
import { CapturesSchema, type Recording, type Task, TasksSchema } from './webex.schema.ts';
import { createWebexToken } from './webex-token.ts';

/** The API's own maximum. Fewer pages also mean fewer page borders. */
const PAGE_SIZE = 1_000;
const CAPTURES_PER_QUERY = 10;
const CAPTURES_WINDOW_MS = 50;
/** Minutes; the API's maximum. A busy queue may hold a link for a while. */
const LINK_LIFETIME_MINUTES = 60;

export interface WebexOptions {
  config: WebexConfig;
  credentials: Credentials;
  /** Under which name its token is kept. */
  tokenName?: string;
  /** Given when a project's people named the address. */
  guard?: Guard | undefined;
  buckets?: Buckets;
  pageSize?: number;
}

/** Webex Contact Center: tasks, captures and pre-signed recordings. */
export const createWebex = ({ config, credentials, tokenName = 'webex', guard: outside, buckets = createBuckets(), pageSize = PAGE_SIZE }: WebexOptions): CallSource => {
  const reach = { only: config.OUTBOUND_ONLY, guard: outside };
  const token = createWebexToken({ config, credentials, name: tokenName, reach });
  const guard = guardOf(config);
  const bucket = buckets.of([config.WEBEX_BASE_URL, config.WEBEX_CLIENT_ID, config.WEBEX_CLIENT_SECRET], config.WEBEX_REQUESTS_PER_MINUTE);

  const ask = async (request: { doing: string; url: URL; method?: 'POST'; body?: object; signal: AbortSignal }): Promise<unknown> => {
    const attempt = async (accessToken: string): Promise<unknown> => {
      await bucket.take(request.signal);
      return sendForJson({
        system: 'Webex',
        doing: request.doing,
        ...addressed(reach, request.url),
        signal: request.signal,
        timeoutMs: config.UPSTREAM_TIMEOUT,
        headers: { authorization: `Bearer ${accessToken}`, accept: 'application/json', ...(request.body ? { 'content-type': 'application/json' } : {}) },
        ...(request.method ? { method: request.method } : {}),
        ...(request.body ? { body: JSON.stringify(request.body) } : {}),
      });
    };
    const accessToken = await token.get(request.signal);
    try {
      return await attempt(accessToken);
    } catch (error) {
      // Revoked or expired early: one renewal, then its word counts.
      if (!isAftercallError(error) || error.code !== 'AUTH_FAILED') throw error;
      return attempt(await token.get(request.signal, accessToken));
    }
  };

  const findCaptures = createBatcher<Recording[]>({
    windowMs: CAPTURES_WINDOW_MS,
    maxKeys: CAPTURES_PER_QUERY,
    load: async (taskIds, signal) => {
      const answer = CapturesSchema.safeParse(
        await ask({
          doing: 'Looking for recordings',
          url: new URL(`${config.WEBEX_BASE_URL}/v1/captures/query`),
          method: 'POST',
          body: { query: { ...(config.WEBEX_ORG_ID ? { orgId: config.WEBEX_ORG_ID } : {}), urlExpiration: LINK_LIFETIME_MINUTES, taskIds, includeSegments: false } },
          signal,
        }),
      );
      if (!answer.success) throw nonsense('Looking for recordings', answer.error.issues[0]);
      return new Map(answer.data.data.map(({ taskId, recording }) => [taskId, recording ?? []]));
    },
  });

  return {
    name: 'webex',

    /**
     * Reads a page by keyset, as the API has neither page numbers nor links: tasks come sorted by
     * creation, so the next page starts just before the last one's creation time, and the tasks of that
     * time that were read already are left out by their IDs.
     */
    async listCalls({ fromMs, toMs, cursor, signal }: ListCalls): Promise<CallPage> {
      const from = cursor?.fromMs ?? fromMs;
      const seen = new Set(cursor?.seen);
      const url = new URL(`${config.WEBEX_BASE_URL}/v1/tasks`);
      url.search = new URLSearchParams({
        channelTypes: 'telephony',
        // The API gives tasks created *after* it.
        from: String(Math.max(0, from - 1)),
        to: String(toMs),
        pageSize: String(pageSize),
        ...(config.WEBEX_ORG_ID ? { orgId: config.WEBEX_ORG_ID } : {}),
      }).toString();
      const answer = TasksSchema.safeParse(await ask({ doing: 'Listing calls', url, signal }));
      if (!answer.success) throw nonsense('Listing calls', answer.error.issues[0]);

      const tasks = answer.data.data;
      // Older than what was asked for: a page that comes again.
      const fresh = new Map(tasks.filter((task) => task.attributes.createdTime >= from && !seen.has(task.id)).map((task) => [task.id, task]));
      const telephony = [...fresh.values()].filter((task) => task.attributes.channelType === 'telephony' && task.attributes.createdTime < toMs);
      // One such ID must not keep the other thousand calls of the page waiting for ever.
      const leftOut = telephony.map(({ id }) => id).filter((id) => !isSafeCallId(id));
      const calls = telephony.filter(({ id }) => isSafeCallId(id)).map(toCall);
      const page: CallPage = { calls, ...(leftOut.length > 0 ? { leftOut } : {}) };
      if (tasks.length < pageSize) return page;

      const last = tasks.reduce((latest, task) => Math.max(latest, task.attributes.createdTime), 0);
      if (fresh.size === 0 || last < from) {
        throw new AftercallError(
          'SOURCE_PAGE_STUCK',
          `Listing calls cannot go on: Webex gave a full page of ${tasks.length} tasks with nothing new after ${new Date(from).toISOString()}.`,
          { advice: 'Either so many calls were created in one millisecond, or the API repeats a page. Run the window in smaller pieces around that time.' },
        );
      }
      // What lies before the new start cannot come again; what lies at it will.
      const atBorder = tasks.filter((task) => task.attributes.createdTime >= last).map((task) => task.id);
      return { ...page, next: { fromMs: last, seen: last === from ? [...new Set([...seen, ...atBorder])] : atBorder } };
    },

    async findRecording(callId, signal): Promise<RecordingLink | undefined> {
      const recordings = await findCaptures(callId, signal);
      // The stitched recording of the customer's call; consultations and bot legs are their own recordings.
      const recording = recordings?.find(({ segment, attributes }) => !segment && (attributes.callType ?? 'main') === 'main') ?? recordings?.[0];
      return recording && toLink(recording);
    },

    openRecording: (link, { offset, signal }): Promise<RecordingStream> =>
      // Pre-signed: a token beside the signature makes the store refuse it.
      openDownload({
        link,
        offset,
        signal,
        guard,
        timeoutMs: config.UPSTREAM_TIMEOUT,
        refused: { why: 'The link has probably expired.', advice: 'A new link is asked for at the next try.', statuses: [401, 403] },
      }),
  };
};

const ENDED: Record<string, CallDetails['status']> = { completed: 'completed', abandoned: 'abandoned' };

const toCall = ({ id, attributes }: Task): CallDetails => ({
  source: 'webex',
  callId: id,
  // Created, queued, offered, assigned, and whatever the API may add: not finished.
  status: ENDED[attributes.status] ?? 'open',
  direction: attributes.direction === 'inbound' ? 'inbound' : 'outbound',
  startedAtMs: attributes.createdTime,
  ...(attributes.origin ? { originPhone: attributes.origin } : {}),
  ...(attributes.destination ? { destinationPhone: attributes.destination } : {}),
  ...(attributes.queue?.name ? { queueName: attributes.queue.name } : {}),
  ...(attributes.owner?.name ? { agentName: attributes.owner.name } : {}),
  ...(attributes.lastUpdatedTime ? { updatedAtMs: attributes.lastUpdatedTime } : {}),
  ...(typeof attributes.captureRequested === 'boolean' ? { captureRequested: attributes.captureRequested } : {}),
});

const toLink = ({ id, attributes }: Recording): RecordingLink => {
  const who = (channel: string | null | undefined): 'agent' | 'customer' => (channel === 'Caller' ? 'customer' : 'agent');
  return {
    recordingId: id,
    fileName: attributes.fileName,
    url: attributes.filePath,
    ...(attributes.startTime ? { startedAtMs: attributes.startTime } : {}),
    ...(attributes.stopTime ? { stoppedAtMs: attributes.stopTime } : {}),
    ...(attributes.channel1 && attributes.channel2 ? { channels: [who(attributes.channel1), who(attributes.channel2)] } : {}),
  };
};

const nonsense = (doing: string, issue: { path: PropertyKey[]; message: string } | undefined): AftercallError =>
  new AftercallError('UPSTREAM_NONSENSE', `${doing} failed: Webex answered in an unknown shape (${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}).`, {
    advice: 'Check WEBEX_BASE_URL; if it is right, the API has changed.',
  });
