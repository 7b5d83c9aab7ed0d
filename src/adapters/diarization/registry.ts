import type { Config } from '../../config.ts';
import { createProviderRegistry, type ProviderChoice } from '../provider.ts';
import type { Diarizer } from './diarizer.ts';
import { pyannoteai } from './pyannoteai.ts';

/** Every diarisation provider by its name. A new one is a file beside this and a name here. */
export const diarizers = createProviderRegistry<Diarizer>('diarisation', { pyannoteai });

/** The installation's own; none unless it names one. */
export const diarizationChoice = (config: Config): ProviderChoice | undefined =>
  config.DIARIZATION_PROVIDER === undefined
    ? undefined
    : {
        provider: config.DIARIZATION_PROVIDER,
        apiKey: config.DIARIZATION_API_KEY ?? '',
        timeoutMs: config.SPEECH_TIMEOUT,
        only: config.OUTBOUND_ONLY,
        ...(config.DIARIZATION_BASE_URL ? { baseUrl: config.DIARIZATION_BASE_URL } : {}),
      };

export const createDiarizer = (config: Config): Diarizer | undefined => {
  const choice = diarizationChoice(config);
  return choice && diarizers.create(choice);
};
