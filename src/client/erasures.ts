import { createHmac } from 'node:crypto';
import { type Client, type Connection, WorkflowExecutionAlreadyStartedError, WorkflowIdReusePolicy, WorkflowNotFoundError } from '@temporalio/client';
import type { KeyRing } from '../crypto/key-ring.ts';
import type { Erasures } from '../db/erasures.ts';
import type { Projects } from '../db/projects.ts';
import { inProject } from '../db/scope.ts';
import { queueName } from '../domain/activities.ts';
import type { Certificate, EraseCallsInput } from '../domain/erasure.ts';
import { erasureWorkflowId, retentionWorkflowId } from '../domain/ids.ts';
import type { Pace } from '../domain/messages.ts';
import { SEARCH_ATTRIBUTES } from './temporal.ts';

const GRPC_NOT_FOUND = 5;

export type ErasuresClient = ReturnType<typeof createErasuresClient>;

export const createErasuresClient = ({ client, erasures, projects, keyRing, pace, warehouse }: { client: Client; erasures: Erasures; projects: Projects; keyRing: KeyRing; pace: Pace; warehouse: NonNullable<EraseCallsInput['warehouse']> }) => {
  const start = async (workflow: 'eraseCalls' | 'applyRetention', workflowId: string, project: string, input: object): Promise<void> => {
    try {
      await client.workflow.start(workflow, {
        workflowId,
        taskQueue: queueName('workflows'),
        workflowIdReusePolicy: WorkflowIdReusePolicy.ALLOW_DUPLICATE,
        args: [{ project, pace, ...input }],
        typedSearchAttributes: [{ key: SEARCH_ATTRIBUTES.project, value: project }],
      });
    } catch (error) {
      if (!(error instanceof WorkflowExecutionAlreadyStartedError)) throw error;
    }
  };
  const begin = (project: string, erasureId: string): Promise<void> => start('eraseCalls', erasureWorkflowId(project, erasureId), project, { erasureId, warehouse });

  return {
    /** What stands for a call or a number where neither may stand. */
    subjectOf: (project: string, text: string): Certificate['subject'] => ({
      key: keyRing.activeId,
      hmacSha256: createHmac('sha256', keyRing.derive(keyRing.activeId, 'erasures')).update(JSON.stringify([project, text])).digest('hex'),
    }),

    /** Writes an erasure down and starts it. A process that ends between the two leaves it to the sweep. */
    async erase(erasure: Parameters<Erasures['open']>[0]): Promise<void> {
      await erasures.open(erasure);
      await begin(erasure.project, erasure.id);
    },

    /** Takes up what was left lying, and starts what projects keep no longer on its way. */
    async sweep(): Promise<void> {
      for (const { project, id } of await erasures.underWay()) await begin(project, id);
      for (const { id: project } of await projects.list()) {
        const { retainAudioDays, retainTranscriptsDays, retainRecordsDays } = await inProject(project, () => projects.settings(project));
        if (retainAudioDays + retainTranscriptsDays + retainRecordsDays > 0) await start('applyRetention', retentionWorkflowId(project), project, {});
      }
    },

    async anyRuns(workflowIds: readonly string[]): Promise<boolean> {
      for (const workflowId of workflowIds) {
        const status = await client.workflow.getHandle(workflowId).describe().then(({ status: { name } }) => name, (error: unknown) => {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
        });
        if (status === 'RUNNING') return true;
      }
      return false;
    },

    /** Ends what runs under these IDs. */
    async terminate(workflowIds: readonly string[]): Promise<void> {
      for (const workflowId of workflowIds) {
        try {
          await client.workflow.getHandle(workflowId).terminate('erased');
        } catch (error) {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
        }
      }
    },

    /** Deletes every run under these IDs with its history. @returns how many there were */
    async deleteHistories(workflowIds: readonly string[]): Promise<number> {
      const { namespace } = client.options;
      const { workflowService } = client.connection as Connection;
      let deleted = 0;
      for (const workflowId of workflowIds) {
        const runs = new Set<string>();
        // The list is a moment behind; the newest run is asked for by itself.
        for await (const execution of client.workflow.list({ query: `WorkflowId = '${workflowId.replaceAll("'", "''")}'` })) runs.add(execution.runId);
        await client.workflow.getHandle(workflowId).describe().then(({ runId }) => runs.add(runId), (error: unknown) => {
          if (!(error instanceof WorkflowNotFoundError)) throw error;
        });
        for (const runId of runs) {
          try {
            await workflowService.deleteWorkflowExecution({ namespace, workflowExecution: { workflowId, runId } });
            deleted += 1;
          } catch (error) {
            if ((error as { code?: number }).code !== GRPC_NOT_FOUND) throw error;
          }
        }
      }
      return deleted;
    },
  };
};
