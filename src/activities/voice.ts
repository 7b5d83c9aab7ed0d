import type { AdaptersOf } from '../adapters/connectors/of-project.ts';
import type { VoiceProvider } from '../adapters/voice/voice-provider.ts';
import type { VoiceCallRow, VoiceCalls } from '../db/voice-calls.ts';
import { AftercallError, type ErrorCode, isAftercallError, messageOf } from '../domain/errors.ts';
import { type ObservedBy, type ProviderCall, VOICE_ENDS, type VoiceCallKey, type VoiceState } from '../domain/voice.ts';
import type { Pace } from '../domain/messages.ts';
import { isOver } from '../domain/voice-observations.ts';
import type { HandOverActivities, VoiceActivities, VoiceResolution, VoiceStanding } from '../domain/voice-work.ts';
import { signal } from './context.ts';
import type { VoiceHandOver } from './voice-hand-over.ts';

interface Dependencies {
  voiceCalls: VoiceCalls;
  handOver: Pick<VoiceHandOver, 'handOver'>;
  adaptersOf: AdaptersOf;
  /** Of the calls that are handed over. */
  pace: Pace;
  /** Wakes whoever keeps a project's lines. */
  kickLines: (project: string) => Promise<void>;
  log: { warn(fields: object, message: string): void; error(fields: object, message: string): void };
}

/** The provider is busy, or was not reached at all: soon again. */
const BUSY_WAIT_MS = 15_000;
/** The account is not paid for, or not let in: a person has to see to it first. */
const ACCOUNT_WAIT_MS = 5 * 60_000;
const MOST_WAIT_MS = 15 * 60_000;
/** Clocks differ, and the provider may have its own idea of when a call began. */
const CLOCK_SLACK_MS = 10 * 60_000;

/** In these nobody is on the line any more. */
const IS_OVER: readonly VoiceState[] = ['ended', ...VOICE_ENDS];

/** After which clear refusals the same call may be taken later, and how long is waited before. All others are for good. */
const WAIT_MS: Partial<Record<ErrorCode, number>> = {
  RATE_LIMITED: BUSY_WAIT_MS,
  UPSTREAM_UNAVAILABLE: BUSY_WAIT_MS,
  UPSTREAM_TIMEOUT: BUSY_WAIT_MS,
  QUOTA_EXHAUSTED: ACCOUNT_WAIT_MS,
  AUTH_FAILED: ACCOUNT_WAIT_MS,
  CONFIG_INVALID: ACCOUNT_WAIT_MS,
  URL_REFUSED: ACCOUNT_WAIT_MS,
};

