import { setTimeout as sleep } from 'node:timers/promises';
import {
  type Client,
  isGrpcServiceError,
  WorkflowExecutionAlreadyStartedError,
  WorkflowFailedError,
  WorkflowIdReusePolicy,
  WorkflowNotFoundError,
  WorkflowUpdateFailedError,
  WorkflowUpdateRPCTimeoutOrCancelledError,
} from '@temporalio/client';
import { ApplicationFailure } from '@temporalio/common';
import type { Calls } from '../db/calls.ts';
import { queueName } from '../domain/activities.ts';
import { type CallKey, type CallVersion, hasEnded } from '../domain/call.ts';
import { AftercallError, messageOf } from '../domain/errors.ts';
import { cameInWriting } from '../domain/given.ts';
import { callWorkflowId, publicationWorkflowId } from '../domain/ids.ts';
import { type Approve, CALL_UPDATES, type GiveUp, type Pace, type ProcessCallInput, PUBLISH_SIGNAL, type PublishCallInput, RECORDING_AVAILABLE_SIGNAL, type Reject, type Retry, type SkipStep } from '../domain/messages.ts';
import type { PresetRef } from '../domain/preset.ts';
import { groupOf, type Step } from '../domain/steps.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

/** What a start may do about an earlier workflow of the same call. Never left to the server's default, which re-runs. */
export type StartMode =
  /** Unless it runs or has completed: a defect or a cancellation may be started again. */
  | 'unless-completed'
  /** Unless it runs. */
  | 'again';

const REUSE: Record<StartMode, WorkflowIdReusePolicy> = {
  'unless-completed': WorkflowIdReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
  again: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
};

export interface StartCall {
  call: CallVersion;
  source: string;
  from: Step;
  autoProcess: boolean;
  mode: StartMode;
  pace: Pace;
}

/** How long an Update waits for a worker to take it. */
const UPDATE_PATIENCE_MS = 10_000;
/** Somebody who corrects one answer often corrects the next: they are published together. */
const PUBLICATION_QUIET_MS = 3_000;
/** How long a workflow whose call has ended may take to close: its last task comes after its last record. */
const CLOSING_PATIENCE_MS = 10_000;

export type CallsClient = ReturnType<typeof createCallsClient>;

