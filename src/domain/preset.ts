import type { Rubric } from './rubric.ts';

/**
 * How a project's calls are heard and graded: who transcribes, who tells speakers apart, which model
 * answers, what it is told and by which questions. Every save is a new version; a version never changes.
 */
export interface PresetSettings {
  speech: PresetProvider;
  /** `none`: speakers are told apart by channels or by the transcriber, or not at all. */
  diarization: PresetProvider | { provider: 'none' };
  model: PresetProvider;
  /** What the model is told besides the rules and the transcript. See `prompt-template.ts`. */
  template: string;
  rubric: Rubric;
  /**
   * Whether what the call's own source wrote down of it is taken as its transcript, as a voice provider does of the
   * calls that it holds: it knows who speaks, and nobody is paid to listen. Off: the recording is heard. Absent in
   * versions that are older than this: on.
   */
  acceptProviderTranscript?: boolean;
}

/** A provider as a preset names it. Its key is kept apart from it, sealed. */
export interface PresetProvider {
  /** A name of the registry, or `installation`: who the installation itself uses, with its key. */
  provider: string;
  baseUrl?: string;
  model?: string;
  /** Of a server that speaks OpenAI's API: what it can do of it. */
  compatibility?: string;
  /** BCP-47. Of speech: what is spoken. Of the model: what it is told to write in. */
  language?: string;
  /** `****` and the last characters of its key, for people; absent where the installation's is used. */
  keyHint?: string;
}

/** The parts of a preset that may have a key of their own. */
export const KEYED_PARTS = ['speech', 'diarization', 'model'] as const;
export type KeyedPart = (typeof KEYED_PARTS)[number];

/** Keys in the clear, on their way to an adapter or to be sealed. Nowhere else. */
export type PresetKeys = Partial<Record<KeyedPart, string>>;

export const acceptsProviderTranscript = ({ acceptProviderTranscript = true }: Pick<PresetSettings, 'acceptProviderTranscript'>): boolean => acceptProviderTranscript;

/** One version of a preset. */
export interface PresetRef {
  preset: string;
  version: number;
}

/** The providers, the prompt and the rubric of the installation itself: what acts where nothing is bound. */
export const INSTALLATION = 'installation';
export const INSTALLATION_PRESET: PresetRef = { preset: INSTALLATION, version: 0 };

/** Names that say where a score comes from and that no preset may have. */
export const RESERVED_PRESETS: readonly string[] = [INSTALLATION, 'service-call', 'default'];
export const PRESET_ID = /^[a-z0-9][a-z0-9-]{0,39}$/;

/** As results are stamped with it: `sales@3`. */
export const presetStamp = ({ preset, version }: PresetRef): string => `${preset}@${version}`;

/** A preset as a project's settings name it: `sales` is its newest version, `sales@3` that one. */
export interface PresetBinding {
  preset: string;
  version?: number;
}

const BINDING = /^([a-z0-9][a-z0-9-]{0,39})(?:@([1-9]\d{0,5}))?$/;

export const parseBinding = (binding: string): PresetBinding | undefined => {
  const [, preset, version] = BINDING.exec(binding) ?? [];
  return preset === undefined ? undefined : { preset, ...(version === undefined ? {} : { version: Number(version) }) };
};

/** The binding that holds for a category of calls, or undefined: the installation's own. */
export const bindingFor = (presets: Readonly<Record<string, string>>, category: string | undefined): string | undefined =>
  (category !== undefined && Object.hasOwn(presets, category) ? presets[category] : undefined) ?? (Object.hasOwn(presets, 'default') ? presets['default'] : undefined);

/** Where a provider's key goes. A key that was given for one place is never sent to another. */
export const destinationOf = ({ provider, baseUrl }: PresetProvider): string => `${provider} ${baseUrl ?? ''}`;

/** A key as it may be shown. Of a short one, nothing. */
export const hintOf = (key: string): string => `****${key.length >= 12 ? key.slice(-4) : ''}`;
