import type { CallSource } from '../adapters/sources/source.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Intake } from '../client/intake.ts';
import type { Schedules } from '../client/schedules.ts';
import type { Pace } from '../domain/messages.ts';
import type { Log } from '../telemetry/log.ts';
import type { Delivery } from './webhook-relay.ts';

/** Many calls end in a minute; one window reads them all. */
const TRIGGER_PAUSE_MS = 60_000;

/** Webex: a recording that has come wakes its call, a call that has ended has a window read. */
export const webexDelivery = ({ callsClient, schedules, project, log }: { callsClient: Pick<CallsClient, 'recordingAvailable'>; schedules: Pick<Schedules, 'trigger'>; project: string; log: Log }): Delivery => {
  let triggeredAtMs = 0;
  return async ({ type, body }) => {
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
};

const ASK_MS = 60_000;

/**
 * amoCRM: the note that a webhook named is read from the API, and taken in as if a window had found it.
 *
 * Nothing else that the webhook said is believed: whoever knows its address can send one.
 */
export const amoCrmDelivery =
  ({ source, intake, callsClient, project, pace, log }: { source: CallSource; intake: Intake; callsClient: Pick<CallsClient, 'recordingAvailable'>; project: string; pace: Pace; log: Log }): Delivery =>
  async ({ body }) => {
    const callId = body['callId'];
    const call = typeof callId === 'string' ? await source.findCall?.(callId, AbortSignal.timeout(ASK_MS)) : undefined;
    if (!call) return log.debug({ callId }, 'no such call at the source');
    const [taken] = await intake.takeIn({ project, source: source.name, calls: [call], pace });
    log.debug({ callId: call.callId, disposition: taken?.disposition }, 'call announced');
    // Known before, perhaps without the recording that its note has now.
    if (taken?.disposition === 'skipped' && call.captureRequested) await callsClient.recordingAvailable({ project, callId: call.callId });
  };
