import type { CallsClient } from '../client/calls.ts';
import type { Schedules } from '../client/schedules.ts';
import type { Inbox, InboxEvent } from '../db/inbox.ts';
import { messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';

interface Dependencies {
  inbox: Inbox;
  callsClient: Pick<CallsClient, 'recordingAvailable'>;
  schedules: Pick<Schedules, 'trigger'>;
  project: string;
  log: Log;
}

const BATCH = 50;
const EVERY_MS = 5_000;
/** Many calls end in a minute; one window reads them all. */
const TRIGGER_PAUSE_MS = 60_000;

/** Delivers what came in by webhook, for as long as it takes: Temporal may be down meanwhile. */
export const startWebhookRelay = ({ inbox, callsClient, schedules, project, log }: Dependencies) => {
  let stopped = false;
  let running: Promise<void> | undefined;
  let again = false;
  let triggeredAtMs = 0;

  const deliver = async ({ type, body }: InboxEvent): Promise<void> => {
    const taskId = body['taskId'];
    if (type === 'capture:available' && typeof taskId === 'string') {
      const outcome = await callsClient.recordingAvailable({ project, callId: taskId });
      log.debug({ callId: taskId, outcome }, 'recording announced');
    }
    if (type === 'task:ended' && Date.now() - triggeredAtMs > TRIGGER_PAUSE_MS) {
      await schedules.trigger();
      triggeredAtMs = Date.now();
    }
    // Other events are kept and mean nothing to us yet.
  };

  const drain = async (): Promise<void> => {
    do {
      again = false;
      for (const event of await inbox.due(BATCH)) {
        if (stopped) return;
        try {
          await deliver(event);
          await inbox.delivered(event);
        } catch (error) {
          log.warn({ eventId: event.eventId, type: event.type, error: messageOf(error) }, 'webhook not delivered, will be tried again');
          await inbox.failed(event, messageOf(error));
        }
      }
    } while (again && !stopped);
  };

  const kick = (): void => {
    again = true;
    running ??= drain()
      .catch((error: unknown) => log.warn({ error: messageOf(error) }, 'the webhook inbox cannot be read'))
      .finally(() => {
        running = undefined;
      });
  };
  const timer = setInterval(kick, EVERY_MS);
  timer.unref();
  kick();

  return {
    kick,
    stop: async (): Promise<void> => {
      stopped = true;
      clearInterval(timer);
      await running;
    },
  };
};
