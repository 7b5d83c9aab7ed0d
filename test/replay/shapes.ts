import type { WorkflowHandle } from '@temporalio/client';
import { bulkWorkflowId, callWorkflowId, completenessScheduleId, erasureWorkflowId, ingestWorkflowId, messageWorkflowId, presetTestWorkflowId, publicationWorkflowId, reconciliationWorkflowId, rescoreWorkflowId, retentionWorkflowId, warehouseCompactWorkflowId, warehouseLoadWorkflowId, voiceCallWorkflowId, voiceLinesWorkflowId } from '../../src/domain/ids.ts';
import { type Pace, VOICE_OBSERVED_SIGNAL, type VoicePace } from '../../src/domain/messages.ts';
import { RESCORE_SIGNALS } from '../../src/domain/rescore.ts';
import { AGAIN_SIGNAL } from '../../src/domain/warehouse.ts';
import { VOICE_LINES_SIGNAL } from '../../src/domain/voice-lines.ts';
import type { VoiceStanding } from '../../src/domain/voice-work.ts';
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

/** Longer than any shape is acted on. */
const SLOW: VoicePace = { secondLookMs: 60_000, firstLookUpMs: 60_000, maxLookUpMs: 60_000, patienceMs: 600_000 };

/** How each workflow is started, by the name of the shape. */
export const STARTS: Record<Workflow, (name: string) => { workflowId: string; input: object }> = {
  processCall: (name) => ({ workflowId: callWorkflowId({ project, callId: name }), input: { call: { project, callId: name, version: 1 }, source: 'webex', from: 'recording', autoProcess: true } }),
  ingestWindow: (name) => ({ workflowId: `${ingestWorkflowId(project, 'webex')}/${name}`, input: { project, source: 'webex', minutesBack: 60, settleMs: 60_000 } }),
  publishCall: (name) => ({ workflowId: publicationWorkflowId({ project, callId: name }), input: { call: { project, callId: name }, quietMs: 50 } }),
  deliverMessage: (name) => ({ workflowId: messageWorkflowId({ project, messageId: name, round: 1 }), input: { project, messageId: name } }),
  bulkRuling: (name) => ({ workflowId: bulkWorkflowId(project, name), input: { project, bulkId: name, ruling: 'approve', at: 'staging', by: 'ann', callIds: ['a', 'b'] } }),
  eraseCalls: (name) => ({ workflowId: erasureWorkflowId(project, name), input: { project, erasureId: name } }),
  applyRetention: () => ({ workflowId: retentionWorkflowId(project), input: { project } }),
  reconcileDay: (name) => ({ workflowId: reconciliationWorkflowId({ project, source: 'webex', day: name }), input: { project, source: 'webex', day: '2026-11-20' } }),
  checkDays: (name) => ({ workflowId: `${completenessScheduleId(project, 'webex')}-${name}`, input: { project, source: 'webex' } }),
  presetTest: (name) => ({ workflowId: presetTestWorkflowId(project, name), input: { project, testId: name } }),
  outboundCall: (name) => ({ workflowId: voiceCallWorkflowId({ project, voiceCallId: name }), input: { project, voiceCallId: name, voicePace: { secondLookMs: 50, firstLookUpMs: 200, maxLookUpMs: 400, patienceMs: 600_000 } } }),
  loadWarehouse: (name) => ({ workflowId: `${warehouseLoadWorkflowId(project, 'files')}/${name}`, input: { project, sinks: ['files', 'snowflake'], graceMs: 50 } }),
  compactWarehouse: (name) => ({ workflowId: `${warehouseCompactWorkflowId(project)}/${name}`, input: { project, graceMs: 50 } }),
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

const standing = (state: VoiceStanding['state'], more: Partial<VoiceStanding> = {}): VoiceStanding => ({ state, found: true, connected: false, handedOver: false, ...more });

/** Asks until the run has come far enough to take it. */
const askOnceReady = async (handle: WorkflowHandle, name: string, input: object): Promise<void> => {
  for (let left = 100; ; left -= 1) {
    try {
      return void (await ask(handle, name, input));
    } catch (error) {
      if (left === 0) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
};

/** What the steps fail at. */
const refused = async (act: () => Promise<unknown>): Promise<void> => {
  await act().then(() => Promise.reject(new Error('It was not refused.')), () => undefined);
};

/** What was asked for is done, and its answer is lost: the run finds out, and dials where its row has been given a line. */
const resolvedWithoutAnAnswer = (): Shape => {
  const dialling = standing('dialling', { found: false });
  const steps = stepsThat(
    ['dialVoiceCall', { kind: 'unknown', standing: dialling, reason: 'no answer' }, { kind: 'taken', standing: standing('dialled') }],
    ['lookUpVoiceCall', dialling, dialling],
    ['resolveVoiceCall', finalFailure('UPSTREAM_TIMEOUT')],
    ['readVoiceCall', standing('queued', { found: false }), standing('not_connected')],
  );
  return {
    name: 'voice-call-resolved-without-an-answer',
    workflow: 'outboundCall',
    input: { voicePace: { ...SLOW, secondLookMs: 50 } },
    steps,
    act: async (handle) => {
      await untilStep(steps, ({ taken }) => taken().includes('parkVoiceCall'));
      await refused(() => ask(handle, 'resolve', { as: 'dial_again' }));
      await untilStep(steps, ({ inputsOf }) => inputsOf('dialVoiceCall').length === 2);
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await handle.signal(VOICE_OBSERVED_SIGNAL);
    },
  };
};

const voiceCalls = (): Shape[] => {
  const unknown = { kind: 'unknown', standing: standing('dialling', { found: false }), reason: 'no answer' };
  const dialling = standing('dialling', { found: false });
  return [
    {
      name: 'voice-call-told-of',
      workflow: 'outboundCall',
      input: { voicePace: SLOW },
      steps: stepsThat(['readVoiceCall', standing('ongoing', { connected: true }), standing('ended', { connected: true })]),
      act: async (handle) => {
        for (let times = 0; times < 3; times += 1) {
          await handle.signal(VOICE_OBSERVED_SIGNAL);
          await new Promise((resolve) => setTimeout(resolve, 1_000));
        }
      },
    },
    { name: 'voice-call-looked-up', workflow: 'outboundCall', input: {}, steps: stepsThat(['lookUpVoiceCall', standing('ongoing', { connected: true }), finalFailure('AUTH_FAILED')]) },
    { name: 'voice-call-dialled-later', workflow: 'outboundCall', input: {}, steps: stepsThat(['dialVoiceCall', { kind: 'passed', standing: standing('queued', { found: false }) }]) },
    { name: 'voice-call-found-at-the-second-look', workflow: 'outboundCall', input: {}, steps: stepsThat(['dialVoiceCall', unknown], ['lookUpVoiceCall', dialling, standing('completed')]) },
    {
      name: 'voice-call-parked-and-resolved',
      workflow: 'outboundCall',
      input: { voicePace: { ...SLOW, secondLookMs: 50 } },
      steps: stepsThat(['dialVoiceCall', unknown], ['lookUpVoiceCall', dialling, dialling], ['resolveVoiceCall', finalFailure('CONFLICT')], ['readVoiceCall', standing('needs_attention', { found: false })]),
      act: async (handle) => {
        await askOnceReady(handle, 'resolve', { as: 'dialled', providerCallId: 'call_1' });
      },
    },
    {
      name: 'voice-call-stopped',
      workflow: 'outboundCall',
      input: { voicePace: SLOW },
      steps: stepsThat(['lookUpVoiceCall', standing('completed', { connected: true, handedOver: true })]),
      act: async (handle) => {
        await askOnceReady(handle, 'stop', {});
      },
    },
    {
      name: 'voice-call-stopped-before-it-was-taken',
      workflow: 'outboundCall',
      input: { voicePace: SLOW },
      steps: stepsThat(['dialVoiceCall', unknown], ['lookUpVoiceCall', dialling, standing('queued', { found: false })]),
      act: async (handle) => {
        await askOnceReady(handle, 'stop', {});
        // Between its two looks.
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        await handle.signal(VOICE_OBSERVED_SIGNAL);
      },
    },
    resolvedWithoutAnAnswer(),
    {
      name: 'voice-call-without-an-end',
      workflow: 'outboundCall',
      input: { voicePace: { secondLookMs: 50, firstLookUpMs: 200, maxLookUpMs: 200, patienceMs: 0 } },
      steps: stepsThat(['lookUpVoiceCall', standing('ongoing')], ['parkVoiceCall', standing('needs_attention')], ['resolveVoiceCall', standing('failed')], ['readVoiceCall', standing('failed')]),
      act: async (handle) => {
        await askOnceReady(handle, 'resolve', { as: 'give_up', reason: 'gone' });
      },
    },
    { name: 'voice-call-watched-again', workflow: 'outboundCall', input: { watchOnly: true }, steps: stepsThat(['readVoiceCall', standing('completed', { connected: true })], ['handOverVoiceCall', finalFailure('CONFIG_INVALID')]) },
  ];
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
  ...voiceCalls(),
  { name: 'publication-of-two-changes', workflow: 'publishCall', input: {}, steps: stepsThat(['publishCall', { more: true }]) },
  { name: 'publication-refused', workflow: 'publishCall', input: {}, steps: stepsThat(['publishCall', finalFailure('CRM_REJECTED')]) },
  { name: 'message-delivered', workflow: 'deliverMessage', input: {}, steps: scriptedSteps() },
  { name: 'message-abandoned', workflow: 'deliverMessage', input: {}, steps: stepsThat(['carryMessage', finalFailure('UPSTREAM_REJECTED')]) },
  { name: 'bulk-ruled', workflow: 'bulkRuling', input: {}, steps: scriptedSteps() },
  { name: 'bulk-broken-off', workflow: 'bulkRuling', input: {}, steps: stepsThat(['ruleOnCalls', finalFailure('CONFLICT')]), fails: true },
  { name: 'erasure-with-late-calls', workflow: 'eraseCalls', input: {}, steps: stepsThat(['eraseSome', { left: 1, late: 0 }, { left: 0, late: 12 }], ['eraseLate', { left: 2 }, { left: 0 }]) },
  { name: 'erasure-from-the-warehouse', workflow: 'eraseCalls', input: { warehouse: { sinks: ['files'], graceMs: 50 } }, steps: stepsThat(['loadBatch', { units: 1, rows: 1, more: true, rebuilt: false }], ['compactSome', { partitions: 10, more: true }], ['sweepFiles', 3]) },
  { name: 'erasure-from-files-and-snowflake', workflow: 'eraseCalls', input: { warehouse: { sinks: ['files', 'snowflake'], graceMs: 50 } }, steps: stepsThat(['loadBatch', { units: 1, rows: 1, more: true, rebuilt: false }], ['compactSome', { partitions: 10, more: true }], ['sweepFiles', 3]) },
  { name: 'retention-two-pages', workflow: 'applyRetention', input: {}, steps: stepsThat(['retainPage', true]) },
  {
    name: 'day-compared',
    workflow: 'reconcileDay',
    input: { pagesPerRun: 2 },
    steps: stepsThat(['readDayPage', { next: { fromMs: 1, seen: ['a'] } }, {}], ['lookForUnlisted', { more: true }, { more: false }]),
  },
  { name: 'day-not-compared', workflow: 'reconcileDay', input: {}, steps: stepsThat(['readDayPage', finalFailure('AUTH_FAILED')]), fails: true },
  { name: 'days-checked', workflow: 'checkDays', input: {}, steps: stepsThat(['dueDays', ['2026-11-18', '2026-11-19', '2026-11-20']], ['readDayPage', {}, finalFailure('AUTH_FAILED'), {}]) },
  { name: 'warehouse-loaded', workflow: 'loadWarehouse', input: {}, steps: stepsThat(['loadBatch', { units: 2, rows: 3, more: true, rebuilt: false }, { units: 1, rows: 1, more: false, rebuilt: true }]) },
  { name: 'warehouse-not-loaded', workflow: 'loadWarehouse', input: {}, steps: stepsThat(['loadBatch', { units: 1, rows: 1, more: false, rebuilt: false }, finalFailure('CONFIG_INVALID')]) },
  { name: 'warehouse-loaded-one-after-the-other', workflow: 'loadWarehouse', input: { sinks: ['files'], next: ['snowflake'] }, steps: stepsThat(['loadBatch', { units: 2, rows: 3, more: true, rebuilt: false }, { units: 1, rows: 1, more: false, rebuilt: false }]) },
  { name: 'warehouse-compacted', workflow: 'compactWarehouse', input: {}, steps: stepsThat(['compactSome', { partitions: 10, more: true }]) },
  {
    name: 'warehouse-compacted-again',
    workflow: 'compactWarehouse',
    input: { graceMs: 5_000 },
    steps: scriptedSteps(),
    act: async (handle) => {
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      await handle.signal(AGAIN_SIGNAL);
    },
  },
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
