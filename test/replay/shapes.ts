import type { WorkflowHandle } from '@temporalio/client';
import type { IngestWindowInput, ProcessCallInput } from '../../src/domain/messages.ts';
import { finalFailure, scriptedSteps } from '../support/scripted-steps.ts';

/**
 * The shapes that running workflows can have. `npm run record-histories` plays each against a real
 * server and commits its history; the replay test runs today's workflow code over all of them.
 */
export interface Shape {
  name: string;
  workflow: 'processCall' | 'ingestWindow';
  input: Partial<ProcessCallInput> | Partial<IngestWindowInput>;
  steps: ReturnType<typeof scriptedSteps>;
  act?: (handle: WorkflowHandle) => Promise<void>;
}

const by = { by: 'ann' };
const ask = (handle: WorkflowHandle, name: string, input: object = {}): Promise<unknown> => handle.executeUpdate(name, { args: [{ ...by, ...input }] });

const untilPhase = async (handle: WorkflowHandle, phase: string): Promise<void> => {
  while ((await handle.query<{ phase: string }>('status')).phase !== phase) await new Promise((resolve) => setTimeout(resolve, 50));
};

const stepsThat = (...script: Parameters<ReturnType<typeof scriptedSteps>['script']>[]): ReturnType<typeof scriptedSteps> => {
  const steps = scriptedSteps();
  for (const [name, ...answers] of script) steps.script(name, ...answers);
  return steps;
};

export const shapes = (): Shape[] => [
  { name: 'call-processed', workflow: 'processCall', input: {}, steps: scriptedSteps() },
  { name: 'call-abandoned', workflow: 'processCall', input: {}, steps: stepsThat(['fetchRecording', { state: 'none', result: 'abandoned' }]) },
  { name: 'call-too-short', workflow: 'processCall', input: {}, steps: stepsThat(['transcribe', { state: 'transcribed', turns: 1, gradable: false }]) },
  {
    name: 'call-late-recording',
    workflow: 'processCall',
    input: {},
    steps: stepsThat(['fetchRecording', { state: 'not_ready', lookAgainInMs: 50 }, { state: 'not_ready', lookAgainInMs: 600_000 }]),
    act: async (handle) => {
      await untilPhase(handle, 'waiting_for_recording');
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await handle.signal('recordingAvailable');
    },
  },
  {
    name: 'call-parked-retried-from-earlier-then-skipped',
    workflow: 'processCall',
    input: {},
    steps: stepsThat(['analyse', finalFailure('MODEL_REFUSED'), finalFailure('MODEL_REFUSED')]),
    act: async (handle) => {
      await untilPhase(handle, 'needs_attention');
      await ask(handle, 'retry', { from: 'transcription' });
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await untilPhase(handle, 'needs_attention');
      await ask(handle, 'skipStep', { step: 'analysis' });
    },
  },
  {
    name: 'call-given-up',
    workflow: 'processCall',
    input: {},
    steps: stepsThat(['transcribe', finalFailure('QUOTA_EXHAUSTED')]),
    act: async (handle) => {
      await untilPhase(handle, 'needs_attention');
      await ask(handle, 'giveUp', { reason: 'no budget' });
    },
  },
  {
    name: 'call-approved-twice',
    workflow: 'processCall',
    input: { autoProcess: false },
    steps: stepsThat(['actOnCrm', { state: 'needs_approval', scenario: 'lead_to_opportunity', action: 'convert_lead', reasons: [] }]),
    act: async (handle) => {
      await untilPhase(handle, 'awaiting_approval');
      await ask(handle, 'approve');
      await new Promise((resolve) => setTimeout(resolve, 2_000));
      await untilPhase(handle, 'awaiting_approval');
      await ask(handle, 'approve');
    },
  },
  {
    name: 'call-rejected',
    workflow: 'processCall',
    input: { autoProcess: false },
    steps: scriptedSteps(),
    act: async (handle) => {
      await untilPhase(handle, 'awaiting_approval');
      await ask(handle, 'reject', { reason: 'private' });
    },
  },
  { name: 'call-reprocessed-from-analysis', workflow: 'processCall', input: { from: 'analysis' }, steps: scriptedSteps() },
  {
    name: 'window-three-pages',
    workflow: 'ingestWindow',
    input: { window: { fromMs: 0, toMs: 1 } },
    steps: stepsThat(
      ['ingestPage', { found: 2, started: 2, next: { fromMs: 1, seen: ['a'] } }, { found: 2, started: 1, next: { fromMs: 2, seen: ['b'] } }, { found: 1, started: 0 }],
      ['awaitSettled', 3, 0],
    ),
  },
];
