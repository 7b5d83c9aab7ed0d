import type { WorkflowHandle } from '@temporalio/client';
import { bulkWorkflowId, callWorkflowId, erasureWorkflowId, ingestWorkflowId, messageWorkflowId, presetTestWorkflowId, publicationWorkflowId, rescoreWorkflowId, retentionWorkflowId, voiceLinesWorkflowId } from '../../src/domain/ids.ts';
import type { Pace } from '../../src/domain/messages.ts';
import { RESCORE_SIGNALS } from '../../src/domain/rescore.ts';
import { VOICE_LINES_SIGNAL } from '../../src/domain/voice-lines.ts';
import type * as workflows from '../../src/workflows/index.ts';
import { finalFailure, scriptedSteps } from '../support/scripted-steps.ts';

/**
 * The shapes that running workflows can have. `npm run record-histories` plays each against a real
 * server and commits its history; the replay test runs today's workflow code over all of them.
 */
export interface Shape {
  name: string;
  workflow: Workflow;
  /** What differs from the standard input of its workflow. */
  input: object;
  steps: ReturnType<typeof scriptedSteps>;
  act?: (handle: WorkflowHandle) => Promise<void>;
  /** Whether the workflow ends in failure. */
  fails?: true;
}

export type Workflow = keyof typeof workflows;
const project = 'default';
/** Late calls are waited for twice the heartbeat. */
export const PACE: Pace = { attempts: 2, firstRetryMs: 10, maxRetryMs: 10, heartbeatTimeoutMs: 1_000 };

/** How each workflow is started, by the name of the shape. */
export const STARTS: Record<Workflow, (name: string) => { workflowId: string; input: object }> = {
  processCall: (name) => ({ workflowId: callWorkflowId({ project, callId: name }), input: { call: { project, callId: name, version: 1 }, source: 'webex', from: 'recording', autoProcess: true } }),
  ingestWindow: (name) => ({ workflowId: `${ingestWorkflowId(project, 'webex')}/${name}`, input: { project, source: 'webex', minutesBack: 60, settleMs: 60_000 } }),
  publishCall: (name) => ({ workflowId: publicationWorkflowId({ project, callId: name }), input: { call: { project, callId: name }, quietMs: 50 } }),
  deliverMessage: (name) => ({ workflowId: messageWorkflowId({ project, messageId: name, round: 1 }), input: { project, messageId: name } }),
  bulkRuling: (name) => ({ workflowId: bulkWorkflowId(project, name), input: { project, bulkId: name, ruling: 'approve', at: 'staging', by: 'ann', callIds: ['a', 'b'] } }),
  eraseCalls: (name) => ({ workflowId: erasureWorkflowId(project, name), input: { project, erasureId: name } }),
  applyRetention: () => ({ workflowId: retentionWorkflowId(project), input: { project } }),
  presetTest: (name) => ({ workflowId: presetTestWorkflowId(project, name), input: { project, testId: name } }),
  rescore: (name) => ({ workflowId: rescoreWorkflowId(project, name), input: { project, rescoreId: name } }),
  voiceLines: (name) => ({ workflowId: voiceLinesWorkflowId(name), input: { project: name } }),
};

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

const untilStep = async (steps: ReturnType<typeof scriptedSteps>, done: (taken: typeof steps) => boolean): Promise<void> => {
  while (!done(steps)) await new Promise((resolve) => setTimeout(resolve, 50));
};
/** A shape that is acted on when its run is in a state. */
const rescoreActedOn = (name: string, input: object, steps: ReturnType<typeof scriptedSteps>, ...acts: [state: string, signal: string][]): Shape => ({
  name,
  workflow: 'rescore',
  input,
  steps,
  act: async (handle) => {
    for (const [state, signal] of acts) {
      await untilStep(steps, (taken) => taken.inputsOf<{ state: string }>('setRescoreState').some((set) => set.state === state));
      await handle.signal(signal);
    }
  },
});

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
  { name: 'publication-of-two-changes', workflow: 'publishCall', input: {}, steps: stepsThat(['publishCall', { more: true }]) },
  { name: 'publication-refused', workflow: 'publishCall', input: {}, steps: stepsThat(['publishCall', finalFailure('CRM_REJECTED')]) },
  { name: 'message-delivered', workflow: 'deliverMessage', input: {}, steps: scriptedSteps() },
  { name: 'message-abandoned', workflow: 'deliverMessage', input: {}, steps: stepsThat(['carryMessage', finalFailure('UPSTREAM_REJECTED')]) },
  { name: 'bulk-ruled', workflow: 'bulkRuling', input: {}, steps: scriptedSteps() },
  { name: 'bulk-broken-off', workflow: 'bulkRuling', input: {}, steps: stepsThat(['ruleOnCalls', finalFailure('CONFLICT')]), fails: true },
  { name: 'erasure-with-late-calls', workflow: 'eraseCalls', input: {}, steps: stepsThat(['eraseSome', { left: 1, late: [] }, { left: 0, late: [{ callId: 'a', keys: ['call-detail/a/recording.wav'] }] }]) },
  { name: 'retention-two-pages', workflow: 'applyRetention', input: {}, steps: stepsThat(['retainPage', true]) },
  { name: 'preset-tested', workflow: 'presetTest', input: {}, steps: scriptedSteps() },
  { name: 'preset-test-failed', workflow: 'presetTest', input: {}, steps: stepsThat(['runPresetTest', finalFailure('MODEL_REFUSED')]) },
  { name: 'rescore-with-a-failure', workflow: 'rescore', input: {}, steps: stepsThat(['nextRescoreCalls', [1, 2, 3, 4, 5], []], ['rescoreCall', finalFailure('MODEL_REFUSED')]) },
  rescoreActedOn('rescore-over-budget-resumed', {}, stepsThat(['nextRescoreCalls', [1], [1], []], ['rescoreCall', finalFailure('BUDGET_REACHED')]), ['waiting_for_budget', RESCORE_SIGNALS.resume]),
  rescoreActedOn('rescore-paused-cancelled', { paused: true }, scriptedSteps(), ['paused', RESCORE_SIGNALS.cancel]),
  {
    name: 'voice-lines-woken-then-waited-then-empty',
    workflow: 'voiceLines',
    input: {},
    steps: stepsThat(['startDueCalls', { started: 2, lookAgainInMs: 600_000 }, { started: 1, lookAgainInMs: 0 }, { started: 0, lookAgainInMs: 50, heldBack: 'No line.' }]),
    act: async (handle) => {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await handle.signal(VOICE_LINES_SIGNAL);
    },
  },
];
