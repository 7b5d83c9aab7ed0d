import { append } from '../../src/db/tracking.ts';
import type { Database } from '../../src/db/database.ts';
import { TRACKING_EVENTS, type TrackedCall, trackingEvent, type TrackingEventName } from '../../src/domain/tracking.ts';

/** A call that was answered, and is over. */
export const aTrackedCall = (voiceCallId: string, call: Partial<TrackedCall> = {}): TrackedCall => ({
  project: 'default',
  voiceCallId,
  request: { from: '+15550100100', to: '+6560000123', agent: 'agent_1', metadata: { customer: 'c-17', vip: true } },
  provider: {
    providerCallId: `call_${voiceCallId}`,
    status: 'ended',
    direction: 'outbound',
    agentId: 'agent_1',
    startedAtMs: 1_800_000_005_000,
    endedAtMs: 1_800_000_065_250,
    durationMs: 60_250,
    disconnectionReason: 'user_hangup',
    analysis: { successful: true, sentiment: 'Positive' },
    costCents: 12.5,
  },
  outcome: 'connected',
  ...call,
});

const OCCURRED: Record<TrackingEventName, number> = { 'Voice call initiated': 1_800_000_000_000, 'Call started': 1_800_000_005_000, 'Call completed': 1_800_000_065_250 };

/** Writes events of a call down, by default all that a call can have. */
export const appendAll = async (db: Database, voiceCallId: string, { names = TRACKING_EVENTS, project = 'default' }: { names?: readonly TrackingEventName[]; project?: string } = {}): Promise<void> => {
  const call = aTrackedCall(voiceCallId, { project });
  await db.transaction().execute(async (tx) => {
    for (const name of names) await append(tx, trackingEvent(name, call, OCCURRED[name]));
  });
};
