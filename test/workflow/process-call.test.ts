import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { type WorkflowHandle, WorkflowUpdateFailedError } from '@temporalio/client';
import type { TestWorkflowEnvironment } from '@temporalio/testing';
import { queueName } from '../../src/domain/activities.ts';
import type { CallOutcome } from '../../src/domain/call.ts';
import type { CallStatus, ProcessCallInput } from '../../src/domain/messages.ts';
import { bundleWorkflows } from '../../src/workers.ts';
import { startDevServer } from '../support/dev-server.ts';
import { finalFailure, scriptedSteps } from '../support/scripted-steps.ts';
import { withScriptedWorkers } from '../support/scripted-worker.ts';

let server: TestWorkflowEnvironment;
let workflowBundle: Awaited<ReturnType<typeof bundleWorkflows>>;
let calls = 0;

beforeAll(async () => {
  [server, workflowBundle] = await Promise.all([startDevServer(), bundleWorkflows()]);
});
afterAll(() => server?.teardown());

const pace = { attempts: 2, firstRetryMs: 10, maxRetryMs: 10, heartbeatTimeoutMs: 30_000 };

/** Runs a call against scripted steps while `act` plays the people. */
const withCall = async (
  steps: ReturnType<typeof scriptedSteps>,
  act: (handle: WorkflowHandle) => Promise<void> = async () => {},
  input: Partial<ProcessCallInput> = {},
): Promise<CallOutcome> => {
  const callId = `call-${++calls}`;
  return withScriptedWorkers(server, workflowBundle, steps, async () => {
    const handle = await server.client.workflow.start('processCall', {
      workflowId: `call/default/${callId}`,
      taskQueue: queueName('workflows'),
      args: [{ call: { project: 'default', callId, version: 1 }, source: 'webex', from: 'recording', autoProcess: true, pace, ...input }],
    });
    await act(handle);
    return (await handle.result()) as CallOutcome;
  });
};

const statusOf = (handle: WorkflowHandle): Promise<CallStatus> => handle.query<CallStatus>('status');

