import { createHash } from 'node:crypto';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { CallsClient } from '../client/calls.ts';
import type { Intake } from '../client/intake.ts';
import type { Calls } from '../db/calls.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { InboxEvent } from '../db/inbox.ts';
import type { GivenCall, GivenSource } from '../domain/given.ts';
import { uploadPrefix } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import type { Log } from '../telemetry/log.ts';
import type { Delivery } from './webhook-relay.ts';

/** A call that was handed in, as it waits to be taken in. The same call, said again, is the same event. */
export const toEvent = (project: string, source: GivenSource, given: GivenCall): Omit<InboxEvent, 'attempts'> => {
  // An upload of the same bytes lies elsewhere the second time, and is the same.
  const { audio, ...rest } = given;
  const eventId = createHash('sha256').update(JSON.stringify([rest, audio?.sha256 ?? null])).digest('hex');
  return { project, source, eventId, type: 'call', body: { given }, about: given.details.callId };
};

/** Takes a call in that was handed in, as if a window had found it, with what came with it. */
export const givenDelivery =
  ({ calls, given, objects, intake, callsClient, pace, log }: { calls: Pick<Calls, 'find'>; given: GivenCalls; objects: ObjectStore; intake: Intake; callsClient: Pick<CallsClient, 'recordingAvailable'>; pace: Pace; log: Log }): Delivery =>
  async ({ project, source, body }) => {
    const { details, ...came } = body['given'] as GivenCall;
    const key = { project, callId: details.callId };
    const keep = async (): Promise<void> => {
      // Erased since it was written down.
      if (!(await calls.find(key))) return;
      const before = await given.find(key);
      await given.keep(key, came);
      // An upload that another takes the place of, and that nobody has copied yet.
      const old = before?.audio?.key;
      if (old && came.audio && old !== came.audio.key && old.startsWith(uploadPrefix(project))) await objects.delete(old);
    };
    const [taken] = await intake.takeIn({ project, source, calls: [details], pace, beforeStart: keep });
    log.debug({ project, callId: details.callId, disposition: taken?.disposition }, 'call handed in');
    // A call that was erased is not written down again, and nothing that comes with it is kept.
    if (!(await calls.find(key))) {
      if (came.audio) await objects.delete(came.audio.key);
      return;
    }
    // Known before, perhaps without what came now.
    if (taken?.disposition === 'skipped' && (came.recordingUrl || came.audio || came.transcript)) await callsClient.recordingAvailable(key);
  };
