import { ApplicationFailure } from '@temporalio/common';
import type { Activities } from '../../src/activities/index.ts';
import { type CrmActivities, type DeskActivities, type IngestActivities, type LlmActivities, type MessageActivities, type PublicationActivities, QUEUES, type RecordingActivities } from '../../src/domain/activities.ts';
import type { BulkActivities } from '../../src/domain/bulk.ts';
import type { CompletenessActivities } from '../../src/domain/completeness.ts';
import type { ErasureActivities } from '../../src/domain/erasure.ts';
import type { PresetTestActivities } from '../../src/domain/preset-test.ts';
import type { RescoreActivities } from '../../src/domain/rescore.ts';
import type { WarehouseActivities } from '../../src/domain/warehouse.ts';
import type { VoiceLinesActivities } from '../../src/domain/voice-lines.ts';
import type { HandOverActivities, VoiceActivities, VoiceStanding } from '../../src/domain/voice-work.ts';

type Steps = CompletenessActivities & RecordingActivities & LlmActivities & CrmActivities & DeskActivities & IngestActivities & MessageActivities & PublicationActivities & BulkActivities & ErasureActivities & PresetTestActivities & RescoreActivities & VoiceActivities & HandOverActivities & VoiceLinesActivities & WarehouseActivities;
export type StepName = keyof Steps;

const COMPLETED: VoiceStanding = { state: 'completed', found: true, connected: true, handedOver: false };

/**
 * Activities for tests of the workflow alone: each answers as for a call that goes through, unless the
 * test gives other answers to be used up first. What was called with what is kept in order.
 */
export const scriptedSteps = () => {
  const calls: { step: StepName; input: unknown }[] = [];
  const answers = new Map<StepName, (() => unknown)[]>();
  const standard: Record<StepName, () => unknown> = {
    fetchRecording: () => ({ state: 'stored', bytes: 1 }),
    transcribe: () => ({ state: 'transcribed', turns: 9, gradable: true }),
    analyse: () => ({ state: 'analysed', scorePercent: 80, pass: true }),
    actOnCrm: () => ({ state: 'done', scenario: 'good_lead', action: 'create_lead' }),
    writeMetadata: () => ({ state: 'written', registered: true }),
    deliver: () => ({ state: 'delivered' }),
    recordState: () => undefined,
    openRun: () => undefined,
    ingestPage: () => ({ found: 0, started: 0 }),
    awaitSettled: () => 0,
    writeReport: () => ({}),
    failRun: () => undefined,
    loadBatch: () => ({ units: 0, rows: 0, more: false, rebuilt: false }),
    compactSome: () => ({ partitions: 0, more: false }),
    sweepFiles: () => 0,
    carryMessage: () => ({ state: 'delivered' }),
    abandonMessage: () => undefined,
    publishCall: () => ({ more: false }),
    recordUnpublished: () => undefined,
    ruleOnCalls: () => undefined,
    endBulkRuling: () => undefined,
    dueDays: () => [],
    openDay: () => ({ token: 't', fromMs: 0, toMs: 1, listToMs: 1, watchedFromMs: 0 }),
    readDayPage: () => ({}),
    lookForUnlisted: () => ({ more: false }),
    concludeDay: () => ({ listed: 0, ours: 0, processed: 0, states: {}, gaps: {}, notListed: {}, unexplained: 0, takenIn: 0 }),
    failDay: () => undefined,
    eraseSome: () => ({ left: 0, late: 0 }),
    eraseLate: () => ({ left: 0 }),
    certifyErasure: () => undefined,
    retainPage: () => false,
    runPresetTest: () => undefined,
    failPresetTest: () => undefined,
    nextRescoreCalls: () => [],
    rescoreCall: () => undefined,
    failRescoreCall: () => undefined,
    setRescoreState: () => undefined,
    startDueCalls: () => ({ started: 0, lookAgainInMs: null }),
    dialVoiceCall: () => ({ kind: 'taken', standing: { state: 'dialled', found: true, connected: false, handedOver: false } }),
    lookUpVoiceCall: () => COMPLETED,
    readVoiceCall: () => COMPLETED,
    parkVoiceCall: () => ({ state: 'needs_attention', found: false, connected: false, handedOver: false }),
    takeBackVoiceCall: () => ({ state: 'cancelled', found: false, connected: false, handedOver: false }),
    stopVoiceCall: () => undefined,
    resolveVoiceCall: () => COMPLETED,
    noteVoiceCall: () => undefined,
    freeLine: () => undefined,
    handOverVoiceCall: () => ({ callId: 'call_1' }),
  };
  const step =
    (name: StepName) =>
    async (input: unknown): Promise<never> => {
      calls.push({ step: name, input });
      const answer = answers.get(name)?.shift() ?? standard[name];
      return answer() as never;
    };
  const activities = Object.fromEntries(Object.keys(standard).map((name) => [name, step(name as StepName)])) as unknown as Steps;
  return {
    activities: Object.fromEntries(QUEUES.map((queue) => [queue, activities])) as unknown as Activities,
    /** Uses these answers for the next calls of a step. An error is thrown. */
    script: (name: StepName, ...next: unknown[]): void => {
      answers.set(name, [...(answers.get(name) ?? []), ...next.map((value) => () => {
        if (value instanceof Error) throw value;
        return value;
      })]);
    },
    taken: (): StepName[] => calls.map((call) => call.step),
    inputsOf: <T>(name: StepName): T[] => calls.filter((call) => call.step === name).map((call) => call.input as T),
  };
};

/** A failure that no retry mends. */
export const finalFailure = (type: string, message = 'refused'): ApplicationFailure =>
  ApplicationFailure.create({ type, message, nonRetryable: true, details: [{ advice: 'mend it', attempt: 1 }] });