const until = async (handle: WorkflowHandle, phase: CallStatus['phase']): Promise<CallStatus> => {
  for (;;) {
    const status = await statusOf(handle);
    if (status.phase === phase) return status;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
};

const update = (handle: WorkflowHandle, name: string, input: object): Promise<void> => handle.executeUpdate(name, { args: [{ by: 'ann', ...input }] });

describe('processCall', () => {
  it('goes down the whole path once', async () => {
    const steps = scriptedSteps();
    await expect(withCall(steps)).resolves.toEqual({ state: 'completed', result: 'processed', skippedSteps: [] });
    expect(steps.taken().toSorted()).toEqual(['actOnCrm', 'analyse', 'deliver', 'fetchRecording', 'transcribe', 'writeMetadata']);
  });

  it.each(['abandoned', 'no_recording'] as const)('ends an unrecorded call as %s with a record and no paid step', async (result) => {
    const steps = scriptedSteps();
    steps.script('fetchRecording', { state: 'none', result });
    await expect(withCall(steps)).resolves.toMatchObject({ state: 'completed', result });
    expect(steps.taken()).toEqual(['fetchRecording', 'writeMetadata', 'deliver']);
  });

  it('does not grade a call that is too short, nor act on it', async () => {
    const steps = scriptedSteps();
    steps.script('transcribe', { state: 'transcribed', turns: 2, gradable: false });
    await expect(withCall(steps)).resolves.toMatchObject({ state: 'completed', result: 'too_short' });
    expect(steps.taken()).toEqual(['fetchRecording', 'transcribe', 'writeMetadata', 'deliver']);
  });

  it('tries a step again and goes on', async () => {
    const steps = scriptedSteps();
    steps.script('analyse', new Error('busy'));
    await expect(withCall(steps)).resolves.toMatchObject({ state: 'completed' });
    expect(steps.taken().filter((step) => step === 'analyse')).toHaveLength(2);
  });

  it('parks a step that used up its tries, says why, and goes on after a retry without repeating what was done', async () => {
    const steps = scriptedSteps();
    steps.script('actOnCrm', finalFailure('CRM_REJECTED', 'Salesforce refused the lead'));
    const outcome = await withCall(steps, async (handle) => {
      const { attention, done } = await until(handle, 'needs_attention');
      expect(attention).toEqual([expect.objectContaining({ step: 'crm', code: 'CRM_REJECTED', message: 'Salesforce refused the lead', advice: 'mend it' })]);
      expect(done).toEqual(['recording', 'transcription', 'metadata', 'analysis']);
      await update(handle, 'retry', {});
    });
    expect(outcome).toMatchObject({ state: 'completed', result: 'processed' });
    expect(steps.taken().filter((step) => step === 'transcribe')).toHaveLength(1);
    expect(steps.taken().filter((step) => step === 'actOnCrm')).toHaveLength(2);
    expect(steps.inputsOf<{ state: string; attention?: { step: string } }>('recordState')[0]).toMatchObject({ state: 'needs_attention', attention: { step: 'crm' } });
  });

  it('retries from an earlier step and drops what came after', async () => {
    const steps = scriptedSteps();
    steps.script('actOnCrm', finalFailure('CRM_REJECTED'));
    await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'retry', { from: 'transcription' });
    });
    expect(steps.taken().filter((step) => step === 'fetchRecording')).toHaveLength(1);
    expect(steps.taken().filter((step) => step === 'transcribe')).toHaveLength(2);
    expect(steps.taken().filter((step) => step === 'writeMetadata')).toHaveLength(2);
    expect(steps.inputsOf<{ drop?: string[] }>('recordState').at(-1)?.drop?.toSorted()).toEqual(['analysis', 'metadata', 'transcription']);
  });

  it('runs only the failed one of two steps again', async () => {
    const steps = scriptedSteps();
    steps.script('writeMetadata', finalFailure('STORAGE_REJECTED'));
    await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'retry', {});
    });
    expect(steps.taken().filter((step) => step === 'analyse')).toHaveLength(1);
    expect(steps.taken().filter((step) => step === 'writeMetadata')).toHaveLength(2);
  });

  it('skips a failed step and says so in its outcome', async () => {
    const steps = scriptedSteps();
    steps.script('actOnCrm', finalFailure('CRM_REJECTED'));
    const outcome = await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await expect(update(handle, 'skipStep', { step: 'analysis' })).rejects.toThrow(WorkflowUpdateFailedError);
      await update(handle, 'skipStep', { step: 'crm' });
    });
    expect(outcome).toEqual({ state: 'completed', result: 'processed', skippedSteps: ['crm'] });
  });

  it('leaves grading and the CRM out when the transcription is skipped', async () => {
    const steps = scriptedSteps();
    steps.script('transcribe', finalFailure('AUDIO_UNREADABLE'));
    await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'skipStep', { step: 'transcription' });
    });
    expect(steps.taken()).not.toContain('analyse');
    expect(steps.taken()).not.toContain('actOnCrm');
    expect(steps.taken()).toContain('deliver');
  });

  it('is given up as a completed workflow, so no poll starts it again', async () => {
    const steps = scriptedSteps();
    steps.script('transcribe', finalFailure('QUOTA_EXHAUSTED'));
    const outcome = await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'giveUp', { reason: 'not worth it' });
    });
    expect(outcome).toEqual({ state: 'given_up', reason: 'not worth it (ann)', skippedSteps: [] });
    expect(steps.taken()).not.toContain('deliver');
  });

  it('waits for approval before anything is fetched', async () => {
    const steps = scriptedSteps();
    await withCall(
      steps,
      async (handle) => {
        await until(handle, 'awaiting_approval');
        expect(steps.taken()).toEqual([]);
        await expect(update(handle, 'retry', {})).rejects.toThrow();
        await update(handle, 'approve', {});
      },
      { autoProcess: false },
    );
    expect(steps.taken()).toContain('deliver');
  });

  it('ends as rejected with the reason', async () => {
    const steps = scriptedSteps();
    const outcome = await withCall(
      steps,
      async (handle) => {
        await until(handle, 'awaiting_approval');
        await update(handle, 'reject', { reason: 'private call' });
      },
      { autoProcess: false },
    );
    expect(outcome).toEqual({ state: 'rejected', reason: 'private call', skippedSteps: [] });
    expect(steps.taken()).toEqual(['recordState']);
  });

  it('takes one of two rulings that come at once, and tells the other', async () => {
    const steps = scriptedSteps();
    await withCall(
      steps,
      async (handle) => {
        await until(handle, 'awaiting_approval');
        const rulings = await Promise.allSettled([update(handle, 'approve', {}), update(handle, 'reject', { reason: 'no' })]);
        expect(rulings.filter((ruling) => ruling.status === 'fulfilled')).toHaveLength(1);
      },
      { autoProcess: false },
    );
  });

  it('looks for a late recording when its time has come, and at once when the source says so', async () => {
    const steps = scriptedSteps();
    steps.script('fetchRecording', { state: 'not_ready', lookAgainInMs: 20 }, { state: 'not_ready', lookAgainInMs: 3_600_000 });
    await withCall(steps, async (handle) => {
      while (steps.taken().length < 2) await new Promise((resolve) => setTimeout(resolve, 25));
      await until(handle, 'waiting_for_recording');
      await handle.signal('recordingAvailable');
    });
    expect(steps.inputsOf<{ looks: number }>('fetchRecording').map(({ looks }) => looks)).toEqual([0, 1, 2]);
  });

  it('asks a person before a risky CRM action, and acts only after the approval', async () => {
    const steps = scriptedSteps();
    steps.script('actOnCrm', { state: 'needs_approval', scenario: 'lead_to_opportunity', action: 'convert_lead', reasons: ['Lead ID given.'] });
    await withCall(steps, async (handle) => {
      await until(handle, 'awaiting_approval');
      await update(handle, 'approve', {});
    });
    expect(steps.inputsOf<{ approvedBy?: string }>('actOnCrm').map(({ approvedBy }) => approvedBy)).toEqual([undefined, 'ann']);
  });

  it('goes on without the CRM action that was rejected', async () => {
    const steps = scriptedSteps();
    steps.script('actOnCrm', { state: 'needs_approval', scenario: 'lead_to_opportunity', action: 'convert_lead', reasons: [] });
    const outcome = await withCall(steps, async (handle) => {
      await until(handle, 'awaiting_approval');
      await update(handle, 'reject', { reason: 'wrong customer' });
    });
    expect(outcome).toEqual({ state: 'completed', result: 'processed', skippedSteps: ['crm'] });
    expect(steps.taken().filter((step) => step === 'actOnCrm')).toHaveLength(1);
  });

  it('records a cancellation instead of parking', async () => {
    const steps = scriptedSteps();
    steps.script('fetchRecording', { state: 'not_ready', lookAgainInMs: 3_600_000 });
    await expect(
      withCall(steps, async (handle) => {
        await until(handle, 'waiting_for_recording');
        await handle.cancel();
      }),
    ).rejects.toThrow();
    expect(steps.inputsOf<{ state: string }>('recordState')).toEqual([expect.objectContaining({ state: 'cancelled' })]);
  });

  it('starts a re-run at the step it was asked for', async () => {
    const steps = scriptedSteps();
    await withCall(steps, undefined, { from: 'analysis' });
    expect(steps.taken().toSorted()).toEqual(['actOnCrm', 'analyse', 'deliver', 'writeMetadata']);
  });

  it('leaves out what there is nothing to work on for, whatever later step is retried from', async () => {
    const steps = scriptedSteps();
    steps.script('fetchRecording', { state: 'none', result: 'abandoned' });
    steps.script('writeMetadata', finalFailure('STORAGE_REJECTED'));
    const outcome = await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'retry', { from: 'metadata' });
    });
    expect(outcome).toMatchObject({ state: 'completed', result: 'abandoned' });
    expect(steps.taken().filter((step) => step !== 'recordState')).toEqual(['fetchRecording', 'writeMetadata', 'writeMetadata', 'deliver']);
  });

  it('takes back what it left out when the step is retried that found out why', async () => {
    const steps = scriptedSteps();
    steps.script('fetchRecording', { state: 'none', result: 'no_recording' });
    steps.script('writeMetadata', finalFailure('STORAGE_REJECTED'));
    const outcome = await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      await update(handle, 'retry', { from: 'recording' });
    });
    expect(outcome).toMatchObject({ state: 'completed', result: 'processed' });
    expect(steps.taken()).toEqual(expect.arrayContaining(['transcribe', 'analyse', 'actOnCrm']));
  });

  it('shows the other failed step once one of two is skipped, and that it runs once it is released', async () => {
    const steps = scriptedSteps();
    steps.script('writeMetadata', finalFailure('STORAGE_REJECTED'));
    steps.script('analyse', finalFailure('MODEL_REFUSED'));
    let skipped: string | undefined;
    const shown = () => steps.inputsOf<{ state: string; step?: string }>('recordState').map(({ state, step }) => [state, step]);
    await withCall(steps, async (handle) => {
      await until(handle, 'needs_attention');
      // The workflow knows a moment before the record does.
      while (shown().length < 1) await new Promise((resolve) => setTimeout(resolve, 25));
      [, skipped] = shown()[0]!;
      await update(handle, 'skipStep', { step: skipped });
      while (shown().length < 2) await new Promise((resolve) => setTimeout(resolve, 25));
      await update(handle, 'retry', {});
    });
    expect(shown().slice(1)).toEqual([['needs_attention', skipped === 'metadata' ? 'analysis' : 'metadata'], ['processing', undefined]]);
  });

  it('shows that an approved call runs, before a step has a worker', async () => {
    const steps = scriptedSteps();
    await withCall(
      steps,
      async (handle) => {
        await until(handle, 'awaiting_approval');
        await update(handle, 'approve', {});
      },
      { autoProcess: false },
    );
    expect(steps.taken()[0]).toBe('recordState');
    expect(steps.inputsOf<{ state: string }>('recordState')).toEqual([expect.objectContaining({ state: 'processing' })]);
  });

  it('takes one of two acts that come at once for a call that needs attention, and refuses the other', async () => {
    const callId = `call-${++calls}`;
    const steps = scriptedSteps();
    steps.script('transcribe', finalFailure('QUOTA_EXHAUSTED'));
    const handle = await withScriptedWorkers(server, workflowBundle, steps, async () => {
      const started = await server.client.workflow.start('processCall', {
        workflowId: `call/default/${callId}`,
        taskQueue: queueName('workflows'),
        args: [{ call: { project: 'default', callId, version: 1 }, source: 'webex', from: 'recording', autoProcess: true, pace }],
      });
      await until(started, 'needs_attention');
      return started;
    });
    // Both wait for a worker, and come in one workflow task.
    const pressed = Promise.allSettled([update(handle, 'giveUp', { reason: 'no' }), update(handle, 'retry', {})]);
    await new Promise((resolve) => setTimeout(resolve, 500));
    await withScriptedWorkers(server, workflowBundle, steps, async () => {
      expect((await pressed).filter(({ status }) => status === 'fulfilled')).toHaveLength(1);
      await handle.result();
    });
  });
});