export const createVoiceActivities = ({ voiceCalls, handOver, adaptersOf, pace, kickLines, log }: Dependencies): VoiceActivities & HandOverActivities => {
  const providerOf = async (project: string): Promise<VoiceProvider> => {
    const { voice } = await adaptersOf(project);
    if (voice) return voice.provider;
    throw new AftercallError('CONFIG_INVALID', `Nobody places calls for project ${project}: it has not connected Retell.`, { advice: 'Connect it: the calls that wait go on by themselves.', outcome: 'refused' });
  };

  const takeIn = async (key: VoiceCallKey, by: ObservedBy, call: ProviderCall): Promise<VoiceStanding> => {
    const applied = await voiceCalls.applyObservation(key, { by, atMs: Date.now(), call });
    if (applied.kind === 'another_call') log.error({ ...key, providerCallId: applied.providerCallId }, 'the provider has a second call for a voice call');
    return standing(key);
  };

  const standing = async ({ project, voiceCallId }: VoiceCallKey): Promise<VoiceStanding> => standingOf(await voiceCalls.get(project, voiceCallId));

  /** As the provider tells it; as it was told before where that is over, and will be told of no more: it was deleted there, or nobody lets us ask. */
  const asTold = async ({ project, observed }: VoiceCallRow, providerCallId: string): Promise<ProviderCall> => {
    try {
      return await (await providerOf(project)).getCall(providerCallId, signal());
    } catch (error) {
      if (isAftercallError(error) && !error.retryable && observed && isOver(observed.status)) return observed;
      throw error;
    }
  };

  const later = async (key: VoiceCallKey, { from, dials }: { from: 'queued' | 'dialling'; dials: number }, error: AftercallError): Promise<VoiceStanding> => {
    const waitMs = Math.min(MOST_WAIT_MS, (WAIT_MS[error.code] ?? BUSY_WAIT_MS) * 2 ** Math.min(10, Math.max(0, dials - 1)));
    log.warn({ ...key, code: error.code, dials }, 'a call was not taken and is dialled later');
    await voiceCalls.requeue(key, { from, dials, notBefore: new Date(Date.now() + Math.max(waitMs, error.retryAfterMs ?? 0)), reason: `${error.message} ${error.advice}` });
    return standing(key);
  };

  const lookUp = async (key: VoiceCallKey): Promise<VoiceStanding> => {
    const row = await voiceCalls.get(key.project, key.voiceCallId);
    if (row.providerCallId !== null) return takeIn(key, 'lookup', await asTold(row, row.providerCallId));
    const provider = await providerOf(key.project);
    const found = await provider.findByMetadata(key, signal());
    // The one that began first is the call that was meant.
    const inOrder = found.toSorted((one, other) => (one.startedAtMs ?? Infinity) - (other.startedAtMs ?? Infinity));
    for (const call of inOrder) await takeIn(key, 'lookup', call);
    return standing(key);
  };

  return {
    async dialVoiceCall(key) {
      const row = await voiceCalls.get(key.project, key.voiceCallId);
      let provider: VoiceProvider;
      try {
        provider = await providerOf(key.project);
      } catch (error) {
        if (!isAftercallError(error) || row.state !== 'queued') throw error;
        return { kind: 'passed', standing: await later(key, { from: 'queued', dials: row.dials }, error) };
      }
      const { verdict, voiceCall } = await voiceCalls.beginDial(key);
      if (verdict === 'passed') return { kind: 'passed', standing: standingOf(voiceCall) };
      if (verdict === 'unknown') return { kind: 'unknown', standing: standingOf(voiceCall), reason: 'The worker that dialled ended before the answer was written down.' };
      const { from, to, agent, variables, metadata } = voiceCall.request;
      try {
        const call = await provider.createCall({ key, from, to, variables, metadata, ...(agent === undefined ? {} : { agent }) }, signal());
        return { kind: 'taken', standing: await takeIn(key, 'dial', call) };
      } catch (error) {
        // Whatever this was, nobody dials again: the next attempt finds the call being dialled, and looks it up.
        if (!isAftercallError(error) || signal().aborted) throw error;
        if (error.outcome !== 'refused') {
          log.warn({ ...key, code: error.code }, 'it is not known whether a call was dialled');
          await voiceCalls.doubt(key, { dials: voiceCall.dials, reason: error.message });
          return { kind: 'unknown', standing: await standing(key), reason: error.message };
        }
        if (WAIT_MS[error.code] !== undefined) return { kind: 'passed', standing: await later(key, { from: 'dialling', dials: voiceCall.dials }, error) };
        await voiceCalls.fail(key, { dials: voiceCall.dials, reason: `${error.message} ${error.advice}` });
        return { kind: 'passed', standing: await standing(key) };
      }
    },

    lookUpVoiceCall: lookUp,

    readVoiceCall: standing,

    async parkVoiceCall({ project, voiceCallId, code, message, advice }) {
      const key = { project, voiceCallId };
      if (await voiceCalls.park(key, { code, message, advice })) log.warn({ ...key, code }, 'a voice call waits for a person');
      return standing(key);
    },

    async takeBackVoiceCall({ project, voiceCallId, reason }) {
      const key = { project, voiceCallId };
      try {
        return standingOf(await voiceCalls.cancel(key, reason));
      } catch (error) {
        // Somebody has told of it meanwhile.
        if (!isAftercallError(error) || error.code !== 'CONFLICT') throw error;
        return standing(key);
      }
    },

    async stopVoiceCall(key) {
      const { providerCallId, state } = await voiceCalls.get(key.project, key.voiceCallId);
      // Between two tries it may have ended.
      if (IS_OVER.includes(state)) return;
      if (providerCallId === null) throw new AftercallError('CONFLICT', 'The call cannot be stopped: it is not known under which ID the provider has it.', { advice: 'Try again once it is dialled.', outcome: 'refused' });
      const provider = await providerOf(key.project);
      try {
        await provider.stopCall(providerCallId, signal());
      } catch (error) {
        // What became of it may be known nowhere but there: where nobody tells, this is all that ends the tries.
        const found = await provider.getCall(providerCallId, signal()).catch(() => undefined);
        if (found && found.status !== 'registered' && found.status !== 'ongoing') return;
        throw error;
      }
    },

    async resolveVoiceCall({ project, voiceCallId, resolution }) {
      const key = { project, voiceCallId };
      const row = await voiceCalls.get(project, voiceCallId);
      switch (resolution.as) {
        case 'dialled':
          return takeIn(key, 'lookup', await confirmed(row, resolution, await providerOf(project)));
        case 'look_again':
          return lookUp(key);
        case 'dial_again':
          if (row.providerCallId !== null) throw new AftercallError('CONFLICT', 'This call was dialled: it is not dialled again.', { advice: 'Give it up, and place another call.', outcome: 'refused' });
          // Another attempt at this may have done it: then it stands in the queue, or beyond.
          await voiceCalls.requeue(key, { from: 'needs_attention', dials: row.dials, notBefore: new Date(), reason: `${resolution.by} says that it was not dialled.` });
          return standing(key);
        case 'give_up':
          await voiceCalls.close(key, { state: row.providerCallId === null ? 'cancelled' : 'failed', reason: `${resolution.reason} (${resolution.by})` });
          return standing(key);
      }
    },

    async handOverVoiceCall(key) {
      const handedOver = await handOver.handOver(key, { pace, signal: signal() });
      return { callId: handedOver.handedOver ? handedOver.callId : null };
    },

    async noteVoiceCall({ project, voiceCallId, note }) {
      log.warn({ project, voiceCallId }, 'something of a voice call was left undone');
      await voiceCalls.note({ project, voiceCallId }, note);
    },

    async freeLine({ project }) {
      await kickLines(project);
    },
  };
};

