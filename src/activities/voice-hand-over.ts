import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { Intake } from '../client/intake.ts';
import type { VoiceCalls } from '../db/voice-calls.ts';
import type { CallDetails } from '../domain/call.ts';
import { isAftercallError } from '../domain/errors.ts';
import type { Pace } from '../domain/messages.ts';
import { type ProviderCall, VOICE_PROVIDER, type VoiceCallKey } from '../domain/voice.ts';

interface Dependencies {
  intake: Pick<Intake, 'takeIn'>;
  voiceCalls: Pick<VoiceCalls, 'get' | 'handOver'>;
  adaptersOf: AdaptersOf;
}

export interface HandOver {
  pace: Pace;
  signal: AbortSignal;
}

/** What became of a hand-over. `callId` is the provider's ID of the call: it goes on under it. */
export type HandedOver =
  | { handedOver: true; callId: string }
  /** Nobody was reached, or the project has erased the call. */
  | { handedOver: false; because: 'not_connected' | 'erased' };

/**
 * Hands calls that a voice provider held over to be processed like any other.
 *
 * The intake keys everything by the call, so a repeat, and a window that finds the same call, change nothing. The
 * recording, the words and the cost are copied by the first step of the call, at once: the provider's links expire.
 */
export const createVoiceHandOver = ({ intake, voiceCalls, adaptersOf }: Dependencies) => {
  /** Where asking again is of no use, as with a key that was replaced, it is not known better than it was observed: the call's own first step asks too, and waits for a person. */
  const ask = async (project: string, callId: string, signal: AbortSignal): Promise<CallDetails | undefined> => {
    try {
      return await (await adaptersOf(project)).sources.get(VOICE_PROVIDER).findCall?.(callId, signal);
    } catch (error) {
      if (isAftercallError(error) && !error.retryable) return undefined;
      throw error;
    }
  };

  /** As the provider tells it now; as it was observed where the provider has deleted it meanwhile, or does not let us ask. */
  const detailsOf = async (project: string, call: ProviderCall, signal: AbortSignal): Promise<CallDetails> => {
    const told = await ask(project, call.providerCallId, signal);
    // Who hands it over knows that it is over, and has waited for its analysis as long as it wants to.
    return { ...(told ?? asObserved(call)), status: 'completed' };
  };

  const takeIn = async (project: string, call: ProviderCall, { pace, signal }: HandOver): Promise<boolean> => {
    const details = await detailsOf(project, call, signal);
    let isWrittenDown = false;
    await intake.takeIn({ project, source: VOICE_PROVIDER, calls: [details], pace, check: () => signal.throwIfAborted(), beforeStart: async () => void (isWrittenDown = true) });
    return isWrittenDown;
  };

  return {
    /** Hands over a call that was placed, once it has ended and somebody had been reached. Safe to repeat. */
    async handOver(key: VoiceCallKey, options: HandOver): Promise<HandedOver> {
      const { observed, outcome, callId: before } = await voiceCalls.get(key.project, key.voiceCallId);
      if (!observed || (outcome !== 'connected' && outcome !== 'voicemail')) return { handedOver: false, because: 'not_connected' };
      if (!(await takeIn(key.project, observed, options))) return { handedOver: false, because: 'erased' };
      if (before !== observed.providerCallId) await voiceCalls.handOver(key, observed.providerCallId);
      return { handedOver: true, callId: observed.providerCallId };
    },

    /** Takes in a call that somebody else placed, or that came in to one of the provider's agents. Safe to repeat. */
    async takeInUnplaced(project: string, call: ProviderCall, options: HandOver): Promise<HandedOver> {
      if (call.status === 'not_connected') return { handedOver: false, because: 'not_connected' };
      return (await takeIn(project, call, options)) ? { handedOver: true, callId: call.providerCallId } : { handedOver: false, because: 'erased' };
    },
  };
};

export type VoiceHandOver = ReturnType<typeof createVoiceHandOver>;

const asObserved = (call: ProviderCall): CallDetails => ({
  source: VOICE_PROVIDER,
  callId: call.providerCallId,
  status: 'completed',
  direction: call.direction,
  startedAtMs: call.startedAtMs ?? (call.endedAtMs === undefined ? Date.now() : call.endedAtMs - (call.durationMs ?? 0)),
  ...(call.fromNumber ? { originPhone: call.fromNumber } : {}),
  ...(call.toNumber ? { destinationPhone: call.toNumber } : {}),
  ...(call.agentId ? { agentName: call.agentId } : {}),
  ...(call.endedAtMs === undefined ? {} : { updatedAtMs: call.endedAtMs }),
  ...(call.durationMs === undefined ? {} : { durationMs: call.durationMs }),
});
