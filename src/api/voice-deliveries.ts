import pLimit from 'p-limit';
import type { VoiceHandOver } from '../activities/voice-hand-over.ts';
import { isTemporalDown } from '../client/temporal.ts';
import type { VoiceCallsClient } from '../client/voice-calls.ts';
import type { Database } from '../db/database.ts';
import type { InboxEvent } from '../db/inbox.ts';
import type { Projects } from '../db/projects.ts';
import type { VoiceCalls } from '../db/voice-calls.ts';
import { applyObservations, type Learned } from '../db/voice-observations.ts';
import { messageOf } from '../domain/errors.ts';
import type { Pace } from '../domain/messages.ts';
import type { ProviderCall } from '../domain/voice.ts';
import { wasConnected } from '../domain/voice-observations.ts';
import type { Log } from '../telemetry/log.ts';
import { RETELL_EVENTS, type RetellEvent, type RetellEventBody } from './retell-webhook.ts';
import type { BatchDelivery } from './webhook-relay.ts';

/** What became of an event: told to the voice call, taken in as a call of its own, or of no use, and why. */
export const RETELL_DISPOSITIONS = ['changed', 'known', 'another_call', 'no_such_voice_call', 'taken_in', 'not_analysed_yet', 'not_connected', 'erased', 'not_wanted'] as const;
export type RetellDisposition = (typeof RETELL_DISPOSITIONS)[number];

interface Dependencies {
  db: Database;
  voiceCalls: Pick<VoiceCalls, 'applyObservation'>;
  voiceCallsClient: Pick<VoiceCallsClient, 'observed'>;
  voiceHandOver: Pick<VoiceHandOver, 'takeInUnplaced'>;
  projects: Pick<Projects, 'settings'>;
  pace: Pace;
  /** Called when there are tracking events to send. */
  kickTracking: () => void;
  count: (disposition: RetellDisposition) => void;
  log: Log;
}

const ASK_MS = 60_000;
/** Workflows told at once. */
const LANES = 20;

interface Told extends Learned {
  event: InboxEvent;
}

/**
 * Retell: what events say is written to their voice calls, in one transaction with the tracking events that follow,
 * and then the calls' workflows are told to read it. The first half needs no Temporal, and repeating both is harmless.
 *
 * A call that we did not place is taken in once it is analysed, if the project wants that.
 */
