import { activityInfo, ApplicationFailure, CancelledFailure, Context, heartbeat } from '@temporalio/activity';
import { ApplicationFailureCategory } from '@temporalio/common';
import type { ActivityExecuteInput, ActivityInboundCallsInterceptor, Next } from '@temporalio/worker';
import { inProject } from '../db/scope.ts';
import { isDatabaseDown } from '../db/database.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';

/**
 * Around every activity: beats while it runs, and turns what it throws into a Temporal failure.
 *
 * Beating by interval covers the whole activity, what it does before its first byte included. The
 * first beat comes after a third of the timeout, so short steps send none and cost no Action for it.
 */
export class StepInterceptor implements ActivityInboundCallsInterceptor {
  async execute(input: ActivityExecuteInput, next: Next<ActivityInboundCallsInterceptor, 'execute'>): Promise<unknown> {
    const { heartbeatTimeoutMs } = activityInfo();
    const beat = heartbeatTimeoutMs ? setInterval(() => heartbeat(), heartbeatTimeoutMs / 3) : undefined;
    try {
      const project = projectOf(input.args[0]);
      return await (project === undefined ? next(input) : inProject(project, () => next(input)));
    } catch (error) {
      throw toFailure(error);
    } finally {
      clearInterval(beat);
    }
  }
}

/** Every activity says what it is about: a call, or a project. The database shows it no other's rows. */
const projectOf = (input: unknown): string | undefined => {
  const { call, project } = (input ?? {}) as { call?: { project?: string }; project?: string };
  return call?.project ?? project;
};
/** With six tries, an outage of a minute and a half is lived through. */
const DATABASE_RETRY_MS = 15_000;

/** The failure that Temporal decides on: its type is the error's code, and it is retried if the code says so. */
const toFailure = (error: unknown): unknown => {
  const { cancellationSignal } = Context.current();
  // A cancelled, timed-out or shut down activity: whatever a request threw on its way out is not the reason.
  if (error instanceof CancelledFailure || cancellationSignal.aborted) return error instanceof CancelledFailure ? error : cancellationSignal.reason;
  if (error instanceof ApplicationFailure) return error;
  const attempt = activityInfo().attempt;
  if (!isAftercallError(error) && isDatabaseDown(error)) {
    return ApplicationFailure.create({
      message: `The database cannot be reached: ${messageOf(error)}`,
      type: 'DATABASE_UNAVAILABLE',
      cause: error as Error,
      details: [{ attempt, advice: 'Check the database and DATABASE_URL, then retry.' }],
      // Every running call meets this at once; a restart or a failover must not park them all.
      nextRetryDelay: DATABASE_RETRY_MS,
    });
  }
  if (!isAftercallError(error)) {
    return ApplicationFailure.create({
      message: messageOf(error),
      type: 'DEFECT',
      cause: error instanceof Error ? error : undefined,
      details: [{ attempt, advice: 'This is a defect. Look at the stack trace in Temporal; retry once it is mended.' }],
    } as Parameters<typeof ApplicationFailure.create>[0]);
  }
  return ApplicationFailure.create({
    message: error.message,
    type: error.code,
    nonRetryable: !error.retryable,
    details: [{ attempt, advice: error.advice }],
    ...(error.cause instanceof Error ? { cause: error.cause } : {}),
    // A delay of zero means "do not retry" to the server: a wait that has passed already is left to our own back-off.
    ...(error.retryable && error.retryAfterMs ? { nextRetryDelay: error.retryAfterMs } : {}),
    // Waiting for a rate limit is business as usual, not an alarm.
    ...(error.code === 'RATE_LIMITED' ? { category: ApplicationFailureCategory.BENIGN } : {}),
  });
};
