import type { Audio } from '../adapters/audio/audio.ts';
import type { ObjectStore } from '../adapters/objects/object-store.ts';
import type { Calls } from '../db/calls.ts';
import type { Costs } from '../db/costs.ts';
import type { GivenCalls } from '../db/given-calls.ts';
import type { Projects } from '../db/projects.ts';
import type { LlmActivities } from '../domain/activities.ts';
import type { Price } from '../domain/cost.ts';
import { AftercallError } from '../domain/errors.ts';
import { hearCall } from './hear-call.ts';
import type { ProvidersOf } from './providers.ts';
import type { SourceRecords } from './source-record.ts';
import { keepTranscript, takeGivenTranscript } from './stored-transcript.ts';

interface Dependencies {
  calls: Calls;
  costs: Costs;
  objects: ObjectStore;
  audio: Audio;
  providers: ProvidersOf;
  projects: Projects;
  given: Pick<GivenCalls, 'find'>;
  records: Pick<SourceRecords, 'hasWords'>;
  prices: Price[];
}

export const createTranscriptionActivities = (dependencies: Dependencies): Pick<LlmActivities, 'transcribe'> => {
  const { calls, objects, projects, providers, records } = dependencies;
  return {
    /**
     * Turns a call's recording into a transcript with speakers, by the preset that the call goes by.
     *
     * @throws AUDIO_UNREADABLE final
     */
    async transcribe({ call }) {
      await calls.beginStep(call, 'transcription');
      const settings = await projects.settings(call.project);
      // Where the source writes down what was said, it may have been slower with that than with the recording.
      const written = (await records.hasWords(call)) ? await takeGivenTranscript(dependencies, call) : undefined;
      if (written) return { state: 'transcribed', turns: written.turns.length, gradable: written.turns.length >= settings.minTurnsToGrade };
      if (!settings.transcribe) return { state: 'off' };
      const { recording } = await calls.getVersion(call);
      if (!recording) {
        throw new AftercallError('NOT_FOUND', `Call ${call.callId} has no stored recording to transcribe.`, { advice: 'Retry from the recording step.' });
      }
      const by = await providers.for(call);
      const transcript = await hearCall(dependencies, { call, recording, providers: by, step: 'transcription', language: by.spokenLanguage ?? settings.language });
      await keepTranscript({ calls, objects }, call, transcript);
      return { state: 'transcribed', turns: transcript.turns.length, gradable: transcript.turns.length >= settings.minTurnsToGrade };
    },
  };
};