export const createCallsClient = ({ client, calls, pace }: { client: Client; calls: Calls; pace: Pace }) => {
  const handleOf = (key: CallKey) => client.workflow.getHandle(callWorkflowId(key));

  const update = async <Input extends object>(key: CallKey, name: keyof typeof CALL_UPDATES, input: Input, requestId: string): Promise<void> => {
    await calls.get(key);
    try {
      await client.withDeadline(Date.now() + UPDATE_PATIENCE_MS, () => handleOf(key).executeUpdate<void, [Input]>(CALL_UPDATES[name], { updateId: requestId, args: [input] }));
    } catch (error) {
      throw await explain(error, key, name);
    }
  };

  /** Turns what an Update can fail with into what the person needs to know. */
  const explain = async (error: unknown, key: CallKey, name: string): Promise<unknown> => {
    if (error instanceof WorkflowUpdateFailedError) {
      const cause = error.cause;
      return new AftercallError('CONFLICT', cause instanceof ApplicationFailure ? cause.message : messageOf(cause), {
        advice: 'Read the call again; it may have moved on.',
        outcome: 'refused',
        cause: error,
      });
    }
    if (error instanceof WorkflowNotFoundError) {
      const call = await calls.find(key);
      return new AftercallError('CONFLICT', `${name} asks for a call that runs; this one is ${call?.state.replaceAll('_', ' ') ?? 'unknown'}.`, {
        advice: call && hasEnded(call.state) ? 'Reprocess it to run it again.' : 'If it was just found, it starts in a moment. If its workflow was ended in Temporal, reprocess it.',
        outcome: 'refused',
        cause: error,
      });
    }
    if (error instanceof WorkflowUpdateRPCTimeoutOrCancelledError || (isGrpcServiceError(error) && [1, 4, 14].includes(error.code))) {
      return new AftercallError('UPSTREAM_TIMEOUT', `No worker took "${name}" within ${UPDATE_PATIENCE_MS / 1_000} s.`, {
        advice: 'Check that a worker serves the workflows queue, then send the same request again with the same Idempotency-Key.',
        cause: error,
      });
    }
    return error;
  };

  const start = async ({ call, source, from, autoProcess, mode, pace: callPace }: StartCall): Promise<boolean> => {
    const input: ProcessCallInput = { call, source, from, autoProcess, pace: callPace };
    try {
      await client.workflow.start('processCall', {
        workflowId: callWorkflowId(call),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: REUSE[mode],
        args: [input],
        typedSearchAttributes: [
          { key: SEARCH_ATTRIBUTES.project, value: call.project },
          { key: SEARCH_ATTRIBUTES.source, value: source },
          { key: SEARCH_ATTRIBUTES.state, value: autoProcess ? 'processing' : 'awaiting_approval' },
        ],
        staticSummary: `${source} call, version ${call.version}${from === 'recording' ? '' : ` from ${from}`}`,
      });
      return true;
    } catch (error) {
      if (error instanceof WorkflowExecutionAlreadyStartedError) return false;
      throw error;
    }
  };

  const workflowStatus = async (key: CallKey): Promise<string | undefined> => {
    try {
      return (await handleOf(key).describe()).status.name;
    } catch (error) {
      if (error instanceof WorkflowNotFoundError) return undefined;
      throw error;
    }
  };

  const closesWithin = async (patienceMs: number, key: CallKey): Promise<boolean> => {
    for (const untilMs = Date.now() + patienceMs; ; await sleep(100)) {
      if ((await workflowStatus(key)) !== 'RUNNING') return true;
      if (Date.now() >= untilMs) return false;
    }
  };

  return {
    /** Starts a call's workflow. @returns false when there is one already: information, not an error */
    start,

    approve: (key: CallKey, input: Approve, requestId: string) => update(key, 'approve', input, requestId),
    reject: (key: CallKey, input: Reject, requestId: string) => update(key, 'reject', input, requestId),
    retry: (key: CallKey, input: Retry, requestId: string) => update(key, 'retry', input, requestId),
    skipStep: (key: CallKey, input: SkipStep, requestId: string) => update(key, 'skipStep', input, requestId),
    giveUp: (key: CallKey, input: GiveUp, requestId: string) => update(key, 'giveUp', input, requestId),

    /**
     * Runs a call again as a new version, from a step on, with the artefacts before it. It has to have ended,
     * or to have lost its workflow: somebody terminated it in Temporal.
     *
     * @returns `started: false` with the running version when the call has not ended
     */
    async reprocess(key: CallKey, { from, preset }: { by: string; from: Step; /** Instead of the one that the call's category is bound to. */ preset?: PresetRef | undefined }): Promise<{ started: boolean; version: number }> {
      const before = await calls.get(key);
      if (!(await closesWithin(hasEnded(before.state) ? CLOSING_PATIENCE_MS : 0, key))) {
        if (!hasEnded(before.state)) return { started: false, version: before.version };
        throw new AftercallError('UPSTREAM_TIMEOUT', `The last run of call ${key.callId} has done its work, but its workflow has not closed within ${CLOSING_PATIENCE_MS / 1_000} s.`, {
          advice: 'Check that a worker serves the workflows queue, then try again.',
          outcome: 'refused',
        });
      }
      const call = await calls.get(key);
      // A version that nobody has begun is started, not replaced.
      const unbegun = call.state === 'staged';
      if (!unbegun && !hasEnded(call.state)) await calls.setState(call, { state: 'failed', reason: 'Its workflow was ended in Temporal.' });
      if (call.version > 0) {
        const { recording, transcript } = await calls.getVersion({ ...key, version: call.version });
        // What came in writing needs no recording.
        const missing = groupOf(from) > 0 && !recording && !cameInWriting(transcript?.provider) ? 'recording' : groupOf(from) > 1 && !transcript ? 'transcript' : undefined;
        if (missing && call.result === 'processed') {
          throw new AftercallError('CONFLICT', `This call cannot start from ${from}: it has no ${missing} to go on with.`, {
            advice: `Start from ${missing === 'recording' ? 'recording' : 'transcription'}.`,
            outcome: 'refused',
          });
        }
        if (missing) from = missing === 'recording' ? 'recording' : 'transcription';
      }
      const next: CallVersion = { ...key, version: unbegun ? Math.max(call.version, 1) : call.version + 1 };
      await calls.openVersion(next, { from, state: 'staged', preset });
      // A version that nobody has begun was opened without.
      if (preset && unbegun) await calls.keepPreset(next, preset);
      const started = await start({ call: next, source: call.source, from, autoProcess: true, mode: 'again', pace });
      return { started, version: next.version };
    },

    /** Publishes a call's review, or has the publication that runs do so once more. Never lost: signalled and started at once. */
    async publish({ project, callId }: CallKey): Promise<void> {
      const input: PublishCallInput = { call: { project, callId }, quietMs: PUBLICATION_QUIET_MS, pace };
      await client.workflow.signalWithStart('publishCall', {
        workflowId: publicationWorkflowId({ project, callId }),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        args: [input],
        signal: PUBLISH_SIGNAL,
        signalArgs: [],
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
        staticSummary: 'publication of a review',
      });
    },

    /** The source says that a call's recording is there now. */
    async recordingAvailable(key: CallKey): Promise<'delivered' | 'restarted' | 'not_waiting'> {
      const call = await calls.find(key);
      if (!call) return 'not_waiting';
      if (call.result === 'no_recording') {
        await this.reprocess(key, { by: 'webhook', from: 'recording' });
        return 'restarted';
      }
      if (hasEnded(call.state)) return 'not_waiting';
      try {
        await handleOf(key).signal(RECORDING_AVAILABLE_SIGNAL);
        return 'delivered';
      } catch (error) {
        if (error instanceof WorkflowNotFoundError) return 'not_waiting';
        throw error;
      }
    },

    /** How the call's workflow stands by Temporal's word, or undefined when Temporal knows none. Costs no Action. */
    workflowStatus,

    /** Waits for the end of a call's workflow. For tests and scripts. */
    async result<T>(key: CallKey): Promise<T> {
      try {
        return (await handleOf(key).result()) as T;
      } catch (error) {
        if (error instanceof WorkflowFailedError) throw error.cause ?? error;
        throw error;
      }
    },

  };
};
