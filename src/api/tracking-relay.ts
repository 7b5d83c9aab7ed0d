import { randomUUID } from 'node:crypto';
import type { Sent, TrackingSink } from '../adapters/tracking/sink.ts';
import { inProject } from '../db/scope.ts';
import type { ClaimedEvent, TrackingQueue } from '../db/tracking-queue.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import { type Relay, startRelay } from './relay.ts';

interface Dependencies {
  queue: TrackingQueue;
  /** Where a project's events go now; undefined where it has no sink. */
  sinkOf: (project: string) => Promise<TrackingSink | undefined>;
  log: Log;
}

/** Events of one project that are on their way at once, each of another call. */
const LANES = 10;
/** Events are written by workers, which are other processes: nobody says that there is one. */
const LOOK_EVERY_MS = 1_000;
/** Half of the lease: a relay that is late says nothing about events that may be another's by now. */
const TRY_MS = 30_000;
/** When this many calls' events fail and none goes through, it is the sink, not the event. */
const CALLS_TO_DOUBT = 3;
const LONGEST_PAUSE_MS = 60_000;

/** Calls whose events have failed since one went through, and until when the project is left alone. */
interface Trouble {
  subjects: Set<string>;
  untilMs: number;
}

/**
 * Sends tracking events to the sinks of their projects, for as long as it takes.
 *
 * Several processes may run one each: the queue gives an event to one of them at a time. A project whose sink is
 * down is tried with one event now and then instead of all; it keeps no other project waiting.
 */
export const startTrackingRelay = ({ queue, sinkOf, log }: Dependencies): Relay => {
  const running = new Map<string, Promise<void>>();
  const troubles = new Map<string, Trouble>();

  const note = (project: string, subject: string, succeeded: boolean): void => {
    if (succeeded) return void troubles.delete(project);
    const { subjects, untilMs } = troubles.get(project) ?? { subjects: new Set<string>(), untilMs: 0 };
    subjects.add(subject);
    const over = subjects.size - CALLS_TO_DOUBT;
    troubles.set(project, { subjects, untilMs: over < 0 ? untilMs : Date.now() + Math.min(LONGEST_PAUSE_MS, 1_000 * 2 ** over) });
  };

  const send = async (sink: TrackingSink, event: ClaimedEvent): Promise<void> => {
    const { project, id, subject, event: name } = event.envelope;
    const missed = async (tried: { code: string; reason: string; advice: string; outcome: 'refused' | 'unknown'; retryAfterMs?: number | undefined; final?: boolean }): Promise<void> => {
      const state = await queue.missed(event, { sink: sink.name, ...tried });
      note(project, subject, false);
      // Why is in the view: a receiver's own words may name somebody.
      log.warn({ project, eventId: id, name, attempts: event.attempts, code: tried.code, state }, state === 'failed' ? 'tracking event not delivered, waits for somebody' : 'tracking event not delivered, will be tried again');
    };
    let sent: Sent;
    try {
      sent = await sink.send(event.envelope, AbortSignal.timeout(TRY_MS));
    } catch (error) {
      const known = isAftercallError(error);
      return missed({ code: known ? error.code : 'UPSTREAM_UNAVAILABLE', reason: messageOf(error), advice: known ? error.advice : 'It is tried again.', outcome: known ? error.outcome : 'unknown', retryAfterMs: known ? error.retryAfterMs : undefined });
    }
    if (sent.outcome === 'unwanted') return missed({ code: 'UPSTREAM_REJECTED', reason: sent.reason, advice: sent.advice, outcome: 'refused', final: true });
    // If this cannot be written down, the lease runs out and the event goes once more, under the same key.
    await queue.delivered(event, { sink: sink.name, receipt: sent.receipt });
    note(project, subject, true);
  };

  const drain = async (project: string, stopped: () => boolean): Promise<void> => {
    while (!stopped()) {
      const { subjects, untilMs } = troubles.get(project) ?? { subjects: new Set(), untilMs: 0 };
      if (untilMs > Date.now()) return;
      const sink = await sinkOf(project);
      if (!sink) {
        await queue.skipUnsent(project);
        return;
      }
      const claimed = await queue.claim(project, { claim: randomUUID(), limit: subjects.size >= CALLS_TO_DOUBT ? 1 : LANES });
      if (claimed.length === 0) return;
      await Promise.all(claimed.map((event) => send(sink, event)));
    }
  };

  const relay = startRelay({
    // Projects are not waited for: a slow sink is only its own project's.
    batch: async (stopped) => {
      for (const project of await queue.dueProjects()) {
        if (stopped() || running.has(project)) continue;
        const done = inProject(project, () => drain(project, stopped))
          .catch((error: unknown) => log.warn({ project, error: messageOf(error) }, 'tracking events not sent, will be tried again'))
          .finally(() => running.delete(project));
        running.set(project, done);
      }
      return false;
    },
    failed: (error) => log.warn({ error: messageOf(error) }, 'tracking events cannot be read'),
    everyMs: LOOK_EVERY_MS,
  });
  return {
    kick: relay.kick,
    stop: async () => {
      await relay.stop();
      await Promise.all(running.values());
    },
  };
};
