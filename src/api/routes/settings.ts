import { z } from 'zod';
import { POLLED } from '../../adapters/connectors/registry.ts';
import { isAftercallError, messageOf } from '../../domain/errors.ts';
import { parseBinding } from '../../domain/preset.ts';
import type { ApiDependencies } from '../dependencies.ts';
import type { RouteTable } from '../route.ts';
import { SettingsChange, SettingsShape } from '../settings.schema.ts';
import { ProjectParams } from '../shapes.ts';

const TAG = 'Projects';
const PATH = '/v1/projects/:project/settings';
const CALLING_RULES = ['timeZone', 'quietHours', 'voiceCallsPerNumberPerDay', 'voiceLines'] as const;
const ViewShape = z.object({ settings: SettingsShape, /** Names of those that were set here; the others are the installation's. */ changed: z.array(z.string()) });

export const settingsRoutes = (route: RouteTable, { presets, projects, budgetRelease, scheduleOf, kickVoiceLines, log }: ApiDependencies): void => {
  const view = async (project: string): Promise<z.input<typeof ViewShape>> => ({ settings: await projects.settings(project), changed: Object.keys(await projects.storedSettings(project)).toSorted() });

  /** How far windows reach back, and where the project's days begin, stands in the schedules, too: those that there are follow. */
  const reschedule = async (project: string): Promise<void> => {
    for (const source of POLLED) {
      try {
        const schedules = await scheduleOf(project, source);
        await schedules.describe();
        await schedules.apply();
      } catch (error) {
        if (!isAftercallError(error) || error.code !== 'NOT_FOUND') throw error;
      }
    }
  };

  route.get(PATH, { access: 'project_viewer', summary: "The project's settings as they hold, and which were set here", tag: TAG, params: ProjectParams, returns: ViewShape }, async ({ params }) => view(params.project));
  route.patch(
    PATH,
    // Values may be names and numbers of people: the log keeps which settings were changed.
    { access: 'project_admin', audit: { action: 'settings.change', target: ({ params }) => params.project, details: (changes) => ({ settings: Object.keys(changes).toSorted() }) }, summary: 'Change some settings; null gives one back to the installation', tag: TAG, params: ProjectParams, body: SettingsChange, returns: ViewShape },
    async ({ params: { project }, body }) => {
      for (const binding of Object.values(body.presets ?? {})) await presets.choose(project, parseBinding(binding)!);
      await projects.changeSettings(project, body);
      // Hundreds of calls may wait; whoever raised the limit need not.
      if (body.dailyBudgetMicroUsd !== undefined || body.callBudgetMicroUsd !== undefined) {
        void budgetRelease.afterChange(project).catch((error: unknown) => log.warn({ project, error: messageOf(error) }, 'calls that waited for the budget were not let go on; the next sweep or window does'));
      }
      // What waits for its hour by the old rules may be due by the new ones.
      if (CALLING_RULES.some((setting) => body[setting] !== undefined)) kickVoiceLines(project);
      if (body.minutesBack !== undefined || body.timeZone !== undefined) await reschedule(project);
      return view(project);
    },
  );
};
