import { AftercallError, isAftercallError } from '../../domain/errors.ts';
import { METADATA_PROJECT, METADATA_VOICE_CALL, type ProviderCall, VOICE_PROVIDER, type VoiceCallKey } from '../../domain/voice.ts';
import type { RetellClient } from '../retell/client.ts';
import type { RetellCall } from '../retell/retell.schema.ts';
import type { VoiceProvider } from './voice-provider.ts';

/** There is one, or none. */
const FOUND_LIMIT = 10;

/** Which of our voice calls a call at Retell is, by the metadata that went with it; of any project of any installation. */
export const placedAs = ({ metadata }: Pick<RetellCall, 'metadata'>): VoiceCallKey | undefined => {
  const project = metadata?.[METADATA_PROJECT];
  const voiceCallId = metadata?.[METADATA_VOICE_CALL];
  return typeof project === 'string' && typeof voiceCallId === 'string' ? { project, voiceCallId } : undefined;
};

/** What Retell tells of a call, reduced to what decides. */
export const toProviderCall = (call: RetellCall): ProviderCall => {
  const { call_analysis: analysis, call_cost: cost } = call;
  const voiceCallId = placedAs(call)?.voiceCallId;
  return {
    providerCallId: call.call_id,
    status: call.call_status,
    direction: call.direction ?? 'inbound',
    ...(voiceCallId === undefined ? {} : { voiceCallId }),
    ...(call.agent_id ? { agentId: call.agent_id } : {}),
    ...(call.from_number ? { fromNumber: call.from_number } : {}),
    ...(call.to_number ? { toNumber: call.to_number } : {}),
    ...(typeof call.start_timestamp === 'number' ? { startedAtMs: call.start_timestamp } : {}),
    ...(typeof call.end_timestamp === 'number' ? { endedAtMs: call.end_timestamp } : {}),
    ...(typeof call.duration_ms === 'number' ? { durationMs: call.duration_ms } : {}),
    ...(call.disconnection_reason ? { disconnectionReason: call.disconnection_reason } : {}),
    ...(analysis
      ? {
          analysis: {
            ...(typeof analysis.call_successful === 'boolean' ? { successful: analysis.call_successful } : {}),
            ...(typeof analysis.in_voicemail === 'boolean' ? { voicemail: analysis.in_voicemail } : {}),
            ...(analysis.user_sentiment ? { sentiment: analysis.user_sentiment } : {}),
          },
        }
      : {}),
    ...(typeof cost?.combined_cost === 'number' ? { costCents: cost.combined_cost } : {}),
  };
};

/** Retell as the one who places calls. */
export const createRetellVoice = (client: RetellClient): VoiceProvider => ({
  name: VOICE_PROVIDER,

  async createCall({ key, from, to, agent, variables, metadata }, signal) {
    const call = await client.createPhoneCall(
      {
        from_number: from,
        to_number: to,
        ...(agent === undefined ? {} : { override_agent_id: agent }),
        metadata: { ...metadata, [METADATA_PROJECT]: key.project, [METADATA_VOICE_CALL]: key.voiceCallId },
        retell_llm_dynamic_variables: variables,
      },
      signal,
    );
    return toProviderCall(call);
  },

  getCall: async (providerCallId, signal) => toProviderCall(await client.getCall(providerCallId, signal)),

  async findByMetadata({ project, voiceCallId }, signal) {
    const is = (key: string, value: string) => ({ type: 'string', op: 'eq', key, value });
    const { calls, unreadable } = await client.listCalls(
      { filter_criteria: { metadata: [is(METADATA_PROJECT, project), is(METADATA_VOICE_CALL, voiceCallId)] }, limit: FOUND_LIMIT, sort_order: 'descending' },
      signal,
    );
    if (unreadable > 0) {
      throw new AftercallError('UPSTREAM_NONSENSE', 'Looking for a call by its metadata failed: Retell listed one that cannot be read.', { advice: 'Look at the call in Retell.' });
    }
    // A server that does not know a filter gives everything: somebody else's call must not be taken for this one.
    return calls.filter((call) => placedAs(call)?.project === project && placedAs(call)?.voiceCallId === voiceCallId).map(toProviderCall);
  },

  async stopCall(providerCallId, signal) {
    try {
      await client.stopCall(providerCallId, signal);
    } catch (error) {
      // It says no to a call that is over, as it does to any other mistake: what it says of the call itself decides.
      if (!isAftercallError(error) || error.code !== 'UPSTREAM_REJECTED') throw error;
      const { call_status: status } = await client.getCall(providerCallId, signal);
      if (status === 'registered' || status === 'ongoing') throw error;
    }
  },

  async concurrency(signal) {
    const { current_concurrency: current, concurrency_limit: usual, concurrency_burst_enabled: burst, concurrency_burst_limit: most, reserved_inbound_concurrency: reserved } = await client.concurrency(signal);
    // A burst costs extra for each call: who has switched it on wants it used.
    const limit = burst && most ? Math.max(most, usual) : usual;
    return { current, limit: Math.max(0, limit - (reserved ?? 0)) };
  },
});