export const retellDelivery = ({ db, voiceCalls, voiceCallsClient, voiceHandOver, projects, pace, kickTracking, count, log }: Dependencies): BatchDelivery => {
  /** Whose call it is, also where somebody has taken our metadata off it since it was placed. */
  const placedIn = async (project: string, events: readonly InboxEvent[]): Promise<Map<string, string>> => {
    const unnamed = [...new Set(events.map(callOf).filter(({ voiceCallId }) => voiceCallId === undefined).map(({ providerCallId }) => providerCallId))];
    const rows = unnamed.length === 0 ? [] : await db.selectFrom('voice_calls').select(['id', 'provider_call_id']).where('project', '=', project).where('provider_call_id', 'in', unnamed).execute();
    const known = rows.map(({ id, provider_call_id: providerCallId }) => [providerCallId!, id] as const);
    return new Map([...known, ...events.map(callOf).flatMap(({ voiceCallId, providerCallId }) => (voiceCallId === undefined ? [] : [[providerCallId, voiceCallId] as const]))]);
  };

  /** All in one transaction; one by one where one of them cannot be written. */
  const write = async (project: string, told: readonly Told[]): Promise<(RetellDisposition | Error)[]> => {
    const oneByOne = async ({ voiceCallId, observation }: Told): Promise<RetellDisposition | Error> => {
      try {
        const { kind } = await voiceCalls.applyObservation({ project, voiceCallId }, observation);
        if (kind === 'another_call') log.error({ project, voiceCallId, providerCallId: observation.call.providerCallId }, 'the provider has a second call for a voice call');
        return kind;
      } catch (error) {
        return asError(error);
      }
    };
    const outcomes = await applyObservations(db, project, told).catch((error: unknown) => {
      log.warn({ project, events: told.length, error: messageOf(error) }, 'events of calls are written one by one: together they cannot be');
      return told.map(() => undefined);
    });
    const written: (RetellDisposition | Error)[] = [];
    // In their order; what a second call means is noted by what writes one.
    for (const [at, outcome] of outcomes.entries()) written.push(outcome === undefined || outcome === 'another_call' ? await oneByOne(told[at]!) : outcome);
    return written;
  };

  /** @returns why a workflow could not be told, by voice call */
  const tell = async (project: string, voiceCallIds: Iterable<string>): Promise<Map<string, Error>> => {
    const failures = new Map<string, Error>();
    const lane = pLimit(LANES);
    let unreachable: Error | undefined;
    await Promise.all(
      [...new Set(voiceCallIds)].map((voiceCallId) =>
        lane(async () => {
          // Each would wait for as long as the first did.
          const failure = unreachable ?? (await voiceCallsClient.observed({ project, voiceCallId }).then(() => undefined, asError));
          if (failure === undefined) return;
          if (isTemporalDown(failure)) unreachable ??= failure;
          failures.set(voiceCallId, failure);
        }),
      ),
    );
    return failures;
  };

  const takeIn = async (project: string, by: RetellEvent, call: ProviderCall): Promise<RetellDisposition> => {
    if (by !== 'call_analyzed') return 'not_analysed_yet';
    if (!(await projects.settings(project)).takeUnplacedCalls) return 'not_wanted';
    if (!wasConnected(call)) return 'not_connected';
    const taken = await voiceHandOver.takeInUnplaced(project, call, { pace, signal: AbortSignal.timeout(ASK_MS) });
    return taken.handedOver ? 'taken_in' : taken.because;
  };

  return {
    async all(events) {
      const [{ project } = { project: '' }] = events;
      const failures = new Map<InboxEvent, unknown>();
      const note = (event: InboxEvent, disposition: RetellDisposition): void => {
        count(disposition);
        log.debug({ project, providerCallId: callOf(event).providerCallId, event: event.type, disposition }, 'call event');
      };

      const known = events.filter(({ type }) => isKnown(type));
      const placed = await placedIn(project, known);
      const told = known.flatMap((event): Told[] => {
        const voiceCallId = placed.get(callOf(event).providerCallId);
        const { atMs, call } = event.body as RetellEventBody;
        return voiceCallId === undefined ? [] : [{ event, voiceCallId, observation: { by: event.type as RetellEvent, atMs, call } }];
      });
      const written = told.length === 0 ? [] : await write(project, told);
      if (written.includes('changed')) kickTracking();
      // Also of what was known: it may have been written down by a try that did not reach Temporal.
      const heard = told.filter((_told, at) => written[at] === 'changed' || written[at] === 'known');
      const untold = await tell(project, heard.map(({ voiceCallId }) => voiceCallId));
      for (const [at, { event, voiceCallId }] of told.entries()) {
        const outcome = written[at]!;
        const failure = outcome instanceof Error ? outcome : untold.get(voiceCallId);
        if (failure) failures.set(event, failure);
        else note(event, outcome as RetellDisposition);
      }

      const lane = pLimit(LANES);
      const unplaced = known.filter((event) => !placed.has(callOf(event).providerCallId));
      await Promise.all(
        unplaced.map((event) =>
          lane(async () => {
            try {
              note(event, await takeIn(project, event.type as RetellEvent, callOf(event)));
            } catch (error) {
              failures.set(event, error);
            }
          }),
        ),
      );
      return events.map((event) => failures.get(event));
    },
  };
};

const isKnown = (type: string): type is RetellEvent => (RETELL_EVENTS as readonly string[]).includes(type);
const callOf = ({ body }: InboxEvent): ProviderCall => (body as RetellEventBody).call;
const asError = (error: unknown): Error => (error instanceof Error ? error : new Error(messageOf(error)));
