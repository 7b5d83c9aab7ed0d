import { Context } from '@temporalio/activity';
import pLimit from 'p-limit';
import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { CallSource } from '../adapters/sources/source.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Intake } from '../client/intake.ts';
import type { Calls } from '../db/calls.ts';
import type { ComparedCall, Completeness, ListedCall } from '../db/completeness.ts';
import type { Projects } from '../db/projects.ts';
import type { CallDetails } from '../domain/call.ts';
import { type CompletenessActivities, type DayKey, type GapReason, judge, type OpenedDay } from '../domain/completeness.ts';
import { CATCH_UP_DAYS, daysDue } from '../domain/days-due.ts';
import { AftercallError, messageOf } from '../domain/errors.ts';
import { type GivenSource, isGivenSource } from '../domain/given.ts';
import { addDays, boundsOfDay, dayAt } from '../domain/local-time.ts';
import type { Pace } from '../domain/messages.ts';
import type { CallCursor } from '../domain/window.ts';
import { signal } from './context.ts';
import type { Publishing } from './publish.ts';

interface Dependencies {
  adaptersOf: AdaptersOf;
  calls: Pick<Calls, 'stage' | 'setState'>;
  completeness: Completeness;
  projects: Pick<Projects, 'settings'>;
  intake: Pick<Intake, 'takeIn'>;
  client: Pick<CallsClient, 'workflowStatus'>;
  publishing: Pick<Publishing, 'announceGaps'>;
  config: { COMPLETENESS_HOUR: number; COMPLETENESS_DAYS: number };
}

const RECEIPTS_AT_ONCE = 1_000;
/** Calls that are looked for in one go; pages that this may take, as after a border in a full second. */
const LOOKED_FOR_AT_ONCE = 200;
const MOST_PAGES = 50;
const LANES = 10;
/** After so many tries, a call that spoils its page is found out and left for a person. */
const TRIES_TOGETHER = 3;
/** How long nothing may be heard of a call before Temporal is asked whether its workflow is there. */
const SILENT_MS = 60 * 60_000;
const WEEK_MS = 7 * 86_400_000;

