import { ActivityFailure, ApplicationFailure, isCancellation, TimeoutFailure } from '@temporalio/workflow';
import type { Attention, CallOutcome, CallResult } from '../domain/call.ts';
import type { ProcessCallInput } from '../domain/messages.ts';
import type { Step } from '../domain/steps.ts';
import { type Desk, openDesk } from './desk.ts';
import { stepActivities } from './proxies.ts';

/**
 * One call, from its recording to its delivery.
 *
 * 1. waits for approval if the project wants it
 * 2. runs the groups of steps in order; a step that used up its tries parks the call until a person
 *    retries, skips the step or gives the call up
 * 3. returns how the call ended: it fails only by a defect, never because a vendor was down
 */
export async function processCall(input: ProcessCallInput): Promise<CallOutcome> {
  const activities = stepActivities(input.pace);
  const desk = openDesk(input, activities);
  try {
    return await handle(input, desk, activities);
  } catch (error) {
    const state = isCancellation(error) ? 'cancelled' : 'failed';
    await desk.recordLast({ call: input.call, state, reason: state === 'cancelled' ? 'The workflow was cancelled.' : describe(error) });
    // A plain error would make Temporal retry the workflow task for ever; a failure ends the run, and the next poll may start another.
    throw isCancellation(error) || error instanceof ApplicationFailure ? error : ApplicationFailure.fromError(error);
  } finally {
    desk.close();
  }
}

type Activities = ReturnType<typeof stepActivities>;

const handle = async (input: ProcessCallInput, desk: Desk, activities: Activities): Promise<CallOutcome> => {
  const { call } = input;
  if (!input.autoProcess) {
    const ruling = await desk.rulingOnStart();
    if (!ruling.approved) {
      return end(desk, { state: 'rejected', reason: ruling.reason, skippedSteps: [] });
    }
  }

  // What is left to do once it is known that there is nothing to hear, or too little.
  let result: CallResult = 'processed';
  const endEarly = (because: Step, early: CallResult, ...omitted: Step[]): void => {
    result = early;
    for (const step of omitted) desk.omit(step, because);
  };
  let looks = 0;
  let crmApprovedBy: string | undefined;

  const run: Record<Step, () => Promise<'done' | 'again'>> = {
    recording: async () => {
      // A retry from here starts over, whatever an earlier pass concluded.
      result = 'processed';
      const recording = await activities.fetchRecording({ call, looks });
      if (recording.state === 'not_ready') {
        looks += 1;
        await desk.recordingWait(recording.lookAgainInMs);
        return 'again';
      }
      if (recording.state === 'none') endEarly('recording', recording.result, 'transcription', 'analysis', 'crm');
      return 'done';
    },
    transcription: async () => {
      if (desk.isSkipped('recording')) {
        endEarly('transcription', 'no_recording', 'analysis', 'crm');
        return 'done';
      }
      result = 'processed';
      const transcript = await activities.transcribe({ call });
      if (transcript.state === 'off') endEarly('transcription', 'processed', 'analysis', 'crm');
      else if (!transcript.gradable) endEarly('transcription', 'too_short', 'analysis', 'crm');
      return 'done';
    },
    metadata: async () => {
      await activities.writeMetadata({ call });
      return 'done';
    },
    analysis: async () => {
      if (!desk.isSkipped('transcription')) await activities.analyse({ call });
      return 'done';
    },
    crm: async () => {
      if (desk.isSkipped('transcription')) return 'done';
      const crm = await activities.actOnCrm({ call, ...(crmApprovedBy === undefined ? {} : { approvedBy: crmApprovedBy }) });
      if (crm.state !== 'needs_approval') return 'done';
      const ruling = await desk.rulingOn('crm', `${crm.action}: ${crm.reasons.join(' ')}`);
      if (!ruling.approved) {
        desk.turnDown('crm', ruling);
        return 'done';
      }
      crmApprovedBy = ruling.by;
      return 'again';
    },
    deliver: async () => {
      await activities.deliver({ call, result, skipped: desk.skippedSteps(), reasons: desk.reasons() });
      return 'done';
    },
  };

  for (let group = desk.nextGroup(); group; group = desk.nextGroup()) {
    // Neither needs the other: one workflow task schedules all of a group.
    const settled = await Promise.allSettled(group.map((step) => runStep(desk, step, run[step])));
    const cancelled = settled.find((outcome) => outcome.status === 'rejected');
    if (cancelled) throw (cancelled).reason;
    if (desk.givenUp() || (desk.hasFailed() && !(await desk.park()))) {
      const { by, reason } = desk.givenUp()!;
      return end(desk, { state: 'given_up', reason: `${reason} (${by})`, skippedSteps: desk.skippedSteps() });
    }
  }
  return { state: 'completed', result, skippedSteps: desk.skippedSteps() };
};

/** Runs a step until it is done, has failed for good or the call is given up. Throws only what is no step's failure. */
const runStep = async (desk: Desk, step: Step, run: () => Promise<'done' | 'again'>): Promise<void> => {
  try {
    do desk.begin(step);
    while ((await run()) === 'again' && !desk.givenUp());
    if (!desk.givenUp() && !desk.isSkipped(step)) desk.finish(step);
  } catch (error) {
    // Before anything else: a cancelled call must not park.
    if (isCancellation(error) || !(error instanceof ActivityFailure)) throw error;
    desk.fail(step, attentionFor(step, error));
  }
};

const end = async (desk: Desk, outcome: CallOutcome): Promise<CallOutcome> => {
  await desk.recordLast({ call: desk.call, state: outcome.state, ...(outcome.reason ? { reason: outcome.reason } : {}) });
  return outcome;
};

const attentionFor = (step: Step, failure: ActivityFailure): Attention => {
  const cause = failure.cause;
  const sinceMs = Date.now();
  if (cause instanceof ApplicationFailure) {
    const details = (cause.details?.[0] ?? {}) as { advice?: string; attempt?: number };
    return {
      step,
      code: cause.type ?? 'UNKNOWN',
      message: cause.message,
      advice: details.advice ?? 'Look at the workflow in Temporal for the stack trace; retry when the cause is mended.',
      attempts: details.attempt ?? 1,
      sinceMs,
    };
  }
  if (cause instanceof TimeoutFailure) {
    return {
      step,
      code: 'STEP_TIMED_OUT',
      message: `The step did not finish in time (${cause.timeoutType}).`,
      advice: 'Check that workers run and serve this queue, then retry.',
      attempts: 1,
      sinceMs,
    };
  }
  return { step, code: 'UNKNOWN', message: describe(cause ?? failure), advice: 'Look at the workflow in Temporal, then retry.', attempts: 1, sinceMs };
};

const describe = (error: unknown): string => (error instanceof Error ? error.message : String(error));