const standingOf = ({ state, providerCallId, startedAt, callId }: VoiceCallRow): VoiceStanding => ({ state, found: providerCallId !== null, connected: startedAt !== null, handedOver: callId !== null });

/** The provider's call that a person names, where it can be the one that is asked about. */
const confirmed = async ({ voiceCallId, request, requestedAt }: VoiceCallRow, { providerCallId }: Extract<VoiceResolution, { as: 'dialled' }>, provider: VoiceProvider): Promise<ProviderCall> => {
  const refuse = (why: string): AftercallError => new AftercallError('CONFLICT', `The provider's call ${providerCallId} is not this one: ${why}.`, { advice: 'Look for the call by its number and time in Retell, and copy its ID.', outcome: 'refused' });
  const call = await provider.getCall(providerCallId, signal()).catch((error: unknown) => {
    throw isAftercallError(error) && error.code === 'NOT_FOUND' ? refuse('there is no call of that ID') : error instanceof Error ? error : new Error(messageOf(error));
  });
  // Our metadata says for certain; where it was taken off, numbers and time have to do.
  if (call.voiceCallId === voiceCallId) return call;
  if (call.voiceCallId !== undefined) throw refuse('it was placed for another voice call');
  if (call.direction !== 'outbound' || call.toNumber !== request.to || call.fromNumber !== request.from) throw refuse('its numbers are others');
  if (call.startedAtMs !== undefined && call.startedAtMs < requestedAt.getTime() - CLOCK_SLACK_MS) throw refuse('it began before this one was asked for');
  return call;
};
