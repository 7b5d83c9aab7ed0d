import type { Diarizer } from '../adapters/diarization/diarizer.ts';
import type { Guard } from '../adapters/http/guard.ts';
import type { LanguageModel } from '../adapters/llm/language-model.ts';
import { OPENAI_COMPATIBILITY, type OpenAICompatibility } from '../adapters/openai-capabilities.ts';
import type { ProviderChoice, ProviderRegistry } from '../adapters/provider.ts';
import type { Transcriber } from '../adapters/stt/transcriber.ts';
import type { Calls } from '../db/calls.ts';
import type { Presets } from '../db/presets.ts';
import type { Projects } from '../db/projects.ts';
import type { CallDetails, CallVersion } from '../domain/call.ts';
import { categoryOf } from '../domain/category.ts';
import { AftercallError, isAftercallError } from '../domain/errors.ts';
import { acceptsProviderTranscript, bindingFor, INSTALLATION, INSTALLATION_PRESET, parseBinding, type PresetProvider, type PresetRef, presetStamp } from '../domain/preset.ts';
import { DEFAULT_TEMPLATE } from '../domain/prompt-template.ts';
import { DEFAULT_RUBRIC, type Rubric } from '../domain/rubric.ts';

/** What a version of a preset amounts to: adapters that are ready to use, and what the model is asked. */
export interface Providers extends PresetRef {
  transcriber: Transcriber;
  /** Tells speakers apart where neither a channel nor the transcriber does. */
  diarizer?: Diarizer;
  model: LanguageModel;
  /** Whether a transcript that the call's source wrote is taken as it is. */
  acceptsProviderTranscript: boolean;
  /** BCP-47, where the preset says what is spoken. */
  spokenLanguage?: string;
  /** BCP-47, where the preset says what to write in. */
  writtenLanguage?: string;
  template: string;
  rubric: Rubric;
}

/** The installation's own choices, from its environment. */
export interface InstallationChoices {
  speech: ProviderChoice;
  diarization: ProviderChoice | undefined;
  model: ProviderChoice;
  acceptProviderTranscript: boolean;
}

interface Dependencies {
  presets: Presets;
  calls: Calls;
  projects: Projects;
  registries: { speech: ProviderRegistry<Transcriber>; diarization: ProviderRegistry<Diarizer>; model: ProviderRegistry<LanguageModel> };
  installation: InstallationChoices;
  guard: Guard;
}

/** Adapters are cheap, but hold keys and connections: those of the versions used last are kept. */
const KEPT = 200;

export type ProvidersOf = ReturnType<typeof createProviders>;

/** The one place that makes adapters out of presets. */
export const createProviders = ({ presets, calls, projects, registries, installation, guard }: Dependencies) => {
  const made = new Map<string, Promise<Providers>>();
  // At once: a program whose own settings name nobody must not start.
  const own: Providers = {
    ...INSTALLATION_PRESET,
    transcriber: registries.speech.create(installation.speech),
    ...(installation.diarization ? { diarizer: registries.diarization.create(installation.diarization) } : {}),
    model: registries.model.create(installation.model),
    template: DEFAULT_TEMPLATE,
    rubric: DEFAULT_RUBRIC,
    acceptsProviderTranscript: installation.acceptProviderTranscript,
  };

  const choiceOf = (given: PresetProvider, key: string | undefined, own: ProviderChoice): ProviderChoice => {
    const { model, language } = given;
    const wishes = { ...(model ? { model } : {}), ...(language ? { language } : {}) };
    if (given.provider === INSTALLATION) return { ...own, ...wishes };
    return {
      provider: given.provider,
      apiKey: key ?? '',
      timeoutMs: own.timeoutMs,
      only: own.only,
      // The provider's own address needs no look: nobody here has set it.
      ...(given.baseUrl ? { baseUrl: given.baseUrl, outside: guard } : {}),
      ...wishes,
      ...(given.compatibility ? { capabilities: OPENAI_COMPATIBILITY[given.compatibility as OpenAICompatibility] } : {}),
      ...(own.appUrl ? { appUrl: own.appUrl } : {}),
    };
  };

  const make = async (project: string, ref: PresetRef): Promise<Providers> => {
    if (ref.preset === INSTALLATION) return own;
    const { settings, keys } = await presets.open(project, ref);
    const { speech, diarization, model } = settings;
    const tellsApart = diarization.provider === 'none' || (diarization.provider === INSTALLATION && !installation.diarization) ? undefined : choiceOf(diarization, keys.diarization, installation.diarization ?? { ...installation.speech, apiKey: '' });
    return {
      ...ref,
      transcriber: registries.speech.create(choiceOf(speech, keys.speech, installation.speech)),
      ...(tellsApart ? { diarizer: registries.diarization.create(tellsApart) } : {}),
      model: registries.model.create(choiceOf(model, keys.model, installation.model)),
      ...(speech.language ? { spokenLanguage: speech.language } : {}),
      ...(model.language ? { writtenLanguage: model.language } : {}),
      template: settings.template,
      rubric: settings.rubric,
      acceptsProviderTranscript: acceptsProviderTranscript(settings),
    };
  };

  /** The providers of a version. */
  const of = (project: string, ref: PresetRef): Promise<Providers> => {
    const name = ref.preset === INSTALLATION ? INSTALLATION : `${project}/${presetStamp(ref)}`;
    const known = made.get(name);
    const providers = known ?? make(project, ref);
    made.delete(name);
    made.set(name, providers);
    if (!known) {
      // What failed is tried anew: the key may be on the ring the next time.
      providers.catch(() => made.delete(name));
      const oldest = made.size > KEPT ? made.keys().next().value : undefined;
      if (oldest !== undefined) made.delete(oldest);
    }
    return providers;
  };

  /** The version that a call's category is bound to now. @throws CONFIG_INVALID when the settings name one that is not there */
  const bound = async (project: string, call: CallDetails): Promise<PresetRef> => {
    const settings = await projects.settings(project);
    const binding = bindingFor(settings.presets, categoryOf(settings.categories, call));
    if (binding === undefined) return INSTALLATION_PRESET;
    const parsed = parseBinding(binding);
    return presets.resolve(project, parsed ?? { preset: binding }).catch((error: unknown) => {
      // A database that stumbles is no mistake in the settings.
      if (!isAftercallError(error) || error.code !== 'NOT_FOUND') throw error;
      throw new AftercallError('CONFIG_INVALID', `The settings bind preset "${binding}" to these calls, and there is none.`, { advice: "Bind one that there is in the project's settings, then retry.", cause: error });
    });
  };

  return {
    of,

    /**
     * The providers that a call's version goes by: all its steps and all their tries by the same.
     *
     * Picked by the call's category when the first step asks, unless whoever opened the version has named
     * one; a preset that is saved or bound anew later is for later versions.
     */
    async for(call: CallVersion): Promise<Providers> {
      const picked = await calls.presetOf(call);
      if (picked) return of(call.project, picked);
      const { details } = await calls.get(call);
      return of(call.project, await calls.keepPreset(call, await bound(call.project, details)));
    },
  };
};
