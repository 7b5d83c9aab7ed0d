import { activityInfo, sleep } from '@temporalio/activity';
import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { VoiceLinesClient } from '../client/voice-lines.ts';
import type { Projects } from '../db/projects.ts';
import type { HeldBack } from '../db/schema.ts';
import type { VoiceLines } from '../db/voice-lines.ts';
import { TURN_AHEAD_MS } from '../domain/daily-limit.ts';
import { isAftercallError } from '../domain/errors.ts';
import type { LinesLook, VoiceLinesActivities } from '../domain/voice-lines.ts';
import type { Log } from '../telemetry/log.ts';
import { signal } from './context.ts';

interface Dependencies {
  adaptersOf: AdaptersOf;
  projects: Pick<Projects, 'settings'>;
  voiceLines: VoiceLines;
  client: Pick<VoiceLinesClient, 'startCall'>;
  log: Log;
}

/** A reading of the account's limit is used for so long. Our own calls are counted exactly, at every look. */
const READING_LASTS_MS = 2_000;
/** All lines are in use: ours say when they become free, others' do not. */
const LINES_LOOK_MS = 10_000;
/** A start that was lost is made good after this. */
const LOST_AFTER_MS = 15_000;
const SHORTEST_LOOK_MS = 250;
const LONGEST_LOOK_MS = 15 * 60_000;
/** While the account's calls are braked: what became of the one that is tried may be known by then. */
const BRAKED_LOOK_MS = 15_000;
const TROUBLE_LOOK_MS = 30_000;
const NOT_CONNECTED: HeldBack = { code: 'CONFIG_INVALID', message: 'Nobody places calls for this project: Retell is not connected.', advice: 'Connect Retell. What waits is dialled then.' };

export const createVoiceLinesActivities = ({ adaptersOf, projects, voiceLines, client, log }: Dependencies): VoiceLinesActivities => {
  type Voice = NonNullable<Awaited<ReturnType<AdaptersOf>>['voice']>;

  /**
   * How many lines the account has, and how many of them others use, read anew when the last reading is old.
   * Ours are counted before the provider is asked: one that it takes meanwhile looks like another's for one
   * reading, which leaves a line empty rather than using one too many.
   */
  const readLines = async ({ account, provider }: Voice): Promise<{ others: number }> => {
    const last = await voiceLines.reading(account);
    if (last && Date.now() - last.readAt.getTime() < READING_LASTS_MS) return last;
    const ours = await voiceLines.knownToProvider(account);
    const { current, limit } = await provider.concurrency(signal());
    const reading = { limit, others: Math.max(0, current - ours), readAt: new Date() };
    await voiceLines.noteReading(account, reading);
    return reading;
  };

  const startAll = async (project: string, calls: readonly { id: string; atMs: number }[]): Promise<void> => {
    for (const { id, atMs } of calls) {
      const waitMs = atMs - Date.now();
      if (waitMs > 0) await sleep(waitMs);
      signal().throwIfAborted();
      await client.startCall({ project, voiceCallId: id });
    }
  };

  /** Calls that were given a line by an attempt which did not live to start them, or that no worker took up: that may be hours ago. */
  const takeBackLost = async (project: string): Promise<void> => {
    const lost = await voiceLines.takeBack(project, new Date(Date.now() - (activityInfo().attempt > 1 ? 0 : LOST_AFTER_MS)));
    if (lost.length > 0) log.warn({ project, calls: lost.length }, 'voice calls had a line and were not dialled: they get another turn');
  };

  return {
    async startDueCalls({ project }): Promise<LinesLook> {
      await takeBackLost(project);
      const { voice } = await adaptersOf(project);
      const { timeZone, quietHours, voiceCallsPerNumberPerDay, voiceLines: most } = await projects.settings(project);
      const rules = { timeZone, quietHours, voiceCallsPerNumberPerDay };
      const expired = await voiceLines.expire(project, Date.now());
      if (expired > 0) log.warn({ project, calls: expired }, 'voice calls were not dialled by the time that was set for them');
      await voiceLines.postpone({ project, nowMs: Date.now(), rules });

      const answer = async (started: number, soonestMs: number | undefined, heldBack?: HeldBack): Promise<LinesLook> => {
        const { dueAt, expiresAt, undialled } = await voiceLines.next(project);
        const looks = [
          ...(dueAt ? [soonestMs ?? Math.max(dueAt.getTime() - Date.now(), SHORTEST_LOOK_MS)] : []),
          ...(undialled ? [LOST_AFTER_MS] : []),
          ...(expiresAt ? [Math.max(expiresAt.getTime() - Date.now(), SHORTEST_LOOK_MS)] : []),
        ];
        const lookAgainInMs = looks.length > 0 ? Math.min(...looks, LONGEST_LOOK_MS) : null;
        await voiceLines.looked(project, { ...(voice ? { account: voice.account } : {}), ...(heldBack && dueAt ? { heldBack } : {}), lookAgainAt: lookAgainInMs === null ? null : new Date(Date.now() + lookAgainInMs) });
        return { started, lookAgainInMs, ...(heldBack && dueAt ? { heldBack: heldBack.message } : {}) };
      };

      if (!voice) return answer(0, LONGEST_LOOK_MS, NOT_CONNECTED);
      const { dueAt } = await voiceLines.next(project);
      if (!dueAt || dueAt.getTime() > Date.now()) return answer(0, undefined);
      let others: number;
      try {
        ({ others } = await readLines(voice));
      } catch (error) {
        // Without a limit to keep to, nobody is called. What the database throws is not told, but tried again.
        if (!isAftercallError(error)) throw error;
        log.warn({ project, code: error.code }, 'voice calls wait: the limit of the account cannot be read');
        return answer(0, error.retryAfterMs ?? TROUBLE_LOOK_MS, { code: error.code, message: error.message, advice: error.advice });
      }
      const taken = await voiceLines.take({ project, account: voice.account, nowMs: Date.now(), rules, most, callsPerSecond: voice.callsPerSecond, aheadMs: TURN_AHEAD_MS });
      await startAll(project, taken.start);
      if (taken.braked) {
        const { nextAtMs, ...brake } = taken.braked;
        log.warn({ project, code: brake.code }, 'voice calls are braked: the last ones did not go out');
        return answer(taken.start.length, Math.min(Math.max(nextAtMs - Date.now(), SHORTEST_LOOK_MS), BRAKED_LOOK_MS), brake);
      }
      // What looks like others' lines may have been ours a moment ago.
      if (taken.lacking === 'lines') return answer(taken.start.length, others > 0 ? READING_LASTS_MS : LINES_LOOK_MS);
      // Whoever shares the account has used its rate up. After calls of our own, that time has passed.
      if (taken.rateAllowsAtMs !== undefined && taken.start.length === 0) return answer(0, Math.max(taken.rateAllowsAtMs - Date.now(), SHORTEST_LOOK_MS));
      return answer(taken.start.length, taken.lacking === 'rate' || taken.more ? 0 : undefined);
    },
  };
};
