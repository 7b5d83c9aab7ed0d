import type { Crm } from '../adapters/crm/crm.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { Projects } from '../db/projects.ts';
import type { Rescores } from '../db/rescores.ts';
import { categoryOf } from '../domain/category.ts';
import type { CallVersion } from '../domain/call.ts';
import { decide, lookupKeys } from '../domain/crm-rules.ts';
import { AftercallError } from '../domain/errors.ts';
import { INSTALLATION_PRESET, parseBinding } from '../domain/preset.ts';
import { againReference, type Grade, gradeOf, type RescoreActivities, rescoreReference } from '../domain/rescore.ts';
import type { ProjectSettings } from '../domain/settings.ts';
import type { Transcript } from '../domain/transcript.ts';
import type { AskModelFunction } from './ask-model.ts';
import { signal } from './context.ts';
import { extractFactsFrom, gradeCall } from './grade-call.ts';
import type { Providers, ProvidersOf } from './providers.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  costs: Costs;
  objects: ObjectStore;
  projects: Projects;
  rescores: Rescores;
  providers: ProvidersOf;
  askModel: AskModelFunction;
  /** Undefined where a project has none. */
  crmOf: (project: string) => Promise<Crm | undefined>;
}

export const createRescoreActivities = ({ calls, costs, objects, projects, rescores, providers, askModel, crmOf }: Dependencies): RescoreActivities => {
  interface GradeBy {
    call: CallVersion;
    by: Providers;
    reference: string;
    transcript: Transcript;
    settings: ProjectSettings;
    facts: boolean;
  }

  /** Grades a call and decides about it, and acts on nothing. The CRM is only read. */
  const gradeBy = async ({ call, by, reference, transcript, settings, facts }: GradeBy): Promise<Grade & { microUsd: number }> => {
    const { details } = await calls.get(call);
    const question = { call, step: 'rescore' as const, reference, providers: by, transcript };
    const analysis = await gradeCall(askModel, { ...question, company: await projects.nameOf(call.project), category: categoryOf(settings.categories, details), passPercent: settings.passPercent });
    const crm = facts ? await crmOf(call.project) : undefined;
    if (!crm) return { ...gradeOf(analysis, null), microUsd: analysis.cost_micro_usd };
    const { facts: claimed, microUsd } = await extractFactsFrom(askModel, question);
    const { scenario, action } = decide(claimed, await crm.lookUp(lookupKeys(claimed, settings), signal()), settings);
    return { ...gradeOf(analysis, { scenario, action }), microUsd: analysis.cost_micro_usd + microUsd };
  };

  const withoutCost = ({ microUsd: _microUsd, ...grade }: Grade & { microUsd: number }): Grade => grade;

  return {
    nextRescoreCalls: ({ project, rescoreId, limit }) => rescores.waiting(project, rescoreId, limit),

    /** Grades one stored call by the run's preset, and a sampled one by its old preset once more. Its transcript is the stored one. */
    async rescoreCall({ project, rescoreId, seq }) {
      const row = await rescores.getCall(project, rescoreId, seq);
      // Erased with its call.
      if (!row) return;
      const call = { project, callId: row.call_id, version: row.version };
      if (row.state === 'waiting') {
        const run = await rescores.get(project, rescoreId);
        const { analysis: stored, crm } = await calls.getVersion(call);
        if (!stored) throw new AftercallError('NOT_FOUND', `Call ${call.callId} has no stored analysis any more.`, { advice: 'It is left out.' });
        const settings = await projects.settings(project);
        const facts = run.facts && crm !== null;
        const transcript = await readTranscript({ calls, objects }, call);
        const fresh = await gradeBy({ call, by: await providers.of(project, { preset: run.preset_id, version: run.preset_version }), reference: rescoreReference(rescoreId), transcript, settings, facts });
        const old = gradeOf(stored, crm && { scenario: crm.scenario, action: crm.action });
        const named = parseBinding(old.preset);
        const oldPreset = named?.version === undefined ? INSTALLATION_PRESET : { preset: named.preset, version: named.version };
        const again = row.sampled ? await gradeBy({ call, by: await providers.of(project, oldPreset), reference: againReference(rescoreId), transcript, settings, facts }) : null;
        await rescores.settleCall(project, rescoreId, seq, { result: { old, new: withoutCost(fresh), again: again && withoutCost(again), costMicroUsd: fresh.microUsd + (again?.microUsd ?? 0) } });
      }
      for (const reference of [rescoreReference(rescoreId), againReference(rescoreId)]) await costs.forgetAnswersFor(project, reference, call.callId);
    },

    failRescoreCall: ({ project, rescoreId, seq, error }) => rescores.settleCall(project, rescoreId, seq, { error }),

    setRescoreState: ({ project, rescoreId, state, reason }) => rescores.setState(project, rescoreId, state, reason),
  };
};
