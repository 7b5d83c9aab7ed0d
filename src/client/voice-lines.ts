import { type Client, WorkflowIdConflictPolicy, WorkflowIdReusePolicy } from '@temporalio/client';
import type { VoiceLines } from '../db/voice-lines.ts';
import { queueName } from '../domain/activities.ts';
import { voiceCallWorkflowId, voiceLinesWorkflowId } from '../domain/ids.ts';
import { type OutboundCallInput, type Pace, VOICE_OBSERVED_SIGNAL, type VoicePace } from '../domain/messages.ts';
import { VOICE_LINES_SIGNAL, type VoiceLinesInput } from '../domain/voice-lines.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

/** A server that does not answer is given up for now: the relay asks again. */
const WAKE_PATIENCE_MS = 10_000;

export type VoiceLinesClient = ReturnType<typeof createVoiceLinesClient>;

/** Starts the work on queues of voice calls, and the calls that have been given a line. */
export const createVoiceLinesClient = ({ client, voiceLines, pace, voicePace }: { client: Client; voiceLines: Pick<VoiceLines, 'next'>; pace: Pace; voicePace: VoicePace }) => {
  /** Has a project's queue looked at now. */
  const wake = async (project: string): Promise<void> => {
    const input: VoiceLinesInput = { project, pace };
    await client.withDeadline(Date.now() + WAKE_PATIENCE_MS, () =>
      client.workflow.signalWithStart('voiceLines', {
        workflowId: voiceLinesWorkflowId(project),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        args: [input],
        signal: VOICE_LINES_SIGNAL,
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
        staticSummary: 'queue of voice calls',
      }),
    );
  };

  return {
    wake,

    /** A line has become free. Where nobody waits for one, nothing is started. */
    async wakeIfWaiting(project: string): Promise<void> {
      const { dueAt, undialled } = await voiceLines.next(project);
      if (dueAt || undialled) await wake(project);
    },

    /**
     * Starts the workflow of a call that was given a line. One that runs already is told, and looks for itself; what it
     * may do depends on the call's row, so that starting once more does no harm.
     */
    async startCall({ project, voiceCallId }: { project: string; voiceCallId: string }): Promise<void> {
      const input: OutboundCallInput = { project, voiceCallId, pace, voicePace };
      await client.workflow.signalWithStart('outboundCall', {
        workflowId: voiceCallWorkflowId({ project, voiceCallId }),
        taskQueue: queueName('workflows'),
        // One that the provider had no line for is dialled again under the same ID.
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        workflowIdConflictPolicy: WorkflowIdConflictPolicy.USE_EXISTING,
        args: [input],
        signal: VOICE_OBSERVED_SIGNAL,
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
        staticSummary: 'outbound call',
      });
    },
  };
};
