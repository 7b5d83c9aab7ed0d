import type { CallRow, Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { Projects } from '../db/projects.ts';
import { inProject } from '../db/scope.ts';
import type { CallsClient } from './calls.ts';

/** Calls let go on in one go; the next takes the next. */
const AT_ONCE = 200;

interface Dependencies {
  calls: Pick<Calls, 'listParkedFor' | 'projectsParkedFor'>;
  projects: Pick<Projects, 'settings'>;
  costs: Pick<Costs, 'spentOn'>;
  client: Pick<CallsClient, 'retry'>;
}

/**
 * Lets calls go on that wait for room in a budget.
 *
 * Safe from several sides at once: a release is one Update per call and stop. A call for which there is
 * still no room parks again, before anything is paid.
 */
export const createBudgetRelease = ({ calls, projects, costs, client }: Dependencies) => {
  const goOn = async (call: CallRow): Promise<boolean> =>
    // Somebody may have pressed a button meanwhile; that call is theirs.
    client.retry(call, { by: 'budget' }, `budget-${call.callId}-${call.attention?.sinceMs ?? 0}`).then(() => true, () => false);

  /** Those that wait for the day's budget, the longest-waiting first, while there is room. @returns how many */
  const withinDay = async (project: string, { signal }: { signal?: AbortSignal } = {}): Promise<number> => {
    const { dailyBudgetMicroUsd } = await projects.settings(project);
    let released = 0;
    for (const call of await calls.listParkedFor(project, 'BUDGET_REACHED', AT_ONCE)) {
      if (dailyBudgetMicroUsd > 0 && (await costs.spentOn(project)) >= dailyBudgetMicroUsd) break;
      signal?.throwIfAborted();
      if (await goOn(call)) released += 1;
    }
    return released;
  };

  return {
    withinDay,

    /** After a limit was changed: also those that had used up what one call may cost. */
    async afterChange(project: string): Promise<number> {
      let released = await withinDay(project);
      for (const call of await calls.listParkedFor(project, 'CALL_BUDGET_REACHED', AT_ONCE)) if (await goOn(call)) released += 1;
      return released;
    },

    /** For projects whose calls come without windows. */
    async everywhere(): Promise<void> {
      for (const project of await calls.projectsParkedFor('BUDGET_REACHED')) await inProject(project, () => withinDay(project));
    },
  };
};

export type BudgetRelease = ReturnType<typeof createBudgetRelease>;
