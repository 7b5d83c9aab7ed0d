import { defineSearchAttributeKey, SearchAttributeType } from '@temporalio/common';
import {
  CancellationScope,
  condition,
  defineQuery,
  defineSignal,
  defineUpdate,
  patched,
  setCurrentDetails,
  setHandler,
  upsertSearchAttributes,
} from '@temporalio/workflow';
import type { DeskActivities } from '../domain/activities.ts';
import type { Attention, CallState } from '../domain/call.ts';
import {
  type Approve,
  CALL_UPDATES,
  type CallPhase,
  type CallStatus,
  type Gate,
  type GiveUp,
  type ProcessCallInput,
  RECORDING_AVAILABLE_SIGNAL,
  type Reject,
  type Retry,
  type SkipStep,
} from '../domain/messages.ts';
import { GROUPS, groupOf, type Step, STEPS, stepsFrom } from '../domain/steps.ts';
import { refuse } from './refuse.ts';

/**
 * The desk of one call: what is done, what waits, and what people ask for.
 *
 * Handlers only change this record; `processCall` reads it and does the work.
 */

const approveUpdate = defineUpdate<void, [Approve]>(CALL_UPDATES.approve);
const rejectUpdate = defineUpdate<void, [Reject]>(CALL_UPDATES.reject);
const retryUpdate = defineUpdate<void, [Retry]>(CALL_UPDATES.retry);
const skipStepUpdate = defineUpdate<void, [SkipStep]>(CALL_UPDATES.skipStep);
const giveUpUpdate = defineUpdate<void, [GiveUp]>(CALL_UPDATES.giveUp);
const recordingAvailable = defineSignal(RECORDING_AVAILABLE_SIGNAL);
const statusQuery = defineQuery<CallStatus>('status');

/** Changes that a history recorded before them must not see. */
const PATCHES = { leaveOut: 'leave-out-until-the-reason-is-retried', record: 'record-every-change-of-a-waiting-call' };

const STATE_ATTRIBUTE = defineSearchAttributeKey('AftercallState', SearchAttributeType.KEYWORD);

/** What a person decided about a call that waited for them. */
export type Ruling = { approved: true; by: string } | { approved: false; by: string; reason: string };

export type Desk = ReturnType<typeof openDesk>;

