import { type Client, isGrpcServiceError, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy, WorkflowNotFoundError, WorkflowUpdateFailedError, WorkflowUpdateRPCTimeoutOrCancelledError } from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { VoiceCalls } from '../db/voice-calls.ts';
import { queueName } from '../domain/activities.ts';
import { AftercallError, messageOf } from '../domain/errors.ts';
import { voiceCallWorkflowId } from '../domain/ids.ts';
import { type OutboundCallInput, type Pace, VOICE_OBSERVED_SIGNAL, type VoicePace } from '../domain/messages.ts';
import type { VoiceCallKey } from '../domain/voice.ts';
import { type StopOutcome, type StopVoiceCall, VOICE_UPDATES, type VoiceResolution } from '../domain/voice-work.ts';
import type { Log } from '../telemetry/log.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

/** An Update that asks the provider waits for its answer. */
const UPDATE_PATIENCE_MS = 30_000;
/** A call on a line that nobody has written of for this long may have lost its workflow. Above the longest wait between two look-ups. */
const UNWATCHED_AFTER_MS = 20 * 60_000;
/** The same of a call that waits for a person: its workflow has next to nothing to do, and there may be thousands. */
const PARKED_UNWATCHED_AFTER_MS = 6 * 3_600_000;
const UNWATCHED_PAGE = 500;
/** Of one sweep; what is left is for the next. */
const MOST_PAGES = 40;
/** A hand-over that failed for good is tried again once a day: somebody may have connected Retell again. After a week it is left to a person. */
const HAND_OVER_AGAIN_MS = 86_400_000;
const HAND_OVER_FOR_MS = 7 * 86_400_000;

interface Dependencies {
  client: Client;
  voiceCalls: VoiceCalls;
  pace: Pace;
  voicePace: VoicePace;
  log: Pick<Log, 'warn'>;
}

/** Asks the workflows of outbound calls, and sees to it that each call on a line has one. Who dials is decided by the lines. */
export const createVoiceCallsClient = ({ client, voiceCalls, pace, voicePace, log }: Dependencies) => {
  const inputOf = ({ project, voiceCallId }: VoiceCallKey): OutboundCallInput => ({ project, voiceCallId, pace, voicePace });
  const options = (key: VoiceCallKey) => ({
    workflowId: voiceCallWorkflowId(key),
    taskQueue: queueName('workflows'),
    // One that was not taken is dialled by another run; never do two run at once.
    workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
    typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: key.project }],
    staticSummary: 'outbound call',
  });

  const watch = async (key: VoiceCallKey): Promise<boolean> => {
    try {
      await client.workflow.start('outboundCall', { ...options(key), args: [{ ...inputOf(key), watchOnly: true }] });
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  };

  const update = async <Input extends object, Answer>(key: VoiceCallKey, name: keyof typeof VOICE_UPDATES, input: Input, requestId: string): Promise<Answer> => {
    try {
      return await client.withDeadline(Date.now() + UPDATE_PATIENCE_MS, () => client.workflow.getHandle(voiceCallWorkflowId(key)).executeUpdate<Answer, [Input]>(VOICE_UPDATES[name], { updateId: requestId, args: [input] }));
    } catch (error) {
      throw await explain(error, key, name);
    }
  };

  /** Turns what an Update can fail with into what the person needs to know. */
  const explain = async (error: unknown, key: VoiceCallKey, name: string): Promise<unknown> => {
    if (error instanceof WorkflowUpdateFailedError) {
      const { cause } = error;
      const failure = cause instanceof ApplicationFailure ? cause : undefined;
      const { advice } = (failure?.details?.[0] ?? {}) as { advice?: string };
      // Temporal keeps the answer to an Update: asking again with the same key would get this one again.
      return new AftercallError('CONFLICT', failure?.message ?? messageOf(cause), { advice: advice ?? 'Read the voice call again; it may have moved on.', outcome: 'refused', cause: error });
    }
    if (error instanceof WorkflowNotFoundError) {
      const { state } = await voiceCalls.get(key.project, key.voiceCallId);
      if (state === 'needs_attention' && (await watch(key))) {
        return new AftercallError('CONFLICT', `Nobody watched this voice call, so that there was nobody to ${name} it: its workflow had been ended in Temporal.`, { advice: 'It is watched again from now on. Try again in a moment.', outcome: 'refused', cause: error });
      }
      return new AftercallError('CONFLICT', `Nobody watches this voice call, so that there is nobody to ${name} it: it is ${state.replaceAll('_', ' ')}.`, {
        advice: 'If it was just taken up, try again in a moment. If its workflow was ended in Temporal, it is watched again within the hour.',
        outcome: 'refused',
        cause: error,
      });
    }
    if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || (isGrpcServiceError(error) && [1, 4, 14].includes(error.code))) {
      return new AftercallError('UPSTREAM_TIMEOUT', `No worker answered to "${name}" within ${UPDATE_PATIENCE_MS / 1_000} s.`, {
        advice: 'Check that workers serve the queues workflows and voice, then send the same request again with the same Idempotency-Key.',
        cause: error,
      });
    }
    return error;
  };

  return {
    /**
     * Tells the workflow of a call that something was written down of it. Where none runs any more, and the call has
     * not been seen to its end, one is started that dials nobody.
     */
    async observed(key: VoiceCallKey): Promise<void> {
      try {
        await client.workflow.getHandle(voiceCallWorkflowId(key)).signal(VOICE_OBSERVED_SIGNAL);
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
        const { startedAt, callId, state } = await voiceCalls.get(key.project, key.voiceCallId);
        const seenToItsEnd = state === 'not_connected' || (state === 'completed' && (startedAt === null || callId !== null));
        if (!seenToItsEnd) await watch(key);
      }
    },

    stop: (key: VoiceCallKey, input: StopVoiceCall, requestId: string): Promise<StopOutcome> => update(key, 'stop', input, requestId),
    resolve: (key: VoiceCallKey, input: VoiceResolution, requestId: string): Promise<void> => update(key, 'resolve', input, requestId),

    /** Ends the workflow of a call that is to be forgotten. */
    async forget(key: VoiceCallKey): Promise<void> {
      try {
        await client.workflow.getHandle(voiceCallWorkflowId(key)).terminate('erased');
      } catch (error) {
        if (!(error instanceof WorkflowNotFoundError)) throw error;
      }
    },

    /** Finds calls whose workflow was ended in Temporal, and has them watched again; and those whose hand-over failed, and has them handed over. */
    async sweep(): Promise<void> {
      const [since, parkedSince] = [UNWATCHED_AFTER_MS, PARKED_UNWATCHED_AFTER_MS].map((ms) => new Date(Date.now() - ms)) as [Date, Date];
      for (let pages = 0; pages < MOST_PAGES; pages += 1) {
        const found = await voiceCalls.unwatched({ since, parkedSince }, UNWATCHED_PAGE);
        for (const key of found) if (await watch(key)) log.warn({ ...key }, 'a voice call had lost its workflow and is watched again');
        if (found.length < UNWATCHED_PAGE) break;
      }
      const failed = await voiceCalls.notHandedOver({ before: new Date(Date.now() - HAND_OVER_AGAIN_MS), settledSince: new Date(Date.now() - HAND_OVER_FOR_MS) }, UNWATCHED_PAGE);
      // A workflow that finds its call over hands it over, and ends.
      for (const key of failed) if (await watch(key)) log.warn({ ...key }, 'a voice call that was not handed over is handed over again');
    },
  };
};

export type VoiceCallsClient = ReturnType<typeof createVoiceCallsClient>;
