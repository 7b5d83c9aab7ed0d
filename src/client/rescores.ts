import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy, WorkflowNotFoundError } from '@temporalio/client';
import type { Rescores } from '../db/rescores.ts';
import { queueName } from '../domain/activities.ts';
import { AftercallError } from '../domain/errors.ts';
import { rescoreWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import { RESCORE_SIGNALS, rescoreHasEnded, type RescoreInput } from '../domain/rescore.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

export type RescoresClient = ReturnType<typeof createRescoresClient>;

export const createRescoresClient = ({ client, rescores, pace }: { client: Client; rescores: Rescores; pace: Pace }) => {
  const options = (project: string, rescoreId: string) => ({
    workflowId: rescoreWorkflowId(project, rescoreId),
    taskQueue: queueName('workflows'),
    args: [{ project, rescoreId, pace } satisfies RescoreInput] as [RescoreInput],
    typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
    staticSummary: 'shadow run of a preset',
  });

  const underWay = async (project: string, rescoreId: string): Promise<void> => {
    const { state } = await rescores.get(project, rescoreId);
    if (rescoreHasEnded(state) && state !== 'failed') throw new AftercallError('CONFLICT', `The shadow run is ${state} already.`, { advice: 'Start another.', outcome: 'refused' });
  };

  const signal = async (project: string, rescoreId: string, name: 'pause' | 'cancel'): Promise<void> => {
    await underWay(project, rescoreId);
    try {
      await client.workflow.getHandle(rescoreWorkflowId(project, rescoreId)).signal(RESCORE_SIGNALS[name]);
    } catch (error) {
      if (!(error instanceof WorkflowNotFoundError)) throw error;
      // Nobody works on it any more: what was wished for is so already.
      await rescores.setState(project, rescoreId, name === 'pause' ? 'paused' : 'cancelled');
    }
  };

  return {
    /** Starts a run that was written down. Starting it again changes nothing. */
    async start(project: string, rescoreId: string): Promise<void> {
      try {
        await client.workflow.start('rescore', { ...options(project, rescoreId), workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE });
      } catch (error) {
        if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
      }
    },

    pause: (project: string, rescoreId: string) => signal(project, rescoreId, 'pause'),
    cancel: (project: string, rescoreId: string) => signal(project, rescoreId, 'cancel'),

    /** Goes on with what is left, also where the workflow was lost. */
    async resume(project: string, rescoreId: string): Promise<void> {
      await underWay(project, rescoreId);
      await client.workflow.signalWithStart('rescore', { ...options(project, rescoreId), signal: RESCORE_SIGNALS.resume, workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE });
    },
  };
};