/** Registers the handlers. To be called before the workflow awaits anything. */
export const openDesk = ({ call, from, autoProcess }: ProcessCallInput, { recordState }: Pick<DeskActivities, 'recordState'>) => {
  // Set here and not where the wait begins: an Update in the first workflow task runs before the main line does.
  let phase: CallPhase = autoProcess ? 'running' : 'awaiting_approval';
  let cursor = groupOf(from);
  let lookNow = false;
  let gate: Gate = 'staging';
  let ruling: Ruling | undefined;
  let givenUp: GiveUp | undefined;
  let released = false;
  const done = new Set<Step>(STEPS.filter((step) => !stepsFrom(from).includes(step)));
  /** Steps that have nothing to work on, by the step that found that out. */
  const omitted = new Map<Step, Step>();
  const skipped = new Set<Step>();
  const turnedDown = new Map<Step, string>();
  const running = new Set<Step>();
  const attention = new Map<Step, Attention>();
  const toDrop = new Set<Step>();

  const standing = (): string =>
    phase === 'running' ? `it is at ${[...running].join(' and ') || GROUPS[cursor]?.join(' and ') || 'its end'}` : `it is ${phase.replaceAll('_', ' ')}`;
  const needPhase = (verb: string, ...phases: CallPhase[]): void => {
    if (!phases.includes(phase)) throw refuse(`This call cannot be ${verb} now: ${standing()}.`);
  };

  const needGate = (at: Gate | undefined): void => {
    if (at !== undefined && at !== gate) throw refuse(`This call waits for a ruling on ${gate === 'staging' ? 'whether it is processed' : `its step ${gate}`}, which is not what was asked for.`);
  };

  /** Of several people who press at once, the first decides. */
  const needOpen = (): void => {
    if (givenUp) throw refuse(`This call was given up by ${givenUp.by} a moment ago.`);
    if (released) throw refuse('Somebody has released this call a moment ago.');
  };

  setHandler(approveUpdate, ({ by }) => void (ruling = { approved: true, by }), {
    validator: ({ at }: Approve) => {
      needPhase('approved', 'awaiting_approval');
      needGate(at);
      if (ruling) throw refuse(`This call was ${ruling.approved ? 'approved' : 'rejected'} by ${ruling.by} a moment ago.`);
    },
  });
  setHandler(rejectUpdate, ({ by, reason }) => void (ruling = { approved: false, by, reason }), {
    validator: ({ at }: Reject) => {
      needPhase('rejected', 'awaiting_approval');
      needGate(at);
      if (ruling) throw refuse(`This call was ${ruling.approved ? 'approved' : 'rejected'} by ${ruling.by} a moment ago.`);
    },
  });
  setHandler(
    retryUpdate,
    ({ from: step }) => {
      if (phase === 'waiting_for_recording') {
        lookNow = true;
        return;
      }
      if (step) {
        for (const later of stepsFrom(step)) {
          const because = omitted.get(later);
          if (because && groupOf(because) < groupOf(step) && patched(PATCHES.leaveOut)) continue;
          omitted.delete(later);
          if (done.delete(later)) toDrop.add(later);
          skipped.delete(later);
          turnedDown.delete(later);
          attention.delete(later);
        }
        cursor = groupOf(step);
      } else {
        attention.clear();
      }
      released = true;
    },
    {
      validator: ({ from: step }: Retry) => {
        needPhase('retried', 'needs_attention', 'waiting_for_recording');
        needOpen();
        if (step && groupOf(step) > cursor) throw refuse(`This call cannot be retried from ${step}: it has not come further than ${GROUPS[cursor]?.join(' and ')}.`);
        if (step && phase === 'waiting_for_recording' && step !== 'recording') throw refuse('This call waits for its recording; it can only look for that again.');
      },
    },
  );
  setHandler(
    skipStepUpdate,
    ({ step }) => {
      attention.delete(step);
      skipped.add(step);
      if (attention.size === 0) released = true;
    },
    {
      validator: ({ step }: SkipStep) => {
        needPhase('let past a step', 'needs_attention');
        needOpen();
        if (!attention.has(step)) throw refuse(`Only a step that failed can be skipped; ${[...attention.keys()].join(' and ')} did, ${step} did not.`);
        if (step === 'deliver') throw refuse('deliver cannot be skipped: it records how the call ended. Retry it or give the call up.');
      },
    },
  );
  setHandler(giveUpUpdate, (input) => void (givenUp = input), {
    validator: (_giveUp: GiveUp) => {
      needPhase('given up', 'needs_attention', 'waiting_for_recording');
      needOpen();
    },
  });
  setHandler(recordingAvailable, () => void (lookNow = true));
  setHandler(statusQuery, () => ({ phase, running: [...running], done: STEPS.filter((step) => done.has(step)), skipped: STEPS.filter((step) => skipped.has(step)), attention: [...attention.values()] }));

  const showDetails = (): void => {
    const lines = [...STEPS].map((step) => {
      const mark = done.has(step) ? 'done' : skipped.has(step) ? 'skipped' : running.has(step) ? '**running**' : attention.has(step) ? '**failed**' : 'to do';
      return `- ${step}: ${mark}${attention.has(step) ? ` — ${attention.get(step)?.message} _${attention.get(step)?.advice}_` : ''}`;
    });
    setCurrentDetails([`**${phase.replaceAll('_', ' ')}**`, ...lines].join('\n'));
  };

  /** Shows a state in which the call waits. Search attributes cost an Action each: only here, never per step. */
  const showWaiting = (state: CallState): void => {
    upsertSearchAttributes([{ key: STATE_ATTRIBUTE, value: state }]);
    showDetails();
  };

  const awaitRuling = async (): Promise<Ruling> => {
    await condition(() => ruling !== undefined);
    phase = 'running';
    upsertSearchAttributes([{ key: STATE_ATTRIBUTE, value: 'processing' }]);
    // A busy queue may keep the next step waiting: until that begins, nobody else would say that the call runs.
    if (ruling!.approved && patched(PATCHES.record)) await recordState({ call, state: 'processing' });
    return ruling!;
  };

  return {
    call,
    isDone: (step: Step): boolean => done.has(step),
    isSkipped: (step: Step): boolean => skipped.has(step),
    skippedSteps: (): Step[] => STEPS.filter((step) => skipped.has(step)),
    reasons: (): Partial<Record<Step, string>> => Object.fromEntries(turnedDown),
    givenUp: (): GiveUp | undefined => givenUp,
    hasFailed: (): boolean => attention.size > 0,

    /** The steps of the group under the cursor that have something left to do, or undefined past the last. */
    nextGroup(): Step[] | undefined {
      while (cursor < GROUPS.length) {
        const left = GROUPS[cursor]!.filter((step) => !done.has(step) && !skipped.has(step));
        if (left.length > 0) return left;
        cursor += 1;
      }
      return undefined;
    },

    begin(step: Step): void {
      running.add(step);
      showDetails();
    },

    finish(step: Step): void {
      running.delete(step);
      done.add(step);
      showDetails();
    },

    fail(step: Step, why: Attention): void {
      running.delete(step);
      attention.set(step, why);
    },

    /** Takes a step out of the path: it has nothing to work on, as `because` found out. */
    omit(step: Step, because: Step): void {
      running.delete(step);
      omitted.set(step, because);
      done.add(step);
    },

    /** Leaves out what a person has said no to. */
    turnDown(step: Step, { by, reason }: { by: string; reason: string }): void {
      running.delete(step);
      skipped.add(step);
      turnedDown.set(step, `${reason} (${by})`);
    },

    /** Waits for the ruling on a call that was staged for approval; its state was written when it was staged. */
    async rulingOnStart(): Promise<Ruling> {
      showDetails();
      return awaitRuling();
    },

    /** Waits for the ruling on what a step means to do. */
    async rulingOn(step: Extract<Step, Gate>, reason: string): Promise<Ruling> {
      ruling = undefined;
      gate = step;
      phase = 'awaiting_approval';
      showWaiting('awaiting_approval');
      await recordState({ call, state: 'awaiting_approval', step, reason });
      return awaitRuling();
    },

    /** Waits for the time of the next look, for the source's word, or for a person. */
    async recordingWait(lookAgainInMs: number): Promise<void> {
      phase = 'waiting_for_recording';
      running.clear();
      showDetails();
      await condition(() => lookNow || givenUp !== undefined, lookAgainInMs);
      lookNow = false;
      phase = 'running';
    },

    /** Parks the call until a person says how to go on. @returns false when they gave it up */
    async park(): Promise<boolean> {
      phase = 'needs_attention';
      released = false;
      showWaiting('needs_attention');
      let shown: Attention;
      do {
        shown = [...attention.values()][0]!;
        await recordState({ call, state: 'needs_attention', step: shown.step, attention: shown });
        await condition(() => released || givenUp !== undefined || !attention.has(shown.step));
      } while (!released && !givenUp && patched(PATCHES.record));
      if (!released && !givenUp) await condition(() => released || givenUp !== undefined);
      phase = 'running';
      if (givenUp) return false;
      released = false;
      upsertSearchAttributes([{ key: STATE_ATTRIBUTE, value: 'processing' }]);
      if (toDrop.size > 0 || patched(PATCHES.record)) {
        await recordState({ call, state: 'processing', ...(toDrop.size > 0 ? { drop: [...toDrop] } : {}) });
        toDrop.clear();
      }
      return true;
    },

    close(): void {
      phase = 'ended';
      running.clear();
      showDetails();
    },

    /** Records a state even while the workflow is being cancelled. */
    recordLast: (state: Parameters<DeskActivities['recordState']>[0]): Promise<void> => CancellationScope.nonCancellable(() => recordState(state)),
  };
};
