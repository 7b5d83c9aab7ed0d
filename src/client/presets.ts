import { type Client, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy } from '@temporalio/client';
import type { PresetTests } from '../db/preset-tests.ts';
import { queueName } from '../domain/activities.ts';
import type { CallVersion } from '../domain/call.ts';
import { presetTestWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import type { PresetRef } from '../domain/preset.ts';
import type { PresetTestInput } from '../domain/preset-test.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

export type PresetsClient = ReturnType<typeof createPresetsClient>;

export const createPresetsClient = ({ client, presetTests, pace }: { client: Client; presetTests: PresetTests; pace: Pace }) => ({
  /** Starts a test of a preset on one call. Starting it again under the same ID changes nothing. */
  async test(test: { call: CallVersion; id: string; preset: PresetRef; transcribe: boolean; by: string }): Promise<void> {
    const { project } = test.call;
    await presetTests.open(test);
    try {
      await client.workflow.start('presetTest', {
        workflowId: presetTestWorkflowId(project, test.id),
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.REJECT_DUPLICATE,
        args: [{ project, testId: test.id, pace } satisfies PresetTestInput],
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
        staticSummary: 'test of a preset',
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  },
});
