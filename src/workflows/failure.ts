import { ActivityFailure, ApplicationFailure, TimeoutFailure } from '@temporalio/workflow';

/** Why an activity failed for good, as it is kept and shown. */
export interface Reason {
  code: string;
  message: string;
  advice: string;
}

export const reasonOf = (error: unknown): Reason => {
  const cause = error instanceof ActivityFailure ? error.cause : error;
  if (cause instanceof ApplicationFailure) {
    const { advice } = (cause.details?.[0] ?? {}) as { advice?: string };
    return { code: cause.type ?? 'UNKNOWN', message: cause.message, advice: advice ?? 'Look at the workflow in Temporal for the stack trace.' };
  }
  if (cause instanceof TimeoutFailure) return { code: 'STEP_TIMED_OUT', message: `It did not finish in time (${cause.timeoutType}).`, advice: 'Check that workers run and serve this queue.' };
  return { code: 'UNKNOWN', message: cause instanceof Error ? cause.message : String(cause), advice: 'Look at the workflow in Temporal.' };
};
