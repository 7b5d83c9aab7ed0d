import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Projects } from '../db/projects.ts';
import type { LlmActivities } from '../domain/activities.ts';
import { categoryOf } from '../domain/category.ts';
import { analysisKey } from '../domain/ids.ts';
import type { AskModelFunction } from './ask-model.ts';
import { signal } from './context.ts';
import { gradeCall } from './grade-call.ts';
import type { ProvidersOf } from './providers.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  objects: ObjectStore;
  projects: Projects;
  providers: ProvidersOf;
  askModel: AskModelFunction;
}

export const createAnalysisActivities = ({ calls, objects, projects, providers, askModel }: Dependencies): Pick<LlmActivities, 'analyse'> => ({
  /** Grades a call by the rubric of its preset. */
  async analyse({ call }) {
    const settings = await projects.settings(call.project);
    if (!settings.runAnalysis) return { state: 'off' };
    await calls.beginStep(call, 'analysis');
    const by = await providers.for(call);
    const transcript = await readTranscript({ calls, objects }, call);
    const { details } = await calls.get(call);
    const analysis = await gradeCall(askModel, {
      call,
      step: 'analysis',
      providers: by,
      transcript,
      company: await projects.nameOf(call.project),
      category: categoryOf(settings.categories, details),
      passPercent: settings.passPercent,
    });
    await objects.put(analysisKey(call), `${JSON.stringify(analysis)}\n`, { contentType: 'application/json', signal: signal() });
    await calls.keepResult(call, 'analysis', analysis);
    return { state: 'analysed', scorePercent: analysis.grading.total_score_percent, pass: analysis.grading.pass };
  },
});