/** Holds what a source lists of a day against what we have, and takes in what is missing. */
export const createCompletenessActivities = ({ adaptersOf, calls, completeness, projects, intake, client, publishing, config }: Dependencies): CompletenessActivities => {
  const sourceOf = async (project: string, source: string): Promise<CallSource> => (await adaptersOf(project)).sources.get(source);

  /** Takes calls in that nobody has brought. One that cannot be is left out of the others' way, with the reason. */
  const takeIn = async (key: DayKey, missing: CallDetails[], pace: Pace): Promise<void> => {
    const { project, source } = key;
    const check = (): void => signal().throwIfAborted();
    try {
      await intake.takeIn({ project, source, calls: missing, pace, check });
    } catch (error) {
      check();
      // An outage passes by; what stays is some call's own.
      if (Context.current().info.attempt < TRIES_TOGETHER) throw error;
      for (const call of missing) {
        await intake.takeIn({ project, source, calls: [call], pace, check }).catch(async (reason: unknown) => {
          check();
          await completeness.noteProblem(key, [call.callId], messageOf(reason));
        });
      }
    }
  };

  const readSource = async (key: DayKey, { opened, cursor, pace, takeIn: isToTakeIn }: { opened: OpenedDay; cursor?: CallCursor | undefined; pace: Pace; takeIn: boolean }): Promise<{ next?: CallCursor }> => {
    const source = await sourceOf(key.project, key.source);
    const { fromMs, toMs, listToMs, watchedFromMs } = opened;
    const page = await source.listCalls({ fromMs, toMs: source.listsBy === 'change' ? listToMs : toMs, ...(cursor ? { cursor } : {}), signal: signal() });
    const ofTheDay = page.calls.filter(({ startedAtMs }) => startedAtMs >= fromMs && startedAtMs < toMs);
    const unplaced = new Set(page.unplaced && !(await projects.settings(key.project)).takeUnplacedCalls ? page.unplaced : []);
    const statusOf = ({ callId, status, startedAtMs }: CallDetails): ListedCall['status'] => {
      if (unplaced.has(callId)) return 'unplaced';
      return status !== 'open' && startedAtMs < watchedFromMs ? 'too_old' : status;
    };
    const listed = ofTheDay.map((call): ListedCall => ({ callId: call.callId, status: statusOf(call) }));
    const missing = new Set(await completeness.noteListed(key, [...listed, ...(page.leftOut ?? []).map((callId): ListedCall => ({ callId: callId.slice(0, 200), status: 'left_out' }))]));
    if (missing.size > 0 && isToTakeIn) await takeIn(key, ofTheDay.filter(({ callId }) => missing.has(callId)), pace);
    if (missing.size > 0 && !isToTakeIn) await completeness.noteOnlyCompared(key, [...missing]);
    return page.next ? { next: page.next } : {};
  };

  /** The list of what was handed in is what was written down when it came. */
  const readReceipts = async (key: DayKey & { source: GivenSource }, { opened: { fromMs, toMs }, cursor }: { opened: OpenedDay; cursor?: CallCursor | undefined }): Promise<{ next?: CallCursor }> => {
    const after = cursor && { received: cursor.list!, eventId: cursor.seen[0]! };
    const receipts = await completeness.receipts(key, { fromMs, toMs, after, limit: RECEIPTS_AT_ONCE });
    // Of receipts from before they said so, nobody knows which call they brought.
    await completeness.noteListed(key, receipts.flatMap(({ about, delivered, error }): ListedCall[] => (about === null ? [] : [{ callId: about, status: delivered ? 'completed' : 'waiting', ...(delivered ? {} : { problem: error ?? 'It has not been delivered yet.' }) }])));
    const last = receipts.at(-1);
    return last && receipts.length === RECEIPTS_AT_ONCE ? { next: { fromMs, seen: [last.eventId], list: last.received } } : {};
  };

  /** Calls of ours that the source has after all, by its own word. */
  const lookAgain = async (source: CallSource, missed: { callId: string; startedAtMs: number }[]): Promise<Map<string, CallDetails>> => {
    const found = new Map<string, CallDetails>();
    if (source.findCall) {
      const lane = pLimit(LANES);
      await Promise.all(
        missed.map(({ callId }) =>
          lane(async () => {
            const call = await source.findCall?.(callId, signal());
            if (call) found.set(callId, call);
          }),
        ),
      );
      return found;
    }
    // A page may have been lost, or the list have changed while it was read.
    const [first, last] = [missed[0]!.startedAtMs, missed.at(-1)!.startedAtMs];
    const wanted = new Set(missed.map(({ callId }) => callId));
    let cursor: CallCursor | undefined;
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const page = await source.listCalls({ fromMs: first, toMs: last + 1, ...(cursor ? { cursor } : {}), signal: signal() });
      for (const call of page.calls) if (wanted.has(call.callId)) found.set(call.callId, call);
      cursor = page.next;
      if (!cursor) break;
    }
    return found;
  };

  /** Why a source does not have calls any more that it once told us of. */
  const whyGone = async (key: DayKey, source: CallSource, { fromMs, toMs }: OpenedDay): Promise<{ verdict: GapReason; detail?: string }> => {
    if (await completeness.anyListed(key)) return { verdict: 'deleted_there' };
    // A page without calls is not the last one: it may hold what is no call, or be an hour in which there was none.
    let cursor: CallCursor | undefined;
    for (let pages = 0; pages < MOST_PAGES; pages += 1) {
      const before = await source.listCalls({ fromMs: fromMs - WEEK_MS, toMs: fromMs, ...(cursor ? { cursor } : {}), signal: signal() });
      if (before.calls.length > 0) return { verdict: 'deleted_there' };
      cursor = before.next;
      if (!cursor) break;
    }
    if (toMs < Date.now() - WEEK_MS) return { verdict: 'past_source_retention' };
    return { verdict: 'unexplained', detail: 'The source lists no call at all of this day or of the week before. Is another account connected?' };
  };

  /** A workflow that was ended from outside could not say so itself. */
  const markLost = async (project: string, compared: readonly ComparedCall[]): Promise<void> => {
    const lane = pLimit(LANES);
    await Promise.all(
      compared.map((call) =>
        lane(async () => {
          const { callId, ours } = call;
          if (!ours || ours.version === 0 || !['staged', 'processing', 'waiting_for_recording'].includes(ours.state) || ours.updatedAt.getTime() > Date.now() - SILENT_MS) return;
          const status = await client.workflowStatus({ project, callId });
          if (status === 'RUNNING' || status === 'CONTINUED_AS_NEW' || status === 'COMPLETED') return;
          const reason = status === undefined ? 'Temporal has no workflow of it any more.' : `The workflow was ${status.toLowerCase().replaceAll('_', ' ')} in Temporal.`;
          await calls.setState({ project, callId, version: ours.version }, { state: 'failed', reason });
          call.ours = { ...ours, state: 'failed', reason };
        }),
      ),
    );
  };

  return {
    async dueDays({ project, source, atMs }) {
      const { timeZone } = await projects.settings(project);
      const watchedFrom = await completeness.watchedFrom(project, source);
      if (!watchedFrom) return [];
      const days = await completeness.daysSince(project, source, addDays(dayAt(atMs, timeZone), -CATCH_UP_DAYS - 1));
      return daysDue({ atMs, timeZone, ...days, watchedFromMs: watchedFrom.getTime(), recheckDays: config.COMPLETENESS_DAYS, hoursAfter: Math.max(0, config.COMPLETENESS_HOUR - 1) });
    },

    async openDay({ token, by, ...key }) {
      const { timeZone } = await projects.settings(key.project);
      const { fromMs, toMs } = boundsOfDay(key.day, timeZone);
      const nowMs = Date.now();
      if (fromMs > nowMs) throw new AftercallError('CONFLICT', `${key.day} has not begun in ${timeZone}.`, { advice: 'Compare a day that has begun.', outcome: 'refused' });
      if (!isGivenSource(key.source)) await sourceOf(key.project, key.source);
      await completeness.open(key, { timeZone, fromMs, toMs, token, by });
      const watchedFrom = await completeness.watchedFrom(key.project, key.source);
      return { token, fromMs, toMs: Math.min(toMs, nowMs), listToMs: nowMs, watchedFromMs: watchedFrom?.getTime() ?? toMs };
    },

    async readDayPage({ opened, cursor, pace, takeIn: isToTakeIn, ...key }) {
      const { source } = key;
      return isGivenSource(source) ? readReceipts({ ...key, source }, { opened, cursor }) : readSource(key, { opened, cursor, pace, takeIn: isToTakeIn });
    },

    async lookForUnlisted({ opened, ...key }) {
      const missed = await completeness.unlisted(key, opened, LOOKED_FOR_AT_ONCE);
      if (missed.length === 0) return { more: false };
      const { project } = key;
      if (isGivenSource(key.source)) {
        const received = await completeness.received(project, key.source, missed.map(({ callId }) => callId));
        await completeness.noteUnlisted(key, missed.map(({ callId }) => ({ callId, verdict: received.has(callId) ? 'moved_day' : 'past_source_retention' })));
        return { more: missed.length === LOOKED_FOR_AT_ONCE };
      }
      const source = await sourceOf(project, key.source);
      const found = await lookAgain(source, missed);
      const isOfTheDay = ({ startedAtMs }: CallDetails): boolean => startedAtMs >= opened.fromMs && startedAtMs < opened.toMs;
      const moved = [...found.values()].filter((call) => !isOfTheDay(call));
      await completeness.noteListed(key, [...found.values()].filter(isOfTheDay).map(({ callId, status }) => ({ callId, status })));
      // It is ours already: this only brings its record up to date.
      await calls.stage(project, moved, 'staged');
      await completeness.noteUnlisted(key, moved.map(({ callId, startedAtMs }) => ({ callId, verdict: 'moved_day', detail: `It began at ${new Date(startedAtMs).toISOString()}, by its source.` })));
      const gone = missed.filter(({ callId }) => !found.has(callId));
      if (gone.length > 0) {
        const why = await whyGone(key, source, opened);
        await completeness.noteUnlisted(key, gone.map(({ callId }) => ({ callId, ...why })));
      }
      return { more: missed.length === LOOKED_FOR_AT_ONCE };
    },

    async concludeDay({ opened, ...key }) {
      for (let batch = await completeness.unjudged(key); batch.length > 0; batch = await completeness.unjudged(key)) {
        signal().throwIfAborted();
        await markLost(key.project, batch);
        await completeness.judge(key, batch.map((call) => ({ callId: call.callId, ...judge(call) })));
      }
      const counts = await completeness.conclude(key, opened.token);
      if (!counts) throw new AftercallError('CONFLICT', `Another comparison of ${key.day} has begun.`, { advice: 'Its result stands.', outcome: 'refused' });
      await publishing.announceGaps(key, counts);
      return counts;
    },

    async failDay({ token, error, ...key }) {
      await completeness.fail(key, token, error);
    },
  };
};
