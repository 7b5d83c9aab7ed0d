import pLimit from 'p-limit';
import type { CallRow, Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import { isAftercallError, messageOf } from '../domain/errors.ts';
import type { Log } from '../telemetry/log.ts';
import type { CallsClient } from './calls.ts';

/** Of each project in one sweep; the next takes the next. */
const AT_ONCE = 5_000;
const LANES = 10;
const HOUR_MS = 3_600_000;

export type Expiry = ReturnType<typeof createExpiry>;

/**
 * Turns down what nobody has ruled on in a project's time for that.
 *
 * Swept from outside and not timed in each call's workflow: a timer would cost an Action for every staged
 * call, this costs one for those that expire.
 */
export const createExpiry = ({ calls, projects, client, log }: { calls: Calls; projects: Projects; client: Pick<CallsClient, 'reject' | 'workflowStatus'>; log: Pick<Log, 'warn'> }) => {
  const reject = async (call: CallRow, reason: string): Promise<boolean> => {
    try {
      await client.reject(call, { by: 'expiry', reason, at: 'staging' }, `expired-${call.version}`);
      return true;
    } catch (error) {
      if (!isAftercallError(error) || error.code !== 'CONFLICT') throw error;
      // Somebody was faster, or its workflow was ended in Temporal: then nobody else will say that it has ended.
      if ((await client.workflowStatus(call)) === 'RUNNING') return false;
      const now = await calls.get(call);
      if (now.state !== 'awaiting_approval' || now.version !== call.version) return false;
      await calls.setState(now, { state: 'rejected', reason });
      return true;
    }
  };

  /** One that cannot be reached now must not keep the others waiting; the next sweep tries it again. */
  const rejectIfPossible = (call: CallRow, reason: string): Promise<boolean> =>
    reject(call, reason).catch((error: unknown) => {
      log.warn({ project: call.project, callId: call.callId, error: messageOf(error) }, 'a staged call has expired and cannot be rejected, will be tried again');
      return false;
    });

  return {
    /** @returns how many calls have expired */
    async sweep(now = Date.now()): Promise<number> {
      let expired = 0;
      for (const { id: project } of await projects.list()) {
        const { stagingExpiresAfterHours: hours } = await projects.settings(project);
        if (hours <= 0) continue;
        const reason = `expired: nobody ruled on it within ${hours} hours`;
        const lane = pLimit(LANES);
        const due = await calls.listStagedBefore(project, new Date(now - hours * HOUR_MS), AT_ONCE);
        const rejected = await Promise.all(due.map((call) => lane(() => rejectIfPossible(call, reason))));
        expired += rejected.filter(Boolean).length;
      }
      return expired;
    },
  };
};
