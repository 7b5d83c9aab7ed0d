import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Intake } from '../client/intake.ts';
import type { ScheduleOf } from '../client/schedules.ts';
import type { Pace } from '../domain/messages.ts';
import type { Log } from '../telemetry/log.ts';
import type { Delivery } from './webhook-relay.ts';

/** Many calls end in a minute; one window reads them all. */
const TRIGGER_PAUSE_MS = 60_000;

/** Webex: a recording that has come wakes its call, a call that has ended has a window read. */
export const webexDelivery = ({ callsClient, scheduleOf, log }: { callsClient: Pick<CallsClient, 'recordingAvailable'>; scheduleOf: ScheduleOf; log: Log }): Delivery => {
  const triggeredAtMs = new Map<string, number>();
  return async ({ project, type, body }) => {
    const taskId = body['taskId'];
    if (type === 'capture:available' && typeof taskId === 'string') {
      const outcome = await callsClient.recordingAvailable({ project, callId: taskId });
      log.debug({ project, callId: taskId, outcome }, 'recording announced');
    }
    if (type === 'task:ended' && Date.now() - (triggeredAtMs.get(project) ?? 0) > TRIGGER_PAUSE_MS) {
      await (await scheduleOf(project, 'webex')).trigger();
      triggeredAtMs.set(project, Date.now());
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
  ({ adaptersOf, intake, callsClient, pace, log }: { adaptersOf: AdaptersOf; intake: Intake; callsClient: Pick<CallsClient, 'recordingAvailable'>; pace: Pace; log: Log }): Delivery =>
  async ({ project, body }) => {
    const source = (await adaptersOf(project)).sources.find('amocrm');
    if (!source) return log.info({ project }, 'an event of amoCRM is dropped: it is not connected any more');
    const callId = body['callId'];
    const call = typeof callId === 'string' ? await source.findCall?.(callId, AbortSignal.timeout(ASK_MS)) : undefined;
    if (!call) return log.debug({ project, callId }, 'no such call at the source');
    const [taken] = await intake.takeIn({ project, source: source.name, calls: [call], pace });
    log.debug({ project, callId: call.callId, disposition: taken?.disposition }, 'call announced');
    // Known before, perhaps without the recording that its note has now.
    if (taken?.disposition === 'skipped' && call.captureRequested) await callsClient.recordingAvailable({ project, callId: call.callId });
  };
