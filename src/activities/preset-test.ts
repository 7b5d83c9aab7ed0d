import type { Audio } from '../adapters/audio/audio.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { PresetTests } from '../db/preset-tests.ts';
import type { Presets } from '../db/presets.ts';
import type { Projects } from '../db/projects.ts';
import { categoryOf } from '../domain/category.ts';
import type { Price } from '../domain/cost.ts';
import { AftercallError } from '../domain/errors.ts';
import { INSTALLATION } from '../domain/preset.ts';
import { draftOf, type PresetTestActivities, presetTestReference } from '../domain/preset-test.ts';
import type { AskModelFunction } from './ask-model.ts';
import { gradeCall } from './grade-call.ts';
import { hearCall } from './hear-call.ts';
import type { ProvidersOf } from './providers.ts';
import { readTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  costs: Costs;
  objects: ObjectStore;
  audio: Audio;
  projects: Projects;
  presets: Presets;
  presetTests: PresetTests;
  providers: ProvidersOf;
  prices: Price[];
  askModel: AskModelFunction;
}

export const createPresetTestActivities = (dependencies: Dependencies): PresetTestActivities => {
  const { calls, costs, projects, presets, presetTests, providers, askModel } = dependencies;

  /** What guarded the test's requests against being paid twice, and its draft with its keys, are needed no more. */
  const tidy = async (project: string, testId: string): Promise<void> => {
    await presets.dropDraft(project, draftOf(testId));
    await costs.forgetAnswersFor(project, presetTestReference(testId));
  };

  return {
    /** Tries a preset on a stored call. Only its own row and the costs are written: no object, no version, nothing outside. */
    async runPresetTest({ project, testId }) {
      const test = await presetTests.get(project, testId);
      if (test.state === 'running') {
        const call = { project, callId: test.call_id, version: test.version };
        const by = await providers.of(project, { preset: test.preset_id, version: test.preset_version });
        const reference = presetTestReference(testId);
        const question = { call, step: 'preset_test' as const, reference, providers: by };
        const { recording, analysis: stored } = await calls.getVersion(call);
        const { details } = await calls.get(call);
        const settings = await projects.settings(project);
        if (test.transcribe && !recording) throw new AftercallError('NOT_FOUND', `Call ${call.callId} has no stored recording to transcribe.`, { advice: 'Test on another call, or without transcribing.' });
        const transcript = test.transcribe ? await hearCall(dependencies, { ...question, recording: recording!, language: by.spokenLanguage ?? settings.language }) : await readTranscript(dependencies, call);
        const analysis = await gradeCall(askModel, { ...question, transcript, company: await projects.nameOf(project), category: categoryOf(settings.categories, details), passPercent: settings.passPercent });
        await presetTests.end(project, testId, {
          result: {
            preset: { preset: by.preset, version: by.version },
            analysis,
            stored: stored && { scorePercent: stored.grading.total_score_percent, preset: stored.versions.preset ?? INSTALLATION, rubric: stored.versions.rubric },
            transcript: { anew: test.transcribe, turns: transcript.turns.length, provider: transcript.provider, model: transcript.model },
            costMicroUsd: (await costs.spentFor(project, reference)).microUsd,
          },
        });
      }
      await tidy(project, testId);
    },

    async failPresetTest({ project, testId, error }) {
      await presetTests.end(project, testId, { error });
      await tidy(project, testId);
    },
  };
};
